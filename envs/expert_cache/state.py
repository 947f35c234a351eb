"""Where episodes of expert caching stand: one record an item and episode, in pools by recency."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...compilation import inner
from ..core.simulator import Arrays
from .instance import Records
from .rules import Items, Rules
from .timeline import WHATS

ABSENT, IN_FLIGHT, RESIDENT = range(3)
"""States of an item."""

EVICT, PREFETCH, PREFETCH_EVICT, MISS, NO_DECISION = range(5)
"""Kinds of decision: a victim for a load, what to fetch early, a victim for that, how to serve a miss."""

STATUS = np.dtype(
    [
        ("seed", np.int64),
        ("episode", np.int64),
        ("slot", np.int64),  # which of the instances is played
        ("first_event", np.int64),
        ("end_event", np.int64),
        ("event", np.int64),  # the current one
        ("entry", np.int64),  # the next to be served
        ("stage", np.int64),  # of the current event
        ("kind", np.int64),  # of the decision that is wanted
        ("incoming", np.int64),  # the item for which room is made
        ("is_low", np.bool_),  # whether it comes at low precision
        ("is_over", np.bool_),
        ("pool", np.int64),  # where room is made
        ("room_at", np.float64),  # when the places of its victims become free, seconds
        ("wave", np.int64),  # items that carry it are pinned
        ("num_pinned", np.int64),
        ("num_scheduled", np.int64),  # members of U that hold places, in this wave
        ("prefetches_left", np.int64),  # that may still be decided in this event
        ("num_waiting", np.int64),  # misses that are not served yet
        ("step", np.int64),
        ("prompt", np.int64),  # counted from 1
        ("prompt_step", np.int64),  # steps since the prompt began
        ("now", np.float64),  # seconds
        ("start", np.float64),  # of the event's computation, seconds
        ("end", np.float64),  # of the last event, seconds
        ("link_free", np.float64),  # seconds
        ("device_free", np.float64),
        ("cpu_free", np.float64),
        ("queue_length", np.int64),
        ("host_free", np.int64),  # bytes
        ("host_head", np.int64),
        ("host_length", np.int64),
        ("unit", np.float64),  # seconds, of rewards and features
        ("paid_stall", np.float64),  # seconds; what rewards have counted
        ("paid_price", np.float64),
        ("paid_step", np.int64),
        ("stall", np.float64),  # seconds
        ("price", np.float64),
        ("entries", np.int64),
        ("hits", np.int64),
        ("late", np.int64),
        ("by_cpu", np.int64),
        ("skipped", np.int64),
        ("at_low", np.int64),
        ("bypasses", np.int64),
        ("evictions", np.int64),
        ("uploads", np.int64),
        ("bytes_moved", np.int64),
        ("prefetches", np.int64),
        ("prefetches_used", np.int64),
        ("decode_seconds", np.float64),
        ("prefill_seconds", np.float64),
        ("decode_steps", np.int64),
        ("decode_tokens", np.int64),
        ("prefill_tokens", np.int64),
        ("prefilled", np.int64),  # batches that have prefills
        ("log_length", np.int64),  # intervals since the episode began
    ],
    align=True,
)
"""The numbers of one episode."""

PLACE = np.dtype(
    [
        ("next", np.int32),  # in the order of recency
        ("previous", np.int32),
        ("state", np.int8),
        ("is_low", np.bool_),
        ("is_unused_prefetch", np.bool_),
        ("in_host", np.bool_),
        ("event", np.int32),  # the last that used it; -1 for none
        ("wave", np.int32),  # the wave in which it is pinned
        ("step", np.int32),  # of its last use; -1 for none
        ("loaded", np.int32),  # the step in which it was last loaded
        ("prompt", np.int32),  # to which `count` and `tokens` belong
        ("count", np.int32),  # events of the prompt that used it
        ("tokens", np.int32),  # of the prompt that used it
        ("uses", np.int32),  # events of the episode that used it
        ("score", np.float32),  # its weights, each step counting half as much as the next, up to `step`
        ("history", np.uint64),  # bit i: whether it was used i steps before `step`
        ("free_at", np.float64),  # end of its last computation, seconds
    ],
    align=True,
)
"""An item in one episode. After the items come the pools' ends of their orders of recency."""

POOL = np.dtype(
    [
        ("capacity", np.int64),  # bytes
        ("free", np.int64),  # bytes
        ("in_flight", np.int64),  # bytes
        ("reserve", np.int64),  # bytes that prefetches leave: k of its largest items
        ("num_resident", np.int64),
    ],
    align=True,
)
"""A pool in one episode."""

QUEUED = np.dtype(
    [
        ("item", np.int64),
        ("chunks", np.int64),  # that are left
        ("chunk_seconds", np.float64),
        ("chunk_bytes", np.float64),
        ("ready", np.float64),  # seconds; when it arrives, once no chunk is left
    ],
    align=True,
)
"""A prefetch in the queue."""

INTERVALS = tuple((lane, what) for lane, whats in WHATS.items() for what in whats)
"""What an interval of the timeline may be, in the order of the codes of the log."""

(
    DENSE, HIT, HIT_LOW, LATE, LOADED, LOADED_LOW, ON_CPU, SKIPPED, DEMAND, DEMAND_LOW, CHUNK, LATE_REST,
    QUEUED_PREFETCH, LOST_TO_DEMAND, LOST_TO_PREFETCH, EVENT_COST, DECISION_COST, PREFILLED, DECODED,
) = range(len(INTERVALS))  # fmt: skip

LOGGED = np.dtype(
    [
        ("interval", np.int16),  # position in INTERVALS
        ("buffer", np.int16),  # staging buffer; -1 for none
        ("event", np.int32),
        ("item", np.int32),
        ("begin", np.float64),
        ("end", np.float64),
        ("bytes", np.float64),
    ],
    align=True,
)
"""An interval of the timeline."""


class State(NamedTuple):
    """Where the episodes of a batch stand."""

    status: Records  # (B,) of STATUS
    places: Records  # (B, N + pools) of PLACE
    pools: Records  # (B, pools) of POOL
    queue: Records  # (B, Q) of QUEUED
    staging: NDArray[np.float64]  # (B, S) when each buffer becomes free, seconds
    host: NDArray[np.int32]  # (B, N) items in the host, in a ring, or (B, 0) where it holds everything
    targets: NDArray[np.int32]  # (B, W) the items that candidates 1 ... W stand for
    log: Records  # (B, R) of LOGGED; goes round

    @classmethod
    def empty(cls, num_envs: int, items: Items, rules: Rules, top_k: int, log_room: int) -> State:
        """Returns room for B episodes."""
        num_pools = len(items.capacity)
        pools = np.zeros((num_envs, num_pools), POOL)
        pools["capacity"] = items.capacity
        pools["reserve"] = top_k * items.largest
        return cls(
            status=np.zeros(num_envs, STATUS),
            places=np.zeros((num_envs, items.num_items + num_pools), PLACE),
            pools=pools,
            queue=np.zeros((num_envs, rules.queue_limit), QUEUED),
            staging=np.zeros((num_envs, rules.staging)),
            host=np.zeros((num_envs, 0 if rules.host_capacity is None else items.num_items), np.int32),
            targets=np.zeros((num_envs, rules.shown), np.int32),
            log=np.zeros((num_envs, log_room), LOGGED),
        )


class View(NamedTuple):
    """One of the two observations of a batch."""

    candidates: Any  # float32 (B, A, Fc)
    action_mask: Any  # int8 (B, A)
    context: Any  # float32 (B, Fg)
    rows: Any  # int64 (B,) candidates that are not blank

    @classmethod
    def of(cls, buffer: Arrays) -> View:
        """Returns a simulator's buffer as kernels read it."""
        return cls(
            buffer["candidates"],
            buffer["action_mask"],
            buffer["context"],
            np.full(len(buffer["context"]), buffer["action_mask"].shape[1]),
        )


class World(NamedTuple):
    """All that a kernel works on."""

    events: Records  # (slots, M + 1) of EVENT
    entries: Records  # (slots, X) of ENTRY
    predicted: NDArray[np.int32]  # (slots, M, D, W)
    kind: NDArray[np.int32]  # (N,)
    kinds: Records  # (C,) of KIND
    law: Records  # (1,) of LAW
    state: State
    outcome: Records  # (B,) of OUTCOME
    shown: View


class Episode(NamedTuple):
    """One episode of a batch, and what it plays."""

    status: Records  # (1,)
    places: Records
    pools: Records
    queue: Records
    staging: NDArray[np.float64]
    host: NDArray[np.int32]
    log: Records
    events: Records
    entries: Records
    kind: NDArray[np.int32]
    kinds: Records
    law: Records


@inner
def episode_at(world: World, b: int) -> Any:
    """Returns one episode of a batch."""
    state = world.state
    slot = state.status[b].slot
    return Episode(
        state.status[b : b + 1],
        state.places[b],
        state.pools[b],
        state.queue[b],
        state.staging[b],
        state.host[b],
        state.log[b],
        world.events[slot],
        world.entries[slot],
        world.kind,
        world.kinds,
        world.law,
    )


@inner
def pool_of(episode: Episode, item: int) -> int:
    """Returns the pool of an item."""
    return item // episode.law[0].num_experts if episode.law[0].num_pools > 1 else 0


@inner
def append(episode: Episode, pool: int, item: int) -> None:
    """Puts an item at the recent end of its pool's order."""
    places, end = episode.places, episode.law[0].num_items + pool
    last = places[end].previous
    places[item].previous, places[item].next = last, end
    places[last].next = item
    places[end].previous = item


@inner
def unlink(episode: Episode, item: int) -> None:
    """Takes an item out of its pool's order."""
    places = episode.places
    before, after = places[item].previous, places[item].next
    places[before].next = after
    places[after].previous = before


@inner
def is_evictable(episode: Episode, item: int) -> bool:
    """Whether an item of a pool's order can be its victim."""
    place = episode.places[item]
    return bool(place.state == RESIDENT and place.wave != episode.status[0].wave)


@inner
def num_evictable(episode: Episode, pool: int) -> int:
    """Returns how many items of a pool can be evicted."""
    status = episode.status[0]
    event_layer = episode.events[status.event].layer
    pinned = status.num_pinned if episode.law[0].num_pools == 1 or pool == event_layer else 0
    return int(episode.pools[pool].num_resident - pinned)


@inner
def oldest_evictable(episode: Episode, pool: int, position: int) -> int:
    """Returns the item at a position, from 0, among those of a pool that can be evicted, by recency; -1 for none."""
    end = episode.law[0].num_items + pool
    item = episode.places[end].next
    while item != end:
        if is_evictable(episode, item):
            if position == 0:
                return int(item)
            position -= 1
        item = episode.places[item].next
    return -1


@inner
def note(episode: Episode, interval: int, item: int, begin: float, end: float, size: float, buffer: int) -> None:
    """Writes an interval into the log, if one is kept."""
    if episode.law[0].logs:
        status = episode.status[0]
        line = episode.log[status.log_length % episode.log.size]
        line.interval, line.buffer, line.event, line.item = interval, buffer, status.event, item
        line.begin, line.end, line.bytes = begin, end, size
        status.log_length += 1
