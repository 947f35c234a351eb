"""Contests of suites: what they give, what they refuse, and that what is finished is not played again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from hetgym import HetgymError
from hetgym.cli import main
from hetgym.envs import load_scenario
from hetgym.evaluate import evaluate, evaluate_front, gap_closed, load_suite, run_suite, sweep
from hetgym.evaluate.cells import Cell, CellStore, cells_of
from hetgym.evaluate.comparison import aggregate, compare, family_scores
from hetgym.evaluate.launchers import Launcher, LocalLauncher
from hetgym.evaluate.suite import Results

CONTEST = {"scenario": "random", "set": {"num_tasks": 8}, "policies": ["heft", "mct", "random"]}
SWEEP = {"name": "sizes", "scenario": "random", "policies": ["heft", "mct"], "sweep": {"num_tasks": [5, 6]}}
FRONT = {"name": "front", "scenario": "mec-gmorl", "set": {"horizon": 3}, "front": True, "weights": 3}
FRONT["policies"] = ["weighted-greedy", "all-cloud"]


def written(folder: Path, *contests: dict[str, Any], **fields: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "episodes": 70, "contests": list(contests), **fields}))
    return path


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("suite"), CONTEST, SWEEP, FRONT)


@pytest.fixture(scope="module")
def finished(suite: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    folder = tmp_path_factory.mktemp("run")
    return run_suite(suite, folder=folder), folder


class Nowhere(Launcher):
    """Refuses to play."""

    def run(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        assert not items
        return iter(())


class Mortal(Launcher):
    """Dies after so many cells."""

    def __init__(self, lifetime: int) -> None:
        self.lifetime = lifetime

    def run(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        yield from LocalLauncher().run(function, items[: self.lifetime])
        raise KeyboardInterrupt


def without_times(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="decision_seconds").reset_index(drop=True)


def test_contests_are_what_evaluate_gives(finished: tuple[Results, Path]) -> None:
    results, _ = finished
    expected = evaluate("random", "heft,mct,random", 70, num_tasks=8)
    pd.testing.assert_frame_equal(without_times(results.contests[0].table), without_times(expected))
    swept = sweep("random", "heft,mct", {"num_tasks": [5, 6]}, 70)
    pd.testing.assert_frame_equal(without_times(results.sweeps[0].table), without_times(swept))
    front = evaluate_front("mec-gmorl", "weighted-greedy,all-cloud", 3, episodes=70)
    assert list(results.fronts[0].table) == list(front)
    front = evaluate_front(load_scenario("mec-gmorl", horizon=3), "weighted-greedy,all-cloud", 3, episodes=70)
    pd.testing.assert_frame_equal(without_times(results.fronts[0].table), without_times(front))


def test_what_is_finished_is_not_played_again(suite: Path, finished: tuple[Results, Path]) -> None:
    results, folder = finished
    again = run_suite(suite, folder=folder, launcher=Nowhere(), progress=lambda *_: pytest.fail("played"))
    pd.testing.assert_frame_equal(again.episodes, results.episodes)
    # Other seeds, settings or policies are other cells.
    with pytest.raises(AssertionError):
        run_suite(suite, folder=folder, seed=1, launcher=Nowhere())


def test_a_run_that_died_goes_on(suite: Path, finished: tuple[Results, Path], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_suite(suite, folder=tmp_path, launcher=Mortal(4))
    assert len(list((tmp_path / "cells").iterdir())) == 4
    played: list[int] = []
    results = run_suite(suite, folder=tmp_path, progress=lambda ended, _: played.append(ended))
    assert sum(played) == 70 * (3 + 4 + 4) - 2 * 70
    pd.testing.assert_frame_equal(without_times(results.episodes), without_times(finished[0].episodes))
    for path in (tmp_path / "cells").iterdir():
        assert path.read_bytes() == (finished[1] / "cells" / path.name).read_bytes()


def test_a_run_that_was_killed_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path, {**CONTEST, "policies": ["heft", "mct", "best-of-20:heft"]})
    command = [sys.executable, "-m", "hetgym", "evaluate", "--suite", str(path), "--output", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=tmp_path)
    cells = tmp_path / "run" / "cells"
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline and not (cells.exists() and any(cells.iterdir())):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    main(command[3:])
    whole = run_suite(path, folder=tmp_path / "whole")
    kept = pd.read_parquet(tmp_path / "run" / "results.parquet")
    pd.testing.assert_frame_equal(kept, without_times(whole.episodes))


def test_keys_tell_cells_apart() -> None:
    scenario = load_scenario("random", num_tasks=8)
    cell = Cell(scenario, "heft", 0, 10)
    others = [
        Cell(load_scenario("random", num_tasks=9), "heft", 0, 10),
        Cell(scenario, "mct", 0, 10),
        Cell(scenario, "heft", 1, 10),
        Cell(scenario, "heft", 0, 11),
    ]
    assert len({one.key for one in (cell, *others)}) == 5
    assert Cell(load_scenario("random", num_tasks=8), "heft", 0, 10).key == cell.key
    assert [(one.seed, one.episodes) for one in cells_of(scenario, "heft", 130, 5)] == [(5, 64), (69, 64), (133, 2)]


def test_keys_follow_the_files_that_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_policy.py").write_text("def make(): ...")
    monkeypatch.syspath_prepend(tmp_path)
    cell = Cell(load_scenario("random"), "mine_policy:make", 0, 10)
    before = cell.key
    (tmp_path / "mine_policy.py").write_text("def make(): return 1")
    assert Cell(cell.scenario, cell.policy, 0, 10).key != before


def test_policies_are_called_what_they_are_named_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "twins.py").write_text(
        "from hetgym.agents import make_policy\n"
        "def one(): return make_policy('heft')\n"
        "def greedy(): return make_policy('weighted-greedy')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    front = {**FRONT, "policies": ["twins:greedy", "all-cloud"]}
    results = run_suite(written(tmp_path, {**CONTEST, "policies": ["twins:one", "heft"]}, front), 2)
    assert results.contests[0].comparison["policy"].to_list() == ["twins:one", "heft"]
    assert set(results.fronts[0].table["policy"]) == {"twins:greedy", "all-cloud"}


def test_broken_cells_are_named(tmp_path: Path) -> None:
    cell, store = Cell(load_scenario("random", num_tasks=5), "heft", 0, 2), CellStore(tmp_path)
    store.put(cell, cell.play())
    path = tmp_path / "cells" / f"{cell.key}.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(HetgymError, match=f"{path}: not a finished cell"):
        store.read([cell])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policies": ["nope", "heft"]}, "suite 'mine': contest 'random': unknown policy 'nope'"),
        ({"policies": ["heft", "heft"]}, "each can be named once"),
        ({"policies": []}, "contests.0.policies"),
        ({"scenario": "nope"}, "suite 'mine': contest 'nope': unknown scenario 'nope'"),
        ({"set": {"nope": 1}}, "'nope'"),
        ({"metric": "fame"}, "suite 'mine': contest 'random': metric: 'fame'"),
        ({"reference": "lru"}, "reference: 'lru' was not played"),
        ({"oracle": "cp-sat"}, "oracle: 'cp-sat' does not play"),
        ({"front": True}, "has one objective"),
        ({"front": True, "sweep": {"ccr": [1]}}, "make two contests"),
        ({"weights": 3}, "weights: is for a front"),
        ({"sweep": {"nope": [1]}}, "'nope'"),
        ({"sweep": {"ccr": []}}, "ccr has no values"),
        ({"policies": ["pretrained"], "scenario": "fft", "set": {}}, "no checkpoint for scenario 'fft'"),
    ],
)
def test_wrong_contests_are_refused_in_one_line(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(HetgymError) as caught:
        run_suite(written(tmp_path, {**CONTEST, **change}), 2, launcher=Nowhere())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_titles_are_not_used_twice(tmp_path: Path) -> None:
    with pytest.raises(HetgymError, match="'random' is there twice"):
        load_suite(written(tmp_path, CONTEST, CONTEST))


def test_comparisons_say_how_sure_one_can_be(finished: tuple[Results, Path]) -> None:
    played = finished[0].contests[0]
    summary = played.comparison.set_index("policy")
    assert summary["verdict"].to_dict() == {"heft": "reference", "mct": "worse", "random": "worse"}
    assert (summary["wins"] + summary["ties"] + summary["losses"]).to_list() == pytest.approx([1, 1, 1])
    assert summary["iqm"]["heft"] == summary["iqm_low"]["heft"] == 1.0
    assert summary["iqm_low"]["mct"] < summary["iqm"]["mct"] < summary["iqm_high"]["mct"] < 1.0
    assert summary["improvement"]["heft"] == 0.5
    bound = played.table["lower_bound"].mean()
    assert summary["above_bound"]["heft"] == pytest.approx(summary["mean"]["heft"] / bound - 1)
    assert summary["gap_closed"].isna().all()
    twins = played.table[played.table["policy"] == "heft"]
    same = compare(pd.concat([twins, twins.assign(policy="twin")]), scenario=played.scenario).set_index("policy")
    assert same["verdict"]["twin"] == "no difference"
    assert same["p_value"]["twin"] == 1.0


def test_oracles_bound_the_gap() -> None:
    table = evaluate("v2-lite", "lru,lfru,belady", 5, pool="layer", prompt_tokens=4, output_tokens=16)
    summary = compare(table, "hit_rate", "lru", "belady", scenario="v2-lite").set_index("policy")
    assert summary.loc[["lru", "belady"], "gap_closed"].to_list() == [0.0, 1.0]
    assert summary["gap_closed"]["lfru"] == pytest.approx(gap_closed(table)["gap_closed"][1])
    assert summary["clairvoyant"].to_dict() == {"lru": False, "lfru": False, "belady": True}
    assert summary["above_bound"].isna().all()


def test_families_are_summed_up_over_what_all_played(tmp_path: Path) -> None:
    other = {"name": "other", "scenario": "random", "set": {"num_tasks": 6}, "policies": ["mct", "heft"]}
    results = run_suite(written(tmp_path, CONTEST, {**other, "episodes": 20}))
    scored = family_scores(results.contests)
    assert scored.policies == ("heft", "mct")
    assert [len(score) for score in scored.score] == [70, 20]
    summed = aggregate(scored).set_index("policy")
    assert summed.loc["heft", ["iqm", "low", "high", "improvement"]].to_list() == pytest.approx([1.0, 1.0, 1.0, 0.5])
    assert summed["low"]["mct"] < summed["iqm"]["mct"] < summed["high"]["mct"] < 1.0
    halves = [(score[:, 1] > 1).mean() + (score[:, 1] == 1).mean() / 2 for score in scored.score]
    assert summed["improvement"]["mct"] == pytest.approx(sum(halves) / 2)


def test_command_writes_results_and_says_where(
    suite: Path, finished: tuple[Results, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = finished[1]
    main(["evaluate", "--suite", str(suite), "--output", str(folder)])
    printed = capsys.readouterr().out
    assert "random: makespan, 70 episodes from seed 0" in printed
    assert "hyper" in printed
    assert "num_tasks" in printed
    results, times = (pd.read_parquet(folder / f"{name}.parquet") for name in ("results", "times"))
    assert "decision_seconds" not in results
    assert len(results) == len(times) == 70 * (3 + 4 + 4)
