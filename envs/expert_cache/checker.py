"""What is wrong with a finished episode, in plain Python from the rules (`docs/expert-cache.md`).

An episode is given by its timeline, a table whose columns, lanes and order `timeline` describes. Nothing here is shared
with the compiled code, and nothing is decided here: each row is held against what the rows before it allow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import pandas as pd

from .reference import Entry, Event, Item, PlainRules, ideal_seconds, speeds
from .timeline import COLUMNS, WHATS

TOLERANCE = 1e-9
"""Relative: sums in another order may differ in the last bits."""

BUFFERED = {"demand", "demand-low", "load", "load-low"}
"""What can go through a buffer."""

WITHOUT_BYTES = {"cpu", "skip", "policy", "event"}
"""Lanes in which nothing is carried or held."""


def violations(
    timeline: pd.DataFrame,
    events: Sequence[Event],
    items: Sequence[Item],
    rules: PlainRules,
    metrics: Mapping[str, float] | None = None,
) -> list[str]:
    """Returns what is wrong with a finished episode, one sentence a fault; an empty list if nothing is.

    Checked are: each event begins when the one before ended, ends when all of it is computed, and serves each of its
    entries once, in order, from a place or a buffer in which the expert is for the whole computation; hits were
    resident, late entries in flight, the others absent; computations and loads take as long as they should, and begin
    as soon as they can and no sooner; the link, the device, the CPU and each buffer do one thing at a time; chunks of
    prefetches go whole, in order, and never before a demand that is there; no pool ever holds more than its bytes, by
    the decisions and at any time; no item is lost that is pinned, in flight or absent, or without need; what was
    chosen was allowed; decisions are charged for; the metrics are those of the rows.

    Args:
        timeline: The episode, in the columns of `timeline`.
        events: What it plays.
        items: The experts of all layers.
        rules: What the rules leave open.
        metrics: What was counted, by name; by default that is not checked.
    """
    faults = list(_malformed(timeline, events, items, rules))
    if faults:
        return faults
    rows = [Row(*values) for values in timeline[list(COLUMNS)].itertuples(index=False, name=None)]
    slack = TOLERANCE * max((abs(row.end) for row in rows), default=0.0)
    walk = _Walk(events, items, rules, slack)
    walk.follow(rows)
    faults = [*_overlaps(rows, slack), *walk.faults, *_crowds(walk, items, rules, slack)]
    if metrics is not None:
        faults += _miscounts(walk, metrics)
    return faults


class Row(NamedTuple):
    """A row of the timeline."""

    lane: str
    event: int
    item: int
    begin: float
    end: float
    what: str
    bytes: float
    buffer: int

    def __str__(self) -> str:
        about = f" of item {self.item}" if self.item >= 0 else ""
        return f"event {self.event}: {self.lane} {self.what}{about} at {self.begin}"


def _malformed(
    timeline: pd.DataFrame, events: Sequence[Event], items: Sequence[Item], rules: PlainRules
) -> Iterator[str]:
    missing = [column for column in COLUMNS if column not in timeline.columns]
    if missing:
        yield f"the timeline has no column {missing[0]!r}"
        return
    for number, values in enumerate(timeline[list(COLUMNS)].itertuples(index=False, name=None)):
        row = Row(*values)
        if row.what not in WHATS.get(row.lane, ()):
            yield f"row {number} is a {row.what!r} in lane {row.lane!r}, which is none of {list(WHATS)}"
        elif not 0 <= row.event < len(events):
            yield f"row {number} is of event {row.event}, of {len(events)}"
        elif not (math.isfinite(row.begin) and math.isfinite(row.end) and 0 <= row.begin <= row.end):
            yield f"row {number} lasts from {row.begin} to {row.end}"
        elif not -1 <= row.buffer < (rules.staging if row.lane in {"link", "device"} and row.what in BUFFERED else 0):
            yield f"row {number} is a {row.what!r} with buffer {row.buffer}, of {rules.staging}"
        elif row.bytes != 0 and (row.lane in WITHOUT_BYTES or row.what == "dense"):
            yield f"row {number} is a {row.what!r} with {row.bytes} bytes"
        elif (row.lane in {"policy", "event"} or row.what == "dense") != (row.item == -1) or row.item >= len(items):
            yield f"row {number} is about item {row.item}, of {len(items)}"


def _overlaps(rows: list[Row], slack: float) -> Iterator[str]:
    """Checks that lanes and buffers do one thing at a time."""
    lanes = {lane: [(row.begin, row.end) for row in rows if row.lane == lane] for lane in ("link", "device", "cpu")}
    for buffer in sorted({row.buffer for row in rows} - {-1}):
        loads = [row.begin for row in rows if row.lane == "link" and row.buffer == buffer]
        ends = [row.end for row in rows if row.lane == "device" and row.buffer == buffer]
        lanes[f"buffer {buffer}"] = list(zip(loads, ends, strict=False))
    for lane, intervals in lanes.items():
        for (_, end), (begin, _) in pairwise(sorted(intervals)):
            if begin < end - slack:
                yield f"{lane} is taken until {end}, and again from {begin} on"


def _crowds(walk: _Walk, items: Sequence[Item], rules: PlainRules, slack: float) -> Iterator[str]:
    """Checks that the bytes that are in a pool, or are being carried into it, fit at any time."""
    for pool, capacity in enumerate(rules.capacity):
        stays = [stay for stay in walk.stays() if items[stay.item].pool == pool and stay.end - stay.begin > slack]
        # What ends when another begins, but for the last bits, ends before it.
        begins = [(stay.begin, stay.bytes) for stay in stays]
        ends = [(stay.end - slack, -stay.bytes) for stay in stays]
        held = 0.0
        for time, change in sorted(begins + ends):
            held += change
            if change > 0 and held > capacity * (1 + TOLERANCE):
                yield f"pool {pool} holds {held} bytes at {time}, its capacity is {capacity}"


def _miscounts(walk: _Walk, metrics: Mapping[str, float]) -> Iterator[str]:
    for name, right in walk.metrics().items():
        value = metrics.get(name)
        if value is None:
            yield f"metric {name!r} is missing"
        elif math.isnan(value) != math.isnan(right) or abs(value - right) > TOLERANCE * max(1.0, abs(right)):
            yield f"metric {name!r} is {value} instead of {right}"


@dataclass
class _Place:
    """What an item has in its pool, from the decision on until it is lost."""

    item: int
    bytes: float
    low: bool
    arrival: float = math.inf
    begin: float = math.inf  # from when on bytes are in it
    end: float = math.inf
    unused: bool = False  # prefetched, and not found by an event yet


@dataclass(eq=False)
class _Queued:
    item: int
    ready: float
    chunks: int
    chunk_seconds: float
    chunk_bytes: float


@dataclass
class _Loading:
    """A load of a miss that has been decided, and not been computed yet."""

    item: int
    low: bool
    arrival: float
    buffer: int


@dataclass
class _Walk:
    """Goes through the rows in their order."""

    events: Sequence[Event]
    items: Sequence[Item]
    rules: PlainRules
    slack: float
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.at = -1
        self.is_open = False
        self.time = self.known = self.start = self.now = 0.0
        self.link_free = self.device_free = self.cpu_free = 0.0
        self.buffer_free = [0.0] * self.rules.staging
        self.last_chunk = -math.inf
        self.queue: list[_Queued] = []
        self.places: dict[int, _Place] = {}
        self.order: list[int] = []  # of all pools, by recency
        self.past: list[_Place] = []
        self.pinned: set[int] = set()
        self.ends: dict[int, float] = {}  # members of U with places, once they are scheduled
        self.served: list[tuple[int, str]] = []
        self.loading: _Loading | None = None
        self.largest: dict[int, float] = {}  # bytes, by pool
        for item in self.items:
            self.largest[item.pool] = max(self.largest.get(item.pool, 0.0), item.high_bytes)
        self.victims: list[tuple[Row, float]] = []  # since the last load, with the bytes that were free before
        self.targets: set[int] = set()  # what could be prefetched before these were lost
        self.asked: list[float] = []  # when decisions were charged for, since the last load or what was done instead
        self.prefetches = 0
        self.charged = self.carried_late = False

        self.counts = dict.fromkeys(
            ("entries", "hits", "late", "misses", "on_cpu", "skipped", "at_low", "uploads", "prefetches", "used"), 0
        )
        self.bytes_moved = self.stall = self.lost = 0.0
        self.lengths: list[float] = []

        capacity = math.inf if self.rules.host_capacity is None else self.rules.host_capacity
        self.host = list(self.filled(list(range(len(self.items))), capacity))
        for pool, bytes_ in enumerate(self.rules.capacity if self.rules.warm else ()):
            for number in self.filled([n for n, item in enumerate(self.items) if item.pool == pool], bytes_):
                self.order.append(number)
                self.places[number] = _Place(
                    number, self.items[number].high_bytes, low=False, arrival=-math.inf, begin=0.0
                )

    def filled(self, numbers: list[int], capacity: float) -> Iterator[int]:
        """Yields the items that fit, up to the first that does not."""
        for number in numbers:
            capacity -= self.items[number].high_bytes
            if capacity < 0:
                return
            yield number

    def follow(self, rows: list[Row]) -> None:
        """Holds each row against those before it."""
        handlers = {
            ("device", "dense"): self.begin_event,
            ("policy", "event"): self.charge_event,
            ("policy", "decision"): self.charge_decision,
            ("link", "chunk"): self.chunk,
            ("link", "late"): self.late_load,
            ("queue", "prefetch"): self.prefetch,
            ("cpu", "cpu"): self.on_cpu,
            ("skip", "skip"): self.skip,
            ("event", "prefill"): self.end_event,
            ("event", "decode"): self.end_event,
        }
        of_lanes = {"link": self.demand, "device": self.on_device, "evict": self.evict}
        for row in rows:
            if row.what not in {"dense", "chunk"} and not (self.is_open and row.event == self.at):
                self.fault(row, f"stands in event {self.at}" if self.is_open else "stands between events")
                continue
            (handlers.get((row.lane, row.what)) or of_lanes[row.lane])(row)
        if self.is_open or self.at + 1 < len(self.events):
            self.faults.append(f"the timeline ends in or after event {self.at}, of {len(self.events)}")

    def fault(self, row: Row, text: str) -> None:
        self.faults.append(f"{row} {text}")

    def expect(self, row: Row, name: str, value: float, right: float) -> None:
        if not abs(value - right) <= self.slack:
            self.fault(row, f"{name} {value} instead of {right}")

    def expect_bytes(self, row: Row, right: float) -> None:
        if not abs(row.bytes - right) <= TOLERANCE * right:
            self.fault(row, f"has {row.bytes} bytes instead of {right}")

    # Events

    def begin_event(self, row: Row) -> None:
        if self.is_open or row.event != self.at + 1:
            self.fault(row, f"follows event {self.at}, which has {'not ' * self.is_open}ended")
        event = self.events[row.event]
        self.at, self.is_open = row.event, True
        self.expect(row, "begins at", row.begin, self.time)
        self.expect(row, "takes", row.end - row.begin, event.dense)
        self.start = self.time + event.dense
        self.known = self.now = self.time if self.rules.early_router else self.start
        self.device_free = self.cpu_free = max(self.now, self.start)
        self.pinned = {entry.item for entry in event.entries}
        self.ends, self.served, self.loading, self.victims = {}, [], None, []
        self.asked, self.prefetches = [], 0
        self.charged = self.carried_late = False

    def charge_event(self, row: Row) -> None:
        if self.charged or self.served:
            self.fault(row, "is not the first of its event")
        self.charged = True
        self.expect(row, "begins at", row.begin, self.now)
        self.expect(row, "takes", row.end - row.begin, self.rules.event_time)
        self.now += self.rules.event_time
        self.device_free = self.cpu_free = max(self.now, self.start)

    def charge_decision(self, row: Row) -> None:
        self.asked.append(row.begin)
        self.expect(row, "begins at", row.begin, self.now)
        self.expect(row, "takes", row.end - row.begin, self.rules.decision_time)
        self.now += self.rules.decision_time

    def expect_decisions(self, row: Row, least: int, most: int | None = None) -> None:
        """Checks how many decisions were charged since the last time."""
        if self.rules.decision_time > 0 and not least <= len(self.asked) <= (least if most is None else most):
            self.fault(row, f"follows {len(self.asked)} charged decisions instead of {least}")
        self.asked = []

    def end_event(self, row: Row) -> None:
        event = self.events[self.at]
        self.expect_all_served(row, event)
        self.expect_last_decisions(row)
        if row.what != ("decode" if event.decode else "prefill"):
            self.fault(row, f"is of step {event.step}, which {'decodes' if event.decode else 'prefills'}")
        if self.rules.event_time > 0 and not self.charged:
            self.fault(row, "has not been charged for its policy")
        if self.loading is not None:
            self.fault(row, f"ends before item {self.loading.item} is computed")
        self.expect(row, "begins at", row.begin, self.time)
        self.expect(row, "ends at", row.end, max(self.device_free, self.cpu_free, self.start, self.now))
        self.stall += row.end - self.start - ideal_seconds(event, self.items)
        self.lengths.append(row.end - row.begin)
        self.time, self.is_open = row.end, False
        self.pinned, self.ends = set(), {}

    def expect_all_served(self, row: Row, event: Event) -> None:
        classes = {"hit": 0, "hit-low": 0, "late": 1}
        position = {entry.item: number for number, entry in enumerate(event.entries)}
        items = [item for item, _ in self.served]
        if sorted(items) != sorted(position):
            self.fault(row, f"has served items {sorted(items)} instead of {sorted(position)}")
            return
        right = sorted(self.served, key=lambda served: (classes.get(served[1], 2), position[served[0]]))
        if self.served != right:
            self.fault(row, f"has served items in order {items} instead of {[item for item, _ in right]}")

    def expect_last_decisions(self, row: Row) -> None:
        """Checks what was charged for ending the prefetches: by choosing none, or by giving one up."""
        may_evict = "evict" in self.rules.decisions
        if any(victim.what == "demand" for victim, _ in self.victims):
            self.fault(row, f"has lost item {self.victims[-1][0].item} for nothing")
        elif self.victims:
            pool = self.items[self.victims[-1][0].item].pool
            before = 1 + may_evict * len(self.victims)
            at = self.asked[-1] if len(self.asked) > before else self.now
            least, most = (bool(self.evictable(pool, at + slack)) for slack in (-self.slack, self.slack))
            self.expect_decisions(row, before + may_evict * least, before + may_evict * most)
        else:
            at = self.asked[0] if self.asked else self.now
            least, most = (bool(self.allowed_targets(at + slack)) for slack in (-self.slack, self.slack))
            # Besides, a target may have been given up before anything was lost for it.
            self.expect_decisions(row, int(least), most * (1 + may_evict))

    # Computing

    def entry(self, row: Row) -> Entry | None:
        """Returns the entry that a row serves, and counts it."""
        entry = next((entry for entry in self.events[self.at].entries if entry.item == row.item), None)
        if entry is None or row.item in [item for item, _ in self.served]:
            self.fault(row, "serves what is no entry of its event" if entry is None else "serves it again")
            return None
        self.served.append((row.item, row.what))
        self.counts["entries"] += 1
        kind = {"hit": "hits", "hit-low": "hits", "late": "late"}.get(row.what, "misses")
        self.counts[kind] += 1
        self.counts["on_cpu"] += row.what == "cpu"
        self.counts["skipped"] += row.what == "skip"
        self.counts["at_low"] += row.what.endswith("-low")
        return entry

    def lose_precision(self, entry: Entry, price: float) -> None:
        self.lost += entry.weight * price

    def on_cpu(self, row: Row) -> None:
        entry = self.miss(row)
        if entry is None:
            return
        if row.item not in self.host:
            self.fault(row, "is of an item that is not in the host")
        self.expect(row, "begins at", row.begin, max(self.cpu_free, self.now))
        self.expect(row, "takes", row.end - row.begin, self.items[row.item].cpu_seconds(entry.tokens))
        self.cpu_free = row.end

    def skip(self, row: Row) -> None:
        entry = self.miss(row)
        if entry is None:
            return
        self.expect(row, "begins at", row.begin, self.now)
        self.expect(row, "takes", row.end - row.begin, 0.0)
        self.lose_precision(entry, self.rules.skip_price)

    def miss(self, row: Row) -> Entry | None:
        """Checks what serves an entry otherwise than by a load."""
        if "miss" not in self.rules.decisions:
            self.fault(row, "serves a miss in a way that cannot be chosen")
        if row.item in self.places:
            self.fault(row, "is of an item that is not absent")
        if self.victims:
            self.fault(row, f"needs no place, but item {self.victims[-1][0].item} was lost before it")
            self.victims = []
        self.expect_decisions(row, 1)
        return self.entry(row)

    def on_device(self, row: Row) -> None:
        kind, low = row.what.removesuffix("-low"), row.what.endswith("-low")
        arrival = self.loaded(row, low) if kind == "load" else self.found(row, kind, low)
        entry = self.entry(row)
        if arrival is None or entry is None:
            return
        item = self.items[row.item]
        self.expect(row, "begins at", row.begin, max(self.device_free, arrival))
        self.expect(row, "takes", row.end - row.begin, item.device_seconds(entry.tokens, low))
        self.expect_bytes(row, item.bytes(low))
        self.device_free = row.end
        if row.buffer >= 0:
            self.buffer_free[row.buffer] = row.end
        else:
            self.ends[row.item] = row.end
        if low:
            self.lose_precision(entry, self.rules.low_price)

    def loaded(self, row: Row, low: bool) -> float | None:
        """Returns when a load that is computed arrived."""
        loading, self.loading = self.loading, None
        if loading is None or (loading.item, loading.low, loading.buffer) != (row.item, low, row.buffer):
            self.fault(row, "is not of the load before it")
            return None
        return loading.arrival

    def found(self, row: Row, kind: str, low: bool) -> float | None:
        """Returns when what is computed from its place arrived there."""
        place = self.places.get(row.item)
        if place is None or place.low != low or row.buffer != -1:
            self.fault(row, "is of an item that is not held, or not so")
            return None
        self.order.remove(row.item)
        self.order.append(row.item)
        self.counts["used"] += place.unused
        place.unused = False
        if place.arrival == math.inf:
            self.fault(row, "computes an item that has not arrived")
            return None
        if kind == "hit" and place.arrival > self.known + self.slack:
            self.fault(row, f"is of an item in flight, until {place.arrival}")
        if kind == "late" and place.arrival < self.known - self.slack:
            self.fault(row, f"is of an item that is resident since {place.arrival}")
        return place.arrival

    # Places

    def free_bytes(self, pool: int) -> float:
        held = sum(place.bytes for place in self.places.values() if self.items[place.item].pool == pool)
        return self.rules.capacity[pool] - held

    def fits(self, size: float, free: float) -> bool:
        return free >= size - TOLERANCE * size

    def is_in_flight(self, item: int, time: float) -> bool:
        """Whether it has not arrived by a time; what is scheduled counts as resident."""
        return item not in self.ends and self.places[item].arrival > time

    def evictable(self, pool: int, time: float) -> list[int]:
        """Returns what can be lost without the end of a wave, oldest first.

        What arrives at this very time may be there or not, for want of the last bits: ask for a bit before and after.
        """
        return [
            item
            for item in self.order
            if self.items[item].pool == pool and item not in self.pinned and not self.is_in_flight(item, time)
        ]

    def wave(self, pool: int) -> list[int]:
        """Returns what could be lost besides if the wave ended."""
        return [item for item in self.order if self.items[item].pool == pool and item in self.pinned & set(self.ends)]

    def evict(self, row: Row) -> None:
        place = self.places.get(row.item)
        if place is None:
            self.fault(row, "loses an item that is absent")
            return
        pool = self.items[row.item].pool
        if row.what == "prefetch" and not self.victims:
            self.targets = self.allowed_targets((self.asked[0] if self.asked else self.now) + self.slack)
        self.expect_order_of_service(row)
        self.expect_evictable(row, pool)
        self.expect(row, "begins at", row.begin, self.now)
        self.expect(row, "frees its place at", row.end, max(self.now, self.ends.get(row.item, self.now)))
        self.expect_bytes(row, place.bytes)
        self.victims.append((row, self.free_bytes(pool)))
        self.queue = [queued for queued in self.queue if queued.item != row.item]
        place.end = row.end
        self.past.append(self.places.pop(row.item))
        self.order.remove(row.item)
        self.ends.pop(row.item, None)

    def expect_order_of_service(self, row: Row) -> None:
        """Checks that entries are served before prefetches are decided, and loads before the next ones."""
        everything = len(self.served) == len(self.events[self.at].entries) and self.loading is None
        if row.what == "prefetch" and not everything:
            self.fault(row, "is decided before all entries are served")
        elif row.what != "prefetch" and self.loading is not None:
            self.fault(row, f"is decided before item {self.loading.item} is computed")

    def expect_evictable(self, row: Row, pool: int) -> None:
        at = self.asked[-1] if self.asked and "evict" in self.rules.decisions else self.now
        surely, perhaps = (self.evictable(pool, at + slack) for slack in (-self.slack, self.slack))
        if not surely and row.what == "demand" and row.item not in perhaps:
            surely = perhaps = self.wave(pool)
            self.pinned -= set(perhaps)
        if row.item in self.pinned:
            self.fault(row, "loses an item that is pinned")
        elif row.item not in perhaps:
            self.fault(row, f"loses an item in flight, until {self.places[row.item].arrival}")
        elif "evict" not in self.rules.decisions and row.item not in surely[:1] + perhaps[:1]:
            self.fault(row, f"loses it instead of the oldest, item {perhaps[0]}")

    def take_victims(self, row: Row, pool: int, size: float) -> float:
        """Checks that the victims for a load were needed; returns when their places are free."""
        what = "prefetch" if row.lane == "queue" else "demand"
        slot = 0.0
        for victim, free in self.victims:
            slot = max(slot, victim.end)
            if victim.what != what or self.items[victim.item].pool != pool or self.fits(size, free):
                self.fault(row, f"did not need the place of item {victim.item}")
        self.victims = []
        return slot

    # The host

    def issue(self, item: int, size: float) -> float:
        """Returns the seconds of a load, and lets the item enter the host."""
        rules = self.rules
        self.counts["uploads"] += 1
        self.bytes_moved += size
        if item in self.host:
            return rules.latency + size / rules.bandwidth
        held = [*self.host, item]
        while rules.host_capacity is not None and sum(self.items[n].high_bytes for n in held) > rules.host_capacity:
            held.pop(0)
        if held:  # otherwise it is larger than the host
            self.host = held
        return rules.ssd_latency + size / min(rules.ssd_bandwidth, rules.bandwidth) + rules.latency

    # The link

    def expect_settled(self, row: Row, time: float) -> None:
        """Checks that no chunk could have begun before a time."""
        if self.queue:
            begin = max(self.link_free, self.queue[0].ready)
            if begin < time - self.slack:
                self.fault(row, f"goes before a chunk of item {self.queue[0].item}, which could begin at {begin}")

    def expect_demand_first(self, row: Row, time: float) -> None:
        if self.last_chunk > time + self.slack:
            self.fault(row, f"goes after a chunk of a prefetch that begins at {self.last_chunk}")

    def demand(self, row: Row) -> None:
        low = row.what == "demand-low"
        size, pool = self.items[row.item].bytes(low), self.items[row.item].pool
        self.expect_order_of_service(row)
        if row.item not in {entry.item for entry in self.events[self.at].entries} or row.item in self.places:
            self.fault(row, "loads what is no miss")
        if low and "miss" not in self.rules.decisions:
            self.fault(row, "serves a miss in a way that cannot be chosen")
        self.expect_settled(row, self.now)
        self.expect_demand_first(row, self.now)
        self.expect_bytes(row, size)
        asked = ("miss" in self.rules.decisions) + len(self.victims) * ("evict" in self.rules.decisions)
        slot = self.take_victims(row, pool, size)
        if row.buffer >= 0:
            slot = max(slot, self.bypass_slot(row, pool, size, asked))
        else:
            self.expect_decisions(row, asked)
            if not self.fits(size, self.free_bytes(pool)):
                self.fault(row, f"takes {size} bytes of pool {pool}, which has {self.free_bytes(pool)} left")
        self.expect(row, "begins at", row.begin, max(self.link_free, self.now, slot))
        self.expect(row, "takes", row.end - row.begin, self.issue(row.item, size))
        self.link_free = row.end
        self.loading = _Loading(row.item, low, row.end, row.buffer)
        if row.buffer < 0:
            self.take_place(_Place(row.item, size, low, arrival=row.end, begin=row.begin))

    def bypass_slot(self, row: Row, pool: int, size: float, before: int) -> float:
        """Checks a bypass, after so many decisions; returns when its buffer is free."""
        first = self.buffer_free.index(min(self.buffer_free))
        if row.buffer != first:
            self.fault(row, f"goes through buffer {row.buffer}, while {first} is free before it")
        if self.fits(size, self.free_bytes(pool)):
            self.fault(row, f"is a bypass, while pool {pool} has {self.free_bytes(pool)} bytes left")
        at = self.asked[-1] if len(self.asked) > before else self.now
        surely, perhaps = (self.evictable(pool, at + slack) for slack in (-self.slack, self.slack))
        wave = [] if size > self.rules.capacity[pool] or self.evictable(pool, at) else self.wave(pool)
        if size > self.rules.capacity[pool]:
            self.expect_decisions(row, before)
        elif "evict" in self.rules.decisions:
            self.expect_decisions(row, before + bool(surely + wave), before + bool(perhaps + wave))
        else:
            self.expect_decisions(row, before)
            if surely + wave:
                self.fault(row, f"is a bypass, while something in pool {pool} could be lost")
        self.pinned -= set(wave)
        return self.buffer_free[row.buffer]

    def take_place(self, place: _Place) -> None:
        self.places[place.item] = place
        self.order = [item for item in self.order if item != place.item] + [place.item]

    def chunk(self, row: Row) -> None:
        if not self.queue or self.queue[0].item != row.item:
            self.fault(row, "is not of the first in the queue")
            return
        self.carry(row, self.queue[0], 1)
        self.last_chunk = row.begin

    def late_load(self, row: Row) -> None:
        entries = {entry.item for entry in self.events[self.at].entries}
        late = [queued for queued in self.queue if queued.item in entries]
        if not late or late[0].item != row.item:
            self.fault(row, "is not of the first late entry in the queue")
            return
        if self.loading is not None or not {what for _, what in self.served} <= {"hit", "hit-low", "late"}:
            self.fault(row, "goes after misses")
        if not self.carried_late:
            self.expect_settled(row, self.known)
        self.carried_late = True
        self.expect_demand_first(row, self.known)
        self.carry(row, late[0], late[0].chunks)

    def carry(self, row: Row, queued: _Queued, chunks: int) -> None:
        self.expect(row, "begins at", row.begin, max(self.link_free, queued.ready))
        self.expect(row, "takes", row.end - row.begin, chunks * queued.chunk_seconds)
        self.expect_bytes(row, chunks * queued.chunk_bytes)
        self.link_free = row.end
        place = self.places[row.item]
        if math.isinf(place.begin):
            place.begin = row.begin
        queued.chunks -= chunks
        if queued.chunks == 0:
            self.queue.remove(queued)
            place.arrival = row.end

    # Prefetches

    def allowed_targets(self, time: float) -> set[int]:
        """Returns what may be prefetched at a time."""
        if self.prefetches >= self.rules.prefetch_depth:
            return set()
        in_flight = [item for item in self.places if self.is_in_flight(item, time)]
        if "prefetch" not in self.rules.decisions or len(in_flight) >= self.rules.queue_limit:
            return set()
        following = self.events[self.at + 1 : self.at + 1 + self.rules.prefetch_distance]
        layers = {event.layer for event in following}
        absent = [
            item
            for item in range(len(self.items))
            if item // self.rules.num_experts in layers and item not in self.places
        ]
        targets: set[int] = set()
        for pool in {self.items[item].pool for item in absent}:
            moving = sum(self.places[item].bytes for item in in_flight if self.items[item].pool == pool)
            could_evict = bool(self.evictable(pool, time))
            same = [item for item in absent if self.items[item].pool == pool]
            targets |= {item for item in same if self.leaves_enough(item, moving, could_evict)}
        return targets

    def leaves_enough(self, item: int, in_flight: float, could_evict: bool) -> bool:
        pool, size = self.items[item].pool, self.items[item].high_bytes
        needed, left = self.rules.top_k * self.largest[pool], self.rules.capacity[pool] - in_flight - size
        return (could_evict or self.fits(size, self.free_bytes(pool))) and self.fits(needed, left)

    def prefetch(self, row: Row) -> None:
        size, pool = self.items[row.item].high_bytes, self.items[row.item].pool
        at = (self.asked[0] if self.asked else self.now) + self.slack
        targets = self.targets if self.victims else self.allowed_targets(at)
        self.expect_order_of_service(row)
        if row.item not in targets:
            self.fault(row, "is not allowed")
        self.prefetches += 1
        self.expect_decisions(row, 1 + len(self.victims) * ("evict" in self.rules.decisions))
        ready = max(self.now, self.take_victims(row, pool, size))
        if not self.fits(size, self.free_bytes(pool)):
            self.fault(row, f"takes {size} bytes of pool {pool}, which has {self.free_bytes(pool)} left")
        self.expect(row, "begins at", row.begin, self.now)
        self.expect(row, "is ready at", row.end, ready)
        self.expect_bytes(row, size)
        chunks = max(1, math.ceil(size / self.rules.chunk))
        self.queue.append(_Queued(row.item, ready, chunks, self.issue(row.item, size) / chunks, size / chunks))
        self.counts["prefetches"] += 1
        self.take_place(_Place(row.item, size, low=False, unused=True))

    # What is counted

    def stays(self) -> list[_Place]:
        """Returns all that was held in places."""
        return [place for place in [*self.past, *self.places.values()] if math.isfinite(place.begin)]

    def metrics(self) -> dict[str, float]:
        counts = self.counts
        entries, prefetches = max(1, counts["entries"]), counts["prefetches"]
        played = self.events[: len(self.lengths)]
        return {
            "stall": self.stall,
            "hit_rate": counts["hits"] / entries,
            **{name: counts[name] for name in ("late", "misses", "on_cpu", "skipped", "at_low", "uploads")},
            "bytes_moved": self.bytes_moved,
            "prefetch_precision": counts["used"] / prefetches if prefetches else math.nan,
            "precision_loss": self.lost / max(1, len(played)),
            **speeds(played, self.lengths, self.rules.layers_represented),
        }
