"""Evaluation: paired, reproducible, honest about its uncertainty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from hetgym import HetgymError
from hetgym.agents import make_policy
from hetgym.envs import load_scenario
from hetgym.evaluate import evaluate, gap_closed, summarise
from hetgym.evaluate.statistics import RESAMPLES
from hetgym.evaluate.summary import find_reference


def test_one_row_for_each_policy_and_episode() -> None:
    table = evaluate("random", ["heft", "random"], episodes=5, seed=3)
    assert list(table.columns[:6]) == ["policy", "clairvoyant", "episode", "seed", "return", "decision_seconds"]
    assert {"makespan", "heft_makespan", "lower_bound"} <= set(table.columns)
    assert table["policy"].tolist() == ["heft"] * 5 + ["random"] * 5
    assert table["episode"].tolist() == [0, 1, 2, 3, 4] * 2
    assert table["seed"].tolist() == [3, 4, 5, 6, 7] * 2
    assert (table["decision_seconds"] > 0).all()


def test_all_policies_meet_the_same_instances() -> None:
    table = evaluate("random", "heft,peft,min-min,mct,random", episodes=20)
    for column in ("heft_makespan", "lower_bound"):
        assert (table.groupby("episode")[column].nunique() == 1).all()
    heft = table[table["policy"] == "heft"]
    np.testing.assert_array_equal(heft["makespan"], heft["heft_makespan"])


def test_results_depend_neither_on_the_batch_nor_on_the_run() -> None:
    reproducible = ["policy", "seed", "return", "makespan"]
    many = evaluate("random", ["random", "heft"], episodes=70)
    again = evaluate("random", ["random", "heft"], episodes=70)
    pd.testing.assert_frame_equal(many[reproducible], again[reproducible])
    alone = evaluate("random", ["random", "heft"], episodes=1, seed=66)
    np.testing.assert_array_equal(alone["makespan"], many.loc[many["seed"] == 66, "makespan"])


def test_return_telescopes() -> None:
    table = evaluate("random", ["random", "peft"], episodes=10)
    expected = -(table["makespan"] - table["lower_bound"]) / table["heft_makespan"]
    np.testing.assert_allclose(table["return"], expected, rtol=1e-12)


def test_policy_objects_are_taken_too() -> None:
    table = evaluate("heft-paper", make_policy("heft"), episodes=1)
    assert table["makespan"].tolist() == [80.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"policies": "heft,nope"}, "unknown policy 'nope'"),
        ({"policies": "heft,heft"}, "each can be named once"),
        ({"policies": "heft", "episodes": 0}, "episodes: must be at least 1"),
        ({"policies": "heft", "seed": -1}, "seed: must be from 0"),
        ({"policies": "heft", "seed": 2**31}, "seed: must be from 0"),
        ({"policies": "heft", "size": 3}, "'size'"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(HetgymError, match=message):
        evaluate("random", **arguments)


def rows(policy: str, makespans: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {"policy": policy, "episode": range(len(makespans)), "makespan": makespans, "decision_seconds": 2e-6}
    )


def test_summary_by_hand() -> None:
    table = pd.concat([rows("heft", [10.0, 20.0, 30.0]), rows("other", [9.0, 20.0, 31.0])], ignore_index=True)
    summary = summarise(table).set_index("policy")
    other = summary.loc["other"]
    assert other["mean"] == pytest.approx(20.0)
    assert other["ratio"] == pytest.approx(1.0)
    assert other["wins"] == pytest.approx(1 / 3)
    assert other["ties"] == pytest.approx(1 / 3)
    assert other["microseconds"] == pytest.approx(2.0)
    assert other["low"] < 1.0 < other["high"]
    assert summary.loc["heft", ["low", "high"]].tolist() == [1.0, 1.0]


def test_difference_in_the_last_bit_is_a_tie() -> None:
    table = pd.concat([rows("heft", [0.3, 1.0]), rows("other", [0.1 + 0.2 - 1e-16, 0.9])], ignore_index=True)
    other = summarise(table).set_index("policy").loc["other"]
    assert (other["wins"], other["ties"]) == (0.5, 0.5)


def test_summary_of_one_episode_has_no_interval() -> None:
    summary = summarise(rows("heft", [10.0]))
    assert summary["low"].isna().all()
    assert summary["ratio"].tolist() == [1.0]


def test_closed_gaps_by_hand() -> None:
    table = pd.concat([rows("lru", [10.0, 30.0]), rows("belady", [4.0, 8.0]), rows("other", [9.0, 24.0])])
    closed = gap_closed(table, "makespan").set_index("policy")
    assert closed["gap_closed"].to_dict() == pytest.approx({"lru": 0.0, "belady": 1.0, "other": 0.25})
    assert closed.loc["other", ["low", "high"]].tolist() == pytest.approx([1 / 6, 6 / 22])
    assert closed.loc["belady", ["low", "high"]].tolist() == [1.0, 1.0]
    table["makespan"] *= -1.0
    assert gap_closed(table, "makespan")["gap_closed"].tolist() == closed["gap_closed"].tolist()
    others_way = gap_closed(table, "makespan", reference="belady", oracle="lru").set_index("policy")
    assert others_way.loc["other", "gap_closed"] == pytest.approx(0.75)


def test_no_gap_is_not_closed() -> None:
    table = pd.concat([rows("lru", [10.0]), rows("belady", [10.0]), rows("other", [9.0])])
    assert gap_closed(table, "makespan")[["gap_closed", "low", "high"]].isna().all(axis=None)
    table = pd.concat([rows("lru", [10.0]), rows("belady", [8.0])])
    closed = gap_closed(table, "makespan")
    assert closed["gap_closed"].tolist() == [0.0, 1.0]
    assert closed[["low", "high"]].isna().all(axis=None)


def test_gaps_are_between_policies_that_were_played() -> None:
    table = rows("lru", [1.0])
    with pytest.raises(HetgymError, match=r"^oracle: 'belady' was not played; choose one of lru$"):
        gap_closed(table, "makespan")
    with pytest.raises(HetgymError, match=r"^reference: 'lfu' was not played"):
        gap_closed(table, "makespan", reference="lfu")
    with pytest.raises(HetgymError, match="metric"):
        gap_closed(table)


def test_summary_refuses_unknown_names() -> None:
    with pytest.raises(HetgymError, match="metric"):
        summarise(rows("heft", [1.0]), metric="fame")
    with pytest.raises(HetgymError, match="'policy' is not among the metrics makespan"):
        summarise(rows("heft", [1.0]), metric="policy")
    with pytest.raises(HetgymError, match="reference"):
        summarise(rows("heft", [1.0]), reference="peft")


def test_interval_covers_the_true_ratio() -> None:
    """95% intervals of a known ratio, 200 times: at least 88% must cover it (a binomial 3 sigma band)."""
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        base = generator.uniform(5.0, 15.0, 60)
        own = base * 0.9 + generator.normal(0.0, 1.0, 60)
        summary = summarise(pd.concat([rows("heft", base), rows("other", own)], ignore_index=True)).set_index("policy")
        covered += summary.loc["other", "low"] <= 0.9 <= summary.loc["other", "high"]
    assert 176 <= covered <= 200


def test_intervals_are_those_of_scipy() -> None:
    generator = np.random.default_rng(1)
    base = generator.uniform(5.0, 15.0, 37)
    own = base + generator.normal(0.0, 1.0, 37)
    other = summarise(pd.concat([rows("heft", base), rows("other", own)], ignore_index=True), seed=5).loc[1]

    def interval(statistic: Callable[..., Any], *samples: np.ndarray) -> list[float]:
        chance = np.random.default_rng(5)
        found = bootstrap(
            samples, statistic, n_resamples=RESAMPLES, paired=True, vectorized=True, method="percentile", rng=chance
        )
        return list(found.confidence_interval)

    ratio = interval(lambda own, base, axis: own.mean(axis=axis) / base.mean(axis=axis), own, base)
    assert other[["low", "high"]].tolist() == pytest.approx(ratio, rel=1e-12)
    mean = interval(lambda own, axis: own.mean(axis=axis), own)
    assert other[["mean_low", "mean_high"]].tolist() == pytest.approx(mean, rel=1e-12)


def test_more_may_be_better() -> None:
    table = pd.concat([rows("heft", [10.0, 20.0, 30.0]), rows("other", [9.0, 20.0, 20.0])], ignore_index=True)
    for metric in ("throughput", "return", "energy"):
        table[metric] = table["makespan"]
    stream = load_scenario("soc-stream")
    wins = {
        metric: summarise(table, metric, "heft", scenario=stream).loc[1, "wins"]
        for metric in ("makespan", "energy", "throughput", "return")
    }
    assert wins == {"makespan": 2 / 3, "energy": 2 / 3, "throughput": 0.0, "return": 0.0}
    assert summarise(table, "return").loc[1, "ties"] == 1 / 3
    worse = summarise(table, "throughput", "other", scenario=stream).loc[0]
    assert (worse["wins"], worse["ties"], worse["ratio"]) == (2 / 3, 1 / 3, pytest.approx(60 / 49))


def test_scenario_says_what_is_compared_with_what() -> None:
    stream = load_scenario("soc-stream")
    table = pd.concat([rows("fifo", [10.0, 20.0]), rows("heft", [5.0, 10.0])], ignore_index=True)
    table["job_latency_mean"] = table["makespan"] / 2
    summary = summarise(table, scenario=stream).set_index("policy")
    assert summary["ratio"].to_dict() == {"fifo": 2.0, "heft": 1.0}
    assert summary["mean"].to_dict() == {"fifo": 7.5, "heft": 3.75}
    assert find_reference(["b", "a"], None, stream) == "b"
    assert find_reference(["b", "a"], "a", stream) == "a"


def test_no_ratio_to_what_is_not_above_0() -> None:
    table = pd.concat([rows("heft", [0.0, 0.0]), rows("other", [1.0, 2.0])], ignore_index=True)
    summary = summarise(table)
    assert summary[["ratio", "low", "high"]].isna().all(axis=None)
    assert summary["mean"].tolist() == [0.0, 1.5]
    assert summary["ties"].tolist() == [1.0, 0.0]
