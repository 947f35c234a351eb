"""Online schedulers: they decide while tasks run, from what is known by then.

What they expect of a task that has not finished is its expected duration. They decide again at every event, so a
task that waits for a device is bound to nothing. All run devices at their highest speed step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...compilation import handle_kernel, inner
from ...envs import Simulator
from ...envs.core.simulator import Arrays
from ...envs.task_graph.instance import Problem, problem_at
from ...envs.task_graph.lines import is_earlier, is_more_urgent
from ...envs.task_graph.simulator import TaskGraphSimulator
from ...envs.task_graph.state import Episode, is_allowed, is_open
from ...envs.task_graph.world import World, episode_at
from ...errors import HetgymError
from ...workloads.task_graph import FloatArray, IntArray
from ..policy import Actions

ORDERS = ("rank", "ready", "oct", "deadline", "period", "remaining", "work", "fair", "dominant")
"""Which ready task goes first; see `OnlineScheduler`. In the order of the codes that kernels take."""

_RANK, _READY, _OCT, _DEADLINE, _PERIOD, _REMAINING, _WORK, _FAIR, _DOMINANT = range(len(ORDERS))

PAIRS = ("finish", "start")
"""Which pair of a ready task and a device goes first."""


class Desk(NamedTuple):
    """Room to compare tasks in."""

    free: FloatArray  # (P,) seconds; when devices are free, after tasks that wait for them
    key: FloatArray  # (T,) what ready tasks are ordered by, least first
    job_key: FloatArray  # (J,) what jobs are ordered by
    resource: IntArray  # (P,) which kind of device it is
    per_kind: IntArray  # (K,) how many devices of each kind there are
    usage: IntArray  # (J, K) how many tasks of a job are in line on devices of a kind

    @classmethod
    def of(cls, simulator: TaskGraphSimulator) -> Desk:
        """Returns room for the episodes of a simulator."""
        kinds = simulator.platform.kinds
        names = list(dict.fromkeys(kinds))
        resource = np.array([names.index(kind) for kind in kinds])
        num_tasks, num_jobs = simulator.state.tasks.shape[1], simulator.state.jobs.shape[1]
        return cls(
            free=np.empty(len(kinds)),
            key=np.empty(num_tasks),
            job_key=np.empty(num_jobs),
            resource=resource,
            per_kind=np.bincount(resource),
            usage=np.empty((num_jobs, len(names)), np.int64),
        )


class OnlineScheduler:
    """A rule for the next task as a policy: in an order, each task where it is expected to finish first.

    Attributes:
        name: What it is called.
    """

    clairvoyant = False
    observes = False

    def __init__(self, name: str, order: str, wait: bool, exponent: float = 0.0) -> None:
        """Chooses the rule.

        Args:
            name: What it is called.
            order: Which ready task goes first: the most urgent by upward rank (``rank``); the one that has been ready
                longest (``ready``); of highest mean optimistic cost (``oct``, which also chooses the device by
                finish plus optimistic cost); or one of the job that comes first, of its tasks the most urgent: the
                job of earliest ``deadline``, of shortest time from arrival to deadline (``period``), of
                shortest ``remaining`` critical path, of least unfinished ``work``, of fewest tasks in line for its
                weight (``fair``), or of least ``dominant`` share.
            wait: Whether a task waits for the device where it would finish first; otherwise it goes to the best
                device that takes it now.
            exponent: Of a job's unfinished work, which gives its weight (``fair``).
        """
        self.name = name
        self._order = ORDERS.index(order)
        self._wait = wait
        self._exponent = exponent

    def reset(self, simulator: Simulator) -> None:
        """Checks that tasks are decided while they run.

        Raises:
            HetgymError: If they are not.
        """
        self._desk = Desk.of(dispatching(self.name, simulator))

    def act(self, observation: Arrays, simulator: Simulator) -> Actions:
        """Returns a task and its device for each episode, or 0 to wait, int64 (B,)."""
        running = dispatching(self.name, simulator)
        actions = np.empty(simulator.num_envs, np.int64)
        choose_task(running.handle, self._order, self._wait, self._exponent, self._desk, actions)
        return actions


class GreedyPairs:
    """Of all ready tasks and open devices the pair that comes first as a policy.

    Attributes:
        name: What it is called.
    """

    clairvoyant = False
    observes = False

    def __init__(self, name: str, least: str) -> None:
        """Chooses the rule.

        Args:
            name: What it is called.
            least: What the pair has least of: the expected ``finish`` or ``start``; of equals the most urgent task.
        """
        self.name = name
        self._by_start = PAIRS.index(least) == 1

    def reset(self, simulator: Simulator) -> None:
        """Checks that tasks are decided while they run.

        Raises:
            HetgymError: If they are not.
        """
        dispatching(self.name, simulator)

    def act(self, observation: Arrays, simulator: Simulator) -> Actions:
        """Returns a task and its device for each episode, or 0 to wait, int64 (B,)."""
        actions = np.empty(simulator.num_envs, np.int64)
        choose_pair(dispatching(self.name, simulator).handle, self._by_start, actions)
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
def _find_keys(problem: Problem, episode: Episode, order: int, exponent: float, desk: Desk) -> None:
    """Writes what the ready tasks are ordered by."""
    if order >= _DEADLINE:
        _find_job_keys(problem, episode, order, exponent, desk)
    for position in range(episode.status[0].num_ready):
        task = episode.plan.tasks[position].ready
        if order == _RANK:
            desk.key[task] = 0.0
        elif order == _READY:
            desk.key[task] = episode.runs[task].ready_at
        elif order == _OCT:
            desk.key[task] = -_mean_optimistic_cost(problem, task)
        else:
            desk.key[task] = desk.job_key[problem.tasks[task].job]


@inner
def _mean_optimistic_cost(problem: Problem, task: int) -> float:
    total, count = 0.0, 0
    for device in range(problem.duration.shape[1]):
        if problem.duration[task, device] < np.inf:
            total += problem.tail[task, device]
            count += 1
    return total / count


@inner
def _find_job_keys(problem: Problem, episode: Episode, order: int, exponent: float, desk: Desk) -> None:
    """Writes what jobs are ordered by."""
    jobs = episode.jobs
    for j in range(jobs.size):
        if order == _DEADLINE:
            desk.job_key[j] = jobs[j].deadline
        elif order == _PERIOD:
            desk.job_key[j] = jobs[j].deadline - jobs[j].arrival
        elif order == _WORK:
            desk.job_key[j] = jobs[j].work
        elif order == _FAIR:
            desk.job_key[j] = jobs[j].in_line / max(jobs[j].work, 1e-300) ** exponent
        else:
            desk.job_key[j] = 0.0
    if order == _REMAINING:
        _find_remaining_paths(problem, episode, desk)
    elif order == _DOMINANT:
        _find_dominant_shares(problem, episode, desk)


@inner
def _find_remaining_paths(problem: Problem, episode: Episode, desk: Desk) -> None:
    """Finds the highest upward rank of each job's unfinished tasks; one that is ready or in line has it."""
    for position in range(episode.status[0].num_ready):
        task = episode.plan.tasks[position].ready
        job = problem.tasks[task].job
        desk.job_key[job] = max(desk.job_key[job], problem.upward_rank[task])
    for device in range(episode.queues.size):
        task = episode.queues[device].head
        while task >= 0:
            job = problem.tasks[task].job
            desk.job_key[job] = max(desk.job_key[job], problem.upward_rank[task])
            task = episode.runs[task].behind


@inner
def _find_dominant_shares(problem: Problem, episode: Episode, desk: Desk) -> None:
    """Finds the largest share of each job in any kind of device."""
    desk.usage[:] = 0
    for device in range(episode.queues.size):
        kind = desk.resource[device]
        task = episode.queues[device].head
        while task >= 0:
            job = problem.tasks[task].job
            desk.usage[job, kind] += 1
            desk.job_key[job] = max(desk.job_key[job], desk.usage[job, kind] / desk.per_kind[kind])
            task = episode.runs[task].behind


@inner
def _precedes(problem: Problem, episode: Episode, desk: Desk, by_rank: bool, task: int, other: int) -> bool:
    """Whether a ready task goes before another; of equal keys the more urgent, or the earlier."""
    if desk.key[task] != desk.key[other]:
        return bool(desk.key[task] < desk.key[other])
    if by_rank:
        return is_more_urgent(problem, episode, task, other)
    return is_earlier(problem, episode, task, other)


@inner
def _best_device(problem: Problem, episode: Episode, order: int, desk: Desk, task: int, now: bool) -> int:
    """Returns where a task is expected to finish first, of all devices or of those that take it now; -1 for none."""
    best, best_device = np.inf, -1
    for device in range(problem.duration.shape[1]):
        if not now or is_allowed(problem, episode, task, device, 0):
            start = max(episode.options[task, device].start, desk.free[device])
            finish = start + problem.duration[task, device]
            if order == _OCT:
                finish += problem.tail[task, device]
            if finish < best:
                best, best_device = finish, device
    return best_device


@inner
def _first_in_order(problem: Problem, episode: Episode, order: int, wait: bool, desk: Desk) -> tuple[int, int]:
    """Returns the first ready task in order that gets a device now, and the device; (-1, -1) if none does.

    Tasks that wait take their place: those that come after them find the device taken for as long.
    """
    last = -1
    for _ in range(episode.status[0].num_ready):
        task = _next_in_order(problem, episode, order, last, desk)
        device = _best_device(problem, episode, order, desk, task, not wait)
        if device >= 0 and is_allowed(problem, episode, task, device, 0):
            return task, device
        if wait:
            start = max(episode.options[task, device].start, desk.free[device])
            desk.free[device] = start + problem.duration[task, device]
        last = task
    return -1, -1


@inner
def _next_in_order(problem: Problem, episode: Episode, order: int, last: int, desk: Desk) -> int:
    """Returns the ready task that comes after another one; the first of all after -1."""
    task, by_rank = -1, order != _READY
    for position in range(episode.status[0].num_ready):
        other = episode.plan.tasks[position].ready
        behind = last < 0 or _precedes(problem, episode, desk, by_rank, last, other)
        if behind and (task < 0 or _precedes(problem, episode, desk, by_rank, other, task)):
            task = other
    return task


@inner
def _choose_task(world: World, order: int, wait: bool, exponent: float, desk: Desk, actions: Actions) -> None:
    for b in range(actions.size):
        episode = episode_at(world, b)
        problem = problem_at(world.instances, episode.status[0].slot)
        for device in range(desk.free.size):
            desk.free[device] = episode.plan.lanes[device].available
        _find_keys(problem, episode, order, exponent, desk)
        task, device = _first_in_order(problem, episode, order, wait, desk)
        actions[b] = _named(world, problem, task, device)


@inner
def _named(world: World, problem: Problem, task: int, device: int) -> int:
    """Returns the action that gives a task to a device, or 0 to wait."""
    if task < 0:
        return 0
    pair = task * problem.duration.shape[1] + device
    return int(world.shown.candidates.shape[1] + pair * problem.steps.shape[1])


@inner
def _choose_pair(world: World, by_start: bool, actions: Actions) -> None:
    for b in range(actions.size):
        episode = episode_at(world, b)
        problem = problem_at(world.instances, episode.status[0].slot)
        best, best_position, best_task, best_device = np.inf, -1, -1, -1
        for device in range(problem.duration.shape[1]):
            if not is_open(episode, device):
                continue
            for position in range(episode.status[0].num_ready):
                task = episode.plan.tasks[position].ready
                time = episode.options[task, device].start
                time += 0.0 if by_start else problem.duration[task, device]
                comes_first = time < best or (time == best and position < best_position)
                if comes_first and is_allowed(problem, episode, task, device, 0):
                    best, best_position, best_task, best_device = time, position, task, device
        actions[b] = _named(world, problem, best_task, best_device)


@handle_kernel
def choose_task(handle: Any, order: int, wait: bool, exponent: float, desk: Desk, actions: Actions) -> None:
    """Finds the next decision of every episode: the first task in order, where it finishes first.

    Args:
        handle: Of a `World`.
        order: Place in `ORDERS`.
        wait: Whether tasks wait for their best device.
        exponent: Of a job's unfinished work, for its weight.
        desk: To work in.
        actions: int64 (B,), the result.
    """
    _choose_task(handle.value, order, wait, exponent, desk, actions)


@handle_kernel
def choose_pair(handle: Any, by_start: bool, actions: Actions) -> None:
    """Finds the next decision of every episode: the pair of least expected start or finish.

    Args:
        handle: Of a `World`.
        by_start: Whether the start counts, not the finish.
        actions: int64 (B,), the result.
    """
    _choose_pair(handle.value, by_start, actions)


def fifo() -> OnlineScheduler:
    """Returns FIFO: the task that has been ready longest, at once, where it finishes first of the open devices."""
    return OnlineScheduler("fifo", "ready", wait=False)


def eft() -> GreedyPairs:
    """Returns EFT: of all ready tasks and open devices the pair that finishes first (online Min-Min).

    Maheswaran et al. 1999, doi:10.1006/jpdc.1999.1581.
    """
    return GreedyPairs("eft", "finish")


def etf_online() -> GreedyPairs:
    """Returns online ETF: of all ready tasks and open devices the pair that starts first, the most urgent of equals.

    Hwang et al. 1989, doi:10.1137/0218016.
    """
    return GreedyPairs("etf-online", "start")


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


def oct_online() -> OnlineScheduler:
    """Returns PEFT at run time: the task of highest mean optimistic cost, where finish plus optimistic cost is least.

    It waits for that device. The costs are those of Arabnejad and Barbosa 2014, doi:10.1109/TPDS.2013.57.
    """
    return OnlineScheduler("oct-online", "oct", wait=True)


def edf() -> OnlineScheduler:
    """Returns EDF: the most urgent task of the job of earliest deadline, at once, where it finishes first.

    Liu and Layland 1973, doi:10.1145/321738.321743.
    """
    return OnlineScheduler("edf", "deadline", wait=False)


def rm() -> OnlineScheduler:
    """Returns RM: the most urgent task of the job that has the shortest time from arrival to deadline, at once.

    Rate-monotonic priorities, with that time as the period: Liu and Layland 1973, doi:10.1145/321738.321743.
    """
    return OnlineScheduler("rm", "period", wait=False)


def srcpf() -> OnlineScheduler:
    """Returns SRCPF: the most urgent task of the job whose remaining critical path is shortest, at once.

    Shortest remaining time first (Schrage 1968, doi:10.1287/opre.16.3.687), with the highest upward rank of a job's
    unfinished tasks as its remaining time.
    """
    return OnlineScheduler("srcpf", "remaining", wait=False)


def lwkr() -> OnlineScheduler:
    """Returns LWKR: the most urgent task of the job of least unfinished work, and it waits for its best device.

    Least work remaining (Panwalkar and Iskander 1977, doi:10.1287/opre.25.1.45), with the mean durations of a job's
    unfinished tasks as its work.
    """
    return OnlineScheduler("lwkr", "work", wait=True)


def weighted_fair(exponent: float = -1.0) -> OnlineScheduler:
    """Returns weighted fair sharing: a task of the job that has fewest tasks in line for its weight, at once.

    A job's weight is its unfinished work to a power; Mao et al. 2019, doi:10.1145/3341302.3342080, section 7.1, tune
    the power and find -1.

    Args:
        exponent: The power; 0 gives all jobs the same weight.
    """
    return OnlineScheduler("weighted-fair", "fair", wait=False, exponent=exponent)


def drf() -> OnlineScheduler:
    """Returns DRF: a task of the job of least dominant share, its largest share in any kind of device, at once.

    Ghodsi et al. 2011, Dominant Resource Fairness, NSDI 2011, with kinds of device as resources.
    """
    return OnlineScheduler("drf", "dominant", wait=False)
