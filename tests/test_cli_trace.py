"""The trace command: what it prints, what it writes, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hetgym.cli import main
from hetgym.workloads.routing import generate_trace, load_trace, save_trace, trace_statistics

PNG = b"\x89PNG"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "trace.parquet"
    trace = generate_trace("mixtral-8x7b", 4, 10, 20, recall=0.8, prediction_distance=2)
    save_trace(trace, path)
    return path


def test_generate_writes_what_the_generator_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "deep" / "trace.npz"
    main(["trace", "generate", "--model", "mixtral-8x7b", "--requests", "2", "--prompt-tokens", "3",
          "--output-tokens", "4", "--seed", "5", "--output", str(output)])  # fmt: skip
    assert f"{output}: 14 tokens, 32 layers" in capsys.readouterr().out
    trace, expected = load_trace(output), generate_trace("mixtral-8x7b", 2, 3, 4, 5)
    assert np.array_equal(trace.experts, expected.experts)
    assert trace.request_ids.tolist() == [0, 1]


def test_stats_prints_a_table_and_writes_files(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv, plot = path.parent / "deep" / "layers.csv", path.parent / "layers.png"
    main(["trace", "stats", str(path), "--csv", str(csv), "--plot", str(plot)])
    lines = capsys.readouterr().out.splitlines()
    assert "mixtral-8x7b: 4 requests, 40 + 80 tokens" in lines[0]
    assert max(map(len, lines)) <= 80
    table = trace_statistics(load_trace(path))
    mean = next(line for line in lines if "mean" in line)
    assert mean.split()[1:4] == [f"{table[name].mean():.3f}" for name in ("srp", "sch", "overlap")]
    assert plot.read_bytes().startswith(PNG)
    written = pd.read_csv(csv, index_col="layer")
    pd.testing.assert_frame_equal(written, table)
    assert {found.name for found in path.parent.iterdir()} == {"deep", "layers.png", "trace.parquet"}


def test_stats_json_is_for_scripts(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["trace", "stats", str(path), "--json", "--segment", "4", "--cache-ratio", "3"])
    content = json.loads(capsys.readouterr().out)
    assert content["summary"]["segment"] == 4
    assert content["summary"]["cache_experts"] == 6
    assert [row["layer"] for row in content["layers"]] == list(range(32))
    assert content["layers"][31]["predicted_recall_1"] is None
    table = trace_statistics(load_trace(path), 4, 3.0)
    assert [row["sch"] for row in content["layers"]] == pytest.approx(table["sch"].tolist())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stats", "nothing.parquet"], "nothing.parquet: cannot read this routing trace: No such file"),
        (["stats", "trace.csv"], "trace.csv: the name of a routing trace's file must end in .parquet or .npz"),
        (["stats", "{path}", "--segment", "0"], "segment: must be from 1 to 1024 tokens (given: 0)"),
        (["stats", "{path}", "--cache-ratio", "0.5"], "cache_ratio: must be 1 or more (given: 0.5)"),
        (["stats", "{path}", "--plot", "{path}.xyz"], "cannot write a figure in the format '.xyz'"),
        (["stats", "{path}", "--csv", "{path}/layers.csv"], "cannot write this table"),
        (["generate", "--model", "mixtral-8x7b", "--output", "trace.txt"], "must end in .parquet or .npz"),
        (["generate", "--model", "gpt", "--output", "trace.npz"], "unknown mixture-of-experts model 'gpt'"),
        (["generate", "--model", "mixtral-8x7b", "--requests", "0", "--output", "trace.npz"], "requests"),
    ],
)
def test_bad_input_ends_with_one_line(
    arguments: list[str],
    message: str,
    path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(path.parent)
    with pytest.raises(SystemExit) as ended:
        main(["trace", *(word.format(path=path) for word in arguments)])
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith("hetgym: error: ")
    assert printed.err.count("\n") == 1
    assert [found.name for found in path.parent.iterdir()] == ["trace.parquet"]
