"""What experts show, and how far networks are from it."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch

from hetgym import HetgymError
from hetgym.agents import Policy, make_policy
from hetgym.agents.imitation import LOSSES, Demonstrations, demonstrate
from hetgym.agents.learned import greedy
from hetgym.agents.networks import CandidateBatch, CandidateScorer, NetworkSettings
from hetgym.agents.policy import Actions
from hetgym.envs import Simulator, load_scenario
from hetgym.envs.core.simulator import Arrays
from hetgym.envs.task_graph.simulator import TaskGraphSimulator
from hetgym.evaluate.evaluation import play_out

NUM_ENVS, NUM_TASKS = 5, 8


def simulator(**changes: object) -> Simulator:
    made = load_scenario("random", num_tasks=NUM_TASKS, **changes).simulator(NUM_ENVS)
    made.reset(range(NUM_ENVS))
    return made


def scorer(rounds: int = 0) -> CandidateScorer:
    torch.manual_seed(1)
    network = CandidateScorer(simulator().schema, NetworkSettings(8, rounds))
    torch.nn.init.normal_(network.heads.weight)
    return network


def shown(expert: Policy | str, share: float = 1.0, gamma: float = 1.0, **changes: object) -> Demonstrations:
    policy = make_policy(expert) if isinstance(expert, str) else expert
    return demonstrate(scorer(), simulator(**changes), policy, share, gamma, np.random.default_rng(0))


class Learner:
    """The network that `shown` asks, as a policy."""

    name = "learner"
    clairvoyant = False

    def reset(self, simulator: Simulator) -> None:
        pass

    def act(self, observation: Arrays, simulator: Simulator) -> Actions:
        return greedy(scorer(), observation)


class Waiting(Learner):
    """In Plan nobody may wait."""

    def act(self, observation: Arrays, simulator: Simulator) -> Actions:
        return np.zeros(simulator.num_envs, np.int64)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (
            "cross-entropy",
            -0.5 * (log(exp(1) / (exp(2) + exp(1) + exp(0.5))) + log(exp(0) / (exp(0) + exp(3)))),
        ),
        ("ranking", 0.5 * ((2.0 + 0.5) / 2 + 4.0)),
    ],
)
def test_losses_by_hand(loss: str, expected: float) -> None:
    batch = CandidateBatch(
        torch.zeros(2, 1), torch.zeros(5, 1), torch.tensor([0, 1, 2, 0, 1]), torch.tensor([3, 2]), None
    )
    scores = torch.tensor([2.0, 1.0, 0.5, 0.0, 3.0], requires_grad=True)
    value = LOSSES[loss](scores, batch, torch.tensor([1, 3]))
    assert value.item() == pytest.approx(expected)
    value.backward()
    assert scores.grad is not None
    assert (scores.grad[[1, 3]] < 0).all()
    assert (scores.grad[[0, 2, 4]] > 0).all()


def test_ranking_asks_no_more_than_its_margin() -> None:
    batch = CandidateBatch(torch.zeros(1, 1), torch.zeros(2, 1), torch.tensor([0, 1]), torch.tensor([2]), None)
    assert LOSSES["ranking"](torch.tensor([1.5, 0.0]), batch, torch.tensor([0])) == 0
    assert LOSSES["cross-entropy"](torch.tensor([1.5, 0.0]), batch, torch.tensor([0])) > 0


@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_returns_are_those_of_the_episodes(gamma: float) -> None:
    policy, played = make_policy("heft"), simulator()
    policy.reset(played)
    rewards, useful = [], []
    while not played.outcome["terminated"].all():
        useful.append(played.observation["action_mask"].sum(axis=1) > 1)
        played.step(policy.act(played.observation, played))
        rewards.append(played.outcome["reward"].copy())
    expected = [
        sum(gamma**later * rewards[step + later][row] for later in range(NUM_TASKS - step))
        for step in range(NUM_TASKS)
        for row in range(NUM_ENVS)
        if useful[step][row]
    ]
    np.testing.assert_allclose(shown("heft", gamma=gamma).returns, expected, rtol=1e-5, atol=1e-6)


def test_decisions_are_shown_hidden_or_forced() -> None:
    wide, narrow = shown("min-min"), shown("min-min", ready_window=1)
    for demonstrations in (wide, narrow):
        assert len(demonstrations) + demonstrations.hidden + demonstrations.forced == NUM_ENVS * NUM_TASKS
        situations = demonstrations.situations
        assert (situations.num_candidates > 1).all()
        rows = situations.rows_of(demonstrations.actions)
        assert situations.situation[rows].tolist() == list(range(len(demonstrations)))
    assert wide.hidden == 0
    assert narrow.hidden > 0


def test_one_candidate_teaches_nothing() -> None:
    with pytest.raises(HetgymError, match="'heft': nothing can be learned from it here: 40 decisions have one"):
        shown("heft", num_devices=1, ready_window=1)


def test_expert_that_is_never_shown_is_refused() -> None:
    with pytest.raises(HetgymError, match="40 of its choices are not among the candidates"):
        shown(Waiting())


@pytest.mark.parametrize(("share", "who"), [(1.0, make_policy("heft")), (0.0, Learner())])
def test_share_says_who_decides(share: float, who: Policy) -> None:
    expected, played, rows = simulator(), simulator(), np.arange(NUM_ENVS)
    play_out(expected, who, range(NUM_ENVS))
    demonstrate(scorer(), played, make_policy("heft"), share, 1.0, np.random.default_rng(0))
    assert played.metrics(rows)["makespan"].tolist() == expected.metrics(rows)["makespan"].tolist()


@pytest.mark.parametrize(("placement", "expert"), [("insertion", "dls"), ("append", "heft")])
def test_experts_play_by_the_rules_of_the_scenario(placement: str, expert: str) -> None:
    played = simulator(placement=placement)
    demonstrate(scorer(), played, make_policy(expert), 1.0, 1.0, np.random.default_rng(0))
    assert isinstance(played, TaskGraphSimulator)
    assert (played.state.status["insertion"] == (placement == "insertion")).all()


def test_demonstrations_follow_one_another() -> None:
    one, other = shown("heft"), shown("min-min", ready_window=1)
    both = Demonstrations.concatenate([one, other])
    assert len(both) == len(one) + len(other)
    assert both.hidden == other.hidden
    torch.testing.assert_close(both.situations.select(torch.arange(len(one))).candidates, one.situations.candidates)


def test_policies_say_whether_they_react() -> None:
    for name, family, reactive in (
        ("heft", "task-graph", False),
        ("best-of-2:heft", "task-graph", False),
        ("re-heft", "task-graph", True),
        ("eft", "task-graph", True),
        ("belady", "expert-cache", True),
        ("arc", "expert-cache", False),
        ("exhaustive", "offloading", False),
        ("lyapunov", "offloading", False),
        ("weighted-greedy", "offloading", True),
    ):
        assert getattr(make_policy(name, family), "reactive", True) == reactive, name
