"""Double DQN and QR-DQN: exact on toy problems, and the targets are those of a plain computation."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hetgym.agents.dqn import CandidateDQN, candidate_dqn
from hetgym.agents.networks import NetworkSettings

_spec = importlib.util.spec_from_file_location("toy_decisions", Path(__file__).with_name("toy_decisions.py"))
assert _spec is not None
assert _spec.loader is not None
toy_decisions = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = toy_decisions
_spec.loader.exec_module(toy_decisions)

GAMMA = 0.9


def agent_for(toy: Any, hidden: int = 32, **options: Any) -> CandidateDQN:
    env = toy_decisions.ToyVecEnv(toy, 12)
    fast = {"batch_size": 64, "learning_starts": 240, "tau": 0.05, "gamma": GAMMA, "seed": 0, "device": "cpu"}
    return candidate_dqn(env, toy.schema, NetworkSettings(hidden, 0), **fast | options)


@pytest.mark.parametrize(("masked", "quantiles"), [(False, 1), (True, 1), (True, 5)])
def test_a_toy_is_solved_exactly(masked: bool, quantiles: int) -> None:
    """All is deterministic, so every quantile is the value."""
    toy = toy_decisions.random_toy(6, 4, masked)
    agent = agent_for(toy, quantiles=quantiles, learning_rate=5e-3, exploration_final_eps=0.3)
    agent.learn(12 * 520, log_interval=None)
    observation = agent.env.observe(np.arange(6))  # type: ignore[union-attr]
    scorer = agent.policy.scorer
    with torch.no_grad():
        batch = scorer.read({name: torch.from_numpy(array) for name, array in observation.items()})
        values, outputs = batch.padded(scorer(batch)[0], 4).numpy(), scorer.outputs(batch)[0]
    optimum = toy.values(GAMMA)
    np.testing.assert_allclose(values[toy.allowed], optimum[toy.allowed], atol=0.03)
    assert (values.argmax(axis=1) == optimum.argmax(axis=1)).all()
    assert outputs.shape[1] == quantiles
    actions, _ = agent.predict(observation, deterministic=False)
    assert (actions == optimum.argmax(axis=1)).all()


def test_quantiles_become_those_of_what_is_returned() -> None:
    """One state, one action; the reward is 0 or 1, each half of the time."""
    shape = (2, 1)
    toy = toy_decisions.Toy(np.array([[0.0], [1.0]]), np.full(shape, toy_decisions.END), np.ones(shape, bool))
    agent = agent_for(toy, quantiles=4, learning_rate=1e-2, learning_starts=12, batch_size=256)
    agent.env.observe = lambda states: {  # type: ignore[method-assign, union-attr]
        "candidates": np.ones((len(states), 1, 1), np.float32),
        "action_mask": np.ones((len(states), 1), np.int8),
        "context": np.zeros((len(states), 2), np.float32),
    }
    agent.learn(12 * 320, log_interval=None)
    outputs, _ = agent.policy.scorer.outputs(agent._states)
    # The midpoints 1/8 ... 7/8 are expectiles of the coin, as the Huber loss is quadratic below 1.
    torch.testing.assert_close(outputs[0], torch.tensor([0.125, 0.375, 0.625, 0.875]), atol=0.08, rtol=0)


@pytest.mark.parametrize("quantiles", [1, 3])
def test_targets_are_those_of_a_dense_computation(quantiles: int) -> None:
    agent = agent_for(toy_decisions.random_toy(6, 4, masked=True), hidden=8, quantiles=quantiles)
    torch.manual_seed(1)
    for network in (agent.policy.scorer, agent.policy.target):
        nn.init.normal_(network.heads.weight)
    agent.learn(240, log_interval=None)
    samples: Any = agent.replay_buffer.sample(32)
    following = samples.next_states
    best = following.padded(agent.policy.scorer(following)[0], 4).argmax(dim=1)
    outputs = agent.policy.target.outputs(following)[0]
    values = torch.stack([following.padded(outputs[:, i], 4) for i in range(quantiles)], dim=2)
    dense = values[torch.arange(32), best]
    expected = samples.rewards[:, None] + GAMMA * (1 - samples.dones[:, None]) * dense
    torch.testing.assert_close(agent.targets(samples), expected.detach())
    other_choice = values.mean(dim=2).argmax(dim=1)
    assert (best != other_choice).any(), "the two networks never disagree: double DQN is not put to the test"


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_exploration_is_epsilon_greedy_among_the_allowed(epsilon: float) -> None:
    toy = toy_decisions.random_toy(6, 4, masked=True)
    agent = agent_for(toy, exploration_initial_eps=epsilon, exploration_final_eps=epsilon)
    agent.learn(12, log_interval=None)
    states = agent._states
    probability = agent._behaviour(states).log_probability.exp()
    expected = epsilon / states.num_candidates[states.situation].float()
    expected[agent.policy.best(states)] += 1 - epsilon
    torch.testing.assert_close(probability, expected)
    assert agent._behaviour(states).entropy().isfinite().all()


def test_epsilon_falls_as_training_goes_on() -> None:
    agent = agent_for(toy_decisions.random_toy(6, 4, masked=False), exploration_fraction=0.5)
    agent._current_progress_remaining = 0.75
    early = agent._behaviour(agent_states(agent)).entropy().mean()
    agent._current_progress_remaining = 0.1
    assert agent._behaviour(agent_states(agent)).entropy().mean() < early


def agent_states(agent: CandidateDQN) -> Any:
    return agent._read(agent.env.observe(np.arange(6)))  # type: ignore[union-attr]
