"""Sweeps over settings: what is drawn, what is refused, that trials are given up, and that a sweep goes on."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tyro

optuna = pytest.importorskip("optuna", reason="needs optuna")

from hetgym import HetgymError  # noqa: E402
from hetgym.cli import main  # noqa: E402
from hetgym.cli_train import TrainCommand  # noqa: E402
from hetgym.evaluate.launchers import LocalLauncher  # noqa: E402
from hetgym.train import TrainSettings  # noqa: E402
from hetgym.train import tune as module  # noqa: E402
from hetgym.train.settings import OffPolicySettings  # noqa: E402
from hetgym.train.tune import (  # noqa: E402
    Choices,
    Range,
    Sweep,
    best_settings,
    command_line,
    parse_space,
    read_space,
    tune,
)

WORDS = ("learning-rate=1e-4:1e-2:log", "hidden=8:16", "pooling=nodes,value", "off_policy.tau=0.01:0.1")
SPACE = {
    "learning_rate": Range(low=1e-4, high=1e-2, log=True),
    "hidden": Range(low=8, high=16),
    "pooling": Choices(choices=("nodes", "value")),
    "off_policy.tau": Range(low=0.01, high=0.1),
}


def sweep(folder: Path, trials: int = 8, **changes: Any) -> Sweep:
    settings = TrainSettings(output=folder / "runs", steps=100)
    return replace(Sweep(settings, SPACE, trials, f"sqlite:///{folder}/tune.db", "mine"), **changes)


def trials_of(folder: Path) -> list[Any]:
    return optuna.load_study(study_name="mine", storage=f"sqlite:///{folder}/tune.db").trials


@pytest.fixture
def imagined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training that takes no time: the higher the learning rate, the better, from the beginning."""

    def train(settings: TrainSettings, progress: Any) -> Path:
        for steps in range(0, 101, 5):
            progress(steps, {} if not steps else {"return": settings.learning_rate * steps})
        return Path(f"{settings.learning_rate * 100}")

    def load_card(folder: Path) -> Any:
        return SimpleNamespace(results={"return": float(folder.parent.name)})

    monkeypatch.setattr(module, "train", train)
    monkeypatch.setattr(module, "load_card", load_card)


def test_spaces_are_the_same_from_words_and_files(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(
        "learning_rate: {low: 1e-4, high: 1e-2, log: true}\nhidden: {low: 8, high: 16}\n"
        "pooling: {choices: [nodes, value]}\noff_policy.tau: {low: 0.01, high: 0.1}\n"
    )
    assert parse_space(WORDS) == read_space(tmp_path / "space.yaml") == SPACE
    assert parse_space(["decay=true,false", "start=null,a"]) == {
        "decay": Choices(choices=(True, False)),
        "start": Choices(choices=(None, "a")),
    }


@pytest.mark.usefixtures("imagined")
def test_a_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    ended: list[None] = []
    for folder, parts in (("whole", [9]), ("parts", [4, 9, 9])):
        (tmp_path / folder).mkdir()
        for trials in parts:
            tune(sweep(tmp_path / folder, trials), LocalLauncher(), lambda: ended.append(None))
    whole, parts = trials_of(tmp_path / "whole"), trials_of(tmp_path / "parts")
    assert len(ended) == 18
    assert [trial.params for trial in parts] == [trial.params for trial in whole]
    assert [trial.state for trial in parts] == [trial.state for trial in whole]
    for trial in whole:
        assert isinstance(trial.params["hidden"], int)
        assert 1e-4 <= trial.params["learning_rate"] <= 1e-2
    pruned = [trial for trial in whole if trial.state.name == "PRUNED"]
    best = max(whole, key=lambda trial: trial.params["learning_rate"])
    assert pruned
    assert max(trial.params["learning_rate"] for trial in pruned) < best.params["learning_rate"]
    assert all(3 <= max(trial.intermediate_values) < 10 for trial in pruned)
    settings, value, number = best_settings(sweep(tmp_path / "whole"))
    assert (value, number) == (100 * best.params["learning_rate"], best.number)
    assert settings.learning_rate == best.params["learning_rate"]
    assert settings.off_policy.tau == best.params["off_policy.tau"]


@pytest.mark.usefixtures("imagined")
def test_trials_that_died_are_not_counted(tmp_path: Path) -> None:
    tune(sweep(tmp_path, 1), LocalLauncher())
    optuna.load_study(study_name="mine", storage=f"sqlite:///{tmp_path}/tune.db").ask()  # and never told
    tune(sweep(tmp_path, 3), LocalLauncher())
    assert [trial.state.name for trial in trials_of(tmp_path)] == ["COMPLETE", "RUNNING", "COMPLETE", "COMPLETE"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "search: name at least one setting"),
        (["hidden"], "search: 'hidden' is not of the form NAME=LOW:HIGH"),
        (["hidden=8:16:exp"], "search: '8:16:exp' is not of the form"),
        (["hidden=16:8"], "low must be below high"),
        (["learning_rate=0:1:log"], "low must be above 0"),
        (["hidden=8:x"], "high"),
        (["fame=1:2"], "unknown setting 'fame': choose one of scenario"),
        (["off_policy.fame=1:2"], "unknown setting 'off_policy.fame': choose one of buffer_size"),
        (["hidden.fame=1:2"], "unknown setting 'hidden.fame'"),
        (["steps=1:2"], "search: steps cannot be tuned"),
        (["hidden=0:8"], "hidden: must be at least 1"),
        (["hidden=8.5:16"], "search: hidden: .* integer"),
        (["pooling=nodes,all"], "search: pooling"),
    ],
)
def test_wrong_spaces_are_refused_before_anything_is_trained(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(HetgymError, match=message) as caught:
        tune(sweep(tmp_path, space=parse_space(words)), LocalLauncher())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "tune.db").exists()


@pytest.mark.usefixtures("imagined")
def test_what_is_not_the_same_sweep_is_refused(tmp_path: Path) -> None:
    tune(sweep(tmp_path, 1), LocalLauncher())
    other = sweep(tmp_path, space=SPACE | {"hidden": Range(low=8, high=32)})
    with pytest.raises(HetgymError, match=re.escape("study: 'mine' was begun with other settings (search hidden)")):
        tune(other, LocalLauncher())
    with pytest.raises(HetgymError, match="trials: must be at least 1"):
        tune(sweep(tmp_path, 0), LocalLauncher())
    with pytest.raises(HetgymError, match=r"storage: cannot use 'nosql://x'"):
        tune(sweep(tmp_path, storage="nosql://x"), LocalLauncher())


def test_settings_are_written_as_the_command_that_reads_them() -> None:
    settings = TrainSettings(
        set=("num_tasks=8", "ccr=2"),
        output=Path("a b"),
        imitate="heft",
        decay=True,
        off_policy=OffPolicySettings(tau=0.05, adapt_temperature=False),
    )
    words = shlex.split(command_line(settings))
    assert words[:2] == ["hetgym", "train"]
    assert tyro.cli(TrainCommand, args=words[2:]).settings == settings


def test_command_prints_the_command_of_the_best_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = "--set num_tasks=6 num_devices=2 --num-envs 4 --rollout 5 --steps 40 --rounds 1 --held-out 4"
    where = f"--output {tmp_path}/runs --storage sqlite:///{tmp_path}/db/tune.db --trials 2"
    main(["tune", *shlex.split(small), *shlex.split(where), "--search", "hidden=4,8"])
    printed = capsys.readouterr().out
    assert re.search(r"best of 2: trial \d, held-out return -\d", printed)
    words = shlex.split(printed.partition("settings: hetgym train ")[2])
    found = tyro.cli(TrainCommand, args=words).settings
    assert found.hidden in (4, 8)
    assert found.output == tmp_path / "runs" / "best"
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"trial-0", "trial-1"}
