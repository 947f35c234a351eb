"""The compiled network says what the one in torch says, decides by it, and reads nothing that is to come."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hetgym import HetgymError
from hetgym.agents import make_policy
from hetgym.agents.heuristics.caching.use_filter import OBSERVED, UseFilter, observations
from hetgym.agents.use_predictor import UseNetwork, UsePredictor, find_relatives
from hetgym.envs import load_scenario
from hetgym.envs.expert_cache.state import RESIDENT
from hetgym.workloads.routing import generate_trace, routing_law

SETTINGS = {
    "per-layer": {},
    "global": {"budget": "global"},
    "together": {"requests": 2, "batch": 2, "prefill_chunk": 3},
    "in turn": {"requests": 2},
}


def network(layers=26, experts=64, width=3, hidden=4):
    """Returns a network whose numbers are large enough for its clips to matter."""
    torch.manual_seed(0)
    relatives = torch.stack([torch.randperm(experts) for _ in range(2 * layers)]).reshape(2, layers, experts)
    made = UseNetwork(*relatives, width, hidden, 0.1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return made


def scores_in_torch(made, instance):
    """Returns the scores after each step, (S, L, E), each prompt by itself."""
    steps = np.diff(instance.batches // instance.items.num_layers).tolist()
    with torch.no_grad():
        prompts = [made(prompt[None])[0] for prompt in torch.from_numpy(observations(instance)).split(steps)]
        return (torch.cat(prompts) - made.constant).numpy()


def plain_choice(score, simulator):
    """Returns the victim, -1 to load past the pool: of what can go and misses as many stay as can go, the best."""
    status, places = simulator.state.status[0], simulator.state.places[0]
    instance = simulator.instance(0)
    pools = len(simulator.items.capacity)
    per_pool = simulator.items.num_items // pools
    end = simulator.items.num_items + int(status["pool"])
    evictable, item = [], int(places[end]["next"])
    while item != end:
        if places[item]["state"] == RESIDENT and places[item]["wave"] != status["wave"]:
            evictable.append(item)
        item = int(places[item]["next"])
    assert all(item // per_pool == status["pool"] for item in evictable)
    last = int(instance.events["first"][status["event"] + 1])
    later = instance.entries["item"][status["entry"] + 1 : last]
    others = evictable + [item for item in later if places[item]["event"] != status["event"]]
    before = sum(score[item] > score[status["incoming"]] for item in others)
    return min(evictable, key=lambda item: score[item]) if before < len(evictable) else -1


@pytest.mark.parametrize("setting", SETTINGS)
def test_compiled_network_scores_and_decides_as_torch(setting, monkeypatch):
    given = {"prompt_tokens": 5, "output_tokens": 6, **SETTINGS[setting]}
    simulator = load_scenario("v2-lite", **given).simulator(1)
    simulator.reset([3])
    made, kept = network(), []
    make = UseFilter.of
    monkeypatch.setattr(UseFilter, "of", lambda *arguments: kept.append(make(*arguments)) or kept[-1])
    policy = UsePredictor("network", made.compiled())
    policy.reset(simulator)
    wanted = scores_in_torch(made, simulator.instance(0))
    layers, experts = wanted.shape[1:]
    decisions = bypasses = 0
    while not simulator.outcome["terminated"][0]:
        status = simulator.state.status[0]
        event = simulator.instance(0).events[status["event"]]
        action = int(policy.act({}, simulator)[0])
        score = kept[-1].score[0].reshape(layers, experts)
        passed = event["layer"] + 1
        assert np.allclose(score[:passed], wanted[status["step"], :passed], rtol=1e-5, atol=1e-5)
        if status["step"] > 0:
            assert np.allclose(score[passed:], wanted[status["step"] - 1, passed:], rtol=1e-5, atol=1e-5)
        choice = plain_choice(score.reshape(-1), simulator)
        assert action == (simulator.num_candidates + choice if choice >= 0 else 0)
        decisions, bypasses = decisions + 1, bypasses + (choice < 0)
        simulator.step(np.array([action]))
    assert 0 < bypasses < decisions


def test_network_reads_nothing_that_is_to_come():
    made, generator = network(5, 6), torch.Generator().manual_seed(1)
    observed = torch.rand(1, 7, 5, 6, len(OBSERVED), generator=generator)
    changed = observed.clone()
    changed[:, 4, 2:] += 1
    changed[:, 5:] += 1
    with torch.no_grad():
        before, after = made(observed)[0], made(changed)[0]
    assert torch.equal(before[:4], after[:4])
    assert torch.equal(before[4, :2], after[4, :2])
    assert not torch.equal(before[4, 2], after[4, 2])
    assert not torch.equal(before[6, 0], after[6, 0])


def test_every_layer_tells_the_others():
    torch.manual_seed(0)
    made = network(5, 6).double()  # what is told twice over is small
    with torch.no_grad():
        made.cell *= 0.1  # nothing is clipped
        observed = torch.full((1, 7, 5, 6, len(OBSERVED)), 0.1, dtype=torch.float64)
        changed = observed.clone()
        changed[:, 0, 2] += 0.1
        differs = (made(observed) != made(changed))[0].any(dim=-1)
    assert differs[0].tolist() == [False, False, True, True, True]
    assert differs[1].tolist() == [False, True, True, True, True]
    assert differs[2:].all()


def test_observations_by_hand():
    simulator = load_scenario("v2-lite", prompt_tokens=4, output_tokens=2).simulator(1)
    simulator.reset([0])
    instance = simulator.instance(0)
    trace = instance.trace
    observed = observations(instance)
    assert observed.shape == (3, 26, 64, len(OBSERVED))
    experts, scores = trace.by_token(trace.experts), trace.by_token(trace.scores)
    used = np.bincount(experts[:4, 7].ravel(), minlength=64)
    assert np.allclose(observed[0, 7, :, 0], used / 4)
    assert np.allclose(observed[0, 7, :, 2], np.log2(4) / 4)
    assert (observed[1:, :, :, 2] == 0).all()
    assert np.allclose(observed[2, 7, experts[5, 7], 1], np.log(scores[5, 7] / scores[5, 7, -1]), atol=1e-5)
    used += np.bincount(experts[4:6, 7].ravel(), minlength=64)
    assert np.allclose(observed[2, 7, :, 3], 4 * used / 6)
    assert np.allclose(observed[2, 7, :, 5], 4 / np.sqrt(6))


def test_relatives_are_the_partners_of_the_law():
    law = routing_law("deepseek-v2-lite", num_layers=4)
    traces = [generate_trace(law, 1, 0, 256, seed=2**32 + seed) for seed in range(2)]
    share = torch.zeros(2, 256, 4, 64)
    for uses, trace in zip(share, traces, strict=True):
        uses.scatter_(2, torch.from_numpy(trace.by_token(trace.experts).astype(np.int64)), 1.0)
    parent, child = find_relatives(share)
    assert (parent[1:].numpy() == law.partner[1:]).mean() > 0.95
    assert (child[:-1].numpy() == np.argsort(law.partner[1:], axis=1)).mean() > 0.95


def test_one_layer_is_played_without_the_others():
    """It is not what the network was trained for; it still knows more than recency."""
    simulator = load_scenario("v2-lite-layer", output_tokens=128).simulator(26)
    hits = []
    for name in ("pretrained:v2-lite", "lru"):
        simulator.reset(range(26))
        make_policy(name, "expert-cache").replay(simulator)
        hits.append(simulator.metrics(np.arange(26))["hit_rate"].mean())
    assert hits[0] > 1.1 * hits[1]


def test_another_model_is_refused():
    simulator = load_scenario("tiny-moe").simulator(1)
    simulator.reset([0])
    with pytest.raises(HetgymError, match="trained on 26 layers of 64 experts; the scenario has 6 of 32"):
        UsePredictor("network", network().compiled()).reset(simulator)
    graphs = load_scenario("random").simulator(1)
    graphs.reset([0])
    with pytest.raises(HetgymError, match="expert-cache"):
        UsePredictor("network", network().compiled()).reset(graphs)


def test_no_checkpoint_is_an_error(tmp_path: Path):
    with pytest.raises(HetgymError, match="no checkpoint here"):
        make_policy(f"use-predictor:{tmp_path}")
