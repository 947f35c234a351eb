"""Recorded bandwidth: what a link gave, block by block, from a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import HetgymError
from .task_graph import FloatArray

_MAX_BLOCKS = 100_000_000


def read_bandwidth(
    path: str | Path,
    column: str = "bandwidth",
    scale: float = 1.0,
    time_column: str | None = None,
    block: float = 1.0,
) -> FloatArray:
    """Reads a trace of bandwidth.

    Without a column of times, each row is a block. With one, a row holds from its time until the next, the last as long
    as the one above it; blocks are counted from the first time, and each gets its mean, so that as many bits pass. What
    is left after the last whole block is dropped.

    Args:
        path: A CSV file with a header.
        column: Of the bandwidth.
        scale: Bandwidths are multiplied by this: 1e6 where they are in Mbit/s.
        time_column: Of the times, seconds; None: there is none.
        block: Seconds of a block; only where there are times.

    Returns:
        float64 (blocks,), bit/s.

    Raises:
        HetgymError: If there is no such file or column, no row, a bandwidth that is negative or not finite, none that
            is greater than 0, a time that is not finite or not later than the one above, or fewer than one or more
            than 1e8 blocks; or if `scale` or `block` is not finite and greater than 0.
    """
    for name, given in (("scale", scale), ("block", block)):
        if not (np.isfinite(given) and given > 0):
            raise HetgymError(f"{name} must be finite and greater than 0 (given: {given:g})")
    try:
        table = pd.read_csv(path, index_col=False)
    except (OSError, ValueError) as error:
        raise HetgymError(f"{path}: cannot read this trace of bandwidth: {' '.join(str(error).split())}") from error
    rates = _numbers(table, column, path) * scale
    _refuse(~(np.isfinite(rates) & (rates >= 0)), table, column, path, "a finite bandwidth, not negative")
    if time_column is not None:
        times = _numbers(table, time_column, path)
        late = times > np.append(-np.inf, times[:-1])
        _refuse(~(np.isfinite(times) & late), table, time_column, path, "a finite time, later than the one above")
        rates = _by_block(times - times[0], rates, block, path)
    if not rates.any():
        raise HetgymError(f"{path}: {column}: some bandwidth must be greater than 0")
    return rates


def _numbers(table: pd.DataFrame, column: str, path: str | Path) -> FloatArray:
    if column not in table:
        raise HetgymError(f"{path}: there is no column {column!r}; there are {', '.join(map(str, table.columns))}")
    if table.empty:
        raise HetgymError(f"{path}: {column}: there must be at least one row")
    return np.asarray(pd.to_numeric(table[column], errors="coerce"), np.float64)


def _refuse(wrong: NDArray[np.bool_], table: pd.DataFrame, column: str, path: str | Path, right: str) -> None:
    rows = np.flatnonzero(wrong)
    if rows.size:
        given = table[column].iloc[rows[0]]
        raise HetgymError(f"{path}: {column}: row {rows[0]} must be {right} (given: {given})")


def _by_block(times: FloatArray, rates: FloatArray, block: float, path: str | Path) -> FloatArray:
    lasts = np.diff(times, append=2 * times[-1] - times[-2]) if times.size > 1 else np.array([block])
    ends = np.append(times, times[-1] + lasts[-1])
    # The tolerance keeps a last block that rounding made a little too short.
    count = np.floor(ends[-1] / block + 1e-9)
    if not 1 <= count <= _MAX_BLOCKS:
        raise HetgymError(f"{path}: {ends[-1]:g} s in blocks of {block:g} s must make 1 to {_MAX_BLOCKS:g} blocks")
    bits = np.append(0.0, np.cumsum(rates * lasts))
    edges = np.arange(int(count) + 1) * block
    # Two ends of one silent block can be a rounding apart.
    return np.asarray(np.maximum(np.diff(np.interp(edges, ends, bits)) / block, 0.0))
