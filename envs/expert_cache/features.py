"""What an agent sees of a cache: the features one by one, and the kernels that write them.

Times are divided by the mean ideal time of a step's pass, ages are counted in steps, so that they mean the same for any
model and machine.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...compilation import inner, rare
from ..core.simulator import CLIP, Feature, ObservationSchema
from .link import seconds_to_load, size_of
from .rules import CPU, LOAD_LOW, SKIP, WAYS
from .serving import BITS, device_seconds, farthest, is_way, layer_ahead, may_prefetch
from .state import EVICT, MISS, PREFETCH, PREFETCH_EVICT, Episode, World, is_evictable

SCHEMA = ObservationSchema(
    candidates=(
        Feature("default", "1 for candidate 0: bypass, no prefetch, or a load at high precision"),
        Feature("age", "log2(1 + steps since the item's last use); / 6, at most 2; 10 if it was never used"),
        Feature("residency", "log2(1 + steps since it was last loaded); / 6, at most 2; 10 if it never was"),
        Feature("count", "events of this prompt that used it; / steps of the prompt"),
        Feature("recent_4", "how many of the last 4 steps used it; / 4"),
        Feature("recent_16", "how many of the last 16 steps used it; / 16"),
        Feature("recent_64", "how many of the last 64 steps used it; / 64"),
        Feature("score", "its router scores, a step counting half as much as the one after it"),
        Feature("distance", "events until its layer's next event; / layers"),
        Feature("predicted", "1 - its rank among the predictions for that event / their number; 0 if not predicted"),
        Feature("size", "bytes at high precision; / those of the largest item of the event's pool"),
        Feature("load", "time of its load from where it is now, s; / unit"),
        Feature("low", "1 if it is held, or would be loaded, at low precision"),
        Feature("cpu", "1 for serving a miss on the CPU"),
        Feature("skip", "1 for leaving an entry out"),
        Feature("seconds", "how much later the lane that serves a miss would be done with it, s; / unit"),
        Feature("price", "price of the precision that serving a miss loses"),
    ),
    context=(
        Feature("evict", "1 where a victim for a load is decided"),
        Feature("prefetch", "1 where a prefetch is decided"),
        Feature("prefetch_evict", "1 where a victim for a prefetch is decided"),
        Feature("miss", "1 where it is decided how to serve a miss"),
        Feature("layer", "number of the layer; / layers"),
        Feature("decode", "1 in a decode step"),
        Feature("tokens", "log2 of the step's tokens; / 10"),
        Feature("prompt", "log2(1 + steps of the prompt); / 10"),
        Feature("entries", "entries of the event; / experts of the layer"),
        Feature("waiting", "misses that are not served yet; / entries of the event"),
        Feature("weight", "largest router score of the entry that is served"),
        Feature("cumulative", "router scores that rank higher for that entry's token"),
        Feature("fill", "bytes of the pool that are taken; / capacity"),
        Feature("in_flight", "bytes of the pool that are in flight; / capacity"),
        Feature("queue", "prefetches in the queue; / room"),
        Feature("link", "time until the link has done its demands, s; / unit"),
        Feature("staging", "time until a staging buffer is free, s; / unit"),
        Feature("prefetches", "prefetches that may still be decided in this event; / depth"),
        Feature("hit_rate", "hits so far; / entries so far"),
    ),
)

_NUM_CANDIDATE_FEATURES, _NUM_CONTEXT_FEATURES = len(SCHEMA.candidates), len(SCHEMA.context)


def num_candidates(shown: int) -> int:
    """Returns A: the default, and so many victims or targets, or the other ways to serve a miss.

    Args:
        shown: How many victims and targets are shown.
    """
    return max(shown + 1, len(WAYS))


_LOGARITHM = np.minimum(np.log2(1.0 + np.arange(4096)) / 6.0, CLIP).astype(np.float32)
_HALVING = (0.5 ** np.arange(BITS + 1)).astype(np.float32)
"""Of small integers: a logarithm or a power for each feature would take longer than the decision."""


@inner
def _logarithm(steps: int) -> np.float32:
    """Returns log2(1 + steps) / 6."""
    return np.float32(_LOGARITHM[min(steps, _LOGARITHM.size - 1)])


@inner
def _clip(value: float) -> np.float32:
    return np.float32(min(max(value, -CLIP), CLIP))


@inner
def _uses_within(history: np.uint64, age: int, steps: int) -> int:
    """Returns how many of the last steps used an item."""
    if age >= steps or age < 0:
        return 0
    rest = steps - age
    bits = history if rest >= BITS else history & ((np.uint64(1) << np.uint64(rest)) - np.uint64(1))
    return _num_ones(bits)


@inner
def _num_ones(bits: np.uint64) -> int:
    """Returns how many bits are set, by adding up ever longer fields."""
    bits -= (bits >> np.uint64(1)) & np.uint64(0x5555555555555555)
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((bits * np.uint64(0x0101010101010101)) >> np.uint64(56))


@rare
def list_targets(world: World, episode: Episode, b: int) -> int:
    """Lists what may be fetched early, and returns how many there are: predicted items, else those of most uses."""
    status, law, targets = episode.status[0], episode.law[0], world.state.targets[b]
    predicted = world.predicted[status.slot]
    found = 0
    for distance in range(1, min(farthest(episode), predicted.shape[1]) + 1):
        for rank in range(predicted.shape[2]):
            item = predicted[status.event, distance - 1, rank]
            if found < targets.size and may_prefetch(episode, item):
                targets[found] = item
                found += 1
    if predicted.shape[1] > 0:
        return found
    for distance in range(1, farthest(episode) + 1):
        layer = layer_ahead(episode, distance)
        for expert in range(law.num_experts if layer >= 0 else 0):
            item = layer * law.num_experts + expert
            if may_prefetch(episode, item):
                found = _insert_by_count(episode, targets, found, item)
    return found


@inner
def _count_of(episode: Episode, item: int) -> int:
    place = episode.places[item]
    return int(place.count if place.prompt == episode.status[0].prompt else 0)


@inner
def _insert_by_count(episode: Episode, targets: np.ndarray, found: int, item: int) -> int:
    """Puts an item into the list of those of most uses, ties as they come, and returns its new length."""
    position, count = found, _count_of(episode, item)
    while position > 0 and _count_of(episode, targets[position - 1]) < count:
        position -= 1
    if position >= targets.size:
        return found
    last = min(found, targets.size - 1)
    for place in range(last, position, -1):
        targets[place] = targets[place - 1]
    targets[position] = item
    return last + 1


class _Scales(NamedTuple):
    """What features are multiplied by: a division takes longer than the rest of a feature."""

    step: float  # 1 / steps of the prompt
    layer: float  # 1 / layers
    size: float  # 1 / bytes of the pool's largest item
    second: float  # 1 / unit


@inner
def _scales(episode: Episode) -> Any:
    status, law = episode.status[0], episode.law[0]
    return _Scales(
        1.0 / (status.prompt_step + 1.0),
        1.0 / law.num_layers,
        law.top_k / episode.pools[status.pool].reserve,
        1.0 / status.unit,
    )


@inner
def _show_item(world: World, episode: Episode, scales: _Scales, b: int, row: int, item: int) -> None:
    """Writes the features of an item."""
    status, law, place = episode.status[0], episode.law[0], episode.places[item]
    features = world.shown.candidates[b, row]
    age = status.step - place.step if place.step >= 0 else -1
    features[0] = np.float32(0.0)
    features[1] = _logarithm(age) if age >= 0 else np.float32(CLIP)
    features[2] = _logarithm(status.step - place.loaded) if place.loaded >= 0 else np.float32(CLIP)
    features[3] = _clip(_count_of(episode, item) * scales.step)
    features[4] = np.float32(_uses_within(place.history, age, 4) * 0.25)
    features[5] = np.float32(_uses_within(place.history, age, 16) * (1.0 / 16.0))
    features[6] = np.float32(_uses_within(place.history, age, 64) * (1.0 / 64.0))
    features[7] = _clip(place.score * _HALVING[min(age, BITS)]) if age >= 0 else np.float32(0.0)
    here = episode.events[status.event].layer
    layer = item // law.num_experts if law.num_pools == 1 or status.kind == PREFETCH else status.pool
    ahead = layer - here if layer > here else layer - here + law.num_layers
    features[8] = np.float32(ahead * scales.layer)
    features[9] = _predicted(world, episode, item, ahead)
    features[10] = _clip(size_of(episode, item, False) * scales.size)
    features[11] = _clip(seconds_to_load(episode, item, False) * scales.second)
    features[12] = np.float32(place.is_low)
    for column in range(13, _NUM_CANDIDATE_FEATURES):
        features[column] = np.float32(0.0)
    world.shown.action_mask[b, row] = 1


@inner
def _predicted(world: World, episode: Episode, item: int, ahead: int) -> np.float32:
    status = episode.status[0]
    predicted = world.predicted[status.slot]
    if ahead <= predicted.shape[1]:
        for rank in range(predicted.shape[2]):
            if predicted[status.event, ahead - 1, rank] == item:
                return np.float32(1.0 - rank / predicted.shape[2])
    return np.float32(0.0)


@inner
def _blank(world: World, b: int, row: int) -> None:
    for column in range(_NUM_CANDIDATE_FEATURES):
        world.shown.candidates[b, row, column] = np.float32(0.0)
    world.shown.action_mask[b, row] = 0


@inner
def _show_victims(world: World, episode: Episode, b: int) -> int:
    """Shows the incoming item as candidate 0, and the oldest items that can be evicted; returns the rows written."""
    status, window = episode.status[0], world.state.targets.shape[1]
    scales = _scales(episode)
    _show_item(world, episode, scales, b, 0, status.incoming)
    world.shown.candidates[b, 0, 12] = np.float32(status.is_low)
    rows = 1
    end = episode.law[0].num_items + status.pool
    item = episode.places[end].next
    while item != end and rows <= window:
        if is_evictable(episode, item):
            _show_item(world, episode, scales, b, rows, item)
            world.state.targets[b, rows - 1] = item
            rows += 1
        item = episode.places[item].next
    return rows


@rare
def _show_targets(world: World, episode: Episode, b: int) -> int:
    """Shows what may be fetched early; returns the rows written."""
    found, scales = list_targets(world, episode, b), _scales(episode)
    _blank(world, b, 0)
    for position in range(found):
        _show_item(world, episode, scales, b, position + 1, world.state.targets[b, position])
    world.shown.action_mask[b, 0] = 1
    return found + 1


@rare
def _show_ways(world: World, episode: Episode, b: int) -> int:
    """Shows how a miss can be served; returns the rows written."""
    status, law = episode.status[0], episode.law[0]
    entry = episode.entries[status.entry]
    costs, scales = episode.kinds[episode.kind[entry.item]], _scales(episode)
    for way in range(len(WAYS)):
        _blank(world, b, way)
        if not is_way(episode, way):
            continue
        _show_item(world, episode, scales, b, way, entry.item)
        features = world.shown.candidates[b, way]
        done, price = 0.0, 0.0
        if way == CPU:
            begin = max(status.cpu_free, status.now, status.start)
            done = begin + max(costs.cpu_floor, entry.tokens * costs.cpu_slope) - status.now
            features[13] = np.float32(1.0)
        elif way == SKIP:
            price = law.skip_price * entry.weight
            features[14] = np.float32(1.0)
        else:
            arrival = max(status.now, status.link_free) + seconds_to_load(episode, entry.item, way == LOAD_LOW)
            done = max(arrival, status.device_free) - status.now
            done += device_seconds(episode, entry.item, entry.tokens, way == LOAD_LOW)
            price = law.low_price * entry.weight if way == LOAD_LOW else 0.0
        features[12] = np.float32(way == LOAD_LOW)
        features[15] = _clip(done / status.unit)
        features[16] = _clip(price)
    return len(WAYS)


@inner
def _show_context(world: World, episode: Episode, b: int) -> None:
    status, law, context = episode.status[0], episode.law[0], world.shown.context[b]
    event, pool = episode.events[status.event], episode.pools[status.pool]
    num_entries = max(episode.events[status.event + 1].first - event.first, 1)
    for kind in (EVICT, PREFETCH, PREFETCH_EVICT, MISS):
        context[kind] = np.float32(status.kind == kind)
    context[4] = np.float32(event.layer / law.num_layers)
    context[5] = np.float32(event.is_decode)
    context[6] = _clip(np.log2(max(event.tokens, 1)) / 10.0)
    context[7] = _clip(np.log2(1.0 + status.prompt_step) / 10.0)
    context[8] = np.float32(num_entries / law.num_experts)
    context[9] = np.float32(status.num_waiting / num_entries)
    serves = status.entry < episode.events[status.event + 1].first
    context[10] = _clip(episode.entries[status.entry].weight) if serves else np.float32(0.0)
    context[11] = _clip(episode.entries[status.entry].cumulative) if serves else np.float32(0.0)
    context[12] = np.float32((pool.capacity - pool.free) / pool.capacity)
    context[13] = np.float32(pool.in_flight / pool.capacity)
    context[14] = np.float32(status.queue_length / max(episode.queue.size, 1))
    context[15] = _clip(max(status.link_free - status.now, 0.0) / status.unit)
    free = episode.staging[0]
    for buffer in range(1, episode.staging.size):
        free = min(free, episode.staging[buffer])
    context[16] = _clip(max(free - status.now, 0.0) / status.unit)
    context[17] = np.float32(status.prefetches_left / max(law.prefetch_depth, 1))
    context[18] = np.float32(status.hits / max(status.entries, 1))


@inner
def show(world: World, episode: Episode, b: int) -> None:
    """Brings the observation of one episode up to date."""
    status, shown = episode.status[0], world.shown
    if status.kind in (EVICT, PREFETCH_EVICT):
        rows = _show_victims(world, episode, b)
    elif status.kind == PREFETCH:
        rows = _show_targets(world, episode, b)
    elif status.kind == MISS:
        rows = _show_ways(world, episode, b)
    else:
        _blank(world, b, 0)
        shown.action_mask[b, 0] = 1
        rows = 1
    shown.candidates[b, 0, 0] = np.float32(1.0)
    for row in range(rows, shown.rows[b]):
        _blank(world, b, row)
    shown.rows[b] = rows
    if status.is_over:
        for column in range(_NUM_CONTEXT_FEATURES):
            shown.context[b, column] = np.float32(0.0)
    else:
        _show_context(world, episode, b)
