"""Trains a candidate scorer, evaluates it on held-out instances, and can go on after a kill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecEnv

from ..agents import make_policy
from ..agents.card import find_checkpoint, find_last, load_card
from ..agents.checkpoint import check_features, load_weights, saved_training
from ..agents.learner import Learner
from ..agents.networks import CandidateScorer, NetworkSettings
from ..agents.sac_continuous import ContinuousSAC
from ..envs import Scenario
from ..errors import HetgymError
from .algorithms import make_learner
from .checks import check_unchanged
from .environments import TRAINING_SEED, schema_of, training_env
from .imitation import imitate, imitate_continuous
from .recorder import Progress, Recorder
from .settings import TrainSettings
from .state import restore

ELSEWHERE = ("output", "resume", "steps", "threads", "device")
"""Settings that a resumed run may change."""
EPISODES_PER_LOG = 1_000
"""Off-policy algorithms write to TensorBoard so often; PPO does after every rollout."""


def train(settings: TrainSettings, progress: Progress | None = None) -> Path:
    """Trains an agent.

    Args:
        settings: What, and for how long.
        progress: Called after each rollout with the steps done and the latest numbers.

    Returns:
        The run's folder: ``best`` and ``last`` are checkpoints, ``curve.csv`` the results on held-out instances,
        and TensorBoard reads the rest. With a curriculum, each stage has a folder of its own, ``stage-0`` and so on;
        the last one's is returned.

    Raises:
        HetgymError: If a setting is not right, or there is nothing to resume.
    """
    settings.check()
    torch.set_num_threads(settings.threads)
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise HetgymError("device: 'cuda' is not available here; use 'cpu'")
    stages = settings.stages()
    if len(stages) == 1:
        return _train(settings, settings.load_scenario(), progress)
    # What could only be refused after hours is tried out first.
    scenarios = [stage.load_scenario() for stage in stages]
    run = settings.output
    for index, (stage, scenario) in enumerate(zip(stages, scenarios, strict=True)):
        begun = settings.resume and (stage.output / "last").exists()
        following = replace(stage, start=run if index else settings.start, resume=begun)
        run = _train(following, scenario, _shifted(progress, index * stage.steps))
    return run


def _shifted(progress: Progress | None, steps: int) -> Progress | None:
    """Returns a progress that counts the steps of earlier stages as well."""
    return progress and (lambda done, results: progress(steps + done, results))


def _train(settings: TrainSettings, scenario: Scenario, progress: Progress | None) -> Path:
    settings.output.mkdir(parents=True, exist_ok=True)
    last = find_last(settings.output) if settings.resume else None
    env = training_env(settings, scenario)
    learner = make_learner(settings, env)
    recorder = Recorder(settings, scenario, progress)
    if last:
        _resume(learner, last, settings)
        recorder.continue_from(learner.num_timesteps)
    else:
        _prepare(learner, settings, scenario, progress)
    learner.set_logger(configure(str(settings.output), ["tensorboard"]))
    if learner.num_timesteps < settings.steps or not settings.steps:
        remaining = settings.steps - learner.num_timesteps
        often = 1 if settings.algorithm == "ppo" else EPISODES_PER_LOG
        learner.learn(remaining, callback=recorder, log_interval=often, reset_num_timesteps=False)
    return settings.output


def _prepare(learner: Learner, settings: TrainSettings, scenario: Scenario, progress: Progress | None) -> None:
    """Gives a network that is to learn what others know: the weights of a checkpoint, or what an expert does."""
    if settings.start:
        _begin_with(learner, settings.start, settings.network)
    if not settings.imitate:
        return
    seed = TRAINING_SEED + settings.seed * 2**16
    expert, chosen = make_policy(settings.imitate, scenario.family), settings.imitation
    if isinstance(learner, ContinuousSAC):
        imitate_continuous(learner, scenario, expert, chosen, seed)
        return
    if settings.normalise_returns:
        # What values are worth is not known before learning begins.
        chosen = replace(chosen, value=0.0)
    imitate(
        cast("CandidateScorer", learner.network),
        scenario,
        expert,
        chosen,
        seed,
        settings.reward,
        settings.gamma,
        after_round=lambda ended: progress(0, {"agreement": ended.agreement}) if progress else None,
    )


def _begin_with(learner: Learner, start: Path, network: NetworkSettings) -> None:
    """Takes over the network of a checkpoint.

    Raises:
        HetgymError: If it was trained on other features, or its network is of another size.
    """
    folder = find_checkpoint(start)
    card = load_card(folder)
    check_features(folder, card, schema_of(cast("VecEnv", learner.env)))
    if card.network != network:
        raise HetgymError(f"start: {folder} holds a network of {card.network}; train with the same settings")
    load_weights(learner.network, folder)


def _resume(learner: Learner, last: Path, settings: TrainSettings) -> None:
    """Brings a fresh learner to where the last checkpoint was written.

    Raises:
        HetgymError: If the run was started with other settings, or a file is broken.
    """
    card = load_card(last)
    check_unchanged(last, card, settings, ELSEWHERE)
    load_weights(learner.network, last)
    with saved_training(last) as state:
        restore(learner, state, card.steps)
