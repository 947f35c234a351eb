"""Replays a stream of accesses, one at a time, through a cache algorithm: hits only, without time."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....compilation import kernel
from ....errors import HetgymError
from ....workloads.counter_random import random_stream
from .automata import ALGORITHMS, choose_victim, clear, on_evict, on_hit, on_insert, room_for
from .lists import Cache, Flags, cache_at


def replay_accesses(
    algorithm: str, items: ArrayLike, capacity: int, sizes: ArrayLike | None = None, seed: int = 0
) -> int:
    """Returns how many accesses of a stream find their item in an empty cache that an algorithm manages.

    Each access stands for itself: all others are forgotten when it comes. (An event of several experts is not such a
    stream.) An item that is larger than the cache never enters it.

    Args:
        algorithm: One of `ALGORITHMS`.
        items: int (M,), the item of each access, from 0.
        capacity: Bytes.
        sizes: int (N,), bytes of each item; without them each has 1, and the capacity is in items.
        seed: Of what the algorithm draws.

    Raises:
        HetgymError: If a name or a number is not as said.
    """
    stream = np.ascontiguousarray(items)
    if algorithm not in ALGORITHMS:
        raise HetgymError(f"cache algorithm {algorithm!r} is unknown; there are {', '.join(ALGORITHMS)}")
    if stream.ndim != 1 or not (stream.size == 0 or np.issubdtype(stream.dtype, np.integer)):
        raise HetgymError("items: must be integers in one dimension")
    if stream.size and stream.min() < 0:
        raise HetgymError(f"items: {stream.min()} is negative")
    if capacity <= 0:
        raise HetgymError(f"capacity: {capacity} must be positive")
    num_items = int(stream.max(initial=0)) + 1
    bytes_of = np.ones(num_items, np.int64) if sizes is None else np.ascontiguousarray(sizes, np.int64)
    if len(bytes_of) < num_items or bytes_of.min() <= 0:
        raise HetgymError(f"sizes: must be positive, for items 0 to {num_items - 1}")
    cache = room_for(algorithm, 1, len(bytes_of), np.array([capacity]))
    held = np.zeros(len(bytes_of), np.bool_)
    return int(_replay(ALGORITHMS.index(algorithm), cache, stream.astype(np.int64), bytes_of, held, seed))


@kernel
def _replay(
    code: int, caches: Cache, items: NDArray[np.int64], sizes: NDArray[np.int64], held: Flags, seed: int
) -> int:
    """Plays the accesses, and returns the hits.

    Args:
        code: Of the algorithm.
        caches: Of one episode and one pool.
        items: int64 (M,).
        sizes: int64 (N,), bytes.
        held: bool (N,), which items the cache holds: none at first.
        seed: Of what is drawn.
    """
    cache = cache_at(caches, 0)
    clear(code, cache, random_stream(seed, 0, 0))
    free, hits = cache.pools[0].capacity, 0
    for item in items:
        if held[item]:
            hits += 1
            on_hit(code, cache, 0, item)
        elif sizes[item] <= cache.pools[0].capacity:
            while free < sizes[item]:
                victim = choose_victim(code, cache, 0, item, held)
                on_evict(code, cache, 0, victim)
                held[victim] = False
                free += sizes[victim]
            on_insert(code, cache, 0, item, sizes[item])
            held[item] = True
            free -= sizes[item]
    return hits
