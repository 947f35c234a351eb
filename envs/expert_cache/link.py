"""The lane on which items are loaded: demands first, prefetches in chunks between them."""

from __future__ import annotations

import math

import numpy as np

from ...compilation import inner, rare
from .state import (
    CHUNK,
    DEMAND,
    DEMAND_LOW,
    IN_FLIGHT,
    LATE_REST,
    QUEUED_PREFETCH,
    RESIDENT,
    Episode,
    note,
    pool_of,
)


@inner
def size_of(episode: Episode, item: int, is_low: bool) -> int:
    """Returns the bytes of an item."""
    costs = episode.kinds[episode.kind[item]]
    return int(costs.low_bytes if is_low else costs.high_bytes)


@inner
def seconds_to_load(episode: Episode, item: int, is_low: bool) -> float:
    """Returns how long a load of an item takes from where it is now."""
    costs = episode.kinds[episode.kind[item]]
    if episode.host.size == 0 or episode.places[item].in_host:
        return float(costs.load_low if is_low else costs.load_high)
    return float(costs.ssd_low if is_low else costs.ssd_high)


@rare
def enter_host(episode: Episode, item: int) -> None:
    """Puts an item that is loaded from the SSD into the host; those leave that entered it longest ago."""
    status, ring, size = episode.status[0], episode.host, size_of(episode, item, False)
    if size > episode.law[0].host_capacity:
        return
    while status.host_free < size:
        leaving = ring[status.host_head]
        status.host_head = (status.host_head + 1) % ring.size
        status.host_length -= 1
        status.host_free += size_of(episode, leaving, False)
        episode.places[leaving].in_host = False
    ring[(status.host_head + status.host_length) % ring.size] = item
    status.host_length += 1
    status.host_free -= size
    episode.places[item].in_host = True


@inner
def issue(episode: Episode, item: int, is_low: bool) -> float:
    """Counts a load, lets the item enter the host, and returns the seconds that the load takes."""
    status, seconds = episode.status[0], seconds_to_load(episode, item, is_low)
    status.uploads += 1
    status.bytes_moved += size_of(episode, item, is_low)
    if episode.host.size and not episode.places[item].in_host:
        enter_host(episode, item)
    return seconds


@inner
def settle(episode: Episode, until: float) -> None:
    """Lets prefetches begin the chunks that they can begin before a time."""
    if episode.status[0].queue_length > 0:
        _settle(episode, until)


@rare
def _settle(episode: Episode, until: float) -> None:
    status, queue = episode.status[0], episode.queue
    while status.queue_length > 0:
        head = queue[0]
        if head.chunks == 0:
            if head.ready > until:
                return
            _arrive(episode, head.item)
            leave_queue(episode, 0)
            continue
        begin = max(status.link_free, head.ready)
        if begin >= until:
            return
        chunks = min(head.chunks, max(1, math.ceil((until - begin) / head.chunk_seconds)))
        status.link_free = begin + chunks * head.chunk_seconds
        _note_chunks(episode, begin, chunks)
        head.chunks -= chunks
        if head.chunks == 0:
            head.ready = status.link_free


@inner
def _note_chunks(episode: Episode, begin: float, chunks: int) -> None:
    """Writes the next chunks of the queue's head into the log."""
    head = episode.queue[0]
    if episode.law[0].logs:
        for chunk in range(chunks):
            start = begin + chunk * head.chunk_seconds
            end = begin + (chunk + 1) * head.chunk_seconds
            note(episode, CHUNK, head.item, start, end, head.chunk_bytes, -1)


@inner
def _arrive(episode: Episode, item: int) -> None:
    pool, status = episode.pools[pool_of(episode, item)], episode.status[0]
    episode.places[item].state = RESIDENT
    if episode.places[item].wave == status.wave:
        status.num_pinned += 1
    pool.in_flight -= size_of(episode, item, False)
    pool.num_resident += 1


@inner
def leave_queue(episode: Episode, position: int) -> None:
    """Takes a prefetch out of the queue."""
    status, queue = episode.status[0], episode.queue
    status.queue_length -= 1
    for place in range(position, status.queue_length):
        queue[place] = queue[place + 1]


@inner
def prefetch(episode: Episode, item: int) -> None:
    """Puts a prefetch at the end of the queue; it takes its place in its pool at once."""
    status, law = episode.status[0], episode.law[0]
    seconds, size = issue(episode, item, False), size_of(episode, item, False)
    chunks = 1 if law.chunk == 0 else -(-size // law.chunk)
    entry = episode.queue[status.queue_length]
    entry.item, entry.chunks, entry.chunk_seconds, entry.chunk_bytes = item, chunks, seconds / chunks, size / chunks
    entry.ready = max(status.now, status.room_at)
    note(episode, QUEUED_PREFETCH, item, status.now, entry.ready, size, -1)
    status.queue_length += 1
    episode.places[item].state = IN_FLIGHT
    episode.pools[pool_of(episode, item)].in_flight += size


@inner
def finish_late(episode: Episode, position: int) -> float:
    """Gives the lane to a prefetch for which an event waits, and returns when it arrives."""
    status, entry = episode.status[0], episode.queue[position]
    item, arrival = entry.item, entry.ready
    if entry.chunks > 0:
        begin = max(status.link_free, entry.ready)
        arrival = status.link_free = begin + entry.chunks * entry.chunk_seconds
        note(episode, LATE_REST, item, begin, arrival, entry.chunks * entry.chunk_bytes, -1)
    _arrive(episode, item)
    leave_queue(episode, position)
    return float(arrival)


@inner
def demand(episode: Episode, item: int, is_low: bool, begin: float, buffer: int) -> float:
    """Loads an item in one piece, from a time on, and returns when it arrives."""
    status = episode.status[0]
    seconds = issue(episode, item, is_low)
    begin = max(begin, status.link_free)
    status.link_free = begin + seconds
    interval = DEMAND_LOW if is_low else DEMAND
    note(episode, interval, item, begin, status.link_free, size_of(episode, item, is_low), buffer)
    return float(status.link_free)


@inner
def first_buffer(episode: Episode) -> int:
    """Returns the staging buffer that becomes free first."""
    return int(np.argmin(episode.staging))
