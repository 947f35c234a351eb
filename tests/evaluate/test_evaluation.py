"""Evaluation: paired, reproducible, honest about its uncertainty."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hetgym import HetgymError
from hetgym.agents import make_policy
from hetgym.evaluate import evaluate, summarise
from hetgym.evaluate.summary import ratio_interval


def test_one_row_for_each_policy_and_episode() -> None:
    table = evaluate("random", ["heft", "random"], episodes=5, seed=3)
    assert list(table.columns[:5]) == ["policy", "episode", "seed", "return", "decision_seconds"]
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


def test_summary_refuses_unknown_names() -> None:
    with pytest.raises(HetgymError, match="metric"):
        summarise(rows("heft", [1.0]), metric="fame")
    with pytest.raises(HetgymError, match="reference"):
        summarise(rows("heft", [1.0]), reference="peft")


def test_interval_covers_the_true_ratio() -> None:
    """95% intervals of a known ratio, 200 times: at least 88% must cover it (a binomial 3 sigma band)."""
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        base = generator.uniform(5.0, 15.0, 60)
        own = base * 0.9 + generator.normal(0.0, 1.0, 60)
        low, high = ratio_interval(own, base)
        covered += low <= 0.9 <= high
    assert 176 <= covered <= 200
