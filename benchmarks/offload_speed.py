"""Decisions per CPU second of offloading, through Python, with full observation and random allowed actions.

    python benchmarks/offload_speed.py [--peer FOLDER]

Choosing the actions is not counted: it is the policy's time. The replay plays a simple policy without observations, and
counts it. FOLDER is a checkout of mec_morl_multipolicy by gracefulning, MIT, on GitHub, the published environment of
which ``mec-gmorl`` has the decision process; without it, only hetgym is measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np

import hetgym  # noqa: F401  (registers the environments)
from hetgym.agents import make_policy
from hetgym.envs import load_scenario

ENV_ID = "hetgym/Offload-v0"
BATCHES = (
    ("mec-gmorl", 64), ("mec-gmorl", 1024), ("mec-partial", 64), ("mec-dense", 64), ("uav-relay", 64),
    ("split-mobile", 64), ("llm-edge", 64), ("mec-droo", 64), ("mec-lydroo", 64),
)  # fmt: skip
SECONDS = 0.2
"""CPU time of a stretch, at least; a stretch is as long as an episode of the first environment, or as several."""

REPEATS = 5
SLOTS = 100
"""Of an episode of the published environment."""

Stretches = Iterator[tuple[int, float]]
"""Decisions and CPU seconds, on and on."""


def fastest(stretches: Stretches) -> float:
    """Returns decisions per CPU second of the best of several stretches; the one before them compiles."""
    next(stretches)
    return max(decisions / seconds for decisions, seconds in (next(stretches) for _ in range(REPEATS)))


def batched(scenario: str, num_envs: int) -> Stretches:
    """Plays the vector environment; beginning the episodes that follow those that end counts."""
    env = gymnasium.make_vec(ENV_ID, num_envs=num_envs, vectorization_mode="vector_entry_point", scenario=scenario)
    observation, _ = env.reset(seed=0)
    noise = np.random.default_rng(0).random((16, *observation["action_mask"].shape), dtype=np.float32)
    while True:
        seconds, steps, has_ended = 0.0, 0, False
        while seconds < SECONDS or not has_ended:
            actions = (observation["action_mask"] * noise[steps % 16]).argmax(axis=1)
            seconds -= time.process_time()
            observation, _, terminated, *_ = env.step(actions)
            seconds += time.process_time()
            has_ended = terminated[0]
            steps += 1
        yield steps * num_envs, seconds


def single(scenario: str, copy: bool) -> Stretches:
    """Plays one environment through ``gymnasium.make``; resets count."""
    env = gymnasium.make(ENV_ID, scenario=scenario, copy=copy)
    env.reset(seed=0)
    generator = np.random.default_rng(0)
    while True:
        seconds, steps = 0.0, 0
        while seconds < SECONDS:
            seconds -= time.process_time()
            observation, _ = env.reset()
            seconds += time.process_time()
            terminated = False
            while not terminated:
                action = int(generator.choice(np.flatnonzero(observation["action_mask"])))
                seconds -= time.process_time()
                observation, _, terminated, _, _ = env.step(action)
                seconds += time.process_time()
                steps += 1
        yield steps, seconds


def replayed(scenario: str, policy: str) -> Stretches:
    """Plays a policy in 64 episodes side by side, without observations."""
    simulator, player = load_scenario(scenario).simulator(64), make_policy(policy)
    simulator.observes = False
    simulator.reset(range(64))
    while True:
        decisions, begin = 0, time.process_time()
        while time.process_time() < begin + SECONDS:
            player.reset(simulator)
            while not simulator.outcome["terminated"].all():
                decisions += int((~simulator.outcome["terminated"]).sum())
                simulator.step(player.act(simulator.observation, simulator))
            simulator.reset_to_next()
        yield decisions, time.process_time() - begin


def published(folder: Path) -> Stretches:
    """Plays the published environment with five edges; resets count."""
    spec = importlib.util.spec_from_file_location("MEC_env", folder / "env" / "MEC_env.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    env = module.MEC_Env(conf_file=str(folder / "env" / "config1.json"), conf_name="multi-edge", w=0.5, edge_num=5)
    generator = np.random.default_rng(0)
    while True:
        seconds, steps = 0.0, 0
        while seconds < SECONDS:
            actions = generator.integers(env.action_space, size=SLOTS).tolist()
            begin = time.process_time()
            env.reset()
            for action in actions:
                env.step(action)
            seconds += time.process_time() - begin
            steps += SLOTS
        yield steps, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, metavar="FOLDER", help="a checkout of mec_morl_multipolicy")
    peer: Path | None = parser.parse_args().peer
    if peer is not None and not (peer / "env" / "MEC_env.py").is_file():
        parser.error(f"--peer: {peer}: must be a checkout of mec_morl_multipolicy, with env/MEC_env.py")
    print(f"Decisions per CPU second, the best of {REPEATS} stretches; load average {os.getloadavg()[0]:.1f}")
    theirs = None
    if peer is not None:
        theirs = fastest(published(peer))
        print(f"{'published':14}{'5 edges':30}{theirs:12,.0f}  a step a slot, also when there is nothing to decide")
    runs = [
        ("mec-gmorl", "gymnasium.make", single("mec-gmorl", True)),
        ("mec-gmorl", "gymnasium.make, copy=False", single("mec-gmorl", False)),
        ("mec-gmorl", "batch 64, replay of all-edge", replayed("mec-gmorl", "all-edge")),
        *((scenario, f"batch {num_envs}", batched(scenario, num_envs)) for scenario, num_envs in BATCHES),
    ]
    for scenario, how, stretches in runs:
        speed = fastest(stretches)
        ratio = f"  {speed / theirs:,.0f} x published" if theirs and scenario == "mec-gmorl" else ""
        print(f"{scenario:14}{how:30}{speed:12,.0f}{ratio}", flush=True)


if __name__ == "__main__":
    main()
