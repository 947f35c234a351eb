"""Several scenarios side by side: each part plays as it would alone, and padding means nothing."""

from __future__ import annotations

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.envs import load_scenario
from hetgym.envs.core.population import PopulationVecEnv
from hetgym.envs.core.sb3 import SB3VecEnv

SETTINGS = ({"num_tasks": 6, "num_devices": 2}, {"num_tasks": 9, "num_devices": 3})


def part(num_envs: int, **settings: int) -> SB3VecEnv:
    return SB3VecEnv(load_scenario("random", **settings).simulator(num_envs))


def test_each_part_plays_as_it_would_alone() -> None:
    joined = PopulationVecEnv([part(2, **SETTINGS[0]), part(3, **SETTINGS[1])])
    alone = [part(2, **SETTINGS[0]), part(3, **SETTINGS[1])]
    joined.seed(7)
    alone[0].seed(7)
    alone[1].seed(9)
    seen, parts = joined.reset(), [env.reset() for env in alone]
    rows = (slice(0, 2), slice(2, 5))
    ended = 0
    for _ in range(40):
        masks = joined.action_masks()
        for place, env, observation in zip(rows, alone, parts, strict=True):
            for name, array in observation.items():
                corner = (place, *(slice(size) for size in array.shape[1:]))
                np.testing.assert_array_equal(seen[name][corner], array)
                assert np.count_nonzero(seen[name][place]) == np.count_nonzero(array), name  # the rest is zeros
            np.testing.assert_array_equal(masks[place, : env.action_masks().shape[1]], env.action_masks())
        actions = masks.argmax(axis=1)
        seen, rewards, dones, infos = joined.step(actions)
        outcomes = [env.step(actions[place]) for place, env in zip(rows, alone, strict=True)]
        parts = [outcome[0] for outcome in outcomes]
        np.testing.assert_array_equal(rewards, np.concatenate([outcome[1] for outcome in outcomes]))
        np.testing.assert_array_equal(dones, np.concatenate([outcome[2] for outcome in outcomes]))
        own = [info for outcome in outcomes for info in outcome[3]]
        assert [info.get("metrics") for info in infos] == [info.get("metrics") for info in own]
        for info in infos:
            if "terminal_observation" in info:
                ended += 1
                assert joined.observation_space.contains(info["terminal_observation"])
    assert ended > 10
    assert joined.observation_space.contains({name: array[0] for name, array in seen.items()})


def test_what_was_shown_stays_valid_for_one_further_step() -> None:
    env = PopulationVecEnv([part(1, **SETTINGS[0]), part(1, **SETTINGS[1])])
    env.seed(0)
    first = env.reset()
    kept = {name: array.copy() for name, array in first.items()}
    env.step(env.action_masks().argmax(axis=1))
    for name, array in first.items():
        np.testing.assert_array_equal(array, kept[name])


def test_scenarios_that_show_other_features_are_refused() -> None:
    other = SB3VecEnv(load_scenario("random", mode="dispatch").simulator(1))
    with pytest.raises(HetgymError, match="all show the same features"):
        PopulationVecEnv([part(1, **SETTINGS[0]), other])
