"""The training of dispatching rules: it learns, gives the same bits again, and refuses what does not fit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from hetgym import HetgymError
from hetgym.agents import make_policy
from hetgym.agents.card import POLICY, TRAINING, load_card
from hetgym.agents.checkpoint import load_tensors, save_checkpoint
from hetgym.cli import main
from hetgym.evaluate import evaluate, summarise
from hetgym.train.evolution import train_rule
from hetgym.train.settings import EvolutionSettings

SMALL = EvolutionSettings(
    set=("num_jobs=60",), generations=8, population=8, episodes=8, evaluate_every=4, held_out=16, reference="lwkr"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_rule(replace(SMALL, output=tmp_path_factory.mktemp("run")))


def test_trained_rule_is_better_than_where_it_began(run: Path) -> None:
    table = evaluate("soc-stream-high", ["lwkr", f"weighted-rule:{run}"], episodes=32, num_jobs=60)
    assert summarise(table, "job_latency_mean", "lwkr")["high"].iloc[1] < 1


def test_run_has_a_curve_and_a_card(run: Path) -> None:
    curve = pd.read_csv(run / "curve.csv")
    assert curve["steps"].tolist() == [0, 4, 8]
    # Evolution begins with the reference itself; its tail is not 3 % below its own.
    assert curve["job_latency_mean_ratio"][0] == curve["job_latency_p99_ratio"][0] == 1
    assert curve["cost"][0] == pytest.approx(1 + 0.3 * 0.03)
    best = load_card(run / "best")
    assert best.algorithm == "weighted-rule"
    assert best.results["cost"] == curve["cost"].min() < curve["cost"][0]
    assert load_card(run / "last").steps == 8


def test_same_seed_gives_the_same_bits(tmp_path: Path) -> None:
    said: list[int] = []
    brief = replace(SMALL, generations=2, episodes=2, held_out=2)
    one, again, other = (
        load_tensors(
            train_rule(replace(brief, seed=seed, output=tmp_path / name), lambda done, _: said.append(done))
            / "last"
            / POLICY
        )
        for name, seed in (("one", 1), ("again", 1), ("other", 2))
    )
    assert said == [1, 2] * 3
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["task"], other["task"])


@pytest.mark.parametrize(("killed_in", "kept"), [(2, 0), (7, 6)])
def test_resumed_run_equals_an_uninterrupted_one(killed_in: int, kept: int, tmp_path: Path) -> None:
    def interrupt(generation: int, _: dict[str, float]) -> None:
        if generation == killed_in:
            raise KeyboardInterrupt

    settings = replace(SMALL, episodes=2, held_out=2, evaluate_every=3)
    whole = train_rule(replace(settings, output=tmp_path / "whole"))
    begun = replace(settings, output=tmp_path / "parts")
    with pytest.raises(KeyboardInterrupt):
        train_rule(begun, interrupt)
    assert load_card(begun.output / "last").steps == kept
    said: list[int] = []
    resumed = train_rule(replace(begun, resume=True), lambda done, _: said.append(done))
    assert said == list(range(kept + 1, settings.generations + 1))
    for name in (POLICY, TRAINING):
        one, two = (load_tensors(run / "last" / name) for run in (whole, resumed))
        assert all(torch.equal(one[key], two[key]) for key in one)
    assert (whole / "curve.csv").read_text() == (resumed / "curve.csv").read_text()
    train_rule(replace(begun, resume=True), lambda *_: pytest.fail("all was done already"))


def test_runs_that_cannot_go_on_are_refused(run: Path, tmp_path: Path) -> None:
    settings = replace(SMALL, output=run, resume=True)
    with pytest.raises(HetgymError, match="cannot resume with population = 6: the run was started with 8"):
        train_rule(replace(settings, population=6))
    last = run / "last"
    costs = load_tensors(last / TRAINING)["costs"]
    assert costs.shape == (8, 8)
    save_checkpoint(tmp_path / "last", load_card(last), load_tensors(last / POLICY), {"costs": costs.flip(1)})
    with pytest.raises(HetgymError, match="does not lead to its weights; use the version of cmaes"):
        train_rule(replace(settings, output=tmp_path))
    save_checkpoint(tmp_path / "last", load_card(last), load_tensors(last / POLICY), {"others": costs})
    with pytest.raises(HetgymError, match=r"training.safetensors: not of a run with these settings \('costs'\)"):
        train_rule(replace(settings, output=tmp_path))


def test_graphs_that_do_not_stream_have_no_tail(tmp_path: Path) -> None:
    brief = replace(SMALL, scenario="random-noisy", set=(), generations=1, episodes=2, held_out=2, output=tmp_path)
    assert np.isfinite(pd.read_csv(train_rule(brief) / "curve.csv")["makespan_ratio"]).all()


def test_damaged_checkpoints_are_refused(run: Path, tmp_path: Path) -> None:
    card, tensors = load_card(run / "best"), load_tensors(run / "best" / POLICY)
    for damage, message in (
        ({"task": torch.zeros(3)}, "not a rule of this version"),
        ({"claim": torch.full((1,), torch.nan, dtype=torch.float64)}, "not finite"),
    ):
        save_checkpoint(tmp_path / "damaged", card, {**tensors, **damage})
        with pytest.raises(HetgymError, match=message):
            make_policy(f"weighted-rule:{tmp_path / 'damaged'}")
    save_checkpoint(tmp_path / "other", card.model_copy(update={"algorithm": "ppo"}), tensors)
    with pytest.raises(HetgymError, match="was trained with ppo: name it ppo:"):
        make_policy(f"weighted-rule:{tmp_path / 'other'}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generations": 0}, "generations: must be at least 1"),
        ({"population": 2}, "population: must be at least 4"),
        ({"population": 129}, "population: must be at most 128"),
        ({"seed": 2**32}, "seed: must be at most 4294967295"),
        ({"resume": True}, "no checkpoint here"),
        ({"tail": -1.0}, "tail: must be at least 0"),
        ({"scenario": "random", "set": ()}, "mode 'dispatch'"),
        ({"scenario": "v2-lite", "set": ()}, "needs task graphs"),
        ({"reference": "heft-like"}, "unknown policy 'heft-like'"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(HetgymError, match=message):
        train_rule(replace(SMALL, output=tmp_path, **changes))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = ["--generations", "1", "--population", "4", "--episodes", "1", "--held-out", "1", "--set", "num_jobs=10"]
    main(["train-rule", *numbers, "--output", str(tmp_path)])
    said = capsys.readouterr().out
    assert f"--policies mct-online,lwkr,weighted-rule:{tmp_path}" in said
