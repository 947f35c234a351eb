"""Whatever is decided, the plain-Python player keeps the rules; the checker sees that, and sees what is changed."""

import math
import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hetgym.envs.expert_cache.checker import violations
from hetgym.envs.expert_cache.reference import Choice, Entry, Event, Item, PlainRules, Run

SECONDS = (0.0, 0.125, 0.25, 0.5, 1.0)
LANES_OF_ENTRIES = ("device", "cpu", "skip", "event")


@dataclass(frozen=True)
class Drawn:
    """A small episode by chance, and who decides by chance."""

    events: list[Event]
    items: list[Item]
    rules: PlainRules
    seed: int

    def play(self) -> tuple[Run, list[Choice]]:
        run, luck, choices = Run(self.events, self.items, self.rules), random.Random(self.seed), []
        while run.decision is not None:
            assert len(run.decision.choices) > 1
            # Items more often than none, so that there is something to see.
            choices.append(luck.choice(run.decision.choices[luck.random() < 0.7 :]))
            run.decide(choices[-1])
        return run, choices


def drawn_items(luck: random.Random, num_items: int, num_pools: int) -> list[Item]:
    sizes = luck.choice(([1], [1, 2], [0.5, 1, 3]))
    kinds = [
        Item(0, size, size * luck.choice([0.25, 0.5]), luck.choice(SECONDS), luck.choice(SECONDS), luck.choice(SECONDS),
             luck.choice(SECONDS), luck.choice(SECONDS))
        for size in sizes
    ]  # fmt: skip
    return [replace(luck.choice(kinds), pool=number * num_pools // num_items) for number in range(num_items)]


def drawn_events(luck: random.Random, num_layers: int, num_experts: int) -> list[Event]:
    events = []
    for step in range(luck.randint(1, 6)):
        decode = step > 0 and luck.random() < 0.8
        for layer in range(num_layers):
            used = luck.sample(range(num_experts), luck.randint(1, num_experts))
            entries = [Entry(layer * num_experts + expert, luck.randint(1, 3), luck.choice(SECONDS)) for expert in used]
            new_prompt = layer == 0 and not decode
            events.append(
                Event(layer, step, tuple(entries), luck.choice(SECONDS), new_prompt, decode, luck.randint(1, 3))
            )
    return events


def drawn(seed: int) -> Drawn:
    luck = random.Random(seed)
    num_layers, num_experts, top_k = luck.randint(1, 3), luck.randint(2, 5), luck.randint(1, 2)
    num_pools = luck.choice([1, num_layers])
    items = drawn_items(luck, num_layers * num_experts, num_pools)
    largest = [max(item.high_bytes for item in items if item.pool == pool) for pool in range(num_pools)]
    rules = PlainRules(
        capacity=tuple(size * (top_k + luck.choice([0, 1, 1.5, 3])) for size in largest),
        num_experts=num_experts,
        top_k=top_k,
        latency=luck.choice(SECONDS),
        bandwidth=luck.choice([0.5, 1, 8, math.inf]),
        ssd_latency=luck.choice(SECONDS),
        ssd_bandwidth=luck.choice([0.25, 2]),
        host_capacity=luck.choice([None, None, 0.0, 2.0, 4.5]),
        decisions=tuple(kind for kind in ("evict", "prefetch", "miss") if luck.random() < 0.6),
        chunk=luck.choice([0.25, 0.3, 1, math.inf]),
        staging=luck.randint(1, 2),
        queue_limit=luck.randint(1, 3),
        prefetch_depth=luck.randint(1, 3),
        prefetch_distance=luck.randint(1, 4),
        early_router=luck.random() < 0.3,
        decision_time=luck.choice([0.0, 0.0, 0.125, 1.0]),
        event_time=luck.choice([0.0, 0.0, 0.25]),
        warm=luck.random() < 0.5,
        low_price=luck.choice(SECONDS),
        skip_price=luck.choice(SECONDS),
    )
    return Drawn(drawn_events(luck, num_layers, num_experts), items, rules, seed)


episodes = st.integers(0, 2**32).map(drawn)


@given(episodes)
@settings(max_examples=settings.default.max_examples * 3)
def test_the_checker_finds_nothing_wrong_whatever_is_decided(episode: Drawn) -> None:
    run, _ = episode.play()
    assert violations(run.timeline(), episode.events, episode.items, episode.rules, run.metrics()) == []


@given(episodes, st.integers(0, 2**32), st.sampled_from([-0.0625, 0.0625]))
@settings(max_examples=settings.default.max_examples * 3 // 2)
def test_whatever_is_moved_is_seen(episode: Drawn, number: int, seconds: float) -> None:
    frame = episode.play()[0].timeline()
    row = number % len(frame)
    frame.loc[row, ["begin", "end"]] += seconds
    assert violations(frame, episode.events, episode.items, episode.rules)


@given(episodes, st.integers(0, 2**32))
@settings(max_examples=settings.default.max_examples * 3 // 2)
def test_whatever_lasts_longer_is_seen(episode: Drawn, number: int) -> None:
    frame = episode.play()[0].timeline()
    frame.loc[number % len(frame), "end"] += 0.0625
    assert violations(frame, episode.events, episode.items, episode.rules)


@given(episodes, st.integers(0, 2**32))
@settings(max_examples=settings.default.max_examples * 3 // 2)
def test_whatever_is_left_out_is_seen(episode: Drawn, number: int) -> None:
    frame = episode.play()[0].timeline()
    # Without a victim or a prefetch it may be as if something else had been chosen.
    needed = frame.lane.isin(LANES_OF_ENTRIES) | frame.what.isin(["demand", "demand-low", "late"])
    row = frame.index[needed][number % int(needed.sum())]
    assert violations(frame.drop(index=row), episode.events, episode.items, episode.rules)


@given(episodes)
def test_the_same_decisions_have_the_same_consequences(episode: Drawn) -> None:
    run, choices = episode.play()
    again = Run(episode.events, episode.items, episode.rules)
    for choice in choices:
        again.decide(choice)
    assert again.is_over
    assert again.rows == run.rows


@given(episodes)
def test_outcomes_add_up(episode: Drawn) -> None:
    run, (stall, lost, steps) = Run(episode.events, episode.items, episode.rules), (0.0, 0.0, 0)
    luck = random.Random(episode.seed)
    while True:
        stall, lost, steps = stall + run.outcome.stall, lost + run.outcome.lost, steps + run.outcome.steps
        if run.decision is None:
            break
        run.decide(luck.choice(run.decision.choices))
    metrics = run.metrics()
    assert stall == pytest.approx(metrics["stall"], abs=1e-9)
    assert lost == pytest.approx(metrics["precision_loss"] * len(episode.events), abs=1e-9)
    assert steps == len({event.step for event in episode.events})
    assert metrics["late"] + metrics["misses"] <= sum(len(event.entries) for event in episode.events)


@given(episodes)
def test_what_is_never_lost_is_loaded_once(episode: Drawn) -> None:
    capacity = tuple(100.0 for _ in episode.rules.capacity)
    rules = replace(episode.rules, capacity=capacity, decisions=(), warm=False)
    run = Run(episode.events, episode.items, rules)
    used = {entry.item for event in episode.events for entry in event.entries}
    assert run.is_over
    assert run.metrics()["misses"] == run.metrics()["uploads"] == len(used)


@given(episodes)
def test_nothing_stalls_where_loads_and_decisions_take_no_time(episode: Drawn) -> None:
    rules = replace(
        episode.rules, latency=0.0, bandwidth=math.inf, host_capacity=None, decision_time=0.0, event_time=0.0,
        decisions=("evict", "prefetch"),
    )  # fmt: skip
    run, _ = replace(episode, rules=rules).play()
    assert run.metrics()["stall"] == pytest.approx(0, abs=1e-9)
