"""Algorithms that keep items in one or two lists: FIFO, LRU, CLOCK, SIEVE, SLRU, 2Q, S3-FIFO, ARC.

Shares of a pool are in bytes, rounded down. Where all items have one size of 1, they are in places.
"""

from __future__ import annotations

from ....compilation import inner
from .lists import (
    FIRST,
    FIRST_GHOSTS,
    SECOND,
    SECOND_GHOSTS,
    Cache,
    Flags,
    append,
    move,
    oldest_evictable,
    remove,
    second_chance,
    trim,
)

SLRU_PROTECTED = 0.8
"""Of the pool, protected: Karedla et al. leave it to the workload; this is W-TinyLFU's main cache, Einziger, Friedman,
Manes 2017, doi:10.1145/3149371."""

TWO_Q_IN = 0.25
"""Of the pool, for new items (Kin): Johnson and Shasha 1994, section 3.2."""

TWO_Q_OUT = 0.5
"""Of the pool, for ghosts (Kout): as before."""

S3_SMALL = 0.1
"""Of the pool, for new items: Yang et al. 2023, section 4."""

S3_GHOSTS = 0.9
"""Of the pool, for ghosts, as much as for the main queue: as before."""

S3_PROMOTED = 2
"""Uses after which an item goes on to the main queue: as before, algorithm 1."""

S3_MOST_USES = 3
"""Where counting ends: two bits, as before."""


@inner
def share(cache: Cache, pool: int, part: float) -> int:
    """Returns a part of a pool in whole bytes."""
    return int(cache.pools[pool].capacity * part)


@inner
def sieve_victim(cache: Cache, pool: int, evictable: Flags) -> int:
    """Returns SIEVE's victim: from the hand to newer items, the first without a mark; marks on the way are cleared.

    Behind the newest it goes on with the oldest. The hand passes items that cannot be evicted, and their marks stay.
    After two rounds no evictable item has a mark. Zhang et al., NSDI 2024 (no DOI), algorithm 1.
    """
    entries, state = cache.entries, cache.pools[pool]
    end, item, rounds = state.lists, state.hand, 0
    while True:
        if item == end:
            if rounds == 2:
                return -1
            rounds += 1
        elif evictable[item]:
            if entries[item].uses == 0:
                state.hand = item
                return int(item)
            entries[item].uses = 0
        item = entries[item].newer


@inner
def slru_hit(cache: Cache, pool: int, item: int) -> None:
    """Protects an item that is used again; what the protected list cannot hold goes back to the other one.

    Karedla, Love, Wherry 1994, doi:10.1109/2.268884.
    """
    first = cache.pools[pool].lists + FIRST
    second = cache.pools[pool].lists + SECOND
    move(cache, second, item)
    limit = share(cache, pool, SLRU_PROTECTED)
    while cache.entries[second].size > limit:
        move(cache, first, cache.entries[second].newer)


@inner
def two_q_victim(cache: Cache, pool: int, evictable: Flags) -> int:
    """Returns 2Q's victim: the oldest new item if they hold more than `TWO_Q_IN`, else the oldest of the others.

    Where that list has none to evict, it is the oldest of the other list. Johnson and Shasha, VLDB 1994 (no DOI).
    """
    first, second = cache.pools[pool].lists + FIRST, cache.pools[pool].lists + SECOND
    takes_new = cache.entries[first].size > share(cache, pool, TWO_Q_IN)
    return oldest_of_two(cache, first if takes_new else second, second if takes_new else first, evictable)


@inner
def oldest_of_two(cache: Cache, end: int, other: int, evictable: Flags) -> int:
    """Returns the oldest evictable item of a list, or where it has none, of another."""
    victim = oldest_evictable(cache, end, evictable)
    return victim if victim >= 0 else oldest_evictable(cache, other, evictable)


@inner
def s3_fifo_victim(cache: Cache, pool: int, evictable: Flags) -> int:
    """Returns S3-FIFO's victim.

    If the small queue holds `S3_SMALL` of the pool or more, it is that queue's oldest item that was used less than
    `S3_PROMOTED` times; those that were used more go to the main queue on the way. Otherwise it is the main queue's
    oldest that has no uses left (a second chance for each use). Where one queue has none, the other is asked.
    Items that cannot be evicted keep their place in the main queue.

    Yang et al., SOSP 2023, doi:10.1145/3600006.3613147.
    """
    first, second = cache.pools[pool].lists + FIRST, cache.pools[pool].lists + SECOND
    in_small = cache.entries[first].size >= share(cache, pool, S3_SMALL)
    for _ in range(4):
        victim = _promote(cache, first, second, evictable) if in_small else second_chance(cache, second, evictable)
        if victim >= 0:
            return victim
        in_small = not in_small
    return -1


@inner
def _promote(cache: Cache, small: int, main: int, evictable: Flags) -> int:
    """Returns the small queue's oldest evictable item of few uses, -1 for none; promotes older ones of more."""
    entries = cache.entries
    item = entries[small].newer
    while item != small:
        newer = entries[item].newer
        if entries[item].uses >= S3_PROMOTED:
            entries[item].uses = 0
            move(cache, main, item)
        elif evictable[item]:
            return int(item)
        item = newer
    return -1


@inner
def s3_fifo_insert(cache: Cache, pool: int, item: int, was_ghost: bool) -> None:
    """Puts a new item into the small queue, one that was a ghost into the main queue.

    Until the first eviction what the small queue cannot hold goes to the main queue, as in the authors' simulator.
    """
    first, second = cache.pools[pool].lists + FIRST, cache.pools[pool].lists + SECOND
    is_filling = not cache.pools[pool].has_evicted and cache.entries[first].size >= share(cache, pool, S3_SMALL)
    append(cache, second if was_ghost or is_filling else first, item)


@inner
def arc_recall(cache: Cache, pool: int, item: int) -> None:
    """Learns from a ghost that is asked for: the list that it left should have been longer, by its bytes or more.

    The target of the first list changes by size x max(1, the other ghosts' bytes / those of its own list).
    Megiddo and Modha, FAST 2003 (no DOI), figure 4, cases II and III.
    """
    entries, state = cache.entries, cache.pools[pool]
    first, second = entries[state.lists + FIRST_GHOSTS].size, entries[state.lists + SECOND_GHOSTS].size
    if entries[item].place == state.lists + FIRST_GHOSTS:
        step = entries[item].size * max(1.0, second / first)
        state.target = min(state.target + step, float(state.capacity))
    else:
        step = entries[item].size * max(1.0, first / second)
        state.target = max(state.target - step, 0.0)


@inner
def arc_victim(cache: Cache, pool: int, incoming: int, evictable: Flags) -> int:
    """Returns ARC's victim: the oldest of the first list if that holds more than its target, else of the second.

    It is also the first list's if it holds just its target, and the incoming item was a ghost of the second. Where the
    list has none to evict, it is the oldest of the other. Megiddo and Modha, FAST 2003, figure 4, REPLACE.
    """
    state = cache.pools[pool]
    first, second = state.lists + FIRST, state.lists + SECOND
    held = cache.entries[first].size
    takes_first = held > state.target or (held == state.target and cache.entries[incoming].place == -SECOND_GHOSTS)
    return oldest_of_two(cache, first if takes_first else second, second if takes_first else first, evictable)


@inner
def arc_insert(cache: Cache, pool: int, item: int, was_ghost: bool) -> None:
    """Puts an item into the first list, or if it was a ghost, into the second, and forgets the oldest ghosts.

    First list and ghosts of the first list hold at most the pool's bytes together, all lists at most twice as many:
    the pages that Megiddo and Modha, figure 4, case IV, delete before replacing.
    """
    entries, state = cache.entries, cache.pools[pool]
    end = state.lists
    append(cache, end + SECOND if was_ghost else end + FIRST, item)
    trim(cache, end + FIRST_GHOSTS, max(state.capacity - entries[end + FIRST].size, 0))
    others = entries[end + FIRST].size + entries[end + SECOND].size + entries[end + FIRST_GHOSTS].size
    trim(cache, end + SECOND_GHOSTS, max(2 * state.capacity - others, 0))


@inner
def remember(cache: Cache, item: int, ghosts: int, limit: int) -> None:
    """Makes an item that leaves a ghost, and forgets the oldest ones beyond a limit."""
    remove(cache, item)
    append(cache, ghosts, item)
    trim(cache, ghosts, limit)
