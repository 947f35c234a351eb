"""Training: it learns, it can be killed and resumed to the bit, and it refuses what does not fit."""

from __future__ import annotations

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
from hetgym.envs import load_scenario
from hetgym.evaluate import evaluate, find_worst_case
from hetgym.evaluate.figures import training_curve
from hetgym.train import TrainSettings, train
from hetgym.train.settings import ImitationSettings, OffPolicySettings

SMALL = TrainSettings(
    set=("num_tasks=10", "num_devices=3"),
    num_envs=16,
    rollout=20,
    decay=True,
    hidden=16,
    rounds=1,
    evaluate_every=2,
    held_out=20,
)


def test_training_improves_on_random_within_a_minute(tmp_path: Path) -> None:
    settings = replace(SMALL, output=tmp_path, num_envs=64, steps=20_000, held_out=50, evaluate_every=5)
    run = train(settings)
    curve = pd.read_csv(run / "curve.csv")
    assert curve["steps"].iloc[-1] >= 20_000
    table = evaluate("random", ["random", f"ppo:{run}"], episodes=100, num_tasks=10, num_devices=3)
    mean = table.groupby("policy")["makespan"].mean()
    assert mean[f"ppo:{run}"] < 0.75 * mean["random"]
    assert load_card(run / "best").results["return"] == curve["return"].max()
    assert training_curve(run).axes[0].lines[0].get_xdata()[-1] == curve["steps"].iloc[-1]
    assert list(run.glob("events.out.tfevents.*"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(replace(SMALL, output=tmp_path_factory.mktemp("whole"), steps=2_400))


def test_same_seed_gives_the_same_bits(whole: Path, tmp_path: Path) -> None:
    again = train(replace(SMALL, output=tmp_path, steps=2_400))
    assert (again / "curve.csv").read_text() == (whole / "curve.csv").read_text()
    assert_same_tensors(whole, again, "policy")
    assert_same_tensors(whole, again, "training")


def test_resumed_run_equals_an_uninterrupted_one(whole: Path, tmp_path: Path) -> None:
    def interrupt(steps: int, _: dict[str, float]) -> None:
        if steps > 1_100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(replace(SMALL, output=tmp_path, steps=2_400), interrupt)
    assert 0 < load_card(tmp_path / "last").steps < 1_280
    resumed = train(replace(SMALL, output=tmp_path, steps=2_400, resume=True))
    assert_same_tensors(whole, resumed, "policy")
    assert_same_tensors(whole, resumed, "training")
    steps = pd.read_csv(resumed / "curve.csv")["steps"]
    assert steps.is_monotonic_increasing
    assert steps.is_unique


def test_resuming_a_finished_run_changes_nothing(whole: Path) -> None:
    before = (whole / "curve.csv").read_text()
    train(replace(SMALL, output=whole, steps=2_400, resume=True))
    assert (whole / "curve.csv").read_text() == before


def test_other_seed_gives_other_weights(whole: Path, tmp_path: Path) -> None:
    other = train(replace(SMALL, output=tmp_path, steps=320, seed=1))
    name = "heads.weight"
    assert not np.array_equal(weights(other)[name], weights(whole)[name])


def test_card_tells_how_it_was_made(whole: Path) -> None:
    card = load_card(whole / "last")
    assert card.steps == 2_560  # whole rollouts of 320
    assert card.scenario["workload"]["num_tasks"] == 10
    assert card.versions["torch"]
    assert card.network.hidden == 16
    assert card.settings["learning_rate"] == SMALL.learning_rate


def test_checkpoint_interrupted_while_it_was_replaced_is_found(tmp_path: Path) -> None:
    run = train(replace(SMALL, output=tmp_path, steps=320))
    (run / "last").rename(run / ".last.previous")  # killed between the two renames
    assert train(replace(SMALL, output=tmp_path, steps=640, resume=True)) == run
    assert load_card(run / "last").steps == 640


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps: must be at least 1 (given: 0)"),
        ({"gamma": 1.5}, "gamma: must be above 0 and at most 1"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"num_envs": 1, "rollout": 1}, "rollout: must hold at least 2 decisions"),
        ({"set": ("num_tasks",)}, "'num_tasks' is not of the form NAME=VALUE"),
        ({"set": ("colour=red",)}, "'colour'"),
        ({"set": ("num_tasks=-3",)}, "num_tasks"),
        ({"scenario": "nowhere"}, "unknown scenario 'nowhere'"),
        ({"reward": "fame"}, "unknown reward 'fame'"),
        ({"resume": True}, "no checkpoint here"),
        ({"device": "cuda"}, "cuda"),
        (
            {
                "curriculum": (
                    "num_tasks=5,10",
                    "num_devices=2",
                )
            },
            "curriculum: all settings need equally many values",
        ),
        ({"curriculum": ("num_tasks=5,-1",)}, "num_tasks"),
        ({"mix": ("nowhere",)}, "unknown scenario 'nowhere'"),
        ({"mix": ("tiny-moe",)}, "all show the same features"),
        ({"mix": ("heft-paper",), "num_envs": 1}, "num_envs: must be at least 2, the number of scenarios"),
        ({"imitate": "hefty"}, "unknown policy 'hefty'"),
        ({"start": Path("nowhere")}, "nowhere: no checkpoint here"),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    import torch

    if change.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(HetgymError) as caught:
        train(replace(SMALL, output=tmp_path, **change))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("buffer_size", -1, "must be at least 16"),
        ("buffer_size", 15, "must be at least 16"),
        ("learning_starts", -1, "must be at least 0"),
        ("gradient_steps", 0, "must be at least 1"),
        ("quantiles", 0, "must be at least 1"),
        ("tau", 0.0, "must be above 0 and at most 1"),
        ("tau", 1.5, "must be above 0 and at most 1"),
        ("exploration", -0.1, "must be from 0 to 1"),
        ("exploration", float("nan"), "must be from 0 to 1"),
        ("temperature", 0.0, "must be above 0"),
        ("temperature", float("inf"), "must be above 0"),
        ("target_entropy", -0.1, "must be at least 0 and below 1"),
        ("target_entropy", 1.0, "must be at least 0 and below 1"),
        ("q_clip", 0.0, "must be above 0"),
        ("entropy_penalty", -1.0, "must be at least 0"),
        ("critic_entropy", -1.0, "must be at least 0"),
    ],
)
def test_bad_settings_of_off_policy_algorithms_are_refused(
    tmp_path: Path, name: str, value: float, message: str
) -> None:
    off_policy = replace(OffPolicySettings(), **{name: value})
    with pytest.raises(HetgymError, match=f"^{name}: {message}.* \\(given: {value}\\)$"):
        train(replace(SMALL, output=tmp_path, algorithm="sac", off_policy=off_policy))


def test_resume_with_other_settings_is_refused(whole: Path) -> None:
    with pytest.raises(HetgymError, match="cannot resume with hidden = 8: the run was started with 16"):
        train(replace(SMALL, output=whole, steps=5_000, resume=True, hidden=8))


def test_what_training_needs_to_go_on_must_be_of_the_run(whole: Path, tmp_path: Path) -> None:
    last = whole / "last"
    save_checkpoint(tmp_path / "last", load_card(last), load_tensors(last / POLICY), {"others": torch.zeros(1)})
    with pytest.raises(HetgymError, match=r"training\.safetensors: not of a run with these settings"):
        train(replace(SMALL, output=tmp_path, steps=5_000, resume=True))


OTHERS = [
    {"algorithm": "sac"},
    {"algorithm": "dqn"},
    {"algorithm": "qr-dqn"},
    {"normalise_returns": True},
    {"mix": ("cholesky-2c2g",), "set": ()},
]


@pytest.mark.parametrize(
    "change", OTHERS, ids=lambda change: "-".join(map(str, *change.items())) if len(change) == 1 else "mix"
)
def test_every_way_to_learn_can_be_resumed_to_the_bit(tmp_path: Path, change: dict[str, object]) -> None:
    off_policy = OffPolicySettings(learning_starts=300, buffer_size=1_000, gradient_steps=2, quantiles=4)
    settings = replace(SMALL, off_policy=off_policy, batch_size=64, steps=1_280, **change)
    whole = train(replace(settings, output=tmp_path / "whole"))

    def interrupt(steps: int, _: dict[str, float]) -> None:
        if steps > 900:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(replace(settings, output=tmp_path / "parts"), interrupt)
    assert 0 < load_card(tmp_path / "parts" / "last").steps < 1_280
    resumed = train(replace(settings, output=tmp_path / "parts", resume=True))
    assert_same_tensors(whole, resumed, "policy")
    assert (whole / "curve.csv").read_text() == (resumed / "curve.csv").read_text()
    assert load_card(whole / "best").algorithm == settings.algorithm
    make_policy(f"{settings.algorithm}:{whole}")


def test_curriculum_goes_on_with_the_network_of_the_stage_before(tmp_path: Path) -> None:
    settings = replace(SMALL, output=tmp_path, steps=1_280, curriculum=("num_tasks=5,10",))
    shown: list[int] = []
    last = train(settings, lambda steps, _: shown.append(steps))
    assert last == tmp_path / "stage-1"
    assert shown == [320, 640, 960, 1280]
    cards = [load_card(tmp_path / f"stage-{index}" / "last") for index in range(2)]
    assert [card.scenario["workload"]["num_tasks"] for card in cards] == [5, 10]
    assert cards[1].settings["start"] == str(tmp_path / "stage-0")
    alone = train(replace(SMALL, output=tmp_path / "again", steps=640, start=tmp_path / "stage-0"))
    assert_same_tensors(last, alone, "policy")
    assert train(replace(settings, resume=True)) == last  # all done already


def test_what_a_search_against_the_agent_found_is_mixed_in(whole: Path, tmp_path: Path) -> None:
    scenario = load_scenario("random", num_tasks=10, num_devices=3)
    find_worst_case(scenario, f"ppo:{whole}", "heft", iterations=3, episodes=2).save(tmp_path / "worst.yaml")
    mix = (str(tmp_path / "worst.yaml"),)
    settings = replace(SMALL, steps=320, decay=False, start=whole)
    run = train(replace(settings, output=tmp_path / "run", mix=mix))
    assert load_card(run / "last").settings["mix"] == list(mix)
    plain = train(replace(settings, output=tmp_path / "plain"))
    assert not np.array_equal(weights(run)["heads.weight"], weights(plain)["heads.weight"])


def test_only_the_first_stage_imitates() -> None:
    stages = replace(SMALL, curriculum=("num_tasks=5,10,15",), imitate="heft").stages()
    assert [stage.imitate for stage in stages] == ["heft", None, None]


def test_training_begins_with_what_an_expert_does(tmp_path: Path) -> None:
    taught = ImitationSettings(rounds=1, episodes=64, num_envs=32)
    run = train(replace(SMALL, output=tmp_path, steps=0, imitate="heft", imitation=taught, held_out=50))
    card = load_card(run / "best")
    assert card.steps == 0
    untaught = train(replace(SMALL, output=tmp_path / "untaught", steps=320, held_out=50))
    first = pd.read_csv(untaught / "curve.csv")["makespan_ratio"].iloc[0]
    assert card.results["makespan_ratio"] < 1.1 < first


def test_prefix_of_a_checkpoint_is_its_algorithm(whole: Path) -> None:
    with pytest.raises(HetgymError, match=f"was trained with ppo: name it ppo:{whole}"):
        make_policy(f"sac:{whole}")


def weights(run: Path) -> dict[str, np.ndarray]:
    return load_file(run / "last" / "policy.safetensors")


def assert_same_tensors(first: Path, second: Path, name: str) -> None:
    one, two = (load_file(run / "last" / f"{name}.safetensors") for run in (first, second))
    assert one.keys() == two.keys()
    for key, tensor in one.items():
        np.testing.assert_array_equal(tensor, two[key], err_msg=key)
