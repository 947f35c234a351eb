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
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium
import numpy as np
from rich.console import Console
from rich.table import Table

import hetgym  # noqa: F401  (registers the environments)
from hetgym.agents import make_policy
from hetgym.envs import load_scenario

ENV_ID = "hetgym/Offload-v0"
BATCHES = (
    ("mec-gmorl", 64), ("mec-gmorl", 1024), ("mec-partial", 64), ("mec-dense", 64), ("uav-relay", 64),
    ("split-mobile", 64), ("llm-edge", 64), ("mec-droo", 64), ("mec-lydroo", 64),
)  # fmt: skip
DECISIONS = 64_000
EPISODES = 40
SLOTS = 100
REPEATS = 5

Stretch = tuple[int, float]
"""Decisions and CPU seconds."""


def fastest(stretches: Iterator[Stretch]) -> float:
    """Returns decisions per CPU second of the best of several stretches; the one before them compiles."""
    next(stretches)
    return max(decisions / seconds for decisions, seconds in (next(stretches) for _ in range(REPEATS)))


def batched(scenario: str, num_envs: int) -> Iterator[Stretch]:
    """Plays the vector environment on and on; what follows an episode that ends is begun, which counts."""
    env = gymnasium.make_vec(ENV_ID, num_envs=num_envs, vectorization_mode="vector_entry_point", scenario=scenario)
    observation, _ = env.reset(seed=0)
    noise = np.random.default_rng(0).random((16, *observation["action_mask"].shape), dtype=np.float32)
    steps = DECISIONS // num_envs
    while True:
        seconds = 0.0
        for step in range(steps):
            actions = (observation["action_mask"] * noise[step % 16]).argmax(axis=1)
            seconds -= time.process_time()
            observation, *_ = env.step(actions)
            seconds += time.process_time()
        yield steps * num_envs, seconds


def single(scenario: str, copy: bool) -> Iterator[Stretch]:
    """Plays episodes of one environment through ``gymnasium.make``, resets included."""
    env = gymnasium.make(ENV_ID, scenario=scenario, copy=copy)
    env.reset(seed=0)
    generator = np.random.default_rng(0)
    while True:
        seconds, steps = 0.0, 0
        for _ in range(EPISODES):
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


def replayed(scenario: str, policy: str) -> Iterator[Stretch]:
    """Plays a policy in 64 episodes side by side, without observations."""
    simulator, player = load_scenario(scenario).simulator(64), make_policy(policy)
    simulator.observes = False
    simulator.reset(range(64))
    while True:
        player.reset(simulator)
        decisions, begin = 0, time.process_time()
        while not simulator.outcome["terminated"].all():
            decisions += int((~simulator.outcome["terminated"]).sum())
            simulator.step(player.act(simulator.observation, simulator))
        yield decisions, time.process_time() - begin
        simulator.reset_to_next()


def published(folder: Path) -> Iterator[Stretch]:
    """Plays episodes of the published environment with five edges, resets included."""
    spec = importlib.util.spec_from_file_location("MEC_env", folder / "env" / "MEC_env.py")
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    np.random.seed(0)  # its luck is numpy's global state
    env = module.MEC_Env(conf_file=str(folder / "env" / "config1.json"), conf_name="multi-edge", w=0.5, edge_num=5)
    generator = np.random.default_rng(0)
    while True:
        seconds = 0.0
        for _ in range(EPISODES):
            actions = generator.integers(env.action_space, size=SLOTS).tolist()
            begin = time.process_time()
            env.reset()
            for action in actions:
                *_, done, _ = env.step(action)
            seconds += time.process_time() - begin
            assert done
        yield EPISODES * SLOTS, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, metavar="FOLDER", help="a checkout of mec_morl_multipolicy")
    peer: Path | None = parser.parse_args().peer
    rows: list[tuple[str, str, Callable[[], Iterator[Stretch]]]] = []
    for copy in (True, False):
        rows.append(("mec-gmorl", f"gymnasium.make, copy={copy}", lambda copy=copy: single("mec-gmorl", copy)))
    for scenario, num_envs in BATCHES:
        rows.append((scenario, f"batch {num_envs}", lambda played=(scenario, num_envs): batched(*played)))
    rows.append(("mec-gmorl", "batch 64, replay of all-edge", lambda: replayed("mec-gmorl", "all-edge")))
    theirs = fastest(published(peer)) if peer else None
    table = Table("scenario", "how", "decisions per CPU second", *(["x published"] if theirs else []))
    for scenario, how, play in rows:
        speed = fastest(play())
        ratio = f"{speed / theirs:,.0f}" if theirs and scenario == "mec-gmorl" else ""
        table.add_row(scenario, how, f"{speed:,.0f}", *([ratio] if theirs else []))
    console = Console(width=100)
    if theirs:
        table.add_row("GMORL", "published environment, 5 edges", f"{theirs:,.0f}", "1")
    console.print(table)
    if theirs:
        console.print("The published environment takes one step a slot, also when there is nothing to decide.")
    console.print(f"Load average: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
