"""What ``hetgym tune`` does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .cli_launch import TrainingCommand
from .cli_output import progress
from .errors import HetgymError


@dataclass(frozen=True)
class TuneCommand(TrainingCommand):
    """Searches for settings of training, with Optuna; takes those of train for all trials."""

    output: Path = Path("runs/tune")
    """Folder of the trials, each a run of its own: trial-0 and so on."""
    search: tuple[str, ...] = ()
    """What is drawn: NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A,B,C, such as learning_rate=1e-4:1e-2:log
    hidden=16,32,64 off_policy.tau=0.001:0.1:log."""
    space: Path | None = None
    """The same from a YAML file: for each name low, high and perhaps log, or choices."""
    trials: int = 20
    """How many are to end, those that are given up among them; what is in the database already counts."""
    storage: str = "sqlite:///runs/tune.db"
    """The database that keeps the trials, by its URL; several commands may share one."""
    study: str | None = None
    """What the sweep is called there; by default as the scenario."""

    def run(self) -> None:
        """Does what is not done of the trials, and prints the command that trains with the best settings."""
        from .train.tune import Sweep, best_settings, command_line, parse_space, read_space, tune

        if self.space and self.search:
            raise HetgymError("search: name settings on the command line or in --space, not both")
        space = read_space(self.space) if self.space else parse_space(self.search)
        sweep = Sweep(self.settings, space, self.trials, self.storage, self.study or self.scenario)
        launcher = self.make_launcher()
        with progress("tuning", self.trials) as (bar, task):
            tune(sweep, launcher, lambda: bar.advance(task))
        best, value, number = best_settings(sweep)
        print(f"best of {self.trials}: trial {number}, held-out return {value:.4f}")
        print(f"train with its settings: {command_line(best)}")
