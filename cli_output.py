"""What the parts of the ``hetgym`` command write: tables in files, and progress."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .errors import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd


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
