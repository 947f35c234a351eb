"""Plans of one instance made by policies that decide step by step."""

from __future__ import annotations

from ...envs.task_graph.instance import Instance
from ...envs.task_graph.scenario import WIDEST_DEFAULT_WINDOW
from ...envs.task_graph.schedule import Schedule
from ...envs.task_graph.simulator import TaskGraphSimulator
from ...workloads.generators import GivenGraph
from ..heuristics.replay import Planner
from ..policy import Policy


def simulator_of(instance: Instance, num_envs: int) -> TaskGraphSimulator:
    """Returns a simulator in which an instance is planned several times side by side, from the start.

    Environment i has the seed i, for policies that draw.
    """
    window = min(instance.graph.num_tasks, WIDEST_DEFAULT_WINDOW)
    simulator = TaskGraphSimulator(GivenGraph(graph=instance.graph), instance.platform, num_envs, window)
    simulator.reset(range(num_envs))
    return simulator


def played(policy: Policy, instance: Instance, times: int) -> list[Schedule]:
    """Returns the schedules that a policy makes of an instance, played so many times, with the seeds 0, 1, ..."""
    simulator = simulator_of(instance, times)
    policy.reset(simulator)
    while not simulator.outcome["terminated"].all():
        simulator.step(policy.act(simulator.observation, simulator))
    return [simulator.schedule(row) for row in range(times)]


def planned(policy: Policy, instance: Instance) -> Schedule:
    """Returns the schedule that a policy makes of an instance."""
    return policy.schedule(instance) if isinstance(policy, Planner) else played(policy, instance, 1)[0]
