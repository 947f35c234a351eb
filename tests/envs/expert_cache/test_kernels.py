"""The kernels play as the plain-Python player does: decisions, what is allowed, rewards, timelines, metrics."""

import math
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hetgym.envs.expert_cache.checker import violations
from hetgym.envs.expert_cache.instance import Instance, build_instance
from hetgym.envs.expert_cache.reference import Item, PlainRules, Run, events_of, ideal_step_seconds
from hetgym.envs.expert_cache.rules import KIND, WAYS, Items, Rules
from hetgym.envs.expert_cache.simulator import ExpertCacheSimulator
from hetgym.envs.expert_cache.state import EVICT, MISS, PREFETCH, PREFETCH_EVICT
from hetgym.workloads.routing import RoutingTrace

SECONDS = (0.0, 0.125, 0.25, 0.5, 1.0)
KINDS = {EVICT: ("evict", False), PREFETCH: ("prefetch", False), PREFETCH_EVICT: ("evict", True), MISS: ("miss", False)}


@dataclass(frozen=True)
class OneInstance:
    """Every episode plays the same."""

    given: Instance
    top_k: int
    varies: bool = False

    def layer_of(self, seed: int, episode: int) -> int | None:
        return None

    def instance(self, seed: int, episode: int) -> Instance:
        return self.given

    def window(self, instance: Instance, seed: int, episode: int) -> tuple[int, int]:
        return 0, instance.num_events

    def accept(self, problem: Any) -> Instance:
        return self.given


def drawn_trace(luck: random.Random) -> RoutingTrace:
    layers, experts = luck.randint(1, 3), luck.randint(2, 6)
    top_k = luck.randint(1, min(3, experts))
    rows = []
    for request in range(luck.randint(1, 3)):
        prompt, output = luck.randint(0, 4), luck.randint(0, 5)
        for phase, count in ((0, prompt), (1, output or (prompt == 0))):
            rows += [(request, phase, step, layer) for step in range(count) for layer in range(layers)]
    request, phase, step, layer = np.array(rows).T
    # Scores of eighths, so that sums are exact.
    return RoutingTrace(
        model="drawn",
        num_layers=layers,
        num_experts=experts,
        top_k=top_k,
        request=request.astype(np.int64),
        phase=phase.astype(np.int8),
        step=step.astype(np.int32),
        layer=layer.astype(np.int16),
        experts=np.array([luck.sample(range(experts), top_k) for _ in rows], np.int16),
        scores=np.array([sorted(luck.choices(SECONDS, k=top_k), reverse=True) for _ in rows], np.float32),
    )


class Game:
    """One small episode, played twice."""

    def __init__(self, seed: int) -> None:
        luck = self.luck = random.Random(seed)
        trace = drawn_trace(luck)
        pools = luck.choice([1, trace.num_layers])
        kinds, kind = self.draw_items(trace, pools)
        largest = [max(item.high_bytes for item in self.items if item.pool == pool) for pool in range(pools)]
        capacity = tuple(trace.top_k * size + luck.randint(0, 2 * trace.num_experts) for size in largest)
        decisions: tuple[Any, ...] = tuple(luck.sample(("evict", "prefetch", "miss"), luck.randint(1, 3)))
        shared: dict[str, Any] = {
            "decisions": decisions,
            "staging": luck.randint(1, 2),
            "queue_limit": luck.randint(1, 3),
            "prefetch_depth": luck.randint(0, 3),
            "prefetch_distance": luck.randint(1, 3),
            "early_router": luck.random() < 0.3,
            "decision_time": luck.choice((0.0, 0.125)),
            "event_time": luck.choice((0.0, 0.125)),
            "low_price": luck.choice(SECONDS),
            "skip_price": luck.choice(SECONDS),
            "discount_per_token": luck.choice((1.0, 0.5)),
        }
        chunk, warm, host = (
            luck.choice((0, 1, 2, 4)),
            luck.random() < 0.3,
            luck.choice((None, None, luck.randint(0, 20))),
        )
        self.link = {"latency": luck.choice(SECONDS), "bandwidth": luck.choice((1.0, 2.0, 8.0))}
        self.ssd = {"ssd_latency": luck.choice(SECONDS), "ssd_bandwidth": luck.choice((0.5, 4.0))}
        self.plain = PlainRules(
            capacity=tuple(float(size) for size in capacity),
            num_experts=trace.num_experts,
            top_k=trace.top_k,
            chunk=chunk or math.inf,
            warm=warm,
            host_capacity=host,
            **shared,
            **self.link,
            **self.ssd,
        )
        self.price_loads(kinds)
        items = Items(trace.num_layers, trace.num_experts, kinds, kind, np.array(capacity))
        dense = luck.choice(SECONDS)
        built: dict[str, Any] = {
            "batch": luck.randint(1, 3),
            "prefill_chunk": luck.randint(0, 2),
            "serve": luck.choice(("ascending", "hottest")),
        }
        self.instance = build_instance(trace, items, lambda tokens, *_: np.full(len(tokens), dense), **built)
        self.events = events_of(trace, dense=dense, **built)
        rules = Rules(chunk=chunk, start="warm" if warm else "cold", host_capacity=host, shown=4, **shared)
        self.simulator = ExpertCacheSimulator(OneInstance(self.instance, trace.top_k), items, rules, 1)

    def draw_items(self, trace: RoutingTrace, pools: int) -> tuple[Any, Any]:
        luck, count = self.luck, trace.num_layers * trace.num_experts
        kinds = np.zeros(2, KIND)
        for one in range(2):
            kinds[one]["high_bytes"] = luck.choice((2, 4, 8))
            kinds[one]["low_bytes"] = luck.choice((1, 2))
            for name in ("floor_high", "floor_low", "slope", "cpu_floor", "cpu_slope"):
                kinds[one][name] = luck.choice(SECONDS)
        kind = np.array([luck.randint(0, 1) for _ in range(count)], np.int32)
        names = ("high_bytes", "low_bytes", "floor_high", "floor_low", "slope", "cpu_floor", "cpu_slope")
        self.items = [
            Item(item * pools // count, **{name: float(kinds[kind[item]][name]) for name in names})
            for item in range(count)
        ]
        return kinds, kind

    def price_loads(self, kinds: Any) -> None:
        plain = self.plain
        for precision in ("high", "low"):
            size = kinds[f"{precision}_bytes"]
            kinds[f"load_{precision}"] = plain.latency + size / plain.bandwidth
            slower = min(plain.bandwidth, plain.ssd_bandwidth)
            kinds[f"ssd_{precision}"] = plain.ssd_latency + size / slower + plain.latency

    def allowed(self) -> list[Any]:
        """What the simulator allows now, as the player names it."""
        status, simulator = self.simulator.state.status[0], self.simulator
        mask = simulator.observation["action_mask"][0]
        if status["kind"] == MISS:
            return [WAYS[way] for way in range(len(WAYS)) if mask[way]]
        if status["kind"] == PREFETCH:
            shown = simulator.state.targets[0][: int(mask.sum()) - 1]
            return [None, *(int(item) for item in shown)]
        return [None, *self.in_order(int(status["pool"]))][: int(mask.sum())]

    def in_order(self, pool: int) -> list[int]:
        """The evictable items of a pool by the simulator's order of recency."""
        places, wave = self.simulator.state.places[0], self.simulator.state.status[0]["wave"]
        end = len(self.items) + pool
        item, found = int(places[end]["next"]), []
        while item != end:
            if places[item]["state"] == 2 and places[item]["wave"] != wave:
                found.append(item)
            item = int(places[item]["next"])
        return found

    def action(self, choice: Any) -> int:
        if choice is None:
            return 0
        if isinstance(choice, str):
            return WAYS.index(choice)
        return int(self.simulator.name_item(np.array([choice]))[0])


def compared(timeline: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Rows that last or mean something, in an order that does not depend on who wrote them."""
    kept = timeline[(timeline["lane"] != "policy") | (timeline["end"] > timeline["begin"])]
    return sorted(map(tuple, kept.itertuples(index=False)))


@settings(max_examples=settings.default.max_examples * 3)
@given(st.integers(0, 2**32))
@example(2973)  # a member of the union is served by the CPU, fetched early, and there before the event ends
def test_simulator_plays_like_the_plain_player(seed: int) -> None:
    game = Game(seed)
    run, simulator = Run(game.events, game.items, game.plain), game.simulator
    simulator.reset([seed])
    assert game.instance.unit == ideal_step_seconds(game.events, game.items)
    while run.decision is not None:
        status = simulator.state.status[0]
        assert KINDS[int(status["kind"])] == (run.decision.kind, run.decision.for_prefetch)
        assert status["now"] == run.now
        # Targets are shown by their uses; four of all are shown.
        known = sorted(run.decision.choices, key=str) if run.decision.kind == "prefetch" else list(run.decision.choices)
        shown = game.allowed()
        if run.decision.kind == "prefetch":
            assert set(shown) <= set(known)
            assert len(shown) == min(len(known), 5)
        else:
            assert shown == known[: len(shown)]
            assert len(shown) == min(len(known), 5)
        choice = game.luck.choice(run.decision.choices)
        run.decide(choice)
        simulator.step(np.array([game.action(choice)]))
        assert not simulator.outcome[0]["invalid_action"]
        unit = game.instance.unit
        if unit > 0:
            assert math.isclose(simulator.outcome[0]["reward"], run.reward(unit), rel_tol=1e-6, abs_tol=1e-6)
        assert simulator.outcome[0]["discount"] == run.discount()
    assert simulator.state.status[0]["is_over"]
    assert compared(simulator.episode(0)) == compared(run.timeline())
    metrics, wanted = simulator.metrics_of(0), run.metrics()
    for name, value in wanted.items():
        assert metrics[name] == value or math.isclose(metrics[name], value, rel_tol=1e-6) or math.isnan(value), name
    assert violations(simulator.episode(0), game.events, game.items, game.plain, run.metrics()) == []
