"""Trains a candidate scorer with MaskablePPO, evaluates it on held-out instances, and can go on after a kill."""

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
import torch
from gymnasium.spaces import Discrete
from sb3_contrib import MaskablePPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from torch import Tensor

from ..agents.checkpoint import (
    POLICY,
    TRAINING,
    Card,
    find_last,
    load_card,
    load_tensors,
    package_versions,
    save_checkpoint,
)
from ..agents.learned import greedy
from ..agents.networks import CandidateScorer, NetworkSettings
from ..agents.policy import Actions
from ..agents.ppo import CandidatePolicy, masked_ppo
from ..envs import Scenario, Simulator
from ..envs.core.sb3 import SB3VecEnv
from ..envs.core.simulator import Arrays
from ..errors import HetgymError
from ..evaluate.evaluation import SEED_LIMIT, play
from ..evaluate.figures import CURVE
from .settings import TrainSettings

HELD_OUT_SEED = SEED_LIMIT
"""Held-out instances have the seeds from here; evaluations use seeds below."""
TRAINING_SEED = 2**32
"""Training run s, environment i has the seed TRAINING_SEED + s * 2^16 + i."""


class _Greedy:
    """The network in training, as a policy."""

    name = "ppo"
    clairvoyant = False

    def __init__(self, network: CandidateScorer) -> None:
        self._network = network

    def reset(self, simulator: Simulator) -> None:
        """Does nothing."""

    def act(self, observation: Arrays, simulator: Simulator) -> Actions:
        """Returns the best-scored candidates."""
        return greedy(self._network, observation)


def train(settings: TrainSettings, progress: Callable[[int, dict[str, float]], None] | None = None) -> Path:
    """Trains an agent.

    Args:
        settings: What, and for how long.
        progress: Called after each rollout with the steps done and the latest numbers.

    Returns:
        The run's folder: ``best`` and ``last`` are checkpoints, ``curve.csv`` the results on held-out instances,
        and TensorBoard reads the rest.

    Raises:
        HetgymError: If a setting is not right, or there is nothing to resume.
    """
    settings.check()
    scenario = settings.load_scenario()
    torch.set_num_threads(settings.threads)
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise HetgymError("device: 'cuda' is not available here; use 'cpu'")
    settings.output.mkdir(parents=True, exist_ok=True)
    last = find_last(settings.output) if settings.resume else None

    env = SB3VecEnv(scenario.simulator(settings.num_envs, settings.reward))
    if not isinstance(env.action_space, Discrete):
        raise HetgymError(
            f"scenario {scenario.name!r}: masked PPO chooses among candidates: train its continuous face with "
            "stable-baselines3's SAC (examples/sac_offloading.py)"
        )
    model = _model(settings, env)
    env.seed(TRAINING_SEED + settings.seed * 2**16)
    recorder = _Recorder(settings, scenario, env.simulator, progress)
    if last:
        _restore(model, env, last, settings)
        recorder.continue_from(load_card(last).steps)
    model.set_logger(configure(str(settings.output), ["tensorboard"]))
    if model.num_timesteps < settings.steps:
        model.learn(settings.steps - model.num_timesteps, callback=recorder, reset_num_timesteps=False)
    return settings.output


def _model(settings: TrainSettings, env: SB3VecEnv) -> MaskablePPO:
    return masked_ppo(
        env,
        _network_settings(settings),
        learning_rate=lambda remaining: _decayed(settings.learning_rate, remaining, settings),
        n_steps=settings.rollout,
        batch_size=min(settings.batch_size, settings.rollout * settings.num_envs),
        n_epochs=settings.epochs,
        gamma=settings.gamma,
        gae_lambda=settings.gae_lambda,
        clip_range=settings.clip,
        ent_coef=settings.entropy,
        seed=settings.seed,
        device=settings.device,
    )


def _network_settings(settings: TrainSettings) -> NetworkSettings:
    return NetworkSettings(
        settings.hidden,
        settings.rounds,
        encoder=settings.encoder,
        pooling=settings.pooling,
        hierarchy=settings.hierarchy,
    )


def _decayed(initial: float, remaining: float, settings: TrainSettings) -> float:
    """Returns a number for the next update, where a part of the training, at most 1, remains."""
    return initial * max(remaining, 0.0) if settings.decay else initial


class _Recorder(BaseCallback):
    """Evaluates on held-out instances, keeps the best and the last checkpoint, and reports progress."""

    def __init__(
        self,
        settings: TrainSettings,
        scenario: Scenario,
        simulator: Simulator,
        progress: Callable[[int, dict[str, float]], None] | None,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._scenario = scenario
        self._simulator = simulator
        self._progress = progress
        self._held_out = scenario.for_single_episodes().simulator(settings.held_out, settings.reward)
        self._curve: list[dict[str, float]] = []
        self._rollouts = 0
        self._cpu_seconds = time.process_time()
        self._latest: dict[str, float] = {}

    def continue_from(self, steps: int) -> None:
        """Takes over the curve of an earlier run up to so many steps."""
        curve = pd.read_csv(self._settings.output / CURVE)
        kept = curve[curve["steps"] <= steps]
        self._curve = [{str(name): value for name, value in point.items()} for point in kept.to_dict("records")]

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self._rollouts % self._settings.evaluate_every == 0:
            self._record()

    def _on_rollout_end(self) -> None:
        self._rollouts += 1
        remaining = 1 - self.num_timesteps / self._settings.steps
        cast("MaskablePPO", self.model).ent_coef = _decayed(self._settings.entropy, remaining, self._settings)
        steps = self._settings.num_envs * self._settings.rollout
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
        network = _network(self.model)
        network.eval()
        seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + self._settings.held_out)
        table = play(self._held_out, _Greedy(network), seeds)
        results = {"return": float(table["return"].mean())}
        if "heft_makespan" in table:
            results["makespan_ratio"] = float(table["makespan"].mean() / table["heft_makespan"].mean())
        for name, value in results.items():
            self.logger.record(f"held_out/{name}", value)
        best = max((point["return"] for point in self._curve), default=-np.inf)
        self._curve.append({"steps": self.num_timesteps, **results})
        self._latest = results
        card = Card(
            algorithm="ppo",
            family=self._scenario.family,
            scenario=self._scenario.model_dump(mode="json"),
            seed=self._settings.seed,
            steps=self.num_timesteps,
            command=shlex.join(sys.argv),
            versions=package_versions(),
            network=_network_settings(self._settings),
            features=self._simulator.schema.names(),
            results=results,
            settings={name: _plain(value) for name, value in asdict(self._settings).items()},
        )
        weights = network.state_dict()
        if results["return"] > best:
            save_checkpoint(self._settings.output / "best", card, weights)
        partial = self._settings.output / f".{CURVE}.partial"
        pd.DataFrame(self._curve).to_csv(partial, index=False)
        partial.replace(self._settings.output / CURVE)
        save_checkpoint(self._settings.output / "last", card, weights, _training_state(self.model, self._simulator))


def _network(model: BaseAlgorithm) -> CandidateScorer:
    return cast("CandidatePolicy", model.policy).scorer


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _training_state(model: BaseAlgorithm, simulator: Simulator) -> dict[str, Tensor]:
    """Returns all that the next update depends on, besides the network."""
    state = {"torch_random": torch.get_rng_state()}
    _, keys, position, has_gauss, cached_gauss = np.random.get_state()  # noqa: NPY002 (SB3 draws from it)
    state["numpy_random"] = torch.from_numpy(np.asarray(keys).astype(np.int64))
    state["numpy_position"] = torch.tensor([position, has_gauss, cached_gauss], dtype=torch.float64)
    state["updates"] = torch.tensor([model._n_updates])
    for index, moments in model.policy.optimizer.state_dict()["state"].items():
        for name, tensor in moments.items():
            state[f"optimizer.{index}.{name}"] = tensor
    for name, array in simulator.state_arrays().items():
        state[f"simulator.{name}"] = torch.from_numpy(np.ascontiguousarray(array).reshape(-1).view(np.uint8).copy())
    state["episode_starts"] = torch.from_numpy(np.asarray(model._last_episode_starts))
    return state


def _restore(model: MaskablePPO, env: SB3VecEnv, last: Path, settings: TrainSettings) -> None:
    """Brings a fresh model and environment to where the last checkpoint was written.

    Raises:
        HetgymError: If the run was started with other settings.
    """
    card = load_card(last)
    for name, value in asdict(settings).items():
        if name not in ("output", "resume", "steps", "threads", "device") and not _same(card.settings[name], value):
            raise HetgymError(
                f"{last}: cannot resume with {name} = {value!r}: the run was started with {card.settings[name]!r}"
            )
    state = load_tensors(last / TRAINING)
    _network(model).load_state_dict(load_tensors(last / POLICY))
    optimizer = model.policy.optimizer.state_dict()
    for key, tensor in state.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            optimizer["state"].setdefault(int(index), {})[name] = tensor
    model.policy.optimizer.load_state_dict(optimizer)
    arrays = env.simulator.state_arrays()
    env.simulator.load_state_arrays(
        {
            name: state[f"simulator.{name}"].numpy().view(array.dtype).reshape(array.shape)
            for name, array in arrays.items()
        }
    )
    model.num_timesteps = card.steps
    model._n_updates = int(state["updates"][0])
    model._last_obs = cast("dict[str, np.ndarray]", env.resume())
    model._last_episode_starts = state["episode_starts"].numpy()
    torch.set_rng_state(state["torch_random"])
    position, has_gauss, cached_gauss = state["numpy_position"].tolist()
    keys = state["numpy_random"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, int(position), int(has_gauss), cached_gauss))  # noqa: NPY002


def _same(saved: Any, given: Any) -> bool:
    return bool(saved == (list(given) if isinstance(given, tuple) else _plain(given)))
