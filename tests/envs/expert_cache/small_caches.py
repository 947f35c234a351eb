"""Small episodes of expert caching by chance, for the kernels and for the plain-Python player."""

import math
import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from hetgym.agents.heuristics.caching.policy import CachePolicy
from hetgym.envs.expert_cache.instance import Instance, build_instance
from hetgym.envs.expert_cache.reference import Choice, Event, Item, PlainRules, Run, events_of
from hetgym.envs.expert_cache.rules import KIND, Items, Rules
from hetgym.envs.expert_cache.simulator import ExpertCacheSimulator
from hetgym.workloads.routing import RoutingTrace

SECONDS = (0.0, 0.125, 0.25, 0.5, 1.0)


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


def drawn_trace(
    luck: random.Random, layers: int, experts: int, top_k: int, tokens: int, prompt: int = 0
) -> RoutingTrace:
    """Some requests, of so many decoded tokens each at most; the first has a prompt of so many tokens."""
    rows = [(0, 0, step, layer) for step in range(prompt) for layer in range(layers)]
    rows += [
        (request, 1, step, layer)
        for request in range(luck.randint(1, 3))
        for step in range(luck.randint(1, tokens))
        for layer in range(layers)
    ]
    request, phase, step, layer = np.array(rows).T
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
    )


@dataclass(frozen=True)
class SmallCache:
    """One episode, all items of one size.

    Attributes:
        instance: For the kernels.
        rules: For the kernels.
        events: For the player.
        items: For the player.
        plain: For the player.
        filled: The items with which pools begin.
    """

    instance: Instance
    rules: Rules
    events: list[Event]
    items: list[Item]
    plain: PlainRules
    filled: frozenset[int]

    def metrics(self, policy: CachePolicy) -> dict[str, float]:
        """What a policy comes to."""
        simulator = ExpertCacheSimulator(
            OneInstance(self.instance, self.plain.top_k), self.instance.items, self.rules, 1
        )
        simulator.reset([0])
        policy.replay(simulator)
        return {name: float(values[0]) for name, values in simulator.metrics(np.array([0])).items()}

    def hits(self, policy: CachePolicy) -> int:
        """How many hits a policy has."""
        return round(self.metrics(policy)["hit_rate"] * len(self.instance.entries))

    def play(self, choices: list[Choice]) -> Run:
        """The player's episode after some choices."""
        run = Run(self.events, self.items, self.plain)
        for choice in choices:
            run.decide(choice)
        return run


def small_cache(
    seed: int,
    tokens: int = 5,
    decisions: tuple[Any, ...] = ("evict",),
    too_small: bool = False,
    prompt: int = 0,
) -> SmallCache:
    """An episode by chance.

    Args:
        seed: Of chance.
        tokens: Of each request, at most.
        decisions: What is decided.
        too_small: Whether pools may be too small for what an event needs.
        prompt: Tokens of the prompt with which the episode begins, in empty pools, each of one layer.
    """
    luck = random.Random(seed)
    layers, experts = luck.randint(1, 2), luck.randint(3, 5)
    top_k = luck.randint(1, 2)
    trace = drawn_trace(luck, layers, experts, top_k, tokens, prompt)
    pools = layers if prompt else luck.choice([1, layers])
    dense = luck.choice(SECONDS)
    built: dict[str, Any] = {"batch": luck.randint(1, 3), "serve": luck.choice(("ascending", "hottest"))}
    events = events_of(trace, dense=dense, **built)
    widest = max(len(event.entries) for event in events if event.decode)
    least = top_k if too_small else widest
    slots = tuple(luck.randint(least, max(least, experts * layers // pools)) for _ in range(pools))
    item = Item(0, 2, 2, luck.choice(SECONDS), 0.0, luck.choice(SECONDS))
    items = [
        Item(number * pools // (layers * experts), 2, 2, item.floor_high, 0.0, item.slope)
        for number in range(layers * experts)
    ]
    shared: dict[str, Any] = {
        "decisions": decisions,
        "staging": luck.randint(1, 2),
        "queue_limit": luck.randint(1, 3),
        "prefetch_depth": luck.randint(1, 3),
        "prefetch_distance": luck.randint(1, 2),
        "early_router": luck.random() < 0.3,
        "decision_time": luck.choice((0.0, 0.125)),
        "event_time": luck.choice((0.0, 0.125)),
    }
    warm, chunk = luck.random() < 0.3 and not prompt, luck.choice((0, 1))
    latency, bandwidth = luck.choice(SECONDS), luck.choice((1.0, 8.0))
    plain = PlainRules(
        capacity=tuple(2.0 * each for each in slots),
        num_experts=experts,
        top_k=top_k,
        latency=latency,
        bandwidth=bandwidth,
        chunk=chunk or math.inf,
        warm=warm,
        **shared,
    )
    kinds = np.zeros(1, KIND)
    kinds["high_bytes"] = kinds["low_bytes"] = 2
    kinds["load_high"] = kinds["ssd_high"] = latency + 2 / bandwidth
    kinds["floor_high"], kinds["slope"] = item.floor_high, item.slope
    held = Items(layers, experts, kinds, np.zeros(layers * experts, np.int32), 2 * np.array(slots))
    instance = build_instance(trace, held, lambda steps, *_: np.full(len(steps), dense), **built)
    rules = Rules(chunk=chunk, start="warm" if warm else "cold", shown=4, **shared)
    per_pool = layers * experts // pools
    filled = [item for item in range(layers * experts) if item % per_pool < slots[item // per_pool]]
    return SmallCache(instance, rules, events, items, plain, frozenset(filled if warm else []))
