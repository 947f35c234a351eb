"""Fronts of policies: what is played, how fronts are compared, and the picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hetgym import HetgymError
from hetgym.agents import make_policy
from hetgym.envs import load_scenario
from hetgym.evaluate import evaluate, evaluate_front, front_points, summarise_front
from hetgym.evaluate.figures import ORACLE_COLOURS, front_figure, save_figure
from hetgym.evaluate.multi_objective import default_reference_point

SHORT: dict[str, Any] = {"horizon": 20.0}


def front_table(costs: dict[tuple[str, str], list[list[list[float]]]], clairvoyant: str = "") -> pd.DataFrame:
    """Makes what `evaluate_front` returns of costs by (policy, member): for each point, for each episode, a vector."""
    rows = []
    for (policy, member), points in costs.items():
        for place, episodes in enumerate(points):
            for episode, vector in enumerate(episodes):
                names = ("delay", "energy", "miss")[: len(vector)]
                weight = place / max(len(points) - 1, 1)
                weights = [weight, 1 - weight, 0.0] if len(points) > 1 else [math.nan] * 3
                rows.append(
                    {"policy": policy, "member": member, "clairvoyant": policy == clairvoyant}
                    | {f"weight_{name}": value for name, value in zip(names, weights, strict=False)}
                    | {f"return_{name}": -cost for name, cost in zip(names, vector, strict=True)}
                    | {"episode": episode}
                )
    return pd.DataFrame(rows)


STAIRS = [[[0, 2], [2, 4]], [[2, 2], [2, 2]], [[3, 1], [3, 1]], [[4, 4], [4, 2]]]
"""Mean costs (1, 3), (2, 2), (3, 1), and (4, 3), which is dominated."""


@pytest.fixture
def table() -> pd.DataFrame:
    return front_table(
        {
            ("learned", "learned"): STAIRS,
            ("rules", "first"): [[[2, 3], [2, 3]]],
            ("rules", "second"): [[[3, 2], [3, 2]]],
            ("best", "best"): [[[0, 0], [1, 1]]],
        },
        clairvoyant="best",
    )


def test_points_are_means_with_their_errors(table: pd.DataFrame) -> None:
    points = front_points(table)
    assert points["member"].tolist() == ["learned"] * 4 + ["first", "second", "best"]
    assert points["return_delay"].tolist() == [-1, -2, -3, -4, -2, -3, -0.5]
    assert points["return_energy"].tolist() == [-3, -2, -1, -3, -3, -2, -0.5]
    # Returns 0 and -2: a standard deviation of sqrt 2, over sqrt 2.
    assert points["error_delay"].tolist() == pytest.approx([1, 0, 0, 0, 0, 0, 0.5])
    assert points["on_front"].tolist() == [True, True, True, False, True, True, True]
    shuffled = front_points(table.sample(frac=1, random_state=0)).set_index(["member", "weight_delay"])
    pd.testing.assert_frame_equal(
        shuffled.sort_index(), points.set_index(["member", "weight_delay"]).sort_index(), check_exact=True
    )


def test_summary_by_hand(table: pd.DataFrame) -> None:
    summary = summarise_front(table, [-4, -4], weights=3, reference="rules").set_index("policy")
    assert summary["clairvoyant"].tolist() == [False, False, True]
    assert summary["points"].tolist() == [4, 2, 1]
    assert summary["cardinality"].tolist() == [3, 2, 1]
    assert summary["outside"].tolist() == [0, 0, 0]
    # Above (-4, -4), the stairs are 3, 2, 1 wide and 1, 1, 1 high; the rules have two boxes of 2 that share 1.
    assert summary["hypervolume"].tolist() == [6.0, 3.0, 3.5**2]
    assert summary["ratio"].tolist() == pytest.approx([2.0, 1.0, 3.5**2 / 3])
    # Weights (0, 1), (0.5, 0.5), (1, 0).
    assert summary["expected_utility"].tolist() == pytest.approx([-(1 + 2 + 1) / 3, -(2 + 2.5 + 2) / 3, -0.5])
    assert summary["utility_loss"].tolist() == pytest.approx([1.5, 2.0, 0.0])
    # Of the fronts of the others: three points, four, and five.
    assert summary["coverage"].tolist() == pytest.approx([2 / 3, 0, 1])
    assert summary["covered"].tolist() == pytest.approx([1, 1, 0])


def test_points_beyond_the_reference_point_add_nothing(table: pd.DataFrame) -> None:
    summary = summarise_front(table, [-2.5, -2.5]).set_index("policy")
    assert summary["outside"].tolist() == [3, 2, 0]
    assert summary["hypervolume"].tolist() == [0.25, 0.0, 4.0]
    nothing = summarise_front(table, [-2.5, -2.5], reference="rules")
    assert nothing["ratio"].isna().all()


def test_intervals_resample_all_policies_together() -> None:
    """The second has half the delay of the first in each episode, so twice its volume in each resample."""
    chance = np.random.default_rng(0)
    delays = chance.uniform(1, 9, 30)
    first = [[[10 - delay, 1.0] for delay in delays]]
    second = [[[10 - 2 * delay, 1.0] for delay in delays]]
    summary = summarise_front(front_table({("a", "a"): first, ("b", "b"): second}), [-10, -2])
    assert summary["hypervolume"].tolist() == pytest.approx([delays.mean(), 2 * delays.mean()])
    assert summary[["ratio", "low", "high"]].to_numpy()[1].tolist() == pytest.approx([2.0, 2.0, 2.0])
    low, high = summary[["hypervolume_low", "hypervolume_high"]].to_numpy()[0]
    # 1.96 standard errors of a mean to both sides.
    width = 2 * 1.96 * delays.std(ddof=1) / math.sqrt(30)
    assert low < delays.mean() < high
    assert high - low == pytest.approx(width, rel=0.1)
    again = summarise_front(front_table({("a", "a"): first, ("b", "b"): second}), [-10, -2])
    pd.testing.assert_frame_equal(summary, again)


def test_one_episode_gives_no_interval_and_one_policy_no_coverage() -> None:
    (row,) = summarise_front(front_table({("a", "a"): [[[1.0, 2.0]]]})).to_dict("records")
    # The default reference point is 1 below the only point.
    assert row["hypervolume"] == 1.0
    assert all(math.isnan(row[name]) for name in ("hypervolume_low", "high", "coverage", "covered"))


def test_default_reference_point_is_below_all(table: pd.DataFrame) -> None:
    # Delays from 0.5 to 4, energies from 0.5 to 3.
    assert default_reference_point(front_points(table)).tolist() == pytest.approx([-4.35, -3.25])
    # No request was missed: the third objective is 1 wide, and hypervolumes are those of the others.
    missed = front_table({("a", "a"): [[[*cost, 0.0] for cost in point] for point in STAIRS]})
    assert default_reference_point(front_points(missed)).tolist() == pytest.approx([-4.3, -3.2, -1.0])
    without = front_table({("a", "a"): STAIRS})
    volumes = [summarise_front(each)["hypervolume"][0] for each in (missed, without)]
    assert volumes[0] == pytest.approx(volumes[1])


def test_summaries_refuse_the_wrong_table(table: pd.DataFrame) -> None:
    with pytest.raises(HetgymError, match="evaluate_front"):
        summarise_front(table.drop(columns=["weight_delay", "weight_energy"]))
    with pytest.raises(HetgymError, match="twice with the same weights"):
        summarise_front(pd.concat([table, table]))
    with pytest.raises(HetgymError, match="the same episodes"):
        front_points(table.drop(index=0))
    with pytest.raises(HetgymError, match="reference: 'heft' was not played"):
        summarise_front(table, reference="heft")
    with pytest.raises(HetgymError, match="reference_point: must be 2 numbers"):
        summarise_front(table, [0, 0, 0])
    with pytest.raises(HetgymError, match="add up to 1"):
        summarise_front(table, weights=[[0.5, 0.2]])


def test_figure_shows_costs_and_steps(table: pd.DataFrame) -> None:
    figure = front_figure(front_points(table), load_scenario("mec-gmorl"))
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("delay cost (less is better)", "energy cost (less is better)")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "best (reads the future)",
        "learned",
        "rules",
    ]
    lines = [line for line in axes.get_lines() if line.get_drawstyle() == "steps-post" and len(line.get_xdata()) > 1]
    assert [line.get_xydata().tolist() for line in lines] == [[[1, 3], [2, 2], [3, 1]], [[2, 3], [3, 2]]]
    hollow = [
        line.get_xydata().tolist()
        for line in axes.get_lines()
        if line.get_markerfacecolor() == "none" and len(line.get_xdata())
    ]
    assert hollow == [[[4, 3]]]
    assert ORACLE_COLOURS[0] in {line.get_color() for line in axes.get_lines()}


def test_figure_of_three_objectives_has_a_panel_for_each_pair(tmp_path: Path) -> None:
    table = front_table({("a", "a"): [[[1, 200, 3]], [[2, 2, 4]]], ("b", "b"): [[[4, 1, 1]]]})
    figure = front_figure(front_points(table))
    labels = [(axes.get_xlabel().split()[0], axes.get_ylabel().split()[0]) for axes in figure.axes]
    assert labels == [("delay", "energy"), ("delay", "miss"), ("energy", "miss")]
    assert [axes.get_xscale() for axes in figure.axes] == ["linear", "linear", "log"]
    save_figure(figure, tmp_path / "front.svg")
    assert "<svg" in (tmp_path / "front.svg").read_text()


def test_conditioned_policies_play_each_weight_vector_and_others_once() -> None:
    scenario = load_scenario("mec-gmorl", **SHORT)
    ended: list[int] = []
    table = evaluate_front(
        scenario, "weighted-greedy,random", 3, ("delay", "energy_cost"), episodes=4, seed=5, progress=ended.append
    )
    assert list(table.columns[:7]) == [
        *("policy", "member", "clairvoyant", "weight_delay", "weight_energy", "return_delay", "return_energy")
    ]
    assert len(table) == sum(ended) == (3 + 1) * 4
    greedy, random = (table[table["policy"] == name] for name in ("weighted-greedy", "random"))
    assert random[["weight_delay", "weight_energy"]].isna().all(axis=None)
    assert list(dict.fromkeys(greedy["weight_delay"])) == [0.0, 0.5, 1.0]
    # Each point is what evaluate gives at these weights, on the same episodes.
    for weight, rows in greedy.groupby("weight_delay"):
        alone = evaluate(scenario, "weighted-greedy", 4, 5, weights=(weight, 1 - weight, 0.0))
        assert rows["seed"].tolist() == alone["seed"].tolist() == random["seed"].tolist()
        assert rows["delay_cost"].tolist() == alone["delay_cost"].tolist()
        assert (-rows["return_energy"]).tolist() == alone["energy_cost"].tolist()
    assert greedy["delay_cost"].nunique() > 4


def test_all_objectives_are_the_default() -> None:
    scenario = load_scenario("mec-gmorl", **SHORT)
    table = evaluate_front(scenario, "weighted-greedy", episodes=1)
    weights = table[[name for name in table if name.startswith("weight_")]].to_numpy()
    # Three objectives, multiples of 0.2.
    assert weights.shape == (21, 3)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)


def test_a_family_is_compared_as_one_policy() -> None:
    scenario = load_scenario("mec-gmorl", **SHORT)
    names = [
        name for name in scenario.baselines if not getattr(make_policy(name, scenario.family), "conditioned", False)
    ]
    policies = {"singles": names, "greedy": "weighted-greedy"}
    table = evaluate_front(scenario, policies, 2, ("delay", "energy"), episodes=3)
    points = front_points(table)
    assert points["policy"].tolist() == ["singles"] * len(names) + ["greedy"] * 2
    assert points["member"].tolist() == [*names, "weighted-greedy", "weighted-greedy"]
    alone = summarise_front(table[table["policy"] == "singles"], [-1e6, -1e6])["hypervolume"][0]
    each = evaluate_front(scenario, names, 2, ("delay", "energy"), episodes=3)
    assert alone >= summarise_front(each, [-1e6, -1e6])["hypervolume"].max()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scenario": "random", "policies": "heft"}, "scenario 'random': has one objective, so no front"),
        ({"objectives": ["delay"]}, "objectives: must be at least 2"),
        ({"objectives": ["delay", "delay_cost"]}, "each named once"),
        ({"objectives": ["delay", "fame"]}, "'fame': choose one of delay, energy, "),
        ({"weights": 11}, "no lattice of 11 vectors; the nearest have 10 and 15"),
        ({"weights": [[0.5, 0.5]]}, "weights: must be rows of 3 numbers"),
        ({"policies": {}}, "policies: there must be at least one"),
        ({"policies": "nope"}, "unknown policy 'nope'"),
        ({"policies": {"both": "random,random"}}, "named once"),
        ({"episodes": 0}, "episodes"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_played(arguments: dict[str, Any], message: str) -> None:
    given = {"scenario": "mec-gmorl", "policies": "random"} | arguments
    with pytest.raises(HetgymError) as caught:
        evaluate_front(**given, progress=lambda _: pytest.fail("played"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
