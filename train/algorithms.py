"""The algorithms that agents learn with, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gymnasium.spaces import Discrete
from stable_baselines3.common.vec_env import VecEnv

from ..agents.dqn import candidate_dqn
from ..agents.learner import Learner
from ..agents.ppo import masked_ppo
from ..agents.sac import discrete_sac
from ..agents.sac_continuous import continuous_sac
from ..errors import HetgymError
from .environments import schema_of
from .settings import TrainSettings


def make_learner(settings: TrainSettings, env: VecEnv) -> Learner:
    """Returns an agent that is about to learn.

    Args:
        settings: How.
        env: Where, as `training_env` returns it.

    Raises:
        HetgymError: If the algorithm is not for the scenario's face.
    """
    if isinstance(env.action_space, Discrete):
        return _MAKERS[settings.algorithm](settings, env)
    if settings.algorithm != "sac":
        raise HetgymError(f"algorithm: {settings.algorithm} chooses among candidates; for a continuous face take sac")
    return continuous_sac(env, settings.network, **_off_policy(settings))


def decayed(initial: float, remaining: float, settings: TrainSettings) -> float:
    """Returns a number for the next update, where a part of the training, at most 1, remains."""
    return initial * max(remaining, 0.0) if settings.decay else initial


def _ppo(settings: TrainSettings, env: VecEnv) -> Learner:
    return masked_ppo(
        env,
        schema_of(env),
        settings.network,
        n_steps=settings.rollout,
        batch_size=min(settings.batch_size, settings.rollout * settings.num_envs),
        n_epochs=settings.epochs,
        gae_lambda=settings.gae_lambda,
        clip_range=settings.clip,
        ent_coef=settings.entropy,
        **_common(settings),
    )


def _sac(settings: TrainSettings, env: VecEnv) -> Learner:
    chosen = settings.off_policy
    return discrete_sac(
        env,
        schema_of(env),
        settings.network,
        temperature=chosen.temperature,
        target_entropy=chosen.target_entropy if chosen.adapt_temperature else None,
        combine=chosen.combine,
        q_clip=chosen.q_clip,
        entropy_penalty=chosen.entropy_penalty,
        critic_entropy=chosen.critic_entropy,
        **_off_policy(settings),
    )


def _dqn(settings: TrainSettings, env: VecEnv) -> Learner:
    return candidate_dqn(
        env,
        schema_of(env),
        settings.network,
        quantiles=settings.network.outputs,
        exploration_final_eps=settings.off_policy.exploration,
        **_off_policy(settings),
    )


def _off_policy(settings: TrainSettings) -> dict[str, Any]:
    chosen = settings.off_policy
    return {
        "train_freq": (settings.rollout, "step"),
        "gradient_steps": chosen.gradient_steps,
        "buffer_size": chosen.buffer_size,
        "learning_starts": chosen.learning_starts,
        "tau": chosen.tau,
        "batch_size": settings.batch_size,
        **_common(settings),
    }


def _common(settings: TrainSettings) -> dict[str, Any]:
    return {
        "learning_rate": lambda remaining: decayed(settings.learning_rate, remaining, settings),
        "gamma": settings.gamma,
        "seed": settings.seed,
        "device": settings.device,
    }


_MAKERS: dict[str, Callable[[TrainSettings, VecEnv], Learner]] = {
    "ppo": _ppo,
    "sac": _sac,
    "dqn": _dqn,
    "qr-dqn": _dqn,
}
