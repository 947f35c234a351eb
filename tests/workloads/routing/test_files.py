"""Routing traces in files: what is written is read, whole or in pieces, and what is wrong is named."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hetgym import HetgymError
from hetgym.workloads.routing import RoutingTrace, load_trace, save_trace, stream_trace

ARRAYS = ("request", "phase", "step", "layer", "experts", "scores", "predicted")
SUFFIXES = (".parquet", ".npz")


def make_trace(
    lengths: list[tuple[int, int]],
    layers: int = 2,
    experts: int = 8,
    top_k: int = 3,
    seed: int = 0,
    extras: bool = True,
) -> RoutingTrace:
    """A trace of requests of so many prefill and decode tokens, routed at random."""
    generator = np.random.default_rng(seed)
    tokens = [
        (3 * number, phase, step)
        for number, phases in enumerate(lengths)
        for phase in (0, 1)
        for step in range(phases[phase])
    ]
    rows = len(tokens) * layers
    request, phase, step = np.repeat(np.array(tokens).T, layers, axis=1)
    ids = np.argsort(generator.random((rows, experts)), axis=1)
    return RoutingTrace(
        "tiny",
        layers,
        experts,
        top_k,
        request,
        phase,
        step,
        np.tile(np.arange(layers), len(tokens)),
        ids[:, :top_k],
        -np.sort(-generator.random((rows, top_k))) if extras else None,
        (ids[:, :4] - 1).reshape(rows, 2, 2) if extras else None,
    )


def assert_same(first: RoutingTrace, second: RoutingTrace) -> None:
    for name in ("model", "num_layers", "num_experts", "top_k"):
        assert getattr(first, name) == getattr(second, name)
    for name in ARRAYS:
        one, other = getattr(first, name), getattr(second, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)


lengths = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(any), min_size=1, max_size=5)


@settings(max_examples=settings.default.max_examples * 2 // 5)
@given(
    lengths=lengths,
    layers=st.integers(1, 3),
    top_k=st.integers(1, 8),
    extras=st.booleans(),
    suffix=st.sampled_from(SUFFIXES),
    rows_per_batch=st.integers(1, 40),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[tuple[int, int]],
    layers: int,
    top_k: int,
    extras: bool,
    suffix: str,
    rows_per_batch: int,
) -> None:
    trace = make_trace(lengths, layers, top_k=top_k, extras=extras)
    path = tmp_path_factory.mktemp("trace") / f"trace{suffix}"
    save_trace(trace, path)
    assert_same(load_trace(path), trace)
    pieces = list(stream_trace(path, rows_per_batch))
    for name in ("request", "phase", "layer", "experts", "scores", "predicted"):
        if getattr(trace, name) is not None:
            assert np.array_equal(np.concatenate([getattr(piece, name) for piece in pieces]), getattr(trace, name))
    assert all(piece.num_rows <= max(rows_per_batch, layers) for piece in pieces)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pieces_are_cut_between_requests_where_they_fit(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"trace{suffix}"
    trace = make_trace([(1, 1), (2, 0), (1, 5), (0, 1), (2, 1)])
    save_trace(trace, path)
    pieces = list(stream_trace(path, 8))
    shown = [list(zip(*(getattr(p, name)[::2].tolist() for name in ("request", "phase", "step")))) for p in pieces]  # noqa: B905
    assert shown == [
        [(0, 0, 0), (0, 1, 0), (3, 0, 0), (3, 0, 1)],
        [(6, 0, 0), (6, 1, 0), (6, 1, 1), (6, 1, 2)],
        [(6, 1, 0), (6, 1, 1), (9, 1, 0)],
        [(12, 0, 0), (12, 0, 1), (12, 1, 0)],
    ]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_writing_replaces_and_leaves_nothing_else(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / f"trace{suffix}"
    save_trace(make_trace([(3, 3)]), path)
    save_trace(make_trace([(1, 1)]), path)
    assert load_trace(path).num_tokens == 2
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    blocked = tmp_path / f"folder{suffix}"
    blocked.mkdir()
    with pytest.raises(HetgymError, match="cannot write this routing trace"):
        save_trace(make_trace([(1, 1)]), blocked)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["deep", f"folder{suffix}"]


def fails(path: Path, message: str) -> None:
    """Loading and streaming both end with this line."""
    for read in (load_trace, lambda path: list(stream_trace(path, 4))):
        with pytest.raises(HetgymError, match=message) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert path.name in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_that_are_none(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"trace{suffix}"
    fails(path, "cannot read this routing trace: No such file")
    path.mkdir()
    fails(path, "cannot read this routing trace: Is a directory")
    path.rmdir()
    path.write_bytes(b"")
    fails(path, "this is not a file of the format (Parquet|npz)")
    path.write_text("request,phase\n0,0\n")
    fails(path, "this is not a file of the format (Parquet|npz)")
    save_trace(make_trace([(50, 50)]), path)
    whole = path.read_bytes()
    for size in (5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        fails(path, "truncated or damaged")
    fails(tmp_path / "trace.csv", "must end in .parquet or .npz")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_files_are_refused_or_harmless(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"trace{suffix}"
    save_trace(make_trace([(5, 5)]), path)
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    messages = []
    for place in generator.integers(len(whole), size=300):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(damaged)
        try:
            load_trace(path)
        except HetgymError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert not any("\n" in message for message in messages)


def rewrite(path: Path, **changes: Any) -> None:
    """Writes a small trace to a file, with some columns or metadata changed, or (None) left out."""
    save_trace(make_trace([(2, 2)]), path)
    if path.suffix == ".npz":
        arrays = {**np.load(path), **changes}
        np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
        return
    table = pq.read_table(path)
    metadata = dict(table.schema.metadata)
    for name, value in changes.items():
        if isinstance(value, pa.Array | pa.ChunkedArray):
            table = table.set_column(table.schema.get_field_index(name), name, value)
        elif name in table.column_names:
            table = table.drop_columns([name])
        elif value is None:
            del metadata[name.encode()]
        else:
            metadata[name.encode()] = str(value).encode()
    pq.write_table(table.replace_schema_metadata(metadata), path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "other"}, "schema: must be 'hetgym-routing-trace'.*given: 'other'"),
        ({"schema": None}, "schema: must be 'hetgym-routing-trace'.*given: None"),
        ({"version": 2}, "version: must be 1.*given: '?2"),
        ({"num_layers": 0}, "num_layers: .*greater than or equal to 1"),
        ({"num_layers": 3}, "layer: row 2 has 0: each token has one row for each layer, 0 to 2"),
        ({"num_experts": None}, "num_experts: Field required"),
        ({"num_experts": 4}, "experts: row [01] has [4-7]: experts are 0 to 3"),
        ({"top_k": 2}, "experts"),
        ({"distances": 0}, "distances is 0 and width 2, with a column 'predicted'"),
        ({"predicted": None}, "distances is 2 and width 2, with no column 'predicted'"),
        ({"width": 3}, "predicted"),
        ({"layer": None}, "there is no column 'layer'"),
        ({"experts": None}, "there is no column 'experts'"),
    ],
)
def test_what_is_wrong_is_named(suffix: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / f"trace{suffix}"
    rewrite(path, **changes)
    fails(path, message)


def test_scores_and_predictions_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "trace.parquet"
    rewrite(path, scores=None)
    assert load_trace(path).scores is None


def lists(values: Any, kind: Any, size: int) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(values, kind), size)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": pa.array([0, 1] * 4)}, "column 'layer' must have the type int16, not int64"),
        ({"request": pa.array(["a"] * 8)}, "column 'request' must have the type int64, not string"),
        ({"experts": pa.array([[0, 1, 2]] * 8)}, "column 'experts' must have the type fixed_size_list.*, not list"),
        ({"experts": lists([0] * 16, pa.int16(), 2)}, r"column 'experts' must have the type .*\[3\], not .*\[2\]"),
        ({"scores": lists([0.0] * 24, pa.float64(), 3)}, "column 'scores' must have the type .*float.*, not .*double"),
        ({"step": pa.array([0, 0, 1, 1, 0, None, 1, 1], pa.int32())}, "column 'step' has no value at row 5"),
        ({"experts": lists([0, 1, 2] * 7 + [0, None, 2], pa.int16(), 3)}, "column 'experts' has no value at row 7"),
        (
            {"experts": pa.array([[0, 1, 2]] * 6 + [None, [0, 1, 2]], pa.list_(pa.int16(), 3))},
            "column 'experts' has no value at row 6",
        ),
        ({"experts": lists([0, 1, 8] * 8, pa.int16(), 3)}, "experts: row 0 has 8: experts are 0 to 7"),
        ({"scores": lists([np.nan] * 24, pa.float32(), 3)}, "scores: row 0 has nan"),
    ],
)
def test_columns_of_parquet(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.parquet"
    rewrite(path, **changes)
    fails(path, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": np.array([0, 1] * 4)}, "array 'layer' must have the type int16 and the shape .*, not int64"),
        ({"layer": np.array([0, 1] * 3, np.int16)}, r"array 'layer' must have .*, not int16 and \(6,\)"),
        ({"experts": np.zeros((3, 8), np.int16).T}, "array 'experts' must be stored row by row"),
        ({"experts": np.array([object()] * 8)}, "array 'experts' holds pickled objects, which are not read"),
        ({"model": np.array(["a", "b"])}, r"'model' must be a single value, not an array of the shape \(2,\)"),
        ({"model": np.array(None, object)}, "array 'model' holds pickled objects"),
        ({"scores": np.full((8, 3), np.nan, np.float32)}, "scores: row 0 has nan"),
        ({"experts": np.full((8, 3), 9, np.int16)}, "experts: row 0 has 9"),
    ],
)
def test_arrays_of_npz(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.npz"
    rewrite(path, **changes)
    fails(path, message)


def test_an_archive_that_is_no_npz(tmp_path: Path) -> None:
    path = tmp_path / "trace.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.npy", "hello")
    fails(path, "truncated or damaged")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # Cut after two tokens, in the decode phase, whose steps then go 0, 1 | 3.
        ([(0, 1, 0), (0, 1, 1), (0, 1, 3)], "step: row 0 has 1: the steps of each phase.*rows counted from 4"),
        ([(0, 1, 0), (0, 1, 1), (0, 0, 0)], "row 4 has prefill after decode"),
        ([(5, 1, 0), (5, 1, 1), (3, 1, 0)], "request: row 4 has 3: requests must be in ascending order"),
    ],
)
def test_pieces_must_follow_one_another(
    suffix: str, changes: list[tuple[int, int, int]], message: str, tmp_path: Path
) -> None:
    path = tmp_path / f"trace{suffix}"
    save_trace(make_trace([(3, 0)]), path)
    new = {
        name: np.repeat(np.array([token[place] for token in changes], dtype), 2)
        for place, (name, dtype) in enumerate((("request", np.int64), ("phase", np.int8), ("step", np.int32)))
    }
    if suffix == ".npz":
        np.savez(path, **{**np.load(path), **new})
    else:
        table = pq.read_table(path)
        for place, (name, column) in enumerate(new.items()):
            table = table.set_column(place, name, pa.array(column))
        pq.write_table(table, path)
    with pytest.raises(HetgymError, match=message):
        list(stream_trace(path, 4))


@pytest.mark.parametrize("group", [2**16, 2**24])
def test_streaming_takes_memory_for_a_piece_only(group: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hetgym.workloads.routing.files.ROWS_PER_GROUP", group)
    path = tmp_path / "trace.parquet"
    tokens, layers, experts, top_k = 60_000, 24, 64, 8
    generator = np.random.default_rng(0)
    sets = np.argsort(generator.random((4096, experts)), axis=1)[:, :top_k].astype(np.int16)
    rows = tokens * layers
    trace = RoutingTrace(
        "big",
        layers,
        experts,
        top_k,
        np.repeat(np.arange(60), rows // 60),
        np.zeros(rows, np.int8),
        np.tile(np.repeat(np.arange(tokens // 60), layers), 60),
        np.tile(np.arange(layers), tokens),
        sets[generator.integers(4096, size=rows)],
        -np.sort(-generator.random((rows, top_k), dtype=np.float32)),
    )
    save_trace(trace, path)
    size = sum(getattr(trace, name).nbytes for name in ARRAYS[:-1])
    code = (
        "import sys, tracemalloc\n"
        "import pyarrow\n"
        "from hetgym.workloads.routing import stream_trace\n"
        "for piece in stream_trace(sys.argv[1]): pass\n"  # loads all code
        "tracemalloc.start()\n"
        "rows = sum(piece.num_rows for piece in stream_trace(sys.argv[2], 2**14))\n"
        "print(rows, tracemalloc.get_traced_memory()[1] + pyarrow.default_memory_pool().max_memory())\n"
    )
    save_trace(make_trace([(1, 1)]), tmp_path / "tiny.parquet")
    command = [sys.executable, "-c", code, str(tmp_path / "tiny.parquet"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    read, peak = map(int, done.stdout.split())
    assert read == rows
    assert peak < size / 4
