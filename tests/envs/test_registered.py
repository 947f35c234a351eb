import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import hetgym.envs

SB3_ADVICE = (".* unconventional shape", ".*we recommend you to flatten the observation")

ENV_IDS = hetgym.envs.list_envs()
CONTINUOUS = {"hetgym/OffloadContinuous-v0"}
VECTOR_REWARD = {"hetgym/MOOffload-v0"}

every_env = pytest.mark.parametrize("env_id", ENV_IDS)
every_discrete_env = pytest.mark.parametrize("env_id", sorted(set(ENV_IDS) - CONTINUOUS))


def make(env_id: str, **arguments: Any) -> gymnasium.Env[Any, Any]:
    return gymnasium.make(env_id, **arguments).unwrapped


def make_scalar(env_id: str, **arguments: Any) -> gymnasium.Env[Any, Any]:
    """An environment as checkers of scalar rewards take it: of a vector reward, the sum."""
    env: Any = make(env_id, **arguments)
    if env_id in VECTOR_REWARD:
        vector = env._reward
        env._reward = lambda: float(vector().sum())
    return env  # type: ignore[no-any-return]


def mask_of(env: gymnasium.Env[Any, Any]) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = env.get_wrapper_attr("action_masks")()
    return mask


def random_play(env: gymnasium.Env[Any, Any], episodes: int = 2, seed: int = 0) -> Iterator[tuple[Any, ...]]:
    """Plays allowed actions at random; yields (action, observation, reward, terminated, info), resets included."""
    chance = np.random.default_rng(seed)
    for episode in range(episodes):
        observation, info = env.reset(seed=seed if episode == 0 else None)
        yield None, observation, 0.0, False, info
        done = False
        while not done:
            if isinstance(env.action_space, spaces.Box):
                action = chance.uniform(-1, 1, env.action_space.shape).astype(np.float32)
            else:
                action = chance.choice(np.flatnonzero(mask_of(env)))
            observation, reward, terminated, truncated, info = env.step(action)
            done = terminated or truncated
            yield action, observation, reward, terminated, info


def after(env: gymnasium.Env[Any, Any], actions: list[Any]) -> tuple[Any, ...]:
    """What the last of some actions gives, from a reset with seed 0."""
    env.reset(seed=0)
    *_, last = [env.step(action) for action in actions]
    return last


def bits(values: Any) -> bytes:
    """Observations, rewards, ends and infos as bytes, for comparison to the bit."""
    return pickle.dumps(values)


@every_env
@pytest.mark.parametrize("observation", ["dict", "flat"])
def test_gymnasium_checker_is_silent(env_id: str, observation: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make_scalar(env_id, render_mode="rgb_array", observation=observation), skip_render_check=False)


@every_env
@pytest.mark.parametrize("observation", ["dict", "flat"])
def test_sb3_checker_is_silent(env_id: str, observation: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for advice in SB3_ADVICE if observation == "dict" else ():
            warnings.filterwarnings("ignore", advice, UserWarning)
        sb3_check_env(make_scalar(env_id, observation=observation))


@every_env
def test_twins_are_equal_to_the_bit(env_id: str) -> None:
    one, other = ([bits(step) for step in random_play(make(env_id), episodes=3)] for _ in range(2))
    assert one == other


@every_env
def test_seeds_and_episodes_differ(env_id: str) -> None:
    env = make(env_id)
    shown = [bits(env.reset(seed=seed)) for seed in (0, 0, 1, None)]
    assert shown[0] == shown[1]
    assert len(set(shown)) == 3


@every_env
def test_pickled_spec_makes_the_same_environment(env_id: str) -> None:
    env = gymnasium.make(env_id, observation="flat")
    again = pickle.loads(pickle.dumps(env.spec)).make()
    assert again.observation_space == env.observation_space
    for one, other in zip(random_play(env), random_play(again), strict=True):
        assert bits(one) == bits(other)


@every_env
def test_observation_is_within_its_space(env_id: str) -> None:
    env = make(env_id)
    assert isinstance(env.observation_space, spaces.Dict)
    for _, observation, *_ in random_play(env):
        for name, space in env.observation_space.items():
            assert observation[name] in space, name


@every_env
def test_flat_is_the_dictionary_in_order(env_id: str) -> None:
    flat = make(env_id, observation="flat")
    for (_, shown, *_), (_, whole, *_) in zip(random_play(flat), random_play(make(env_id)), strict=True):
        assert shown in flat.observation_space
        wanted = np.concatenate([array.ravel().astype(np.float32) for array in whole.values()])
        np.testing.assert_array_equal(shown, wanted, strict=True)


@every_env
def test_masks_are_consistent(env_id: str) -> None:
    env = make(env_id)
    for _, observation, _, terminated, _ in random_play(env):
        mask = observation["action_mask"] == 1
        assert mask.any()
        np.testing.assert_array_equal(mask, mask_of(env))
        if terminated:
            assert np.flatnonzero(mask).tolist() == [0]


@every_env
def test_masked_candidates_have_no_features(env_id: str) -> None:
    for _, observation, *_ in random_play(make(env_id)):
        assert not observation["candidates"][observation["action_mask"] == 0].any()


@every_discrete_env
def test_every_allowed_action_is_executed(env_id: str) -> None:
    env, branch = make(env_id), make(env_id)
    played: list[int] = []
    for action, *_, terminated, info in random_play(env, episodes=1):
        assert "invalid_action" not in info
        played += [] if action is None else [action]
        for allowed in [] if terminated else np.flatnonzero(mask_of(env)):
            assert "invalid_action" not in after(branch, [*played, allowed])[-1]


@every_discrete_env
def test_masked_action_executes_the_first_allowed(env_id: str) -> None:
    env, branch, twin = make(env_id), make(env_id), make(env_id)
    played: list[int] = []
    for action, *_, terminated, _ in random_play(env, episodes=1):
        played += [] if action is None else [action]
        mask = mask_of(env)
        if terminated or mask.all():
            continue
        wanted = after(twin, [*played, mask.argmax()])
        for masked in np.flatnonzero(~mask)[[0, -1]]:
            *result, info = after(branch, [*played, masked])
            assert info.pop("invalid_action") is True
            assert bits((*result, info)) == bits(wanted)


@every_env
def test_spaces_stay(env_id: str) -> None:
    env = make(env_id)
    before = env.observation_space, env.action_space
    copied = pickle.dumps(before)
    for _ in random_play(env):
        assert env.observation_space is before[0]
        assert env.action_space is before[1]
    assert pickle.dumps(before) == copied


@every_env
def test_metrics_come_at_the_end_only(env_id: str) -> None:
    for *_, terminated, info in random_play(make(env_id)):
        assert ("metrics" in info) == terminated
        assert all(type(value) is float for value in info.get("metrics", {}).values())


@every_env
def test_picture_changes_with_the_episode(env_id: str) -> None:
    env = make(env_id, render_mode="rgb_array")
    play = random_play(env, episodes=1)
    next(play)
    pictures: list[Any] = [env.render(), *(env.render() for *_, terminated, _ in play if terminated)]
    for picture in pictures:
        assert isinstance(picture, np.ndarray)
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert picture.shape[2] == 3
    assert not np.array_equal(*pictures)


@every_env
def test_gym_imports_hetgym_by_itself(env_id: str, tmp_path: Path) -> None:
    run_in(tmp_path, f"import gymnasium; gymnasium.make('hetgym:{env_id}').reset(seed=0)")


@every_env
def test_import_leaves_torch_alone(env_id: str, tmp_path: Path) -> None:
    run_in(tmp_path, f"import sys, gymnasium, hetgym; gymnasium.make('{env_id}'); assert 'torch' not in sys.modules")


def run_in(folder: Path, program: str) -> None:
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True)


@pytest.mark.parametrize("env_id", sorted(VECTOR_REWARD))
def test_vector_rewards_follow_the_conventions_of_mo_gymnasium(env_id: str) -> None:
    mo_gymnasium = pytest.importorskip("mo_gymnasium")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = mo_gymnasium.make(env_id, observation="flat")
        assert env.unwrapped.reward_dim == env.unwrapped.reward_space.shape[0] == 3
        env.reset(seed=0)
        rewards = [env.step(int(mask_of(env).argmax()))[1] for _ in range(3)]
    for reward in rewards:
        assert reward.dtype == np.float64
        assert reward in env.unwrapped.reward_space
    kept = [reward.copy() for reward in rewards]
    rewards[0] += 1.0
    assert all(np.array_equal(one, other) for one, other in zip(rewards[1:], kept[1:], strict=True))
    linear = mo_gymnasium.wrappers.LinearReward(mo_gymnasium.make(env_id), weight=np.array([0.5, 0.3, 0.2]))
    linear.reset(seed=0)
    assert np.isscalar(linear.step(int(mask_of(linear).argmax()))[1])
