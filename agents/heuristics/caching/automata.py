"""The cache algorithms behind one interface, four kernels that are told what happens in a pool.

- `on_hit`: an item that the pool holds was used.
- `choose_victim`: which of its items goes to make room for another.
- `on_evict`: an item has left, the victim or any other.
- `on_insert`: an item was given a place, by a miss or early.

Items that may not be evicted (pinned, or in flight) are passed over where they are: neither their place nor what is
remembered of their uses changes. All algorithms take constant time per access, save for the items that they pass over
and for LFU-DA and LeCaR, which pass the ranks between an item's old one and its new one.

| name | what goes | source |
|---|---|---|
| ``fifo`` | the item inserted longest ago | textbook |
| ``lru`` | the item used longest ago | Mattson et al. 1970, doi:10.1147/sj.92.0078 |
| ``clock`` | the oldest not used since the hand passed it; one bit, clear at first | Corbató 1968, MIT MAC-M-384 |
| ``sieve`` | the same, with a hand that moves through a queue that keeps its order | Zhang et al., NSDI 2024 |
| ``s3-fifo`` | from a small queue of new items, or a main one with second chances | doi:10.1145/3600006.3613147 |
| ``2q`` | the oldest of the new items, or the least recently used of those that came back | VLDB 1994 |
| ``slru`` | the least recently used of the items used once, then of the others | doi:10.1109/2.268884 |
| ``arc`` | the least recently used of those used once, or of the others; learns which | FAST 2003 |
| ``lfu`` | the item of fewest uses since it came in (of equals LRU) | In-Cache-LFU, doi:10.1109/INFCOM.1999.749260 |
| ``lfu-da`` | the item of least uses + age of the pool at its last use | doi:10.1145/346000.346003 |
| ``lecar`` | LRU's victim or LFU's, by weights that it learns from regret | Vietri et al., HotStorage 2018 |
| ``random`` | any item, each with the same probability | |
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ....compilation import inner
from ....workloads.counter_random import substream
from .counts import (
    lecar_evicted,
    lecar_hit,
    lecar_insert,
    lecar_recall,
    lecar_victim,
    lfu_da_evicted,
    random_evicted,
    random_insert,
    random_victim,
)
from .lists import (
    ABSENT,
    FIRST,
    FIRST_GHOSTS,
    SECOND,
    Cache,
    Flags,
    append,
    move,
    oldest_evictable,
    remove,
    second_chance,
)
from .queues import (
    S3_GHOSTS,
    S3_MOST_USES,
    TWO_Q_OUT,
    arc_insert,
    arc_recall,
    arc_victim,
    oldest_of_two,
    remember,
    s3_fifo_insert,
    s3_fifo_victim,
    share,
    sieve_victim,
    slru_hit,
    two_q_victim,
)
from .ranking import clear_ranking, least_evictable, raise_rank, rank, unrank

ALGORITHMS = ("fifo", "lru", "clock", "sieve", "s3-fifo", "2q", "slru", "arc", "lfu", "lfu-da", "lecar", "random")
"""In the order of the codes that kernels take."""

FIFO, LRU, CLOCK, SIEVE, S3_FIFO, TWO_Q, SLRU, ARC, LFU, LFU_DA, LECAR, RANDOM = range(len(ALGORITHMS))


def room_for(algorithm: str, num_rows: int, num_items: int, capacity: NDArray[np.int64]) -> Cache:
    """Returns room for what an algorithm remembers of B episodes, not cleared.

    Args:
        algorithm: One of `ALGORITHMS`.
        num_rows: B.
        num_items: N; the items of P pools follow each other, as many in each.
        capacity: int64 (P,), bytes of each pool.
    """
    code = ALGORITHMS.index(algorithm)
    return Cache.of(num_rows, num_items, capacity, code in {LFU, LFU_DA, LECAR}, code == RANDOM)


@inner
def clear(code: int, cache: Cache, stream: np.uint64) -> None:
    """Forgets everything: all pools of an episode are empty.

    Args:
        code: Of the algorithm.
        cache: What it remembers of the episode.
        stream: Of its random numbers.
    """
    for item in range(cache.entries.size):
        entry = cache.entries[item]
        entry.newer = entry.older = item
        entry.place, entry.uses, entry.size, entry.left_at = ABSENT, 0, 0, 0
    for pool in range(cache.pools.size):
        state = cache.pools[pool]
        state.clock = state.draws = state.count = state.age = state.ghosts = 0
        state.hand = state.lists if code == SIEVE else -1
        state.has_evicted, state.target, state.weight = False, 0.0, 0.5
        state.stream = substream(stream, pool)
    if cache.groups.size:
        clear_ranking(cache)


@inner
def on_hit(code: int, cache: Cache, pool: int, item: int) -> None:
    """Notes that an item was used which the pool holds."""
    entry, lists = cache.entries[item], cache.pools[pool].lists
    if code == LRU:
        move(cache, lists + FIRST, item)
    elif code in (CLOCK, SIEVE):
        entry.uses = 1
    elif code == S3_FIFO:
        entry.uses = min(entry.uses + 1, S3_MOST_USES)
    elif code == TWO_Q:
        if entry.place == lists + SECOND:
            move(cache, lists + SECOND, item)
    elif code == SLRU:
        slru_hit(cache, pool, item)
    elif code == ARC:
        move(cache, lists + SECOND, item)
    elif code in (LFU, LFU_DA):
        entry.uses += 1
        raise_rank(cache, pool, item, entry.uses + cache.pools[pool].age)
    elif code == LECAR:
        lecar_hit(cache, pool, item)


@inner
def choose_victim(code: int, cache: Cache, pool: int, incoming: int, evictable: Flags) -> int:
    """Returns the item that goes to make room for another, -1 where none of the pool can be evicted.

    It is still there: `on_evict` is to be called when it has left.

    Args:
        code: Of the algorithm.
        cache: What it remembers of the episode.
        pool: Which pool.
        incoming: The item for which room is made.
        evictable: bool (N,), which items may be evicted; of other pools, and of those that are not there, it is not
            looked at.
    """
    _recall(code, cache, pool, incoming)
    lists = cache.pools[pool].lists
    if code in (FIFO, LRU):
        return oldest_evictable(cache, lists + FIRST, evictable)
    if code == CLOCK:
        return second_chance(cache, lists + FIRST, evictable)
    if code == SIEVE:
        return sieve_victim(cache, pool, evictable)
    return _choose_otherwise(code, cache, pool, incoming, evictable)


@inner
def _choose_otherwise(code: int, cache: Cache, pool: int, incoming: int, evictable: Flags) -> int:
    victim = -1
    if code == S3_FIFO:
        victim = s3_fifo_victim(cache, pool, evictable)
    elif code == TWO_Q:
        victim = two_q_victim(cache, pool, evictable)
    elif code == SLRU:
        lists = cache.pools[pool].lists
        victim = oldest_of_two(cache, lists + FIRST, lists + SECOND, evictable)
    elif code == ARC:
        victim = arc_victim(cache, pool, incoming, evictable)
    elif code in (LFU, LFU_DA):
        victim = least_evictable(cache, pool, evictable)
    elif code == LECAR:
        victim = lecar_victim(cache, pool, evictable)
    elif code == RANDOM:
        victim = random_victim(cache, pool, evictable)
    return victim


@inner
def on_insert(code: int, cache: Cache, pool: int, item: int, size: int) -> None:
    """Notes that an item was given a place.

    Args:
        code: Of the algorithm.
        cache: What it remembers of the episode.
        pool: Of the item.
        item: Which the pool did not hold.
        size: Bytes that it takes.
    """
    _recall(code, cache, pool, item)
    entry, lists = cache.entries[item], cache.pools[pool].lists
    was_ghost = entry.place < ABSENT
    entry.size = size
    if code in (FIFO, LRU, CLOCK, SIEVE, SLRU):
        entry.uses = 0
        append(cache, lists + FIRST, item)
    elif code == S3_FIFO:
        entry.uses = 0
        s3_fifo_insert(cache, pool, item, was_ghost)
    elif code == TWO_Q:
        append(cache, lists + SECOND if was_ghost else lists + FIRST, item)
    elif code == ARC:
        arc_insert(cache, pool, item, was_ghost)
    elif code in (LFU, LFU_DA):
        entry.uses = 1
        rank(cache, pool, item, 1 + cache.pools[pool].age)
    elif code == LECAR:
        lecar_insert(cache, pool, item, was_ghost)
    elif code == RANDOM:
        random_insert(cache, pool, item)


@inner
def on_evict(code: int, cache: Cache, pool: int, item: int) -> None:
    """Notes that an item has left which the pool held."""
    entry, state = cache.entries[item], cache.pools[pool]
    if code == SIEVE and state.hand == item:
        state.hand = entry.newer
    is_new = entry.place == state.lists + FIRST
    if code == S3_FIFO and is_new:
        remember(cache, item, state.lists + FIRST_GHOSTS, share(cache, pool, S3_GHOSTS))
    elif code == TWO_Q and is_new:
        remember(cache, item, state.lists + FIRST_GHOSTS, share(cache, pool, TWO_Q_OUT))
    elif code == ARC:
        move(cache, entry.place + FIRST_GHOSTS, item)
    elif code in (LFU, LFU_DA):
        if code == LFU_DA:
            lfu_da_evicted(cache, pool, item)
        unrank(cache, item)
    elif code == LECAR:
        lecar_evicted(cache, pool, item)
    elif code == RANDOM:
        random_evicted(cache, pool, item)
    else:
        remove(cache, item)
    state.has_evicted = True


@inner
def _recall(code: int, cache: Cache, pool: int, item: int) -> None:
    """Takes an item that is asked for out of its list of ghosts, and learns from it.

    Until it is inserted, its place says which list that was.
    """
    if code not in (S3_FIFO, TWO_Q, ARC, LECAR):
        return
    ghosts = cache.entries[item].place - cache.pools[pool].lists
    if ghosts < FIRST_GHOSTS:
        return
    if code == ARC:
        arc_recall(cache, pool, item)
    elif code == LECAR:
        lecar_recall(cache, pool, item)
    remove(cache, item)
    cache.entries[item].place = -ghosts
