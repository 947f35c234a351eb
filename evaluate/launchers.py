"""Where work is done: in this process, in several on this machine, or on a cluster."""

from __future__ import annotations

import multiprocessing
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import pandas as pd

from ..errors import HetgymError, unknown_name
from .cells import Cell

Item = TypeVar("Item")
Result = TypeVar("Result")

LauncherName = Literal["local", "ray"]


class Launcher(ABC):
    """Does one thing to many items; each gives the same wherever, and in whatever order, it is done."""

    @abstractmethod
    def run(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[Item, Result]]:
        """Yields every item with what the function made of it, in the order in which they are finished.

        Args:
            function: What is done. Other processes import it by its name.
            items: To what.

        Raises:
            HetgymError: If the function raises it, or workers die again and again.
        """

    def play(self, cells: Sequence[Cell]) -> Iterator[tuple[Cell, pd.DataFrame]]:
        """Yields every cell with what `Cell.play` returned, in the order in which they are finished.

        Raises:
            HetgymError: If a cell cannot be played.
        """
        return self.run(Cell.play, cells)


@dataclass(frozen=True)
class LocalLauncher(Launcher):
    """Works on this machine.

    Attributes:
        workers: Processes side by side; with one, everything is done in this process, one item after another.
    """

    workers: int = 1

    def run(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[Item, Result]]:
        """Yields every item with what the function made of it."""
        if self.workers == 1 or not items:
            for item in items:
                yield item, function(item)
            return
        pool = ProcessPoolExecutor(self.workers, multiprocessing.get_context("spawn"), _use_one_thread)
        try:
            running = {pool.submit(function, item): item for item in items}
            for done in as_completed(running):
                yield running[done], done.result()
        except BrokenProcessPool as error:
            raise HetgymError(
                "workers: a process died, perhaps for want of memory; what is finished is kept: run it again with fewer"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _use_one_thread() -> None:
    """Torch reads this when it is imported; more threads than cores are many times slower."""
    os.environ["OMP_NUM_THREADS"] = "1"


def make_launcher(launcher: str = "local", address: str | None = None, workers: int | None = None) -> Launcher:
    """Returns what the options ``--launcher``, ``--address`` and ``--workers`` mean.

    Args:
        launcher: ``local`` or ``ray``.
        address: Of a Ray cluster, as in `hetgym.evaluate.launch_ray.RayLauncher`.
        workers: How many things are done at a time; by default one for ``local``, and as many as there are CPUs for
            ``ray``.

    Raises:
        HetgymError: If there is no such launcher, the options do not go together, or Ray is not installed.
    """
    if workers is not None and workers < 1:
        raise HetgymError(f"workers: must be at least 1 (given: {workers})")
    if launcher == "ray":
        from .launch_ray import RayLauncher

        return RayLauncher(address, workers)
    if launcher != "local":
        raise unknown_name("launcher", launcher, list(get_args(LauncherName)))
    if address is not None:
        raise HetgymError(f"address: is that of a Ray cluster; add --launcher ray (given: {address!r})")
    return LocalLauncher(workers or 1)
