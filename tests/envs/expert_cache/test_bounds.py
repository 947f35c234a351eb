"""No way to play stalls less than the bound, and the bound says something."""

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hetgym.agents.heuristics.caching.evictors import EVICTORS
from hetgym.agents.heuristics.caching.policy import CachePolicy
from hetgym.agents.heuristics.caching.prefetchers import PREFETCHERS
from hetgym.envs import load_scenario
from hetgym.envs.expert_cache.bounds import fewest_loads, stall_lower_bound
from hetgym.envs.expert_cache.reference import Choice
from hetgym.errors import HetgymError
from hetgym.workloads.routing import generate_trace, save_trace

_path = Path(__file__).with_name("small_caches.py")
_spec = importlib.util.spec_from_file_location("small_caches", _path)
small_caches = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small_caches)

VICTIMS = [name for name in EVICTORS if name != "latent"]
"""But the one that asks for a generated trace."""


def is_at_most(bound: float, stall: float) -> bool:
    return bound <= stall + 1e-9 * max(1.0, abs(stall))


def least_stall(cache: Any, most_plays: int) -> float | None:
    """The least stall of all choices; None where there are too many."""
    least, plays, open_ends = math.inf, 0, [[]]
    while open_ends:
        choices: list[Choice] = open_ends.pop()
        run, plays = cache.play(choices), plays + 1
        if plays > most_plays:
            return None
        if run.decision is None:
            least = min(least, run.metrics()["stall"])
        else:
            open_ends += [[*choices, choice] for choice in run.decision.choices]
    return least


@pytest.mark.parametrize("decisions", [("evict",), ("evict", "prefetch"), ("prefetch",), ()])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=settings.default.max_examples * 3 // 5)
def test_no_choices_stall_less(decisions: tuple[Any, ...], seed: int) -> None:
    cache = small_caches.small_cache(seed, tokens=2, decisions=decisions, too_small=bool(seed % 2))
    least = least_stall(cache, 400)
    if least is not None:
        assert is_at_most(stall_lower_bound(cache.instance, cache.rules), least)


@pytest.mark.parametrize("decisions", [("evict",), ("evict", "prefetch")])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=settings.default.max_examples * 2)
def test_no_policy_stalls_less_or_loads_less(decisions: tuple[Any, ...], seed: int) -> None:
    cache = small_caches.small_cache(seed, tokens=12, decisions=decisions, too_small=bool(seed % 2), prompt=seed % 3)
    bound, loads = stall_lower_bound(cache.instance, cache.rules), int(fewest_loads(cache.instance, cache.rules).sum())
    for victim in VICTIMS:
        for early in PREFETCHERS if "prefetch" in decisions else ["none"]:
            metrics = cache.metrics(CachePolicy("any", victim, early))
            assert is_at_most(bound, metrics["stall"]), (victim, early)
            assert loads <= metrics["uploads"], (victim, early)


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        ({}, 0.9),
        ({"start": "warm", "early_router": True}, 0.9),
        ({"budget": "global", "event_time": 1e-4}, 0.9),
        ({"decisions": ("evict", "prefetch"), "prefetch_distance": 3, "recall": 0.8}, 0.8),
        ({"model": "qwen3-30b-a3b", "decisions": ("evict", "prefetch")}, 0.8),
        ({"model": "qwen1.5-moe", "requests": 4, "batch": 4}, 0.8),
    ],
)
def test_bounds_of_generated_traces(overrides: dict[str, Any], part: float) -> None:
    simulator = load_scenario("v2-lite", output_tokens=48, **overrides).simulator(1)
    simulator.reset([0])
    bound = simulator.stall_lower_bound(0)
    stalls = {}
    for victim in VICTIMS:
        for early in PREFETCHERS if "prefetch" in simulator.rules.decisions else ["none"]:
            simulator.reset([0])
            CachePolicy("any", victim, early).replay(simulator)
            stalls[victim, early] = float(simulator.metrics(np.array([0]))["stall"][0])
    assert is_at_most(bound, min(stalls.values()))
    assert bound > part * min(stalls.values())


@pytest.mark.parametrize("scenario", ["lora-adapters", "composition-sn40l", "composition-dgx-a100"])
@pytest.mark.parametrize("decisions", [("evict",), ("evict", "prefetch")])
def test_bounds_of_items_of_several_sizes(scenario: str, decisions: tuple[Any, ...]) -> None:
    given = {"parameters": [7e9, 13e9], "size_shares": [0.6, 0.4]} if scenario.startswith("composition") else {}
    simulator = load_scenario(scenario, decisions=decisions, requests=64, **given).simulator(1)
    simulator.reset([0])
    bound = simulator.stall_lower_bound(0)
    assert len(simulator.items.kinds) > 1
    assert bound > 0
    for victim in ("recency", "lfru", "arc", "belady", "belady-bypass"):
        for early in ("none", "pre-gated", "popular"):
            simulator.reset([0])
            CachePolicy("any", victim, early).replay(simulator)
            assert is_at_most(bound, float(simulator.metrics(np.array([0]))["stall"][0]))


def test_where_all_is_loaded_once_the_bound_is_the_stall() -> None:
    simulator = load_scenario("v2-lite", output_tokens=4, cache_fraction=1.0, prompt_tokens=1).simulator(1)
    simulator.reset([0])
    bound = simulator.stall_lower_bound(0)
    CachePolicy("lru", "recency").replay(simulator)
    assert bound == pytest.approx(float(simulator.metrics(np.array([0]))["stall"][0]), rel=0.05)


def test_episodes_of_a_recording_have_bounds_of_their_own(tmp_path: Path) -> None:
    save_trace(generate_trace("deepseek-v2-lite", 6, 4, 8), tmp_path / "trace.npz")
    recording = {"kind": "recorded", "path": tmp_path / "trace.npz", "model": "deepseek-v2-lite", "batches": 2}
    simulator = load_scenario("v2-lite", workload=recording).simulator(2)
    simulator.reset([0, 1])
    bounds = [simulator.stall_lower_bound(row) for row in range(2)]
    CachePolicy("belady", "belady").replay(simulator)
    assert bounds[0] != bounds[1]
    for bound, stall in zip(bounds, simulator.metrics(np.arange(2))["stall"], strict=True):
        assert 0 < bound <= stall


def test_there_is_no_bound_where_the_cpu_can_help() -> None:
    simulator = load_scenario("v2-lite", output_tokens=1, decisions=("evict", "miss")).simulator(1)
    simulator.reset([0])
    with pytest.raises(HetgymError, match=r"^decisions: .*cpu"):
        simulator.stall_lower_bound(0)
    simulator = load_scenario("v2-lite", output_tokens=1, decisions=("evict", "miss"), ways=("load",)).simulator(1)
    simulator.reset([0])
    assert simulator.stall_lower_bound(0) > 0
