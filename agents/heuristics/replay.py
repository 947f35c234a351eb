"""Plans as policies: made at reset and played decision by decision, or made anew on the way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...compilation import handle_kernel, inner
from ...envs import Simulator
from ...envs.core.simulator import Arrays
from ...envs.task_graph.instance import Instance, Problem, Records, problem_at
from ...envs.task_graph.list_scheduling import Draft, clear, continue_by_priority
from ...envs.task_graph.schedule import Schedule
from ...envs.task_graph.simulator import TaskGraphSimulator
from ...envs.task_graph.state import Episode, is_allowed
from ...envs.task_graph.world import World, episode_at
from ...errors import HetgymError
from ...workloads import TaskGraph
from ...workloads.task_graph import FloatArray, IntArray
from ..policy import Actions
from .online import dispatching

PLANNED = np.dtype(
    [
        ("device", np.int64),  # -1 where nothing is planned
        ("start", np.float64),  # seconds, planned
        ("finish", np.float64),  # seconds, planned
        ("step", np.int64),  # when it was planned
    ],
    align=True,
)
"""What is planned for a task."""


@inner
def _precedes(one: Any, other: Any) -> bool:
    """Whether a planned task runs before another on the same device."""
    if one.start != other.start:
        return bool(one.start < other.start)
    return bool(one.finish < other.finish or (one.finish == other.finish and one.step < other.step))


@inner
def _follow(world: World, planned: Records, room: IntArray, actions: Actions) -> None:
    for b in range(actions.size):
        episode = episode_at(world, b)
        problem = problem_at(world.instances, episode.status[0].slot)
        room[:] = -1
        for task in range(problem.total[0].num_tasks):
            device = planned[b, task].device
            if device >= 0 and episode.plan.tasks[task].device < 0:
                following = room[device]
                if following < 0 or _precedes(planned[b, task], planned[b, following]):
                    room[device] = task
        actions[b] = 0
        for device in range(room.size):
            task = room[device]
            if task >= 0 and episode.plan.tasks[task].pending == 0 and is_allowed(problem, episode, task, device, 0):
                actions[b] = world.shown.candidates.shape[1] + (task * room.size + device) * problem.steps.shape[1]
                break


@handle_kernel
def follow(handle: Any, planned: Records, room: IntArray, actions: Actions) -> None:
    """Finds the next decision of every episode that follows its plan.

    Args:
        handle: Of a `World`.
        planned: (B, T) of `PLANNED`.
        room: int64 (P,), to work in.
        actions: int64 (B,), the result.
    """
    _follow(handle.value, planned, room, actions)


def next_planned(simulator: TaskGraphSimulator, planned: Records) -> Actions:
    """Returns a task and its device for each episode, or 0 to wait, int64 (B,).

    Each device is given its tasks in the planned order, as they become ready.

    Args:
        simulator: In Dispatch.
        planned: (B, T) of `PLANNED`.
    """
    actions = np.empty(simulator.num_envs, np.int64)
    follow(simulator.handle, planned, np.empty(simulator.platform.num_devices, np.int64), actions)
    return actions


class Planner(ABC):
    """A policy that plans every episode at reset, and then plays its plan.

    In Dispatch each device runs its tasks in the planned order, each as soon as it can; the plan is made of expected
    durations, and knows when jobs will arrive.

    Attributes:
        name: What it is called.
        insertion: Whether its definition lets tasks go into gaps; it is played by that rule whatever the scenario's
            ``placement``.
    """

    name: str
    insertion: bool
    clairvoyant = False
    observes = False
    reactive = False

    @abstractmethod
    def schedule(self, problem: Instance | TaskGraph) -> Schedule:
        """Returns the finished schedule of one instance.

        Args:
            problem: An instance, or a task graph, which then runs on one device of each of its kinds with its
                volumes as transfer times.
        """

    def plan(self, simulator: TaskGraphSimulator, row: int) -> Schedule:
        """Returns the schedule of the instance that an episode plays."""
        return self.schedule(simulator.instance(row))

    def plans(self, simulator: TaskGraphSimulator) -> Sequence[Schedule]:
        """Returns the schedules of the instances that all episodes play."""
        return [self.plan(simulator, row) for row in range(simulator.num_envs)]

    def reset(self, simulator: Simulator) -> None:
        """Plans every episode.

        Raises:
            HetgymError: If the simulator is not one of task graphs.
        """
        if not isinstance(simulator, TaskGraphSimulator):
            raise HetgymError(f"policy {self.name!r} schedules task graphs only")
        if simulator.is_stream:
            raise HetgymError(f"policy {self.name!r} plans whole graphs: a stream has none; try 're-heft'")
        simulator.set_placement(self.insertion)
        num_envs, max_tasks = simulator.state.tasks.shape
        self._planned = np.zeros((num_envs, max_tasks), PLANNED)
        self._sequence = np.zeros((num_envs, max_tasks), np.int64)
        for row, schedule in enumerate(self.plans(simulator)):
            num_tasks = len(schedule.sequence)
            planned = self._planned[row, :num_tasks]
            for field in ("device", "start", "finish"):
                planned[field] = getattr(schedule, field)
            planned["step"][schedule.sequence] = np.arange(num_tasks)
            self._sequence[row, :num_tasks] = schedule.sequence

    def act(self, observation: Arrays, simulator: Simulator) -> Actions:
        """Returns the next task of each plan and its device, or 0 to wait, int64 (B,)."""
        assert isinstance(simulator, TaskGraphSimulator)
        if simulator.rules.mode == "dispatch":
            return next_planned(simulator, self._planned)
        rows = np.arange(simulator.num_envs)
        step = np.minimum(simulator.state.status["num_placed"], self._sequence.shape[1] - 1)
        task = self._sequence[rows, step]
        return simulator.name_action(task, self._planned["device"][rows, task])


@inner
def _take_over(problem: Problem, episode: Episode, draft: Draft) -> None:
    """Begins a plan with what is decided already.

    Devices are free when their tasks in line are expected to have run.
    """
    plan = draft.plan
    clear(problem, plan)
    for device in range(problem.duration.shape[1]):
        plan.lanes[device].available = episode.plan.lanes[device].available
        plan.lanes[device].num_intervals = 1
        plan.intervals[device, 0].begin = -np.inf
        plan.intervals[device, 0].end = plan.lanes[device].available
        plan.intervals[device, 0].widest_gap = 0.0
    for task in range(problem.total[0].num_tasks):
        decision = episode.plan.tasks[task]
        if decision.device >= 0:
            plan.tasks[task].device = decision.device
            plan.tasks[task].finish = decision.finish
            for edge in range(problem.tasks[task].out_begin, problem.tasks[task + 1].out_begin):
                plan.tasks[problem.edges[edge].target].pending -= 1
        elif problem.tasks[task].release > episode.status[0].now:
            # Nobody knows of it yet.
            plan.tasks[task].pending += 1


@inner
def _covers_ready(episode: Episode, planned: Records) -> bool:
    """Whether all ready tasks are planned."""
    for position in range(episode.status[0].num_ready):
        if planned[episode.plan.tasks[position].ready].device < 0:
            return False
    return True


@inner
def _plan_again(world: World, draft: Draft, period: float, planned_at: FloatArray, planned: Records) -> None:
    for b in range(planned_at.size):
        episode = episode_at(world, b)
        now = episode.status[0].now
        problem = problem_at(world.instances, episode.status[0].slot)
        old = now > planned_at[b] and now - planned_at[b] >= period * episode.status[0].makespan_unit
        if not old and _covers_ready(episode, planned[b]):
            continue
        planned_at[b] = now
        draft.outlook[:] = 0.0
        for task in range(problem.total[0].num_tasks):
            draft.priority[task] = problem.upward_rank[task]
        step = episode.status[0].num_placed
        _take_over(problem, episode, draft)
        end = continue_by_priority(problem, draft, step, True)
        for task in range(problem.total[0].num_tasks):
            planned[b, task].device = draft.plan.tasks[task].device
            planned[b, task].start = draft.plan.tasks[task].start
            planned[b, task].finish = draft.plan.tasks[task].finish
        for later in range(step, end):
            planned[b, draft.plan.tasks[later].sequence].step = later


@handle_kernel
def plan_again(handle: Any, draft: Draft, period: float, planned_at: FloatArray, planned: Records) -> None:
    """Plans by HEFT's rule what is not decided yet, in the episodes whose plan is old.

    Args:
        handle: Of a `World`.
        draft: Room for the largest instance.
        period: How old a plan becomes, as a share of the instance's HEFT makespan; with 0, until something happens.
            A ready task that is not planned makes it old at once.
        planned_at: float64 (B,), seconds, when each plan was made.
        planned: (B, T) of `PLANNED`.
    """
    _plan_again(handle.value, draft, period, planned_at, planned)


class PeriodicHeft:
    """HEFT at run time: what is not decided yet is planned anew at intervals, from what is known by then."""

    name = "re-heft"
    clairvoyant = False
    observes = False

    def __init__(self, period: float = 0.0) -> None:
        """Chooses the interval.

        Args:
            period: At least so much time passes between two plans, as a share of the HEFT makespan of the instance;
                with 0, a plan lives until the next event.

        Raises:
            HetgymError: If the period is not a finite number, zero or more.
        """
        if not 0 <= period < np.inf:
            raise HetgymError(f"policy 're-heft': period: must be zero or more, and finite (given: {period})")
        self._period = float(period)

    def reset(self, simulator: Simulator) -> None:
        """Forgets all plans.

        Raises:
            HetgymError: If tasks are not decided while they run.
        """
        running = dispatching(self.name, simulator)
        num_envs, num_tasks = running.state.tasks.shape
        self._planned = np.zeros((num_envs, num_tasks), PLANNED)
        self._planned["device"] = -1
        self._planned_at = np.full(num_envs, -np.inf)
        # One more: what is decided already is an interval of its own on each device.
        self._draft = Draft.empty(num_tasks + 1, running.platform.num_devices)

    def act(self, observation: Arrays, simulator: Simulator) -> Actions:
        """Returns the next task of each plan and its device, or 0 to wait, int64 (B,)."""
        running = dispatching(self.name, simulator)
        plan_again(running.handle, self._draft, self._period, self._planned_at, self._planned)
        return next_planned(running, self._planned)
