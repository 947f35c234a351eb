from dataclasses import fields
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from hetgym.agents.networks import CandidateBatch, NetworkSettings
from hetgym.agents.networks.batch import Graphs
from hetgym.agents.ppo import CandidateBuffer, Samples, masked_ppo
from hetgym.envs import make_sb3
from hetgym.envs.core.simulator import Arrays
from hetgym.envs.task_graph.features import PLAN_SCHEMA as SCHEMA

ENV = "hetgym/TaskGraphPlan-v0"
SETTING: dict[str, Any] = {"scenario": "random", "num_tasks": 5, "num_devices": 2, "ready_window": 2, "pool": 4}
NUM_ENVS, NUM_STEPS, SEED = 3, 16, 4
ORDER = np.random.default_rng(0).permutation(NUM_ENVS * NUM_STEPS)
"""In which decisions are asked for: environment after environment, each NUM_STEPS times."""


class Rollouts(BaseCallback):
    """Keeps what the buffer holds and hands out at the end of each rollout."""

    def __init__(self) -> None:
        super().__init__()
        self.samples: list[Samples] = []
        self.held: list[dict[str, NDArray[Any]]] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.locals["rollout_buffer"]
        assert isinstance(buffer, CandidateBuffer)
        assert buffer.full
        names = ("actions", "rewards", "episode_starts", "values", "log_probs")
        self.held.append({name: getattr(buffer, name).reshape(NUM_STEPS, NUM_ENVS).copy() for name in names})
        next(buffer.get())
        self.samples.append(buffer._get_samples(ORDER))


def replayed(env: VectorEnv[Any, Any, Any], actions: NDArray[np.int64]) -> dict[str, list[Any]]:
    """What an environment shows before each action, and what it gives for it."""
    shown, _ = env.reset(seed=SEED)
    start = np.ones(NUM_ENVS, np.bool_)
    seen: dict[str, list[Any]] = {"observations": [], "rewards": [], "episode_starts": []}
    for action in actions:
        following, reward, terminated, *_ = env.step(action)
        for name, shown_or_given in (("observations", shown), ("rewards", reward), ("episode_starts", start)):
            seen[name].append(shown_or_given)
        shown, start = following, terminated
    return seen


def in_order(steps: list[Arrays]) -> dict[str, Tensor]:
    """Observations in the order in which decisions are asked for."""
    arrays = {name: np.stack([step[name] for step in steps], axis=1) for name in steps[0]}
    return {name: torch.from_numpy(array.reshape(-1, *array.shape[2:])[ORDER]) for name, array in arrays.items()}


def assert_equal(one: CandidateBatch | Graphs, other: CandidateBatch | Graphs) -> None:
    for field in fields(one):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, Graphs):
            assert_equal(mine, theirs)
        else:
            assert mine is theirs or torch.equal(mine, theirs), field.name


@pytest.mark.parametrize("rounds", [0, 1])
def test_buffer_hands_out_what_was_seen(rounds: int) -> None:
    settings = NetworkSettings(hidden=8, rounds=rounds)
    env = make_sb3(ENV, NUM_ENVS, **SETTING)
    model = masked_ppo(
        env,
        env.simulator.schema,
        settings,
        n_steps=NUM_STEPS,
        batch_size=NUM_STEPS * NUM_ENVS,
        n_epochs=1,
        device="cpu",
        seed=SEED,
    )
    rollouts = Rollouts()
    model.learn(2 * NUM_STEPS * NUM_ENVS, callback=rollouts)
    assert len(rollouts.samples) == 2
    held = {name: np.concatenate([rollout[name] for rollout in rollouts.held]) for name in rollouts.held[0]}

    native = gymnasium.make_vec(ENV, num_envs=NUM_ENVS, vectorization_mode="vector_entry_point", copy=True, **SETTING)
    seen = replayed(native, held["actions"].astype(np.int64))
    # The buffer keeps numbers as float32, and adds no bootstrap value to rewards: episodes are never cut short.
    for name in ("rewards", "episode_starts"):
        np.testing.assert_array_equal(held[name], np.array(seen[name]).astype(np.float32), err_msg=name)
    for first, samples in zip((0, NUM_STEPS), rollouts.samples, strict=True):
        rollout = slice(first, first + NUM_STEPS)
        observed = CandidateBatch.of(in_order(seen["observations"][rollout]), SCHEMA, settings)
        assert_equal(samples.observations, observed)
        numbers = {"actions": samples.actions, "values": samples.old_values, "log_probs": samples.old_log_prob}
        for name, tensor in numbers.items():
            np.testing.assert_array_equal(tensor.numpy(), held[name][rollout].T.flatten()[ORDER], err_msg=name)
