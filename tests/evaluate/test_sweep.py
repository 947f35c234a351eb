"""Sweeps: the grid, the tables, and the picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hetgym import HetgymError
from hetgym.agents import Policy, make_policy
from hetgym.envs import TaskGraphScenario, load_scenario
from hetgym.evaluate import evaluate, parse_sweep, summarise, summarise_sweep, sweep
from hetgym.evaluate.figures import ORACLE_COLOURS, save_figure, sweep_figure
from hetgym.evaluate.sweep import shown

REPRODUCIBLE = ["policy", "episode", "seed", "return", "makespan", "lower_bound"]


def oracle() -> Policy:
    policy = make_policy("lookahead")
    policy.name, policy.clairvoyant = "oracle", True
    return policy


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    settings = {"ccr": [2.0, 0.5, 8.0], "num_tasks": [5, 10]}
    return sweep("random", [oracle(), "heft", "random"], settings, episodes=6, seed=3)


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("x=0.1:0.9:0.1", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]),
        ("x=20:60:20", [20, 40, 60]),
        ("x=1:2:0.3", [1.0, 1.3, 1.6, 1.9]),
        ("x=5:1:-2", [5, 3, 1]),
        ("x=-0.1:0.1:0.1", [-0.1, 0.0, 0.1]),
        ("x=7:7:1", [7]),
        ("x=8e9:24e9:8e9", [8e9, 16e9, 24e9]),
        ("x=8e9,16e9,25e9", [8e9, 16e9, 25e9]),
        ("x=lru, 3,true,null", ["lru", 3, True, None]),
        ("x={gpu: 4},[1,2],'a:b'", [{"gpu": 4}, [1, 2], "a:b"]),
        ("x=0:9999:1", list(range(10_000))),
    ],
)
def test_values(word: str, values: list[Any]) -> None:
    name, read = parse_sweep(word)
    assert name == "x"
    assert read == values
    assert [type(value) for value in read] == [type(value) for value in values]


def test_name_may_have_hyphens() -> None:
    assert parse_sweep("num-tasks=1")[0] == "num_tasks"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("x", "NAME=START:STOP:STEP"),
        ("=1,2", "NAME=START:STOP:STEP"),
        ("x=1:5:0", "does not get from 1 to 5 in steps of 0"),
        ("x=1:5:-1", "does not get from 1 to 5"),
        ("x=5:1:1", "does not get from 5 to 1"),
        ("x=1:5", "three numbers"),
        ("x=1:5:1:1", "three numbers"),
        ("x=1:nan:1", "three numbers"),
        ("x=inf:1:1", "three numbers"),
        ("x=0:1:1e400", "three numbers"),
        ("x=a:b:c", "three numbers"),
        ("x=1:2:1,7", "three numbers"),
        ("x=0:10000:1", "more than 10,000 values"),
        ("x=0:1:1e-300", "more than 10,000 values"),
        ("x=1.00000000000000000000000000000000001:2:0.5", "28 digits"),
        ("x=[1", "not valid YAML"),
        ("x=1],[2", "not valid YAML"),
    ],
)
def test_what_is_no_sweep_is_refused_in_one_line(word: str, message: str) -> None:
    with pytest.raises(HetgymError, match="sweep: ") as caught:
        parse_sweep(word)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1 + 0.2, "0.3"), (20.0, "20"), (8e9, "8e9"), (16e9, "16e9"), (2e-6, "0.000002"), (1.5e-8, "15e-9"),
     (1234567, "1234567"), (True, "True"), ("lru", "lru"), (math.inf, "inf")],
)  # fmt: skip
def test_values_are_shown_as_people_write_them(value: object, text: str) -> None:
    assert shown(value) == text


def test_each_cell_is_what_evaluate_gives(table: pd.DataFrame) -> None:
    assert list(table.columns[:4]) == ["ccr", "num_tasks", "policy", "clairvoyant"]
    places = [*dict.fromkeys(zip(table["ccr"], table["num_tasks"], strict=True))]
    assert places == [(2.0, 5), (2.0, 10), (0.5, 5), (0.5, 10), (8.0, 5), (8.0, 10)]
    for (ccr, num_tasks), cell in table.groupby(["ccr", "num_tasks"]):
        alone = evaluate("random", [oracle(), "heft", "random"], 6, 3, ccr=ccr, num_tasks=num_tasks)
        pd.testing.assert_frame_equal(cell[REPRODUCIBLE].reset_index(drop=True), alone[REPRODUCIBLE])
        assert (cell.groupby("episode")["lower_bound"].nunique() == 1).all()


def test_policies_are_the_same_after_other_cells() -> None:
    """One object plays all cells, in plans and in Dispatch."""
    for scenario in ("random", "random-noisy"):
        base = load_scenario(scenario, num_tasks=6)
        policies = [name for name in base.baselines if not name.startswith("best-of")]
        both = sweep(base, policies, {"num_devices": [4, 2]}, episodes=2)
        alone = evaluate(base, policies, episodes=2, num_devices=2)
        later = both.loc[both["num_devices"] == 2, REPRODUCIBLE].reset_index(drop=True)
        pd.testing.assert_frame_equal(later, alone[REPRODUCIBLE])


def test_values_that_are_no_scalars_are_shown_as_json() -> None:
    base = load_scenario("random", num_tasks=3)
    assert isinstance(base, TaskGraphScenario)
    kind = base.devices.kinds[0]
    settings = {"mode": ["dispatch"], "mean_uptime": [None], "misestimation": [{}, {kind: 2}]}
    table = sweep(base, "heft", settings, episodes=2)
    assert set(table["mean_uptime"]) == {"null"}
    assert list(dict.fromkeys(table["misestimation"])) == ["{}", f'{{"{kind}": 2}}']
    assert len(summarise_sweep(table)) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "at least one setting"),
        ({"ccr": []}, "ccr has no values"),
        ({"ccr": [1.0, 1]}, "ccr has the value 1 twice"),
        ({"ccr": [math.nan]}, "ccr must not be NaN"),
        ({"ccr": [1.0, -1.0]}, "ccr"),
        ({"nope": [1]}, "unknown setting of scenario 'random': 'nope'"),
        ({"ccr": range(1, 102), "num_tasks": range(1, 101)}, "at most 10,000 cells (given: 10,100)"),
    ],
)
def test_grids_are_checked_before_anything_is_played(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(HetgymError) as caught:
        sweep("random", "heft", settings, progress=lambda _: pytest.fail("played"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_progress_counts_all_episodes() -> None:
    ended: list[int] = []
    sweep("random", "heft,mct", {"num_tasks": [3, 4]}, episodes=5, progress=ended.append)
    assert sum(ended) == 2 * 2 * 5


def test_summary_is_that_of_each_cell(table: pd.DataFrame) -> None:
    summary = summarise_sweep(table, ["makespan", "utilisation"], scenario="random")
    assert len(summary) == 2 * 6 * 3
    settings = ["ccr", "num_tasks"]
    assert list(summary.columns[:6]) == [*settings, "policy", "clairvoyant", "metric", "best"]
    for (metric, ccr, num_tasks), rows in summary.groupby(["metric", *settings], sort=False):
        cell = table[(table["ccr"] == ccr) & (table["num_tasks"] == num_tasks)].drop(columns=settings)
        alone = summarise(cell, metric, scenario="random")
        pd.testing.assert_frame_equal(rows[alone.columns].reset_index(drop=True), alone)
        assert rows.loc[rows["policy"] == "heft", "ratio"].tolist() == [1.0]


def test_best_does_not_read_the_future(table: pd.DataFrame) -> None:
    summary = summarise_sweep(table, ["makespan", "utilisation"], scenario="random")
    assert summary.loc[summary["clairvoyant"], "policy"].unique().tolist() == ["oracle"]
    assert not summary.loc[summary["clairvoyant"], "best"].any()
    for (metric, _, _), rows in summary.groupby(["metric", "ccr", "num_tasks"]):
        causal = rows[~rows["clairvoyant"]]
        extreme = causal["mean"].max() if metric == "utilisation" else causal["mean"].min()
        assert causal.loc[causal["best"], "mean"].tolist() == [extreme]


def test_summaries_refuse_the_wrong_table(table: pd.DataFrame) -> None:
    with pytest.raises(HetgymError, match="summarise_sweep"):
        summarise(table)
    with pytest.raises(HetgymError, match="swept setting"):
        summarise_sweep(table.drop(columns=["ccr", "num_tasks"]))
    with pytest.raises(HetgymError, match="'ccr' is not among the metrics"):
        summarise_sweep(table, ["ccr"])


def test_figure_has_a_panel_for_each_metric_and_value(table: pd.DataFrame) -> None:
    summary = summarise_sweep(table, ["makespan", "utilisation"], scenario="random")
    figure = sweep_figure(summary, scenario=load_scenario("random"))
    panels = figure.axes
    assert [axes.get_title(loc="left") for axes in panels] == ["num_tasks = 5", "num_tasks = 10"] * 2
    assert panels[0].get_ylabel() == "makespan\n(less is better)"
    assert panels[2].get_ylabel() == "utilisation\n(more is better)"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["oracle (reads the future)", "heft", "random"]
    assert panels[0].get_xscale() == "log"
    first, heft, _ = panels[3].get_lines()
    assert (first.get_linestyle(), first.get_color()) == ("--", ORACLE_COLOURS[0])
    assert heft.get_linestyle() == "-"
    drawn = summary[(summary["metric"] == "utilisation") & (summary["num_tasks"] == 10) & (summary["policy"] == "heft")]
    np.testing.assert_array_equal(heft.get_xdata(), [0.5, 2.0, 8.0])
    np.testing.assert_array_equal(heft.get_ydata(), drawn.sort_values("ccr")["mean"])
    assert len(panels[3].collections) == 3
    other = sweep_figure(summary, x="num_tasks", metrics=["makespan"])
    assert [axes.get_title(loc="left") for axes in other.axes] == ["ccr = 2", "ccr = 0.5", "ccr = 8"]


def test_policies_are_told_apart(table: pd.DataFrame) -> None:
    heft = table[table["policy"] == "heft"]
    many = pd.concat([heft.assign(policy=f"policy-{number}") for number in range(30)])
    axes = sweep_figure(summarise_sweep(many)).axes[0]
    styles = [(line.get_color(), line.get_marker()) for line in axes.get_lines()]
    assert len(set(styles)) == 30
    assert len({colour for colour, _ in styles[:12]}) == len({marker for _, marker in styles[:12]}) == 12


def test_figure_of_words_and_of_single_episodes(tmp_path: Path) -> None:
    table = sweep("random", "heft", {"placement": ["insertion", "append"]}, episodes=1)
    figure = sweep_figure(summarise_sweep(table))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["insertion", "append"]
    path = tmp_path / "sweep.svg"
    save_figure(figure, path)
    assert "<svg" in path.read_text()


def test_figure_refuses_what_it_has_not(table: pd.DataFrame) -> None:
    summary = summarise_sweep(table)
    with pytest.raises(HetgymError, match="x: 'fame'"):
        sweep_figure(summary, x="fame")
    with pytest.raises(HetgymError, match="metric: 'fame'"):
        sweep_figure(summary, metrics=["fame"])
    with pytest.raises(HetgymError, match="at most 48 panels"):
        sweep_figure(pd.concat([summary.assign(num_tasks=number) for number in range(49)]))
