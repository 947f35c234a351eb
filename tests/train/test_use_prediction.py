"""The training of use predictors: it learns, gives the same bits again, and refuses what does not fit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from hetgym import HetgymError
from hetgym.agents import make_policy
from hetgym.agents.card import POLICY, load_card
from hetgym.agents.checkpoint import load_tensors, save_checkpoint
from hetgym.agents.heuristics.caching.policy import CachePolicy
from hetgym.envs import load_scenario
from hetgym.evaluate import evaluate
from hetgym.train.use_prediction import (
    UsePredictionSettings,
    discounted_uses,
    parts,
    train_use_predictor,
)

SMALL = UsePredictionSettings(scenario="tiny-moe", updates=12, batch_size=8, window=40, width=4, evaluate_every=6)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_use_predictor(replace(SMALL, output=tmp_path_factory.mktemp("run"), updates=40, evaluate_every=20))


def test_trained_network_is_better_than_heuristics_on_requests_it_never_read(run: Path) -> None:
    scenario = load_scenario("tiny-moe").for_single_episodes()
    unread = parts(scenario, {0})
    simulator = scenario.simulator(len(unread))
    hits = {}
    for policy in (make_policy(f"use-predictor:{run}"), CachePolicy("lru", "recency"), CachePolicy("lfu", "frequency")):
        simulator.reset(range(len(unread)), unread)
        policy.replay(simulator)
        hits[policy.name] = simulator.metrics(np.arange(len(unread)))["hit_rate"].mean()
    assert hits[f"use-predictor:{run}"] > max(hits["lru"], hits["lfu"])


def test_run_has_a_curve_and_a_card(run: Path) -> None:
    curve = pd.read_csv(run / "curve.csv")
    assert curve["steps"].tolist() == [20, 40]
    assert curve["loss"].iloc[1] < curve["loss"].iloc[0]
    best = load_card(run / "best")
    assert best.algorithm == "use-predictor"
    assert best.results["hit_rate"] == curve["hit_rate"].max()
    assert load_card(run / "last").steps == 40


def test_it_can_be_evaluated(run: Path) -> None:
    table = evaluate("tiny-moe", [make_policy(f"use-predictor:{run}"), "belady-bypass"], episodes=2)
    assert not table.loc[table["policy"] == f"use-predictor:{run}", "clairvoyant"].any()
    hits = table.groupby("policy", sort=False)["hit_rate"].mean()
    assert 0 < hits.iloc[0] < hits.iloc[1]


def test_damaged_checkpoints_are_refused(run: Path, tmp_path: Path) -> None:
    card, tensors = load_card(run / "best"), load_tensors(run / "best" / POLICY)
    tensors.pop("constant")
    for damage, message in (
        ({"parent": tensors["parent"] + 1}, "does not fit the network of its card"),
        ({"constant": torch.zeros(()), "parent": tensors["parent"] + 1}, "must name experts, 0 to 31"),
        ({"constant": torch.tensor(torch.nan)}, "not finite"),
        ({"constant": torch.zeros(()), "parent": torch.zeros(3)}, "not the network of this version"),
    ):
        save_checkpoint(tmp_path / "damaged", card, {**tensors, **damage})
        with pytest.raises(HetgymError, match=message):
            make_policy(f"use-predictor:{tmp_path / 'damaged'}")
    save_checkpoint(tmp_path / "other", card.model_copy(update={"algorithm": "ppo"}), tensors)
    with pytest.raises(HetgymError, match="was trained with ppo: name it ppo:"):
        make_policy(f"use-predictor:{tmp_path / 'other'}")


def test_same_seed_gives_the_same_bits(tmp_path: Path) -> None:
    said: list[int] = []
    runs = [
        train_use_predictor(
            replace(SMALL, output=tmp_path / name, seed=seed, updates=4), lambda update, _: said.append(update)
        )
        for name, seed in (("one", 1), ("again", 1), ("other", 2))
    ]
    one, again, other = (load_file(run / "last" / "policy.safetensors") for run in runs)
    assert said == [1, 2, 3, 4] * 3
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not np.array_equal(one["cell"], other["cell"])


def test_resumed_run_equals_an_uninterrupted_one(run: Path, tmp_path: Path) -> None:
    def interrupt(update: int, _: dict[str, float]) -> None:
        if update > 24:
            raise KeyboardInterrupt

    settings = replace(SMALL, output=tmp_path, updates=40, evaluate_every=20)
    with pytest.raises(KeyboardInterrupt):
        train_use_predictor(settings, interrupt)
    assert load_card(tmp_path / "last").steps == 20
    resumed = train_use_predictor(replace(settings, resume=True))
    assert_same_tensors(run, resumed, "policy")
    assert_same_tensors(run, resumed, "training")
    assert (resumed / "curve.csv").read_text() == (run / "curve.csv").read_text()
    said: list[int] = []
    train_use_predictor(replace(settings, resume=True), lambda update, _: said.append(update))
    assert said == []  # all done already
    save_checkpoint(resumed / "last", load_card(run / "last"), load_tensors(run / "last" / POLICY), {})
    with pytest.raises(HetgymError, match=r"training\.safetensors: not of a run with these settings"):
        train_use_predictor(replace(settings, resume=True))
    with pytest.raises(HetgymError, match="cannot resume with width = 5: the run was started with 4"):
        train_use_predictor(replace(settings, resume=True, width=5))


def assert_same_tensors(first: Path, second: Path, name: str) -> None:
    one, two = (load_file(run / "last" / f"{name}.safetensors") for run in (first, second))
    assert one.keys() == two.keys()
    for key, tensor in one.items():
        np.testing.assert_array_equal(tensor, two[key], err_msg=key)


def test_drawn_traces_are_learnt_from(tmp_path: Path) -> None:
    settings = replace(SMALL, scenario="v2-lite", set=("output_tokens=6",), traces=2, held_out=2, updates=2)
    run = train_use_predictor(replace(settings, output=tmp_path, batch_size=2))
    assert 0 < load_card(run / "best").results["hit_rate"] < 1


def test_uses_are_discounted() -> None:
    share = torch.tensor([0.0, 1.0, 0.0, 0.5]).reshape(4, 1, 1)
    assert discounted_uses(share, 0.5).ravel().tolist() == [0.5 + 0.125, 0.25, 0.5, 0.0]
    assert discounted_uses(share, 0.0).ravel().tolist() == [1.0, 0.0, 1.0, 0.0]


def test_parts_of_a_recording_have_nothing_in_common() -> None:
    scenario = load_scenario("tiny-moe")
    requests = [{int(part.trace.request_ids[0]) for part in parts(scenario, {fold})} for fold in range(5)]
    assert [len(each) for each in requests] == [20] * 5
    assert set.union(*requests) == set(range(100))
    # Texts of each kind are in every part.
    assert all({request % 5 for request in each} == set(range(5)) for each in requests)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"updates": 0}, "updates: must be at least 1"),
        ({"discount": 1.0}, "discount: must be at least 0 and below 1"),
        ({"learning_rate": 0.0}, "learning_rate: must be above 0"),
        ({"fold": 5}, "fold: must be from 0 to 4"),
        ({"resume": True}, "no checkpoint here"),
        ({"scenario": "random"}, "must be of the family expert-cache, not task-graph"),
        ({"scenario": "v2-lite-layer"}, "pool must be 'model'"),
        ({"scenario": "lora-adapters"}, "workload of kind generated or recorded"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(HetgymError, match=message):
        train_use_predictor(replace(SMALL, output=tmp_path, **changes))
