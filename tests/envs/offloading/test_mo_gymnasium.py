"""The wrappers of mo-gymnasium on the environment with a vector reward."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from hetgym.envs.offloading.rules import OBJECTIVES

mo_gymnasium = pytest.importorskip("mo_gymnasium")

from mo_gymnasium.wrappers import LinearReward, MOClipReward, MONormalizeReward, MORecordEpisodeStatistics  # noqa: E402
from mo_gymnasium.wrappers.vector import MORecordEpisodeStatistics as MORecordVectorStatistics  # noqa: E402
from mo_gymnasium.wrappers.vector import MOSyncVectorEnv  # noqa: E402

COSTS = [f"{objective}_cost" for objective in OBJECTIVES]
GAMMA = 0.9


def make(**arguments: Any) -> Any:
    return mo_gymnasium.make("hetgym/MOOffload-v0", observation="flat", horizon=20.0, **arguments)


def play(env: Any, seed: int = 3) -> tuple[list[Any], dict[str, Any]]:
    """Plays one episode by chance; returns its rewards and the last info."""
    env.reset(seed=seed)
    env.action_space.seed(0)
    rewards = []
    while True:
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        rewards.append(reward)
        if terminated or truncated:
            return rewards, info


@pytest.fixture(scope="module")
def rewards() -> np.ndarray:
    return np.array(play(make())[0])


def discounted(rewards: np.ndarray) -> np.ndarray:
    return (rewards * GAMMA ** np.arange(len(rewards))[:, None]).sum(axis=0)


def test_episode_statistics_are_vectors(rewards: np.ndarray) -> None:
    _, info = play(MORecordEpisodeStatistics(make(), GAMMA))
    np.testing.assert_allclose(info["episode"]["r"], rewards.sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(info["episode"]["dr"], discounted(rewards), rtol=1e-5)
    assert info["episode"]["l"] == len(rewards)
    # What the rewards add up to is what the metrics say.
    np.testing.assert_allclose(-rewards.sum(axis=0), [info["metrics"][name] for name in COSTS])


def test_linear_reward_is_the_weighted_sum(rewards: np.ndarray) -> None:
    weights = np.array([0.5, 0.3, 0.2])
    linear, info = play(LinearReward(make(), weight=weights))
    np.testing.assert_allclose(linear, rewards @ weights)
    np.testing.assert_array_equal(info["vector_reward"], rewards[-1])


def test_linear_reward_with_the_weights_of_the_episode_is_the_scalar_reward() -> None:
    weights = (0.5, 0.3, 0.2)
    scalar, _ = play(gymnasium.make("hetgym/Offload-v0", horizon=20.0, weights=weights))
    linear, _ = play(LinearReward(make(weights=weights), weight=np.array(weights)))
    np.testing.assert_allclose(linear, scalar)


def test_wrappers_that_change_one_objective_leave_the_others(rewards: np.ndarray) -> None:
    clipped = np.array(play(MOClipReward(make(), idx=0, min_r=-1.0, max_r=0.0))[0])
    np.testing.assert_array_equal(clipped[:, 0], np.clip(rewards[:, 0], -1.0, 0.0))
    np.testing.assert_array_equal(clipped[:, 1:], rewards[:, 1:])
    normalised = np.array(play(MONormalizeReward(make(), idx=1, gamma=GAMMA))[0])
    np.testing.assert_array_equal(normalised[:, [0, 2]], rewards[:, [0, 2]])
    assert np.isfinite(normalised).all()
    assert (np.sign(normalised[:, 1]) == np.sign(rewards[:, 1])).all()
    assert not np.array_equal(normalised[:, 1], rewards[:, 1])


def test_vectors_of_environments() -> None:
    env = MORecordVectorStatistics(MOSyncVectorEnv([make] * 3), gamma=GAMMA)
    single = [play(make(), seed)[0] for seed in (3, 4, 5)]
    observation, _ = env.reset(seed=3)
    assert observation.shape == (3, *make().observation_space.shape)
    # The same actions as each gets alone.
    chance = make().action_space
    chance.seed(0)
    ended: dict[int, Any] = {}
    for step in range(max(map(len, single))):
        _, reward, terminated, _, infos = env.step(np.full(3, chance.sample()))
        assert reward.shape == (3, 3)
        for row in range(3):
            if step < len(single[row]):
                np.testing.assert_allclose(reward[row], single[row][step], rtol=1e-6)
            if terminated[row]:
                ended.setdefault(row, (infos["episode"]["r"][row], infos["episode"]["dr"][row]))
    for row, (total, of_later) in ended.items():
        np.testing.assert_allclose(total, np.sum(single[row], axis=0), rtol=1e-5)
        np.testing.assert_allclose(of_later, discounted(np.array(single[row])), rtol=1e-5)
    assert sorted(ended) == [0, 1, 2]
