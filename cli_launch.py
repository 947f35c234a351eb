"""The options that say where work is done."""

from __future__ import annotations

from dataclasses import dataclass, fields

from .errors import HetgymError
from .evaluate.launchers import Launcher, LauncherName, make_launcher
from .train.settings import TrainSettings


@dataclass(frozen=True)
class LaunchOptions:
    """Where work is done that consists of many parts."""

    launcher: LauncherName = "local"
    """Where much is done side by side: on this machine, or on Ray."""
    address: str | None = None
    """The Ray cluster to work on, HOST:PORT, or auto for one that was started on this machine; by default Ray is
    started for as long as it is needed."""
    workers: int | None = None
    """How much is done at a time: by default one thing, with Ray as many as there are CPUs."""

    def make_launcher(self) -> Launcher:
        """Returns the launcher.

        Raises:
            HetgymError: If the options do not go together, or Ray is not installed.
        """
        return make_launcher(self.launcher, self.address, self.workers)

    def refuse_launcher(self, option: str) -> None:
        """Refuses these options where nothing can be done side by side.

        Args:
            option: With which it could.

        Raises:
            HetgymError: If one is given.
        """
        for field in fields(LaunchOptions):
            if getattr(self, field.name) != field.default:
                raise HetgymError(f"{field.name}: is for {option}, which consists of many parts")


@dataclass(frozen=True)
class TrainingCommand(LaunchOptions, TrainSettings):
    """What commands that train share."""

    @property
    def settings(self) -> TrainSettings:
        """What is not about where it is done."""
        return TrainSettings(**{field.name: getattr(self, field.name) for field in fields(TrainSettings)})
