"""Beam search for plans."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...envs.task_graph.instance import Instance, Records
from ...envs.task_graph.list_scheduling import Draft
from ...envs.task_graph.schedule import Schedule
from ...envs.task_graph.simulator import TaskGraphSimulator
from ...errors import HetgymError
from ...workloads import TaskGraph
from ...workloads.task_graph import FloatArray, IntArray
from ..heuristics.replay import Planner
from ..learned import LearnedPolicy, judge
from ..networks import CandidateCategorical
from ..policy import Policy
from .children import CHILD, choose, complete
from .playing import simulator_of

BRANCHES = 8
"""Children that are completed for each schedule of the beam, on average."""


class Beam(Planner):
    """Keeps K partial schedules of an instance side by side, and decides one task more of each at a time.

    Filtered beam search (Ow, Morton 1988, doi:10.1080/00207548808947840): of all children, the `BRANCHES` K that the
    guide prefers are looked at; kept are the K that HEFT's rule (Topcuoglu, Hariri, Wu 2002, doi:10.1109/71.993206)
    would complete in least time, of equals the preferred. A network as the guide prefers what is likely, over all
    decisions so far; HEFT prefers ready tasks by upward rank, devices by when the task would finish. What comes to the
    same partial schedule in another order is kept once.

    The schedule that the guide would make alone is always kept, so that the best one is never worse; with K = 1 there
    is no other.
    """

    insertion = True

    def __init__(self, policy: Policy, width: int) -> None:
        """Chooses the guide.

        Args:
            policy: A learned policy, or HEFT.
            width: K.

        Raises:
            HetgymError: If the beam has no width, or the policy cannot guide it.
        """
        self.name = f"beam-{width}:{policy.name}"
        if width < 1:
            raise HetgymError(f"policy {self.name!r}: the beam must keep at least one schedule")
        if not isinstance(policy, LearnedPolicy) and policy.name != "heft":
            raise HetgymError(f"policy {self.name!r}: a beam is guided by a trained network (ppo:PATH), or by 'heft'")
        self._policy = policy
        self._width = width

    def schedule(self, problem: Instance | TaskGraph) -> Schedule:
        """Returns the best schedule of one instance that is found (`Planner.schedule`)."""
        instance = Instance.of(problem)
        simulator = simulator_of(instance, self._width)
        simulator.observes = isinstance(self._policy, LearnedPolicy)
        if isinstance(self._policy, LearnedPolicy):
            self._policy.reset(simulator)
        draft = Draft.empty(*instance.duration.shape)
        preference = np.zeros(1)
        for _ in range(instance.graph.num_tasks):
            children = self._preferred(simulator, preference)
            complete(simulator.handle, draft, children)
            children = _best(simulator, children, self._width)
            preference = children["preference"].copy()
            # Rows without a child of their own repeat the first.
            children = children[np.where(np.arange(self._width) < len(children), np.arange(self._width), 0)]
            simulator.copy_rows(children["row"])
            simulator.step(simulator.name_action(children["task"], children["device"]))
        return simulator.schedule(int(simulator.state.status["makespan"].argmin()))

    def _preferred(self, simulator: TaskGraphSimulator, preference: FloatArray) -> Records:
        """Returns the children to look at, (any number,) of `CHILD`: first the guide's own choice, in row 0.

        Args:
            simulator: Of which the first rows hold the beam, the schedule that the guide makes alone in row 0.
            preference: float64 (rows,).
        """
        if isinstance(self._policy, LearnedPolicy):
            children = _by_likelihood(simulator, self._policy, preference)
        else:
            children = _by_rank(simulator, len(preference))
        own = np.flatnonzero(children["row"] == 0)
        first = own[children["preference"][own].argmax()]
        order = np.argsort(-children["preference"], kind="stable")
        chosen: Records = children[np.append(first, order[order != first][: BRANCHES * self._width])]
        return chosen


def _by_likelihood(simulator: TaskGraphSimulator, policy: LearnedPolicy, so_far: FloatArray) -> Records:
    """Returns all children of the first rows, by the logarithms of their likelihoods, of which some are known."""
    num_rows = len(so_far)
    batch, scores = judge(policy.network, {name: array[:num_rows] for name, array in simulator.observation.items()})
    likelihood = CandidateCategorical(scores, batch).log_probability.double().cpu().numpy()
    row, candidate = batch.situation.cpu().numpy(), batch.action.cpu().numpy() - 1
    place, device = np.divmod(candidate, simulator.platform.num_devices)
    return _children(simulator, row, place, device, so_far[row] + likelihood)


def _by_rank(simulator: TaskGraphSimulator, num_rows: int) -> Records:
    """Returns all children of the first rows, in the order in which HEFT would try them."""
    state, num_devices = simulator.state, simulator.platform.num_devices
    status = state.status[:num_rows]
    row, place = np.nonzero(np.arange(status["num_ready"].max()) < status["num_ready"][:, None])
    task = state.tasks["ready"][row, place]
    duration = simulator.instances.graph.duration[status["slot"][row], task]
    finish = state.options["start"][row, task] + duration
    order = finish.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    which, device = np.nonzero(duration < np.inf)
    preference = -(place[which] * num_devices + order[which, device])
    return _children(simulator, row[which], place[which], device, preference)


def _children(
    simulator: TaskGraphSimulator, row: IntArray, place: IntArray, device: IntArray, preference: NDArray[np.number]
) -> Records:
    """Returns children that give the ready task at a place of the list to a device."""
    children = np.empty(len(row), CHILD)
    children["row"], children["device"], children["preference"] = row, device, preference
    children["task"] = simulator.state.tasks["ready"][row, place]
    return children


def _best(simulator: TaskGraphSimulator, children: Records, width: int) -> Records:
    """Returns the first of the children and those that are completed in least time, equal ones once."""
    order = 1 + np.lexsort((-children["preference"][1:], children["makespan"][1:]))
    children = children[np.append(0, order)]
    chosen = np.empty(width, np.int64)
    best: Records = children[chosen[: choose(simulator.handle, children, chosen)]]
    return best
