"""Cache algorithms on a stream of single accesses, beside libcachesim, in million accesses per CPU second.

    python benchmarks/cache_speed.py

The stream is skewed (Zipf, exponent 0.8): a million accesses to 2048 items, of which 256 are held. libcachesim reads
them from a file, which is part of its time; it is an optional dependency of the tests. Hits are compared, too.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hetgym.agents.heuristics.caching import ALGORITHMS, replay_accesses

try:
    import libcachesim
except ImportError:
    libcachesim = None

ACCESSES, ITEMS, HELD, EXPONENT = 1_000_000, 2048, 256, 0.8
REPEATS = 5
RECORD = np.dtype([("time", "<u4"), ("item", "<u8"), ("size", "<u4"), ("next", "<i8")])
THEIRS = {
    "fifo": "FIFO", "lru": "LRU", "clock": "Clock", "sieve": "Sieve", "s3-fifo": "S3FIFO", "2q": "TwoQ", "slru": "SLRU",
    "arc": "ARC", "lfu": "LFU", "lecar": "LeCaR", "random": "Random",
}  # fmt: skip


def zipf() -> np.ndarray:
    weights = np.arange(1, ITEMS + 1) ** -EXPONENT
    return np.random.default_rng(0).choice(ITEMS, ACCESSES, p=weights / weights.sum())


def fastest(play: Callable[[], int]) -> tuple[int, float]:
    """Returns the hits, and the million accesses per CPU second of the fastest of several runs."""
    best = np.inf
    for _ in range(REPEATS):
        begin = time.process_time()
        hits = play()
        best = min(best, time.process_time() - begin)
    return hits, ACCESSES / best / 1e6


def play_theirs(name: str, path: Path) -> int:
    reader = libcachesim.TraceReader(str(path), libcachesim.TraceType.ORACLE_GENERAL_TRACE)
    cache = getattr(libcachesim, name)(HELD, hashpower=14)
    return round(ACCESSES * (1.0 - cache.process_trace(reader)[0]))


def main() -> None:
    items = zipf()
    print(f"{'':8} {'hits':>8} {'M/s':>7} {'libcachesim':>12} {'M/s':>7} {'ratio':>7}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "accesses"
        accesses = np.zeros(ACCESSES, RECORD)
        accesses["time"], accesses["item"], accesses["size"] = np.arange(ACCESSES), items + 1, 1
        accesses["next"] = -2
        accesses.tofile(path)
        for algorithm in ALGORITHMS:
            hits, speed = fastest(lambda: replay_accesses(algorithm, items, HELD))  # noqa: B023
            line = f"{algorithm:8} {hits:8} {speed:7.1f}"
            if libcachesim is not None and algorithm in THEIRS:
                their_hits, their_speed = fastest(lambda: play_theirs(THEIRS[algorithm], path))  # noqa: B023
                line += f" {their_hits:12} {their_speed:7.1f} {speed / their_speed:7.1f}"
            print(line)


if __name__ == "__main__":
    main()
