"""What no decisions can be better than: the fewest loads of an episode, and a lower bound on its stall."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from ...compilation import kernel
from ...errors import HetgymError
from .instance import FloatArray, Instance, IntArray
from .rules import Items, Rules


def fewest_loads(instance: Instance, rules: Rules, window: tuple[int, int] | None = None) -> IntArray:
    """Returns how many loads each event adds to the fewest with which it and all events before it can be played.

    They are the misses of Belady's rule with bypass (1966, doi:10.1147/sj.52.0078), event by event, of a cache that is
    freer than that of the rules: a pool holds any items, as many as it holds of its smallest, and after an event it
    keeps those of what it held and what the event used that are used again first, hits or not.

    Proof, by words of two such caches, one of which holds x where the other holds y, and x is used again before y or in
    the same event. The first can do what the second does, with x for y, until an event uses x. If that uses y as well,
    both can keep the same after it. If not, the first has one hit more, and after it differs in one item at
    most, which costs one hit at most. So whatever is kept, an item that is used sooner is as good, for the events up to
    any at all: items that are not used up to there come last. And a prefetch can wait until its item is used, at
    which it is a miss: so prefetches included, no fewer loads have been decided when an event ends.

    Args:
        instance: What is played.
        rules: How.
        window: The first event and the end of what is played; by default all.

    Returns:
        int64 (events,).
    """
    first, end = window or (0, instance.num_events)
    items = instance.items
    entries = instance.entries[instance.events["first"][first] : instance.events["first"][end]]
    event = np.repeat(np.arange(end - first), np.diff(instance.events["first"][first : end + 1]))
    size = items.kinds["high_bytes"][items.kind].reshape(len(items.capacity), -1)
    slots = np.minimum(items.capacity // size.min(axis=1), size.shape[1])
    first_use = np.full(items.num_items, end - first)
    first_use[entries["item"][::-1]] = event[::-1]
    is_held = (size.cumsum(axis=1) <= items.capacity[:, None]) & (rules.start == "warm")
    held_until = np.where(is_held.reshape(-1), first_use, -1)
    loads = np.zeros(end - first, np.int64)
    room = np.full(items.num_items, end - first), np.empty(len(event), np.int64)
    _play_freely(entries["item"], event, slots, is_held.sum(axis=1), held_until, *room, loads)
    return loads


@kernel
def _play_freely(
    items: NDArray[np.int32],
    event: IntArray,
    slots: IntArray,
    held: IntArray,
    held_until: IntArray,
    next_use: IntArray,
    following: IntArray,
    loads: IntArray,
) -> None:
    """Counts the loads of each event.

    Args:
        items: (X,), what each entry uses.
        event: (X,), of each entry.
        slots: (pools,), items that each can hold.
        held: (pools,), items that each holds.
        held_until: (N,), the event that uses an item next, for items that are held; -1 for others.
        next_use: (N,), the number of events; room.
        following: (X,), room.
        loads: (events,), zeros; written.
    """
    for x in range(event.size - 1, -1, -1):
        following[x] = next_use[items[x]]
        next_use[items[x]] = event[x]
    items_in_pool = held_until.size // slots.size
    for x in range(event.size):
        pool = items[x] // items_in_pool
        if held_until[items[x]] < 0:
            loads[event[x]] += 1
            held[pool] += 1
        held_until[items[x]] = following[x]
        is_last = x + 1 == event.size or event[x + 1] != event[x]
        while is_last and held[pool] > slots[pool]:
            last = pool * items_in_pool
            for item in range(pool * items_in_pool, (pool + 1) * items_in_pool):
                if held_until[item] > held_until[last]:
                    last = item
            held_until[last] = -1
            held[pool] -= 1


def stall_lower_bound(instance: Instance, rules: Rules, window: tuple[int, int] | None = None) -> float:
    """Returns a lower bound on the stall of every way to play an episode, seconds.

    Let a load take l seconds (the least of any), and let B(t) be the sum of `fewest_loads` up to event t.

    Without prefetches: an event with m misses begins to load when its routing is known and the policy has taken its
    `event_time`, say a seconds after its start (a < 0 with `early_router`), one after another; its j-th load arrives
    after a + j l at the earliest, and then m - j + 1 entries are still to be computed, which takes P(m - j + 1) seconds
    at least, those of the shortest. As P is convex, j = 1 or j = m says most: the event's stall is at least

        f(m) = max(a, 0, a + max(m l + P(1), l + P(m)) - ideal),    f(0) = max(a, 0),

    which is convex: a maximum of convex functions from m = 1 on, and f(1) - f(0) <= l <= f(2) - f(1) unless f(1) =
    f(0). All events up to t have at least B(t) misses, one that uses an item first after a cold start has that miss,
    and none has more misses than entries. The bound is the least sum of f under these conditions, for each pool. It is
    found by adding misses one by one, as the events go by, wherever they cost least: as f is convex and the conditions
    are nested, the cheapest can be exchanged for any that a better solution had.

    With prefetches: the link carries nothing until the first event's routing is known, then one load at a time; when
    event t ends, it has carried B(t) items that have been computed, the last for P(1) at least. Until then device and
    attention have had work for the sum of dense + ideal, and the rest was stall; each later event stalls for max(a, 0).

    Args:
        instance: What is played.
        rules: How.
        window: The first event and the end of what is played; by default all.

    Raises:
        HetgymError: If it is decided how misses are served: the CPU or low precision can make up for stalls.
    """
    if "miss" in rules.decisions and set(rules.ways) != {"load"}:
        ways = ", ".join(rules.ways)
        raise HetgymError(
            f"decisions: no bound on the stall is known where misses are served by {ways}; leave miss out"
        )
    first, end = window or (0, instance.num_events)
    loads = fewest_loads(instance, rules, (first, end))
    if "prefetch" in rules.decisions and rules.prefetch_depth > 0:
        return _bound_of_link(instance, rules, first, end, loads)
    return _bound_of_events(instance, rules, first, end, loads)


def _load_seconds(items: Items) -> float:
    """Returns the seconds of the shortest load at high precision."""
    return float(min(items.kinds["load_high"].min(), items.kinds["ssd_high"].min()))


def _device_seconds(instance: Instance, first: int, end: int) -> FloatArray:
    """Returns how long the device computes each entry of some events at high precision, seconds, (entries,)."""
    entries = instance.entries[instance.events["first"][first] : instance.events["first"][end]]
    kinds = instance.items.kinds[instance.items.kind[entries["item"]]]
    seconds: FloatArray = np.maximum(kinds["floor_high"], entries["tokens"] * kinds["slope"])
    return seconds


def _waits(instance: Instance, rules: Rules, first: int, end: int) -> FloatArray:
    """Returns how long after its start the first load of each event can begin, seconds; negative if before."""
    dense = instance.events["dense"][first:end]
    return rules.event_time - dense if rules.early_router else np.full(end - first, rules.event_time)


def _bound_of_link(instance: Instance, rules: Rules, first: int, end: int, loads: IntArray) -> float:
    """Returns the bound on the stall where items can be prefetched."""
    events = instance.events[first:end]
    least = np.maximum(_waits(instance, rules, first, end), 0.0)
    begin = rules.event_time + (0.0 if rules.early_router else float(events["dense"][0]))
    shortest = float(_device_seconds(instance, first, end).min())
    carried = begin + np.cumsum(loads) * _load_seconds(instance.items) + shortest
    worked = np.cumsum(events["dense"] + events["ideal"])
    after = least.sum() - np.cumsum(least)
    return max(float(least.sum()), float((carried - worked + after).max()))


def _bound_of_events(instance: Instance, rules: Rules, first: int, end: int, loads: IntArray) -> float:
    """Returns the bound on the stall where misses are loaded when they are found."""
    starts = instance.events["first"][first : end + 1] - instance.events["first"][first]
    entries = instance.entries[instance.events["first"][first] : instance.events["first"][end]]
    event = np.repeat(np.arange(end - first), np.diff(starts))
    waits = _waits(instance, rules, first, end)
    stall = _stalls_by_misses(instance, first, end, waits, starts, event)
    dearer = stall - np.concatenate([[0.0], stall[:-1]])
    dearer[starts[:-1]] = stall[starts[:-1]] - np.maximum(waits, 0.0)
    certain = np.zeros(end - first, np.int64)
    if rules.start == "cold":
        certain = np.bincount(event[np.unique(entries["item"], return_index=True)[1]], minlength=end - first)
    num_pools = len(instance.items.capacity)
    pool = instance.events["layer"][first:end] if num_pools > 1 else np.zeros(end - first, np.int64)
    total = float(np.maximum(waits, 0.0).sum())
    for one in range(num_pools):
        total += _least_stall(np.flatnonzero(pool == one), dearer, starts, certain, loads)
    return total


def _stalls_by_misses(
    instance: Instance, first: int, end: int, waits: FloatArray, starts: IntArray, event: IntArray
) -> FloatArray:
    """Returns how much each event stalls at least with one miss, two, ... as many as it has entries, (entries,)."""
    seconds = _device_seconds(instance, first, end)
    ascending = seconds[np.lexsort((seconds, event))]
    summed = np.cumsum(ascending)
    shortest = summed - (summed[starts[:-1]] - ascending[starts[:-1]])[event]
    misses = np.arange(len(event)) - starts[event] + 1
    load = _load_seconds(instance.items)
    loaded = np.maximum(misses * load + ascending[starts[:-1]][event], load + shortest)
    ideal = instance.events["ideal"][first:end]
    stall: FloatArray = np.maximum(np.maximum(waits, 0.0)[event], waits[event] + loaded - ideal[event])
    return stall


def _least_stall(events: IntArray, dearer: FloatArray, starts: IntArray, certain: IntArray, loads: IntArray) -> float:
    """Returns what the misses of a pool's events cost at least, seconds.

    Args:
        events: Those that use the pool.
        dearer: What each further miss of an event costs, seconds, (entries,).
        starts: Where each event's begin.
        certain: Misses that each event has in any case.
        loads: What each event adds to the fewest misses.
    """
    total, missing = 0.0, 0
    cheapest: list[tuple[float, int, int]] = []
    for event in events.tolist():
        begin, end = int(starts[event]) + int(certain[event]), int(starts[event + 1])
        total += float(dearer[starts[event] : begin].sum())
        missing += int(loads[event]) - int(certain[event])
        if begin < end:
            heapq.heappush(cheapest, (float(dearer[begin]), begin, end))
        while missing > 0:
            cost, position, end = heapq.heappop(cheapest)
            total += cost
            missing -= 1
            if position + 1 < end:
                heapq.heappush(cheapest, (float(dearer[position + 1]), position + 1, end))
    return total
