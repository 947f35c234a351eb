"""The algorithms that agents learn with, by name."""

from __future__ import annotations

from collections.abc import Callable

from stable_baselines3.common.vec_env import VecEnv

from ..agents.learner import Learner
from ..agents.ppo import masked_ppo
from .environments import simulators_of
from .settings import TrainSettings


def make_learner(settings: TrainSettings, env: VecEnv) -> Learner:
    """Returns an agent that is about to learn.

    Args:
        settings: How.
        env: Where, as `training_env` returns it.
    """
    return _MAKERS[settings.algorithm](settings, env)


def decayed(initial: float, remaining: float, settings: TrainSettings) -> float:
    """Returns a number for the next update, where a part of the training, at most 1, remains."""
    return initial * max(remaining, 0.0) if settings.decay else initial


def _ppo(settings: TrainSettings, env: VecEnv) -> Learner:
    return masked_ppo(
        env,
        simulators_of(env)[0].schema,
        settings.network,
        learning_rate=lambda remaining: decayed(settings.learning_rate, remaining, settings),
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


_MAKERS: dict[str, Callable[[TrainSettings, VecEnv], Learner]] = {"ppo": _ppo}
