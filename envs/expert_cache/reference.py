"""How experts are cached, once more in plain Python, as `docs/expert-cache.md` defines it.

Slow and obvious, to check the kernels by; nothing here is shared with the compiled code.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import pandas as pd

from ...workloads.routing import DECODE, PREFILL, RoutingTrace
from .timeline import COLUMNS

Choice = int | str | None
"""A way to serve a miss, or an item: a victim, or what to prefetch; None: bypass, or no prefetch."""


@dataclass(frozen=True)
class Entry:
    """A member of an event's union.

    Attributes:
        item: Which expert.
        tokens: How many of the event's tokens use it.
        weight: The largest router score that a token gives it.
        cumulative: The sum of the scores of the experts that rank higher for a token, the least of its tokens' sums.
    """

    item: int
    tokens: int = 1
    weight: float = 1.0
    cumulative: float = 0.0


@dataclass(frozen=True)
class Event:
    """One layer of one step.

    Attributes:
        layer: Which layer.
        step: Which step of the trace, counted over all batches.
        entries: The union of its tokens' experts, in the order in which they are served.
        dense: Seconds of attention, router and shared experts.
        new_prompt: Whether it is the first event of a batch.
        decode: Whether the step decodes; otherwise it prefills.
        tokens: Tokens of the step.
    """

    layer: int
    step: int
    entries: tuple[Entry, ...]
    dense: float = 0.0
    new_prompt: bool = False
    decode: bool = True
    tokens: int = 1


@dataclass(frozen=True)
class Item:
    """An expert.

    Attributes:
        pool: The pool of the device in which it may be held.
        high_bytes: Its size at high precision.
        low_bytes: Its size at low precision.
        floor_high: Seconds of an entry on the device at high precision, at least.
        floor_low: Likewise at low precision.
        slope: Seconds a token on the device.
        cpu_floor: Seconds of an entry on the CPU, at least.
        cpu_slope: Seconds a token on the CPU.
    """

    pool: int = 0
    high_bytes: float = 1.0
    low_bytes: float = 1.0
    floor_high: float = 0.0
    floor_low: float = 0.0
    slope: float = 0.0
    cpu_floor: float = 0.0
    cpu_slope: float = 0.0

    def bytes(self, low: bool) -> float:
        """Returns its size at a precision."""
        return self.low_bytes if low else self.high_bytes

    def device_seconds(self, tokens: int, low: bool) -> float:
        """Returns the seconds of an entry on the device."""
        return max(self.floor_low if low else self.floor_high, tokens * self.slope)

    def cpu_seconds(self, tokens: int) -> float:
        """Returns the seconds of an entry on the CPU."""
        return max(self.cpu_floor, tokens * self.cpu_slope)


@dataclass(frozen=True)
class PlainRules:
    """What the rules leave open.

    Attributes:
        capacity: Bytes of each pool.
        num_experts: Experts per layer.
        top_k: k, experts that a token uses in a layer.
        latency: Seconds that a load takes besides its bytes.
        bandwidth: Byte/s of the link.
        ssd_latency: Seconds that a load from the SSD takes besides.
        ssd_bandwidth: Byte/s of the SSD.
        host_capacity: Bytes of items in the host; None: it holds all.
        decisions: What is decided, of ``evict``, ``prefetch`` and ``miss``.
        chunk: Bytes of a prefetch after which a demand can go first.
        staging: Staging buffers.
        queue_limit: Prefetches that may stand in the queue.
        prefetch_depth: Prefetches in an event, at most.
        prefetch_distance: How many events ahead a prefetch may be for.
        early_router: Whether the routing is known before the event's dense part.
        decision_time: Seconds of a decision.
        event_time: Seconds that the policy takes in each event besides.
        warm: Whether pools begin filled.
        low_price: Price of low precision, for a weight of 1.
        skip_price: Price of skipping, for a weight of 1.
        discount_per_token: Of the reward.
        layers_represented: How many layers the one that is played stands for: times are multiplied by it.
    """

    capacity: tuple[float, ...]
    num_experts: int
    top_k: int = 1
    latency: float = 0.0
    bandwidth: float = 1.0
    ssd_latency: float = 0.0
    ssd_bandwidth: float = math.inf
    host_capacity: float | None = None
    decisions: tuple[str, ...] = ("evict",)
    chunk: float = math.inf
    staging: int = 1
    queue_limit: int = 1
    prefetch_depth: int = 1
    prefetch_distance: int = 1
    early_router: bool = False
    decision_time: float = 0.0
    event_time: float = 0.0
    warm: bool = False
    low_price: float = 0.0
    skip_price: float = 0.0
    discount_per_token: float = 1.0
    layers_represented: int = 1


def events_of(
    trace: RoutingTrace,
    batch: int = 1,
    prefill_chunk: int = 0,
    serve: str = "ascending",
    layer: int | None = None,
    dense: float = 0.0,
) -> list[Event]:
    """Returns the events of a trace.

    Args:
        trace: What was routed where.
        batch: Requests that run together.
        prefill_chunk: Tokens of a prompt in a step; 0: all.
        serve: ``hottest``: entries with most tokens first; otherwise in ascending order of items.
        layer: The one layer whose events are wanted; None: those of all.
        dense: Seconds of each event's attention, router and shared experts.
    """
    rows: dict[tuple[int, int, int, int], int] = {}
    positions: dict[tuple[int, int], list[int]] = {}
    columns = zip(trace.request.tolist(), trace.phase.tolist(), trace.step.tolist(), trace.layer.tolist(), strict=True)
    for row, (request, phase, position, of_layer) in enumerate(columns):
        rows[request, phase, position, of_layer] = row
        if of_layer == 0:
            positions.setdefault((request, phase), []).append(position)
    requests = sorted({request for request, _ in positions})
    events: list[Event] = []
    step = 0
    for first in range(0, len(requests), batch):
        together = requests[first : first + batch]
        new_prompt = True
        for phase, tokens in _steps_of(together, positions, prefill_chunk):
            for of_layer in range(trace.num_layers) if layer is None else [layer]:
                used = [rows[request, phase, position, of_layer] for request, position in tokens]
                entries = _entries_of(trace, used, of_layer, serve == "hottest")
                events.append(Event(of_layer, step, entries, dense, new_prompt, phase == DECODE, len(tokens)))
                new_prompt = False
            step += 1
    return events


def _steps_of(
    requests: list[int], positions: dict[tuple[int, int], list[int]], prefill_chunk: int
) -> list[tuple[int, list[tuple[int, int]]]]:
    """Returns the steps of a batch: the phase, and (request, position) of the tokens."""
    steps: list[tuple[int, list[tuple[int, int]]]] = []
    for request in requests:
        prompt = sorted(positions.get((request, PREFILL), []))
        size = prefill_chunk or max(1, len(prompt))
        for first in range(0, len(prompt), size):
            steps.append((PREFILL, [(request, position) for position in prompt[first : first + size]]))
    decoded = {request: positions.get((request, DECODE), []) for request in requests}
    for position in sorted({position for of_request in decoded.values() for position in of_request}):
        steps.append((DECODE, [(request, position) for request in requests if position in decoded[request]]))
    return steps


def _entries_of(trace: RoutingTrace, rows: list[int], layer: int, hottest: bool) -> tuple[Entry, ...]:
    """Returns the union of some rows of one layer."""
    tokens: dict[int, int] = {}
    weight: dict[int, float] = {}
    cumulative: dict[int, float] = {}
    for row in rows:
        experts: list[int] = trace.experts[row].tolist()
        scores = [1 / trace.top_k] * trace.top_k if trace.scores is None else trace.scores[row].tolist()
        higher = 0.0
        for expert, score in zip(experts, scores, strict=True):
            item = layer * trace.num_experts + expert
            tokens[item] = tokens.get(item, 0) + 1
            weight[item] = max(weight.get(item, 0.0), score)
            cumulative[item] = min(cumulative.get(item, math.inf), higher)
            higher += score
    order = sorted(tokens, key=lambda item: (-tokens[item] if hottest else 0, item))
    return tuple(Entry(item, tokens[item], weight[item], cumulative[item]) for item in order)


@dataclass(frozen=True)
class Decision:
    """What is to be decided.

    Attributes:
        kind: ``miss``: how to serve an entry; ``evict``: a victim; ``prefetch``: what to prefetch.
        item: What is served, or loaded; None where it is to be chosen.
        for_prefetch: Whether the victim is one for a prefetch.
        choices: What is allowed: ways; None and victims, by recency, oldest first; None and targets, ascending.
    """

    kind: Literal["miss", "evict", "prefetch"]
    item: int | None
    for_prefetch: bool
    choices: tuple[Choice, ...]


@dataclass
class Outcome:
    """What has come about since the last decision.

    Attributes:
        stall: Seconds, of the events that ended.
        lost: The price of lost precision.
        steps: How many steps began.
    """

    stall: float = 0.0
    lost: float = 0.0
    steps: int = 0


@dataclass(eq=False)
class _Prefetch:
    item: int
    ready: float
    chunks_left: int
    chunk_seconds: float
    chunk_bytes: float


@dataclass
class _Counts:
    entries: int = 0
    hits: int = 0
    late: int = 0
    misses: int = 0
    on_cpu: int = 0
    skipped: int = 0
    at_low: int = 0
    uploads: int = 0
    bytes_moved: float = 0.0
    prefetches: int = 0
    used_prefetches: int = 0
    stall: float = 0.0
    lost: float = 0.0
    lengths: list[float] = field(default_factory=list)  # of events, seconds


Asking = Generator[Decision, Choice, None]


class Run:
    """Plays an episode by the rules: it stands before a decision, or it is over.

    Attributes:
        decision: What is to be decided; None when the episode is over.
        outcome: What has come about between the last decision and this one.
        now: Seconds, where the decision is made.
        rows: The timeline so far: values of `timeline.COLUMNS`.
    """

    def __init__(self, events: Sequence[Event], items: Sequence[Item], rules: PlainRules) -> None:
        """Goes on to the first decision.

        Args:
            events: What the episode plays.
            items: The experts of all layers.
            rules: What the rules leave open.
        """
        self.events, self.items, self.rules = events, items, rules
        self.now = 0.0
        self.rows: list[tuple[str, int, int, float, float, str, float, int]] = []
        self.outcome = Outcome()
        self._counts = _Counts()

        self._time = 0.0  # when the last event ended
        self._at = 0  # the event that is played
        self._link_free = 0.0
        self._device_free = 0.0
        self._cpu_free = 0.0
        self._buffer_free = [0.0] * rules.staging
        self._queue: list[_Prefetch] = []

        self._order: list[list[int]] = [[] for _ in rules.capacity]  # resident and in flight by recency, oldest first
        self._low: dict[int, bool] = {}  # of these: whether at low precision
        self._arrival: dict[int, float] = {}  # of these: when they were or will be there, once that is known
        self._unused: set[int] = set()  # of these: prefetched, and not found by an event yet
        self._pinned: set[int] = set()
        self._computed: dict[int, float] = {}  # members of U with places that have been scheduled: when they end

        self._largest = [
            max((item.high_bytes for item in items if item.pool == pool), default=0.0)
            for pool in range(len(rules.capacity))
        ]
        self._host = list(range(len(items))) if rules.host_capacity is None else self._fill(rules.host_capacity)
        if rules.warm:
            for pool, capacity in enumerate(rules.capacity):
                self._order[pool] = self._fill(capacity, pool)
                for item in self._order[pool]:
                    self._low[item], self._arrival[item] = False, 0.0

        self._player = self._play()
        self.decision = next(self._player, None)

    def _fill(self, capacity: float, pool: int | None = None) -> list[int]:
        """Returns the items, of one pool or of all, that fit in ascending order, up to the first that does not."""
        filled: list[int] = []
        for number, item in enumerate(self.items):
            if pool in {None, item.pool}:
                capacity -= item.high_bytes
                if capacity < 0:
                    break
                filled.append(number)
        return filled

    # Decisions

    @property
    def is_over(self) -> bool:
        """Whether all events have ended."""
        return self.decision is None

    def decide(self, choice: Choice) -> None:
        """Takes one of the choices, and goes on to the next decision."""
        assert self.decision is not None
        assert choice in self.decision.choices
        self.outcome = Outcome()
        try:
            self.decision = self._player.send(choice)
        except StopIteration:
            self.decision = None

    def reward(self, unit: float) -> float:
        """Returns the reward of the last decision.

        Args:
            unit: Seconds, the trace's `ideal_step_seconds`.
        """
        return -self.outcome.stall / unit - self.outcome.lost

    def discount(self) -> float:
        """Returns by how much what follows is discounted after the last decision."""
        return self.rules.discount_per_token**self.outcome.steps

    def _ask(self, decision: Decision) -> Generator[Decision, Choice, Choice]:
        """Asks, and charges for it; what has one choice only is not asked."""
        if len(decision.choices) == 1:
            return decision.choices[0]
        choice = yield decision
        self._charge("decision", self.rules.decision_time)
        return choice

    def _charge(self, what: str, seconds: float) -> None:
        self._write("policy", -1, self.now, self.now + seconds, what)
        self.now += seconds

    # Events

    def _play(self) -> Asking:
        for at, event in enumerate(self.events):
            self._at = at
            yield from self._play_event(event)

    def _play_event(self, event: Event) -> Asking:
        if self._at == 0 or event.step != self.events[self._at - 1].step:
            self.outcome.steps += 1
        start = self._time + event.dense
        self._write("device", -1, self._time, start, "dense")
        self.now = self._time if self.rules.early_router else start
        self._settle(self.now)
        hits = [entry for entry in event.entries if self._is_resident(entry.item)]
        late = [entry for entry in event.entries if self._is_in_flight(entry.item)]
        misses = [entry for entry in event.entries if entry not in hits + late]
        self._count(hits, late, misses)
        self._charge("event", self.rules.event_time)
        self._device_free = self._cpu_free = max(self.now, start)

        self._pinned = {entry.item for entry in event.entries}
        self._carry_late([entry.item for entry in late])
        for entry in hits + late:
            self._touch(entry.item)
            low = self._low[entry.item]
            self._compute(entry, ("late" if entry in late else "hit") + "-low" * low, self._arrival[entry.item], low)
        for entry in misses:
            yield from self._serve(entry)
        yield from self._prefetch()
        self._end_event(event, start)

    def _count(self, hits: list[Entry], late: list[Entry], misses: list[Entry]) -> None:
        self._counts.entries += len(hits) + len(late) + len(misses)
        self._counts.hits += len(hits)
        self._counts.late += len(late)
        self._counts.misses += len(misses)
        found = {entry.item for entry in hits + late} & self._unused
        self._counts.used_prefetches += len(found)
        self._unused -= found

    def _end_event(self, event: Event, start: float) -> None:
        end = max(self._device_free, self._cpu_free, start, self.now)
        self._write("event", -1, self._time, end, "decode" if event.decode else "prefill")
        stall = end - start - ideal_seconds(event, self.items)
        self._counts.stall += stall
        self._counts.lengths.append(end - self._time)
        self.outcome.stall += stall
        self._time = end
        self._pinned, self._computed = set(), {}

    def _compute(self, entry: Entry, what: str, arrival: float, low: bool, buffer: int = -1) -> None:
        """Schedules an entry on the device."""
        item = self.items[entry.item]
        begin = max(self._device_free, arrival)
        self._device_free = begin + item.device_seconds(entry.tokens, low)
        self._write("device", entry.item, begin, self._device_free, what, item.bytes(low), buffer)
        if buffer >= 0:
            self._buffer_free[buffer] = self._device_free
        else:
            self._computed[entry.item] = self._device_free
        if low:
            self._counts.at_low += 1
            self._lose_precision(entry, self.rules.low_price)

    def _lose_precision(self, entry: Entry, price: float) -> None:
        self._counts.lost += entry.weight * price
        self.outcome.lost += entry.weight * price

    # Misses

    def _serve(self, entry: Entry) -> Asking:
        self._settle(self.now)
        ways: tuple[Choice, ...] = ("load",)
        if "miss" in self.rules.decisions:
            ways = ("load", "load-low", *(["cpu"] if entry.item in self._host else []), "skip")
        way = yield from self._ask(Decision("miss", entry.item, False, ways))
        if way == "cpu":
            begin = max(self._cpu_free, self.now)
            self._cpu_free = begin + self.items[entry.item].cpu_seconds(entry.tokens)
            self._write("cpu", entry.item, begin, self._cpu_free, "cpu")
            self._counts.on_cpu += 1
        elif way == "skip":
            self._write("skip", entry.item, self.now, self.now, "skip")
            self._counts.skipped += 1
            self._lose_precision(entry, self.rules.skip_price)
        else:
            yield from self._load(entry, low=way == "load-low")

    def _load(self, entry: Entry, low: bool) -> Asking:
        size = self.items[entry.item].bytes(low)
        fits, slot = yield from self._make_room(entry.item, size, for_prefetch=False)
        self._settle(self.now)
        buffer = -1 if fits else self._buffer_free.index(min(self._buffer_free))
        begin = max(self._link_free, self.now, slot, 0.0 if fits else self._buffer_free[buffer])
        self._link_free = begin + self._issue(entry.item, size)
        self._write("link", entry.item, begin, self._link_free, "demand" + "-low" * low, size, buffer)
        if fits:
            self._take_place(entry.item, low)
            self._arrival[entry.item] = self._link_free
        self._compute(entry, "load" + "-low" * low, self._link_free, low, buffer)

    def _issue(self, item: int, size: float) -> float:
        """Returns the seconds of a load that is decided now, and lets the item enter the host."""
        self._counts.uploads += 1
        self._counts.bytes_moved += size
        if item in self._host:
            return self.rules.latency + size / self.rules.bandwidth
        self._enter_host(item)
        bandwidth = min(self.rules.ssd_bandwidth, self.rules.bandwidth)
        return self.rules.ssd_latency + size / bandwidth + self.rules.latency

    def _enter_host(self, item: int) -> None:
        assert self.rules.host_capacity is not None
        if self.items[item].high_bytes <= self.rules.host_capacity:
            self._host.append(item)
            while sum(self.items[other].high_bytes for other in self._host) > self.rules.host_capacity:
                self._host.pop(0)

    # Places

    def _bytes(self, item: int) -> float:
        return self.items[item].bytes(self._low[item])

    def _free_bytes(self, pool: int) -> float:
        return self.rules.capacity[pool] - sum(self._bytes(item) for item in self._order[pool])

    def _is_in_flight(self, item: int) -> bool:
        """Whether it is on its way; what has been scheduled counts as resident."""
        return item in self._low and item not in self._computed and self._arrival.get(item, math.inf) > self.now

    def _is_resident(self, item: int) -> bool:
        return item in self._low and not self._is_in_flight(item)

    def _touch(self, item: int) -> None:
        order = self._order[self.items[item].pool]
        order.remove(item)
        order.append(item)

    def _take_place(self, item: int, low: bool) -> None:
        self._order[self.items[item].pool].append(item)
        self._low[item] = low

    def _evictable(self, pool: int) -> list[int]:
        return [item for item in self._order[pool] if self._is_resident(item) and item not in self._pinned]

    def _make_room(self, item: int, size: float, for_prefetch: bool) -> Generator[Decision, Choice, tuple[bool, float]]:
        """Decides victims until so many bytes are free.

        Returns:
            Whether they are (otherwise it is a bypass, or the prefetch is given up), and when the last of the victims'
            places becomes free, seconds.
        """
        pool, slot = self.items[item].pool, 0.0
        if size > self.rules.capacity[pool]:
            return False, slot
        while self._free_bytes(pool) < size:
            self._settle(self.now)
            victims = self._evictable(pool)
            if not victims and not for_prefetch:
                self._end_wave(pool)
                victims = self._evictable(pool)
            victim: Choice = victims[0] if victims else None
            if "evict" in self.rules.decisions:
                victim = yield from self._ask(Decision("evict", item, for_prefetch, (None, *victims)))
            if victim is None:
                return False, slot
            assert isinstance(victim, int)
            slot = max(slot, self._lose(victim, "prefetch" if for_prefetch else "demand"))
        return True, slot

    def _end_wave(self, pool: int) -> None:
        self._pinned -= {item for item in self._computed if self.items[item].pool == pool}

    def _lose(self, victim: int, what: str) -> float:
        """Lets go of a victim; returns when its place is free."""
        free = max(self.now, self._computed.pop(victim, self.now))
        self._write("evict", victim, self.now, free, what, self._bytes(victim))
        self._order[self.items[victim].pool].remove(victim)
        del self._low[victim], self._arrival[victim]
        self._unused.discard(victim)
        return free

    # Prefetches

    def _prefetch(self) -> Asking:
        if "prefetch" not in self.rules.decisions:
            return
        for _ in range(self.rules.prefetch_depth):
            self._settle(self.now)
            item = yield from self._ask(Decision("prefetch", None, False, (None, *self._targets())))
            if item is None:
                return
            assert isinstance(item, int)
            size = self.items[item].high_bytes
            fits, slot = yield from self._make_room(item, size, for_prefetch=True)
            if not fits:
                return
            self._settle(self.now)
            chunks = max(1, math.ceil(size / self.rules.chunk))
            ready = max(self.now, slot)
            self._queue.append(_Prefetch(item, ready, chunks, self._issue(item, size) / chunks, size / chunks))
            self._write("queue", item, self.now, ready, "prefetch", size)
            self._take_place(item, low=False)
            self._unused.add(item)
            self._counts.prefetches += 1

    def _targets(self) -> list[int]:
        """Returns what may be prefetched."""
        if sum(self._is_in_flight(item) for item in self._low) >= self.rules.queue_limit:
            return []
        following = self.events[self._at + 1 : self._at + 1 + self.rules.prefetch_distance]
        layers = {event.layer for event in following}
        return [
            item
            for item in range(len(self.items))
            if item // self.rules.num_experts in layers and item not in self._low and self._has_room_for(item)
        ]

    def _has_room_for(self, item: int) -> bool:
        """Whether an item may be got in, and leaves k places that are not in flight."""
        pool, size = self.items[item].pool, self.items[item].high_bytes
        in_flight = sum(self._bytes(other) for other in self._order[pool] if self._is_in_flight(other))
        left = self.rules.capacity[pool] - in_flight - size
        return left >= self.rules.top_k * self._largest[pool] and (
            self._free_bytes(pool) >= size or len(self._evictable(pool)) > 0
        )

    # The link

    def _settle(self, time: float) -> None:
        """Lets chunks of prefetches begin that can before a time."""
        while self._queue:
            head = self._queue[0]
            begin = max(self._link_free, head.ready)
            if begin >= time:
                return
            self._carry(head, 1, begin, "chunk")

    def _carry_late(self, items: list[int]) -> None:
        """Carries what is left of the prefetches that are late."""
        for prefetch in [prefetch for prefetch in self._queue if prefetch.item in items]:
            begin = max(self._link_free, prefetch.ready)
            self._carry(prefetch, prefetch.chunks_left, begin, "late")

    def _carry(self, prefetch: _Prefetch, chunks: int, begin: float, what: str) -> None:
        self._link_free = begin + chunks * prefetch.chunk_seconds
        self._write("link", prefetch.item, begin, self._link_free, what, chunks * prefetch.chunk_bytes)
        prefetch.chunks_left -= chunks
        if prefetch.chunks_left == 0:
            self._queue.remove(prefetch)
            self._arrival[prefetch.item] = self._link_free

    # What is counted

    def _write(
        self, lane: str, item: int, begin: float, end: float, what: str, size: float = 0.0, buffer: int = -1
    ) -> None:
        self.rows.append((lane, self._at, item, begin, end, what, size, buffer))

    def timeline(self) -> pd.DataFrame:
        """Returns what has happened, in the columns that `timeline` describes."""
        return pd.DataFrame(self.rows, columns=list(COLUMNS))

    def metrics(self) -> dict[str, float]:
        """Returns what is counted, of an episode that is over."""
        counts = self._counts
        return {
            "stall": counts.stall,
            "hit_rate": counts.hits / counts.entries,
            "late": counts.late,
            "misses": counts.misses,
            "on_cpu": counts.on_cpu,
            "skipped": counts.skipped,
            "at_low": counts.at_low,
            "uploads": counts.uploads,
            "bytes_moved": counts.bytes_moved,
            "prefetch_precision": _ratio(counts.used_prefetches, counts.prefetches),
            "precision_loss": counts.lost / len(self.events),
            **speeds(self.events, counts.lengths, self.rules.layers_represented),
        }


def ideal_seconds(event: Event, items: Sequence[Item]) -> float:
    """Returns the seconds in which the device would compute U if all were resident at high precision."""
    return sum(items[entry.item].device_seconds(entry.tokens, low=False) for entry in event.entries)


def ideal_step_seconds(events: Sequence[Event], items: Sequence[Item]) -> float:
    """Returns the mean seconds of a decode step if all were resident; of a step, where none decodes."""
    counted = [event for event in events if event.decode] or events
    seconds = sum(event.dense + ideal_seconds(event, items) for event in counted)
    return seconds / len({event.step for event in counted})


def speeds(events: Sequence[Event], lengths: Sequence[float], layers_represented: int) -> dict[str, float]:
    """Returns tokens per second, time per output token and time to first token.

    Args:
        events: What was played.
        lengths: Of each event, seconds from the end of the one before to its own.
        layers_represented: How many layers the one that was played stands for.
    """
    seconds = {True: 0.0, False: 0.0}
    tokens: dict[bool, dict[int, int]] = {True: {}, False: {}}
    for event, length in zip(events, lengths, strict=True):
        seconds[event.decode] += length * layers_represented
        tokens[event.decode][event.step] = event.tokens
    counted = bool(tokens[True])
    return {
        "tokens_per_second": _ratio(sum(tokens[counted].values()), seconds[counted]),
        "time_per_output_token": _ratio(seconds[True], len(tokens[True])),
        "time_to_first_token": _ratio(seconds[False], _prefilled_batches(events)),
    }


def _prefilled_batches(events: Sequence[Event]) -> int:
    begins = [*(at for at, event in enumerate(events) if at == 0 or event.new_prompt), len(events)]
    return sum(any(not event.decode for event in events[begin:end]) for begin, end in pairwise(begins))


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan
