"""What policies name directly is found among the candidates that agents are shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.agents import make_policy
from hetgym.envs import load_scenario
from hetgym.envs.task_graph.simulator import TaskGraphSimulator

NUM_ENVS = 4


@pytest.mark.parametrize(
    ("scenario", "policy", "changes"),
    [
        ("random", "dls", {}),
        ("random-noisy", "re-heft", {"speed_steps": 2}),
        ("v2-lite-layer", "belady", {}),
        ("qwen3-30b-prefetch", "belady+gate", {"requests": 1, "output_tokens": 4}),
        ("mixtral-hybrid", "hybrimoe", {"requests": 1, "output_tokens": 4}),
        ("mec-gmorl", "weighted-greedy", {}),
    ],
)
def test_candidate_does_what_the_name_does(scenario: str, policy: str, changes: dict[str, Any]) -> None:
    setting = load_scenario(scenario, **changes)
    by_name, by_candidate = (setting.simulator(NUM_ENVS) for _ in range(2))
    decider = make_policy(policy, setting.family)
    by_name.reset(range(NUM_ENVS))
    by_candidate.reset(range(NUM_ENVS))
    decider.reset(by_name)
    if isinstance(by_candidate, TaskGraphSimulator):
        by_candidate.state.status["insertion"] = by_name.state.status["insertion"]
    translated = 0
    for _ in range(200):
        actions = decider.act(by_name.observation, by_name)
        candidates = by_name.candidates_of(actions)
        translated += int(((candidates >= 0) & (candidates != actions)).sum())
        by_name.step(actions)
        by_candidate.step(np.where(candidates >= 0, candidates, actions))
        for name, array in by_name.observation.items():
            np.testing.assert_array_equal(array, by_candidate.observation[name], err_msg=name)
        np.testing.assert_array_equal(by_name.outcome["episode_return"], by_candidate.outcome["episode_return"])
    assert translated > 0 or setting.family == "offloading"


@pytest.mark.parametrize("scenario", ["random", "random-noisy"])
def test_task_is_hidden_where_no_candidate_speaks_of_it(scenario: str) -> None:
    simulator = load_scenario(scenario, ready_window=2).simulator(NUM_ENVS)
    policy, devices = make_policy("min-min"), np.arange(4)
    simulator.reset(range(NUM_ENVS))
    policy.reset(simulator)
    hidden = 0
    while not simulator.outcome["terminated"].all():
        observation = simulator.observation
        actions = policy.act(observation, simulator)
        candidates = simulator.candidates_of(actions)
        for row in np.flatnonzero((actions >= simulator.num_candidates) & ~simulator.outcome["terminated"]):
            task, device = divmod(int(actions[row]) - simulator.num_candidates, len(devices))
            meant = (observation["candidate_nodes"][row] == [len(devices) + task, device]).all(axis=1)
            meant &= observation["action_mask"][row] > 0
            assert np.flatnonzero(meant).tolist() == [candidates[row]] * (candidates[row] >= 0)
            hidden += candidates[row] < 0
        simulator.step(actions)
    assert hidden > 0


def test_victim_is_hidden_beyond_the_window() -> None:
    def share_hidden(shown: int) -> float:
        simulator = load_scenario("v2-lite-layer", shown=shown).simulator(NUM_ENVS)
        policy = make_policy("belady")
        simulator.reset(range(NUM_ENVS))
        policy.reset(simulator)
        hidden = []
        for _ in range(100):
            actions = policy.act(simulator.observation, simulator)
            hidden.append((simulator.candidates_of(actions) < 0).mean())
            simulator.step(actions)
        return float(np.mean(hidden))

    assert share_hidden(64) == 0
    assert 0.1 < share_hidden(4) < 1


def test_what_is_not_allowed_means_no_candidate() -> None:
    simulator = load_scenario("random").simulator(3)
    simulator.reset(range(3))
    waits, too_large, negative = 0, simulator.num_candidates + 10_000, -5
    assert simulator.candidates_of(np.array([waits, too_large, negative])).tolist() == [-1, -1, -1]
    first = simulator.observation["action_mask"].argmax(axis=1)
    assert simulator.candidates_of(first).tolist() == first.tolist()
    with pytest.raises(HetgymError, match="actions"):
        simulator.candidates_of(np.zeros(2, np.int64))
