"""The checker finds every kind of fault: episodes that are right, then changed in one place, or held to other rules."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import pytest

from hetgym.envs.expert_cache.checker import violations
from hetgym.envs.expert_cache.reference import Choice, Entry, Event, Item, PlainRules, Run

ITEM = Item(high_bytes=1, low_bytes=0.5, floor_high=0.5, floor_low=0.25, cpu_floor=0.75)
LONG = replace(ITEM, floor_high=2)

Edit = Callable[[pd.DataFrame], pd.DataFrame]


@dataclass(frozen=True)
class Setting:
    """Events that use these items, each a step of its own."""

    used: tuple[tuple[int, ...], ...]
    choices: tuple[Choice, ...] = ()
    items: tuple[Item, ...] = (ITEM,) * 4
    dense: float = 0.0
    rules: dict[str, Any] = field(default_factory=dict)

    @property
    def events(self) -> list[Event]:
        return [
            Event(entries[0] // 4, step, tuple(map(Entry, entries)), self.dense)
            for step, entries in enumerate(self.used)
        ]

    def limits(self, **changes: Any) -> PlainRules:
        return PlainRules(**({"capacity": (2,), "num_experts": 4} | self.rules | changes))

    def play(self) -> Run:
        run = Run(self.events, self.items, self.limits())
        for choice in self.choices:
            run.decide(choice)
        assert run.is_over
        return run


# 0 and 1 are loaded in [0, 1] and [1.5, 2.5]; 0 is hit in [3, 3.5]; 2 takes the place of 1 in [3.5, 4.5].
OLDEST = Setting(used=((0,), (1,), (0,), (2,)), rules={"decisions": ()})
# With 0 and 1 there, 2 and 3 go through the buffer, in [0, 1] and [1.5, 2.5]; 0 is hit and 2 takes the place of 1.
BYPASS = Setting(used=((2, 3), (0, 2)), choices=(None, None, 1), rules={"top_k": 2, "warm": True})
TWO_BUFFERS = replace(BYPASS, rules=BYPASS.rules | {"staging": 2})
# 0 and 1 are computed in [1, 3] and [3, 5]; 2 and 3 take their places in [3, 4] and [5, 6].
WAVES = Setting(used=((0, 1, 2, 3),), choices=(0, 1), items=(LONG,) * 4, rules={"top_k": 2})
# 3 takes the place of 1, a member of the ended wave, when that is computed.
WAVE_PREFETCH = Setting(
    used=((0, 1, 2), (3,)), choices=(0, 3, 1), items=(LONG,) * 4, rules={"decisions": ("evict", "prefetch")}
)
# 2 is prefetched in four chunks of 0.5 s, from 2.25 on; after two 3 is loaded, [3.25, 5.25]; then come the other two.
CHUNKS = Setting(
    used=((0,), (3,), (0,), (2,)), choices=(2,), items=(replace(ITEM, high_bytes=2),) * 4, dense=0.25,
    rules={"capacity": (8,), "decisions": ("prefetch",), "chunk": 0.5},
)  # fmt: skip
# 2 and 1 are prefetched, in chunks of 0.5 s: 2 in [1.5, 2.5], in time, 1 late in [2.5, 3.5].
LATE = Setting(
    used=((0,), (1, 2)), choices=(2, 1), dense=0.5,
    rules={"capacity": (4,), "decisions": ("prefetch",), "chunk": 0.5, "prefetch_depth": 2, "queue_limit": 2},
)  # fmt: skip
# 3 is prefetched in its stead, and not used.
BEHIND = replace(LATE, used=((0,), (1,)), choices=(3, 1))
# 1 is prefetched, [1, 2], while 0 is computed; 2 is loaded then, through the buffer, and 3 in the place of 1.
IN_FLIGHT = Setting(
    used=((0,), (2, 3)), choices=(1, None, 1), rules={"decisions": ("evict", "prefetch"), "decision_time": 0.5}
)
WAYS = Setting(
    used=((0, 1, 2), (3,), (3,)), choices=("cpu", "cpu", "skip", "load-low"),
    rules={
        "capacity": (4,), "decisions": ("miss",), "host_capacity": 2.0, "ssd_latency": 0.5,
        "low_price": 0.25, "skip_price": 0.75, "decision_time": 0.125,
    },
)  # fmt: skip
CHARGED = Setting(
    used=((1,), (1,)), choices=(0,), dense=0.25,
    rules={"capacity": (1,), "decision_time": 0.25, "event_time": 0.125, "warm": True},
)  # fmt: skip
# The first of two large items, after which there are prefetches to give up.
GIVEN_UP = Setting(
    used=((0,), (1,)), choices=(4, 1, None), items=(*(ITEM,) * 4, replace(ITEM, high_bytes=2)),
    rules={
        "capacity": (4,), "num_experts": 5, "decisions": ("evict", "prefetch"), "prefetch_depth": 2,
        "decision_time": 0.25, "warm": True,
    },
)  # fmt: skip
SETTINGS = {
    "oldest": OLDEST, "bypass": BYPASS, "two-buffers": TWO_BUFFERS, "waves": WAVES, "wave-prefetch": WAVE_PREFETCH,
    "chunks": CHUNKS, "late": LATE, "behind": BEHIND, "in-flight": IN_FLIGHT, "ways": WAYS, "charged": CHARGED,
    "given-up": GIVEN_UP,
}  # fmt: skip


# Ways to break a timeline: a row is named by its lane, what it is, its item, and which of these it is.


def place(frame: pd.DataFrame, name: str) -> int:
    lane, what, item, *nth = name.split()
    same = (frame.lane == lane) & (frame.what == what) & (frame["item"] == int(item))
    return int(frame.index[same][int(nth[0]) if nth else 0])


def change(name: str, **values: Any) -> Edit:
    def edit(frame: pd.DataFrame) -> pd.DataFrame:
        row = place(frame, name)
        for column, value in values.items():
            frame[column] = frame[column].where(frame.index != row, value)
        return frame

    return edit


def shift(name: str, seconds: float) -> Edit:
    def edit(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[place(frame, name), ["begin", "end"]] += seconds
        return frame

    return edit


def drop(*names: str) -> Edit:
    return lambda frame: frame.drop(index=[place(frame, name) for name in names]).reset_index(drop=True)


def insert(name: str, like: str | None = None, **values: Any) -> Edit:
    """A copy of a row, or of another, before it."""

    def edit(frame: pd.DataFrame) -> pd.DataFrame:
        row = place(frame, name)
        copy = frame.loc[[place(frame, like or name)]].assign(**values)
        return pd.concat([frame[:row], copy, frame[row:]], ignore_index=True)

    return edit


def move(name: str, before: str) -> Edit:
    def edit(frame: pd.DataFrame) -> pd.DataFrame:
        row, target = place(frame, name), place(frame, before)
        rest = [other for other in frame.index if other != row]
        rest.insert(rest.index(target), row)
        return frame.loc[rest].reset_index(drop=True)

    return edit


def both(*edits: Edit) -> Edit:
    def edit(frame: pd.DataFrame) -> pd.DataFrame:
        for one in edits:
            frame = one(frame)
        return frame

    return edit


def first(count: int) -> Edit:
    return lambda frame: frame[:count]


BROKEN: list[tuple[Setting, Edit, str]] = [
    # Malformed
    (OLDEST, lambda frame: frame.drop(columns="bytes"), "has no column 'bytes'"),
    (OLDEST, change("device hit 0", what="demand"), "'demand' in lane 'device'"),
    (OLDEST, change("device hit 0", lane="disk"), "'hit' in lane 'disk'"),
    (OLDEST, change("device hit 0", item=4), "is about item 4, of 4"),
    (OLDEST, change("device hit 0", item=-1), "is about item -1"),
    (OLDEST, change("device hit 0", event=4), "is of event 4, of 4"),
    (OLDEST, change("device hit 0", buffer=1), "is a 'hit' with buffer 1, of 1"),
    (OLDEST, change("link demand 0", buffer=1), "is a 'demand' with buffer 1, of 1"),
    (OLDEST, change("evict demand 1", buffer=-2), "with buffer -2"),
    (OLDEST, change("device dense -1", bytes=1), "is a 'dense' with 1.0 bytes"),
    (OLDEST, change("device hit 0", end=2.5), "lasts from 3.0 to 2.5"),
    (OLDEST, change("device hit 0", end=math.nan), "lasts from 3.0 to nan"),
    # Events
    (OLDEST, first(5), "the timeline ends in or after event 0, of 4"),
    (OLDEST, drop("event decode -1"), "follows event 0, which has not ended"),
    (OLDEST, drop("device dense -1 1"), "stands between events"),
    (OLDEST, change("device hit 0", event=1), "stands in event 2"),
    (OLDEST, change("event decode -1", what="prefill"), "is of step 0, which decodes"),
    (OLDEST, change("event decode -1", end=1.75), "ends at 1.75 instead of 1.5"),
    (OLDEST, change("event decode -1", end=1.25), "ends at 1.25 instead of 1.5"),
    (OLDEST, change("event decode -1 1", begin=1.25), "begins at 1.25 instead of 1.5"),
    (CHUNKS, change("device dense -1 1", end=3.25), "takes 0.5 instead of 0.25"),
    (CHUNKS, shift("device dense -1 1", 0.125), "begins at 2.875 instead of 2.75"),
    # Entries
    (OLDEST, drop("device hit 0"), "has served items [] instead of [0]"),
    (OLDEST, insert("device hit 0"), "serves it again"),
    (OLDEST, insert("device hit 0", item=1), "serves what is no entry"),
    (LATE, move("device late 1", "device hit 2"), "has served items in order [1, 2] instead of [2, 1]"),
    (WAYS, move("cpu cpu 1", "cpu cpu 0"), "has served items in order [1, 0, 2] instead of [0, 1, 2]"),
    (OLDEST, drop("device load 0"), "ends before item 0 is computed"),
    (OLDEST, drop("link demand 0"), "is not of the load before it"),
    # Where it is
    (OLDEST, change("device hit 0", what="late"), "is of an item that is resident since 1.0"),
    (LATE, change("device late 1", what="hit"), "is of an item in flight, until 3.5"),
    (LATE, drop("link late 1"), "computes an item that has not arrived"),
    (LATE, drop("queue prefetch 1", "link late 1"), "is of an item that is not held"),
    (WAYS, change("device hit-low 3", what="hit"), "is of an item that is not held, or not so"),
    (WAYS, change("device load-low 3", what="load"), "is not of the load before it"),
    (OLDEST, insert("device hit 0", like="link demand 0", event=2, begin=3.0, end=4.0), "loads what is no miss"),
    (OLDEST, insert("link demand 1", item=3), "loads what is no miss"),
    # How long and from when on it is computed and loaded
    (OLDEST, change("device hit 0", end=3.25), "takes 0.25 instead of 0.5"),
    (WAYS, change("device hit-low 3", end=3.75), "instead of 0.25"),
    (WAYS, change("cpu cpu 0", end=0.5), "takes 0.375 instead of 0.75"),
    (OLDEST, shift("device load 0", -0.5), "begins at 0.5 instead of 1.0"),
    (OLDEST, shift("device load 0", 0.25), "begins at 1.25 instead of 1.0"),
    (CHARGED, shift("device hit 1", -0.125), "instead of 2.5"),
    (WAVES, shift("device load 1", -0.5), "device is taken until 3.0, and again from 2.5 on"),
    (WAYS, shift("cpu cpu 1", -0.25), "cpu is taken until 0.875"),
    (WAYS, shift("skip skip 2", 0.125), "begins at 0.5 instead of 0.375"),
    (OLDEST, change("link demand 0", end=0.5), "takes 0.5 instead of 1.0"),
    (OLDEST, shift("link demand 2", 0.5), "begins at 4.0 instead of 3.5"),
    (WAVES, shift("link demand 1", -0.5), "link is taken until 1.0, and again from 0.5 on"),
    (OLDEST, change("link demand 0", bytes=0.5), "has 0.5 bytes instead of 1"),
    (OLDEST, change("device hit 0", bytes=math.nan), "has nan bytes instead of 1"),
    # Buffers
    (BYPASS, shift("link demand 3", -0.25), "begins at 1.25 instead of 1.5"),
    (BYPASS, shift("link demand 3", -0.25), "buffer 0 is taken until 1.5, and again from 1.25 on"),
    (TWO_BUFFERS, change("link demand 3", buffer=0), "goes through buffer 0, while 1 is free before it"),
    (TWO_BUFFERS, change("device load 3", buffer=0), "is not of the load before it"),
    (OLDEST, change("link demand 1", buffer=0), "is a bypass, while pool 0 has 1 bytes left"),
    (
        OLDEST,
        both(drop("evict demand 1"), change("link demand 2", buffer=0)),
        "while something in pool 0 could be lost",
    ),
    # Places
    (OLDEST, drop("evict demand 1"), "takes 1 bytes of pool 0, which has 0 left"),
    (OLDEST, change("evict demand 1", item=0), "instead of the oldest, item 1"),
    (OLDEST, change("evict demand 1", item=3), "loses an item that is absent"),
    (OLDEST, change("evict demand 1", bytes=2), "has 2.0 bytes instead of 1"),
    (OLDEST, shift("evict demand 1", 0.25), "begins at 3.75 instead of 3.5"),
    (OLDEST, insert("link demand 1", like="evict demand 1", event=1, item=0, begin=1.5, end=1.5), "did not need"),
    (BYPASS, change("evict demand 1", item=0), "loses an item that is pinned"),
    (WAVE_PREFETCH, change("evict prefetch 1", item=2), "loses an item that is pinned"),
    (IN_FLIGHT, insert("policy decision -1 1", like="evict demand 1", begin=1.5, end=1.5), "in flight, until 2.0"),
    (WAVES, change("evict demand 0", end=2.0), "frees its place at 2.0 instead of 3.0"),
    (WAVES, change("link demand 2", begin=2, end=3), "begins at 2.0 instead of 3.0"),
    (WAVES, change("link demand 2", begin=2, end=3), "pool 0 holds 3.0 bytes at 2.0, its capacity is 2"),
    (WAYS, insert("cpu cpu 1", like="skip skip 2", lane="evict", what="demand"), "loses an item that is absent"),
    (OLDEST, drop("link demand 2", "device load 2"), "has lost item 1 for nothing"),
    # Prefetches
    (CHUNKS, change("link chunk 2", end=2.5), "takes 0.25 instead of 0.5"),
    (CHUNKS, drop("link chunk 2 1"), "goes before a chunk of item 2, which could begin at 2.75"),
    (CHUNKS, drop("link chunk 2 3"), "computes an item that has not arrived"),
    (CHUNKS, shift("link chunk 2 3", 0.25), "begins at 6.0 instead of 5.75"),
    (CHUNKS, both(shift("link chunk 2 2", -2.0), move("link chunk 2 2", "link demand 3")), "goes after a chunk"),
    (CHUNKS, change("link chunk 2", bytes=2), "has 2.0 bytes instead of 0.5"),
    (LATE, change("link chunk 2", item=1), "is not of the first in the queue"),
    (LATE, change("link late 1", item=2), "is not of the first late entry"),
    (LATE, change("link late 1", end=3.0), "takes 0.5 instead of 1.0"),
    (LATE, shift("link late 1", 0.5), "begins at 3.0 instead of 2.5"),
    (BEHIND, drop("link chunk 3 1"), "goes before a chunk of item 3, which could begin at 2.0"),
    (LATE, change("queue prefetch 1", item=0), "is not allowed"),
    (LATE, move("queue prefetch 2", "device load 0"), "is decided before all entries are served"),
    (WAVE_PREFETCH, change("queue prefetch 3", end=3.0), "is ready at 3.0 instead of 5.0"),
    (WAVE_PREFETCH, drop("evict prefetch 1"), "takes 1 bytes of pool 0, which has 0 left"),
    (WAVE_PREFETCH, change("evict prefetch 1", what="demand"), "did not need the place of item 1"),
    (WAVE_PREFETCH, change("queue prefetch 3", begin=1.0), "begins at 1.0 instead of 0.0"),
    # The policy's own time
    (CHARGED, drop("policy event -1"), "has not been charged for its policy"),
    (CHARGED, insert("policy event -1"), "is not the first of its event"),
    (CHARGED, change("policy event -1", end=0.5), "takes 0.25 instead of 0.125"),
    (CHARGED, drop("policy decision -1"), "follows 0 charged decisions instead of 1"),
    (CHARGED, insert("policy decision -1"), "follows 2 charged decisions instead of 1"),
    (CHARGED, change("policy decision -1", end=0.5), "takes 0.125 instead of 0.25"),
    (
        CHARGED,
        insert("event decode -1 1", like="policy decision -1", event=1, begin=2.5, end=2.75),
        "follows 1 charged",
    ),
    (WAYS, drop("policy decision -1"), "follows 0 charged decisions instead of 1"),
    (GIVEN_UP, drop("policy decision -1 2"), "follows 2 charged decisions instead of 3"),
    (IN_FLIGHT, drop("policy decision -1 1"), "follows 0 charged decisions instead of 1"),
]


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS.keys())
def test_what_is_right_has_no_faults(setting: Setting) -> None:
    run = setting.play()
    assert violations(run.timeline(), setting.events, setting.items, setting.limits(), run.metrics()) == []


@pytest.mark.parametrize(("setting", "edit", "fault"), BROKEN, ids=[f"{n}-{row[2]}" for n, row in enumerate(BROKEN)])
def test_a_broken_timeline_has_a_fault(setting: Setting, edit: Edit, fault: str) -> None:
    timeline = edit(setting.play().timeline())
    faults = violations(timeline, setting.events, setting.items, setting.limits())
    assert fault in "\n".join(faults)


OTHER_RULES: list[tuple[Setting, dict[str, Any], str]] = [
    (BYPASS, {"decisions": ()}, "while something in pool 0 could be lost"),
    (OLDEST, {"capacity": (1,)}, "takes 1 bytes of pool 0, which has 0 left"),
    (OLDEST, {"capacity": (1,)}, "pool 0 holds 2.0 bytes at 1.5, its capacity is 1"),
    (OLDEST, {"capacity": (0.5,)}, "takes 1 bytes of pool 0"),
    (OLDEST, {"latency": 0.5}, "takes 1.0 instead of 1.5"),
    (OLDEST, {"host_capacity": 1.0, "ssd_latency": 1.0}, "takes 1.0 instead of 2.0"),
    (OLDEST, {"event_time": 0.5}, "takes 0.0 instead of 0.5"),
    (CHUNKS, {"early_router": True}, "begins at"),
    (CHUNKS, {"chunk": 1}, "takes 0.5 instead of 1"),
    (CHUNKS, {"decisions": ()}, "is not allowed"),
    (CHUNKS, {"prefetch_distance": 0}, "is not allowed"),
    (CHUNKS, {"queue_limit": 0}, "is not allowed"),
    (CHUNKS, {"top_k": 4}, "is not allowed"),
    (LATE, {"queue_limit": 1}, "is not allowed"),
    (LATE, {"prefetch_depth": 1}, "is not allowed"),
    (WAYS, {"decisions": (), "decision_time": 0.0}, "serves a miss in a way that cannot be chosen"),
    (WAYS, {"host_capacity": 1.0}, "is of an item that is not in the host"),
]


@pytest.mark.parametrize(("setting", "changes", "fault"), OTHER_RULES)
def test_what_is_right_by_other_rules_has_a_fault(setting: Setting, changes: dict[str, Any], fault: str) -> None:
    faults = violations(setting.play().timeline(), setting.events, setting.items, setting.limits(**changes))
    assert fault in "\n".join(faults)


@pytest.mark.parametrize("name", WAYS.play().metrics())
def test_metrics_are_counted_again(name: str) -> None:
    run = WAYS.play()
    metrics = run.metrics()
    for wrong in (math.nan, 0.125) if math.isnan(metrics[name]) else (math.nan, metrics[name] + 1):
        faults = violations(run.timeline(), WAYS.events, WAYS.items, WAYS.limits(), metrics | {name: wrong})
        if math.isnan(metrics[name]) and math.isnan(wrong):
            assert faults == []
        else:
            assert [fault.split()[1] for fault in faults] == [repr(name)]
    del metrics[name]
    (fault,) = violations(run.timeline(), WAYS.events, WAYS.items, WAYS.limits(), metrics)
    assert fault == f"metric {name!r} is missing"
