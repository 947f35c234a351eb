"""The compiled simulator of the task-graph family: many graphs decided side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...compilation import handle_kernel, hold, inner
from ...errors import HetgymError
from ...hardware_models import Platform
from ...workloads.generators import DrawnGraphs, GraphSource
from ...workloads.task_graph import IntArray, TaskGraph
from ..core.simulator import Arrays, Simulator, observation_space
from .features import MARK, SCHEMA, View, show, view_at
from .instance import Instance, Instances, Problem, Records, problem_at
from .list_scheduling import Draft, clear, earliest_start, insert_ready, place, prepare
from .ranks import transfer_time
from .reward import reward
from .schedule import Schedule
from .state import Episode, State, episode_at

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class World(NamedTuple):
    """All that a kernel works on."""

    instances: Instances
    state: State
    outcome: Records  # (B,) of OUTCOME
    shown: View


@inner
def _make_ready(problem: Problem, episode: Episode, task: int) -> None:
    """Adds a task to the ready ones, and finds when it could start on each device."""
    plan, options = episode.plan, episode.options
    num_devices = problem.duration.shape[1]
    for device in range(num_devices):
        options[task, device].data_ready = problem.tasks[task].release
        options[task, device].transfer = 0.0
    for entry in range(problem.tasks[task].in_begin, problem.tasks[task + 1].in_begin):
        edge = problem.edges[problem.edge_costs[entry].incoming]
        sender = plan.tasks[edge.source]
        for device in range(num_devices):
            option = options[task, device]
            transfer = transfer_time(problem, edge.bytes, sender.device, device)
            option.data_ready = max(option.data_ready, sender.finish + transfer)
            option.transfer += transfer
    for device in range(num_devices):
        options[task, device].start = earliest_start(
            plan, device, options[task, device].data_ready, problem.duration[task, device], episode.status[0].insertion
        )
    insert_ready(plan, episode.status[0].num_ready, problem.upward_rank, task)
    episode.status[0].num_ready += 1


@inner
def _decide(problem: Problem, episode: Episode, task: int, device: int) -> None:
    """Places a ready task, and brings its successors and the starts that it shifts up to date."""
    status, plan, options = episode.status[0], episode.plan, episode.options
    start = options[task, device].start
    finish = start + problem.duration[task, device]
    place(problem, plan, status.num_placed, task, device, start)
    status.num_placed += 1
    status.makespan = max(status.makespan, finish)
    status.bound = max(status.bound, finish + problem.tail[task, device])
    if status.num_placed == problem.total[0].num_tasks:
        # The bound sums along paths, the makespan along devices: they may differ in the last bit.
        status.bound = status.makespan

    kept = 0
    for position in range(status.num_ready):
        other = plan.tasks[position].ready
        if other == task:
            continue
        plan.tasks[kept].ready = other
        kept += 1
        # A start moves only if the new interval cuts into what the task would have taken.
        duration, option = problem.duration[other, device], options[other, device]
        cut = start < option.start + duration and finish > option.start
        if cut or not status.insertion:
            option.start = earliest_start(plan, device, option.data_ready, duration, status.insertion)
    status.num_ready = kept
    for edge in range(problem.tasks[task].out_begin, problem.tasks[task + 1].out_begin):
        receiver = problem.edges[edge].target
        plan.tasks[receiver].pending -= 1
        if plan.tasks[receiver].pending == 0:
            _make_ready(problem, episode, receiver)


@inner
def _decode(problem: Problem, episode: Episode, num_candidates: int, action: int) -> tuple[int, int]:
    """Returns the (task, device) that an action means, or (-1, -1) if it is not allowed."""
    num_devices = problem.duration.shape[1]
    if action <= 0:
        return -1, -1
    if action < num_candidates:
        position, device = divmod(action - 1, num_devices)
        if position >= episode.status[0].num_ready:
            return -1, -1
        task = episode.plan.tasks[position].ready
    else:
        task, device = divmod(action - num_candidates, num_devices)
        if task >= problem.total[0].num_tasks:
            return -1, -1
        if episode.plan.tasks[task].pending > 0 or episode.plan.tasks[task].device >= 0:
            return -1, -1
    if problem.duration[task, device] == np.inf:
        return -1, -1
    return task, device


@inner
def _first_allowed(problem: Problem, episode: Episode) -> tuple[int, int]:
    task = episode.plan.tasks[0].ready
    device = 0
    while problem.duration[task, device] == np.inf:
        device += 1
    return task, device


@inner
def _begin(world: World, rows: IntArray, insertion: bool) -> None:
    for i in range(rows.size):
        b = rows[i]
        episode = episode_at(world.state, b)
        status = episode.status[0]
        problem = problem_at(world.instances, status.slot)
        total = problem.total[0]
        status.serial += 1
        status.insertion = insertion
        status.num_placed = 0
        status.num_ready = 0
        status.makespan = 0.0
        status.bound = total.lower_bound
        status.makespan_unit = total.heft_makespan if total.heft_makespan > 0.0 else 1.0
        status.bound_unit = total.lower_bound if total.lower_bound > 0.0 else 1.0
        clear(problem, episode.plan)
        for task in range(total.num_tasks):
            if episode.plan.tasks[task].pending == 0:
                _make_ready(problem, episode, task)
        outcome = world.outcome[b]
        outcome.reward = 0.0
        outcome.terminated = False
        outcome.invalid_action = False
        outcome.episode_return = 0.0
        outcome.episode_length = 0
        show(problem, episode, view_at(world.shown, b))


@inner
def _advance(world: World, actions: IntArray, reward_code: int) -> None:
    for b in range(actions.size):
        episode = episode_at(world.state, b)
        status = episode.status[0]
        problem = problem_at(world.instances, status.slot)
        outcome = world.outcome[b]
        outcome.reward = 0.0
        outcome.invalid_action = False
        if status.num_placed < problem.total[0].num_tasks:
            task, device = _decode(problem, episode, world.shown.candidates.shape[1], actions[b])
            if task < 0:
                outcome.invalid_action = True
                task, device = _first_allowed(problem, episode)
            bound_before = status.bound
            _decide(problem, episode, task, device)
            outcome.terminated = status.num_placed == problem.total[0].num_tasks
            outcome.reward = reward(
                reward_code, bound_before, status.bound, status.makespan, outcome.terminated, status.makespan_unit
            )
            outcome.episode_return += outcome.reward
            outcome.episode_length += 1
        show(problem, episode, view_at(world.shown, b))


@inner
def _show_rows(world: World, rows: IntArray) -> None:
    for i in range(rows.size):
        episode = episode_at(world.state, rows[i])
        show(problem_at(world.instances, episode.status[0].slot), episode, view_at(world.shown, rows[i]))


@handle_kernel
def begin(handle: Any, rows: IntArray, insertion: bool) -> None:
    """Begins episodes on the instances that ``slot`` names, and shows them."""
    _begin(handle.value, rows, insertion)


@handle_kernel
def advance(handle: Any, actions: IntArray, reward_code: int) -> None:
    """Takes one decision in every episode that goes on, and shows the result."""
    _advance(handle.value, actions, reward_code)


@handle_kernel
def show_rows(handle: Any, rows: IntArray) -> None:
    """Brings the observation of some episodes up to date."""
    _show_rows(handle.value, rows)


class TaskGraphSimulator(Simulator):
    """Decides task graphs, one task a step: which ready task, on which device.

    Attributes:
        instances: The instances in play, side by side; ``state.slot`` says which of them each episode plays.
        state: Where the episodes stand.
        platform: What the graphs run on.
    """

    schema = SCHEMA

    def __init__(
        self,
        workload: GraphSource,
        platform: Platform,
        num_envs: int,
        window: int,
        pool: int,
        insertion: bool,
        reward: int,
    ) -> None:
        """Makes room for B episodes.

        Args:
            workload: Where the graphs come from.
            platform: What they run on.
            num_envs: B.
            window: How many ready tasks are candidates.
            pool: Graphs that each environment draws before they come round again.
            insertion: Whether tasks may go into gaps.
            reward: Place in `REWARDS`.
        """
        num_devices = platform.num_devices
        num_candidates = 1 + window * num_devices
        space = observation_space(SCHEMA, num_candidates, num_devices + workload.max_tasks, max(workload.max_edges, 1))
        super().__init__(num_envs, space, num_candidates)
        self.platform = platform
        self._workload = workload
        self._pool = pool if workload.varies else 1
        self._insertion = insertion
        self._reward = reward
        # Rows: the drawn graphs of each environment (one row for all where the graph is fixed), then one row an
        # environment for an instance given at reset.
        self._num_drawn = num_envs * self._pool if workload.varies else 1
        num_rows = self._num_drawn + num_envs
        self.instances = Instances.empty(num_rows, workload.max_tasks, num_devices, max(workload.max_edges, 1))
        self.instances.put_links(slice(None), platform)
        self._drawn_seed = np.full(self._num_drawn, -1, np.int64)
        self._given: dict[int, Instance] = {}
        self.state = State.empty(num_envs, workload.max_tasks, num_devices)
        self._draft = Draft.empty(workload.max_tasks, num_devices)
        self._views = [self._view(buffer) for buffer in self.buffers]
        self._handles = [hold(World(self.instances, self.state, self.outcome, view)) for view in self._views]

    def _view(self, buffer: Arrays) -> View:
        mark = np.zeros(self.num_envs, MARK)
        mark["episode"] = -1
        return View(**buffer, flat=buffer["candidates"].reshape(self.num_envs, -1), mark=mark)

    def _begin(self, rows: IntArray, instances: Sequence[Any] | None) -> None:
        if instances is None:
            self._draw(rows)
        else:
            self._take(rows, instances)
        begin(self._handles[self._current], rows, self._insertion)

    def _draw(self, rows: IntArray) -> None:
        """Makes the rows' episodes play the graphs that their seeds give."""
        for row in rows:
            self._given.pop(int(row), None)
        turns = self.episodes[rows] % self._pool
        slots = rows * self._pool + turns if self._workload.varies else np.zeros_like(rows)
        seeds = self.seeds[rows] if self._workload.varies else np.zeros_like(rows)
        self.state.status["slot"][rows] = slots
        fresh = self._drawn_seed[slots] != seeds
        if not fresh.any():
            return
        if isinstance(self._workload, DrawnGraphs):
            self._workload.fill(self.instances.graph, slots[fresh], seeds[fresh], turns[fresh])
        else:
            self.instances.put(0, Instance(self._workload.sample(0, 0), self.platform))
        prepare(self.instances, self._draft, np.unique(slots[fresh]))
        self._drawn_seed[slots] = seeds

    def _accept(self, instances: Sequence[Any] | None) -> list[Instance] | None:
        if instances is None:
            return None
        accepted = []
        for problem in instances:
            if not isinstance(problem, Instance | TaskGraph):
                raise HetgymError(
                    f"instance: must be a hetgym Instance or TaskGraph, not {type(problem).__name__} ({problem!r})"
                )
            accepted.append(problem if isinstance(problem, Instance) else Instance(problem, self.platform))
            self.instances.check_fits(accepted[-1])
        return accepted

    def _take(self, rows: IntArray, instances: Sequence[Instance]) -> None:
        """Makes the rows' episodes play given instances."""
        slots = self._num_drawn + rows
        for row, slot, instance in zip(rows.tolist(), slots.tolist(), instances, strict=True):
            self.instances.put(slot, instance)
            self._given[row] = instance
        prepare(self.instances, self._draft, slots)
        self.state.status["slot"][rows] = slots

    def _advance(self, actions: IntArray) -> None:
        advance(self._handles[self._current], actions, self._reward)

    def name_action(self, tasks: IntArray, devices: IntArray) -> IntArray:
        """Returns actions that name ready tasks directly, in the window or not.

        Args:
            tasks: int64 (B,).
            devices: int64 (B,), the device of each task.
        """
        return self.num_candidates + tasks * self.platform.num_devices + devices

    def set_placement(self, insertion: bool) -> None:
        """Chooses for the episodes that have just begun whether tasks may go into gaps.

        It is part of a list scheduler's definition, so policies that are defined with one rule set it in their
        ``reset``.
        """
        self.state.status["insertion"] = insertion

    def instance(self, row: int) -> Instance:
        """Returns the instance that an episode plays."""
        if row in self._given:
            return self._given[row]
        graph = self._workload.sample(int(self.seeds[row]), int(self.episodes[row]) % self._pool)
        return Instance(graph, self.platform)

    def state_arrays(self) -> Mapping[str, NDArray[Any]]:
        """Returns the state, the seeds and what the last step gave."""
        if self._given:
            raise HetgymError("episodes that play given instances cannot be saved")
        return {
            "seeds": self.seeds,
            "episodes": self.episodes,
            "outcome": self.outcome,
            **self.state._asdict(),
        }

    def load_state_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Continues from arrays that `state_arrays` gave."""
        self.seeds[:] = arrays["seeds"]
        self.episodes[:] = arrays["episodes"]
        rows = np.arange(self.num_envs)
        self._draw(rows)
        self._begun = True
        for name, array in {"outcome": self.outcome, **self.state._asdict()}.items():
            array[...] = arrays[name]
        for view in self._views:
            view.mark["episode"] = -1
        show_rows(self._handles[self._current], rows)

    def metrics(self, rows: IntArray) -> dict[str, NDArray[np.float64]]:
        """Returns ``makespan``, ``heft_makespan`` and ``lower_bound`` (at reset), seconds."""
        totals = self.instances.totals[self.state.status["slot"][rows]]
        return {
            "makespan": self.state.status["makespan"][rows],
            "heft_makespan": totals["heft_makespan"],
            "lower_bound": totals["lower_bound"],
        }

    def schedule(self, row: int) -> Schedule:
        """Returns what an episode has decided so far."""
        status = self.state.status[row]
        tasks = self.state.tasks[row, : self.instances.graph.num_tasks[status["slot"]]]
        return Schedule(
            device=tasks["device"].copy(),
            start=tasks["start"].copy(),
            finish=tasks["finish"].copy(),
            sequence=tasks["sequence"][: status["num_placed"]].copy(),
        )

    def episode(self, row: int) -> pd.DataFrame:
        """Returns the schedule so far, one row a decided task, in order of decision (`Schedule.table`)."""
        return self.schedule(row).table(self.instance(row))

    def figure(self, row: int) -> Figure:
        """Returns a Gantt chart of the schedule so far."""
        from .render import gantt

        return gantt(self.instance(row), self.schedule(row))
