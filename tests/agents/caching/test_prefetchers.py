"""What is fetched early, decision by decision, beside plain definitions; and what it gains."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from hetgym.agents.heuristics.caching.names import combined_policy
from hetgym.agents.heuristics.caching.policy import CachePolicy
from hetgym.agents.heuristics.caching.predictors import LEARNERS, MAPS, RATE, Predictor, plan
from hetgym.agents.heuristics.caching.prefetchers import PREFETCHERS
from hetgym.compilation import handle_kernel, hold, inner
from hetgym.envs.core.scenario import load_scenario
from hetgym.envs.expert_cache.instance import Instance, build_instance
from hetgym.envs.expert_cache.rules import KIND, Items, Rules
from hetgym.envs.expert_cache.scenario import ExpertCacheScenario
from hetgym.envs.expert_cache.simulator import ExpertCacheSimulator
from hetgym.envs.expert_cache.state import ABSENT, PREFETCH, RESIDENT, World, episode_at
from hetgym.workloads.routing import DECODE, RoutingTrace, tiny_trace

SIZE = 10
"""Bytes of an expert; the link carries 2 byte/s."""


@dataclass(frozen=True)
class OneInstance:
    """Every episode plays the same."""

    given: Instance
    top_k: int
    layer: int | None = None
    varies: bool = False

    def layer_of(self, seed: int, episode: int) -> int | None:
        return self.layer

    def instance(self, seed: int, episode: int) -> Instance:
        return self.given

    def window(self, instance: Instance, seed: int, episode: int) -> tuple[int, int]:
        return 0, instance.num_events

    def accept(self, problem: Any) -> Instance:
        return self.given


def drawn_trace(seed: int, lengths: tuple[tuple[int, int], ...], layers: int, experts: int, top_k: int) -> RoutingTrace:
    """Tokens of a few kinds, each with experts of its own in each layer, and a token in four that goes elsewhere."""
    luck = np.random.default_rng(seed)
    habits = luck.random((4, layers, experts)).argsort(axis=2)[:, :, :top_k]
    rows, used = [], []
    for request, (prompt, output) in enumerate(lengths):
        kind = int(luck.integers(4))
        for phase, count in ((0, prompt), (1, output)):
            for step in range(count):
                kind = kind if luck.random() < 0.9 else int(luck.integers(4))
                for layer in range(layers):
                    rows.append((request, phase, step, layer))
                    strays = luck.random() < 0.25
                    used.append(luck.permutation(experts)[:top_k] if strays else habits[kind, layer])
    request, phase, step, layer = np.array(rows).T
    return RoutingTrace(
        model="drawn",
        num_layers=layers,
        num_experts=experts,
        top_k=top_k,
        request=request,
        phase=phase,
        step=step,
        layer=layer,
        experts=np.array(used),
        predicted=luck.integers(-1, experts, (len(rows), 2, top_k + 1)),
    )


def drawn_simulator(
    trace: RoutingTrace, batch: int = 1, layer: int | None = None, slots: int = 5, pools: int = 0, **rules: Any
) -> ExpertCacheSimulator:
    kinds = np.zeros(1, KIND)
    kinds["high_bytes"], kinds["low_bytes"], kinds["load_high"], kinds["load_low"] = SIZE, SIZE, 5.0, 5.0
    kinds["ssd_high"], kinds["ssd_low"], kinds["floor_high"], kinds["floor_low"] = 5.0, 5.0, 4.0, 4.0
    num_pools = pools or trace.num_layers
    capacity = np.full(num_pools, slots * SIZE * trace.num_layers // num_pools)
    kind = np.zeros(trace.num_layers * trace.num_experts, np.int32)
    items = Items(trace.num_layers, trace.num_experts, kinds, kind, capacity)
    instance = build_instance(trace, items, lambda tokens, *_: np.full(len(tokens), 3.0), batch, 2, layer=layer)
    given = {"decisions": ("prefetch",), "prefetch_depth": 4, "queue_limit": 6, "chunk": 2, **rules}
    return ExpertCacheSimulator(OneInstance(instance, trace.top_k, layer), items, Rules(**given), 1)


@dataclass
class Past:
    """The events that have begun, and what the plain definitions make of them."""

    simulator: ExpertCacheSimulator
    layers: list[int] = field(default_factory=list)
    used: list[list[int]] = field(default_factory=list)  # experts, in ascending order
    begins: list[int] = field(default_factory=list)  # the first event of each step
    weights: dict[tuple[int, int, int, int], np.float32] = field(default_factory=dict)
    maps: list[dict[int, list[int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.instance, self.items = self.simulator.instance(0), self.simulator.items
        self.experts, self.top_k = self.items.num_experts, self.instance.trace.top_k

    def of_event(self, event: int) -> tuple[int, list[int]]:
        first, end = self.instance.events["first"][event : event + 2]
        items = self.instance.entries["item"][first:end].tolist()
        return int(self.instance.events["layer"][event]), [item % self.experts for item in items]

    def see(self, event: int) -> None:
        """Goes on to an event."""
        while len(self.used) <= event:
            now = len(self.used)
            if self.instance.events["begins_step"][now]:
                if self.begins:
                    self.keep_map(now)
                self.begins.append(now)
            layer, used = self.of_event(now)
            self.learn_path(now, layer, used)
            self.layers.append(layer)
            self.used.append(used)

    # Rules: items, the first to be fetched first, without regard to what may be fetched

    def none(self, event: int) -> list[int]:
        return []

    def popular(self, event: int) -> list[int]:
        prompt = max(at for at in range(event + 1) if self.instance.events["begins_prompt"][at])
        steps = len({int(self.instance.events["step"][at]) for at in range(prompt, event + 1)})
        wanted: list[int] = []
        for layer in self.layers_ahead(event):
            counts = [
                sum(expert in self.used[at] for at in range(prompt, event + 1) if self.layers[at] == layer)
                for expert in range(self.experts)
            ]
            ranked = sorted(range(self.experts), key=lambda expert: -counts[expert])  # noqa: B023
            wanted += [layer * self.experts + expert for expert in ranked if counts[expert] > steps / 2]
        return wanted

    def gate(self, event: int) -> list[int]:
        distance = self.simulator.rules.prefetch_distance
        return [int(item) for row in self.instance.predicted[event][:distance] for item in row if item >= 0]

    def pre_gated(self, event: int) -> list[int]:
        wanted: list[int] = []
        for target in self.targets(event):
            layer, used = self.of_event(target)
            wanted += [layer * self.experts + expert for expert in used]
        return wanted

    def transition(self, event: int) -> list[int]:
        layer = [*self.layers_ahead(event), -1][0]
        scores = [0] * self.experts
        for at in range(1, event + 1):
            if self.layers[at] == layer:
                common = len(set(self.used[at - 1]) & set(self.used[event]))
                for expert in self.used[at]:
                    scores[expert] += common
        return self.likeliest(event, layer, scores)

    def path(self, event: int) -> list[int]:
        wanted: list[int] = []
        for target, layer in zip(self.targets(event), self.layers_ahead(event), strict=True):
            wanted += self.likeliest(event, layer, self.path_scores(target, layer, event))
        return wanted

    def nearest_map(self, event: int) -> list[int]:
        mine = self.pass_of(event)
        nearest, best = {}, 0.0
        for other in self.maps:
            cosines = [
                len(set(used) & set(other[layer])) / math.sqrt(len(used) * len(other[layer]))
                for layer, used in mine.items()
            ]
            if sum(cosines) > best:
                nearest, best = other, sum(cosines)
        wanted: list[int] = []
        for layer in self.layers_ahead(event):
            if nearest and layer > self.layers[event]:
                scores = [float(expert in nearest[layer]) for expert in range(self.experts)]
                wanted += self.likeliest(event, layer, scores)
        return wanted

    # What they are made of

    def targets(self, event: int) -> list[int]:
        single = self.simulator.rules.pool == "layer"
        farthest = 1 if single else min(self.simulator.rules.prefetch_distance, self.items.num_layers)
        return [event + ahead for ahead in range(1, farthest + 1) if event + ahead < self.instance.num_events]

    def layers_ahead(self, event: int) -> list[int]:
        return [int(self.instance.events["layer"][target]) for target in self.targets(event)]

    def likeliest(self, event: int, layer: int, scores: Any) -> list[int]:
        ranked = sorted(range(self.experts), key=lambda expert: -scores[expert])[: len(self.used[event])]
        return [layer * self.experts + expert for expert in ranked if scores[expert] > 0]

    def sources(self, target: int) -> list[tuple[int, int]]:
        period = 1 if self.simulator.rules.pool == "layer" else self.items.num_layers
        found = [(0, target - 1), (1, target - 2)] + [(2, target - period)] * (period > 2)
        return [(relation, source) for relation, source in found if source >= 0]

    def path_scores(self, target: int, layer: int, last: int) -> list[float]:
        scores = [0.0] * self.experts
        for relation, source in self.sources(target):
            if source <= last:
                for before in self.used[source]:
                    for expert in range(self.experts):
                        weight = self.weights.get((relation, layer, before, expert), np.float32(0))
                        scores[expert] += 1 / math.sqrt(len(self.used[source])) * float(weight)
        return scores

    def learn_path(self, event: int, layer: int, used: list[int]) -> None:
        scores = self.path_scores(event, layer, event - 1)
        odds = (self.experts - self.top_k) / self.top_k
        errors = [-1 / (1 + odds * math.exp(-score)) + (expert in used) for expert, score in enumerate(scores)]
        for relation, source in self.sources(event):
            for before in self.used[source]:
                for expert in range(self.experts):
                    key = relation, layer, before, expert
                    change = np.float32(RATE / math.sqrt(len(self.used[source])) * errors[expert])
                    self.weights[key] = self.weights.get(key, np.float32(0)) + change

    def pass_of(self, event: int) -> dict[int, list[int]]:
        """The experts of each layer in the pass up to an event."""
        return {self.layers[at]: self.used[at] for at in range(self.begins[-1], event + 1)}

    def keep_map(self, now: int) -> None:
        self.maps.append(self.pass_of(now - 1))


def allowed(simulator: ExpertCacheSimulator, item: int) -> bool:
    """Whether an item may be fetched early now and would be on its way in time, from the state."""
    status, law = simulator.state.status[0], simulator.rules
    places, events = simulator.state.places[0], simulator.instance(0).events
    experts, event = simulator.items.num_experts, int(status["event"])
    pool_number = item // experts if len(simulator.items.capacity) > 1 else 0
    pool = simulator.state.pools[0][pool_number]
    members = range(len(places) - len(simulator.items.capacity))
    in_pool = [other for other in members if len(simulator.items.capacity) == 1 or other // experts == pool_number]
    can_go = any(places[other]["state"] == RESIDENT and places[other]["wave"] != status["wave"] for other in in_pool)
    following = events["layer"][event + 1 : event + 1 + (1 if law.pool == "layer" else law.prefetch_distance)]
    following = following[: int(status["end_event"]) - event - 1]
    if item // experts not in following or places[item]["state"] != ABSENT:
        return False
    if not (pool["free"] >= SIZE or can_go) or pool["capacity"] - pool["in_flight"] - SIZE < pool["reserve"]:
        return False
    queue = simulator.state.queue[0][: int(status["queue_length"])]
    if len(queue) >= law.queue_limit:
        return False
    end = max(status["device_free"], status["start"], status["now"])
    begin = max(status["link_free"], status["now"]) + sum(queue["chunks"] * queue["chunk_seconds"])
    distance = following.tolist().index(item // experts) + 1
    dense = 0.0 if law.early_router else 3.0
    return bool(begin < end + (distance - 1) * (end - status["end"]) + dense)


def decisions(simulator: ExpertCacheSimulator, rule: str) -> tuple[int, int]:
    """Plays an episode beside the plain definition; returns how many prefetches and refusals there were."""
    simulator.reset([0])
    policy, past = CachePolicy(rule, "recency", rule), Past(simulator)
    policy.reset(simulator)
    fetched = refused = 0
    while not simulator.outcome["terminated"][0]:
        action = policy.act({}, simulator)
        if simulator.state.status[0]["kind"] == PREFETCH:
            event = int(simulator.state.status[0]["event"])
            past.see(event)
            wanted = getattr(past, rule.replace("-", "_"))(event)
            possible = [item for item in wanted if allowed(simulator, item)]
            assert action[0] == (simulator.num_candidates + possible[0] if possible else 0)
            fetched += bool(possible)
            refused += not possible
        simulator.step(action)
        assert not simulator.outcome["invalid_action"][0]
    return fetched, refused


SETTINGS: dict[str, dict[str, Any]] = {
    "next layer": {},
    "three layers": {"prefetch_distance": 3, "pools": 1},
    "more than there are": {"prefetch_distance": 9},
    "batch": {"batch": 3, "slots": 7, "prefetch_distance": 2},
    "early router, victims": {"early_router": True, "decisions": ("evict", "prefetch"), "prefetch_distance": 2},
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("rule", PREFETCHERS)
def test_each_prefetch_is_what_the_rule_says(rule: str, setting: str) -> None:
    trace = drawn_trace(3, ((3, 80), (0, 60), (4, 50)), layers=4, experts=9, top_k=2)
    fetched, refused = decisions(drawn_simulator(trace, **SETTINGS[setting]), rule)
    assert fetched > 20 or rule == "none"
    assert refused > 20


@pytest.mark.parametrize("rule", ["transition", "path"])
@pytest.mark.parametrize(("layers", "layer"), [(1, None), (2, None), (3, 2), (3, 0)])
def test_few_layers(rule: str, layers: int, layer: int | None) -> None:
    trace = drawn_trace(5, ((3, 120), (0, 90)), layers=layers, experts=9, top_k=2)
    pool = {"pool": "layer"} if layer is not None else {}
    fetched, _ = decisions(drawn_simulator(trace, layer=layer, **pool), rule)
    assert fetched > 10


@inner
def _foretell_all(world: World, predictor: Predictor, learner: int, wanted: Any) -> None:
    episode = episode_at(world, 0)
    status = episode.status[0]
    for event in range(status.first_event, status.end_event):
        status.event, status.step = event, episode.events[event].step
        plan(predictor, episode, 0, learner)
        for position in range(predictor.progress[0].length):
            wanted[event, position] = predictor.plan[0, position]


@handle_kernel
def foretell_all(handle: Any, predictor: Any, learner: int, wanted: Any) -> None:
    _foretell_all(handle.value, predictor.value, learner, wanted)


def foretold(simulator: ExpertCacheSimulator, learner: str) -> Any:
    """What is foretold in each event, int (M, P), -1 for nothing more."""
    simulator.reset([0])
    predictor = Predictor.of(simulator, learner)
    wanted = np.full((simulator.instance(0).num_events, predictor.plan.shape[1]), -1)
    foretell_all(simulator.handle, hold(predictor), LEARNERS.index(learner), wanted)
    return wanted


def test_a_full_store_replaces_the_nearest_map() -> None:
    layers, experts, steps = 3, 20, MAPS + 400
    trace = drawn_trace(7, ((0, steps),), layers, experts, top_k=2)
    simulator = drawn_simulator(trace, prefetch_distance=2)
    wanted = foretold(simulator, "nearest-map")
    used = np.zeros((steps, layers, experts))
    np.put_along_axis(used, trace.by_token(trace.experts).astype(int), 1, axis=2)
    maps = np.zeros((0, layers, experts))
    replaced = set()
    for step in range(steps):
        similarity = np.zeros(len(maps))
        for layer in range(layers):
            similarity += (maps[:, layer] @ used[step, layer]) / 2
            following = []
            if len(maps) and similarity.max() > 0:
                for later in range(layer + 1, layers):
                    following += (later * experts + np.flatnonzero(maps[similarity.argmax(), later])).tolist()
            row = wanted[step * layers + layer]
            assert row[row >= 0].tolist() == following
        if len(maps) < MAPS:
            maps = np.concatenate([maps, used[step : step + 1]])
        else:
            replaced.add(int(similarity.argmax()))
            maps[similarity.argmax()] = used[step]
    assert len(replaced) > 50


def test_what_is_learnt_beats_popularity_on_a_real_trace() -> None:
    trace = tiny_trace()
    trace = trace.select(trace.request_ids[:40])
    wanted: dict[str, Any] = {}
    simulator = drawn_simulator(trace, slots=8)
    simulator.reset([0])
    instance, per_layer = simulator.instance(0), trace.num_experts
    for learner in LEARNERS:
        wanted[learner] = foretold(simulator, learner)
    wanted["gate"] = instance.predicted[:, 0]
    popular = np.full((instance.num_events, trace.top_k), -1)
    counts = np.zeros((trace.num_layers, per_layer))
    decodes, used = instance.events["is_decode"][:-1], []
    for event in range(instance.num_events):
        first, end = instance.events["first"][event : event + 2]
        used.append(instance.entries["item"][first:end])
        layer = instance.events["layer"][event]
        counts[:] = 0 if instance.events["begins_prompt"][event] else counts
        counts[layer, used[-1] % per_layer] += 1
        if layer + 1 < trace.num_layers:
            popular[event] = (layer + 1) * per_layer + np.argsort(-counts[layer + 1])[: trace.top_k]
    wanted["popular"] = popular
    events = np.flatnonzero(decodes[:-1] & (instance.events["layer"][:-2] + 1 < trace.num_layers))
    recall = {
        rule: np.mean([np.isin(used[event + 1], items[event][: trace.top_k]).mean() for event in events])
        for rule, items in wanted.items()
    }
    assert trace.phase.max() == DECODE
    assert recall["popular"] + 0.05 < min(recall[rule] for rule in ("transition", "path", "nearest-map", "gate"))
    assert recall["path"] > recall["transition"]


def speed(rule: str, **settings: Any) -> float:
    scenario = load_scenario("v2-lite", decisions="evict,prefetch", output_tokens=32, **settings)
    assert isinstance(scenario, ExpertCacheScenario)
    simulator = scenario.simulator(2)
    simulator.reset([0, 1])
    combined_policy(rule).replay(simulator)
    return float(simulator.metrics(np.arange(2))["tokens_per_second"].mean())


def test_knowing_the_path_gains_where_the_link_has_time() -> None:
    assert speed("lru+pre-gated", link=400e9) > 1.1 * speed("lru", link=400e9)


def test_useless_prefetches_cost_time() -> None:
    """Experts that the next event does not use, on a slow link, while the victims are the same rule's."""

    def played(fetches: bool) -> float:
        trace = drawn_trace(3, ((3, 40), (0, 25)), layers=4, experts=9, top_k=2)
        simulator = drawn_simulator(trace)
        simulator.reset([0])
        while not simulator.outcome["terminated"][0]:
            event = int(simulator.state.status[0]["event"])
            layer, used = Past(simulator).of_event(min(event + 1, simulator.instance(0).num_events - 1))
            useless = [layer * 9 + expert for expert in range(9) if expert not in used]
            possible = [item for item in useless if allowed(simulator, item)]
            action = simulator.num_candidates + possible[0] if fetches and possible else 0
            simulator.step(np.array([action]))
            assert not simulator.outcome["invalid_action"][0]
        assert bool(simulator.state.status[0]["prefetches"]) == fetches
        return float(simulator.metrics(np.arange(1))["tokens_per_second"][0])

    assert played(True) < 0.95 * played(False)
