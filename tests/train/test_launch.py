"""Seeds side by side: each is what it would be alone, goes on where it was, and is done again where a worker dies."""

from __future__ import annotations

import importlib.util
import shlex
import threading
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import psutil
import pytest

from hetgym import HetgymError
from hetgym.cli import main
from hetgym.cli_train import read_seeds
from hetgym.evaluate.launchers import LocalLauncher
from hetgym.train import TrainSettings, train
from hetgym.train.launch import train_seeds

SMALL = TrainSettings(
    set=("num_tasks=6", "num_devices=2"),
    num_envs=8,
    rollout=10,
    steps=1600,
    hidden=8,
    rounds=1,
    evaluate_every=1,
    held_out=8,
)
OPTIONS = """--set num_tasks=6 num_devices=2 --num-envs 8 --rollout 10 --steps 1600 --hidden 8 --rounds 1
    --evaluate-every 1 --held-out 8 --seeds 1 --launcher ray --workers 1"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(replace(SMALL, seed=1, output=tmp_path_factory.mktemp("alone")))


def assert_same_run(run: Path, other: Path) -> None:
    assert (run / "curve.csv").read_bytes() == (other / "curve.csv").read_bytes()
    for name in ("best/policy.safetensors", "last/policy.safetensors", "last/training.safetensors"):
        assert (run / name).read_bytes() == (other / name).read_bytes()


def test_seeds_go_on_where_they_were(alone: Path, tmp_path: Path) -> None:
    def interrupt(steps: int, _: dict[str, float]) -> None:
        if steps > 160:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(replace(SMALL, seed=1, output=tmp_path / "seed-1"), interrupt)
    ended: list[int] = []
    runs = train_seeds(replace(SMALL, output=tmp_path), [1, 0], LocalLauncher(), ended.append)
    assert runs == [tmp_path / "seed-1", tmp_path / "seed-0"]
    assert ended == [1, 0]
    assert_same_run(runs[0], alone)
    assert (runs[1] / "curve.csv").read_bytes() != (alone / "curve.csv").read_bytes()
    assert len(list(runs[0].glob("events.out.tfevents.*"))) == 2
    with pytest.raises(HetgymError, match="cannot resume with hidden = 16"):
        train_seeds(replace(SMALL, output=tmp_path, hidden=16), [1], LocalLauncher())


def test_stages_of_a_curriculum_go_on(tmp_path: Path) -> None:
    settings = replace(SMALL, output=tmp_path, curriculum=("num_tasks=4,6",), steps=160)
    (run,) = train_seeds(settings, [0], LocalLauncher())
    assert run == tmp_path / "seed-0" / "stage-1"
    before = (run / "curve.csv").read_bytes()
    assert train_seeds(settings, [0], LocalLauncher()) == [run]
    assert (run / "curve.csv").read_bytes() == before


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")
def test_a_killed_worker_goes_on_from_its_checkpoint(
    alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, killed = tmp_path / "seed-1", threading.Event()

    def kill() -> None:
        while not (run / "curve.csv").exists() or len(pd.read_csv(run / "curve.csv")) < 2:
            time.sleep(0.01)
        for process in psutil.Process().children(recursive=True):
            if process.name().startswith("ray::_do"):
                process.kill()
                killed.set()

    threading.Thread(target=kill, daemon=True).start()
    main(["train", *shlex.split(OPTIONS), "--output", str(tmp_path)])
    assert killed.is_set()
    assert_same_run(run, alone)
    assert len(list(run.glob("events.out.tfevents.*"))) == 2
    printed = capsys.readouterr().out
    assert "seed 1: " in printed
    assert f"--policies heft,ppo:{run}" in printed


def test_seeds_are_whole_numbers_each_once(tmp_path: Path) -> None:
    assert read_seeds("0,1, 7") == [0, 1, 7]
    with pytest.raises(HetgymError, match="seeds: must be whole numbers"):
        read_seeds("0,one")
    for seeds in ([], [1, 1]):
        with pytest.raises(HetgymError, match="seeds: "):
            train_seeds(replace(SMALL, output=tmp_path), seeds, LocalLauncher())
