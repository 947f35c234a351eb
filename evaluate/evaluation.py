"""Plays policies on the same episodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from ..agents import Policy, make_policy
from ..envs import Scenario, Simulator, load_scenario
from ..errors import HetgymError

P = TypeVar("P", bound=str | Policy)

BATCH = 64
SEED_LIMIT = 2**31
"""Seeds of evaluations are below; training has its held-out and its own instances above."""


def evaluate(
    scenario: str | Path | Scenario,
    policies: str | Policy | Sequence[str | Policy],
    episodes: int = 100,
    seed: int = 0,
    reward: str | None = None,
    progress: Callable[[int], None] | None = None,
    **overrides: Any,
) -> pd.DataFrame:
    """Returns how policies do, all on the same realised instances.

    Args:
        scenario: As in `hetgym.envs.load_scenario`.
        policies: Names for `hetgym.agents.make_policy` (also comma-separated), or policies; ``baselines`` stands for
            those of the scenario, ``pretrained`` for the checkpoint that comes with hetgym for it.
        episodes: How many; episode i is episode 0 of seed + i.
        seed: Of the first episode, below 2^31.
        reward: One of the family's rewards.
        progress: Called with the number of episodes that have just ended.
        overrides: The scenario's settings by their names.

    Returns:
        One row for each (policy, episode): ``policy``, ``clairvoyant`` (whether it reads the future), ``episode``,
        ``seed``, ``return`` (undiscounted sum of rewards), ``decision_seconds`` (the policy's own time for a decision,
        averaged over the batch it decided for; wall time, the one column that is not reproducible), then the family's
        metrics in SI units.

    Raises:
        HetgymError: If an argument is not right.
    """
    check_episodes(episodes, seed)
    chosen = make_policies(policies, load_scenario(scenario))
    # Every episode is the first of its seed, so no environment needs more than one graph.
    setting = load_scenario(scenario, **overrides).for_single_episodes()
    tables = []
    for policy in chosen:
        # Compiling and loading are not charged to the policy's decisions.
        play(setting.simulator(1, reward), policy, [seed])
        for first in range(0, episodes, BATCH):
            count = min(BATCH, episodes - first)
            simulator = setting.simulator(count, reward)
            table = play(simulator, policy, range(seed + first, seed + first + count))
            table.insert(2, "episode", np.arange(first, first + count))
            tables.append(table)
            if progress:
                progress(count)
    return pd.concat(tables, ignore_index=True)


def make_policies(policies: str | Policy | Sequence[str | Policy], scenario: Scenario) -> list[Policy]:
    """Returns the policies that are to be played.

    Args:
        policies: As in `evaluate`.
        scenario: What they are to play.

    Raises:
        HetgymError: If one cannot be had, or is named twice.
    """
    chosen = [
        make_policy(policy, scenario.family) if isinstance(policy, str) else policy
        for policy in meant(_listed(policies), scenario)
    ]
    names = [policy.name for policy in chosen]
    if len(set(names)) < len(names):
        raise HetgymError(f"policies: each can be named once (given: {', '.join(names)})")
    return chosen


def check_episodes(episodes: int, seed: int) -> None:
    """Checks how many episodes are to be played, and from which seed on.

    Raises:
        HetgymError: If it is none, or a seed is out of range.
    """
    if episodes < 1:
        raise HetgymError(f"episodes: must be at least 1 (given: {episodes})")
    if not 0 <= seed <= SEED_LIMIT - episodes:
        raise HetgymError(f"seed: must be from 0 to 2^31 - episodes (given: {seed})")


def play(simulator: Simulator, policy: Policy, seeds: Sequence[int]) -> pd.DataFrame:
    """Plays one episode in every environment, and leaves the simulator where they ended.

    Args:
        simulator: The environments.
        policy: What decides.
        seeds: One for each environment.

    Returns:
        One row for each environment, as `evaluate` returns them, without ``episode``.
    """
    seconds = play_out(simulator, policy, seeds)
    outcome = simulator.outcome
    return pd.DataFrame(
        {
            "policy": policy.name,
            "clairvoyant": policy.clairvoyant,
            "seed": simulator.seeds,
            "return": outcome["episode_return"],
            "decision_seconds": seconds / outcome["episode_length"].sum(),
            **simulator.metrics(np.arange(simulator.num_envs)),
        }
    )


def play_out(
    simulator: Simulator, policy: Policy, seeds: Sequence[int], instances: Sequence[Any] | None = None
) -> float:
    """Plays one episode in every environment, and returns how long the policy took to decide, seconds of wall time.

    Args:
        simulator: The environments; it is left where they ended.
        policy: What decides.
        seeds: One for each environment.
        instances: As in `Simulator.reset`.
    """
    simulator.observes = getattr(policy, "observes", True)
    simulator.reset(seeds, instances)
    seconds = -time.perf_counter()
    policy.reset(simulator)
    seconds += time.perf_counter()
    while not simulator.outcome["terminated"].all():
        seconds -= time.perf_counter()
        actions = policy.act(simulator.observation, simulator)
        seconds += time.perf_counter()
        simulator.step(actions)
    return seconds


def meant(policies: Sequence[P], scenario: Scenario) -> list[P | str]:
    """Returns policies, with those that names stand for where that depends on the scenario.

    Raises:
        HetgymError: If no checkpoint for the scenario comes with hetgym.
    """
    listed: list[P | str] = []
    for policy in policies:
        if policy == "baselines":
            listed += scenario.baselines
        elif policy == "pretrained":
            from ..agents.pretrained import pretrained_for

            listed.append(f"pretrained:{pretrained_for(scenario.name, scenario.family)}")
        else:
            listed.append(policy)
    return listed


def _listed(policies: str | Policy | Sequence[str | Policy]) -> list[str | Policy]:
    if isinstance(policies, str):
        return [name.strip() for name in policies.split(",")]
    if isinstance(policies, Sequence):
        return list(policies)
    return [policies]
