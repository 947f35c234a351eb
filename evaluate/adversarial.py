"""Searches for small instances on which one policy loses most to another.

In the manner of PISA: Coleman, Krishnamachari, IPDPS 2025, doi:10.1109/IPDPS64566.2025.00014, arXiv:2403.07120.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml
from numpy.random import Generator

from ..agents import Policy, make_policy
from ..envs import Scenario, TaskGraphScenario, load_scenario
from ..envs.task_graph.instance import Instance
from ..envs.task_graph.schedule import Schedule
from ..envs.task_graph.simulator import TaskGraphSimulator
from ..errors import HetgymError, write_text
from ..workloads import TaskGraph, save_task_graph
from ..workloads.task_graph import FloatArray
from .evaluation import check_episodes, play_out
from .neighbourhood import Neighbourhood
from .summary import more_is_better

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIRST_TEMPERATURE, LAST_TEMPERATURE = 0.1, 0.01
"""Of the search, which cools geometrically, as PISA does from 10 to 0.1. Ratios are mostly below 5, so that there most
of the search would be a random walk: for HEFT against lookahead (10 tasks, 16 searches of 500 iterations, the mean of
three seeds) it reaches 1.65, this 2.14."""

Progress = Callable[[int, float], None]


@dataclass(frozen=True, eq=False)
class WorstCase:
    """The instance that was found.

    Attributes:
        policies: Names of the policy that loses, and of its rival.
        metric: What they are compared by.
        more_is_better: Whether more of it is better.
        ratio: The policy's over its rival's; where more is better, the rival's over the policy's.
        instance: The instance, with the luck that both met.
        seed: Of the episode: with it, the same luck befalls the instance again.
        schedules: What the two made of it.
        scenario: Where the search started.
        history: One row an iteration, the first of the starts: ``iteration``, ``temperature``, and ``ratio``, the
            largest so far.
    """

    policies: tuple[str, str]
    metric: str
    more_is_better: bool
    ratio: float
    instance: Instance
    seed: int
    schedules: tuple[Schedule, Schedule]
    scenario: TaskGraphScenario
    history: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def finding(self) -> str:
        """What was found, in words."""
        more, less = self.policies[::-1] if self.more_is_better else self.policies
        return f"{self.metric} of {more} is {self.ratio:.4f} times that of {less}"

    def figure(self) -> Figure:
        """Returns the Gantt charts of both schedules."""
        from ..envs.task_graph.render import gantts

        titles = [
            f"{policy}: makespan {schedule.makespan:.6g} s"
            for policy, schedule in zip(self.policies, self.schedules, strict=True)
        ]
        return gantts(self.instance, dict(zip(titles, self.schedules, strict=True)))

    def save(self, path: str | Path) -> None:
        """Writes a YAML scenario that plays the instance, and its graph beside it, with the suffix ``.json``.

        Raises:
            HetgymError: If the path is not that of a YAML file, or one of the files cannot be written.
        """
        path = Path(path)
        check_scenario_path(path)
        graph_path = path.with_suffix(".json")
        content = {
            "name": path.stem,
            "family": self.scenario.family,
            **self.scenario.model_dump(mode="json", exclude_defaults=True, exclude={"name"}),
            "description": f"{self.finding}.",
            "source": f"Found by hetgym, from scenario {self.scenario.name}; the luck is that of seed {self.seed}.",
            "workload": {"kind": "file", "path": graph_path.name},
        }
        if self.scenario.platform and Path(self.scenario.platform).suffix:
            content["platform"] = str(Path(self.scenario.platform).absolute())
        save_task_graph(self.instance.graph, graph_path)
        write_text(path, yaml.safe_dump(content, sort_keys=False), "scenario")


def find_worst_case(
    scenario: str | Path | Scenario,
    policy: str | Policy,
    rival: str | Policy,
    iterations: int = 1000,
    episodes: int = 16,
    seed: int = 0,
    metric: str | None = None,
    progress: Progress | None = None,
    **overrides: Any,
) -> WorstCase:
    """Searches for the instance on which a policy loses most to a rival, by simulated annealing.

    Searches run side by side, each from a graph of the scenario. An iteration changes one thing about each graph, as
    `Neighbourhood` says. A change for the worse is accepted with the probability ``exp(difference of ratios /
    temperature)`` (Kirkpatrick, Gelatt, Vecchi 1983, doi:10.1126/science.220.4598.671).

    Args:
        scenario: Of task graphs, as in `hetgym.envs.load_scenario`. Its rules hold, in Dispatch with its noise.
        policy: What should lose: a name for `hetgym.agents.make_policy`, or a policy.
        rival: What should win.
        iterations: Changes to each graph; PISA's 1000 by default.
        episodes: Searches; search i starts from the instance of episode 0 of seed + i, and keeps its luck.
        seed: Of the first search, below 2^31.
        metric: What they are compared by, more than zero; the scenario's by default, and it says which way.
        progress: Called with the iterations so far and the largest ratio.
        overrides: The scenario's settings by their names.

    Raises:
        HetgymError: If an argument is not right, or both policies are the same.
    """
    setting = load_scenario(scenario, **overrides)
    if not isinstance(setting, TaskGraphScenario):
        raise HetgymError(f"scenario {setting.name!r} is not one of task graphs")
    check_episodes(episodes, seed)
    if iterations < 1:
        raise HetgymError(f"iterations: must be at least 1 (given: {iterations})")
    policies = _made(policy), _made(rival)
    if policies[0].name == policies[1].name:
        raise HetgymError(f"adversarial: must be two policies (given: {policies[0].name!r} twice)")
    seeds = range(seed, seed + episodes)
    return _anneal(
        duel=_Duel(setting, policies, metric or setting.metric, seeds),
        graphs=[replace(setting.graphs.sample(seed, 0), name=f"adversarial-{seed}") for seed in seeds],
        neighbourhood=Neighbourhood.of(setting.graphs),
        chances=[np.random.default_rng(seed) for seed in seeds],
        iterations=iterations,
        progress=progress or (lambda *_: None),
    )


def check_scenario_path(path: Path) -> None:
    """Checks that a scenario can be written to a path.

    Raises:
        HetgymError: If it is not that of a YAML file.
    """
    if path.suffix not in {".yaml", ".yml"}:
        raise HetgymError(f"{path}: a scenario's file must end in .yaml or .yml")


def _made(policy: str | Policy) -> Policy:
    return make_policy(policy) if isinstance(policy, str) else policy


class _Duel:
    """Two policies that play the same graphs, each in a simulator of its own."""

    def __init__(
        self, scenario: TaskGraphScenario, policies: tuple[Policy, Policy], metric: str, seeds: Sequence[int]
    ) -> None:
        self._scenario, self._policies, self._metric, self._seeds = scenario, policies, metric, seeds
        self._more_is_better = more_is_better(metric, scenario)
        self._simulators = [scenario.for_single_episodes().simulator(len(seeds)) for _ in policies]

    def ratios(self, graphs: list[TaskGraph]) -> FloatArray:
        """Returns by what factor the first policy is worse, float64 (B,); 0 where the divisor is 0."""
        own, other = (self._values(*side, graphs) for side in zip(self._simulators, self._policies, strict=True))
        worse, better = (other, own) if self._more_is_better else (own, other)
        return np.divide(worse, better, where=better > 0, out=np.zeros(len(graphs)))

    def _values(self, simulator: TaskGraphSimulator, policy: Policy, graphs: list[TaskGraph]) -> FloatArray:
        play_out(simulator, policy, self._seeds, graphs)
        metrics = simulator.metrics(np.arange(len(graphs)))
        if self._metric not in metrics:
            raise HetgymError(f"metric: {self._metric!r} is not among {', '.join(metrics)}")
        return metrics[self._metric]

    def case(self, row: int, ratio: float) -> WorstCase:
        """Returns what was last played in one environment."""
        own, other = (simulator.schedule(row) for simulator in self._simulators)
        # Whoever takes longer has met all outages.
        instance = self._simulators[int(other.makespan > own.makespan)].instance(row)
        return WorstCase(
            policies=(self._policies[0].name, self._policies[1].name),
            metric=self._metric,
            more_is_better=self._more_is_better,
            ratio=ratio,
            instance=instance,
            seed=self._seeds[row],
            schedules=(own, other),
            scenario=self._scenario,
        )


def _anneal(
    duel: _Duel,
    graphs: list[TaskGraph],
    neighbourhood: Neighbourhood,
    chances: list[Generator],
    iterations: int,
    progress: Progress,
) -> WorstCase:
    """Improves graphs side by side, and returns the worst case of all that were met."""
    ratios = duel.ratios(graphs)
    worst = duel.case(int(ratios.argmax()), float(ratios.max()))
    history = [(0, FIRST_TEMPERATURE, worst.ratio)]
    for iteration in range(1, iterations + 1):
        temperature = FIRST_TEMPERATURE * (LAST_TEMPERATURE / FIRST_TEMPERATURE) ** (iteration / iterations)
        changed = [neighbourhood.neighbour(graph, chance) for graph, chance in zip(graphs, chances, strict=True)]
        reached = duel.ratios(changed)
        if reached.max() > worst.ratio:
            worst = duel.case(int(reached.argmax()), float(reached.max()))
        draws = np.array([chance.random() for chance in chances])
        accepted = draws < np.exp(np.minimum(reached - ratios, 0.0) / temperature)
        ratios = np.where(accepted, reached, ratios)
        graphs = [new if taken else old for new, old, taken in zip(changed, graphs, accepted, strict=True)]
        history.append((iteration, temperature, worst.ratio))
        progress(iteration, worst.ratio)
    return replace(worst, history=pd.DataFrame(history, columns=["iteration", "temperature", "ratio"]))
