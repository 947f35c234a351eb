"""What was run, and on what."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from ... import __version__
from ..cells import NUMERIC_PACKAGES, code_version

CPU_INFO = Path("/proc/cpuinfo")
"""Where Linux says what the processor is called; Python does not know."""


@dataclass(frozen=True)
class About:
    """What was run, and on what; all as text that a report shows.

    Attributes:
        command: The command line that runs it again.
        seed: Of the first episode.
        episodes: Of each policy, as asked for; `None` if nothing was asked for.
        date: When, in UTC.
        versions: Of hetgym, Python and the packages that numbers depend on, by name.
        processor: What it is called.
        cores: How many this process may use.
        system: The operating system.
        code: `hetgym.evaluate.cells.code_version` of it.
    """

    command: str
    seed: int
    episodes: int | None
    date: str
    versions: Mapping[str, str]
    processor: str
    cores: int
    system: str
    code: str

    @classmethod
    def here(cls, command: str, seed: int = 0, episodes: int | None = None) -> About:
        """Returns what is so of this process, at this time.

        Args:
            command: The command line.
            seed: Of the first episode.
            episodes: Of each policy, if it was asked for.
        """
        packages = {package: version(package) for package in NUMERIC_PACKAGES}
        return cls(
            command=command,
            seed=seed,
            episodes=episodes,
            date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            versions={"hetgym": __version__, "Python": platform.python_version(), **packages},
            processor=_processor(),
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            system=f"{platform.system()} {platform.release()}",
            code=code_version(),
        )


def _processor() -> str:
    if CPU_INFO.is_file():
        for line in CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
