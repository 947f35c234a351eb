"""Online schedulers: they decide while tasks run, from what is known by then.

What they expect of a task that has not finished is its expected duration. They decide again at every event, so a
task that waits for a device is bound to nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...compilation import handle_kernel, inner
from ...envs import Simulator
from ...envs.core.simulator import Arrays
from ...envs.task_graph.instance import Problem, problem_at
from ...envs.task_graph.simulator import TaskGraphSimulator
from ...envs.task_graph.state import Episode, is_allowed
from ...envs.task_graph.world import World, episode_at
from ...errors import HetgymError
from ...workloads.task_graph import FloatArray
from ..policy import Actions


class OnlineScheduler:
    """A rule for the next decision as a policy.

    Attributes:
        name: What it is called.
    """

    clairvoyant = False

    def __init__(self, name: str, order: str, wait: bool) -> None:
        """Chooses the rule.

        Args:
            name: What it is called.
            order: Which ready task goes first: the most urgent by upward rank (``rank``), the one that has been ready
                longest (``ready``), or the one that can finish first (``finish``).
            wait: Whether a task waits for the device where it would finish first; otherwise it goes to the best
                device that takes it now.
        """
        self.name = name
        self._order = ("rank", "ready", "finish").index(order)
        self._wait = wait

    def reset(self, simulator: Simulator) -> None:
        """Checks that tasks are decided while they run.

        Raises:
            HetgymError: If they are not.
        """
        dispatching(self.name, simulator)

    def act(self, observation: Arrays, simulator: Simulator) -> Actions:
        """Returns a task and its device for each episode, or 0 to wait, int64 (B,)."""
        running = dispatching(self.name, simulator)
        actions = np.empty(simulator.num_envs, np.int64)
        free = np.empty(running.platform.num_devices)
        choose(running.handle, self._order, self._wait, free, actions)
        return actions


def dispatching(name: str, simulator: Simulator) -> TaskGraphSimulator:
    """Returns a simulator whose tasks are decided while they run.

    Args:
        name: Of the policy, for the message.
        simulator: Any.

    Raises:
        HetgymError: If it is another.
    """
    if not isinstance(simulator, TaskGraphSimulator) or simulator.rules.mode != "dispatch":
        raise HetgymError(f"policy {name!r} decides while tasks run: it needs task graphs in mode 'dispatch'")
    return simulator


@inner
def _precedes(problem: Problem, episode: Episode, by_rank: bool, task: int, other: int) -> bool:
    """Whether a ready task goes before another, ties by index."""
    if by_rank:
        one, two = -problem.upward_rank[task], -problem.upward_rank[other]
    else:
        one, two = episode.runs[task].ready_at, episode.runs[other].ready_at
    return bool(one < two or (one == two and task < other))


@inner
def _best_device(problem: Problem, episode: Episode, free: FloatArray, task: int, now: bool) -> int:
    """Returns where a task is expected to finish first, of all devices or of those that take it now; -1 for none.

    Device p is free from ``free[p]`` on.
    """
    best, best_device = np.inf, -1
    for device in range(problem.duration.shape[1]):
        if not now or is_allowed(problem, episode, task, device, 0):
            start = max(episode.options[task, device].start, free[device])
            if start + problem.duration[task, device] < best:
                best, best_device = start + problem.duration[task, device], device
    return best_device


@inner
def _earliest_finish(problem: Problem, episode: Episode, free: FloatArray) -> tuple[int, int]:
    """Returns the allowed (task, device) that is expected to finish first; of equals the most urgent."""
    best, best_task, best_device = np.inf, -1, -1
    for position in range(episode.status[0].num_ready):
        task = episode.plan.tasks[position].ready
        device = _best_device(problem, episode, free, task, True)
        if device >= 0:
            finish = episode.options[task, device].start + problem.duration[task, device]
            if finish < best:
                best, best_task, best_device = finish, task, device
    return best_task, best_device


@inner
def _first_in_order(problem: Problem, episode: Episode, free: FloatArray, by_rank: bool, wait: bool) -> tuple[int, int]:
    """Returns the first ready task in order that gets a device now, and the device; (-1, -1) if none does.

    Tasks that wait take their place: those that come after them find the device taken for as long.
    """
    last = -1
    for _ in range(episode.status[0].num_ready):
        task = -1
        for position in range(episode.status[0].num_ready):
            other = episode.plan.tasks[position].ready
            behind = last < 0 or _precedes(problem, episode, by_rank, last, other)
            if behind and (task < 0 or _precedes(problem, episode, by_rank, other, task)):
                task = other
        device = _best_device(problem, episode, free, task, not wait)
        if device >= 0 and is_allowed(problem, episode, task, device, 0):
            return task, device
        if wait:
            start = max(episode.options[task, device].start, free[device])
            free[device] = start + problem.duration[task, device]
        last = task
    return -1, -1


@inner
def _choose(world: World, order: int, wait: bool, free: FloatArray, actions: Actions) -> None:
    num_candidates = world.shown.candidates.shape[1]
    for b in range(actions.size):
        episode = episode_at(world, b)
        problem = problem_at(world.instances, episode.status[0].slot)
        num_devices = problem.duration.shape[1]
        for device in range(num_devices):
            free[device] = episode.plan.lanes[device].available
        if order == 2:
            task, device = _earliest_finish(problem, episode, free)
        else:
            task, device = _first_in_order(problem, episode, free, order == 0, wait)
        actions[b] = 0 if task < 0 else num_candidates + (task * num_devices + device) * problem.steps.shape[1]


@handle_kernel
def choose(handle: Any, order: int, wait: bool, free: FloatArray, actions: Actions) -> None:
    """Finds the next decision of every episode.

    Args:
        handle: Of a `World`.
        order: Place in (``rank``, ``ready``, ``finish``).
        wait: Whether tasks wait for their best device.
        free: float64 (P,), to work in.
        actions: int64 (B,), the result.
    """
    _choose(handle.value, order, wait, free, actions)


def fifo() -> OnlineScheduler:
    """Returns FIFO: the task that has been ready longest, at once, where it finishes first of the open devices."""
    return OnlineScheduler("fifo", "ready", wait=False)


def eft() -> OnlineScheduler:
    """Returns EFT: of all ready tasks and open devices the pair that finishes first (online Min-Min).

    Maheswaran et al. 1999, doi:10.1006/jpdc.1999.1581.
    """
    return OnlineScheduler("eft", "finish", wait=False)


def mct_online() -> OnlineScheduler:
    """Returns online MCT: in order of readiness, each task where it finishes first, and it waits for that device.

    Maheswaran et al. 1999, doi:10.1006/jpdc.1999.1581 (immediate mode).
    """
    return OnlineScheduler("mct-online", "ready", wait=True)


def rank_online() -> OnlineScheduler:
    """Returns upward rank at run time: the most urgent task, at once, where it finishes first of the open devices.

    The ranks are those of Topcuoglu, Hariri, Wu 2002, doi:10.1109/71.993206.
    """
    return OnlineScheduler("rank-online", "rank", wait=False)


def rank_online_wait() -> OnlineScheduler:
    """Returns upward rank at run time: the most urgent task, where it finishes first, and it waits for that device.

    The ranks are those of Topcuoglu, Hariri, Wu 2002, doi:10.1109/71.993206.
    """
    return OnlineScheduler("rank-online-wait", "rank", wait=True)
