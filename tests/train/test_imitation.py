"""Networks learn to decide as other policies do."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch

from hetgym import HetgymError
from hetgym.agents import Policy, make_policy
from hetgym.agents.imitation import demonstrate
from hetgym.agents.learned import greedy
from hetgym.agents.networks import CandidateScorer, NetworkSettings
from hetgym.agents.policy import Actions
from hetgym.envs import Scenario, Simulator, load_scenario
from hetgym.envs.core.simulator import Arrays
from hetgym.evaluate.evaluation import play
from hetgym.train.imitation import Round, imitate
from hetgym.train.settings import ImitationSettings

SEED = 2**32
SHORT = ImitationSettings(rounds=2, episodes=64, num_envs=32, epochs=8, batch_size=64, learning_rate=1e-2)
PLAN = load_scenario("random", num_tasks=10)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def network_for(scenario: Scenario, rounds: int = 0) -> CandidateScorer:
    torch.manual_seed(0)
    return CandidateScorer(scenario.simulator(1).schema, NetworkSettings(16, rounds))


def imitated(
    scenario: Scenario, expert: str | Policy, settings: ImitationSettings = SHORT, seed: int = SEED, rounds: int = 0
) -> tuple[CandidateScorer, list[Round]]:
    network, history = network_for(scenario, rounds), list[Round]()
    policy = make_policy(expert, scenario.family) if isinstance(expert, str) else expert
    imitate(network, scenario, policy, settings, seed, after_round=history.append)
    return network, history


class Greedy:
    """What a network has learned."""

    name = "learner"
    clairvoyant = False

    def __init__(self, network: CandidateScorer) -> None:
        self._network = network

    def reset(self, simulator: Simulator) -> None:
        pass

    def act(self, observation: Arrays, simulator: Simulator) -> Actions:
        return greedy(self._network, observation)


def mean(scenario: Scenario, policy: Policy | str, metric: str) -> float:
    decider = make_policy(policy, scenario.family) if isinstance(policy, str) else policy
    table = play(scenario.for_single_episodes().simulator(64), decider, range(64))
    return float(table[metric].mean())


@pytest.mark.parametrize("loss", ["cross-entropy", "ranking"])
def test_heft_is_cloned(loss: str) -> None:
    network, history = imitated(PLAN, "heft", replace(SHORT, loss=loss))
    assert [(one.number, one.share) for one in history] == [(0, 1.0), (1, 1.0)]
    assert [one.decisions + one.forced for one in history] == [10 * 64, 10 * 128]
    assert history[1].agreement > 0.85
    expert = mean(PLAN, "heft", "makespan")
    assert mean(PLAN, Greedy(network_for(PLAN)), "makespan") > 1.1 * expert
    assert mean(PLAN, Greedy(network), "makespan") < 1.03 * expert


@pytest.mark.parametrize(
    ("scenario", "expert", "metric"),
    [
        (load_scenario("random-noisy", num_tasks=10), "rank-online", "makespan"),
        (load_scenario("mec-gmorl"), "weighted-greedy", "cost"),
    ],
)
def test_reactive_experts_label_what_the_learner_does(scenario: Scenario, expert: str, metric: str) -> None:
    network, history = imitated(scenario, expert, replace(SHORT, beta=0.25))
    assert [one.share for one in history] == [1.0, 0.25]
    untrained, target = mean(scenario, "random", metric), mean(scenario, expert, metric)
    assert mean(scenario, Greedy(network), metric) - target < 0.2 * (untrained - target)


def test_runs_are_the_same_to_the_bit() -> None:
    settings = replace(SHORT, episodes=32, epochs=1)
    one, again, other = (imitated(PLAN, "heft", settings, seed, rounds=1)[0] for seed in (SEED, SEED, SEED + 1))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert any(not torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize("value", [0.5, 0.0])
def test_values_are_learned_with_the_decisions(value: float) -> None:
    network, _ = imitated(PLAN, "heft", replace(SHORT, value=value))
    simulator = PLAN.simulator(64)
    simulator.reset(range(64))
    demonstrations = demonstrate(network, simulator, make_policy("heft"), 1.0, 1.0, np.random.default_rng(0))
    with torch.no_grad():
        error = (network(demonstrations.situations)[1] - demonstrations.returns).square().mean()
    assert (error < 0.5 * demonstrations.returns.var()) == (value > 0)


def test_large_returns_leave_the_decisions_to_be_learned() -> None:
    scenario = load_scenario("v2-lite-layer", output_tokens=64)
    untrained = log(17)  # 16 places and the bypass
    _, history = imitated(scenario, "belady", replace(SHORT, episodes=32, epochs=4))
    assert history[0].loss < 0.8 * untrained


def test_progress_counts_episodes() -> None:
    ended: list[int] = []
    imitate(network_for(PLAN), PLAN, make_policy("heft"), replace(SHORT, episodes=40), SEED, progress=ended.append)
    assert ended == [32, 32] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "rounds: must be at least 1"),
        ({"beta": 1.5}, "beta: must be from 0 to 1"),
        ({"learning_rate": 0.0}, "learning_rate: must be above 0"),
        ({"loss": "hinge"}, "unknown loss 'hinge'"),
        ({"value": float("nan")}, "value: must be at least 0"),
    ],
)
def test_settings_are_checked(changes: dict[str, float], message: str) -> None:
    with pytest.raises(HetgymError, match=message):
        imitated(PLAN, "heft", replace(SHORT, **changes))  # type: ignore[arg-type]


def test_continuous_faces_are_refused() -> None:
    expert = make_policy("all-local", "offloading")
    with pytest.raises(HetgymError, match="its face is continuous"):
        imitate(network_for(PLAN), load_scenario("mec-partial", continuous=True), expert, SHORT, SEED)
