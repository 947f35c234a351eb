"""Suites: what they refuse, what they compare, and the suite of papers that comes with hetgym."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from hetgym import HetgymError
from hetgym.cli import main
from hetgym.envs import load_scenario
from hetgym.evaluate import evaluate, list_suites, load_suite, run_suite, summarise
from hetgym.hardware_models import load_platform

SMALL = {"pool": "layer", "prompt_tokens": 4, "output_tokens": 16}
ROW = {"setting": "one layer", "scenario": "v2-lite", "set": SMALL, "policy": "lfru", "against": "load-on-demand"}


def written(folder: Path, *rows: dict[str, Any], **fields: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "episodes": 3, "rows": list(rows), **fields}))
    return path


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small_chip = {**ROW, "against": "lfru", "against_set": {"platform": "desktop-rtx3090"}, "figure": 1.5, "note": "x"}
    rows = [ROW, {**ROW, "metric": "hit_rate"}, small_chip]
    return written(tmp_path_factory.mktemp("suite"), *rows)


@pytest.fixture(scope="module")
def table(suite: Path) -> pd.DataFrame:
    return run_suite(suite, seed=5).comparisons


def test_rows_are_what_evaluate_gives(table: pd.DataFrame) -> None:
    played = evaluate("v2-lite", "lfru,load-on-demand", 3, 5, **SMALL)
    time = summarise(played, "stall", "lfru", scenario="v2-lite").set_index("policy").loc["load-on-demand"]
    assert (table["metric"][0], table["against_mean"][0]) == ("stall", time["mean"])
    assert table.loc[0, ["ratio", "low", "high"]].to_list() == time[["ratio", "low", "high"]].to_list()
    assert table["ratio"][0] > 1
    hits = summarise(played, "hit_rate", "load-on-demand", scenario="v2-lite").set_index("policy").loc["lfru"]
    assert table.loc[1, ["mean", "ratio", "low", "high"]].to_list() == hits[["mean", "ratio", "low", "high"]].to_list()
    assert table["ratio"][1] > 1


def test_sides_may_play_other_settings(table: pd.DataFrame) -> None:
    bandwidth = [load_platform(f"desktop-rtx{kind}").route("dram", "gpu")[-1].bandwidth for kind in (4090, 3090)]
    # All that differs where so little is computed.
    assert table["ratio"][2] == pytest.approx(bandwidth[0] / bandwidth[1], rel=0.02)
    other = evaluate("v2-lite", "lfru", 3, 5, platform="desktop-rtx3090", **SMALL)
    assert table["against_mean"][2] == other["stall"].mean()
    assert table["figure"].to_list()[2] == 1.5
    assert math.isnan(table["figure"][0])
    assert table["note"].to_list() == ["", "", "x"]


def test_what_several_rows_need_is_played_once(suite: Path) -> None:
    ended: list[int] = []
    totals: set[int] = set()

    def show(count: int, total: int) -> None:
        ended.append(count)
        totals.add(total)

    run_suite(suite, 2, progress=show)
    assert sum(ended) == 3 * 2
    assert totals == {6}


def test_scenarios_are_beside_the_suite(tmp_path: Path) -> None:
    content = load_scenario("v2-lite", **SMALL).model_dump(mode="json")
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content | {"name": "own"}))
    path = written(tmp_path, {**ROW, "scenario": "own.yaml", "set": {}})
    row = run_suite(path, 2, 5).comparisons.loc[0]
    again = written(tmp_path, ROW)
    assert row["ratio"] == run_suite(again, 2, 5).comparisons["ratio"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": "nope"}, "suite 'mine': row 1 (one layer): unknown policy 'nope'"),
        ({"against": "heft"}, "'heft'"),
        ({"scenario": "nope"}, "suite 'mine': row 1 (one layer): unknown scenario 'nope'"),
        ({"against_scenario": "nope"}, "unknown scenario 'nope'"),
        ({"set": {"nope": 1}}, "unknown setting of scenario 'v2-lite': 'nope'"),
        ({"set": {"platform": "nope"}}, "'nope'"),
        ({"set": {"cache_fraction": 0.01}}, "suite 'mine': row 1 (one layer): scenario 'v2-lite': the cache"),
        ({"metric": "fame"}, "suite 'mine': row 1 (one layer): metric: 'fame'"),
        ({"figure": 0}, "rows.0.figure"),
        ({"colour": "red"}, "rows.0.colour"),
        ({"setting": ""}, "rows.0.setting"),
    ],
)
def test_wrong_rows_are_refused_in_one_line(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = written(tmp_path, {**ROW, **change})
    with pytest.raises(HetgymError) as caught:
        run_suite(path, 2, progress=lambda *_: pytest.fail("played"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not valid YAML"),
        ("- 1", "mine.yaml: content"),
        ("", "mine.yaml: content"),
        ("name: mine\nrows: []", "must have contests or rows"),
        ("name: mine", "must have contests or rows"),
        ("name: mine\nepisodes: 0\nrows: []", "episodes"),
    ],
)
def test_broken_files_are_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(HetgymError) as caught:
        load_suite(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_suites_are_refused() -> None:
    with pytest.raises(HetgymError, match=r"unknown suite 'nope': choose one of .*papers-expert-cache.*a path"):
        load_suite("nope")
    with pytest.raises(HetgymError, match=r"nope\.yaml: cannot read this suite"):
        load_suite("nope.yaml")
    with pytest.raises(HetgymError, match="episodes"):
        run_suite("papers-expert-cache", 0)


def test_suites_that_come_with_hetgym_are_valid() -> None:
    suites = {name: load_suite(name) for name in list_suites()}
    assert all(suite.name == name and suite.description for name, suite in suites.items())
    papers = suites["papers-expert-cache"].rows
    assert {row.paper for row in papers} == {"Fate", "HOBBIT", "HybriMoE", "SN40L"}
    published = {(row.paper, row.metric, row.figure) for row in papers if row.figure}
    assert ("Fate", "time_to_first_token", 4.5) in published
    assert ("HybriMoE", "time_per_output_token", 1.7) in published
    assert len({(row.setting, row.policy, row.against, row.metric) for row in papers}) == len(papers)
    for row in papers:
        load_scenario(row.scenario).override(**row.set)
        load_scenario(row.against_scenario or row.scenario).override(**(row.set | row.against_set))


def test_models_are_switched_as_the_bandwidths_say() -> None:
    suite = load_suite("papers-expert-cache")
    rows = tuple(row for row in suite.rows if row.paper == "SN40L")
    table = run_suite(suite.model_copy(update={"rows": rows}), 1).comparisons
    assert table["ratio"].to_list() == pytest.approx([1e12 / 32e9, 1e12 / 64e9], rel=1e-3)


def test_command_prints_a_table(suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv, folder = tmp_path / "rows.csv", ["--output", str(tmp_path / "run")]
    main(["evaluate", "--suite", str(suite), "--csv", str(csv), *folder])
    printed = capsys.readouterr().out
    assert "mine: 3 episodes from seed 0" in printed
    assert "1.5x" in printed
    assert "1: x" in printed
    assert len(pd.read_csv(csv)) == 3
    main(["evaluate", "--suite", str(suite), "--episodes", "1", "--json", *folder])
    content = json.loads(capsys.readouterr().out)
    assert content["episodes"] == 1
    assert content["rows"][0]["low"] is None
    main(["list", "suites", "--json"])
    assert "papers-expert-cache" in json.loads(capsys.readouterr().out)["suites"]


@pytest.mark.parametrize("option", [["--policies", "lru"], ["--scenario", "v2-lite"], ["--sweep", "cache_fraction=1"]])
def test_command_refuses_what_is_not_for_a_suite(
    option: list[str], suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--suite", str(suite), *option])
    assert f"{option[0][2:]}: is not for --suite" in capsys.readouterr().err
