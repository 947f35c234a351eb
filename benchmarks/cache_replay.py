"""A cache with link and stall timing: whole traces replayed, and decisions with observations, per CPU second.

    python benchmarks/cache_replay.py

Replays are in million expert requests per CPU second. The first stream is one of single accesses (Zipf, exponent 0.8,
a million accesses to 2048 items, of which 256 are held), replayed by libcachesim, which counts hits only, beside it;
its time includes reading the file. The others are traces of models, with the experts of a token requested together.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
from cache_speed import ACCESSES, HELD, ITEMS, RECORD, libcachesim, play_theirs, zipf

import hetgym  # noqa: F401  (registers the environments)
from hetgym.agents.heuristics.caching.policy import CachePolicy
from hetgym.envs import load_scenario
from hetgym.envs.expert_cache.instance import Instance, build_instance
from hetgym.envs.expert_cache.rules import KIND, Items, Rules
from hetgym.envs.expert_cache.simulator import ExpertCacheSimulator
from hetgym.workloads.routing import RoutingTrace

REPEATS = 7


def fastest(play: Callable[[], object]) -> float:
    """Returns the CPU seconds of the fastest of several runs; the first compiles."""
    seconds = []
    for _ in range(1 + REPEATS):
        begin = time.process_time()
        play()
        seconds.append(time.process_time() - begin)
    return min(seconds[1:])


class OneTrace:
    """Every episode plays one instance."""

    varies = False

    def __init__(self, instance: Instance) -> None:
        self.given, self.top_k = instance, instance.trace.top_k

    def layer_of(self, seed: int, episode: int) -> None: ...

    def instance(self, seed: int, episode: int) -> Instance:
        return self.given

    def window(self, instance: Instance, seed: int, episode: int) -> tuple[int, int]:
        return 0, instance.num_events

    def accept(self, problem: Instance) -> Instance:
        return problem


def stream_of_single_accesses() -> Instance:
    """Returns the Zipf stream: one layer, one item a token, loads of 100 us and computations of 10 us."""
    items = zipf()
    kinds = np.zeros(1, KIND)
    kinds["high_bytes"] = kinds["low_bytes"] = 1
    kinds["load_high"], kinds["floor_high"] = 1e-4, 1e-5
    count = len(items)
    trace = RoutingTrace(
        model="zipf",
        num_layers=1,
        num_experts=ITEMS,
        top_k=1,
        request=np.zeros(count, np.int64),
        phase=np.ones(count, np.int8),
        step=np.arange(count, dtype=np.int32),
        layer=np.zeros(count, np.int16),
        experts=items.astype(np.int16)[:, None],
    )
    held = Items(1, ITEMS, kinds, np.zeros(ITEMS, np.int32), np.array([HELD]))
    return build_instance(trace, held, lambda tokens, *_: np.full(len(tokens), 1e-5))


def replay_seconds(simulator: ExpertCacheSimulator, policy: CachePolicy) -> float:
    """Returns the CPU seconds of a replay, without the drawing of the trace."""
    simulator.observes = simulator.logs = False
    seconds = []
    for _ in range(1 + REPEATS):
        simulator.reset([0])
        policy.reset(simulator)
        begin = time.process_time()
        policy.replay(simulator)
        seconds.append(time.process_time() - begin)
    return min(seconds[1:])


def replays() -> None:
    print(f"{'trace':28} {'policy':10} {'M requests/s':>12}  {'hit rate':>8}")
    instance = stream_of_single_accesses()
    for name in ("lru", "lfru"):
        simulator = ExpertCacheSimulator(OneTrace(instance), instance.items, Rules(), 1)
        show("zipf", name, simulator)
    if libcachesim is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "accesses"
            accesses = np.zeros(ACCESSES, RECORD)
            accesses["time"], accesses["item"], accesses["size"] = np.arange(ACCESSES), zipf() + 1, 1
            accesses["next"] = -2
            accesses.tofile(path)
            speed = ACCESSES / fastest(lambda: play_theirs("LRU", path)) / 1e6
        print(f"{'zipf, hits only':28} {'libcachesim':10} {speed:12.1f}")
    for name in ("v2-lite", "qwen3-30b", "mixtral-hybrid"):
        scenario = load_scenario(name, output_tokens=1024, prompt_tokens=0, cache_fraction=0.5, decisions="evict")
        simulator = scenario.simulator(1)
        for policy in ("lru", "lfru", "belady"):
            show(scenario.name, policy, simulator)


def show(trace: str, name: str, simulator: ExpertCacheSimulator) -> None:
    rules = {"lru": "recency"}
    seconds = replay_seconds(simulator, CachePolicy(name, rules.get(name, name)))
    entries = int(simulator.state.status["entries"][0])
    print(f"{trace:28} {name:10} {entries / seconds / 1e6:12.1f}  {simulator.metrics_of(0)['hit_rate']:8.4f}")


def decisions(scenario: str, num_envs: int, **settings: object) -> float:
    """Returns decisions per CPU second of the vector environment with full observation, the best of several."""
    env = gymnasium.make_vec(
        "hetgym/ExpertCache-v0",
        num_envs=num_envs,
        vectorization_mode="vector_entry_point",
        scenario=scenario,
        **settings,
    )
    generator = np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    noise = generator.random((16, *observation["action_mask"].shape), dtype=np.float32)
    speeds = []
    for _ in range(1 + REPEATS):
        seconds = 0.0
        for step in range(500):
            actions = (observation["action_mask"] * noise[step % 16]).argmax(axis=1)
            seconds -= time.process_time()
            observation, *_ = env.step(actions)
            seconds += time.process_time()
        speeds.append(500 * num_envs / seconds)
    return max(speeds[1:])


def main() -> None:
    replays()
    print(f"\n{'decisions with observations':40} {'M/s':>6}")
    for scenario in ("v2-lite", "qwen3-30b", "qwen3-30b-prefetch"):
        for num_envs in (1, 64):
            speed = decisions(scenario, num_envs, output_tokens=1024, drawn=1)
            print(f"{scenario + f', batch {num_envs}':40} {speed / 1e6:6.2f}")


if __name__ == "__main__":
    main()
