"""Scenarios of offloading: all play, their episodes keep the rules, settings change them, and rewards add up."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from hetgym.agents import make_policy
from hetgym.envs import OffloadScenario, list_scenarios, load_scenario
from hetgym.envs.offloading.checker import violations
from hetgym.envs.offloading.simulator import OffloadSimulator
from hetgym.evaluate import evaluate, play

NAMES = [name for name, path in list_scenarios().items() if path.parent.parent.name == "offloading"]
FRAMES = ("mec-droo", "mec-lydroo")
EVENTS = [name for name in NAMES if name not in FRAMES]
SHARED = Path(__file__).parents[3] / ".." / "shared" / "data"
AZURE = Path(os.environ.get("HETGYM_TEST_DATA", SHARED)) / "azure-llm-2023"


def load(name: str, **settings: Any) -> OffloadScenario:
    scenario = load_scenario(name, **settings)
    assert isinstance(scenario, OffloadScenario)
    return scenario


def small(name: str, **settings: Any) -> OffloadScenario:
    """A scenario with few requests."""
    requests = load(name).requests
    if requests.users_in_turn:
        return load(name, **settings)
    by_time = requests.num_requests is None
    return load(name, **({"horizon": 30.0} if by_time else {"num_requests": 40}), **settings)


def faults(scenario: OffloadScenario, simulator: OffloadSimulator) -> list[str]:
    """What the checker finds in the episode that was played."""
    rules = scenario.rules
    return violations(
        simulator.episode(0), simulator.instance(0), rules.epochs, rules.slot, rules.room, rules.continuous,
        simulator.metrics_of(0),
    )  # fmt: skip


def test_there_are_nine() -> None:
    assert len(NAMES) == 9
    assert len(EVENTS) == 7


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("policy", ["weighted-greedy", "random"])
def test_episodes_of_all_scenarios_keep_the_rules(name: str, policy: str) -> None:
    scenario = small(name)
    simulator = scenario.simulator(1)
    assert isinstance(simulator, OffloadSimulator)
    table = play(simulator, make_policy(policy, scenario.family), [7])
    assert faults(scenario, simulator) == []
    assert np.isfinite(table.select_dtypes("number").to_numpy()).all()
    assert table["requests"][0] == len(simulator.episode(0)) > 0
    assert table["delay"][0] > 0
    assert len(simulator.figure(0).axes) == 2


@pytest.mark.parametrize("policy", ["all-edge", "all-local", "random"])
def test_episodes_in_two_parts_keep_the_rules(policy: str) -> None:
    scenario = small("mec-partial", continuous=True)
    simulator = scenario.simulator(1)
    assert isinstance(simulator, OffloadSimulator)
    table = play(simulator, make_policy(policy, scenario.family), [7])
    assert faults(scenario, simulator) == []
    assert {"all-edge": 1.0, "all-local": 0.0}.get(policy, table["offloaded"][0]) == table["offloaded"][0]


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("policy", ["frame-descent", "random"])
def test_frames_play(name: str, policy: str) -> None:
    scenario = load(name, num_frames=20, num_users=4)
    simulator = scenario.simulator(1)
    table = play(simulator, make_policy(policy, scenario.family), [7])
    assert np.isfinite(table.select_dtypes("number").to_numpy()).all()
    assert len(simulator.episode(0)) == 4 * 20
    assert table["computation_rate"][0] > 0
    assert simulator.figure(0).axes


@pytest.mark.parametrize("name", NAMES)
def test_all_baselines_play(name: str) -> None:
    scenario = load(name, num_frames=3) if name in FRAMES else small(name)
    table = evaluate(scenario, list(scenario.baselines), episodes=2)
    assert len(table) == 2 * len(scenario.baselines)
    assert np.isfinite(table[scenario.metric]).all()


def test_all_baselines_of_the_continuous_face_play() -> None:
    scenario = load("mec-partial", continuous=True, num_requests=5)
    table = evaluate(scenario, list(scenario.baselines), episodes=1)
    assert np.isfinite(table["cost"]).all()


@pytest.mark.parametrize("name", EVENTS)
def test_units_are_positive(name: str) -> None:
    units = small(name).drawn_from.template.units
    assert units.shape == (2,)
    assert (units > 0).all()
    assert np.isfinite(units).all()


@pytest.mark.parametrize("name", EVENTS)
def test_rewards_of_both_kinds_add_up_to_the_same(name: str) -> None:
    scenario = small(name, weights=(0.5, 0.3, 0.2))
    policy = make_policy("random", scenario.family)
    charged = {
        reward: play(scenario.simulator(2, reward), policy, [1, 2])["return"] for reward in ("forecast", "realised")
    }
    assert charged["forecast"].to_numpy() == pytest.approx(charged["realised"].to_numpy(), rel=1e-9)
    costs = play(scenario.simulator(2), policy, [1, 2])
    total = 0.5 * costs["delay_cost"] + 0.3 * costs["energy_cost"] + 0.2 * costs["misses_cost"]
    assert -charged["realised"].to_numpy() == pytest.approx(total.to_numpy(), rel=1e-9)


def test_settings_change_what_is_played() -> None:
    few, many = (load("mec-gmorl", num_edges=number).simulator(1) for number in (2, 8))
    # The edges, and the cloud.
    assert few.num_candidates == 1 + 3
    assert many.num_candidates == 1 + 9
    instance = small("mec-dense", num_users=7, sharing="equal", weights=(1.0, 0.0, 0.0)).drawn_from.template
    assert len(instance.users) == 7
    assert instance.channel.sharing == "equal"
    assert instance.weights.tolist() == [1.0, 0.0, 0.0]


def test_weights_are_drawn_for_each_episode_or_given() -> None:
    drawn = load("mec-gmorl").simulator(3)
    drawn.reset([1, 2, 3])
    assert isinstance(drawn, OffloadSimulator)
    assert drawn.state.weights.sum(axis=1) == pytest.approx(1.0)
    assert len(np.unique(drawn.state.weights[:, 0])) == 3
    given = load("mec-gmorl", weights=(0.2, 0.8, 0.0)).simulator(1)
    given.reset([1])
    assert isinstance(given, OffloadSimulator)
    assert given.state.weights[0].tolist() == [0.2, 0.8, 0.0]


def test_sharing_a_band_is_slower_than_a_band_of_ones_own() -> None:
    seconds = {}
    for sharing in ("dedicated", "equal"):
        simulator = small("mec-dense", sharing=sharing, num_edges=1).simulator(1)
        play(simulator, make_policy("all-edge", "offloading"), [0])
        seconds[sharing] = simulator.episode(0)["airtime"].sum()
    assert seconds["equal"] > 1.3 * seconds["dedicated"]


def test_a_recorded_table_gives_times_sizes_and_deadlines(tmp_path: Path) -> None:
    (tmp_path / "requests.csv").write_text("arrival,bits,limit\n10,1e6,1\n12,2e6,5\n13,3e6,9\n")
    content = yaml.safe_load(list_scenarios()["mec-partial"].read_text())
    content["workload"] = {
        "kind": "requests",
        "arrivals": {"kind": "recorded", "path": "requests.csv"},
        "num_requests": 3,
        "kinds": [
            {
                "kind": "task",
                "size": {"law": "recorded", "column": "bits"},
                "cycles_per_bit": 100.0,
                "deadline": {"law": "recorded", "column": "limit"},
            }
        ],
    }
    path = tmp_path / "recorded.yaml"
    path.write_text(yaml.safe_dump(content))
    simulator = load(str(path)).simulator(1)
    assert isinstance(simulator, OffloadSimulator)
    simulator.reset([0])
    requests = simulator.instance(0, 3).requests
    # The first arrival counts as 0.
    assert requests["arrival"].tolist() == [0.0, 2.0, 3.0]
    assert requests["size"].tolist() == [1e6, 2e6, 3e6]
    assert requests["deadline"].tolist() == [1.0, 5.0, 9.0]


def test_recorded_rates_are_those_of_the_line(tmp_path: Path) -> None:
    (tmp_path / "wifi.csv").write_text("bandwidth\n8\n4\n")
    content = yaml.safe_load(list_scenarios()["mec-partial"].read_text())
    content |= {"block": 2.0, "users": {"num_users": 1}}
    access = {"kind": "line", "path": "wifi.csv", "scale": 1e6, "begins_anywhere": False}
    content["edges"] = {"frequency": 4e9, "access": access}
    content["workload"]["arrivals"] = {"kind": "periodic", "mean_interarrival": 2.0}
    content["workload"]["num_requests"] = 2
    content["workload"]["kinds"] = [{"kind": "task", "size": 2e6, "cycles": 1e9}]
    path = tmp_path / "line.yaml"
    path.write_text(yaml.safe_dump(content))
    simulator = load(str(path)).simulator(1)
    play(simulator, make_policy("all-edge", "offloading"), [0])
    # 2 Mbit at 8 and, two seconds later, at 4 Mbit/s; 1 Gcycle at 4 GHz.
    assert simulator.episode(0)["airtime"].tolist() == pytest.approx([0.25, 0.5])
    assert simulator.episode(0)["delay"].tolist() == pytest.approx([0.5, 0.75])


@pytest.mark.skipif(not AZURE.is_dir(), reason="there are no traces of Azure's in ../shared/data")
@pytest.mark.parametrize("name", ["code", "conv"])
def test_azures_requests_play(name: str, tmp_path: Path) -> None:
    content = yaml.safe_load(list_scenarios()["llm-edge"].read_text())
    content["workload"] = {
        "kind": "requests",
        "arrivals": {"kind": "recorded", "path": str((AZURE / f"{name}.csv").resolve()), "column": "TIMESTAMP"},
        "num_requests": 60,
        "kinds": [
            {
                "kind": "prompt",
                "prompt": {"law": "recorded", "column": "ContextTokens"},
                "answer": {"law": "recorded", "column": "GeneratedTokens"},
                "context": 1200.0,
                "deadline": 15.0,
            }
        ],
    }
    path = tmp_path / "azure.yaml"
    path.write_text(yaml.safe_dump(content))
    scenario = load(str(path))
    simulator = scenario.simulator(1)
    assert isinstance(simulator, OffloadSimulator)
    play(simulator, make_policy("weighted-greedy", scenario.family), [0])
    assert faults(scenario, simulator) == []
    recorded = pd.read_csv(AZURE / f"{name}.csv", nrows=60)
    requests = simulator.instance(0).requests
    assert requests["size"].tolist() == recorded["ContextTokens"].tolist()
    assert requests["work"].tolist() == recorded["GeneratedTokens"].tolist()


def test_a_batch_is_one_request_of_each_user_and_its_oracles_are_the_best() -> None:
    policies = ["exhaustive", "milp", "weighted-greedy", "weighted-selfish", "greedy-delay", "least-work", "random"]
    table = evaluate("mec-batch", policies, episodes=6)
    played = {name: rows.set_index("episode") for name, rows in table.groupby("policy")}
    for name in policies:
        assert (played["exhaustive"]["cost"] <= played[name]["cost"] * (1 + 1e-9)).all(), name
        assert (played["milp"]["makespan"] <= played[name]["makespan"] * (1 + 1e-9)).all(), name
    assert played["random"]["cost"].mean() > 2 * played["exhaustive"]["cost"].mean()
    simulator = load("mec-batch").simulator(1)
    assert isinstance(simulator, OffloadSimulator)
    play(simulator, make_policy("greedy-delay", "offloading"), [3])
    requests = simulator.instance(0).requests
    assert requests["user"].tolist() == list(range(6))
    assert not requests["arrival"].any()
