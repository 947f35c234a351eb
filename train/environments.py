"""Where agents learn: one scenario or several side by side, with returns of unit variance if wanted."""

from __future__ import annotations

from typing import cast

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize

from ..envs import ObservationSchema, Scenario, Simulator, load_scenario
from ..envs.core.population import PopulationVecEnv
from ..envs.core.sb3 import SB3VecEnv
from ..errors import HetgymError
from .hindsight import HindsightVecEnv
from .settings import TrainSettings

TRAINING_SEED = 2**32
"""Training run s, environment i has the seed TRAINING_SEED + s * 2^16 + i."""


def training_env(settings: TrainSettings, scenario: Scenario) -> VecEnv:
    """Returns the environments of a training run, seeded.

    The scenario and those of ``settings.mix`` have equal shares of them.

    Raises:
        HetgymError: If there are fewer environments than scenarios, they show different features, or hindsight is
            not for one of them.
    """
    scenarios = [scenario, *(load_scenario(other) for other in settings.mix)]
    if settings.num_envs < len(scenarios):
        raise HetgymError(f"num_envs: must be at least {len(scenarios)}, the number of scenarios")
    shares = [len(rows) for rows in np.array_split(np.arange(settings.num_envs), len(scenarios))]
    parts = [_part(settings, one, share) for one, share in zip(scenarios, shares, strict=True)]
    env: VecEnv = PopulationVecEnv(parts) if len(parts) > 1 else parts[0]
    env.seed(TRAINING_SEED + settings.seed * 2**16)
    if settings.normalise_returns:
        env = VecNormalize(env, norm_obs=False, gamma=settings.gamma, clip_reward=np.inf)
    return env


def _part(settings: TrainSettings, scenario: Scenario, num_envs: int) -> SB3VecEnv:
    if settings.hindsight:
        return HindsightVecEnv.of(scenario, num_envs, settings.reward)
    return SB3VecEnv(scenario.simulator(num_envs, settings.reward))


def schema_of(env: VecEnv) -> ObservationSchema:
    """Returns what the columns of the environments' observations are."""
    return simulators_of(env)[0].schema


def simulators_of(env: VecEnv) -> list[Simulator]:
    """Returns the simulators under the environments of `training_env`, in order, then their twins."""
    inner = unwrapped(env)
    parts = inner.parts if isinstance(inner, PopulationVecEnv) else [inner]
    twins = [part.twin for part in parts if isinstance(part, HindsightVecEnv)]
    return [*(part.simulator for part in parts), *twins]


def unwrapped(env: VecEnv) -> SB3VecEnv | PopulationVecEnv:
    """Returns the environments of `training_env` without a wrapper."""
    return cast("SB3VecEnv | PopulationVecEnv", env.venv if isinstance(env, VecEnvWrapper) else env)
