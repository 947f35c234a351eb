"""What schedulers and features derive from an instance: orders, mean costs, ranks, bounds."""

from __future__ import annotations

import numpy as np

from ...compilation import inner
from ...workloads.task_graph import FloatArray, IntArray
from .instance import Problem, Records


@inner
def transfer_time(problem: Problem, size: float, source: int, target: int) -> float:
    """Returns the seconds that so many bytes take from device to device; both link numbers are 0 within one."""
    link = problem.links[source, target]
    return float(link.latency + size * link.seconds_per_byte)


@inner
def index_edges(problem: Problem) -> None:
    """Fills ``out_begin``, ``in_begin``, ``per_predecessor`` and ``incoming``."""
    num_tasks, num_edges = problem.total[0].num_tasks, problem.total[0].num_edges
    tasks, edges = problem.tasks, problem.edges
    for task in range(num_tasks + 1):
        tasks[task].out_begin = 0
        tasks[task].in_begin = 0
    for edge in range(num_edges):
        tasks[edges[edge].source + 1].out_begin += 1
        tasks[edges[edge].target + 1].in_begin += 1
    for task in range(num_tasks):
        tasks[task + 1].out_begin += tasks[task].out_begin
        tasks[task + 1].in_begin += tasks[task].in_begin
    # in_begin serves as the cursor of each task, and is shifted back afterwards.
    for edge in range(num_edges):
        task = edges[edge].target
        problem.edge_costs[tasks[task].in_begin].incoming = edge
        tasks[task].in_begin += 1
    for task in range(num_tasks, 0, -1):
        tasks[task].in_begin = tasks[task - 1].in_begin
    tasks[0].in_begin = 0
    for task in range(num_tasks):
        predecessors = tasks[task + 1].in_begin - tasks[task].in_begin
        tasks[task].per_predecessor = 1.0 / predecessors if predecessors > 0 else 0.0


@inner
def breadth_first_order(problem: Problem, room: Records) -> None:
    """Fills ``order``: a first-in-first-out queue of tasks whose predecessors have all left it.

    Args:
        problem: The instance.
        room: (T,) of DECISION, to count pending predecessors in.
    """
    num_tasks, tasks = problem.total[0].num_tasks, problem.tasks
    tail = 0
    for task in range(num_tasks):
        room[task].pending = tasks[task + 1].in_begin - tasks[task].in_begin
        if room[task].pending == 0:
            tasks[tail].order = task
            tail += 1
    for head in range(num_tasks):
        task = tasks[head].order
        for edge in range(tasks[task].out_begin, tasks[task + 1].out_begin):
            receiver = problem.edges[edge].target
            room[receiver].pending -= 1
            if room[receiver].pending == 0:
                tasks[tail].order = receiver
                tail += 1


@inner
def mean_costs(problem: Problem) -> None:
    """Fills the mean and least durations, the mean transfers, ``scale`` and ``per_scale``.

    A mean duration is over the devices that can run the task, a mean transfer over ordered pairs of distinct
    devices.
    """
    total = problem.total[0]
    num_devices = problem.duration.shape[1]
    durations = 0.0
    for task in range(total.num_tasks):
        duration, count, least = 0.0, 0, np.inf
        for device in range(num_devices):
            if problem.duration[task, device] < np.inf:
                duration += problem.duration[task, device]
                count += 1
                least = min(least, problem.duration[task, device])
        problem.tasks[task].mean_duration = duration / count
        problem.tasks[task].min_duration = least
        durations += duration / count
    latency, seconds_per_byte = 0.0, 0.0
    for source in range(num_devices):
        for target in range(num_devices):
            latency += problem.links[source, target].latency
            seconds_per_byte += problem.links[source, target].seconds_per_byte
    pairs = max(num_devices * (num_devices - 1), 1)
    transfers = 0.0
    for edge in range(total.num_edges):
        transfer = (latency + problem.edges[edge].bytes * seconds_per_byte) / pairs
        problem.edge_costs[edge].mean_transfer = transfer
        transfers += transfer
    total.mean_transfer = transfers / max(total.num_edges, 1)
    scale = durations / total.num_tasks + total.mean_transfer
    total.scale = scale if scale > 0.0 else 1.0
    total.per_scale = 1.0 / total.scale


@inner
def without_last_bits(value: float) -> float:
    """Rounds to 40 bits (Veltkamp's splitting), so that equal priorities tie in whatever order they were summed.

    Only whole sums: one of rounded terms is off by as much as the rounding.
    """
    shifted = 8193.0 * value
    return shifted - (shifted - value)


@inner
def upward_rank(problem: Problem) -> None:
    """Fills ``upward_rank``: mean duration plus the longest mean path to an exit task.

    Topcuoglu, Hariri, Wu 2002, doi:10.1109/71.993206, equation 5.
    """
    tasks, rank = problem.tasks, problem.upward_rank
    largest = 0.0
    for position in range(problem.total[0].num_tasks - 1, -1, -1):
        task = tasks[position].order
        longest = 0.0
        for edge in range(tasks[task].out_begin, tasks[task + 1].out_begin):
            receiver = problem.edges[edge].target
            longest = max(longest, problem.edge_costs[edge].mean_transfer + rank[receiver])
        rank[task] = tasks[task].mean_duration + longest
    for task in range(problem.total[0].num_tasks):
        rank[task] = without_last_bits(rank[task])
        largest = max(largest, rank[task])
    problem.total[0].largest_rank = largest if largest > 0.0 else 1.0


@inner
def downward_rank(problem: Problem, rank: FloatArray) -> None:
    """Fills the longest mean path from the release of a task to each task, without the task itself, seconds.

    Topcuoglu, Hariri, Wu 2002, doi:10.1109/71.993206, equation 7.
    """
    for position in range(problem.total[0].num_tasks):
        task = problem.tasks[position].order
        rank[task] = problem.tasks[task].release
        for entry in range(problem.tasks[task].in_begin, problem.tasks[task + 1].in_begin):
            edge = problem.edge_costs[entry].incoming
            sender = problem.edges[edge].source
            arrival = rank[sender] + problem.tasks[sender].mean_duration + problem.edge_costs[edge].mean_transfer
            rank[task] = max(rank[task], arrival)


@inner
def optimistic_cost(problem: Problem, mean_transfers: bool, cost: FloatArray) -> None:
    """Fills the optimistic cost table: the least time from a task's end on a device to the end of the graph.

    With mean transfer times it is the OCT of Arabnejad, Barbosa 2014, doi:10.1109/TPDS.2013.57, equation 3.
    With the transfer times of each pair of devices it is a lower bound on what follows the task.

    Args:
        problem: The instance.
        mean_transfers: Whether a transfer takes its mean time, or that of its pair of devices.
        cost: float64 (T, P), seconds, the result.
    """
    tasks = problem.tasks
    num_devices = problem.duration.shape[1]
    for position in range(problem.total[0].num_tasks - 1, -1, -1):
        task = tasks[position].order
        for device in range(num_devices):
            cost[task, device] = 0.0
        for edge in range(tasks[task].out_begin, tasks[task + 1].out_begin):
            if mean_transfers:
                _follow_mean_transfer(problem, edge, cost)
            else:
                _follow_transfer(problem, edge, cost)


@inner
def _follow_transfer(problem: Problem, edge: int, cost: FloatArray) -> None:
    """Raises the cost of an edge's sender to what its receiver requires, by the transfer times of each pair."""
    duration = problem.duration
    sender, receiver, size = problem.edges[edge].source, problem.edges[edge].target, problem.edges[edge].bytes
    for device in range(duration.shape[1]):
        least = np.inf
        for other in range(duration.shape[1]):
            total = cost[receiver, other] + duration[receiver, other] + transfer_time(problem, size, device, other)
            least = total if total < least else least
        cost[sender, device] = least if least > cost[sender, device] else cost[sender, device]


@inner
def _follow_mean_transfer(problem: Problem, edge: int, cost: FloatArray) -> None:
    """Raises the cost of an edge's sender to what its receiver requires, by mean transfer times."""
    duration = problem.duration
    sender, receiver = problem.edges[edge].source, problem.edges[edge].target
    least = np.inf
    for device in range(duration.shape[1]):
        least = min(least, cost[receiver, device] + duration[receiver, device])
    elsewhere = least + problem.edge_costs[edge].mean_transfer
    for device in range(duration.shape[1]):
        here = cost[receiver, device] + duration[receiver, device]
        cost[sender, device] = max(cost[sender, device], min(here, elsewhere))


@inner
def pessimistic_cost(problem: Problem, cost: FloatArray) -> None:
    """Fills the pessimistic cost table: the most time from a task's end on a device to the end of the graph.

    It is the optimistic one with the worst device of each task, of those that can run it, instead of the best.
    Zhou, Qi, Wang, Zheng, Lin 2017, doi:10.1002/cpe.3944.

    Args:
        problem: The instance.
        cost: float64 (T, P), seconds, the result.
    """
    tasks = problem.tasks
    for position in range(problem.total[0].num_tasks - 1, -1, -1):
        task = tasks[position].order
        for device in range(problem.duration.shape[1]):
            cost[task, device] = 0.0
        for edge in range(tasks[task].out_begin, tasks[task + 1].out_begin):
            _follow_to_worst(problem, edge, cost)


@inner
def _follow_to_worst(problem: Problem, edge: int, cost: FloatArray) -> None:
    """Raises the cost of an edge's sender to the most that its receiver may require, by mean transfer times."""
    duration, transfer = problem.duration, problem.edge_costs[edge].mean_transfer
    sender, receiver = problem.edges[edge].source, problem.edges[edge].target
    most, second = -np.inf, -np.inf
    for device in range(duration.shape[1]):
        if duration[receiver, device] < np.inf:
            here = cost[receiver, device] + duration[receiver, device]
            second = max(second, min(here, most))
            most = max(most, here)
    for device in range(duration.shape[1]):
        elsewhere = most
        if duration[receiver, device] < np.inf:
            here = cost[receiver, device] + duration[receiver, device]
            elsewhere = second if here == most else most
            cost[sender, device] = max(cost[sender, device], here)
        cost[sender, device] = max(cost[sender, device], elsewhere + transfer)


@inner
def mark_critical(problem: Problem, downward_rank: FloatArray, critical: IntArray) -> None:
    """Finds the tasks whose earliest and latest mean start are the same: those on a longest mean path.

    Args:
        problem: The instance.
        downward_rank: float64 (T,), seconds.
        critical: int64 (T,), the result, 1 or 0.
    """
    longest = 0.0
    for task in range(problem.total[0].num_tasks):
        longest = max(longest, downward_rank[task] + problem.upward_rank[task])
    for task in range(problem.total[0].num_tasks):
        # Two paths of the same length are summed in another order.
        critical[task] = downward_rank[task] + problem.upward_rank[task] >= longest * (1.0 - 1e-9)


@inner
def has_critical_successor(problem: Problem, critical: IntArray, task: int) -> bool:
    """Whether one of the direct successors of a task is critical."""
    for edge in range(problem.tasks[task].out_begin, problem.tasks[task + 1].out_begin):
        if critical[problem.edges[edge].target]:
            return True
    return False


@inner
def critical_node_cost(problem: Problem, critical: IntArray, cost: FloatArray) -> None:
    """Fills the critical-node cost table: the optimistic cost that looks only at critical successors where there are.

    Zhou, Qi, Wang, Zheng, Lin 2017, doi:10.1002/cpe.3944.

    Args:
        problem: The instance.
        critical: int64 (T,), which tasks are (`mark_critical`).
        cost: float64 (T, P), seconds, the result.
    """
    tasks = problem.tasks
    for position in range(problem.total[0].num_tasks - 1, -1, -1):
        task = tasks[position].order
        for device in range(problem.duration.shape[1]):
            cost[task, device] = 0.0
        any_successor = not has_critical_successor(problem, critical, task)
        for edge in range(tasks[task].out_begin, tasks[task + 1].out_begin):
            if any_successor or critical[problem.edges[edge].target]:
                _follow_mean_transfer(problem, edge, cost)


@inner
def optimistic_start(problem: Problem, start: FloatArray) -> None:
    """Fills the least time before a task can start on a device: `optimistic_cost` from the other end, with releases.

    Args:
        problem: The instance.
        start: float64 (T, P), seconds, the result.
    """
    tasks, duration = problem.tasks, problem.duration
    for position in range(problem.total[0].num_tasks):
        task = tasks[position].order
        for device in range(duration.shape[1]):
            latest = tasks[task].release
            for entry in range(tasks[task].in_begin, tasks[task + 1].in_begin):
                edge = problem.edges[problem.edge_costs[entry].incoming]
                least = np.inf
                for other in range(duration.shape[1]):
                    transfer = transfer_time(problem, edge.bytes, other, device)
                    least = min(least, start[edge.source, other] + duration[edge.source, other] + transfer)
                latest = max(latest, least)
            start[task, device] = latest


@inner
def makespan_lower_bound(problem: Problem) -> float:
    """Returns the larger of two bounds: the longest path at its best from its release, and all work shared evenly."""
    num_devices = problem.duration.shape[1]
    path, work = 0.0, 0.0
    for task in range(problem.total[0].num_tasks):
        least = np.inf
        for device in range(num_devices):
            least = min(least, problem.duration[task, device] + problem.tail[task, device])
        path = max(path, problem.tasks[task].release + least)
        work += problem.tasks[task].min_duration
    return float(max(path, work / num_devices))
