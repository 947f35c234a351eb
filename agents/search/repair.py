"""Local search on finished schedules."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...compilation import inner, kernel
from ...envs.task_graph.instance import Instance, Instances, Problem, problem_at
from ...envs.task_graph.list_scheduling import Draft, derive, makespan_of, place_in_order
from ...envs.task_graph.ranks import transfer_time
from ...envs.task_graph.schedule import Schedule
from ...errors import HetgymError
from ...workloads import TaskGraph
from ...workloads.counter_random import random_integer, random_stream, random_uniform
from ...workloads.task_graph import IntArray
from ..heuristics.list_schedulers import schedule_of
from ..heuristics.replay import Planner
from ..policy import Policy
from .playing import planned

_PURPOSE = 1_003
_DRAWS = 6
"""Random numbers of a move."""

_RUN = 10
"""A move chooses anew for up to so many times the tasks of the graph: mostly for all that follow, at times for few."""

FIRST_TEMPERATURE, LAST_TEMPERATURE = 0.02, 0.002
"""Of the annealing, as shares of the makespan; it cools geometrically."""


class Decisions(NamedTuple):
    """What makes a plan: the order of the decisions, and the devices."""

    sequence: IntArray  # (T,)
    device: IntArray  # (T,)
    place: IntArray  # (T,) of each task in the sequence

    @classmethod
    def of(cls, schedule: Schedule) -> Decisions:
        """Returns the decisions of a finished schedule."""
        place = np.empty_like(schedule.sequence)
        place[schedule.sequence] = np.arange(place.size)
        return cls(schedule.sequence.copy(), schedule.device.copy(), place)


class Repair(Planner):
    """Improves a finished schedule by simulated annealing (Kirkpatrick, Gelatt, Vecchi 1983).

    A move that makes the schedule longer is kept with the probability ``exp(-growth / temperature)``
    (doi:10.1126/science.220.4598.671); the result is the shortest schedule that was met.

    A move takes a task, in one of two cases one of the critical path: what runs from the start to the end of the
    schedule without a break. It gives it another device, or another place in the order of decisions, between its
    predecessors and its successors. Tasks that are decided later, mostly all, are placed anew where each finishes
    first (HEFT's rule; Topcuoglu, Hariri, Wu 2002, doi:10.1109/71.993206), the others as before. To move only the
    one task is much weaker: what follows has been chosen for where it was. That much is undone and greedily
    made anew is the idea of ruin and recreate (Schrimpf, Schneider, Stamm-Wilbrandt, Dueck 2000,
    doi:10.1006/jcph.1999.6413). The moves are drawn, the same in every run.
    """

    def __init__(self, policy: Policy, moves: int) -> None:
        """Chooses whose schedules are repaired, and for how long.

        Args:
            policy: Any that plans whole graphs.
            moves: How many are tried.

        Raises:
            HetgymError: If there is no move.
        """
        self.name = f"repair-{moves}:{policy.name}"
        if moves < 1:
            raise HetgymError(f"policy {self.name!r}: there must be at least one move")
        self.insertion = policy.insertion if isinstance(policy, Planner) else True
        self._policy = policy
        self._moves = moves

    def schedule(self, problem: Instance | TaskGraph) -> Schedule:
        """Returns the repaired schedule of one instance (`Planner.schedule`)."""
        instance = Instance.of(problem)
        return improved(instance, planned(self._policy, instance), self._moves, self.insertion)


def improved(instance: Instance, schedule: Schedule, moves: int, insertion: bool) -> Schedule:
    """Returns a schedule that is at least as good.

    Args:
        instance: The problem.
        schedule: A finished schedule of it, as its decisions make it.
        moves: How many are tried.
        insertion: Whether tasks may go into gaps.
    """
    draft = Draft.empty(*instance.duration.shape)
    best, kept, tried = (Decisions.of(schedule) for _ in range(3))
    _improve(Instances.holding(instance), draft, best, kept, tried, moves, insertion)
    return schedule_of(draft)


@kernel
def _improve(
    instances: Instances,
    draft: Draft,
    best: Decisions,
    kept: Decisions,
    tried: Decisions,
    moves: int,
    insertion: bool,
) -> None:
    """Improves decisions, given three times; the draft's plan is what the best ones make."""
    derive(instances, 0, draft)
    problem = problem_at(instances, 0)
    draft.outlook[:] = 0.0
    critical, stream = draft.ready, random_stream(0, 0, _PURPOSE)
    place_in_order(problem, draft, kept.sequence, kept.device, 0, 0, insertion)
    current = least = makespan_of(draft.plan)
    num_critical = _find_critical(problem, draft, critical)
    num_tasks, num_devices = problem.duration.shape
    for move in range(moves):
        draw = move * _DRAWS
        if random_integer(stream, draw, 2) == 0:
            task = critical[random_integer(stream, draw + 1, num_critical)]
        else:
            task = random_integer(stream, draw + 1, num_tasks)
        _copy(kept, tried)
        first = tried.place[task]
        if random_integer(stream, draw + 2, 2) == 0:
            device = random_integer(stream, draw + 3, num_devices)
            if problem.duration[task, device] == np.inf:
                continue
            tried.device[task] = device
            first += 1
        else:
            earliest, latest = _limits(problem, tried.place, task)
            place = earliest + random_integer(stream, draw + 3, latest - earliest + 1)
            first = min(first, place)
            _put(tried, task, place)
        last = min(num_tasks, first + 1 + random_integer(stream, draw + 4, _RUN * num_tasks))
        place_in_order(problem, draft, tried.sequence, tried.device, first, last, insertion)
        reached = makespan_of(draft.plan)
        temperature = least * FIRST_TEMPERATURE * (LAST_TEMPERATURE / FIRST_TEMPERATURE) ** (move / moves)
        if reached <= current - temperature * np.log(random_uniform(stream, draw + 5)):
            current = reached
            num_critical = _find_critical(problem, draft, critical)
            _copy(tried, kept)
            if reached < least:
                least = reached
                _copy(tried, best)
    place_in_order(problem, draft, best.sequence, best.device, 0, 0, insertion)


@inner
def _copy(source: Decisions, target: Decisions) -> None:
    for task in range(source.sequence.size):
        target.sequence[task] = source.sequence[task]
        target.device[task] = source.device[task]
        target.place[task] = source.place[task]


@inner
def _limits(problem: Problem, place: IntArray, task: int) -> tuple[int, int]:
    """Returns the first and the last place that a task can take among the others, as they are."""
    earliest, latest = 0, place.size - 1
    for entry in range(problem.tasks[task].in_begin, problem.tasks[task + 1].in_begin):
        earliest = max(earliest, place[problem.edges[problem.edge_costs[entry].incoming].source] + 1)
    for edge in range(problem.tasks[task].out_begin, problem.tasks[task + 1].out_begin):
        latest = min(latest, place[problem.edges[edge].target] - 1)
    return earliest, latest


@inner
def _put(decisions: Decisions, task: int, place: int) -> None:
    """Gives a task a place in the sequence; those between move up."""
    sequence, current = decisions.sequence, decisions.place[task]
    step = 1 if place > current else -1
    while current != place:
        sequence[current] = sequence[current + step]
        decisions.place[sequence[current]] = current
        current += step
    sequence[place] = task
    decisions.place[task] = place


@inner
def _find_critical(problem: Problem, draft: Draft, critical: IntArray) -> int:
    """Lists the tasks of a critical path of a finished plan, the last first, and returns how many there are."""
    tasks, task = draft.plan.tasks, 0
    for other in range(critical.size):
        if tasks[other].finish > tasks[task].finish:
            task = other
    count = 0
    # Tasks that take no time can make a circle.
    while task >= 0 and count < critical.size:
        critical[count] = task
        count += 1
        task = _holding_up(problem, draft, task)
    return count


@inner
def _holding_up(problem: Problem, draft: Draft, task: int) -> int:
    """Returns the task without which a task could start earlier, -1 for none: one that it gets data from first."""
    tasks = draft.plan.tasks
    start, device = tasks[task].start, tasks[task].device
    for entry in range(problem.tasks[task].in_begin, problem.tasks[task + 1].in_begin):
        edge = problem.edges[problem.edge_costs[entry].incoming]
        sender = tasks[edge.source]
        if sender.finish + transfer_time(problem, edge.bytes, sender.device, device) == start:
            return int(edge.source)
    for other in range(problem.total[0].num_tasks):
        if other != task and tasks[other].device == device and tasks[other].finish == start:
            return other
    return -1
