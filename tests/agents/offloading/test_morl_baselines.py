"""Algorithms of morl-baselines run on the environment with a vector reward as they are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hetgym.envs.offloading.rules import OBJECTIVES

pytest.importorskip("morl_baselines", reason="needs morl-baselines")
mo_gymnasium = pytest.importorskip("mo_gymnasium")

from morl_baselines.multi_policy.envelope.envelope import Envelope  # noqa: E402
from morl_baselines.multi_policy.gpi_pd.gpi_pd import GPILS  # noqa: E402
from morl_baselines.multi_policy.morld.morld import MORLD  # noqa: E402
from morl_baselines.multi_policy.pcn.pcn import PCN  # noqa: E402

STEPS = 300
COMMON: dict[str, Any] = {"log": False, "seed": 0, "device": "cpu"}
SMALL: dict[str, Any] = {"net_arch": [32, 32], "batch_size": 32, "learning_starts": 50, "buffer_size": 1_000}
FAR = np.full(len(OBJECTIVES), -1_000.0)
BEST = np.zeros(len(OBJECTIVES), np.float32)


@pytest.fixture(autouse=True)
def one_thread_and_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterable[None]:
    monkeypatch.chdir(tmp_path)  # they write checkpoints where they are
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make(gamma: float = 0.99) -> Any:
    env = mo_gymnasium.make("hetgym/MOOffload-v0", observation="flat", horizon=20.0)
    return mo_gymnasium.wrappers.MORecordEpisodeStatistics(env, gamma)


def assert_costs(vectors: Any) -> None:
    """Delay and energy cost something in every episode; nothing has a deadline."""
    vectors = np.reshape(vectors, (-1, len(OBJECTIVES)))
    assert len(vectors)
    assert (vectors[:, :2] < 0).all()
    assert np.isfinite(vectors).all()
    assert (vectors[:, 2] == 0).all()


def test_envelope() -> None:
    agent = Envelope(make(), num_sample_w=2, **SMALL, **COMMON)
    before = [parameter.clone() for parameter in agent.q_net.parameters()]
    agent.train(STEPS)
    assert agent.num_episodes > 5
    assert not all(torch.equal(*pair) for pair in zip(before, agent.q_net.parameters(), strict=True))
    assert_costs(agent.policy_eval(make(), num_episodes=2, weights=np.array([0.5, 0.5, 0.0]))[2])


def test_gpi_ls() -> None:
    agent = GPILS(make(), **SMALL, **COMMON)
    agent.train(STEPS, make(), FAR, timesteps_per_iter=STEPS // 2, num_eval_episodes_for_front=1, checkpoints=False)
    assert agent.global_step == STEPS
    # The corners come first; whether there is time for others depends on what it learns.
    assert {(0, 0, 1), (0, 1, 0), (1, 0, 0)} <= {tuple(weight.tolist()) for weight in agent.weight_support}
    assert_costs(agent.policy_eval(make(), num_episodes=2, weights=np.array([0.5, 0.5, 0.0]))[2])


def test_pcn() -> None:
    agent = PCN(make(), scaling_factor=np.full(4, 0.1), batch_size=32, hidden_dim=32, gamma=1.0, **COMMON)
    agent.train(
        STEPS,
        make(),
        FAR,
        num_er_episodes=5,
        num_step_episodes=5,
        num_model_updates=10,
        max_return=BEST,
        num_points_pf=3,
    )
    assert agent.global_step >= STEPS
    assert_costs([episode[0].reward for _, _, episode in agent.experience_replay])
    assert_costs(agent.evaluate(make(), BEST, n=2)[0])


def test_morld_with_discrete_sac() -> None:
    agent = MORLD(
        make(),
        policy_name="MOSACDiscrete",
        policy_args={**SMALL, "target_net_freq": 20, "device": "cpu"},
        pop_size=3,
        exchange_every=STEPS // 3,
        neighborhood_size=1,
        **COMMON,
    )
    actors = [policy.wrapped.actor for policy in agent.population]
    before = [[parameter.clone() for parameter in actor.parameters()] for actor in actors]
    agent.train(STEPS, make(), FAR, num_eval_episodes_for_front=1, checkpoints=False)
    assert agent.global_step == STEPS
    for old, actor in zip(before, actors, strict=True):
        assert not all(torch.equal(*pair) for pair in zip(old, actor.parameters(), strict=True))
    assert_costs(agent.archive.evaluations)
