"""What ``hetgym train`` does."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from .cli_launch import TrainingCommand
from .cli_output import progress
from .errors import HetgymError
from .evaluate.figures import save_figure, training_curve


@dataclass(frozen=True)
class TrainCommand(TrainingCommand):
    """Trains an agent on the instances of a scenario."""

    seeds: str | None = None
    """Instead of one run, one for each of these seeds, comma-separated, in OUTPUT/seed-0 and so on; each goes on from
    its last checkpoint, if it has one."""

    def run(self) -> None:
        """Trains, and prints where the results are."""
        if self.seeds is None:
            self.refuse_launcher("--seeds")
            self._train_one()
        else:
            self._train_several(read_seeds(self.seeds))

    def _train_one(self) -> None:
        from .train import train

        with progress("training", self.steps) as (bar, task):

            def show(steps: int, results: dict[str, float]) -> None:
                bar.update(task, completed=min(steps, self.steps), latest=_shown(results))

            run = train(self.settings, show)
        save_figure(training_curve(run), run / "curve.png")
        print(f"checkpoints: {run / 'best'}, {run / 'last'}; curve: {run / 'curve.png'}")
        self._print_evaluation([run])

    def _train_several(self, seeds: list[int]) -> None:
        from .agents.card import load_card
        from .train.launch import train_seeds

        launcher = self.make_launcher()
        with progress("training seeds", len(seeds)) as (bar, task):
            runs = train_seeds(self.settings, seeds, launcher, lambda _: bar.advance(task))
        for seed, run in zip(seeds, runs, strict=True):
            print(f"seed {seed}: {run / 'best'}: held-out {_shown(load_card(run / 'best').results)}")
        self._print_evaluation(runs)

    def _print_evaluation(self, runs: list[Path]) -> None:
        changes = f" --set {shlex.join(self.set)}" if self.set else ""
        policies = ",".join([self.load_scenario().baselines[0], *(f"{self.algorithm}:{run}" for run in runs)])
        print(f"evaluate it: hetgym evaluate --scenario {self.scenario}{changes} --policies {policies}")


def _shown(results: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in results.items())


def read_seeds(text: str) -> list[int]:
    """Returns the seeds of a comma-separated list.

    Raises:
        HetgymError: If one is not a whole number.
    """
    try:
        return [int(word) for word in text.split(",")]
    except ValueError as error:
        raise HetgymError(f"seeds: must be whole numbers, comma-separated (given: {text!r})") from error
