"""Items by rank: groups of equal keys in ascending order, and within a group by recency.

Shah, Mitra, Matani 2010, An O(1) algorithm for implementing the LFU cache eviction scheme, arXiv:2110.11602. An item
whose key grows passes the groups between its old key and its new one: none or one where keys grow by one.
"""

from __future__ import annotations

from ....compilation import inner
from .lists import Cache, Flags, link, num_items_of, unlink


@inner
def clear_ranking(cache: Cache) -> None:
    """Takes all items out of all groups."""
    groups, num_pools = cache.groups, cache.pools.size
    for pool in range(num_pools):
        groups[pool].above = groups[pool].below = pool
    for group in range(num_pools, groups.size - 1):
        groups[group].above = group + 1
    groups[groups.size - 1].above = num_pools


@inner
def rank(cache: Cache, pool: int, item: int, key: int) -> None:
    """Puts an item into the group of its key, as the newest."""
    _rank_above(cache, pool, pool, item, key)


@inner
def raise_rank(cache: Cache, pool: int, item: int, key: int) -> None:
    """Gives an item a key that is not less than its old one, and makes it the newest of its group."""
    _rank_above(cache, pool, _leave(cache, item), item, key)


@inner
def unrank(cache: Cache, item: int) -> None:
    """Takes an item out of its group."""
    _leave(cache, item)


@inner
def key_of(cache: Cache, item: int) -> int:
    """Returns the key of an item."""
    return int(cache.groups[cache.ranks[item].group].key)


@inner
def least_evictable(cache: Cache, pool: int, evictable: Flags) -> int:
    """Returns the evictable item of least key, the oldest of equals; -1 for none."""
    groups, ranks, num_items = cache.groups, cache.ranks, num_items_of(cache)
    group = groups[pool].above
    while group != pool:
        end = num_items + group
        item = ranks[end].newer
        while item != end:
            if evictable[item]:
                return int(item)
            item = ranks[item].newer
        group = groups[group].above
    return -1


@inner
def _rank_above(cache: Cache, pool: int, below: int, item: int, key: int) -> None:
    """Puts an item into the group of its key, which is ``below`` or comes after it."""
    groups, ranks = cache.groups, cache.ranks
    above = groups[below].above
    while above != pool and groups[above].key <= key:
        below, above = above, groups[above].above
    group = below
    if below == pool or groups[below].key < key:
        group = _new_group(cache, below, key)
    ranks[item].group = group
    link(ranks, num_items_of(cache) + group, item)


@inner
def _new_group(cache: Cache, below: int, key: int) -> int:
    """Returns a group without items, above another."""
    groups, unused = cache.groups, cache.groups.size - 1
    group = groups[unused].above
    groups[unused].above = groups[group].above
    above = groups[below].above
    groups[group].key, groups[group].above, groups[group].below = key, above, below
    groups[below].above = groups[above].below = group
    end = num_items_of(cache) + group
    cache.ranks[end].newer = cache.ranks[end].older = end
    return int(group)


@inner
def _leave(cache: Cache, item: int) -> int:
    """Takes an item out of its group, and returns that group, or if nothing is left of it, the one below."""
    groups, ranks, unused = cache.groups, cache.ranks, cache.groups.size - 1
    group = ranks[item].group
    unlink(ranks, item)
    end = num_items_of(cache) + group
    if ranks[end].newer != end:
        return int(group)
    below, above = groups[group].below, groups[group].above
    groups[below].above, groups[above].below = above, below
    groups[group].above = groups[unused].above
    groups[unused].above = group
    return int(below)
