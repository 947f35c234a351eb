"""What the routers' state tells after each step, beside a slow account of who runs when."""

from typing import Any

import numpy as np
import pytest

from hetgym.agents.heuristics.caching.policy import CachePolicy
from hetgym.envs import load_scenario
from hetgym.errors import HetgymError
from hetgym.workloads.routing import RoutingLaw, generate_trace, latent_uses, save_trace


def plain(instance: Any, law: RoutingLaw, seed: int, batch: int, chunk: int) -> list[np.ndarray[Any, Any]]:
    """What is expected after each step: batch by batch, prefill by prefill, then token by token."""
    trace, layers = instance.trace, instance.trace.num_layers
    requests = list(dict.fromkeys(trace.request.tolist()))
    length = {
        request: [int(((trace.request == request) & (trace.phase == phase)).sum()) // layers for phase in (0, 1)]
        for request in requests
    }
    every = {request: latent_uses(law, seed, request, sum(length[request])) for request in requests}
    after = []
    for first in range(0, len(requests), batch):
        together, last = requests[first : first + batch], {}
        for request in together:
            prompt = length[request][0]
            for begin in range(0, prompt, chunk or max(prompt, 1)):
                last[request] = min(begin + (chunk or prompt), prompt) - 1
                after.append([every[known][token] for known, token in last.items()])
        for position in range(max(length[request][1] for request in together)):
            running = [request for request in together if length[request][1] > position]
            after.append([every[request][length[request][0] + position] for request in running])
    return [1 - np.prod([1 - each for each in known], axis=0).reshape(-1) for known in after]


@pytest.mark.parametrize(("batch", "chunk"), [(1, 0), (2, 0), (2, 3), (3, 1)])
@pytest.mark.parametrize("prompt_tokens", [4, 0])
def test_what_is_expected_after_each_step(batch: int, chunk: int, prompt_tokens: int) -> None:
    overrides = {"requests": 3, "prompt_tokens": prompt_tokens, "output_tokens": {"mean": 5, "sigma": 0.8}}
    scenario = load_scenario("v2-lite", batch=batch, prefill_chunk=chunk, **overrides)
    simulator = scenario.simulator(2)
    simulator.reset([5, 6])
    for row, seed in enumerate([5, 6]):
        instance, ours = simulator.instance(row), simulator.latent(row)
        theirs = plain(instance, scenario.workload.law, seed, batch, chunk)
        assert len(ours) == len(theirs) == instance.events["step"][-1]
        for own, other in zip(ours, theirs, strict=True):
            assert own == pytest.approx(other, abs=1e-5)


def test_only_the_layer_that_is_played_is_known() -> None:
    simulator = load_scenario("v2-lite-layer", output_tokens=3).simulator(1)
    simulator.reset([4])
    known = simulator.latent(0).reshape(-1, 26, 64).any(axis=(0, 2))
    assert np.flatnonzero(known).tolist() == [4]


def test_what_comes_later_changes_nothing() -> None:
    played = []
    for output_tokens in (6, 12):
        simulator = load_scenario("v2-lite", output_tokens=output_tokens, budget="global").simulator(1)
        simulator.reset([3])
        policy = CachePolicy("latent", "latent")
        policy.reset(simulator)
        played.append([])
        while not simulator.outcome["terminated"][0]:
            played[-1].append(int(policy.act({}, simulator)[0]))
            simulator.step(np.array(played[-1][-1:]))
    assert len(played[0]) > 500
    assert played[0] == played[1][: len(played[0])]


def test_the_state_of_the_routers_is_worth_more_than_all_heuristics() -> None:
    simulator = load_scenario("v2-lite").simulator(4)

    def hit_rate(rule: str) -> float:
        simulator.reset(np.arange(4))
        CachePolicy(rule, rule).replay(simulator)
        return float(simulator.metrics(np.arange(4))["hit_rate"].mean())

    assert CachePolicy("latent", "latent").clairvoyant
    lfru, latent, belady = hit_rate("lfru"), hit_rate("latent"), hit_rate("belady")
    assert 0.25 < (latent - lfru) / (belady - lfru) < 0.4
    for rule in ("recency", "frequency", "arc", "mrs", "s3-fifo"):
        assert hit_rate(rule) < latent


def test_recordings_have_no_state(tmp_path: Any) -> None:
    trace = generate_trace("deepseek-v2-lite", 2, 1, 2)
    save_trace(trace, tmp_path / "trace.npz")
    recording = {"kind": "recorded", "path": tmp_path / "trace.npz", "model": "deepseek-v2-lite"}
    simulator = load_scenario("v2-lite", workload=recording).simulator(1)
    simulator.reset([0])
    with pytest.raises(HetgymError, match=r"^scenario 'v2-lite': workload: .* generated alone \(given: recorded\)$"):
        CachePolicy("latent", "latent").reset(simulator)
    simulator = load_scenario("v2-lite").simulator(1)
    simulator.reset([0], [trace])
    with pytest.raises(HetgymError, match=r"^instance: .* not of given ones$"):
        CachePolicy("latent", "latent").reset(simulator)
