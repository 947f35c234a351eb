"""Routing traces in files: Parquet, or npz.

A file has one row for each row of the trace, with the columns ``request`` (int64), ``phase`` (int8), ``step`` (int32),
``layer`` (int16), ``experts`` (k of int16) and, where they are known, ``scores`` (k of float32) and ``predicted``
(D x m of int16, distance by distance). What all rows have in common is in the metadata of the Parquet schema, and in
arrays without dimensions in npz: ``schema``, ``version``, ``model``, ``num_layers``, ``num_experts``, ``top_k``, and D
and m as ``distances`` and ``width``, 0 where nothing is predicted.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import HetgymError, one_line, replacing
from .trace import MAX_COUNT, RoutingTrace

SCHEMA = "hetgym-routing-trace"
VERSION = 1

ROWS_PER_GROUP = 2**16
"""Rows in a row group of a Parquet file: what a reader has to hold at least."""

ROWS_PER_BATCH = 2**18

_PLAIN = {"request": np.int64, "phase": np.int8, "step": np.int32, "layer": np.int16}
_LISTS = {"experts": np.int16, "scores": np.float32, "predicted": np.int16}
_REQUIRED = (*_PLAIN, "experts")

Columns = dict[str, NDArray[Any]]
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
CountOrZero = Annotated[int, Field(ge=0, le=MAX_COUNT)]


class _Header(BaseModel):
    """What all rows of a file have in common."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: Annotated[str, Field(min_length=1)]
    num_layers: Count
    num_experts: Count
    top_k: Count
    distances: CountOrZero = 0
    width: CountOrZero = 0

    @classmethod
    def of(cls, trace: RoutingTrace) -> _Header:
        distances, width = (0, 0) if trace.predicted is None else trace.predicted.shape[1:]
        return cls(
            model=trace.model,
            num_layers=trace.num_layers,
            num_experts=trace.num_experts,
            top_k=trace.top_k,
            distances=distances,
            width=width,
        )

    @classmethod
    def parse(cls, values: dict[str, Any], path: Path) -> _Header:
        """Returns the header that a file's metadata give."""
        if values.get("schema") != SCHEMA:
            raise HetgymError(f"{path}: schema: must be {SCHEMA!r} (given: {values.get('schema')!r})")
        if str(values.get("version")) != str(VERSION):
            raise HetgymError(f"{path}: version: must be {VERSION} (given: {values.get('version')!r})")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise one_line(error, str(path)) from error

    def values(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "version": VERSION, **self.model_dump()}

    def list_size(self, column: str) -> int:
        return self.distances * self.width if column == "predicted" else self.top_k

    def trace(self, columns: Columns) -> RoutingTrace:
        lists = dict(columns)
        if "predicted" in lists:
            lists["predicted"] = lists["predicted"].reshape(-1, self.distances, self.width)
        return RoutingTrace(self.model, self.num_layers, self.num_experts, self.top_k, **lists)


def save_trace(trace: RoutingTrace, path: Path | str) -> None:
    """Writes a trace to a file, in a folder that is made if need be. It is replaced atomically.

    Args:
        trace: The trace.
        path: The file; its name ends in .parquet or .npz.

    Raises:
        HetgymError: If the name ends otherwise, or the file cannot be written.
    """
    path = Path(path)
    kind = check_trace_path(path)
    header = _Header.of(trace)
    columns: Columns = {name: getattr(trace, name) for name in _PLAIN}
    for name in _LISTS:
        array = getattr(trace, name)
        if array is not None:
            columns[name] = array.reshape(trace.num_rows, -1)
    with replacing(path, "routing trace") as partial:
        if kind == ".npz":
            with partial.open("wb") as file:
                np.savez_compressed(file, allow_pickle=False, **header.values(), **columns)
            return
        arrays = {
            name: pa.array(column)
            if column.ndim == 1
            else pa.FixedSizeListArray.from_arrays(pa.array(column.reshape(-1)), column.shape[1])
            for name, column in columns.items()
        }
        table = pa.table(arrays, metadata={name: str(value) for name, value in header.values().items()})
        pq.write_table(table, partial, row_group_size=ROWS_PER_GROUP, compression="zstd", write_page_checksum=True)


def load_trace(path: Path | str) -> RoutingTrace:
    """Returns the trace in a file.

    Args:
        path: The file; its name ends in .parquet or .npz.

    Raises:
        HetgymError: If it cannot be read, is not a routing trace, or what it says is not valid.
    """
    path = Path(path)
    header, batches = None, []
    for header, columns in _read(path, ROWS_PER_BATCH):  # noqa: B007
        batches.append(columns)
    if header is None:
        raise HetgymError(f"{path}: there are no rows")
    columns = {name: np.concatenate([batch.pop(name) for batch in batches]) for name in list(batches[0])}
    return _checked(header, columns, path, 0)


def stream_trace(path: Path | str, rows_per_batch: int = ROWS_PER_BATCH) -> Iterator[RoutingTrace]:
    """Gives the trace in a file piece by piece, without ever holding all of it.

    A piece has as many whole requests as fit. A request that alone does not fit is cut into as many whole tokens as
    do: the pieces that it is in follow one another and have its number, and each counts its steps from 0, so that
    it is a valid trace by itself. The last of them may go on with the requests that follow.

    Args:
        path: The file; its name ends in .parquet or .npz.
        rows_per_batch: The most rows in a piece (but at least one token's).

    Raises:
        HetgymError: If the file cannot be read, is not a routing trace, or what it says is not valid; this is
            known when the piece in question is asked for.
    """
    path = Path(path)
    if rows_per_batch < 1:
        raise HetgymError(f"rows_per_batch: must be above 0 (given: {rows_per_batch})")
    waiting: Columns = {}
    cutter = None
    for header, columns in _read(path, rows_per_batch):
        cutter = cutter or _Cutter(path, header, rows_per_batch)
        waiting = {name: np.concatenate((waiting[name], columns[name])) for name in columns} if waiting else columns
        # One row more than fit shows where a request ends.
        while len(waiting["request"]) > cutter.most_rows:
            piece, waiting = cutter.cut(waiting)
            yield piece
    if cutter is None:
        raise HetgymError(f"{path}: there are no rows")
    piece, _ = cutter.cut(waiting)
    yield piece


class _Cutter:
    """Cuts rows into pieces that are traces."""

    def __init__(self, path: Path, header: _Header, rows_per_batch: int) -> None:
        self.most_rows = max(rows_per_batch // header.num_layers, 1) * header.num_layers
        self._path = path
        self._header = header
        self._first_row = 0
        self._last: tuple[int, int, int] | None = None  # request, phase and step of the row before

    def cut(self, columns: Columns) -> tuple[RoutingTrace, Columns]:
        """Returns the piece at the beginning of some rows, and the other rows."""
        request = columns["request"]
        size = min(len(request), self.most_rows)
        if size < len(request) and request[size] == request[size - 1]:
            ends = np.flatnonzero(request[1:size] != request[: size - 1])
            size = int(ends[-1]) + 1 if len(ends) else size
        piece = {name: column[:size].copy() for name, column in columns.items()}
        last = int(request[size - 1]), int(columns["phase"][size - 1]), int(columns["step"][size - 1])
        self._continue(piece)
        trace = _checked(self._header, piece, self._path, self._first_row)
        self._first_row += size
        self._last = last
        return trace, {name: column[size:] for name, column in columns.items()}

    def _continue(self, piece: Columns) -> None:
        """Checks that a piece follows the one before, and counts the steps of a request that was cut from 0."""
        if self._last is None:
            return
        request, phase, step = self._last
        where = f"{self._path}: request: row {self._first_row} has"
        if piece["request"][0] < request:
            raise HetgymError(f"{where} {piece['request'][0]}: requests must be in ascending order")
        if piece["request"][0] > request:
            return
        if piece["phase"][0] < phase:
            raise HetgymError(f"{where} prefill after decode: a request's prefill must come before its decode")
        same = (piece["request"] == request) & (piece["phase"] == phase)
        piece["step"][same] -= step + 1


def check_trace_path(path: Path) -> str:
    """Returns the suffix of a trace's file, .parquet or .npz.

    Raises:
        HetgymError: If the name ends otherwise.
    """
    if path.suffix not in {".parquet", ".npz"}:
        raise HetgymError(f"{path}: the name of a routing trace's file must end in .parquet or .npz")
    return path.suffix


def _checked(header: _Header, columns: Columns, path: Path, first_row: int) -> RoutingTrace:
    try:
        return header.trace(columns)
    except HetgymError as error:
        where = f" (rows counted from {first_row})" if first_row else ""
        raise HetgymError(f"{path}: {error}{where}") from error


def _read(path: Path, rows: int) -> Iterator[tuple[_Header, Columns]]:
    """Gives the header and the columns of a file, at most so many rows at a time."""
    read = _read_parquet if check_trace_path(path) == ".parquet" else _read_npz
    with _refusing(path):
        with path.open("rb") as file:
            start = file.read(4)
        kind, magic = ("Parquet", b"PAR1") if path.suffix == ".parquet" else ("npz", b"PK")
        if not start.startswith(magic):
            raise HetgymError(f"{path}: this is not a file of the format {kind}")
        yield from read(path, rows)


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turns what reading raises into one line."""
    try:
        yield
    except HetgymError:
        raise
    except OSError as error:
        reason = error.strerror or "truncated or damaged"
        raise HetgymError(f"{path}: cannot read this routing trace: {reason}") from error
    except (pa.ArrowException, zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError, ValueError) as error:
        raise HetgymError(f"{path}: cannot read this routing trace: truncated or damaged") from error


def _read_parquet(path: Path, rows: int) -> Iterator[tuple[_Header, Columns]]:
    # Without a buffer of its own, each column of a row group would be read at once.
    with pq.ParquetFile(path, buffer_size=2**18, pre_buffer=False, page_checksum_verification=True) as file:
        schema = file.schema_arrow
        found = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
        header = _Header.parse(found, path)
        types = {name: schema.field(name).type for name in schema.names}
        names = _present(path, header, set(types))
        for name in names:
            _check_arrow_type(path, header, name, types[name])
        first_row = 0
        for batch in file.iter_batches(batch_size=rows, columns=names, use_threads=False):
            yield header, {name: _from_arrow(batch.column(name), name, path, first_row) for name in names}
            first_row += len(batch)


def _present(path: Path, header: _Header, found: set[str]) -> list[str]:
    """Returns which of a trace's columns a file has."""
    for name in _REQUIRED:
        if name not in found:
            raise HetgymError(f"{path}: there is no column {name!r}")
    if ("predicted" in found) != (header.list_size("predicted") > 0):
        has = "a" if "predicted" in found else "no"
        raise HetgymError(
            f"{path}: distances is {header.distances} and width {header.width}, with {has} column 'predicted'"
        )
    return [name for name in (*_PLAIN, *_LISTS) if name in found]


def _check_arrow_type(path: Path, header: _Header, name: str, found: Any) -> None:
    if name in _PLAIN:
        wanted = pa.from_numpy_dtype(_PLAIN[name])
        fits = found == wanted
    else:
        wanted = pa.list_(pa.from_numpy_dtype(_LISTS[name]), header.list_size(name))
        fits = (
            pa.types.is_fixed_size_list(found)
            and found.list_size == wanted.list_size
            and found.value_type == wanted.value_type
        )
    if not fits:
        raise HetgymError(f"{path}: column {name!r} must have the type {wanted}, not {found}")


def _from_arrow(array: Any, name: str, path: Path, first_row: int) -> NDArray[Any]:
    values = array if name in _PLAIN else array.flatten()
    nulls = array.is_null() if array.null_count else values.is_null()
    if array.null_count or values.null_count:
        row = nulls.index(True).as_py() * len(array) // len(nulls)
        raise HetgymError(f"{path}: column {name!r} has no value at row {first_row + row}")
    plain: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return plain if name in _PLAIN else plain.reshape(len(array), -1)


def _read_npz(path: Path, rows: int) -> Iterator[tuple[_Header, Columns]]:
    with ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path))
        found = {Path(name).stem for name in archive.namelist()}
        given = {}
        for name in {"schema", "version", *_Header.model_fields} & found:
            stream, shape, dtype = _open_member(path, archive, name, stack)
            if shape != ():
                raise HetgymError(f"{path}: {name!r} must be a single value, not an array of the shape {shape}")
            given[name] = _values(stream, dtype, 1, is_last=True)[0].item()
        header = _Header.parse(given, path)
        names = _present(path, header, found)
        streams = {}
        count = -1
        for name in names:
            streams[name], shape, dtype = _open_member(path, archive, name, stack)
            wanted = np.dtype(_PLAIN.get(name) or _LISTS[name])
            tail = () if name in _PLAIN else (header.list_size(name),)
            count = shape[0] if shape and count < 0 else count
            if dtype != wanted or shape != (count, *tail):
                raise HetgymError(
                    f"{path}: array {name!r} must have the type {wanted} and the shape {('rows', *tail)}, "
                    f"not {dtype} and {shape}"
                )
        for first in range(0, count, rows):
            size = min(rows, count - first)
            columns = {}
            for name in names:
                dtype = np.dtype(_PLAIN.get(name) or _LISTS[name])
                width = 1 if name in _PLAIN else header.list_size(name)
                values = _values(streams[name], dtype, size * width, first + size == count)
                columns[name] = values if name in _PLAIN else values.reshape(size, width)
            yield header, columns


def _open_member(
    path: Path, archive: zipfile.ZipFile, name: str, stack: ExitStack
) -> tuple[IO[bytes], tuple[int, ...], np.dtype[Any]]:
    """Returns an array of an npz as a stream behind its header, its shape and its type."""
    stream = stack.enter_context(archive.open(f"{name}.npy"))
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[np.lib.format.read_magic(stream)]
    shape, is_fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise HetgymError(f"{path}: array {name!r} holds pickled objects, which are not read")
    if is_fortran and len(shape) > 1:
        raise HetgymError(f"{path}: array {name!r} must be stored row by row")
    return stream, shape, dtype


def _values(stream: IO[bytes], dtype: np.dtype[Any], count: int, is_last: bool) -> NDArray[Any]:
    """Returns the next values of an array; the last are compared with the archive's checksum, at the stream's end."""
    array = np.frombuffer(stream.read(count * dtype.itemsize), dtype)
    if len(array) != count or (is_last and stream.read(1)):
        raise EOFError
    return array
