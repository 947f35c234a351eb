"""Cache policies beside what they are said to do: algorithms follow the timeline, and the least score goes."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from hetgym.agents import make_policy
from hetgym.agents.heuristics.caching.automata import ALGORITHMS
from hetgym.agents.heuristics.caching.evictors import EVICTORS, SCORED
from hetgym.agents.heuristics.caching.policy import CachePolicy
from hetgym.envs.core.scenario import load_scenario
from hetgym.envs.expert_cache.state import EVICT, INTERVALS, PREFETCH_EVICT, RESIDENT

_spec = importlib.util.spec_from_file_location("plain_algorithms", Path(__file__).with_name("plain_algorithms.py"))
plain_algorithms = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(plain_algorithms)

SETTINGS = {
    "per-layer": {},
    "global": {"budget": "global"},
    "warm": {"start": "warm"},
    "prefetch": {"decisions": "evict,prefetch", "recall": 0.6, "budget": "global"},
    "waves": {"prefill_chunk": 0, "prompt_tokens": 40},
    "low": {"decisions": "evict,miss", "output_tokens": 20},
}


def simulator(num_envs=1, **settings):
    scenario = load_scenario("v2-lite", **{"output_tokens": 4, "prompt_tokens": 4, "prefill_chunk": 1, **settings})
    simulator = scenario.simulator(num_envs)
    simulator.reset(np.arange(num_envs))
    return simulator


def policy(evict, settings):
    return CachePolicy(evict, evict, "gate" if "recall" in settings else "none", "thresholds")


def play(simulator, chooses, on_decision):
    """Plays the first episode to its end; calls back before each decision is taken."""
    chooses.reset(simulator)
    while not simulator.outcome["terminated"][0]:
        actions = chooses.act(None, simulator)
        on_decision(int(actions[0]))
        simulator.step(actions)
        assert not simulator.outcome["invalid_action"][0]


class Follower:
    """Plain algorithms, one for each pool, that are told what the timeline says."""

    def __init__(self, simulator, algorithm):
        self.simulator = simulator
        items = simulator.items
        self.per_pool = items.num_items // len(items.capacity)
        self.plain = [plain_algorithms.PLAIN[algorithm](int(size), None) for size in items.capacity]
        self.read = 0
        if simulator.rules.start == "warm":
            for pool, room in enumerate(items.capacity.tolist()):
                size = int(items.kinds["high_bytes"][0])
                for item in range(pool * self.per_pool, pool * self.per_pool + room // size):
                    self.insert(item, size)

    def of(self, item):
        return self.plain[item // self.per_pool]

    def insert(self, item, size):
        if isinstance(self.of(item), plain_algorithms.TwoLists):
            self.of(item).recall(item)  # a ghost has the size that it had
        self.of(item).size[item] = size
        self.of(item).insert(item)

    def catch_up(self):
        """Reads what is new; algorithms are told of hits and late entries in the order of the event's entries."""
        length = int(self.simulator.state.status[0]["log_length"])
        new = [
            (*INTERVALS[row["interval"]], int(row["event"]), int(row["item"]), int(row["bytes"]), int(row["buffer"]))
            for row in self.simulator.state.log[0][self.read : length]
        ]
        self.read = length
        for lane, what, event, item, size, buffer in new:
            if what == "dense":
                found = [
                    row[3]
                    for row in new
                    if row[1] in ("hit", "hit-low", "late") and row[0] == "device" and row[2] == event
                ]
                for used in sorted(found):
                    self.of(used).hit(used)
            elif lane == "evict":
                self.of(item).evict(item)
            elif lane == "queue" or (lane == "link" and what.startswith("demand") and buffer < 0):
                self.insert(item, size)

    def victim(self):
        status, places = self.simulator.state.status[0], self.simulator.state.places[0]
        begin = int(status["pool"]) * self.per_pool
        pool = range(begin, begin + self.per_pool)
        evictable = {
            item for item in pool if places[item]["state"] == RESIDENT and places[item]["wave"] != status["wave"]
        }
        return self.plain[int(status["pool"])].victim(int(status["incoming"]), evictable)


CASES = [("arc", setting) for setting in SETTINGS] + [
    (name, setting)
    for name in ALGORITHMS
    for setting in ("waves", "prefetch")
    if name not in ("arc", "lecar", "random")
]


@pytest.mark.parametrize(("algorithm", "setting"), CASES)
def test_algorithms_follow_what_happens(algorithm, setting):
    played = simulator(**SETTINGS[setting])
    follower = Follower(played, algorithm)
    count = 0

    def check(choice):
        nonlocal count
        if played.state.status[0]["kind"] in (EVICT, PREFETCH_EVICT):
            follower.catch_up()
            assert choice - played.num_candidates == follower.victim()
            count += 1

    play(played, policy(algorithm, SETTINGS[setting]), check)
    assert count > 100


class History:
    """What has been used so far, from the list of events, as plain numbers."""

    def __init__(self, simulator):
        self.status = simulator.state.status[0]
        instance, places = simulator.instance(0), simulator.state.places[0]
        self.items, self.places, self.events = simulator.items, places, instance.events
        now = int(self.status["event"])
        self.step = int(self.events["step"][now])
        self.latent = simulator.latent(0)
        self.here = int(self.events["layer"][now])
        begins = np.flatnonzero(self.events["begins_prompt"][: now + 1])
        self.prompt_event = int(begins[-1])
        self.steps = self.step - int(self.events["step"][self.prompt_event]) + 1
        self.used = {}
        for event in range(now + 1):
            for x in range(int(self.events["first"][event]), int(self.events["first"][event + 1])):
                entry = instance.entries[x]
                item = int(entry["item"])
                # A miss of this event counts once it has been served.
                if event < now or x < self.status["entry"] or (places[item]["state"] == RESIDENT):
                    self.used.setdefault(item, []).append((event, int(self.events["step"][event]), entry))
        self.all_uses = np.bincount(instance.entries["item"], minlength=self.items.num_items)
        event_of = np.repeat(np.arange(instance.num_events), np.diff(instance.events["first"]))
        self.later = np.full(self.items.num_items, 10**9)
        np.minimum.at(self.later, instance.entries["item"], np.where(event_of > now, event_of, 10**9))

    def score(self, rule, item):
        uses = self.used.get(item, [])
        in_prompt = sum(event >= self.prompt_event for event, _, _ in uses)
        tokens = sum(int(entry["tokens"]) for event, _, entry in uses if event >= self.prompt_event)
        age = self.step - uses[-1][1] if uses else 10**6
        recent = sum(float(entry["weight"]) * 0.5 ** (self.step - step) for _, step, entry in uses)
        layer, layers = item // self.items.num_experts, self.items.num_layers
        distance = (layer - self.here - 1) % layers + 1
        share = in_prompt / self.steps
        high = 0.0 if self.places[item]["is_low"] else share
        late = 1 - age / self.steps if in_prompt else 0.0
        return {
            "frequency": in_prompt,
            "token-frequency": tokens,
            "lfru": in_prompt / max(age, 1),
            "least-stale": float(age == 0),
            "mrs": recent,
            "hobbit": (late + share + high + 1 - distance / layers) / 4,
            "moe-infinity": (1 - layer / layers) * (share + 1e-6) * (len(uses) + 1e-6),
            "finemoe": recent * len(uses),
            "hottest": self.all_uses[item],
            "belady": -self.later[item],
            "belady-bypass": -self.later[item],
            "latent": self.expected(layer)[item] if rule == "latent" else None,
        }[rule]

    def expected(self, layer):
        """What the routers' state told at the layer's last step of this prompt."""
        steps = int(self.status["prompt_step"]) + 1 - (layer > self.here)
        return self.latent[self.step - (layer > self.here)] if steps else np.full(self.items.num_items, 6 / 64)


@pytest.mark.parametrize("rule", [rule for rule in SCORED if rule != "recency"])
@pytest.mark.parametrize("settings", [{"budget": "global"}, {"decisions": "evict,miss", "ways": "load,load-low"}])
def test_the_least_score_goes(rule, settings):
    # Tokens that are prefilled one by one are events of their own.
    together = {"prefill_chunk": 2} if rule == "token-frequency" else {}
    played = simulator(requests=2, output_tokens=4, cache_fraction=0.15, **settings, **together)
    count = 0

    def check(choice):
        nonlocal count
        if played.state.status[0]["kind"] != EVICT:
            return
        count += 1
        if count % 20:
            return
        history, status, places = History(played), played.state.status[0], played.state.places[0]
        per_pool = played.items.num_items // len(played.items.capacity)
        pool = range(int(status["pool"]) * per_pool, (int(status["pool"]) + 1) * per_pool)
        scores = {
            item: history.score(rule, item)
            for item in pool
            if places[item]["state"] == RESIDENT and places[item]["wave"] != status["wave"]
        }
        least = min(scores.values())
        if choice == 0:
            assert rule in ("hottest", "belady-bypass", "latent")
            # The others look at the misses that follow as well.
            assert rule != "hottest" or history.score(rule, int(status["incoming"])) <= least
        else:
            assert scores[choice - played.num_candidates] == pytest.approx(least, rel=1e-4, abs=1e-12)

    play(played, policy(rule, settings), check)
    assert count > 100


def test_fate_spares_shallow_layers():
    played = simulator(budget="global", output_tokens=8)
    lost = []

    def check(choice):
        lost.append(choice - played.num_candidates)

    play(played, policy("fate", {}), check)
    assert len(lost) > 300
    assert min(lost) >= 4 * played.items.num_experts


@pytest.mark.parametrize("evict", EVICTORS)
def test_replay_is_what_step_by_step_gives(evict):
    settings = {"decisions": "evict,prefetch", "recall": 0.6, "start": "warm"}
    chosen = policy(evict, settings)
    at_once = simulator(2, **settings)
    chosen.replay(at_once)
    stepwise = simulator(2, **settings)
    chosen.reset(stepwise)
    while not stepwise.outcome["terminated"].all():
        stepwise.step(chosen.act(None, stepwise))
    rows = np.arange(2)
    ours, theirs = stepwise.metrics(rows), at_once.metrics(rows)
    assert set(ours) == set(theirs)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_lru_evicts_what_the_environment_would():
    for settings in ({}, {"budget": "global", "start": "warm"}, SETTINGS["waves"]):
        figures = []
        for evict in ("lru", "recency"):
            played = simulator(**settings)
            policy(evict, settings).replay(played)
            figures.append(played.metrics(np.arange(1)))
        assert figures[0]["stall"] == figures[1]["stall"]


def test_load_on_demand_keeps_nothing_in_a_pool_of_one_token():
    """What it loads while there is room, k experts of the first layer, is all that it ever finds."""
    played = simulator(budget="global", cache_fraction=None, cache_slots=6 / 26, prefill_chunk=1)
    make_policy("load-on-demand", "expert-cache").replay(played)
    log, entries = played.metrics(np.arange(1)), played.instance(0).entries
    kept = set(entries["item"][:6].tolist())
    hits = int(np.isin(entries["item"], list(kept)).sum()) - 6
    assert len(kept) == 6
    assert log["hit_rate"][0] == pytest.approx(hits / len(entries))
    assert log["uploads"][0] == len(entries) - hits


def test_ktransformers_never_loads():
    played = simulator(start="warm", decisions="evict,miss")
    make_policy("ktransformers", "expert-cache").replay(played)
    figures, entries = played.metrics(np.arange(1)), played.instance(0).entries
    held = entries["item"] % 64 < 16
    assert figures["hit_rate"][0] == pytest.approx(held.mean())
    assert figures["on_cpu"][0] == (~held).sum()
    assert figures["uploads"][0] == 0
