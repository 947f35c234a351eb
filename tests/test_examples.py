"""The examples run, and what they print is what they promise."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def printed_rows(name: str, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, float]]:
    """Runs an example; returns the numbers that its table prints, by policy."""
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    header = next(place for place, row in enumerate(rows) if row[:1] == ["policy"])
    table = [row for row in rows[header + 1 :] if len(row) == len(rows[header])]
    return {row[0]: dict(zip(rows[header][1:], map(float, row[1:]), strict=True)) for row in table}


def test_imitation_comes_near_the_optimum(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = printed_rows("sac_offloading.py", capsys)
    assert list(rows) == ["all-edge", "all-local", "partial-split", "convex", "sac:runs/partial"]
    assert 1 < rows["sac:runs/partial"]["ratio"] < 1.03


def test_morl_follows_the_weights(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("morl_baselines", reason="needs morl-baselines")
    monkeypatch.chdir(tmp_path)
    rows = printed_rows("morl.py", capsys)
    assert list(rows) == ["weighted-greedy", "random", "envelope"]
    assert rows["envelope"]["cardinality"] > 1
    assert rows["envelope"]["ratio"] > 2 * rows["random"]["ratio"]
