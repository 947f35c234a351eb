from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback

from hetgym.agents.networks import NetworkSettings
from hetgym.agents.ppo import CandidatePolicy
from hetgym.envs import make_sb3
from hetgym.envs.task_graph.features import SCHEMA

ENV = "hetgym/TaskGraphPlan-v0"
SETTING: dict[str, Any] = {"scenario": "random", "num_tasks": 5, "num_devices": 2, "ready_window": 2, "pool": 4}
NUM_ENVS, NUM_STEPS, SEED = 3, 16, 4

Rollout = dict[str, NDArray[Any]]


class Rollouts(BaseCallback):
    """Keeps what the buffer holds at the end of each rollout, (steps, environments, ...) each."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Rollout] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.locals["rollout_buffer"]
        assert isinstance(buffer, MaskableDictRolloutBuffer)
        assert buffer.full
        names = ("actions", "action_masks", "rewards", "episode_starts")
        arrays = {f"buffer {name}": getattr(buffer, name) for name in names} | buffer.observations
        self.kept.append({name: array.copy() for name, array in arrays.items()})


def replayed(env: VectorEnv[Any, Any, Any], actions: NDArray[np.int64]) -> dict[str, list[NDArray[Any]]]:
    """What an environment shows before each action, and what it gives for it."""
    shown, _ = env.reset(seed=SEED)
    start = np.ones(NUM_ENVS, np.bool_)
    seen: dict[str, list[NDArray[Any]]] = {}
    for action in actions:
        following, reward, terminated, *_ = env.step(action)
        step = {"actions": action[:, None], "action_masks": shown["action_mask"], "rewards": reward}
        step = {f"buffer {name}": array for name, array in (step | {"episode_starts": start}).items()} | shown
        for name, array in step.items():
            seen.setdefault(name, []).append(array)
        shown, start = following, terminated
    return seen


def test_buffer_holds_what_was_seen() -> None:
    model = MaskablePPO(
        CandidatePolicy,
        make_sb3(ENV, NUM_ENVS, **SETTING),
        n_steps=NUM_STEPS,
        batch_size=NUM_STEPS * NUM_ENVS,
        n_epochs=1,
        policy_kwargs={"schema": SCHEMA, "settings": NetworkSettings(hidden=8, rounds=1)},
        device="cpu",
        seed=SEED,
    )
    rollouts = Rollouts()
    model.learn(2 * NUM_STEPS * NUM_ENVS, callback=rollouts)
    assert len(rollouts.kept) == 2
    held = {name: np.concatenate([rollout[name] for rollout in rollouts.kept]) for name in rollouts.kept[0]}

    env = gymnasium.make_vec(ENV, num_envs=NUM_ENVS, vectorization_mode="vector_entry_point", copy=True, **SETTING)
    seen = replayed(env, held["buffer actions"][..., 0].astype(np.int64))
    assert held.keys() == seen.keys()
    for name, arrays in seen.items():
        # The buffer keeps numbers as float32, and adds no bootstrap value to rewards: episodes are never cut short.
        np.testing.assert_array_equal(held[name].astype(np.float32), np.array(arrays).astype(np.float32), err_msg=name)
