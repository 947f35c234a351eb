"""``hetgym evaluate --front``: what it prints, what it writes, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from hetgym.cli import main
from hetgym.evaluate import hypervolume

PNG = b"\x89PNG"

FRONT = ["evaluate", "--front", "--scenario", "mec-gmorl", "--set", "horizon=20", "--episodes", "3",
         "--metric", "delay,energy", "--weights", "3", "--policies", "weighted-greedy,random"]  # fmt: skip


def test_front_prints_a_table_and_writes_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv, plot = tmp_path / "front.csv", tmp_path / "pictures" / "front.png"
    main([*FRONT, "--csv", str(csv), "--plot", str(plot), "--reference", "random"])
    printed = capsys.readouterr().out
    assert "mec-gmorl: delay, energy; 3 weight vectors, 3 episodes from seed 0 for each" in printed
    (row,) = [line.split() for line in printed.splitlines() if line.split()[:1] == ["random"]]
    assert (row[1], row[6]) == ("1/1", "1.000")
    table = pd.read_csv(csv)
    assert len(table) == (3 + 1) * 3
    # Without --reference-point, it is a tenth of the spread below the worst.
    means = table.groupby(["policy", "weight_delay"], dropna=False)[["return_delay", "return_energy"]].mean()
    place = means.min() - 0.1 * (means.max() - means.min())
    assert f"delay {place['return_delay']:.5g}, energy {place['return_energy']:.5g}" in printed
    assert float(row[2]) == pytest.approx(hypervolume(means.loc[["random"]], place), rel=1e-4)
    assert plot.read_bytes().startswith(PNG)


def test_front_json_is_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    main([*FRONT, "--family", "both=weighted-greedy,random", "--reference-point", "-1000,-1e4", "--json"])
    content = json.loads(capsys.readouterr().out)
    assert content["objectives"] == ["delay", "energy"]
    assert content["weights"] == [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
    assert content["reference_point"] == [-1000.0, -10000.0]
    assert [row["policy"] for row in content["summary"]] == ["weighted-greedy", "random", "both"]
    points = pd.DataFrame(content["points"])
    assert points["member"].tolist() == [*["weighted-greedy"] * 3, "random"] * 2
    for row in content["summary"]:
        own = points.loc[points["policy"] == row["policy"], ["return_delay", "return_energy"]]
        assert row["points"] == len(own)
        assert row["hypervolume"] == pytest.approx(hypervolume(own, [-1000, -10000]), rel=1e-9)
        assert row["hypervolume_low"] <= row["hypervolume"] <= row["hypervolume_high"]


def test_families_alone_can_be_compared(capsys: pytest.CaptureFixture[str]) -> None:
    main([*FRONT[:-2], "--family", "chance=random", "--reference-point", "-1e-9,-1e-9"])
    printed = capsys.readouterr().out
    assert "chance: 1 of 1 points are below the reference point, and add nothing" in printed
    assert "weighted-greedy" not in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sweep", "horizon=10,20"], "sweep: is not for --front"),
        (["--gantt", "x.png"], "gantt: is not for --front"),
        (["--adversarial", "heft", "cpop"], "adversarial: is not for --front"),
        (["--set", "weights=[1,0,0]"], "set: weights is what --front varies"),
        (["--metric", "delay"], "objectives: must be at least 2"),
        (["--metric", "delay,fame"], "'fame'"),
        (["--weights", "1"], "weights: must be from 2"),
        (["--reference-point", "-1"], "reference_point: must be 2 numbers"),
        (["--reference-point", "a,b"], "reference_point: must be numbers, comma-separated (given: 'a,b')"),
        (["--reference-point", "nan,1"], "reference_point: must be finite"),
        (["--family", "random"], "family: 'random' is not of the form NAME=A,B,C"),
        (["--family", "random=random"], "family: 'random' is compared twice"),
        (["--family", "chance=nope"], "unknown policy 'nope'"),
        (["--reference", "heft"], "reference: 'heft' was not played"),
        (["--plot", "x.docx"], "x.docx"),
    ],
)
def test_bad_input_gives_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hetgym.cli_front.evaluate_front", lambda *_, **__: pytest.fail("played"))
    with pytest.raises(SystemExit) as ended:
        main([*FRONT, *arguments])
    assert ended.value.code == 2
    printed = capsys.readouterr().err.strip()
    assert printed.startswith("hetgym: error: ")
    assert message in printed
    assert "\n" not in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--front"], "scenario 'random': has one objective, so no front"),
        (["--front", "--suite", "expert-cache"], "front: is not for --suite"),
        (["--weights", "3"], "weights: is for --front"),
        (["--reference-point", "-1,-1"], "reference_point: is for --front"),
        (["--family", "a=random"], "family: is for --front"),
    ],
)
def test_front_is_for_scenarios_with_objectives(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
