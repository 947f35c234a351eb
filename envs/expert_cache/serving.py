"""What an event does: it finds hits, serves misses, lets prefetches be decided; `docs/expert-cache.md` has the rules.

An episode runs on by itself up to the next decision. Where it stands within an event is its stage.
"""

from __future__ import annotations

import numpy as np

from ...compilation import inner, rare
from .link import (
    demand,
    enter_host,
    finish_late,
    first_buffer,
    prefetch,
    settle,
    size_of,
)
from .rules import CPU, LOAD, LOAD_LOW, SKIP
from .state import (
    ABSENT,
    DECISION_COST,
    DECODED,
    DENSE,
    EVENT_COST,
    EVICT,
    HIT,
    LATE,
    LOADED,
    LOST_TO_DEMAND,
    LOST_TO_PREFETCH,
    MISS,
    NO_DECISION,
    ON_CPU,
    PREFETCH,
    PREFETCH_EVICT,
    PREFILLED,
    RESIDENT,
    SKIPPED,
    Episode,
    append,
    note,
    num_evictable,
    oldest_evictable,
    pool_of,
    unlink,
)

BEGIN, SERVE, MAKE_ROOM, CHOOSE_PREFETCH, MAKE_PREFETCH_ROOM, END = range(6)
"""Stages of an event."""

BITS = 64
"""Of the history of an item."""


@inner
def device_seconds(episode: Episode, item: int, tokens: int, is_low: bool) -> float:
    """Returns how long the device computes an entry."""
    costs = episode.kinds[episode.kind[item]]
    return float(max(costs.floor_low if is_low else costs.floor_high, tokens * costs.slope))


@inner
def clear(episode: Episode) -> None:
    """Begins an episode: its status names what it plays, and everything else is as it was."""
    status, law = episode.status[0], episode.law[0]
    for item in range(law.num_items + law.num_pools):
        place = episode.places[item]
        place.state, place.is_low, place.is_unused_prefetch, place.in_host = ABSENT, False, False, False
        place.event, place.wave, place.step, place.loaded, place.prompt = -1, -1, -1, -1, -1
        place.count, place.tokens, place.uses = 0, 0, 0
        place.score, place.history, place.free_at = 0.0, np.uint64(0), 0.0
    for pool in range(law.num_pools):
        end = law.num_items + pool
        episode.places[end].next = episode.places[end].previous = end
        episode.pools[pool].free = episode.pools[pool].capacity
        episode.pools[pool].in_flight = episode.pools[pool].num_resident = 0
    for buffer in range(episode.staging.size):
        episode.staging[buffer] = 0.0
    _clear_numbers(episode)
    if episode.host.size:
        status.host_free = law.host_capacity
        for item in range(law.num_items):
            if size_of(episode, item, False) > status.host_free:
                break
            enter_host(episode, item)
    if law.is_warm:
        _fill_pools(episode)


@rare
def _clear_numbers(episode: Episode) -> None:
    status = episode.status[0]
    status.event, status.stage, status.kind, status.is_over = status.first_event, BEGIN, NO_DECISION, False
    status.entry = status.wave = status.num_pinned = status.num_scheduled = status.num_waiting = 0
    status.step = status.prompt = status.prompt_step = 0
    status.now = status.start = status.end = status.link_free = status.device_free = status.cpu_free = 0.0
    status.queue_length = status.host_head = status.host_length = status.host_free = 0
    status.paid_stall = status.paid_price = status.stall = status.price = 0.0
    status.paid_step = episode.events[status.first_event].step
    status.entries = status.hits = status.late = status.by_cpu = status.skipped = status.at_low = 0
    status.bypasses = status.evictions = status.uploads = status.bytes_moved = 0
    status.prefetches = status.prefetches_used = status.decode_steps = status.decode_tokens = 0
    status.prefill_tokens = status.prefilled = status.log_length = 0
    status.decode_seconds = status.prefill_seconds = 0.0


@rare
def _fill_pools(episode: Episode) -> None:
    """Fills each pool with items in ascending order while they fit."""
    law = episode.law[0]
    per_pool = law.num_items // law.num_pools
    for pool in range(law.num_pools):
        for item in range(pool * per_pool, (pool + 1) * per_pool):
            if size_of(episode, item, False) > episode.pools[pool].free:
                break
            take_place(episode, item, False)
            episode.places[item].state = RESIDENT
            episode.pools[pool].num_resident += 1


@inner
def take_place(episode: Episode, item: int, is_low: bool) -> None:
    """Gives an item its bytes in its pool, at the recent end."""
    place, status, pool = episode.places[item], episode.status[0], pool_of(episode, item)
    episode.pools[pool].free -= size_of(episode, item, is_low)
    place.is_low, place.loaded, place.is_unused_prefetch = is_low, status.step, False
    append(episode, pool, item)


@inner
def evict(episode: Episode, item: int) -> None:
    """Takes an item out of its pool; what takes its place waits for the end of its computation."""
    place, status, pool = episode.places[item], episode.status[0], pool_of(episode, item)
    unlink(episode, item)
    place.state, place.is_unused_prefetch = ABSENT, False
    episode.pools[pool].free += size_of(episode, item, place.is_low)
    episode.pools[pool].num_resident -= 1
    status.room_at = max(status.room_at, place.free_at)
    status.evictions += 1
    interval = LOST_TO_DEMAND if status.stage == MAKE_ROOM else LOST_TO_PREFETCH
    free_at = max(status.now, place.free_at)
    note(episode, interval, item, status.now, free_at, size_of(episode, item, place.is_low), -1)


@inner
def _count_use(episode: Episode, x: int) -> None:
    """Notes that an entry uses its item."""
    entry, status = episode.entries[x], episode.status[0]
    place, weight = episode.places[entry.item], entry.weight
    steps = status.step - place.step
    if place.step < 0 or steps >= BITS:
        place.history, place.score = np.uint64(1), np.float32(weight)
    elif steps > 0:
        place.history = (place.history << np.uint64(steps)) | np.uint64(1)
        place.score = np.float32(weight) + place.score * np.float32(0.5) ** steps
    if place.prompt != status.prompt:
        place.prompt, place.count, place.tokens = status.prompt, 0, 0
    place.count += 1
    place.tokens += entry.tokens
    place.uses += 1
    place.step, place.event = status.step, status.event


@inner
def _schedule(
    episode: Episode, interval: int, item: int, tokens: int, is_low: bool, arrival: float, buffer: int
) -> None:
    """Lets the device compute an entry."""
    status = episode.status[0]
    begin = max(status.device_free, arrival)
    status.device_free = begin + device_seconds(episode, item, tokens, is_low)
    episode.places[item].free_at = status.device_free
    if episode.law[0].logs:
        note(episode, interval + is_low, item, begin, status.device_free, size_of(episode, item, is_low), buffer)


@inner
def _pin(episode: Episode, item: int) -> None:
    status = episode.status[0]
    episode.places[item].wave = status.wave
    status.num_pinned += 1


@inner
def begin_event(episode: Episode) -> None:
    """Looks at the entries of the current event: which are hits, which late, which misses."""
    status, law, places = episode.status[0], episode.law[0], episode.places
    event = episode.events[status.event]
    status.step = event.step
    status.pool = event.layer if law.num_pools > 1 else 0
    if event.begins_prompt:
        status.prefilled += not event.is_decode
        if law.counts_by_prompt or status.prompt == 0:
            status.prompt += 1
            status.prompt_step = -1
    if event.begins_step:
        status.prompt_step += 1
    status.start = status.end + event.dense
    known = status.end if law.early_router else status.start
    note(episode, DENSE, -1, status.end, status.start, 0.0, -1)
    settle(episode, known)
    status.now = known + law.event_time
    if law.event_time > 0.0:
        note(episode, EVENT_COST, -1, known, status.now, 0.0, -1)
    status.wave += 1
    status.num_pinned = status.num_scheduled = 0
    status.device_free = max(status.now, status.start)
    first, end = event.first, episode.events[status.event + 1].first
    num_late = _carry_late(episode, first, end) if status.queue_length > 0 else 0
    for x in range(first, end):
        entry = episode.entries[x]
        place = places[entry.item]
        if place.state == RESIDENT and place.event != status.event:
            status.hits += 1
            _welcome(episode, entry.item)
            _schedule(episode, HIT, entry.item, entry.tokens, place.is_low, 0.0, -1)
            _price_low(episode, x, place.is_low)
            _count_use(episode, x)
    if num_late > 0:
        _schedule_late(episode, first, end)
    status.late += num_late
    status.entries += end - first
    status.num_waiting = end - first - status.num_scheduled
    status.entry = first
    status.stage = SERVE


@inner
def _welcome(episode: Episode, item: int) -> None:
    """Makes an item that an event finds in its pool the most recent there, and pins it."""
    place, status = episode.places[item], episode.status[0]
    unlink(episode, item)
    append(episode, pool_of(episode, item), item)
    _pin(episode, item)
    status.num_scheduled += 1
    if place.is_unused_prefetch:
        place.is_unused_prefetch = False
        status.prefetches_used += 1


@rare
def _carry_late(episode: Episode, first: int, end: int) -> int:
    """Gives the link to the entries in flight, in the order of the queue, and returns how many there are.

    They bear the number of the event from then on.
    """
    status, num_late, position = episode.status[0], 0, 0
    while position < status.queue_length:
        item = episode.queue[position].item
        is_entry = False
        for x in range(first, end):
            is_entry |= episode.entries[x].item == item
        if is_entry:
            place = episode.places[item]
            place.free_at = finish_late(episode, position)
            place.event = status.event
            num_late += 1
        else:
            position += 1
    return num_late


@rare
def _schedule_late(episode: Episode, first: int, end: int) -> None:
    """Lets the device compute the entries that were in flight."""
    status = episode.status[0]
    for x in range(first, end):
        entry = episode.entries[x]
        place = episode.places[entry.item]
        if place.event == status.event and place.wave != status.wave:
            _welcome(episode, entry.item)
            _schedule(episode, LATE, entry.item, entry.tokens, False, place.free_at, -1)
            _count_use(episode, x)


@inner
def _price_low(episode: Episode, x: int, is_low: bool) -> None:
    if is_low:
        episode.status[0].at_low += 1
        episode.status[0].price += episode.law[0].low_price * episode.entries[x].weight


@inner
def find_miss(episode: Episode) -> bool:
    """Goes to the next entry that waits to be served; whether there is one."""
    status = episode.status[0]
    end = episode.events[status.event + 1].first
    while status.entry < end:
        if episode.places[episode.entries[status.entry].item].event != status.event:
            return True
        status.entry += 1
    return False


@inner
def begin_load(episode: Episode, is_low: bool) -> None:
    """Makes the entry that is served the one for which room is made."""
    status = episode.status[0]
    status.incoming, status.is_low, status.room_at = episode.entries[status.entry].item, is_low, 0.0
    status.pool = pool_of(episode, status.incoming)
    status.stage = MAKE_ROOM


@inner
def serve_elsewhere(episode: Episode, way: int) -> None:
    """Lets the CPU compute the entry that is served, or leaves it out."""
    status, law = episode.status[0], episode.law[0]
    entry = episode.entries[status.entry]
    if way == CPU:
        costs = episode.kinds[episode.kind[entry.item]]
        begin = max(status.cpu_free, status.now, status.start)
        status.cpu_free = begin + max(costs.cpu_floor, entry.tokens * costs.cpu_slope)
        status.by_cpu += 1
        note(episode, ON_CPU, entry.item, begin, status.cpu_free, 0.0, -1)
    else:
        status.skipped += 1
        status.price += law.skip_price * entry.weight
        note(episode, SKIPPED, entry.item, status.now, status.now, 0.0, -1)
    _end_service(episode)


@inner
def _end_service(episode: Episode) -> None:
    status = episode.status[0]
    _count_use(episode, status.entry)
    status.entry += 1
    status.num_waiting -= 1
    status.stage = SERVE


@inner
def needs_victim(episode: Episode) -> bool:
    """Whether the item for which room is made has none yet and may get it; ends the wave where that helps."""
    status = episode.status[0]
    pool, size = episode.pools[status.pool], size_of(episode, status.incoming, status.is_low)
    if pool.free >= size or size > pool.capacity:
        return False
    if num_evictable(episode, status.pool) == 0 and status.stage == MAKE_ROOM and status.num_scheduled > 0:
        status.wave += 1
        status.num_pinned = status.num_scheduled = 0
    return num_evictable(episode, status.pool) > 0


@inner
def has_room(episode: Episode) -> bool:
    """Whether the item for which room is made fits."""
    status = episode.status[0]
    return bool(episode.pools[status.pool].free >= size_of(episode, status.incoming, status.is_low))


@inner
def load(episode: Episode) -> None:
    """Loads the entry that is served: into its pool if it fits there, else through a staging buffer."""
    status = episode.status[0]
    item, tokens = status.incoming, episode.entries[status.entry].tokens
    settle(episode, status.now)
    begin = max(status.now, status.room_at)
    if has_room(episode):
        take_place(episode, item, status.is_low)
        episode.places[item].state = RESIDENT
        episode.pools[status.pool].num_resident += 1
        _pin(episode, item)
        status.num_scheduled += 1
        arrival = demand(episode, item, status.is_low, begin, -1)
        _schedule(episode, LOADED, item, tokens, status.is_low, arrival, -1)
    else:
        buffer = first_buffer(episode)
        arrival = demand(episode, item, status.is_low, max(begin, episode.staging[buffer]), buffer)
        _schedule(episode, LOADED, item, tokens, status.is_low, arrival, buffer)
        episode.staging[buffer] = status.device_free
        status.bypasses += 1
    _price_low(episode, status.entry, status.is_low)
    _end_service(episode)


@inner
def may_prefetch(episode: Episode, item: int) -> bool:
    """Whether an item may be fetched early now."""
    status, law = episode.status[0], episode.law[0]
    if item < 0 or item >= law.num_items or episode.places[item].state != ABSENT:
        return False
    if status.prefetches_left <= 0 or status.queue_length >= episode.queue.size:
        return False
    layer, here = item // law.num_experts, episode.events[status.event].layer
    ahead = layer - here if layer > here else layer - here + law.num_layers
    if law.is_single_layer:
        ahead = 1 if layer == here else law.num_layers
    if ahead > law.prefetch_distance or status.event + ahead >= status.end_event:
        return False
    pool, size = episode.pools[pool_of(episode, item)], size_of(episode, item, False)
    if pool.capacity - pool.in_flight - size < pool.reserve:
        return False
    return bool(size <= pool.free or num_evictable(episode, pool_of(episode, item)) > 0)


@inner
def begin_prefetch(episode: Episode, item: int) -> None:
    """Makes an item the one for which room is made."""
    status = episode.status[0]
    status.incoming, status.is_low, status.room_at = item, False, 0.0
    status.pool = pool_of(episode, item)
    status.prefetches_left -= 1
    status.stage = MAKE_PREFETCH_ROOM


@inner
def commit_prefetch(episode: Episode) -> None:
    """Puts the item for which room was made into the queue, or gives it up where there is none."""
    status = episode.status[0]
    if has_room(episode):
        settle(episode, status.now)
        take_place(episode, status.incoming, False)
        prefetch(episode, status.incoming)
        place = episode.places[status.incoming]
        place.is_unused_prefetch = True
        if place.event == status.event:
            # It was served elsewhere in this event, and is pinned like all its members.
            place.wave = status.wave
        status.prefetches += 1
        status.stage = CHOOSE_PREFETCH
    else:
        status.stage = END


@inner
def end_event(episode: Episode) -> None:
    """Ends the current event, and the episode with its last one."""
    status = episode.status[0]
    event = episode.events[status.event]
    begin, status.end = status.end, max(status.device_free, status.cpu_free, status.start, status.now)
    status.stall += status.end - status.start - event.ideal
    if event.is_decode:
        status.decode_seconds += status.end - begin
        if event.begins_step:
            status.decode_steps += 1
            status.decode_tokens += event.tokens
    else:
        status.prefill_seconds += status.end - begin
        if event.begins_step:
            status.prefill_tokens += event.tokens
    note(episode, DECODED if event.is_decode else PREFILLED, -1, begin, status.end, 0.0, -1)
    status.event += 1
    status.stage = BEGIN
    if status.event == status.end_event:
        status.is_over, status.kind = True, NO_DECISION


@rare
def run_on(episode: Episode) -> None:
    """Runs an episode on to its next decision, or to its end."""
    status, law = episode.status[0], episode.law[0]
    while status.kind == NO_DECISION and not status.is_over:
        if status.stage == BEGIN:
            begin_event(episode)
            status.prefetches_left = law.prefetch_depth if law.decides_prefetch else 0
        elif status.stage == SERVE:
            _serve_next(episode)
        elif status.stage == CHOOSE_PREFETCH:
            settle(episode, status.now)
            if _has_target(episode):
                status.kind = PREFETCH
            else:
                status.stage = END
        elif status.stage == END:
            end_event(episode)
        else:
            _make_room(episode)


@inner
def _serve_next(episode: Episode) -> None:
    """Turns to the next miss, or to what follows the last."""
    status, law = episode.status[0], episode.law[0]
    if not find_miss(episode):
        status.stage = CHOOSE_PREFETCH if status.prefetches_left > 0 else END
    elif law.decides_miss and _has_ways(episode):
        status.kind = MISS
    else:
        begin_load(episode, False)


@inner
def _make_room(episode: Episode) -> None:
    """Takes the next victim, or lets it be decided; loads or fetches early when there is room or can be none."""
    status, is_demand = episode.status[0], episode.status[0].stage == MAKE_ROOM
    settle(episode, status.now)
    if needs_victim(episode):
        if episode.law[0].decides_evict:
            status.kind = EVICT if is_demand else PREFETCH_EVICT
        else:
            evict(episode, oldest_evictable(episode, status.pool, 0))
    elif is_demand:
        load(episode)
    else:
        commit_prefetch(episode)


@inner
def is_way(episode: Episode, way: int) -> bool:
    """Whether the entry that is served may be served in a way."""
    law = episode.law[0]
    if way == LOAD_LOW:
        return bool(law.may_low)
    if way == CPU:
        in_host = episode.host.size == 0 or episode.places[episode.entries[episode.status[0].entry].item].in_host
        return bool(law.may_cpu and in_host)
    return bool(way == LOAD or (way == SKIP and law.may_skip))


@inner
def _has_ways(episode: Episode) -> bool:
    return is_way(episode, LOAD_LOW) or is_way(episode, CPU) or is_way(episode, SKIP)


@inner
def farthest(episode: Episode) -> int:
    """Returns how many events ahead prefetches can be for; none is for a layer that comes up twice."""
    law = episode.law[0]
    return int(min(law.prefetch_distance, 1 if law.is_single_layer else law.num_layers))


@inner
def layer_ahead(episode: Episode, distance: int) -> int:
    """Returns the layer of the event at a distance; -1 where there is none."""
    status, law = episode.status[0], episode.law[0]
    here = episode.events[status.event].layer
    if status.event + distance >= status.end_event:
        return -1
    return int(here if law.is_single_layer else (here + distance) % law.num_layers)


@rare
def _has_target(episode: Episode) -> bool:
    """Whether any item may be fetched early."""
    law = episode.law[0]
    for distance in range(1, farthest(episode) + 1):
        layer = layer_ahead(episode, distance)
        for expert in range(law.num_experts if layer >= 0 else 0):
            if may_prefetch(episode, layer * law.num_experts + expert):
                return True
    return False


@inner
def charge(episode: Episode) -> None:
    """Charges a decision to the clock."""
    status, cost = episode.status[0], episode.law[0].decision_time
    if cost > 0.0:
        note(episode, DECISION_COST, -1, status.now, status.now + cost, 0.0, -1)
    status.now += cost


@inner
def decide_victim(episode: Episode, item: int) -> None:
    """Evicts an item, or, with -1, loads past the pool or gives a prefetch up."""
    status = episode.status[0]
    charge(episode)
    if item >= 0:
        evict(episode, item)
    elif status.stage == MAKE_ROOM:
        load(episode)
    else:
        status.stage = END


@inner
def decide_way(episode: Episode, way: int) -> None:
    """Serves a miss."""
    charge(episode)
    if way in (LOAD, LOAD_LOW):
        begin_load(episode, way == LOAD_LOW)
    else:
        serve_elsewhere(episode, way)


@inner
def decide_prefetch(episode: Episode, item: int) -> None:
    """Fetches an item early, or, with -1, none."""
    charge(episode)
    if item >= 0:
        begin_prefetch(episode, item)
    else:
        episode.status[0].stage = END
