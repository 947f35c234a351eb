"""Rewards by what turns out: the twin meets the same luck, and returns differ by a number no decision changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from hetgym import HetgymError
from hetgym.envs import load_scenario
from hetgym.train import TrainSettings, train
from hetgym.train.hindsight import HindsightVecEnv

NOISY: dict[str, Any] = {"num_tasks": 6, "num_devices": 2, "noise_sigma": 0.5, "pool": 2}
NUM_ENVS = 8


def played(env: HindsightVecEnv, chance: np.random.Generator, episodes: int) -> list[list[dict[str, float]]]:
    """Plays at random; returns the first episodes of each environment, with what they gave and came to."""
    env.seed(7)
    env.reset()
    ended: list[list[dict[str, float]]] = [[] for _ in range(NUM_ENVS)]
    given = np.zeros(NUM_ENVS)
    while min(map(len, ended)) < episodes:
        actions = np.array([chance.choice(np.flatnonzero(mask)) for mask in env.action_masks()])
        assert np.array_equal(env.twin.state.actual, env.simulator.state.actual)
        bounds = env.twin.instances.totals["lower_bound"][env.twin.state.status["slot"]]
        units = env.simulator.state.status["makespan_unit"].copy()
        env.step_async(actions)
        _, reward, over, infos = env.step_wait()
        given += reward
        for row in np.flatnonzero(over):
            bound = {"given": given[row], "bound": bounds[row], "unit": units[row]}
            ended[row].append({**infos[row]["metrics"], **bound})
            given[row] = 0.0
    return [rows[:episodes] for rows in ended]


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"ready_window": 1},
        {"queue_limit": 1, "contention": "fair"},
        {"mean_uptime": 20.0, "mean_downtime": 2.0},
        {"noise": "none", "misestimation_sigma": 0.5},
    ],
)
def test_twin_takes_the_same_decisions_and_returns_tell_the_makespan(setting: dict[str, Any]) -> None:
    scenario = load_scenario("random-noisy", **NOISY, **setting)
    env = HindsightVecEnv.of(scenario, NUM_ENVS)
    for episodes in played(env, np.random.default_rng(0), 5):
        for episode in episodes:
            lost = episode["makespan"] - episode["bound"]
            assert episode["given"] == pytest.approx(-lost / episode["unit"], abs=1e-5)
            assert lost >= -1e-9
        # Both play the same graphs, which come round again, though the luck is another.
        assert episodes[0]["heft_makespan"] == episodes[2]["heft_makespan"] != episodes[1]["heft_makespan"]
        assert episodes[0]["bound"] != episodes[2]["bound"]


SMALL = TrainSettings(
    scenario="random-noisy",
    set=("num_tasks=6", "num_devices=2", "noise_sigma=0.5"),
    hindsight=True,
    num_envs=NUM_ENVS,
    rollout=20,
    steps=640,
    hidden=8,
    rounds=0,
    evaluate_every=2,
    held_out=4,
)


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    def interrupt(steps: int, _: dict[str, float]) -> None:
        if steps > 400:
            raise KeyboardInterrupt

    whole = train(replace(SMALL, output=tmp_path / "whole"))
    resumed = replace(SMALL, output=tmp_path / "resumed")
    with pytest.raises(KeyboardInterrupt):
        train(resumed, interrupt)
    train(replace(resumed, resume=True))
    for name in ("policy", "training"):
        one, other = (load_file(run / "last" / f"{name}.safetensors") for run in (whole, resumed.output))
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[key], other[key]) for key in one)


def test_rewards_vary_less_from_instance_to_instance() -> None:
    scenario = load_scenario("random-noisy", **{**NOISY, "noise_sigma": 1.0})
    episodes = [
        one for rows in played(HindsightVecEnv.of(scenario, NUM_ENVS), np.random.default_rng(1), 20) for one in rows
    ]
    given = np.array([one["given"] for one in episodes])
    usual = np.array([(one["lower_bound"] - one["makespan"]) / one["unit"] for one in episodes])
    assert given.std() < 0.8 * usual.std()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"scenario": "random", "set": ()},
            "hindsight: needs task graphs in mode 'dispatch', no stream (given: 'random')",
        ),
        ({"scenario": "mec-gmorl", "set": ()}, "hindsight: needs task graphs in mode 'dispatch', no stream"),
        ({"set": ("information=exact",)}, "hindsight: needs information 'expected' (given: 'exact')"),
        ({"reward": "energy"}, "hindsight: needs the reward 'lower-bound', of which it is a form (given: 'energy')"),
        ({"mix": ("random",)}, "hindsight: needs task graphs in mode 'dispatch', no stream (given: 'random')"),
    ],
)
def test_what_has_no_hindsight_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(HetgymError) as caught:
        train(replace(SMALL, output=tmp_path, **change))
    assert message in str(caught.value)
