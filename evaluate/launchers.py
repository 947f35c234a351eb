"""Where cells are played: in this process, or elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import pandas as pd

from .cells import Cell


class Launcher(Protocol):
    """Plays cells; a cell gives the same wherever it is played."""

    def play(self, cells: Sequence[Cell]) -> Iterator[tuple[Cell, pd.DataFrame]]:
        """Yields every cell with what `Cell.play` returned, in the order in which they are finished.

        Raises:
            HetgymError: If a cell cannot be played.
        """


class LocalLauncher:
    """Plays one cell after another in this process."""

    def play(self, cells: Sequence[Cell]) -> Iterator[tuple[Cell, pd.DataFrame]]:
        """Yields every cell with what it gave, in order."""
        for cell in cells:
            yield cell, cell.play()
