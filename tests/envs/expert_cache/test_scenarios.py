"""Scenarios of expert caching: all play, their timelines keep the rules, and what is wrong is refused in one line."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.agents import make_policy
from hetgym.envs import ExpertCacheScenario, list_scenarios, load_scenario
from hetgym.envs.expert_cache.checker import violations
from hetgym.envs.expert_cache.reference import Event, Item, PlainRules, events_of
from hetgym.envs.expert_cache.simulator import ExpertCacheSimulator
from hetgym.evaluate.evaluation import play
from hetgym.workloads.routing import save_trace, tiny_trace

NAMES = [name for name, path in list_scenarios().items() if path.parent.parent.name == "expert_cache"]
SMALL: dict[str, Any] = {"drawn": 1}


def small(name: str, **settings: Any) -> ExpertCacheScenario:
    """A scenario with few tokens."""
    scenario = load_scenario(name)
    assert isinstance(scenario, ExpertCacheScenario)
    lengths: dict[str, Any] = {}
    if scenario.workload.kind != "recorded":
        requests = {"generated": 2, "composition": 24, "lora-adapters": 48}[scenario.workload.kind]
        prompt = min(2, int(scenario.workload.prompt_tokens))
        lengths = {"requests": requests, "prompt_tokens": prompt, "output_tokens": 3}
    scenario = scenario.override(**SMALL, **lengths, **settings)
    assert isinstance(scenario, ExpertCacheScenario)
    return scenario


def as_plain(
    scenario: ExpertCacheScenario, simulator: ExpertCacheSimulator
) -> tuple[list[Event], list[Item], PlainRules]:
    """What the checker needs to know of the episode that was played, from the scenario's own numbers."""
    instance, items, rules = simulator.instance(0), simulator.items, simulator.rules
    layer = scenario.layer_of(0, 0)
    plain = events_of(instance.trace, scenario.batch, scenario.prefill_chunk, scenario.serve, layer)
    timed = zip(plain, instance.events["dense"].tolist(), strict=False)
    events = [replace(event, dense=dense) for event, dense in timed]
    status = simulator.state.status[0]
    events = events[int(status["first_event"]) : int(status["end_event"])]
    names = ("high_bytes", "low_bytes", "floor_high", "floor_low", "slope", "cpu_floor", "cpu_slope")
    per_pool = items.num_items // len(items.capacity)
    costs = scenario.costs
    return (
        events,
        [
            Item(item // per_pool, **{name: float(items.kinds[kind][name]) for name in names})
            for item, kind in enumerate(items.kind)
        ],
        PlainRules(
            capacity=tuple(items.capacity.tolist()),
            num_experts=items.num_experts,
            top_k=scenario.top_k,
            latency=costs.link_latency,
            bandwidth=scenario.link or costs.link_bandwidth,
            ssd_latency=costs.ssd_latency,
            ssd_bandwidth=costs.ssd_bandwidth,
            host_capacity=rules.host_capacity,
            decisions=rules.decisions,
            chunk=rules.chunk or float("inf"),
            staging=rules.staging,
            queue_limit=rules.queue_limit,
            prefetch_depth=rules.prefetch_depth,
            prefetch_distance=rules.prefetch_distance if rules.pool == "model" else 1,
            low_price=rules.low_price,
            skip_price=rules.skip_price,
            layers_represented=items.num_layers if rules.pool == "layer" else 1,
        ),
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("policy", ["lru", "lfru", "random", "belady-bypass"])
def test_timelines_of_all_scenarios_keep_the_rules(name: str, policy: str) -> None:
    scenario = small(name)
    simulator = scenario.simulator(1)
    table = play(simulator, make_policy(policy, scenario.family), [0])
    events, items, rules = as_plain(scenario, simulator)
    assert violations(simulator.episode(0), events, items, rules, simulator.metrics_of(0)) == []
    assert table["tokens_per_second"][0] > 0
    assert simulator.figure(0).axes


@pytest.mark.parametrize("policy", ["hybrimoe", "hobbit", "fate", "edgemoe", "read-me", "mixtral-offloading"])
def test_published_systems_keep_the_rules(policy: str) -> None:
    scenario = small("mixtral-hybrid", start="warm", host_capacity=30e9)
    simulator = scenario.simulator(1)
    play(simulator, make_policy(policy, scenario.family), [3])
    events, items, rules = as_plain(scenario, simulator)
    rules = replace(rules, warm=True)
    assert violations(simulator.episode(0), events, items, rules, simulator.metrics_of(0)) == []


def test_no_causal_policy_beats_belady() -> None:
    scenario = small("tiny-moe", batches=2)
    hits = {}
    for policy in scenario.baselines:
        simulator = scenario.simulator(4)
        hits[policy] = play(simulator, make_policy(policy, scenario.family), range(4))["hit_rate"].to_numpy()
    for policy, rate in hits.items():
        assert (rate <= hits["belady-bypass"] + 1e-12).all(), policy


def test_lfru_beats_lru_on_qwen3() -> None:
    scenario = small("qwen3-30b").override(requests=1, prompt_tokens=16, output_tokens=96)
    speed = {
        name: play(scenario.simulator(4), make_policy(name, scenario.family), range(4))["tokens_per_second"].mean()
        for name in ("lru", "lfru")
    }
    assert speed["lfru"] > 1.02 * speed["lru"]


def test_useless_prefetches_cost_tokens() -> None:
    # The link is slow, and what the router's guess fetches is almost never used.
    scenario = small("qwen3-30b-prefetch").override(output_tokens=24, recall=0.0625, link=8e9)
    speed = {
        name: play(scenario.simulator(2), make_policy(name, scenario.family), range(2))["tokens_per_second"].mean()
        for name in ("lru", "mixtral-offloading")
    }
    assert speed["mixtral-offloading"] < 0.98 * speed["lru"]


def test_decisions_are_charged() -> None:
    speeds = []
    for cost in (0.0, 1e-4):
        scenario = small("v2-lite", decision_time=cost)
        simulator = scenario.simulator(1)
        play(simulator, make_policy("lru", scenario.family), [0])
        speeds.append(simulator.metrics_of(0)["seconds"])
    assert speeds[1] > speeds[0]


def test_batch_size_does_not_matter() -> None:
    scenario = small("v2-lite").override(prompt_tokens=3, output_tokens=20)
    tables = [play(scenario.simulator(count), make_policy("arc", scenario.family), range(count)) for count in (1, 5)]
    left, right = (table.drop(columns="decision_seconds").iloc[:1] for table in tables)
    assert left.equals(right)


def test_replay_is_the_same_episode() -> None:
    scenario = small("qwen3-30b-prefetch").override(output_tokens=12)
    stepped, replayed = scenario.simulator(2), scenario.simulator(2)
    policy: Any = make_policy("lfru+gate", scenario.family)
    play(stepped, policy, range(2))
    replayed.reset(range(2))
    policy.replay(replayed)
    rows = np.arange(2)
    wanted, found = stepped.metrics(rows), replayed.metrics(rows)
    assert all(np.array_equal(wanted[name], found[name], equal_nan=True) for name in wanted)


def test_given_trace_is_played() -> None:
    scenario = small("tiny-moe")
    simulator = scenario.simulator(1)
    trace = tiny_trace().select([5])
    simulator.reset([0], [trace])
    assert simulator.instance(0).trace is trace


def test_user_trace_is_a_scenario(tmp_path: Path) -> None:
    save_trace(tiny_trace().select([1, 2, 3]), tmp_path / "mine.parquet")
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nfamily: expert-cache\nworkload: {kind: recorded, path: mine.parquet, model: olmoe-1b-7b}\n"
    )
    simulator = load_scenario(tmp_path / "mine.yaml").simulator(1)
    simulator.reset([0])
    assert simulator.instance(0).trace.num_requests == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cache_fraction": 0.01}, "holds .* bytes, less than the 6 experts of a token"),
        ({"cache_fraction": 1.5}, "cache_fraction: .* less than or equal to 1"),
        ({"cache_fraction": float("nan")}, "cache_fraction"),
        ({"cache_slots": 8}, "cache_fraction and cache_slots: give one of them"),
        ({"cache_fraction": None, "budget": (6, 7)}, "budget: must have one number for each of the 26 layers"),
        ({"link": 0.0}, "link: .* greater than 0"),
        ({"decisions": "evict,evict"}, "each can be named once"),
        ({"decisions": "evict,guess"}, "decisions.1: Input should be 'evict', 'prefetch' or 'miss'"),
        ({"model": "gpt-5"}, "unknown mixture-of-experts model 'gpt-5'"),
        ({"platform": "toaster"}, "unknown platform 'toaster'"),
        ({"high": "fp12"}, "unknown precision 'fp12'"),
        ({"low": "fp16", "high": "int4"}, "low: must not take more bytes than high"),
        ({"platform": "heft-paper"}, "platform 'heft-paper': devices: none has a rate"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(HetgymError, match=message):
        load_scenario("v2-lite", **settings).simulator(1)


def test_traces_of_other_models_are_refused(tmp_path: Path) -> None:
    simulator = load_scenario("v2-lite", drawn=1).simulator(1)
    with pytest.raises(HetgymError, match="trace: has 6 layers of 32 experts; the model has 26 of 64"):
        simulator.reset([0], [tiny_trace()])
    with pytest.raises(HetgymError, match="must be a hetgym RoutingTrace or Instance, not int"):
        simulator.reset([0], [3])
    with pytest.raises(HetgymError, match="cannot read"):
        load_scenario("tiny-moe", path=str(tmp_path / "none.parquet")).simulator(1)
    with pytest.raises(HetgymError, match="reward"):
        load_scenario("tiny-moe").simulator(1, "energy")
