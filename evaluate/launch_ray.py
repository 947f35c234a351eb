"""Work on Ray: on this machine, or on a cluster (Moritz and others 2018, arXiv:1712.05889)."""

from __future__ import annotations

import logging
import os
import platform
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import HetgymError
from .cells import code_version
from .launchers import Item, Launcher, Result

# Ray reads these when it is imported. What dies is done again: pages about it do not belong among a command's results.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault(
    "RAY_DEDUP_LOGS_SKIP_REGEX", r"^(Task _do failed|Raylet is terminated|The node with node id|A worker died)"
)
try:
    import grpc
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as missing:
    raise HetgymError("launcher: Ray is not installed; pip install 'hetgym[ray]'") from missing

IN_FLIGHT = 2
"""Items that are handed out for each CPU: none of them waits for the next one."""

OBJECT_STORE = 200 * 2**20
"""Bytes of shared memory of a Ray that is started here: results are small."""

PATIENCE = 10.0
"""Seconds in which an address must answer."""


@dataclass(frozen=True)
class RayLauncher(Launcher):
    """Works on Ray, one CPU for each item.

    Items whose worker or node dies are done again elsewhere. Workers import from where this process does, and work in
    the same folder, where there is one of that name on their machine; hetgym must be the same there.

    Attributes:
        address: Of a cluster, of which this machine is a node: ``HOST:PORT``, or ``auto`` for the one that was started
            here. By default Ray is started on this machine, for as long as there is work.
        workers: How many items are done at a time; by default as many as there are CPUs.
        retries: How often an item is done again whose worker or node died, by Ray, and then by this process.
    """

    address: str | None = None
    workers: int | None = None
    retries: int = 3

    def run(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[Item, Result]]:
        """Yields every item with what the function made of it, in the order in which they are finished.

        Raises:
            HetgymError: If the function raises it, no cluster answers, its nodes have another hetgym, or a worker dies
                again and again.
        """
        if items:
            with _connected(self.address, self.workers):
                yield from self._run(function, items)

    def _run(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[Item, Result]]:
        here = Origin(Path.cwd(), tuple(sys.argv), code_version())
        task: Any = ray.remote(num_cpus=1, max_retries=self.retries)(_do)
        waiting = deque((item, self.retries) for item in items)
        running: dict[Any, tuple[Item, int]] = {}
        while waiting or running:
            room = self.workers if self.address and self.workers else IN_FLIGHT * _cpus()
            while waiting and len(running) < room:
                item, retries = waiting.popleft()
                running[task.remote(here, function, item)] = item, retries
            (done,), _ = ray.wait(list(running))
            item, retries = running.pop(done)
            try:
                result = ray.get(done)
            except RayTaskError as error:
                raise error.cause from None
            except RayError as error:
                if not retries:
                    raise HetgymError(f"launcher: workers died again and again: {_first_line(error)}") from error
                waiting.append((item, retries - 1))
            else:
                yield item, result


@dataclass(frozen=True)
class Origin:
    """What workers take over from the process that hands out work: its folder, its command, its version of hetgym."""

    folder: Path
    command: tuple[str, ...]
    code: str


def _do(origin: Origin, function: Callable[[Item], Result], item: Item) -> Result:
    """What a worker does.

    Raises:
        HetgymError: If its hetgym would give other results.
    """
    if code_version() != origin.code:
        raise HetgymError(
            f"launcher: {platform.node()} has another version of hetgym, numpy, numba or torch; install the same there"
        )
    if origin.folder.is_dir():
        os.chdir(origin.folder)
    sys.argv = list(origin.command)
    return function(item)


def _cpus() -> int:
    """Returns how many CPUs there are now: nodes come and go."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return max(1, int(resources.get("CPU", 0)))


@contextmanager
def _connected(address: str | None, workers: int | None) -> Iterator[None]:
    """Connects this process with Ray, unless it is.

    Raises:
        HetgymError: If that cannot be done.
    """
    if ray.is_initialized():
        yield
        return
    place: dict[str, Any] = {"address": address}
    if address:
        _check_answers(address)
    else:
        place = {"address": "local", "num_cpus": workers, "object_store_memory": OBJECT_STORE}
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}
    try:
        ray.init(
            **place,
            runtime_env=environment,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise HetgymError(
            f"address: cannot work on Ray at {address or 'this machine'}: {_first_line(error)}"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Ray itself would wait for minutes where something else listens, and then end the process."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise HetgymError(f"address: must be HOST:PORT, or auto (given: {address!r})")
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(PATIENCE)
        except grpc.FutureTimeoutError as error:
            raise HetgymError(f"address: no Ray cluster answers at {address} within {PATIENCE:.0f} s") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
