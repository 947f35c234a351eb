"""Training runs that differ in their seeds, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import HetgymError
from ..evaluate.launchers import Launcher
from .settings import TrainSettings
from .training import train


def train_seeds(
    settings: TrainSettings, seeds: Sequence[int], launcher: Launcher, progress: Callable[[int], None] | None = None
) -> list[Path]:
    """Trains one agent for each seed, in folders ``seed-0`` and so on of the output.

    What is there already goes on from its last checkpoint, be it left by an earlier call or by a worker that died; so
    a cluster's nodes must all see the output's folder.

    Args:
        settings: Of all runs, except for their seeds and folders.
        seeds: One for each run.
        launcher: Where they train.
        progress: Called with a seed whose run has just ended.

    Returns:
        The folder of each run, in the order of the seeds, as `train` returns it.

    Raises:
        HetgymError: If a setting is not right, a seed is named twice, a run was begun with other settings, or a node
            does not see the output's folder.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise HetgymError(f"seeds: must be one or more, each named once (given: {','.join(map(str, seeds))})")
    runs = [replace(settings, seed=seed, output=settings.output / f"seed-{seed}") for seed in seeds]
    for run in runs:
        run.check()
        run.output.mkdir(parents=True, exist_ok=True)
    folders = {}
    for run, folder in launcher.run(go_on, runs):
        folders[run.seed] = folder
        if progress:
            progress(run.seed)
    return [folders[seed] for seed in seeds]


def go_on(settings: TrainSettings) -> Path:
    """Trains from the last checkpoint in the output's folder, or from the beginning where there is none.

    Raises:
        HetgymError: As `train` does, or if there is no such folder.
    """
    if not settings.output.is_dir():
        raise HetgymError(
            f"output: {settings.output.absolute()} is not there; it must be a folder that all nodes share"
        )
    begun = any((stage.output / name).exists() for stage in settings.stages() for name in ("last", ".last.previous"))
    return train(replace(settings, resume=begun))
