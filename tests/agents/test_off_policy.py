"""What the off-policy agents have in common: masked exploration, saving, going on to the bit, all families."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from hetgym import HetgymError
from hetgym.agents.dqn import candidate_dqn
from hetgym.agents.learned import greedy
from hetgym.agents.networks import NetworkSettings
from hetgym.agents.off_policy import CandidateOffPolicyAlgorithm
from hetgym.agents.sac import discrete_sac
from hetgym.envs import load_scenario
from hetgym.envs.core.sb3 import SB3VecEnv

_spec = importlib.util.spec_from_file_location("toy_decisions", Path(__file__).with_name("toy_decisions.py"))
assert _spec is not None
assert _spec.loader is not None
toy_decisions = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = toy_decisions
_spec.loader.exec_module(toy_decisions)

TOY = toy_decisions.random_toy(6, 4, masked=True)
AGENTS: dict[str, Callable[..., CandidateOffPolicyAlgorithm]] = {
    "sac": discrete_sac,
    "dqn": candidate_dqn,
    "qr-dqn": lambda *args, **options: candidate_dqn(*args, quantiles=3, **options),
}
agents = pytest.mark.parametrize("name", AGENTS)


def agent_for(name: str, env: VecEnv, **options: Any) -> CandidateOffPolicyAlgorithm:
    small = {"learning_starts": 20, "batch_size": 16, "buffer_size": 60, "seed": 0, "device": "cpu"}
    return AGENTS[name](env, TOY.schema, NetworkSettings(8, 0), **small | options)


def normalised() -> VecNormalize:
    return VecNormalize(toy_decisions.ToyVecEnv(TOY, 4), norm_obs=False, gamma=0.9)


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@agents
def test_first_decisions_are_uniform_among_the_allowed(name: str) -> None:
    agent = agent_for(name, toy_decisions.ToyVecEnv(TOY, 12), learning_starts=10_000, buffer_size=10_000)
    agent.learn(6_000, log_interval=None)
    drawn: Any = agent.replay_buffer.sample(6_000)
    state = drawn.states.context.argmax(dim=1)
    for number, allowed in enumerate(TOY.allowed):
        shares = torch.bincount(drawn.actions[state == number], minlength=4) / (state == number).sum()
        np.testing.assert_allclose(shares, allowed / allowed.sum(), atol=0.07)
    torch.testing.assert_close(drawn.entropies, drawn.states.num_candidates.log())


@agents
@pytest.mark.parametrize("steps", [12, 80])
def test_it_goes_on_to_the_bit(name: str, steps: int, tmp_path: Path) -> None:
    """An agent whose state was saved, before learning or in its midst, goes on like the one that it was saved from."""
    env = normalised()
    agent = agent_for(name, env)
    agent.learn(steps, log_interval=None)
    save_file(agent.training_state(), tmp_path / "training.safetensors")
    random = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 (SB3 draws from it)
    other = agent_for(name, VecNormalize(deepcopy(env.venv), norm_obs=False, gamma=0.9), seed=5)
    other.policy.scorer.load_state_dict(agent.policy.scorer.state_dict())
    other.load_training_state(load_file(tmp_path / "training.safetensors"))
    other.num_timesteps, other._last_obs = agent.num_timesteps, agent._last_obs

    for one in (agent, other):
        torch.set_rng_state(random[0])
        np.random.set_state(random[1])  # noqa: NPY002
        one.learn(120, log_interval=None, reset_num_timesteps=False)
    assert_equal(agent.policy.state_dict(), other.policy.state_dict())
    assert_equal(agent.training_state(), other.training_state())


@agents
def test_saved_and_loaded_by_sb3_it_decides_and_learns_alike(name: str, tmp_path: Path) -> None:
    agent = agent_for(name, toy_decisions.ToyVecEnv(TOY, 4))
    agent.learn(80, log_interval=None)
    agent.save(tmp_path / "agent")
    agent.save_replay_buffer(tmp_path / "replay")
    loaded = type(agent).load(tmp_path / "agent", env=toy_decisions.ToyVecEnv(TOY, 4), device="cpu")
    loaded.load_replay_buffer(tmp_path / "replay")
    assert_equal(agent.policy.state_dict(), loaded.policy.state_dict())
    assert_equal(agent.training_state(), loaded.training_state())
    for one in (agent, loaded):
        one.set_random_seed(3)
        one.learn(40, log_interval=None)
    assert_equal(agent.policy.state_dict(), loaded.policy.state_dict())


@agents
def test_the_scorer_decides(name: str) -> None:
    agent = agent_for(name, toy_decisions.ToyVecEnv(TOY, 4))
    agent.learn(80, log_interval=None)
    observation = agent.env.observe(np.arange(6))  # type: ignore[union-attr]
    assert (agent.predict(observation, deterministic=True)[0] == greedy(agent.policy.scorer, observation)).all()


def test_normalised_observations_are_refused() -> None:
    env = VecNormalize(toy_decisions.ToyVecEnv(TOY, 4), norm_obs=True)
    with pytest.raises(HetgymError, match="norm_obs: must be False"):
        agent_for("sac", env)


SCENARIOS: dict[str, tuple[str, dict[str, Any], int]] = {
    "task graph": ("random", {"num_tasks": 9, "num_devices": 3}, 0),
    "task graph, encoded": ("random", {"num_tasks": 9, "num_devices": 3}, 2),
    "expert cache": ("tiny-moe", {}, 0),
    "offloading": ("mec-gmorl", {}, 0),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("name", ["sac", "qr-dqn"])
def test_it_learns_in_all_families(name: str, scenario: str) -> None:
    path, changes, rounds = SCENARIOS[scenario]
    simulator = load_scenario(path, **changes).simulator(4)
    env = SB3VecEnv(simulator)
    env.seed(2**32)
    settings = NetworkSettings(8, rounds)
    agent = AGENTS[name](env, simulator.schema, settings, learning_starts=40, batch_size=32, seed=0, device="cpu")
    before = {key: tensor.clone() for key, tensor in agent.policy.scorer.state_dict().items()}
    agent.learn(160, log_interval=None)
    assert not simulator.outcome["invalid_action"].any()
    after = agent.policy.scorer.state_dict()
    assert all(tensor.isfinite().all() for tensor in after.values())
    assert (after["heads.weight"] != before["heads.weight"]).any()
    if rounds:
        assert (after["encoder.embed.weight"] != before["encoder.embed.weight"]).any()
