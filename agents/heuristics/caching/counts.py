"""Algorithms that count or draw: LFU, LFU-DA, LeCaR, random."""

from __future__ import annotations

import math

from ....compilation import inner
from ....workloads.counter_random import random_integer, random_uniform
from .lists import (
    FIRST,
    FIRST_GHOSTS,
    SECOND_GHOSTS,
    Cache,
    Flags,
    append,
    num_items_of,
    oldest_evictable,
    remove,
    trim,
)
from .ranking import key_of, least_evictable, raise_rank, rank, unrank

LECAR_RATE = 0.45
"""Learning rate: Vietri et al. 2018, section 3."""

LECAR_DISCOUNT = 0.005
"""What regret has come to after as many accesses as the pool has places: as before."""

LECAR_LEAST = 0.01
"""Least weight of an expert, as in the authors' program."""

LECAR_GHOSTS = 0.5
"""Of the pool, for the ghosts of each expert, as in the authors' program."""


@inner
def lfu_da_evicted(cache: Cache, pool: int, item: int) -> None:
    """Lets the pool's age be the key of the last item that was evicted.

    A key is uses + age at the last use. Arlitt et al. 2000, doi:10.1145/346000.346003.
    """
    cache.pools[pool].age = max(cache.pools[pool].age, key_of(cache, item))


@inner
def lecar_hit(cache: Cache, pool: int, item: int) -> None:
    """Notes a use for both experts."""
    entry = cache.entries[item]
    remove(cache, item)
    append(cache, cache.pools[pool].lists + FIRST, item)
    entry.uses += 1
    raise_rank(cache, pool, item, entry.uses)
    cache.pools[pool].clock += 1


@inner
def lecar_recall(cache: Cache, pool: int, item: int) -> None:
    """Learns from a ghost that is asked for: the expert that evicted it loses weight, the less the longer ago it was.

    Its weight is multiplied by exp(-rate x 0.005^(t / n)), with t accesses since then and n places of the item's size
    in the pool; then both are divided by their sum, and none is less than `LECAR_LEAST`.
    """
    entry, state = cache.entries[item], cache.pools[pool]
    ago = (state.clock - entry.left_at) * (entry.size / state.capacity)
    factor = math.exp(-LECAR_RATE * LECAR_DISCOUNT**ago)
    by_recency, by_uses = state.weight, 1.0 - state.weight
    if entry.place == state.lists + FIRST_GHOSTS:
        by_recency *= factor
    else:
        by_uses *= factor
    state.weight = min(max(by_recency / (by_recency + by_uses), LECAR_LEAST), 1.0 - LECAR_LEAST)


@inner
def lecar_victim(cache: Cache, pool: int, evictable: Flags) -> int:
    """Returns LeCaR's victim: that of LRU or that of LFU, drawn by the weights of these experts.

    Vietri et al., HotStorage 2018 (no DOI). Among items of equal use LFU takes the least recently used.
    """
    state = cache.pools[pool]
    oldest = oldest_evictable(cache, state.lists + FIRST, evictable)
    if oldest < 0:
        return -1
    rarest = least_evictable(cache, pool, evictable)
    by_recency = random_uniform(state.stream, state.draws) <= state.weight
    state.draws += 1
    state.hand = oldest if by_recency else rarest
    state.ghosts = FIRST_GHOSTS if by_recency else SECOND_GHOSTS
    if oldest == rarest:
        state.ghosts = 0
    return int(state.hand)


@inner
def lecar_insert(cache: Cache, pool: int, item: int, was_ghost: bool) -> None:
    """Takes in an item; one that was a ghost has its uses still, as in the authors' program."""
    entry = cache.entries[item]
    entry.uses = entry.uses + 1 if was_ghost else 1
    append(cache, cache.pools[pool].lists + FIRST, item)
    rank(cache, pool, item, entry.uses)
    cache.pools[pool].clock += 1


@inner
def lecar_evicted(cache: Cache, pool: int, item: int) -> None:
    """Makes an item a ghost of the expert that chose it; of none if both did, or something else."""
    state = cache.pools[pool]
    unrank(cache, item)
    remove(cache, item)
    if item == state.hand and state.ghosts:
        cache.entries[item].left_at = state.clock
        ghosts = state.lists + state.ghosts
        append(cache, ghosts, item)
        trim(cache, ghosts, int(state.capacity * LECAR_GHOSTS))
    state.hand = -1


@inner
def random_victim(cache: Cache, pool: int, evictable: Flags) -> int:
    """Returns an evictable item, each with the same probability, -1 for none."""
    state = cache.pools[pool]
    begin = _first_drawn(cache, pool)
    left = state.count
    while left > 0:
        position = random_integer(state.stream, state.draws, left)
        state.draws += 1
        item = cache.drawn[begin + position]
        if evictable[item]:
            return int(item)
        left -= 1
        _put(cache, begin, position, cache.drawn[begin + left])
        _put(cache, begin, left, item)
    return -1


@inner
def random_insert(cache: Cache, pool: int, item: int) -> None:
    """Takes in an item."""
    _put(cache, _first_drawn(cache, pool), cache.pools[pool].count, item)
    cache.pools[pool].count += 1


@inner
def random_evicted(cache: Cache, pool: int, item: int) -> None:
    """Lets the last item take the place of one that leaves."""
    begin = _first_drawn(cache, pool)
    cache.pools[pool].count -= 1
    _put(cache, begin, cache.entries[item].place, cache.drawn[begin + cache.pools[pool].count])


@inner
def _first_drawn(cache: Cache, pool: int) -> int:
    return int(num_items_of(cache) // cache.pools.size * pool)


@inner
def _put(cache: Cache, begin: int, position: int, item: int) -> None:
    cache.drawn[begin + position] = item
    cache.entries[item].place = position
