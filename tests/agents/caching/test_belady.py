"""Belady's rules have the most hits that there are: of all choices in small episodes, of all policies in others."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hetgym.agents.heuristics.caching.evictors import EVICTORS
from hetgym.agents.heuristics.caching.policy import CachePolicy
from hetgym.envs import load_scenario
from hetgym.envs.expert_cache.reference import Choice, Run

_path = Path(__file__).parents[2] / "envs" / "expert_cache" / "small_caches.py"
_spec = importlib.util.spec_from_file_location("small_caches", _path)
small_caches = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small_caches)

CAUSAL = [name for name in EVICTORS if name not in {"hottest", "belady", "belady-bypass", "latent"}]


def resident(run: Run, filled: frozenset[int]) -> frozenset[int]:
    """The items that have places, by the timeline, where an episode began with some."""
    held = set(filled)
    for lane, _, item, _, _, _, _, buffer in run.rows:
        if lane == "link" and buffer < 0:
            held.add(item)
        elif lane == "evict":
            held.discard(item)
    return frozenset(held)


def most_hits(cache: Any, may_bypass: bool) -> int:
    """The most hits of all choices. What follows depends on what is decided, and on the places that are taken."""
    known: dict[tuple[int, int | None, frozenset[int]], int] = {}

    def hits_of(run: Run) -> int:
        return sum(row[0] == "device" and row[5] == "hit" for row in run.rows)

    def best_after(choices: list[Choice]) -> int:
        """The most hits of all episodes that begin with some choices."""
        run = cache.play(choices)
        so_far = hits_of(run)
        if run.decision is None:
            return so_far
        key = run.rows[-1][1], run.decision.item, resident(run, cache.filled)
        if key not in known:
            allowed = [choice for choice in run.decision.choices if may_bypass or choice is not None]
            known[key] = max(best_after([*choices, choice]) for choice in allowed) - so_far
        return so_far + known[key]

    return best_after([])


@pytest.mark.parametrize(("rule", "may_bypass"), [("belady", False), ("belady-bypass", True)])
@given(seed=st.integers(0, 2**32), prompt=st.sampled_from([0, 0, 3]))
@example(seed=130, prompt=0)  # where it matters which misses follow
@example(seed=456, prompt=0)  # where it matters which uses follow the next
@settings(max_examples=settings.default.max_examples * 3 // 2)
def test_no_choices_have_more_hits(rule: str, may_bypass: bool, seed: int, prompt: int) -> None:
    cache = small_caches.small_cache(seed, prompt=prompt)
    assert cache.hits(CachePolicy(rule, rule)) == most_hits(cache, may_bypass)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=settings.default.max_examples * 3 // 10)
def test_no_causal_rule_has_more_hits_in_small_episodes(seed: int) -> None:
    cache = small_caches.small_cache(seed, tokens=20)
    most = cache.hits(CachePolicy("oracle", "belady-bypass"))
    assert cache.hits(CachePolicy("oracle", "belady")) <= most
    for rule in CAUSAL:
        assert cache.hits(CachePolicy(rule, rule)) <= most, rule


@pytest.mark.parametrize(
    "overrides",
    [
        {"cache_fraction": 6 / 64, "output_tokens": 64},
        {"cache_fraction": 0.25, "output_tokens": 64},
        {"cache_fraction": 0.25, "output_tokens": 64, "budget": "global", "start": "warm"},
        {"model": "qwen1.5-moe", "cache_fraction": 0.4, "requests": 3, "batch": 3, "prompt_tokens": 1},
    ],
)
def test_no_causal_rule_has_more_hits_on_generated_traces(overrides: dict[str, Any]) -> None:
    simulator = load_scenario("v2-lite", **overrides).simulator(2)

    def hit_rates(rule: str) -> Any:
        simulator.reset([0, 1])
        CachePolicy(rule, rule).replay(simulator)
        return simulator.metrics(np.arange(2))["hit_rate"]

    most = hit_rates("belady-bypass")
    assert (hit_rates("belady") <= most).all()
    for rule in CAUSAL:
        assert (hit_rates(rule) < most).all(), rule
