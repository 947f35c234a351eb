"""Watches over a training run: held-out results, checkpoints, the curve."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic_core import to_jsonable_python
from stable_baselines3.common.callbacks import BaseCallback

from ..agents.card import Card
from ..agents.checkpoint import package_versions, save_checkpoint
from ..agents.learner import Learner
from ..agents.networks import NetworkSettings
from ..envs import Scenario, Simulator
from ..envs.core.simulator import Arrays
from ..errors import replacing
from ..evaluate.evaluation import SEED_LIMIT, play
from ..evaluate.figures import CURVE
from .algorithms import decayed
from .settings import TrainSettings
from .state import training_state

HELD_OUT_SEED = SEED_LIMIT
"""Held-out instances have the seeds from here; evaluations use seeds below."""

Progress = Callable[[int, dict[str, float]], None]
"""Takes the decisions learned from, and the latest results."""


class LearnerPolicy:
    """An agent in training, as a policy."""

    name = "learner"
    clairvoyant = False

    def __init__(self, learner: Learner) -> None:
        """Takes the agent."""
        self._learner = learner

    def reset(self, simulator: Simulator) -> None:
        """Does nothing."""

    def act(self, observation: Arrays, simulator: Simulator) -> NDArray[Any]:
        """Returns what the agent takes for best."""
        return self._learner.decide(observation)


class Recorder(BaseCallback):
    """Evaluates on held-out instances, keeps the best and the last checkpoint, and reports progress."""

    def __init__(self, settings: TrainSettings, scenario: Scenario, progress: Progress | None) -> None:
        """Prepares the held-out instances.

        Args:
            settings: Of the run.
            scenario: Whose instances are held out.
            progress: Called after each rollout.
        """
        super().__init__()
        self._settings = settings
        self._scenario = scenario
        self._progress = progress
        self._held_out = scenario.for_single_episodes().simulator(settings.held_out, settings.reward)
        self._curve: list[dict[str, float]] = []
        self._rollouts = 0
        self._cpu_seconds = time.process_time()
        self._latest: dict[str, float] = {}

    def continue_from(self, steps: int) -> None:
        """Takes over the curve of an earlier run up to so many steps."""
        self._curve = read_curve(self._settings.output, steps)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self._rollouts % self._settings.evaluate_every == 0:
            self._record()
        if self._settings.value_first:
            first = self._settings.value_first * self._settings.decisions_per_rollout
            self._freeze(self.num_timesteps < first)

    def _freeze(self, frozen: bool) -> None:
        """Leaves all but what values situations as it is, or no longer."""
        for name, parameter in cast("Learner", self.model).network.named_parameters():
            parameter.requires_grad_(not frozen or name.startswith("value."))

    def _on_rollout_end(self) -> None:
        self._rollouts += 1
        if self._settings.algorithm == "ppo":
            remaining = 1 - self.num_timesteps / self._settings.steps
            cast("Any", self.model).ent_coef = decayed(self._settings.entropy, remaining, self._settings)
        steps = self._settings.decisions_per_rollout
        cpu_seconds = time.process_time()
        self.logger.record("time/steps_per_cpu_second", steps / (cpu_seconds - self._cpu_seconds))
        self._cpu_seconds = cpu_seconds
        if self._progress:
            self._progress(self.num_timesteps, self._latest)

    def _on_training_end(self) -> None:
        self._record()

    def _record(self) -> None:
        """Evaluates, and writes checkpoints; nothing where this number of steps is recorded already."""
        if self._curve and self._curve[-1]["steps"] == self.num_timesteps:
            return
        learner = cast("Learner", self.model)
        learner.network.eval()
        results = self._evaluated(learner)
        best = max((point["return"] for point in self._curve), default=-np.inf)
        self._curve.append({"steps": self.num_timesteps, **results})
        self._latest = results
        card = make_card(
            self._settings,
            self._scenario,
            algorithm=self._settings.algorithm,
            steps=self.num_timesteps,
            network=self._settings.network,
            features=self._held_out.schema.names(),
            results=results,
        )
        weights = learner.network.state_dict()
        if results["return"] > best:
            save_checkpoint(self._settings.output / "best", card, weights)
        write_curve(self._curve, self._settings.output)
        save_checkpoint(self._settings.output / "last", card, weights, training_state(learner))

    def _evaluated(self, learner: Learner) -> dict[str, float]:
        """Returns the results on the held-out instances."""
        seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + self._settings.held_out)
        table = play(self._held_out, LearnerPolicy(learner), seeds)
        results = {"return": float(table["return"].mean())}
        if "heft_makespan" in table:
            results["makespan_ratio"] = float(table["makespan"].mean() / table["heft_makespan"].mean())
        for name, value in results.items():
            self.logger.record(f"held_out/{name}", value)
        return results


def make_card(
    settings: Any,
    scenario: Scenario,
    *,
    algorithm: str,
    steps: int,
    network: NetworkSettings,
    features: dict[str, list[str]],
    results: dict[str, float],
) -> Card:
    """Returns the card of a checkpoint that this process has trained.

    Args:
        settings: Of the run, a dataclass with a seed.
        scenario: What was played.
        algorithm: How it was trained.
        steps: Decisions, or updates, that it was trained for.
        network: Settings of the network.
        features: Names of the features it reads, by array.
        results: Named numbers.
    """
    return Card(
        algorithm=algorithm,
        family=scenario.family,
        scenario=scenario.model_dump(mode="json"),
        seed=settings.seed,
        steps=steps,
        command=shlex.join(sys.argv),
        versions=package_versions(),
        network=network,
        features=features,
        results=results,
        settings=to_jsonable_python(asdict(settings)),
    )


def write_curve(points: list[dict[str, float]], folder: Path) -> None:
    """Writes the curve of a run, whole or not at all."""
    with replacing(folder / CURVE, "curve") as partial:
        pd.DataFrame(points).to_csv(partial, index=False)


def read_curve(folder: Path, steps: int) -> list[dict[str, float]]:
    """Returns the points of a run's curve up to so many steps."""
    curve = pd.read_csv(folder / CURVE)
    kept = curve[curve["steps"] <= steps]
    return [{str(name): value for name, value in point.items()} for point in kept.to_dict("records")]
