"""SAC for continuous actions: what it reads, how it is kept, and that it comes near the optimum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hetgym.agents import Policy, make_policy
from hetgym.agents.card import Card
from hetgym.agents.checkpoint import package_versions, save_checkpoint
from hetgym.agents.networks import NetworkSettings
from hetgym.agents.sac_continuous import (
    CandidatePool,
    ContinuousSAC,
    LearnedContinuousPolicy,
    continuous_sac,
    decide,
)
from hetgym.envs import Scenario, Simulator, load_scenario
from hetgym.envs.core.sb3 import SB3VecEnv
from hetgym.errors import HetgymError
from hetgym.train.imitation import LEAST_EXPLORATION, imitate_continuous
from hetgym.train.settings import ImitationSettings

ALONE: dict[str, Any] = {
    "num_users": 1, "num_requests": 1, "weights": (0.5, 0.5, 0.0), "block": None, "continuous": True
}  # fmt: skip
"""One request that has all to itself on a channel that does not change: its optimum is known (`convex`)."""
TRAINING, HELD_OUT = 2**32, 2**31


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def alone(**changes: Any) -> Scenario:
    return load_scenario("mec-partial", **ALONE | changes)


def begun(num_envs: int, seed: int = TRAINING, **changes: Any) -> Simulator:
    simulator = alone(**changes).simulator(num_envs, None)
    simulator.reset(seed + np.arange(num_envs))
    return simulator


def agent(hidden: int = 16, **options: Any) -> ContinuousSAC:
    env = SB3VecEnv(alone().simulator(4, None))
    env.seed(TRAINING)
    usual: dict[str, Any] = {"learning_starts": 40, "buffer_size": 400, "batch_size": 32, "gamma": 0.5, "seed": 0}
    return continuous_sac(env, NetworkSettings(hidden), **usual | options)


def saved(model: ContinuousSAC, folder: Path) -> LearnedContinuousPolicy:
    """Returns the policy of a checkpoint that says that its network has a width of 16."""
    card = Card(
        algorithm="sac",
        family="offloading",
        scenario=alone().model_dump(mode="json"),
        seed=0,
        steps=model.num_timesteps,
        command="none",
        versions=package_versions(),
        network=NetworkSettings(16),
        features=alone().simulator(1, None).schema.names(),
    )
    save_checkpoint(folder, card, model.actor.state_dict())
    return LearnedContinuousPolicy("sac:it", folder)


def test_pool_reads_allowed_candidates_in_any_order() -> None:
    simulator = begun(6)
    pool = CandidatePool(simulator.single_observation_space, 8)
    seen = {name: torch.from_numpy(array).float() for name, array in simulator.observation.items()}
    seen["action_mask"][:, 1] = 0
    features = pool(seen)
    assert features.shape == (6, pool.features_dim)
    other = {**seen, "candidates": seen["candidates"].clone()}
    other["candidates"][:, 1] += 1
    torch.testing.assert_close(pool(other), features)
    other["candidates"][:, 2] += 1
    assert not torch.allclose(pool(other), features)
    turned = {**seen, **{name: seen[name].flip(1) for name in ("candidates", "action_mask")}}
    torch.testing.assert_close(pool(turned), features)


def test_saved_actor_decides_as_the_model_does(tmp_path: Path) -> None:
    model, simulator = agent(), begun(6)
    model.learn(60)
    policy = saved(model, tmp_path / "it")
    policy.reset(simulator)
    expected = model.predict(simulator.observation, deterministic=True)[0]
    np.testing.assert_allclose(policy.act(simulator.observation, simulator), expected, rtol=1e-5, atol=1e-6)
    assert len(np.unique(expected, axis=0)) == 6


def test_saved_actor_decides_among_any_number_of_servers(tmp_path: Path) -> None:
    policy, simulator = saved(agent(), tmp_path / "it"), begun(2, edges={"count": 5, "access": EDGE_ACCESS})
    policy.reset(simulator)
    assert policy.act(simulator.observation, simulator).shape == (2, 3)


EDGE_ACCESS = {"kind": "cell", "bandwidth": 2e5, "distance": [20.0, 200.0], "path_loss": "small-cell"}


@pytest.mark.parametrize("scenario", ["mec-partial", "mec-droo"])
def test_saved_actor_refuses_discrete_faces(scenario: str, tmp_path: Path) -> None:
    policy = saved(agent(), tmp_path / "it")
    with pytest.raises(HetgymError, match="must be continuous"):
        policy.reset(load_scenario(scenario).simulator(1, None))


def test_saved_actor_of_another_size_is_refused(tmp_path: Path) -> None:
    policy = saved(agent(hidden=8), tmp_path / "it")
    with pytest.raises(HetgymError, match="does not fit the network of its card"):
        policy.reset(begun(1))


@pytest.mark.parametrize("steps", [200, 480], ids=["buffer not full", "buffer full"])
def test_training_goes_on_to_the_bit(steps: int) -> None:
    model, other = agent(), agent(seed=1)
    model.learn(steps)
    other.actor.load_state_dict(model.actor.state_dict())
    other.load_training_state(model.training_state())
    before = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
    for learner in (model, other):
        learner.set_logger(model.logger)
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002 (SB3 draws from it)
        learner.train(5, 32)
    for name, tensor in model.policy.state_dict().items():
        assert torch.equal(tensor, other.policy.state_dict()[name]), name
        assert not torch.equal(tensor, before[name]), name
    assert torch.equal(model.log_ent_coef, other.log_ent_coef)


class Decided:
    """An actor as a policy."""

    name = "actor"
    clairvoyant = False

    def __init__(self, model: ContinuousSAC) -> None:
        self.model = model

    def reset(self, simulator: Simulator) -> None:
        """Does nothing."""

    def act(self, observation: dict[str, np.ndarray], simulator: Simulator) -> np.ndarray:
        return decide(self.model.actor, observation)


def mean_cost(policy: Policy) -> float:
    """Returns what a request costs on average in episodes that were not trained on."""
    simulator = begun(100, HELD_OUT)
    policy.reset(simulator)
    simulator.step(policy.act(simulator.observation, simulator))
    return float(-simulator.outcome["reward"].mean())


def test_imitation_comes_near_the_optimum() -> None:
    model = agent(hidden=64, learning_rate=1e-3)
    optimum, before = mean_cost(make_policy("convex")), mean_cost(Decided(model))
    taught = ImitationSettings(rounds=2, num_envs=300, epochs=60, batch_size=256)
    error = imitate_continuous(model, alone(), make_policy("convex"), taught, TRAINING)
    assert error < 0.01
    assert before > 1.5 * optimum
    assert optimum < mean_cost(Decided(model)) < 1.05 * optimum
    assert torch.equal(model.actor.log_std.bias, torch.full((3,), LEAST_EXPLORATION))


def test_sac_alone_learns_within_a_minute() -> None:
    model = agent(hidden=32, learning_rate=3e-3, learning_starts=200, gradient_steps=2, buffer_size=4_000, gamma=0.0)
    before = mean_cost(Decided(model))
    model.learn(2_400)
    assert mean_cost(Decided(model)) < 0.8 * min(before, mean_cost(make_policy("all-local")))
