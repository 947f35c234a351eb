"""Small episodes of expert caching, worked out by hand, played by the reference, and found right by the checker."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from hetgym.envs.expert_cache.checker import violations
from hetgym.envs.expert_cache.reference import (
    Choice,
    Entry,
    Event,
    Item,
    PlainRules,
    Run,
    events_of,
    ideal_step_seconds,
)
from hetgym.workloads.routing import DECODE, PREFILL, RoutingTrace

ITEM = Item(high_bytes=1, low_bytes=0.5, floor_high=0.5, floor_low=0.25, cpu_floor=0.75)
"""1 s or 0.5 s of load, where the link carries 1 byte/s."""

NONE = None


def event(*used: int, layer: int = 0, dense: float = 0.0, **given: Any) -> Event:
    """An event that is a step of its own."""
    return Event(layer=layer, step=-1, entries=tuple(Entry(item) for item in used), dense=dense, **given)


@dataclass(frozen=True)
class Case:
    """An episode: what is decided, with what was allowed, and what comes of it."""

    name: str
    events: tuple[Event, ...]
    rules: PlainRules
    rows: tuple[str, ...]
    items: tuple[Item, ...] = (ITEM,) * 4
    choices: tuple[tuple[Choice, tuple[Choice, ...]], ...] = ()
    stalls: tuple[float, ...] = ()
    metrics: tuple[tuple[str, float], ...] = ()

    def numbered(self) -> list[Event]:
        return [replace(event, step=step) for step, event in enumerate(self.events)]


def rules(*capacity: float, num_experts: int = 4, **given: Any) -> PlainRules:
    return PlainRules(capacity=capacity, num_experts=num_experts, **given)


def shown(run: Run) -> list[str]:
    """What has happened, but for the dense part, the policy's own time, and the ends of events."""
    lines = []
    for lane, _, item, begin, end, what, _, buffer in run.rows:
        if lane not in {"policy", "event"} and what != "dense":
            lines.append(f"{lane} {what} {item}: {begin:g}-{end:g}" + f" in {buffer}" * (buffer >= 0))
    return lines


TWO_LAYERS = (*(replace(ITEM, pool=0),) * 2, *(replace(ITEM, pool=1),) * 2)
TWICE_AS_LARGE = tuple(replace(item, high_bytes=2) for item in TWO_LAYERS)
LONG = replace(ITEM, floor_high=2)

CASES = [
    Case(
        "hits and misses, and a victim that is chosen",
        (event(0, dense=0.25), event(0, dense=0.25), event(1, dense=0.25), event(2, dense=0.25)),
        rules(2),
        (
            "link demand 0: 0.25-1.25",
            "device load 0: 1.25-1.75",
            "device hit 0: 2-2.5",
            "link demand 1: 2.75-3.75",
            "device load 1: 3.75-4.25",
            "evict demand 0: 4.5-4.5",
            "link demand 2: 4.5-5.5",
            "device load 2: 5.5-6",
        ),
        choices=((0, (NONE, 0, 1)),),
        stalls=(1, 0, 1, 1),
        # Four tokens in 6 s.
        metrics=(
            ("hit_rate", 1 / 4),
            ("misses", 3),
            ("late", 0),
            ("uploads", 3),
            ("bytes_moved", 3),
            ("stall", 3),
            ("tokens_per_second", 4 / 6),
            ("time_per_output_token", 6 / 4),
            ("time_to_first_token", math.nan),
            ("prefetch_precision", math.nan),
            ("precision_loss", 0),
        ),
    ),
    Case(
        "where evictions are not decided, the oldest goes; a hit makes young",
        (event(0), event(1), event(0), event(2), event(0)),
        rules(2, decisions=()),
        (
            "link demand 0: 0-1",
            "device load 0: 1-1.5",
            "link demand 1: 1.5-2.5",
            "device load 1: 2.5-3",
            "device hit 0: 3-3.5",
            "evict demand 1: 3.5-3.5",
            "link demand 2: 3.5-4.5",
            "device load 2: 4.5-5",
            "device hit 0: 5-5.5",
        ),
        stalls=(1, 1, 0, 1, 0),
    ),
    Case(
        "bypasses wait for the one buffer until its item is computed, and leave nothing behind",
        (event(2, 3), event(0, 2)),
        rules(2, top_k=2, warm=True),
        (
            "link demand 2: 0-1 in 0",
            "device load 2: 1-1.5 in 0",
            "link demand 3: 1.5-2.5 in 0",
            "device load 3: 2.5-3 in 0",
            "device hit 0: 3-3.5",
            "evict demand 1: 3-3",
            "link demand 2: 3-4",
            "device load 2: 4-4.5",
        ),
        choices=((NONE, (NONE, 0, 1)), (NONE, (NONE, 0, 1)), (1, (NONE, 1))),
        stalls=(2, 0.5),
        metrics=(("hit_rate", 1 / 4), ("uploads", 3)),
    ),
    Case(
        "a second buffer is free at once",
        (event(2, 3),),
        rules(2, top_k=2, warm=True, staging=2),
        (
            "link demand 2: 0-1 in 0",
            "device load 2: 1-1.5 in 0",
            "link demand 3: 1-2 in 1",
            "device load 3: 2-2.5 in 1",
        ),
        choices=((NONE, (NONE, 0, 1)), (NONE, (NONE, 0, 1))),
        stalls=(1.5,),
    ),
    Case(
        "waves: places are free when their experts are computed",
        (event(0, 1, 2, 3, decode=False, tokens=8),),
        rules(2, top_k=2),
        (
            "link demand 0: 0-1",
            "device load 0: 1-3",
            "link demand 1: 1-2",
            "device load 1: 3-5",
            "evict demand 0: 0-3",
            "link demand 2: 3-4",
            "device load 2: 5-7",
            "evict demand 1: 0-5",
            "link demand 3: 5-6",
            "device load 3: 7-9",
        ),
        items=(LONG,) * 4,
        choices=((0, (NONE, 0, 1)), (1, (NONE, 1))),
        stalls=(1,),
        metrics=(("tokens_per_second", 8 / 9), ("time_to_first_token", 9), ("time_per_output_token", math.nan)),
    ),
    Case(
        "each wave ends when its places are taken; a bypass needs none",
        (event(0, 1, 2),),
        rules(1),
        (
            "link demand 0: 0-1",
            "device load 0: 1-3",
            "evict demand 0: 0-3",
            "link demand 1: 3-4",
            "device load 1: 4-6",
            "link demand 2: 4-5 in 0",
            "device load 2: 6-8 in 0",
        ),
        items=(LONG,) * 4,
        choices=((0, (NONE, 0)), (NONE, (NONE, 1))),
        stalls=(2,),
    ),
    Case(
        "a prefetch that is late: the rest of its chunks goes in one piece",
        (event(0), event(2, layer=1, dense=0.0)),
        rules(2, 2, num_experts=2, decisions=("prefetch",), chunk=0.25),
        (
            "link demand 0: 0-1",
            "device load 0: 1-1.5",
            "queue prefetch 2: 0-0",
            "link chunk 2: 1-1.25",
            "link chunk 2: 1.25-1.5",
            "link late 2: 1.5-2",
            "device late 2: 2-2.5",
        ),
        items=TWO_LAYERS,
        choices=((2, (NONE, 2, 3)),),
        stalls=(1, 0.5),
        metrics=(("late", 1), ("prefetch_precision", 1), ("uploads", 2), ("bytes_moved", 2)),
    ),
    Case(
        "a demand goes between two chunks of a prefetch, which goes on after it, and is a hit in the end",
        (event(0), event(3, layer=1, dense=0.25), event(0, dense=0.25), event(2, layer=1, dense=0.25)),
        rules(4, 4, num_experts=2, decisions=("prefetch",), chunk=0.5),
        (
            "link demand 0: 0-2",
            "device load 0: 2-2.5",
            "queue prefetch 2: 0-0",
            "link chunk 2: 2-2.5",
            "link chunk 2: 2.5-3",
            "link demand 3: 3-5",
            "device load 3: 5-5.5",
            "link chunk 2: 5-5.5",
            "link chunk 2: 5.5-6",
            "device hit 0: 5.75-6.25",
            "device hit 2: 6.5-7",
        ),
        items=TWICE_AS_LARGE,
        # After the second event the queue has no room, after the third nothing is absent.
        choices=((2, (NONE, 2, 3)),),
        stalls=(2, 2.25, 0, 0),
        metrics=(("hit_rate", 2 / 4), ("prefetch_precision", 1), ("bytes_moved", 6)),
    ),
    Case(
        "from the SSD: 0.5 + 1 / 0.5 + 0.25 s, and then it is in the host in place of the other",
        (event(0), event(1), event(0), event(0)),
        rules(1, decisions=(), host_capacity=1.0, ssd_latency=0.5, ssd_bandwidth=0.5, latency=0.25),
        (
            "link demand 0: 0-1.25",
            "device load 0: 1.25-1.75",
            "evict demand 0: 1.75-1.75",
            "link demand 1: 1.75-4.5",
            "device load 1: 4.5-5",
            "evict demand 1: 5-5",
            "link demand 0: 5-7.75",
            "device load 0: 7.75-8.25",
            "device hit 0: 8.25-8.75",
        ),
        stalls=(1.25, 2.75, 2.75, 0),
    ),
    Case(
        "on the CPU, skipped, at low precision, and there again later",
        (event(0, 1, 2), event(3), event(3)),
        rules(4, decisions=("miss",), host_capacity=2.0, ssd_latency=0.5, low_price=0.25, skip_price=0.75),
        (
            "cpu cpu 0: 0-0.75",
            "cpu cpu 1: 0.75-1.5",
            "skip skip 2: 0-0",
            "link demand-low 3: 1.5-2.5",
            "device load-low 3: 2.5-2.75",
            "device hit-low 3: 2.75-3",
        ),
        # Two items are in the host, and the third only when it is loaded.
        choices=(
            ("cpu", ("load", "load-low", "cpu", "skip")),
            ("cpu", ("load", "load-low", "cpu", "skip")),
            ("skip", ("load", "load-low", "skip")),
            ("load-low", ("load", "load-low", "skip")),
        ),
        # 1.5 s at a time where the device would take 1.5; a hit takes half as long as it should.
        stalls=(0, 0.75, -0.25),
        metrics=(
            ("precision_loss", (0.75 + 0.25 + 0.25) / 3),
            ("on_cpu", 2),
            ("skipped", 1),
            ("at_low", 2),
            ("misses", 4),
            ("bytes_moved", 0.5),
        ),
    ),
    Case(
        "the early router lets a load go beside the dense part, and what arrived by then is a hit",
        (event(0, dense=1.0), event(0, dense=1.0)),
        rules(1, decisions=(), early_router=True),
        ("link demand 0: 0-1", "device load 0: 1-1.5", "device hit 0: 2.5-3"),
        stalls=(0, 0),
    ),
    Case(
        "the policy's own time delays hits and loads; what is no decision is not charged",
        (event(1, dense=0.25), event(1, dense=0.25)),
        rules(1, decision_time=0.25, event_time=0.125, warm=True),
        (
            "evict demand 0: 0.625-0.625",
            "link demand 1: 0.625-1.625",
            "device load 1: 1.625-2.125",
            "device hit 1: 2.5-3",
        ),
        choices=((0, (NONE, 0)),),
        stalls=(1.375, 0.125),
    ),
    Case(
        "a large item needs two places; who stops halfway has lost one",
        (event(2), event(0, 1), event(2)),
        rules(2, warm=True),
        (
            "evict demand 0: 0-0",
            "evict demand 1: 0-0",
            "link demand 2: 0-2",
            "device load 2: 2-2.5",
            "evict demand 2: 2.5-2.5",
            "link demand 0: 2.5-3.5",
            "device load 0: 3.5-4",
            "link demand 1: 3.5-4.5",
            "device load 1: 4.5-5",
            "evict demand 1: 5-5",
            "link demand 2: 5-7 in 0",
            "device load 2: 7-7.5 in 0",
        ),
        items=(ITEM, ITEM, replace(ITEM, high_bytes=2)),
        choices=((0, (NONE, 0, 1)), (1, (NONE, 1)), (2, (NONE, 2)), (1, (NONE, 0, 1)), (NONE, (NONE, 0))),
        stalls=(2, 1.5, 2),
    ),
    Case(
        "a prefetch in the place of a member of an ended wave waits until that is computed",
        (event(0, 1, 2), event(3)),
        rules(2, decisions=("evict", "prefetch")),
        (
            "link demand 0: 0-1",
            "device load 0: 1-3",
            "link demand 1: 1-2",
            "device load 1: 3-5",
            "evict demand 0: 0-3",
            "link demand 2: 3-4",
            "device load 2: 5-7",
            "evict prefetch 1: 0-5",
            "queue prefetch 3: 0-5",
            "link chunk 3: 5-6",
            "device hit 3: 7-9",
        ),
        items=(LONG,) * 4,
        choices=((0, (NONE, 0, 1)), (3, (NONE, 0, 3)), (1, (NONE, 1))),
        stalls=(1, 0),
        metrics=(("prefetch_precision", 1), ("hit_rate", 1 / 4)),
    ),
    Case(
        "a bypass waits for the place that it gave up, too",
        (event(0, 1, 2),),
        rules(2),
        (
            "link demand 0: 0-1",
            "device load 0: 1-3",
            "link demand 1: 1-2",
            "device load 1: 3-5",
            "evict demand 0: 0-3",
            "link demand 2: 3-5 in 0",
            "device load 2: 5-7 in 0",
        ),
        items=(LONG, LONG, replace(LONG, high_bytes=2)),
        choices=((0, (NONE, 0, 1)), (NONE, (NONE, 1))),
        stalls=(1,),
    ),
    Case(
        "a prefetch that is given up ends them, and its victim is lost all the same",
        (event(0), event(1)),
        rules(4, num_experts=5, decisions=("evict", "prefetch"), prefetch_depth=2, decision_time=0.25, warm=True),
        (
            "device hit 0: 0-0.5",
            "evict prefetch 1: 0.5-0.5",
            # Three decisions took 0.75 s. There is room for 1, and nothing follows, so there is no decision.
            "link demand 1: 0.75-1.75",
            "device load 1: 1.75-2.25",
        ),
        items=(*(ITEM,) * 4, replace(ITEM, high_bytes=2)),
        choices=((4, (NONE, 4)), (1, (NONE, 1, 2, 3)), (NONE, (NONE, 2, 3))),
        stalls=(0.25, 1),
        metrics=(("prefetch_precision", math.nan), ("bytes_moved", 1)),
    ),
    Case(
        "what is in flight cannot be lost, until it has arrived while one decided",
        (event(0), event(2, 3)),
        rules(2, decisions=("evict", "prefetch"), decision_time=0.5),
        (
            "link demand 0: 0-1",
            "device load 0: 1-1.5",
            "queue prefetch 1: 0.5-0.5",
            "link chunk 1: 1-2",
            "link demand 2: 2-3 in 0",
            "device load 2: 3-3.5 in 0",
            "evict demand 1: 2.5-2.5",
            "link demand 3: 3-4",
            "device load 3: 4-4.5",
        ),
        choices=((1, (NONE, 1, 2, 3)), (NONE, (NONE, 0)), (1, (NONE, 0, 1))),
        stalls=(1, 2),
        metrics=(("prefetch_precision", 0), ("uploads", 4), ("bytes_moved", 4)),
    ),
    Case(
        "what goes entirely before the dense part is over was prefetched in time; a chunk under way is late",
        (event(0), event(1, 2, dense=0.5)),
        rules(4, decisions=("prefetch",), prefetch_depth=2, queue_limit=2, chunk=0.5),
        (
            "link demand 0: 0-1",
            "device load 0: 1-1.5",
            "queue prefetch 2: 0-0",
            "queue prefetch 1: 0-0",
            "link chunk 2: 1-1.5",
            "link chunk 2: 1.5-2",
            "link late 1: 2-3",
            "device hit 2: 2-2.5",
            "device late 1: 3-3.5",
        ),
        choices=((2, (NONE, 1, 2, 3)), (1, (NONE, 1, 3))),
        stalls=(1, 0.5),
        metrics=(("prefetch_precision", 1), ("hit_rate", 1 / 3), ("late", 1)),
    ),
]


def played(case: Case) -> Run:
    run = Run(case.numbered(), case.items, case.rules)
    for choice, allowed in case.choices:
        assert run.decision is not None
        assert run.decision.choices == allowed
        run.decide(choice)
    return run


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_an_episode_is_as_by_hand(case: Case) -> None:
    run = played(case)
    assert run.is_over
    assert shown(run) == list(case.rows)
    ends = [(row[4], event.dense) for row, event in zip_ends(run, case)]
    begins = [0.0, *(end for end, _ in ends)]
    ideal = [sum(case.items[entry.item].floor_high for entry in event.entries) for event in case.events]
    stalls = [end - begin - dense - best for (end, dense), begin, best in zip(ends, begins, ideal, strict=False)]
    assert stalls == list(case.stalls)
    metrics = run.metrics()
    assert metrics["stall"] == sum(case.stalls)
    assert {name: metrics[name] for name, _ in case.metrics} == pytest.approx(dict(case.metrics), nan_ok=True)


def zip_ends(run: Run, case: Case) -> list[tuple[tuple[Any, ...], Event]]:
    return list(zip([row for row in run.rows if row[0] == "event"], case.events, strict=True))


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_checker_finds_nothing_wrong(case: Case) -> None:
    run = played(case)
    assert violations(run.timeline(), case.numbered(), case.items, case.rules, run.metrics()) == []


def test_rewards_are_stalls_in_passes_and_prices() -> None:
    # The CPU takes 1.5 s where the device would take 1.5, a load from the SSD stalls 0.75 s, a hit gains 0.25.
    case = next(case for case in CASES if case.name.startswith("on the CPU"))
    case = replace(case, rules=replace(case.rules, discount_per_token=0.5))
    run = Run(case.numbered(), case.items, case.rules)
    unit = (1.5 + 0.5 + 0.5) / 3
    assert ideal_step_seconds(case.numbered(), case.items) == unit
    rewards, discounts = [], []
    for choice, _ in case.choices:
        run.decide(choice)
        rewards.append(run.reward(unit))
        discounts.append(run.discount())
    assert rewards == pytest.approx([0, 0, -0.75, -0.25 - 0.25 - (0.75 - 0.25) / unit])
    assert discounts == [1, 1, 0.5, 0.5]


def test_one_layer_stands_for_all() -> None:
    case = CASES[0]
    run = Run(case.numbered(), case.items, replace(case.rules, layers_represented=3))
    run.decide(0)
    assert run.metrics()["time_per_output_token"] == 3 * 6 / 4
    assert run.metrics()["stall"] == 3


# What the events of a trace are


def trace(*requests: tuple[list[int], list[int]], scores: bool = True) -> RoutingTrace:
    """A trace of one layer of 8 experts: per request its prefill tokens and its decode tokens.

    The number 46 is a token that uses experts 4, with score 0.75, and 6, with score 0.25.
    """
    rows = [
        (request, phase, step, divmod(token, 10))
        for request, phases in enumerate(requests)
        for phase, tokens in zip((PREFILL, DECODE), phases, strict=True)
        for step, token in enumerate(tokens)
    ]
    return RoutingTrace(
        model="by-hand", num_layers=1, num_experts=8, top_k=2,
        request=np.array([row[0] for row in rows]), phase=np.array([row[1] for row in rows], np.int8),
        step=np.array([row[2] for row in rows], np.int32), layer=np.zeros(len(rows), np.int16),
        experts=np.array([row[3] for row in rows], np.int16),
        scores=np.tile(np.array([0.75, 0.25], np.float32), (len(rows), 1)) if scores else None,
    )  # fmt: skip


def test_batches_prefill_one_by_one_and_decode_together() -> None:
    events = events_of(trace(([12, 23, 34], [45, 56]), ([71], [57]), ([], [12])), batch=2, prefill_chunk=2)
    assert [[entry.item for entry in event.entries] for event in events] == [
        [1, 2, 3], [3, 4], [1, 7], [4, 5, 7], [5, 6], [1, 2],
    ]  # fmt: skip
    assert [event.step for event in events] == [0, 1, 2, 3, 4, 5]
    assert [event.decode for event in events] == [False, False, False, True, True, True]
    assert [event.tokens for event in events] == [2, 1, 1, 2, 1, 1]
    assert [event.new_prompt for event in events] == [True, False, False, False, False, True]


def test_a_whole_prompt_at_once() -> None:
    events = events_of(trace(([12, 23, 34], [45]), ([71], [])))
    assert [event.tokens for event in events] == [3, 1, 1]
    assert [event.new_prompt for event in events] == [True, False, True]


def test_entries_sum_up_their_tokens() -> None:
    (event,) = events_of(trace(([12, 21, 23], [])))
    assert event.entries == (Entry(1, 2, 0.75, 0.0), Entry(2, 3, 0.75, 0.0), Entry(3, 1, 0.25, 0.75))
    (event,) = events_of(trace(([12, 32], []), scores=False), serve="hottest")
    assert event.entries == (Entry(2, 2, 0.5, 0.5), Entry(1, 1, 0.5, 0.0), Entry(3, 1, 0.5, 0.0))


def test_layers_one_by_one_or_only_one() -> None:
    both = RoutingTrace(
        model="by-hand", num_layers=2, num_experts=3, top_k=1,
        request=np.zeros(4, np.int64), phase=np.full(4, DECODE, np.int8), step=np.array([0, 0, 1, 1], np.int32),
        layer=np.array([0, 1, 0, 1], np.int16), experts=np.array([[0], [1], [2], [0]], np.int16),
    )  # fmt: skip
    steps = [(event.layer, event.step, event.entries[0].item, event.new_prompt) for event in events_of(both)]
    assert steps == [(0, 0, 0, True), (1, 0, 4, False), (0, 1, 2, False), (1, 1, 3, False)]
    steps = [(event.layer, event.step, event.entries[0].item, event.new_prompt) for event in events_of(both, layer=1)]
    assert steps == [(1, 0, 4, True), (1, 1, 3, False)]


def test_a_model_with_two_layers_is_prefetched_across_steps() -> None:
    events = [Event(layer, step, (Entry(2 * layer),), decode=True) for step in range(2) for layer in range(2)]
    near = PlainRules(capacity=(2, 2), num_experts=2, decisions=("prefetch",))
    asked = []
    for given in (near, replace(near, prefetch_distance=2)):
        run = Run(events, TWO_LAYERS, given)
        asked.append([])
        while run.decision is not None:
            asked[-1].append(run.decision.choices)
            run.decide(None)
    # The next layer, across the end of a step, but not beyond that of the episode; or both.
    assert asked == [[(None, 2, 3), (None, 1), (None, 3)], [(None, 1, 2, 3), (None, 1, 3), (None, 3)]]
