"""How each miss is served, decision by decision, beside plain definitions."""

from typing import Any

import numpy as np
import pytest

from hetgym.agents.heuristics.caching.policy import CachePolicy
from hetgym.agents.heuristics.caching.ways import SERVERS
from hetgym.envs.core.scenario import load_scenario
from hetgym.envs.expert_cache.rules import WAYS
from hetgym.envs.expert_cache.scenario import ExpertCacheScenario
from hetgym.envs.expert_cache.simulator import ExpertCacheSimulator
from hetgym.envs.expert_cache.state import MISS


def plain_way(rule: str, simulator: ExpertCacheSimulator) -> str:
    """What a rule wants, whether or not it may be."""
    status, instance = simulator.state.status[0], simulator.instance(0)
    entry = instance.entries[int(status["entry"])]
    item, tokens = int(entry["item"]), int(entry["tokens"])
    if rule == "thresholds":
        return "load" if entry["cumulative"] <= 0.6 else "load-low" if entry["cumulative"] <= 0.9 else "skip"
    if rule == "widths":
        event = int(status["event"])
        prompt = max(at for at in range(event + 1) if instance.events["begins_prompt"][at])
        steps = int(instance.events["step"][event] - instance.events["step"][prompt]) + 1
        first, end = instance.events["first"][[prompt, event]]
        uses = int((instance.entries["item"][first:end] == item).sum())
        return "load" if uses / steps >= instance.trace.top_k / instance.trace.num_experts else "load-low"
    if rule == "cpu-if-sooner":
        costs = simulator.items.kinds[simulator.items.kind[item]]
        host = simulator.rules.host_capacity is None or simulator.state.places[0][item]["in_host"]
        on_cpu = max(status["cpu_free"], status["now"], status["start"])
        on_cpu += max(costs["cpu_floor"], tokens * costs["cpu_slope"])
        arrival = max(status["link_free"], status["now"]) + costs["load_high" if host else "ssd_high"]
        on_device = max(arrival, status["device_free"]) + max(costs["floor_high"], tokens * costs["slope"])
        return "cpu" if on_cpu < on_device else "load"
    return rule


SETTINGS: dict[str, dict[str, Any]] = {
    "all ways": {"low": "int8", "cache_fraction": 0.25},
    "batch": {"batch": 3, "requests": 6, "prefill_chunk": 2},
    "prompts": {"requests": 3, "prompt_tokens": 40},
    "no CPU": {"ways": "load,load-low,skip"},
    "loads only": {"ways": "load,skip", "link": 400e9},
    "small host": {"host_capacity": 40e9},
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("rule", SERVERS)
def test_each_miss_is_served_as_the_rule_says(rule: str, setting: str) -> None:
    settings = {"decisions": "evict,miss", "output_tokens": 12, "prompt_tokens": 6, **SETTINGS[setting]}
    scenario = load_scenario("mixtral-hybrid", **settings)
    assert isinstance(scenario, ExpertCacheScenario)
    simulator = scenario.simulator(1)
    simulator.reset([4])
    policy = CachePolicy(rule, "recency", "none", rule)
    policy.reset(simulator)
    served: list[str] = []
    while not simulator.outcome["terminated"][0]:
        action = policy.act({}, simulator)
        if simulator.state.status[0]["kind"] == MISS:
            wanted = plain_way(rule, simulator)
            may = simulator.observation["action_mask"][0][: len(WAYS)]
            assert WAYS[int(action[0])] == (wanted if may[WAYS.index(wanted)] else "load")
            served.append(WAYS[int(action[0])])
        simulator.step(action)
        assert not simulator.outcome["invalid_action"][0]
    assert len(served) > 100
    if setting == "all ways":
        common = {"cpu-if-sooner": {"cpu", "load"}, "thresholds": {"load", "load-low"}, "widths": {"load", "load-low"}}
        assert common.get(rule, {rule}) <= set(served)


def test_what_is_sooner_saves_time() -> None:
    def stall(rule: str) -> float:
        simulator = load_scenario("mixtral-hybrid", decisions="evict,miss").simulator(2)
        assert isinstance(simulator, ExpertCacheSimulator)
        simulator.reset([0, 1])
        CachePolicy(rule, "recency", "none", rule).replay(simulator)
        return float(simulator.metrics(np.arange(2))["stall"].mean())

    assert stall("cpu-if-sooner") < min(stall("load"), stall("cpu"))
