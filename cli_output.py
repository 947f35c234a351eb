"""What the parts of the ``hetgym`` command write: tables, and progress."""

from __future__ import annotations

import math
import textwrap
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from .errors import replacing
from .evaluate.sweep import shown, swept

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

WIDEST_COLUMN = 12
"""Characters of a policy's column in the table of a sweep."""

UNLIMITED = 1_000_000
"""Columns of what is not a terminal."""


def write_csv(table: pd.DataFrame, path: Path, index: bool = False) -> None:
    """Writes a table; the file is replaced atomically.

    Args:
        table: The table.
        path: The file.
        index: Whether the table's index is a column.

    Raises:
        HetgymError: If the file cannot be written.
    """
    with replacing(path, "table") as partial:
        table.to_csv(partial, index=index)


def print_sweep(summary: pd.DataFrame, title: str) -> None:
    """Prints one row a cell and one column a policy, in several tables where a terminal is too narrow for one.

    Args:
        summary: What `summarise_sweep` returned for one metric.
        title: Of the tables.
    """
    settings, policies = swept(summary), list(dict.fromkeys(summary["policy"]))
    console = Console()
    if not console.is_terminal:
        console = Console(width=UNLIMITED)
    room = console.width - sum(max(map(len, [name, *map(shown, summary[name])])) + 2 for name in settings)
    together = max(1, room // (WIDEST_COLUMN + 2))
    console.print(Text(title))
    for first in range(0, len(policies), together):
        shown_now = policies[first : first + together]
        table = Table(box=box.SIMPLE_HEAD)
        for name in settings:
            table.add_column(name, justify="right", no_wrap=True)
        for policy in shown_now:
            name = policy + "*" * bool(summary.loc[summary["policy"] == policy, "clairvoyant"].any())
            table.add_column(Text("\n".join(textwrap.wrap(name, WIDEST_COLUMN))), justify="right", no_wrap=True)
        for cell, rows in summary.groupby(settings, sort=False):
            means = [
                Text(f"{row.mean:#.5g}".rstrip("."), style="bold" if row.best else "")
                for row in rows[rows["policy"].isin(shown_now)].itertuples()
            ]
            table.add_row(*map(shown, cell), *means)
        console.print(table)
    oracles = "; * reads the future" if summary["clairvoyant"].any() else ""
    console.print(f"bold: the best mean of those that do not read the future{oracles}")


def print_contest(summary: pd.DataFrame, title: str, reference: str) -> None:
    """Prints one row a policy.

    Args:
        summary: What `compare` returned.
        title: Of the table.
        reference: The policy that others are compared with.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=UNLIMITED)
    table = Table(title=Text(title), title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("policy", overflow="fold", min_width=12)
    for column in ("mean", "ratio", "95% interval", "wins", "verdict", "µs"):
        table.add_column(column, justify="left" if column == "verdict" else "right", no_wrap=True)
    for row in summary.to_dict("records"):
        table.add_row(
            Text(row["policy"] + "*" * row["clairvoyant"]),
            f"{row['mean']:.5g}",
            "" if math.isnan(row["ratio"]) else f"{row['ratio']:.4f}",
            _interval(row["low"], row["high"], ".3f"),
            f"{row['wins']:.0%}",
            row["verdict"],
            f"{row['microseconds']:.1f}",
        )
    oracles = "; * reads the future" if summary["clairvoyant"].any() else ""
    console.print(table)
    console.print(Text(f"ratio: to the mean of {reference}; wins: episodes in which it is better"))
    console.print(f"verdict: at 5 %, Holm-corrected; µs: a policy's own time for a decision{oracles}")


def print_suite(table: pd.DataFrame, title: str) -> None:
    """Prints one row a comparison, and what is to be known of them below.

    Args:
        table: The comparisons that `run_suite` returned.
        title: Of the table.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=UNLIMITED)
    notes = [note for note in dict.fromkeys(table["note"]) if note]
    shown_table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("paper", "setting", "policy", "against", "metric"):
        shown_table.add_column(name, overflow="fold")
    for name in ("ours", "95% interval", "published", "note"):
        shown_table.add_column(name, justify="right", no_wrap=True)
    for row in table.to_dict("records"):
        shown_table.add_row(
            *(Text(row[name]) for name in ("paper", "setting", "policy", "against", "metric")),
            "" if math.isnan(row["ratio"]) else f"{row['ratio']:.2f}x",
            _interval(row["low"], row["high"], ".2f"),
            "" if math.isnan(row["figure"]) else f"{row['figure']:g}x",
            str(notes.index(row["note"]) + 1) if row["note"] else "",
        )
    console.print(shown_table)
    console.print("ours: how many times better the policy's mean is than that of the one it is played against")
    for number, note in enumerate(notes, 1):
        console.print(Text(f"{number}: {note}"))


def print_front(summary: pd.DataFrame, title: str, reference: str, reference_point: str) -> None:
    """Prints one row a policy or family, and what is to be known of them below.

    Args:
        summary: What `summarise_front` returned.
        title: Of the table.
        reference: The policy whose hypervolume others are compared with.
        reference_point: Of the hypervolume.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=UNLIMITED)
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("policy", overflow="fold")
    for name in ("front", "hyper-\nvolume", "95% interval", "ratio", "95% interval", "utility", "covers"):
        is_interval = "interval" in name
        # In 80 columns, intervals are two lines.
        table.add_column(name, justify="right", no_wrap=not is_interval, min_width=8 if is_interval else None)
    causal = summary.loc[~summary["clairvoyant"], "hypervolume"]
    for row in summary.to_dict("records"):
        best = not row["clairvoyant"] and row["hypervolume"] == causal.max()
        table.add_row(
            Text(row["policy"] + "*" * row["clairvoyant"]),
            f"{row['cardinality']}/{row['points']}",
            Text(f"{row['hypervolume']:.5g}", style="bold" if best else ""),
            _interval(row["hypervolume_low"], row["hypervolume_high"], ".5g"),
            "" if math.isnan(row["ratio"]) else f"{row['ratio']:.3f}",
            _interval(row["low"], row["high"], ".3f"),
            f"{row['expected_utility']:.5g}",
            "" if math.isnan(row["coverage"]) else f"{row['coverage']:.0%}",
        )
    console.print(table)
    console.print(Text(f"reference point of the hypervolume, in returns (minus costs): {reference_point}"))
    for row in summary[summary["outside"] > 0].to_dict("records"):
        beyond = f"{row['policy']}: {row['outside']} of {row['points']} points"
        console.print(Text(f"{beyond} are below the reference point, and add nothing"))
    console.print("front: points that no other of its own dominates, of those played")
    console.print(Text(f"ratio: to the hypervolume of {reference}; utility: of the best points, mean over all weights"))
    oracles = "; * reads the future" if summary["clairvoyant"].any() else ""
    console.print(f"covers: the share of the others' fronts that it equals or dominates{oracles}")


def _interval(low: float, high: float, form: str) -> str:
    return "" if math.isnan(low) else f"{low:{form}} - {high:{form}}"


@contextmanager
def progress(what: str, total: int) -> Iterator[tuple[Progress, Any]]:
    """Shows a progress bar on a terminal's standard error.

    Args:
        what: What is going on.
        total: How many of it there are.

    Yields:
        The bar, and its one task, whose field ``latest`` is shown behind.
    """
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[latest]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar, bar.add_task(what, total=total, latest="")
