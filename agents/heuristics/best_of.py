"""Best of several attempts: what more computing time buys a scheduler."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ...envs.task_graph.instance import Instance, Instances
from ...envs.task_graph.scenario import WIDEST_DEFAULT_WINDOW
from ...envs.task_graph.schedule import Schedule
from ...envs.task_graph.simulator import TaskGraphSimulator
from ...errors import HetgymError
from ...workloads import TaskGraph
from ...workloads.generators import GivenGraph, GraphSource
from ..policy import Policy
from .list_schedulers import StaticScheduler, decide_again
from .replay import Planner

SPREAD = 0.15
"""Standard deviation of the logarithm of the factors that a list scheduler's durations are multiplied by."""

SIDE_BY_SIDE = 2048
"""Attempts that are drawn at once."""


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
        return self._drawn(GivenGraph(graph=instance.graph), [instance])[0]

    def plans(self, simulator: TaskGraphSimulator) -> Sequence[Schedule]:
        """Returns the best schedules of the instances that all episodes play."""
        if isinstance(self._policy, StaticScheduler):
            return super().plans(simulator)
        played = map(simulator.instance, range(simulator.num_envs))
        return self._drawn(simulator.workload, [Instance(instance.graph, instance.platform) for instance in played])

    def _guessed(self, scheduler: StaticScheduler, instance: Instance) -> Iterator[Schedule]:
        chance = np.random.default_rng(0)
        duration = instance.graph.duration
        instances = Instances.holding(instance)
        yield scheduler.schedule(instance)
        for _ in range(self._attempts - 1):
            guess = replace(instance.graph, duration=duration * np.exp(chance.normal(0.0, SPREAD, duration.shape)))
            decided = scheduler.schedule(Instance(guess, instance.platform))
            yield decide_again(instances, decided.sequence, decided.device, self.insertion)

    def _drawn(self, workload: GraphSource, instances: Sequence[Instance]) -> list[Schedule]:
        """Returns the best schedule of each instance; all attempts at some of them are played side by side."""
        most = max(SIDE_BY_SIDE // self._attempts, 1)
        parts = (instances[first : first + most] for first in range(0, len(instances), most))
        return [schedule for part in parts for schedule in self._drawn_at_once(workload, part)]

    def _drawn_at_once(self, workload: GraphSource, instances: Sequence[Instance]) -> Iterator[Schedule]:
        attempts = self._attempts
        window = min(workload.max_tasks, WIDEST_DEFAULT_WINDOW)
        simulator = TaskGraphSimulator(workload, instances[0].platform, len(instances) * attempts, window)
        played = [instance for instance in instances for _ in range(attempts)]
        simulator.reset(np.tile(np.arange(attempts), len(instances)), played)
        self._policy.reset(simulator)
        while not simulator.outcome["terminated"].all():
            simulator.step(self._policy.act(simulator.observation, simulator))
        best = simulator.state.status["makespan"].reshape(-1, attempts).argmin(axis=1)
        for index, attempt in enumerate(best.tolist()):
            yield simulator.schedule(index * attempts + attempt)
