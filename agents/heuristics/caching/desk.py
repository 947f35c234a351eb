"""What a cache policy keeps beside the simulator, and how it follows what happens there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....compilation import inner, rare
from ....envs.expert_cache.instance import Records
from ....envs.expert_cache.link import size_of
from ....envs.expert_cache.simulator import ExpertCacheSimulator
from ....envs.expert_cache.state import (
    ABSENT,
    PREFETCH_EVICT,
    Episode,
    is_evictable,
    oldest_evictable,
    pool_of,
)
from ....workloads.counter_random import random_stream
from .automata import choose_victim, clear, on_evict, on_hit, on_insert, room_for
from .lists import Cache, cache_at
from .predictors import Predictor
from .use_filter import FilterWeights, UseFilter

PROGRESS = np.dtype(
    [
        ("event", np.int64),  # the first that has not been followed to its end
        ("entry", np.int64),  # of it, the first that has not
        ("knows_hits", np.bool_),  # whether its hits have been
        ("pending", np.int64),  # a prefetch that was decided; -1 for none
    ],
    align=True,
)
"""How far a policy has followed an episode."""

_PURPOSE = 111
"""Of the random numbers that an algorithm draws."""


class Desk(NamedTuple):
    """What a policy keeps of B episodes."""

    progress: Records  # (B,) of PROGRESS
    cache: Cache
    held: NDArray[np.bool_]  # (B, N) the items that the algorithm knows to be in their pools
    evictable: NDArray[np.bool_]  # (N,) room; true
    predictor: Predictor
    first_use: NDArray[np.int64]  # (B, N + 1) where each item's uses begin, for those who know them
    uses: NDArray[np.int64]  # (B, X) events that use each item, in ascending order
    expected: NDArray[np.float32]  # (B, S, N) how likely uses are after each step, for those who see the routers' state
    network: UseFilter

    @classmethod
    def of(
        cls,
        simulator: ExpertCacheSimulator,
        algorithm: str | None,
        learner: str | None,
        knows: str | None,
        weights: FilterWeights | None,
    ) -> Desk:
        """Returns the room that a policy needs.

        Args:
            simulator: Whose episodes have just begun.
            algorithm: One of `ALGORITHMS` to be followed, or None.
            learner: One of `LEARNERS`, or None.
            knows: ``uses``, if it knows all those to come, ``routers``, if it sees their state, or None.
            weights: Of a network that scores experts, or None.
        """
        rows, items = simulator.num_envs, simulator.items
        num_items = items.num_items
        progress = np.zeros(rows, PROGRESS)
        progress["event"] = simulator.state.status["first_event"]
        progress["pending"] = -1
        first_use, uses = _known_uses(simulator) if knows == "uses" else (np.zeros((rows, 0), np.int64),) * 2
        cache = room_for(algorithm or "fifo", rows, num_items if algorithm else 0, items.capacity)
        return cls(
            progress=progress,
            cache=cache,
            held=np.zeros((rows, num_items if algorithm else 0), np.bool_),
            evictable=np.ones(num_items, np.bool_),
            predictor=Predictor.of(simulator, learner),
            first_use=first_use,
            uses=uses,
            expected=_expected_uses(simulator) if knows == "routers" else np.zeros((rows, 0, 0), np.float32),
            network=UseFilter.of(simulator, weights),
        )


def _known_uses(simulator: ExpertCacheSimulator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the events that use each item in what each environment plays: where they begin, and which they are."""
    num_items = simulator.items.num_items
    instances = [simulator.instance(row) for row in range(simulator.num_envs)]
    first = np.zeros((len(instances), num_items + 1), np.int64)
    uses = np.zeros((len(instances), max(len(instance.entries) for instance in instances)), np.int64)
    for row, instance in enumerate(instances):
        item = instance.entries["item"]
        event = np.repeat(np.arange(instance.num_events), np.diff(instance.events["first"]))
        uses[row, : len(item)] = event[np.argsort(item, kind="stable")]
        first[row, 1:] = np.cumsum(np.bincount(item, minlength=num_items))
    return first, uses


def _expected_uses(simulator: ExpertCacheSimulator) -> NDArray[np.float32]:
    """Returns what the routers' state tells after each step of what each environment plays."""
    each = [simulator.latent(row) for row in range(simulator.num_envs)]
    expected = np.zeros((len(each), max(map(len, each)), simulator.items.num_items), np.float32)
    for row, uses in enumerate(each):
        expected[row, : len(uses)] = uses
    return expected


@inner
def first_to_come(desk: Desk, episode: Episode, b: int, item: int) -> int:
    """Returns where in `Desk.uses` the uses of an item after the current event begin."""
    event = episode.status[0].event
    low, high = desk.first_use[b, item], desk.first_use[b, item + 1]
    while low < high:
        middle = (low + high) // 2
        if desk.uses[b, middle] > event:
            high = middle
        else:
            low = middle + 1
    return int(low)


@inner
def use_at(desk: Desk, b: int, item: int, position: int, end: int) -> int:
    """Returns the event at a position of `Desk.uses`; ``end``, that of the episode, if no use of the item is there."""
    return int(min(desk.uses[b, position], end)) if position < desk.first_use[b, item + 1] else end


@inner
def next_use(desk: Desk, episode: Episode, b: int, item: int) -> int:
    """Returns the next event after the current one that uses an item; the end of the episode if none does."""
    return use_at(desk, b, item, first_to_come(desk, episode, b, item), int(episode.status[0].end_event))


@inner
def num_uses(desk: Desk, b: int, item: int) -> int:
    """Returns how many events of the whole recording use an item."""
    return int(desk.first_use[b, item + 1] - desk.first_use[b, item])


@rare
def begin_following(desk: Desk, episode: Episode, b: int, code: int) -> None:
    """Forgets what an algorithm knew of earlier episodes, and tells it what pools are filled with."""
    status, law, cache = episode.status[0], episode.law[0], cache_at(desk.cache, b)
    clear(code, cache, random_stream(status.seed, status.episode, _PURPOSE))
    per_pool = law.num_items // law.num_pools
    for pool in range(law.num_pools if law.is_warm else 0):
        free = episode.pools[pool].capacity
        for item in range(pool * per_pool, (pool + 1) * per_pool):
            free -= size_of(episode, item, False)
            if free < 0:
                break
            _insert(desk, episode, cache, b, code, item)


@rare
def follow(desk: Desk, episode: Episode, b: int, code: int) -> None:
    """Tells an algorithm what has happened since it was last asked.

    Of each event: its hits and late entries, in the order of its entries, then the items that got a place, as they did.
    """
    status, progress = episode.status[0], desk.progress[b]
    cache = cache_at(desk.cache, b)
    waits = status.kind == PREFETCH_EVICT and status.incoming == progress.pending
    if progress.pending >= 0 and not waits:
        if episode.places[progress.pending].state != ABSENT and not desk.held[b, progress.pending]:
            _insert(desk, episode, cache, b, code, progress.pending)
        progress.pending = -1
    while progress.event <= status.event and progress.event < status.end_event:
        end = episode.events[progress.event + 1].first
        _follow_hits(desk, episode, cache, b, code, end)
        is_current = progress.event == status.event
        _follow_misses(desk, episode, cache, b, code, status.entry if is_current else end)
        if is_current:
            break
        progress.event += 1
        progress.knows_hits = False


@rare
def _follow_hits(desk: Desk, episode: Episode, cache: Cache, b: int, code: int, end: int) -> None:
    progress = desk.progress[b]
    if not progress.knows_hits:
        progress.knows_hits = True
        progress.entry = episode.events[progress.event].first
        for x in range(progress.entry, end):
            item = episode.entries[x].item
            if desk.held[b, item]:
                on_hit(code, cache, pool_of(episode, item), item)


@rare
def _follow_misses(desk: Desk, episode: Episode, cache: Cache, b: int, code: int, end: int) -> None:
    progress = desk.progress[b]
    step = episode.events[progress.event].step
    for x in range(progress.entry, end):
        item = episode.entries[x].item
        place = episode.places[item]
        # What was loaded later did not get its place here.
        if not desk.held[b, item] and place.state != ABSENT and place.loaded <= step:
            _insert(desk, episode, cache, b, code, item)
    progress.entry = end


@rare
def _insert(desk: Desk, episode: Episode, cache: Cache, b: int, code: int, item: int) -> None:
    on_insert(code, cache, pool_of(episode, item), item, size_of(episode, item, episode.places[item].is_low))
    desk.held[b, item] = True


@rare
def algorithms_victim(desk: Desk, episode: Episode, b: int, code: int, spared: int) -> int:
    """Returns the item that an algorithm evicts.

    Args:
        desk: What the policy keeps.
        episode: Where a victim is wanted.
        b: Its number.
        code: Of the algorithm.
        spared: Layers, from the first, whose items stay as long as the pool has others.
    """
    follow(desk, episode, b, code)
    status, law, cache = episode.status[0], episode.law[0], cache_at(desk.cache, b)
    item, num_spared = -1, spared * law.num_experts
    while item < 0:
        desk.evictable[:num_spared] = False
        _mark(desk, episode, False)
        item = choose_victim(code, cache, status.pool, status.incoming, desk.evictable)
        desk.evictable[:num_spared] = True
        if num_spared == 0:
            break
        num_spared = 0
    _mark(desk, episode, True)
    if item < 0:
        item = oldest_evictable(episode, status.pool, 0)
    if item >= 0 and desk.held[b, item]:
        on_evict(code, cache, status.pool, item)
        desk.held[b, item] = False
    return int(item)


@inner
def _mark(desk: Desk, episode: Episode, evictable: bool) -> None:
    """Marks the items that cannot be evicted now, or takes the marks away."""
    status = episode.status[0]
    for x in range(episode.events[status.event].first, episode.events[status.event + 1].first):
        item = episode.entries[x].item
        desk.evictable[item] = evictable or is_evictable(episode, item)
    for position in range(status.queue_length):
        desk.evictable[episode.queue[position].item] = evictable
