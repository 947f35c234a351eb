"""The replay buffer: it gives back what the network read, forgets the oldest, and knows how episodes ended."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecNormalize

from hetgym.agents import make_policy
from hetgym.agents.networks import CandidateBatch, CandidateScorer, NetworkSettings
from hetgym.agents.off_policy import CandidateOffPolicyAlgorithm
from hetgym.agents.replay_buffer import CandidateReplayBuffer, Transitions
from hetgym.agents.sac import discrete_sac
from hetgym.envs import TaskGraphScenario
from hetgym.workloads import RandomGraphs

_spec = importlib.util.spec_from_file_location("toy_decisions", Path(__file__).with_name("toy_decisions.py"))
assert _spec is not None
assert _spec.loader is not None
toy_decisions = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = toy_decisions
_spec.loader.exec_module(toy_decisions)

NUM_ENVS, STEPS = 3, 5


def assert_same(one: Any, other: Any) -> None:
    """Two batches, or their graphs, hold the same."""
    for field in fields(one):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if isinstance(left, torch.Tensor):
            assert left.dtype == right.dtype
            assert torch.equal(left, right), field.name
        elif left is None:
            assert right is None
        else:
            assert_same(left, right)


def graph_states(count: int, rounds: int) -> list[CandidateBatch]:
    """Returns what a network reads of a few episodes side by side, step after step."""
    workload = RandomGraphs(num_tasks=9, num_devices=3)
    simulator = TaskGraphScenario(name="small", workload=workload, ready_window=4).simulator(NUM_ENVS)
    network = CandidateScorer(simulator.schema, NetworkSettings(hidden=4, rounds=rounds))
    simulator.reset(range(NUM_ENVS))
    policy, states = make_policy("random"), []
    for _ in range(count):
        states.append(network.read({name: torch.from_numpy(a) for name, a in simulator.observation.items()}))
        simulator.step(policy.act(simulator.observation, simulator))
        simulator.restart(np.flatnonzero(simulator.outcome["terminated"]))
    return states


def one_by_one(states: list[CandidateBatch], numbers: torch.Tensor) -> CandidateBatch:
    """Returns situations of some steps, which may be the same, selected alone and joined."""
    together = CandidateBatch.concatenate(states)
    return CandidateBatch.concatenate([together.select(number) for number in numbers.unsqueeze(1)])


def buffer_for(steps: int = STEPS) -> CandidateReplayBuffer:
    return CandidateReplayBuffer(steps * NUM_ENVS, spaces.Dict(), spaces.Discrete(12), "cpu", NUM_ENVS)


def numbered(step: int) -> NDArray[np.float32]:
    return np.arange(step * NUM_ENVS, (step + 1) * NUM_ENVS, dtype=np.float32)


def add(buffer: CandidateReplayBuffer, step: int, states: CandidateBatch, next_states: CandidateBatch) -> None:
    """Keeps a step whose rewards say which decisions they are."""
    number = numbered(step)
    infos: list[dict[str, Any]] = [{"TimeLimit.truncated": step % 2 == 1} for _ in range(NUM_ENVS)]
    buffer.add(states, next_states, number.astype(int) % 12, number, number % 3 == 0, infos, number / 10)


def sample(buffer: CandidateReplayBuffer, size: int = 64, seed: int = 0) -> Transitions:
    np.random.seed(seed)  # noqa: NPY002 (SB3 draws from it)
    drawn: Any = buffer.sample(size)
    return drawn


@pytest.mark.parametrize("rounds", [0, 2])
@pytest.mark.parametrize("steps", [3, STEPS, 23])
def test_what_was_read_is_given_back(rounds: int, steps: int) -> None:
    states, buffer = graph_states(steps + 1, rounds), buffer_for()
    for step in range(steps):
        add(buffer, step, states[step], states[step + 1])
    drawn = sample(buffer)
    number = drawn.rewards.long()
    step = number // NUM_ENVS
    kept = range(max(steps - STEPS, 0), steps)
    assert set(step.tolist()) == set(kept)
    assert_same(drawn.states, one_by_one(states, number))
    assert_same(drawn.next_states, one_by_one(states, number + NUM_ENVS))
    assert torch.equal(drawn.actions, number % 12)
    assert torch.equal(drawn.dones, ((number % 3 == 0) & (step % 2 == 0)).float())
    torch.testing.assert_close(drawn.entropies, drawn.rewards / 10)


def test_a_break_between_two_steps_is_seen() -> None:
    """Where a step does not go on from the last one's next states, both are kept."""
    states, buffer = graph_states(8, 0), buffer_for()
    pairs = [(0, 1), (1, 2), (4, 5), (5, 6)]
    for step, (before, after) in enumerate(pairs):
        add(buffer, step, states[before], states[after])
    drawn = sample(buffer)
    step, row = drawn.rewards.long() // NUM_ENVS, drawn.rewards.long() % NUM_ENVS
    before, after = torch.tensor(pairs)[step].T
    assert_same(drawn.states, one_by_one(states, before * NUM_ENVS + row))
    assert_same(drawn.next_states, one_by_one(states, after * NUM_ENVS + row))


def room(buffer: CandidateReplayBuffer) -> int:
    """Returns the numbers that the saved state has."""
    return sum(tensor.numel() for tensor in buffer.state().values())


def test_size_is_bounded_and_each_state_kept_once() -> None:
    states, buffer = graph_states(40, 2), buffer_for()
    sizes = []
    for step in range(39):
        add(buffer, step, states[step], states[step + 1])
        sizes.append(room(buffer))
    assert max(sizes[STEPS:]) < 1.5 * sizes[STEPS]
    situations = buffer.state()["situations.situations.num_candidates"]
    assert len(situations) == (STEPS + 1) * NUM_ENVS


@pytest.mark.parametrize("steps", [2, 12])
def test_saved_and_loaded_it_goes_on_alike(steps: int) -> None:
    states, buffer, other = graph_states(steps + 9, 2), buffer_for(), buffer_for()
    for step in range(steps):
        add(buffer, step, states[step], states[step + 1])
    other.load_state({name: tensor.clone() for name, tensor in buffer.state().items()})
    for step in range(steps, steps + 8):
        add(buffer, step, states[step], states[step + 1])
        add(other, step, states[step], states[step + 1])
        one, two = sample(buffer, seed=step), sample(other, seed=step)
        assert_same(one.states, two.states)
        assert_same(one.next_states, two.next_states)
        for name in ("actions", "rewards", "dones", "entropies"):
            assert torch.equal(getattr(one, name), getattr(two, name))


def explored(limit: int, normalise: bool = False) -> CandidateOffPolicyAlgorithm:
    """Returns an agent after 120 random decisions in a toy problem."""
    toy = toy_decisions.random_toy(6, 4, masked=True)
    env: Any = toy_decisions.ToyVecEnv(toy, 4, limit)
    if normalise:
        env = VecNormalize(env, norm_obs=False, gamma=0.9)
    agent = discrete_sac(env, toy.schema, NetworkSettings(8, 0), seed=0, device="cpu")
    agent.learn(120, log_interval=None)
    return agent


@pytest.mark.parametrize("limit", [2, 1_000])
def test_next_states_are_those_that_decisions_led_to(limit: int) -> None:
    """The first state of the next episode stands in for none, not even where an episode is cut short."""
    agent = explored(limit)
    toy = agent.env.toy  # type: ignore[union-attr]
    drawn = sample(agent.replay_buffer, 256)
    states, actions = drawn.states.context.argmax(dim=1), drawn.actions
    following = torch.from_numpy(toy.next_states)[states, actions]
    ended = following == toy_decisions.END
    assert torch.equal(drawn.dones, ended.float())
    assert torch.equal(drawn.next_states.context.argmax(dim=1)[~ended], following[~ended])
    assert torch.equal(
        drawn.next_states.num_candidates[~ended], torch.from_numpy(toy.allowed).sum(1)[following[~ended]]
    )
    torch.testing.assert_close(drawn.rewards, torch.from_numpy(toy.rewards).float()[states, actions])
    assert 0 < ended.sum() < len(ended)


def test_rewards_are_normalised_when_they_are_drawn() -> None:
    agent = explored(limit=1_000, normalise=True)
    env = agent.get_vec_normalize_env()
    assert env is not None
    raw = sample(agent.replay_buffer).rewards
    for scale in (1.0, 4.0):
        env.ret_rms.var = np.array(scale)
        np.random.seed(0)  # noqa: NPY002 (SB3 draws from it)
        drawn: Any = agent.replay_buffer.sample(64, env=env)
        torch.testing.assert_close(drawn.rewards, raw / np.sqrt(scale).item(), rtol=1e-5, atol=1e-6)
