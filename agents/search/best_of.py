"""Best of several attempts: what more computing time buys a scheduler."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ...envs.task_graph.instance import Instance, Instances
from ...envs.task_graph.schedule import Schedule
from ...envs.task_graph.simulator import TaskGraphSimulator
from ...errors import HetgymError
from ...workloads import TaskGraph
from ...workloads.generators import GivenGraph
from ..heuristics.list_schedulers import StaticScheduler, decide_again
from ..heuristics.replay import Planner
from ..policy import Policy
from .playing import best_played

SPREAD = 0.15
"""Standard deviation of the logarithm of the factors that a list scheduler's durations are multiplied by."""


class BestOf(Planner):
    """Makes several plans of each instance, and plays the one of least makespan, the first of equals.

    A list scheduler plans once with the expected durations, then with durations that are off by a random factor
    each; what it decides is then placed with the expected durations. A policy that draws its decisions plays the
    instance as often. The attempts are the same for every instance and in every run.
    """

    def __init__(self, policy: Policy, attempts: int) -> None:
        """Chooses who plans, and how often.

        Args:
            policy: A list scheduler, or a policy that draws from the simulator's seeds.
            attempts: k.

        Raises:
            HetgymError: If there is no attempt.
        """
        if attempts < 1:
            raise HetgymError(f"policy 'best-of-{attempts}:{policy.name}': there must be at least one attempt")
        self.name = f"best-of-{attempts}:{policy.name}"
        self.insertion = policy.insertion if isinstance(policy, Planner) else True
        self._policy = policy
        self._attempts = attempts

    def schedule(self, problem: Instance | TaskGraph) -> Schedule:
        """Returns the best schedule of one instance (`Planner.schedule`)."""
        instance = Instance.of(problem)
        if isinstance(self._policy, StaticScheduler):
            return min(self._guessed(self._policy, instance), key=lambda schedule: schedule.makespan)
        return best_played(self._policy, GivenGraph(graph=instance.graph), [instance], self._attempts)[0]

    def plans(self, simulator: TaskGraphSimulator) -> Sequence[Schedule]:
        """Returns the best schedules of the instances that all episodes play."""
        if isinstance(self._policy, StaticScheduler):
            return super().plans(simulator)
        played = map(simulator.instance, range(simulator.num_envs))
        instances = [Instance(instance.graph, instance.platform) for instance in played]
        return best_played(self._policy, simulator.workload, instances, self._attempts)

    def _guessed(self, scheduler: StaticScheduler, instance: Instance) -> Iterator[Schedule]:
        chance = np.random.default_rng(0)
        duration = instance.graph.duration
        instances = Instances.holding(instance)
        yield scheduler.schedule(instance)
        for _ in range(self._attempts - 1):
            guess = replace(instance.graph, duration=duration * np.exp(chance.normal(0.0, SPREAD, duration.shape)))
            decided = scheduler.schedule(Instance(guess, instance.platform))
            yield decide_again(instances, decided.sequence, decided.device, self.insertion)
