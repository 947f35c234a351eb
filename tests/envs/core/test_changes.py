"""Settings by their names and values: how words are read, and what a scenario does with them."""

from __future__ import annotations

import pytest

from hetgym import HetgymError
from hetgym.envs import load_scenario
from hetgym.envs.core.changes import parse_changes


def test_changes_are_read_as_yaml() -> None:
    assert parse_changes(["num-tasks=50", "ccr=0.5", "platform=four-workers", "speedup={gpu: 4}"]) == {
        "num_tasks": 50,
        "ccr": 0.5,
        "platform": "four-workers",
        "speedup": {"gpu": 4},
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8e9", 8e9),
        ("-1.5E-3", -1.5e-3),
        (".5e1", 5.0),
        ("16", 16),
        ("'8e9'", "8e9"),
        ("8e9b", "8e9b"),
        ("e9", "e9"),
        ("null", None),
        ("a=b", "a=b"),
    ],
)
def test_numbers_are_those_of_yaml_1_2(text: str, value: object) -> None:
    read = parse_changes([f"x={text}"])["x"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("change", ["num_tasks", "=3", "num_tasks=[1", "num_tasks=2020-13-45", f"a={'[' * 2000}"])
def test_what_is_no_change_is_refused_in_one_line(change: str) -> None:
    with pytest.raises(HetgymError, match="set: ") as caught:
        parse_changes([change])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["self", "scenario", "nope"])
def test_unknown_setting_is_refused_whatever_its_name(name: str) -> None:
    with pytest.raises(HetgymError, match=f"'{name}'"):
        load_scenario("random", **{name: 1})


def test_scenarios_say_how_they_are_compared() -> None:
    plan, stream = load_scenario("random"), load_scenario("soc-stream")
    assert (plan.metric, plan.reference) == ("makespan", "heft")
    assert stream.metric == "job_latency_mean"
    for scenario in (plan, stream):
        assert scenario.metric not in scenario.more_is_better
        assert {"throughput", "utilisation"} <= scenario.more_is_better
