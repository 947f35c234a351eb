"""Plans of one instance made by policies that decide step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...envs.task_graph.instance import Instance
from ...envs.task_graph.scenario import WIDEST_DEFAULT_WINDOW
from ...envs.task_graph.schedule import Schedule
from ...envs.task_graph.simulator import TaskGraphSimulator
from ...workloads.generators import GivenGraph, GraphSource
from ..heuristics.replay import Planner
from ..policy import Policy

SIDE_BY_SIDE = 2048
"""Attempts that are drawn at once."""


def simulator_of(instance: Instance, num_envs: int) -> TaskGraphSimulator:
    """Returns a simulator in which an instance is planned several times side by side, from the start.

    Environment i has the seed i, for policies that draw.
    """
    window = min(instance.graph.num_tasks, WIDEST_DEFAULT_WINDOW)
    simulator = TaskGraphSimulator(GivenGraph(graph=instance.graph), instance.platform, num_envs, window)
    simulator.reset(range(num_envs))
    return simulator


def best_played(policy: Policy, workload: GraphSource, instances: Sequence[Instance], times: int) -> list[Schedule]:
    """Returns the best of the schedules that a policy makes of each instance, played with the seeds 0, 1, ...

    Args:
        policy: One that draws.
        workload: Where the instances come from.
        instances: Of one platform.
        times: Attempts at each.
    """
    most = max(SIDE_BY_SIDE // times, 1)
    parts = (instances[first : first + most] for first in range(0, len(instances), most))
    return [schedule for part in parts for schedule in _best_of_part(policy, workload, part, times)]


def _best_of_part(
    policy: Policy, workload: GraphSource, instances: Sequence[Instance], times: int
) -> Iterator[Schedule]:
    window = min(workload.max_tasks, WIDEST_DEFAULT_WINDOW)
    simulator = TaskGraphSimulator(workload, instances[0].platform, len(instances) * times, window)
    given = [instance for instance in instances for _ in range(times)]
    simulator.reset(np.tile(np.arange(times), len(instances)), given)
    policy.reset(simulator)
    while not simulator.outcome["terminated"].all():
        simulator.step(policy.act(simulator.observation, simulator))
    best = simulator.state.status["makespan"].reshape(-1, times).argmin(axis=1)
    for index, attempt in enumerate(best.tolist()):
        yield simulator.schedule(index * times + attempt)


def planned(policy: Policy, instance: Instance) -> Schedule:
    """Returns the schedule that a policy makes of an instance."""
    if isinstance(policy, Planner):
        return policy.schedule(instance)
    return best_played(policy, GivenGraph(graph=instance.graph), [instance], 1)[0]
