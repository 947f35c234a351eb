"""Discrete SAC: exact on toy problems, and its losses are those of a plain computation with padded arrays."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hetgym import HetgymError
from hetgym.agents.networks import CandidateScorer, NetworkSettings
from hetgym.agents.replay_buffer import Transitions
from hetgym.agents.sac import DiscreteSAC, discrete_sac

_spec = importlib.util.spec_from_file_location("toy_decisions", Path(__file__).with_name("toy_decisions.py"))
assert _spec is not None
assert _spec.loader is not None
toy_decisions = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = toy_decisions
_spec.loader.exec_module(toy_decisions)

GAMMA = 0.9
FAST = {"batch_size": 64, "learning_starts": 240, "tau": 0.05, "gamma": GAMMA, "seed": 0, "device": "cpu"}


def agent_for(toy: Any, num_envs: int = 12, hidden: int = 32, **options: Any) -> DiscreteSAC:
    env = toy_decisions.ToyVecEnv(toy, num_envs)
    return discrete_sac(env, toy.schema, NetworkSettings(hidden, 0), **FAST | options)


def scores(agent: DiscreteSAC, network: CandidateScorer) -> NDArray[np.float32]:
    """Returns a network's scores of all actions in all states of the toy, (S, A)."""
    toy = agent.env.toy  # type: ignore[union-attr]
    observation = agent.env.observe(np.arange(len(toy.allowed)))  # type: ignore[union-attr]
    with torch.no_grad():
        batch = network.read({name: torch.from_numpy(array) for name, array in observation.items()})
        shown: NDArray[np.float32] = batch.padded(network(batch)[0], toy.allowed.shape[1]).numpy()
    return shown


@pytest.mark.parametrize("masked", [False, True])
def test_a_toy_is_solved_exactly(masked: bool) -> None:
    """Critics become the soft optimum of the allowed actions, the actor its softmax, and greedily it is optimal."""
    temperature, toy = 0.3, toy_decisions.random_toy(6, 4, masked)
    agent = agent_for(toy, temperature=temperature, target_entropy=None, learning_rate=5e-3)
    agent.learn(12 * 620, log_interval=None)
    soft = toy.values(GAMMA, temperature)
    for critic in agent.policy.critics:
        np.testing.assert_allclose(scores(agent, critic)[toy.allowed], soft[toy.allowed], atol=0.02)
    logits = scores(agent, agent.policy.scorer)
    probability = torch.from_numpy(logits).softmax(dim=1)
    torch.testing.assert_close(
        probability, torch.from_numpy(soft / temperature).softmax(dim=1).float(), atol=0.02, rtol=0
    )
    assert (logits.argmax(axis=1) == toy.values(GAMMA).argmax(axis=1)).all()


def bandit(rewards: list[float], allowed: list[list[int]]) -> Any:
    shape = (len(allowed), len(rewards))
    return toy_decisions.Toy(
        np.broadcast_to(rewards, shape).copy(), np.full(shape, toy_decisions.END), np.array(allowed, bool)
    )


@pytest.mark.parametrize("fraction", [0.3, 0.7])
def test_entropy_of_a_bandit_becomes_its_target(fraction: float) -> None:
    """Three of four arms are allowed: the target is a fraction of the logarithm of three."""
    agent = agent_for(
        bandit([0.0, 0.5, 1.0, 2.0], [[1, 1, 1, 0]]), temperature=1.0, target_entropy=fraction, learning_rate=1e-2
    )
    agent.learn(12 * 420, log_interval=None)
    logits = torch.from_numpy(scores(agent, agent.policy.scorer))
    entropy = torch.distributions.Categorical(logits=logits).entropy().item()
    assert entropy == pytest.approx(fraction * np.log(3), abs=0.03)
    assert logits.argmax() == 2


def test_where_there_is_no_choice_nothing_blows_up() -> None:
    agent = agent_for(bandit([1.0, 2.0], [[1, 0], [0, 1]]), temperature=1.0, learning_rate=1e-2, entropy_penalty=0.5)
    agent.learn(12 * 120, log_interval=None)
    assert agent.policy.log_temperature.item() == 0.0
    for tensor in agent.training_state().values():
        assert tensor.isfinite().all()
    critic = scores(agent, agent.policy.critics[0])
    assert critic[0, 0] == pytest.approx(1.0, abs=0.05)
    assert critic[1, 1] == pytest.approx(2.0, abs=0.05)


def samples_of(agent: DiscreteSAC) -> Transitions:
    """Returns random decisions of an agent whose networks differ by much more than at first."""
    torch.manual_seed(1)
    for network in (agent.policy.scorer, *agent.policy.critics, *agent.policy.target_critics):
        nn.init.normal_(network.heads.weight)
    agent.learn(240, log_interval=None)
    drawn: Any = agent.replay_buffer.sample(32)
    return drawn


class Dense:
    """The losses of Discrete SAC over all actions, the masked ones of which have probability 0."""

    def __init__(self, agent: DiscreteSAC, samples: Transitions) -> None:
        self.agent, self.samples = agent, samples
        self.temperature = agent.policy.log_temperature.exp().item()

    def padded(self, network: Any, states: Any) -> Tensor:
        table: Tensor = states.padded(network(states)[0], 4)
        return table

    def values(self, critics: Any, states: Any) -> Tensor:
        return torch.stack([self.padded(critic, states) for critic in critics])

    def joined(self, values: Tensor) -> Tensor:
        return values.min(dim=0).values if self.agent.combine == "min" else values.mean(dim=0)

    def policy(self, states: Any) -> tuple[Tensor, Tensor]:
        probability = self.padded(self.agent.policy.scorer, states).softmax(dim=1)
        return probability, -(probability * (probability + 1e-30).log()).sum(dim=1)

    def targets(self) -> Tensor:
        samples, following = self.samples, self.samples.next_states
        probability, entropy = self.policy(following)
        values = self.joined(self.values(self.agent.policy.target_critics, following))
        weight = self.temperature if self.agent.critic_entropy is None else self.agent.critic_entropy
        value = (probability * values).sum(dim=1) + weight * entropy
        return (samples.rewards + GAMMA * (1 - samples.dones) * value).detach()

    def critic_loss(self) -> Tensor:
        states, policy, total = self.samples.states, self.agent.policy, torch.zeros(())
        for critic, target in zip(policy.critics, policy.target_critics, strict=True):
            chosen = self.samples.actions.unsqueeze(1)
            value = self.padded(critic, states).gather(1, chosen).squeeze(1)
            anchor = self.padded(target, states).gather(1, chosen).squeeze(1).detach()
            error = (value - self.targets()) ** 2
            if self.agent.q_clip:
                near = anchor + (value - anchor).clip(-self.agent.q_clip, self.agent.q_clip)
                error = torch.max(error, (near - self.targets()) ** 2)
            total = total + error.mean() / 2
        return total

    def actor_loss(self) -> Tensor:
        states = self.samples.states
        probability, entropy = self.policy(states)
        values = self.joined(self.values(self.agent.policy.critics, states)).detach()
        loss = (-(probability * values).sum(dim=1) - self.temperature * entropy).mean()
        return loss + self.agent.entropy_penalty * ((self.samples.entropies - entropy) ** 2).mean()

    def temperature_loss(self) -> Tensor:
        _, entropy = self.policy(self.samples.states)
        target = self.agent.target_entropy * torch.log(self.samples.states.num_candidates.float())
        return (self.agent.policy.log_temperature * (entropy - target).detach()).mean()


def gradient(loss: Tensor, network: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(network.parameters()), allow_unused=True, materialize_grads=True))


OPTIONS = [
    {},
    {"combine": "mean"},
    {"critic_entropy": 0.0},
    {"q_clip": 0.05},
    {"entropy_penalty": 0.5},
    {"temperature": 0.2, "target_entropy": 0.9},
    {"combine": "mean", "critic_entropy": 0.3, "q_clip": 0.5, "entropy_penalty": 2.0},
]


def losses(agent: DiscreteSAC, samples: Transitions) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the losses of the critics, the actor and the temperature."""
    values = torch.stack([critic(samples.states)[0] for critic in agent.policy.critics])
    distribution = agent.policy.distribution(samples.states)
    entropy = distribution.entropy()
    joined = values.detach().amin(dim=0) if agent.combine == "min" else values.detach().mean(dim=0)
    return (
        agent.critic_loss(samples, values, agent.targets(samples)),
        agent.actor_loss(distribution, entropy, joined, samples.entropies),
        agent.temperature_loss(samples.states, entropy.detach()),
    )


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_losses_and_gradients_are_those_of_a_dense_computation(options: dict[str, Any]) -> None:
    agent = agent_for(toy_decisions.random_toy(6, 4, masked=True), hidden=8, **options)
    samples = samples_of(agent)
    policy, dense = agent.policy, Dense(agent, samples)
    plain = dense.critic_loss(), dense.actor_loss(), dense.temperature_loss()
    networks = nn.ModuleList(policy.critics), policy.scorer, nn.ParameterList([policy.log_temperature])
    torch.testing.assert_close(agent.targets(samples), dense.targets())
    for loss, expected, network in zip(losses(agent, samples), plain, networks, strict=True):
        torch.testing.assert_close(loss, expected)
        one, other = gradient(loss, network), gradient(expected, network)
        assert any(tensor.any() for tensor in one)
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_an_update_descends_these_losses() -> None:
    """After one step each loss is lower, what it takes as given being held: targets, values, temperature."""
    agent = agent_for(toy_decisions.random_toy(6, 4, masked=True), hidden=8, learning_rate=1e-4)
    samples = samples_of(agent)
    policy, targets, before = agent.policy, agent.targets(samples), losses(agent, samples)
    values = torch.stack([critic(samples.states)[0] for critic in policy.critics]).detach()
    followers = [tensor.clone() for tensor in policy.target_critics.parameters()]
    temperature = policy.log_temperature.item()
    agent._update(samples)
    assert policy.log_temperature.item() != temperature
    policy.log_temperature.data.fill_(temperature)
    moved_values = torch.stack([critic(samples.states)[0] for critic in policy.critics])
    distribution = policy.distribution(samples.states)
    actor_loss = agent.actor_loss(distribution, distribution.entropy(), values.amin(dim=0), samples.entropies)
    assert agent.critic_loss(samples, moved_values, targets) < before[0]
    assert actor_loss < before[1]
    moved = zip(followers, policy.target_critics.parameters(), policy.critics.parameters(), strict=True)
    for follower, target, followed in moved:
        torch.testing.assert_close(target, 0.95 * follower + 0.05 * followed)


@pytest.mark.parametrize("options", OPTIONS[1:5], ids=str)
def test_each_option_changes_the_loss_that_it_should(options: dict[str, Any]) -> None:
    """The networks and the samples are the same; only one option differs."""
    agent = agent_for(toy_decisions.random_toy(6, 4, masked=True), hidden=8)
    samples = samples_of(agent)
    before = losses(agent, samples)
    ((name, value),) = options.items()
    setattr(agent, name, value)
    changed = [bool(one != other) for one, other in zip(before, losses(agent, samples), strict=True)]
    assert (
        changed
        == {
            "combine": [True, True, False],
            "critic_entropy": [True, False, False],
            "q_clip": [True, False, False],
            "entropy_penalty": [False, True, False],
        }[name]
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [("temperature", 0.0), ("target_entropy", 1.0), ("combine", "max"), ("critic_entropy", -1.0), ("q_clip", 0.0)],
)
def test_wrong_options_are_refused(option: str, value: Any) -> None:
    with pytest.raises(HetgymError, match=f"{option}: must be"):
        agent_for(toy_decisions.random_toy(3, 2, masked=False), **{option: value})
