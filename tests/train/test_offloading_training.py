"""Offloading is learned: by masked PPO, which can be killed and resumed to the bit, and by SAC of stable-baselines3."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file
from stable_baselines3 import SAC

from hetgym import HetgymError
from hetgym.agents.card import load_card
from hetgym.envs import Simulator, make_sb3
from hetgym.evaluate import evaluate, evaluate_front
from hetgym.train import TrainSettings, train
from hetgym.train.settings import OffPolicySettings

CONTINUOUS = "hetgym/OffloadContinuous-v0"
ONE_USER: dict[str, Any] = {"num_users": 1, "num_requests": 20, "weights": (0.5, 0.5, 0.0)}
HELD_OUT = 1_000


def test_ppo_learns_within_a_minute_and_follows_the_weights(tmp_path: Path) -> None:
    run = train(
        TrainSettings(
            scenario="mec-gmorl",
            output=tmp_path,
            steps=40_000,
            gamma=0.5,
            learning_rate=3e-3,
            decay=True,
            rounds=0,
            evaluate_every=5,
            held_out=100,
        )
    )
    returns = pd.read_csv(run / "curve.csv")["return"]
    assert returns.iloc[-1] > 0.9 * returns.iloc[0]
    learned = f"ppo:{run}"
    table = evaluate("mec-gmorl", ["random", "weighted-greedy", learned], episodes=100)
    cost = table.groupby("policy")["cost"].mean()
    assert cost[learned] < 0.6 * cost["random"]
    assert cost[learned] < 1.1 * cost["weighted-greedy"]
    front = evaluate_front("mec-gmorl", learned, [[0, 1], [1, 0]], ["delay", "energy"], episodes=50)
    for_energy, for_delay = (rows for _, rows in front.groupby("weight_delay"))
    assert for_energy["energy_cost"].mean() < 0.8 * for_delay["energy_cost"].mean()
    assert for_delay["delay_cost"].mean() < 0.8 * for_energy["delay_cost"].mean()


RESUMED = TrainSettings(
    num_envs=4, rollout=20, steps=640, batch_size=40, hidden=8, rounds=0, decay=True, evaluate_every=2, held_out=4
)


@pytest.mark.parametrize(
    "scenario",
    ["mec-gmorl", "mec-partial", "mec-dense", "split-mobile", "uav-relay", "llm-edge", "mec-droo", "mec-lydroo"],
)
def test_resumed_run_equals_an_uninterrupted_one(scenario: str, tmp_path: Path) -> None:
    def interrupt(steps: int, _: dict[str, float]) -> None:
        if steps > 400:
            raise KeyboardInterrupt

    # Of frames an episode is so short that the second is under way at the interruption.
    short = ("num_frames=7",) if scenario in {"mec-droo", "mec-lydroo"} else ()
    settings = replace(RESUMED, scenario=scenario, set=short)
    whole = train(replace(settings, output=tmp_path / "whole"))
    resumed = replace(settings, output=tmp_path / "resumed")
    with pytest.raises(KeyboardInterrupt):
        train(resumed, interrupt)
    assert load_card(resumed.output / "last").steps == 320  # in the midst of episodes
    train(replace(resumed, resume=True))
    for name in ("policy", "training"):
        one, two = (load_file(run / "last" / f"{name}.safetensors") for run in (whole, resumed.output))
        assert one.keys() == two.keys()
        for key, tensor in one.items():
            np.testing.assert_array_equal(tensor, two[key], err_msg=key)
    assert (whole / "curve.csv").read_text() == (resumed.output / "curve.csv").read_text()


def sac(env: Any, **settings: Any) -> SAC:
    torch.set_num_threads(1)
    return SAC(
        "MultiInputPolicy",
        env,
        learning_rate=1e-3,
        gamma=0.9,
        batch_size=64,
        buffer_size=20_000,
        policy_kwargs={"net_arch": [64, 64]},
        seed=0,
        **settings,
    )


class Learned:
    name = "sac"
    clairvoyant = False

    def __init__(self, model: SAC) -> None:
        self.model = model

    def reset(self, simulator: Simulator) -> None:
        """Does nothing."""

    def act(self, observation: dict[str, np.ndarray], simulator: Simulator) -> np.ndarray:
        return self.model.predict(observation, deterministic=True)[0]


def mean_cost(policy: str | Learned) -> float:
    """Returns what a request costs on average in episodes that were not trained on."""
    return evaluate("mec-partial", policy, 100, seed=HELD_OUT, continuous=True, **ONE_USER)["cost"].mean()


def test_sac_learns_within_a_minute() -> None:
    env = make_sb3(CONTINUOUS, 8, 0, scenario="mec-partial", **ONE_USER)
    model = sac(env, learning_starts=500, gradient_steps=4)
    untrained, by_chance = mean_cost(Learned(model)), mean_cost("random")
    model.learn(4_000)
    # Chance 12.3, all to the edge 1.8.
    assert mean_cost(Learned(model)) < 0.25 * min(untrained, by_chance)


def test_sac_learns_from_one_environment() -> None:
    env = gymnasium.make(CONTINUOUS, scenario="mec-partial", **ONE_USER)
    model = sac(env, learning_starts=100)
    before = model.policy.state_dict()["actor.mu.weight"].clone()
    model.learn(200)
    assert model.ep_info_buffer is not None
    assert {episode["l"] for episode in model.ep_info_buffer} == {20}
    assert not torch.equal(before, model.policy.state_dict()["actor.mu.weight"])


ALONE = ("continuous=true", "num_users=1", "num_requests=1", "block=null", "weights=[0.5, 0.5, 0.0]")


def test_continuous_face_is_learned_and_resumed_to_the_bit(tmp_path: Path) -> None:
    settings = TrainSettings(
        scenario="mec-partial", set=ALONE, algorithm="sac", steps=256, num_envs=8, rollout=1, batch_size=32, gamma=0.9,
        hidden=16, held_out=8, evaluate_every=8, output=tmp_path / "whole",
        off_policy=OffPolicySettings(learning_starts=64, gradient_steps=1, buffer_size=1_000),
    )  # fmt: skip
    whole = train(settings)

    def interrupt(steps: int, _: dict[str, float]) -> None:
        if steps > 190:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(replace(settings, output=tmp_path / "parts"), interrupt)
    resumed = train(replace(settings, output=tmp_path / "parts", resume=True))
    assert (whole / "curve.csv").read_text() == (resumed / "curve.csv").read_text()
    first, second = (load_file(run / "last" / "policy.safetensors") for run in (whole, resumed))
    for name, tensor in first.items():
        np.testing.assert_array_equal(tensor, second[name])
    table = evaluate("mec-partial", [f"sac:{whole}"], 4, continuous=True, num_users=1, num_requests=1, block=None)
    assert table["cost"].gt(0).all()


def test_candidates_are_not_a_continuous_face(tmp_path: Path) -> None:
    with pytest.raises(HetgymError, match="algorithm: ppo chooses among candidates; for a continuous face take sac"):
        train(TrainSettings(scenario="mec-partial", set=ALONE, output=tmp_path))
    run = train(
        TrainSettings(
            scenario="mec-partial", set=ALONE, algorithm="sac", steps=8, num_envs=8, rollout=1, held_out=1,
            output=tmp_path,
        )
    )  # fmt: skip
    with pytest.raises(HetgymError, match="decides on a continuous face"):
        evaluate("mec-partial", [f"sac:{run}"], 1)
