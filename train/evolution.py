"""Trains a dispatching rule by evolution, directly on what policies are compared by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from cmaes import SepCMA

from ..agents import Policy, make_policy
from ..agents.card import POLICY, Card, find_last, load_card
from ..agents.checkpoint import load_tensors, save_checkpoint, saved_training
from ..agents.heuristics.online import dispatching
from ..agents.heuristics.weighted_rule import RuleWeights, WeightedRule
from ..agents.network_settings import NetworkSettings
from ..agents.weighted_rule import ALGORITHM, rule_features, rule_tensors
from ..envs import Scenario, Simulator, load_scenario
from ..envs.core.changes import parse_changes
from ..errors import HetgymError
from ..evaluate.evaluation import play
from ..workloads.task_graph import FloatArray
from .checks import check_unchanged
from .environments import TRAINING_SEED
from .recorder import HELD_OUT_SEED, make_card, read_curve, write_curve
from .settings import EvolutionSettings

ELSEWHERE = ("output", "resume", "generations")
"""Settings that a resumed run may change."""

TAIL = "job_latency_p99"
"""What must not get worse than the reference's, in streams."""
TAIL_MARGIN = 0.03
"""By which share it should be below: training sees few episodes, and what is chosen by them looks better than it is."""

STEP = 0.15
"""Standard deviation of the first trials in each weight."""


class _Course:
    """Episodes that rules and the reference play, and what a rule costs on them."""

    def __init__(self, scenario: Scenario, episodes: int, reference: Policy, tail: float) -> None:
        self._metric, self._tail, self._reference = scenario.metric, tail, reference
        self._simulator: Simulator = scenario.for_single_episodes().simulator(episodes)

    def prepare(self, seed: int) -> None:
        """Lets the reference play the episodes of the seeds from one on."""
        self._seeds = range(seed, seed + self._simulator.num_envs)
        self._usual = self._played(self._reference)

    def ratios(self, vector: FloatArray) -> dict[str, float]:
        """Returns what a rule has of the reference's mean, and in streams of its tail."""
        played = self._played(WeightedRule(ALGORITHM, _weights(vector)))
        return {name: value / self._usual[name] for name, value in played.items()}

    def cost(self, ratios: dict[str, float]) -> float:
        """Returns what evolution makes least."""
        return ratios[self._metric] + self._tail * max(ratios.get(TAIL, 0.0) - (1.0 - TAIL_MARGIN), 0.0)

    def _played(self, policy: Policy) -> dict[str, float]:
        table = play(self._simulator, policy, self._seeds)
        return {name: float(table[name].mean()) for name in (self._metric, TAIL) if name in table}


def train_rule(settings: EvolutionSettings, progress: Callable[[int, dict[str, float]], None] | None = None) -> Path:
    """Trains a dispatching rule: evolution of its weights from those of ``lwkr``.

    The optimiser is CMA-ES with a diagonal covariance (Ros and Hansen 2008, doi:10.1007/978-3-540-87700-4_30).
    A decision's effect on the latency of jobs drowns in what arrives and how long it takes; all rules of a generation
    play the same episodes, so what is left between them is the rules.

    Args:
        settings: What, and for how long.
        progress: Called after each generation with how many are done and the latest numbers.

    Returns:
        The run's folder: ``best`` and ``last`` are checkpoints, ``curve.csv`` the results on held-out episodes.

    Raises:
        HetgymError: If a setting is not right, or there is nothing to resume.
    """
    settings.check()
    scenario = load_scenario(settings.scenario, **parse_changes(settings.set))
    dispatching(ALGORITHM, scenario.for_single_episodes().simulator(1))
    reference = make_policy(settings.reference, scenario.family)
    course = _Course(scenario, settings.episodes, reference, settings.tail)
    recorder = _Recorder(settings, scenario, _Course(scenario, settings.held_out, reference, settings.tail))
    start = np.concatenate(RuleWeights.least_work())
    optimiser = SepCMA(start, STEP, seed=settings.seed, population_size=settings.population)
    if settings.resume:
        recorder.resume(optimiser)
    else:
        recorder.record(optimiser)
    for generation in range(optimiser.generation, settings.generations):
        course.prepare(TRAINING_SEED + settings.seed * 2**16 + generation * settings.episodes)
        trials = _ask(optimiser)
        costs = [course.cost(course.ratios(trial)) for trial in trials]
        optimiser.tell(list(zip(trials, costs, strict=True)))
        recorder.note(optimiser, costs)
        if progress:
            progress(optimiser.generation, recorder.latest)
    return settings.output


class _Recorder:
    """Evaluates on held-out episodes, and keeps the best and the last checkpoint."""

    def __init__(self, settings: EvolutionSettings, scenario: Scenario, course: _Course) -> None:
        self.latest: dict[str, float] = {}
        self._settings, self._scenario, self._course = settings, scenario, course
        self._curve: list[dict[str, float]] = []
        self._costs: list[list[float]] = []
        course.prepare(HELD_OUT_SEED)

    def resume(self, optimiser: SepCMA) -> None:
        """Brings a fresh optimiser to where the last checkpoint was written, by what its trials cost until then.

        Raises:
            HetgymError: If the run was started with other settings, or another version of the optimiser.
        """
        last = find_last(self._settings.output)
        card = load_card(last)
        check_unchanged(last, card, self._settings, ELSEWHERE)
        with saved_training(last) as state:
            self._costs = state["costs"].tolist()
            for costs in self._costs:
                optimiser.tell(list(zip(_ask(optimiser), costs, strict=True)))
        saved, reached = load_tensors(last / POLICY), rule_tensors(_weights(optimiser.mean))
        if not all(torch.allclose(saved[name], tensor) for name, tensor in reached.items()):
            raise HetgymError(
                f"{last}: cannot resume: what its trials cost does not lead to its weights; use the version of cmaes "
                f"that began it ({card.versions.get('cmaes')})"
            )
        self._curve, self.latest = read_curve(self._settings.output, card.steps), card.results

    def note(self, optimiser: SepCMA, costs: list[float]) -> None:
        """Notes what the trials of a generation cost; from time to time it is an evaluation's turn."""
        self._costs.append(costs)
        done = optimiser.generation
        if done % self._settings.evaluate_every == 0 or done == self._settings.generations:
            self.record(optimiser)

    def record(self, optimiser: SepCMA) -> None:
        """Evaluates the mean of the trials, and writes checkpoints."""
        generation, vector = optimiser.generation, optimiser.mean
        ratios = self._course.ratios(vector)
        self.latest = {"cost": self._course.cost(ratios), **{f"{name}_ratio": ratio for name, ratio in ratios.items()}}
        best = min((point["cost"] for point in self._curve), default=np.inf)
        self._curve.append({"steps": generation, **self.latest})
        output = self._settings.output
        card, rule = self._card(generation), rule_tensors(_weights(vector))
        if self.latest["cost"] < best:
            save_checkpoint(output / "best", card, rule)
        write_curve(self._curve, output)
        training = {"costs": torch.tensor(self._costs, dtype=torch.float64)}
        save_checkpoint(output / "last", card, rule, training)

    def _card(self, generation: int) -> Card:
        return make_card(
            self._settings,
            self._scenario,
            algorithm=ALGORITHM,
            steps=generation,
            network=NetworkSettings(hidden=1, rounds=0),
            features=rule_features(),
            results=self.latest,
        )


def _ask(optimiser: SepCMA) -> list[FloatArray]:
    """Returns the trials of a generation."""
    return [optimiser.ask() for _ in range(optimiser.population_size)]


def _weights(vector: FloatArray) -> RuleWeights:
    parts = RuleWeights.least_work()
    ends = np.cumsum([part.size for part in parts])[:-1]
    return RuleWeights(*np.split(vector, ends))
