"""What an evaluation consists of: cells that can be played anywhere, in any order, and are kept when finished."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from ..agents.registry import files_of
from ..compilation import sources_digest
from ..envs import Scenario
from ..errors import HetgymError, replacing
from .evaluation import BATCH, evaluate

CODE = ("hardware_models", "workloads", "envs", "agents", "evaluate/evaluation.py")
"""What results depend on: code and settings; checkpoints count where a policy names them."""
DATA = ("workloads",)
NUMERIC_PACKAGES = ("numpy", "numba", "torch")

TIMES = "decision_seconds"
"""The one column that is not reproducible is kept in files of its own."""


@cache
def code_version() -> str:
    """Returns a hash of all that results depend on besides scenario, policy and seed: sources, data, versions."""
    parts = [sources_digest(CODE, (".py", ".yaml")), sources_digest(DATA, (".json", ".parquet"))]
    parts += [f"{package}={version(package)}" for package in NUMERIC_PACKAGES]
    return hashlib.sha256(",".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Cell:
    """So many episodes of a policy in a scenario, at most `BATCH`.

    Attributes:
        scenario: With all its settings.
        policy: A name for `hetgym.agents.make_policy`.
        seed: Of the first episode; the next ones have those after it.
        episodes: How many.
    """

    scenario: Scenario
    policy: str
    seed: int
    episodes: int

    @cached_property
    def key(self) -> str:
        """A hash of scenario, policy, seeds and code, and of the files that the two name: 32 hexadecimal digits."""
        content = self.scenario.model_dump(mode="json", exclude={"description", "source"})
        files = [*_files_in(content), *files_of(self.policy)]
        parts = [
            json.dumps(content, sort_keys=True),
            self.policy,
            str(self.seed),
            str(self.episodes),
            code_version(),
            *(hashlib.sha256(path.read_bytes()).hexdigest() for path in files),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    def play(self) -> pd.DataFrame:
        """Returns what `evaluate` does; policies are called what they are named by, whatever they call themselves.

        Raises:
            HetgymError: If the policy cannot be had, or cannot play the scenario.
        """
        return evaluate(self.scenario, [self.policy], self.episodes, self.seed).assign(policy=self.policy)


def cells_of(scenario: Scenario, policy: str, episodes: int, seed: int) -> list[Cell]:
    """Returns the cells of so many episodes from a seed on."""
    ends = seed + episodes
    return [Cell(scenario, policy, first, min(BATCH, ends - first)) for first in range(seed, ends, BATCH)]


def _files_in(content: Any) -> Iterator[Path]:
    """Yields the files that settings name, in order."""
    if isinstance(content, dict):
        for value in content.values():
            yield from _files_in(value)
    elif isinstance(content, list):
        for value in content:
            yield from _files_in(value)
    elif isinstance(content, str) and Path(content).suffix and os.path.isfile(content):  # noqa: PTH113 (long text may pass)
        yield Path(content)


class CellStore:
    """A folder of finished cells: a Parquet file each, named by its key, and one with the times of its decisions."""

    def __init__(self, folder: Path) -> None:
        """Takes a folder, which need not exist."""
        self._results, self._times = folder / "cells", folder / "times"

    def __contains__(self, cell: Cell) -> bool:
        """Whether a cell is finished."""
        return (self._results / f"{cell.key}.parquet").is_file()

    def put(self, cell: Cell, table: pd.DataFrame) -> None:
        """Keeps what playing a cell gave; the times first, so that a finished cell has them.

        Raises:
            HetgymError: If a file cannot be written.
        """
        _write(table[[TIMES]], self._times / f"{cell.key}.parquet")
        _write(table.drop(columns=TIMES), self._results / f"{cell.key}.parquet")

    def read(self, cells: Sequence[Cell]) -> pd.DataFrame:
        """Returns what finished cells gave, one after another, with episodes counted through for each policy.

        Raises:
            HetgymError: If a file is broken.
        """
        tables = []
        for cell in cells:
            table = _read(self._results / f"{cell.key}.parquet")
            times = _read(self._times / f"{cell.key}.parquet")
            table.insert(list(table.columns).index("return") + 1, TIMES, times[TIMES])
            tables.append(table)
        together = pd.concat(tables, ignore_index=True)
        together["episode"] = together["seed"] - min(cell.seed for cell in cells)
        return together


def _write(table: pd.DataFrame, path: Path) -> None:
    with replacing(path, "cell") as partial:
        table.to_parquet(partial, index=False)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise HetgymError(f"{path}: not a finished cell ({error}); remove it to play it again") from error
