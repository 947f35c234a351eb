"""What a cache algorithm remembers: doubly linked lists through one record an item, without allocation.

Each pool has four lists, two of items that it holds and two of ghosts: items that it held lately. A list is a ring
that begins and ends in a record of its own, so nothing is a special case.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....compilation import inner

Records = NDArray[Any]
Flags = NDArray[np.bool_]

LISTS = 4
"""Of a pool: two of items that it holds, two of ghosts."""

FIRST, SECOND, FIRST_GHOSTS, SECOND_GHOSTS = range(LISTS)

ABSENT = -1
"""The place of an item that is in no list. One that was a ghost until it was asked for has place ``-FIRST_GHOSTS`` or
``-SECOND_GHOSTS`` until it is inserted."""

ENTRY = np.dtype(
    [
        ("newer", np.int32),  # the next item of the list, from oldest to newest
        ("older", np.int32),
        ("place", np.int32),  # the end of its list, or ABSENT; with `random` its position in `Cache.drawn`
        ("uses", np.int32),  # how often it was used, or a mark that it was; the algorithm says
        ("size", np.int64),  # bytes; of a list's end, of all items of the list
        ("left_at", np.int64),  # the pool's clock when it became a ghost
    ],
    align=True,
)
"""An item, or the end of a list: its oldest item is ``newer``, its newest is ``older``."""

POOL = np.dtype(
    [
        ("capacity", np.int64),  # bytes
        ("lists", np.int64),  # the end of its first list; the others follow
        ("clock", np.int64),  # accesses so far
        ("hand", np.int64),  # SIEVE: where the search goes on; LeCaR: the item that was chosen
        ("ghosts", np.int64),  # LeCaR: the list of ghosts where that item belongs, 0 for none
        ("has_evicted", np.bool_),  # S3-FIFO
        ("target", np.float64),  # ARC: bytes that its first list should hold
        ("age", np.int64),  # LFU-DA
        ("weight", np.float64),  # LeCaR: the probability of a decision by recency
        ("stream", np.uint64),  # of its random numbers
        ("draws", np.int64),  # random numbers so far
        ("count", np.int64),  # random: items that it holds
    ],
    align=True,
)
"""What a pool remembers besides its lists."""

RANK = np.dtype([("newer", np.int32), ("older", np.int32), ("group", np.int32)], align=True)
"""An item among those of equal rank, by recency; after the items come the ends of the groups' lists."""

GROUP = np.dtype([("key", np.int64), ("above", np.int32), ("below", np.int32)], align=True)
"""Items of equal rank, in a ring by rank. The first groups are the ends of the pools' rings, the last is the head of
the list of unused groups, which are linked by ``above``."""


class Cache(NamedTuple):
    """What an algorithm remembers of B episodes with N items in P pools; in kernels, of one of them.

    Items are numbered pool by pool, as many in each.
    """

    entries: Records  # (B, N + 4 P) of ENTRY
    pools: Records  # (B, P) of POOL
    ranks: Records  # (B, 2 N + P + 2) of RANK, where the algorithm ranks items
    groups: Records  # (B, N + P + 2) of GROUP, where it does
    drawn: NDArray[np.int32]  # (B, N) the items that each pool holds, where they are drawn

    @classmethod
    def of(cls, num_rows: int, num_items: int, capacity: NDArray[np.int64], ranks: bool, draws: bool) -> Cache:
        """Returns room for B episodes, not cleared.

        Args:
            num_rows: B.
            num_items: N, a multiple of P.
            capacity: int64 (P,), bytes.
            ranks: Whether the algorithm ranks items.
            draws: Whether it draws items.
        """
        num_pools = len(capacity)
        pools = np.zeros((num_rows, num_pools), POOL)
        pools["capacity"] = capacity
        pools["lists"] = num_items + LISTS * np.arange(num_pools)
        num_groups = num_items + num_pools + 2 if ranks else 0
        return cls(
            entries=np.zeros((num_rows, num_items + LISTS * num_pools), ENTRY),
            pools=pools,
            ranks=np.zeros((num_rows, num_items + num_groups if ranks else 0), RANK),
            groups=np.zeros((num_rows, num_groups), GROUP),
            drawn=np.zeros((num_rows, num_items if draws else 0), np.int32),
        )


@inner
def cache_at(cache: Cache, row: int) -> Any:
    """Returns what is remembered of one episode."""
    return Cache(cache.entries[row], cache.pools[row], cache.ranks[row], cache.groups[row], cache.drawn[row])


@inner
def num_items_of(cache: Cache) -> int:
    """Returns N."""
    return int(cache.entries.size - LISTS * cache.pools.size)


@inner
def unlink(links: Records, item: int) -> None:
    """Takes an item out of the ring that it is in."""
    newer, older = links[item].newer, links[item].older
    links[older].newer = newer
    links[newer].older = older


@inner
def link(links: Records, end: int, item: int) -> None:
    """Puts an item at the newest end of a ring."""
    newest = links[end].older
    links[item].older, links[item].newer = newest, end
    links[newest].newer = item
    links[end].older = item


@inner
def append(cache: Cache, end: int, item: int) -> None:
    """Puts an item that is in no list at the newest end of one."""
    entry = cache.entries[item]
    link(cache.entries, end, item)
    entry.place = end
    cache.entries[end].size += entry.size


@inner
def remove(cache: Cache, item: int) -> None:
    """Takes an item out of its list."""
    entry = cache.entries[item]
    unlink(cache.entries, item)
    cache.entries[entry.place].size -= entry.size
    entry.place = ABSENT


@inner
def move(cache: Cache, end: int, item: int) -> None:
    """Puts an item at the newest end of another list, or of its own."""
    remove(cache, item)
    append(cache, end, item)


@inner
def trim(cache: Cache, end: int, limit: int) -> None:
    """Drops the oldest items of a list until it holds no more bytes than its limit."""
    while cache.entries[end].size > limit:
        remove(cache, cache.entries[end].newer)


@inner
def oldest_evictable(cache: Cache, end: int, evictable: Flags) -> int:
    """Returns the oldest item of a list that may be evicted, -1 for none."""
    item = cache.entries[end].newer
    while item != end:
        if evictable[item]:
            return int(item)
        item = cache.entries[item].newer
    return -1


@inner
def second_chance(cache: Cache, end: int, evictable: Flags) -> int:
    """Returns the oldest evictable item that has no uses left; those that have lose one, and become the newest.

    Items that cannot be evicted keep their place. Returns -1 where none can.
    """
    entries = cache.entries
    item = entries[end].newer
    while item != end:
        older = entries[item].older
        if evictable[item]:
            if entries[item].uses == 0:
                return int(item)
            entries[item].uses -= 1
            unlink(entries, item)
            link(entries, end, item)
            item = entries[older].newer
        else:
            item = entries[item].newer
    return -1
