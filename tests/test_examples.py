"""The examples run, and what they print is what they promise."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"


Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs an example in an empty folder; returns what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        torch.set_num_threads(threads)
        return capsys.readouterr().out

    return run


def rows(printed: str) -> dict[str, dict[str, float]]:
    """The numbers of the tables that an example prints, by policy."""
    lines = [line.split() for line in printed.splitlines()]
    found: dict[str, dict[str, float]] = {}
    header: list[str] = []
    for line in lines:
        if line[:1] == ["policy"]:
            header = line
        elif header and len(line) == len(header):
            found[line[0]] = dict(zip(header[1:], map(float, line[1:]), strict=True))
    return found


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_every_example_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), path
    assert f"python examples/{path.name}" in path.read_text()


def test_sb3_learns_in_ten_lines(run: Run) -> None:
    code = (EXAMPLES / "sb3_ppo.py").read_text().split('"""')[2]
    assert len([line for line in code.splitlines() if line]) <= 10
    before, after = map(float, re.findall(r": (-\d\.\d+)", run("sb3_ppo.py", "40960")))
    assert after > before + 0.1


def test_cleanrls_ppo_learns_within_a_minute(run: Run) -> None:
    assert "hetgym.agents" not in (EXAMPLES / "cleanrl_ppo.py").read_text()
    *learning, unseen = map(
        float, re.findall(r"(\d\.\d{3})$", run("cleanrl_ppo.py", "--steps", "100000"), re.MULTILINE)
    )
    assert learning[0] > 1.5
    assert learning[-1] < 1.4
    assert unseen < 1.3


def test_own_policy_joins_a_comparison(run: Run) -> None:
    table = rows(run("own_policy.py", "--episodes", "50"))
    assert list(table) == ["heft", "peft", "mct", "urgent-first"]
    assert table["urgent-first"]["ratio"] < table["mct"]["ratio"]


def test_own_traces_are_scenarios(run: Run) -> None:
    table = rows(run("own_trace.py", "--folder", "traces"))
    names = {"routing.parquet", "routing.yaml", "requests.csv", "requests.yaml", "workflow.json"}
    assert {path.name for path in Path("traces").iterdir()} == names
    assert table["heft"]["mean"] < table["min-min"]["mean"]
    assert table["belady"]["mean"] > table["lfu"]["mean"] > 0.5
    assert table["weighted-greedy"]["mean"] < table["all-local"]["mean"]


def test_imitation_comes_near_the_optimum(run: Run) -> None:
    table = rows(run("sac_offloading.py"))
    assert list(table) == ["all-edge", "all-local", "partial-split", "convex", "sac:runs/partial"]
    assert 1 < table["sac:runs/partial"]["ratio"] < 1.03


def test_morl_follows_the_weights(run: Run) -> None:
    pytest.importorskip("morl_baselines", reason="needs morl-baselines")
    table = rows(run("morl.py"))
    assert list(table) == ["weighted-greedy", "random", "envelope"]
    assert table["envelope"]["cardinality"] > 1
    assert table["envelope"]["ratio"] > 2 * table["random"]["ratio"]
