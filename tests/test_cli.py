"""The command: what it prints, what it writes, and how it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from hetgym.cli import main
from hetgym.workloads import TaskGraph, write_wfformat

PNG = b"\x89PNG"


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    path = tmp_path / "chain.json"
    write_wfformat(TaskGraph("chain", ("cpu",), [[3.0], [2.0]], [[0], [1]], [1e6], ("first", "second")), path)
    return path


def test_list_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list", "--json"])
    listed = json.loads(capsys.readouterr().out)
    assert {"random", "heft-paper", "peft-paper"} <= set(listed["scenarios"])
    assert {"heft", "peft", "min-min", "mct", "random"} <= set(listed["policies"])
    assert {"heft-paper", "peft-paper", "four-workers"} <= set(listed["platforms"])
    ids = ("TaskGraphPlan", "TaskGraphDispatch", "ExpertCache", "Offload", "OffloadContinuous", "MOOffload")
    assert set(listed["environments"]) == {f"hetgym/{name}-v0" for name in ids}
    assert all(listed["policies"].values())
    main(["list", "platforms"])
    shown = capsys.readouterr().out
    assert "four-workers" in shown
    assert "scenarios" not in shown


def test_evaluate_prints_a_table_and_writes_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv, gantt = tmp_path / "deep" / "results.csv", tmp_path / "schedule.png"
    main(["evaluate", "--scenario", "heft-paper", "--policies", "heft,min-min", "--episodes", "1",
          "--csv", str(csv), "--gantt", str(gantt), "--gantt-policy", "min-min"])  # fmt: skip
    assert "min-min" in capsys.readouterr().out
    assert pd.read_csv(csv)["makespan"].tolist() == [80.0, 76.0]
    assert gantt.read_bytes().startswith(PNG)
    assert {path.name for path in tmp_path.iterdir()} == {"deep", "schedule.png"}


def test_evaluate_json_is_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", "--scenario", "peft-paper", "--policies", "peft,heft", "--episodes", "1", "--json"])
    content = json.loads(capsys.readouterr().out)
    assert [row["mean"] for row in content["summary"]] == [122.0, 133.0]
    assert content["summary"][0]["low"] is None


def test_evaluate_takes_a_workflow_and_another_platform(workflow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", "--scenario", str(workflow), "--policies", "heft", "--episodes", "1", "--json"])
    # Both tasks on the 3.0 GHz worker, 1.25 times the reference clock.
    assert json.loads(capsys.readouterr().out)["summary"][0]["mean"] == pytest.approx(5.0 / 1.25)


def test_worst_case_is_written_drawn_and_played_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario, gantt, csv = tmp_path / "found" / "worst.yaml", tmp_path / "worst.png", tmp_path / "history.csv"
    search = [
        "evaluate",
        "--adversarial",
        "cpop",
        "heft",
        "--set",
        "num_tasks=5",
        "--episodes",
        "3",
        "--iterations",
        "20",
    ]
    main([*search, "--output", str(scenario), "--gantt", str(gantt), "--csv", str(csv)])
    printed = capsys.readouterr().out
    assert "makespan of cpop is " in printed
    assert gantt.read_bytes().startswith(PNG)
    history = pd.read_csv(csv)
    assert history["iteration"].tolist() == list(range(21))
    main([*search, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["ratio"] == history["ratio"].iloc[-1] > 1
    assert (found["adversarial"], found["metric"]) == (["cpop", "heft"], "makespan")
    again = printed[printed.index("hetgym evaluate") :].split()[1:]
    main([*again, "--json"])
    played = json.loads(capsys.readouterr().out)["summary"]
    assert played[0]["mean"] / played[1]["mean"] == pytest.approx(found["ratio"], rel=1e-9)


ORACLE = """
from hetgym.agents import make_policy

def make():
    policy = make_policy("lookahead")
    policy.name, policy.clairvoyant = "seer", True
    return policy
"""

SWEEP = ["evaluate", "--sweep", "ccr=0.5:1.5:0.5", "--sweep", "num_tasks=4,8", "--episodes", "3"]


@pytest.fixture
def oracle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "an_oracle_of_the_cli.py").write_text(ORACLE)
    monkeypatch.syspath_prepend(tmp_path)
    return "an_oracle_of_the_cli:make"


def test_sweep_prints_a_table_and_writes_files(oracle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv, plot = tmp_path / "sweep.csv", tmp_path / "pictures" / "sweep.png"
    main([*SWEEP, "--policies", f"{oracle},heft,random", "--metric", "utilisation,makespan",
          "--csv", str(csv), "--plot", str(plot)])  # fmt: skip
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    assert ["ccr", "num_tasks", "seer*", "heft", "random"] in lines
    assert "random: utilisation, 3 episodes from seed 0 in each cell" in printed
    assert "* reads the future" in printed
    table = pd.read_csv(csv)
    assert table["ccr"].drop_duplicates().tolist() == [0.5, 1.0, 1.5]
    assert len(table) == 6 * 3 * 3
    cell = table[(table["ccr"] == 0.5) & (table["num_tasks"] == 8)].groupby("policy")["utilisation"].mean()
    (row,) = [line for line in lines if line[:2] == ["0.5", "8"]]
    assert [float(word) for word in row[2:]] == pytest.approx(cell[["seer", "heft", "random"]].tolist(), rel=1e-4)
    assert plot.read_bytes().startswith(PNG)


def test_sweep_is_as_wide_as_it_must_be(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    policies = ["heft", "peft", "best-of-2:lookahead", "min-min", "mct", "random"]
    arguments = ["evaluate", "--sweep", "num_tasks=4,5", "--episodes", "2", "--policies", ",".join(policies)]
    main(arguments)
    whole = capsys.readouterr().out.splitlines()
    assert sum("num_tasks" in line for line in whole) == 1
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setattr(Console, "width", 60)
    main(arguments)
    parts = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert sum("num_tasks" in line for line in parts) == 2
    assert max(map(len, parts)) <= 60
    assert "…" not in "".join(parts)


def test_sweep_json_is_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    main([*SWEEP, "--policies", "heft,mct", "--reference", "mct", "--metric", "makespan,return", "--json"])
    content = json.loads(capsys.readouterr().out)
    assert content["sweep"] == {"ccr": [0.5, 1.0, 1.5], "num_tasks": [4, 8]}
    assert content["metrics"] == ["makespan", "return"]
    assert len(content["summary"]) == 2 * 6 * 2
    first, second = content["summary"][:2]
    assert (first["ccr"], first["num_tasks"], first["policy"], first["metric"]) == (0.5, 4, "heft", "makespan")
    assert first["ratio"] == pytest.approx(first["mean"] / second["mean"])
    assert first["mean_low"] <= first["mean"] <= first["mean_high"]


def test_words_of_one_sweep_are_settings_too(capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", "--sweep", "ccr=1,2", "num-tasks=4", "--episodes", "1", "--policies", "heft", "--json"])
    assert json.loads(capsys.readouterr().out)["sweep"] == {"ccr": [1, 2], "num_tasks": [4]}


def test_train_then_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    main(["train", "--steps", "200", "--num-envs", "4", "--rollout", "20", "--hidden", "8", "--rounds", "1",
          "--held-out", "4", "--output", str(run), "--set", "num_tasks=5", "num_devices=2"])  # fmt: skip
    assert (run / "curve.png").read_bytes().startswith(PNG)
    assert str(run) in capsys.readouterr().out
    main(["evaluate", "--policies", f"heft,ppo:{run}", "--episodes", "3", "--json"])
    assert len(json.loads(capsys.readouterr().out)["summary"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--scenario", "nope"], "unknown scenario 'nope'"),
        (["evaluate", "--policies", "nope"], "unknown policy 'nope'"),
        (["evaluate", "--policies", "ppo:/nowhere"], "no checkpoint here"),
        (["evaluate", "--policies", "no.such.module:thing"], "no.such.module"),
        (["evaluate", "--set", "num_tasks=0"], "num_tasks"),
        (["evaluate", "--set", "num_tasks=[1"], "num_tasks"),
        (["evaluate", "--metric", "fame"], "metric"),
        (["evaluate", "--scenario", "nowhere.json"], "nowhere.json"),
        (["evaluate", "--scenario", "nowhere.yaml"], "nowhere.yaml"),
        (["evaluate", "--episodes", "2", "--gantt", "x.png", "--gantt-episode", "2"], "gantt_episode"),
        (["evaluate", "--episodes", "1", "--policies", "heft", "--gantt", "x.docx"], "x.docx"),
        (["evaluate", "--set", "self=1"], "'self'"),
        (["evaluate", "--sweep", "ccr"], "NAME=START:STOP:STEP"),
        (["evaluate", "--sweep", "ccr=1:2:0"], "steps of 0"),
        (["evaluate", "--sweep", "ccr="], "ccr has no values"),
        (["evaluate", "--sweep", "nope=1"], "'nope'"),
        (["evaluate", "--sweep", "self=1"], "'self'"),
        (["evaluate", "--sweep", "ccr=1,-1"], "ccr"),
        (["evaluate", "--sweep", "ccr=1", "--sweep", "ccr=2"], "ccr is given twice"),
        (["evaluate", "--sweep", "ccr=1", "--set", "ccr=2"], "ccr is given twice"),
        (["evaluate", "--sweep", "ccr=1:101:1", "--sweep", "num_tasks=1:100:1"], "at most 10,000 cells"),
        (["evaluate", "--sweep", "ccr=1", "--policies", "heft", "--metric", "makespan,fame"], "'fame'"),
        (["evaluate", "--sweep", "ccr=1", "--policies", "heft", "--reference", "peft"], "'peft' was not played"),
        (["evaluate", "--sweep", "ccr=1", "--policies", "heft", "--plot", "x.docx"], "x.docx"),
        (["evaluate", "--sweep", "ccr=1", "--sweep", "pool=1:49:1", "--policies", "heft", "--plot", "x.png"], "panels"),
        (["evaluate", "--sweep", "ccr=1", "--gantt", "x.png"], "gantt"),
        (["evaluate", "--sweep", "ccr=1", "--adversarial", "heft", "cpop"], "adversarial"),
        (["evaluate", "--plot", "x.png"], "plot: is for --sweep"),
        (["evaluate", "--policies", "heft", "--episodes", "1", "--metric", "makespan,energy"], "'makespan,energy'"),
        (["train", "--steps", "-1"], "steps"),
        (["evaluate", "--output", "x.yaml"], "output"),
        (["evaluate", "--adversarial", "heft", "nope"], "unknown policy 'nope'"),
        (["evaluate", "--adversarial", "heft", "heft"], "'heft' twice"),
        (["evaluate", "--adversarial", "heft", "eft"], "mode 'dispatch'"),
        (["evaluate", "--adversarial", "heft", "cpop", "--iterations", "0"], "iterations"),
        (["evaluate", "--adversarial", "heft", "cpop", "--episodes", "0"], "episodes"),
        (["evaluate", "--adversarial", "heft", "cpop", "--policies", "heft"], "policies"),
        (["evaluate", "--adversarial", "heft", "cpop", "--metric", "fame"], "metric"),
        (["evaluate", "--adversarial", "heft", "cpop", "--output", "x.png"], "x.png"),
    ],
)
def test_bad_input_gives_one_line_and_status_2(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    printed = capsys.readouterr().err.strip()
    assert printed.startswith("hetgym: error: ")
    assert message in printed
    assert "\n" not in printed


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda text: text[: len(text) // 2], "JSON"),
        (lambda text: text.replace('"1.5"', '"1.4"'), "schemaVersion"),
        (lambda text: text.replace('"runtimeInSeconds": 3.0', '"runtimeInSeconds": -3.0'), "runtimeInSeconds"),
        (lambda text: text.replace('"parents": [\n      "first"', '"parents": [\n      "ghost"'), "ghost"),
        (lambda text: text.replace('"parents": []', '"parents": ["second"]'), "cycle"),
    ],
)
def test_broken_workflows_give_one_line_and_status_2(
    workflow: Path, broken: object, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = workflow.read_text()
    changed = broken(text)  # type: ignore[operator]
    assert changed != text
    workflow.write_text(changed)
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--scenario", str(workflow), "--episodes", "1"])
    assert ended.value.code == 2
    printed = capsys.readouterr().err.strip()
    assert printed.startswith(f"hetgym: error: {workflow}")
    assert message in printed
    assert "\n" not in printed


def test_unknown_option_ends_with_status_2() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--bogus", "1"])
    assert ended.value.code == 2
