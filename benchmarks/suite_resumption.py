"""A suite that is killed ten times, beside one that is not: the same results? And what it costs to run it again.

python benchmarks/suite_resumption.py [SUITE]     by default quick
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

KILLS = 10
SEED = 0


def command(suite: str, folder: Path) -> list[str]:
    """Returns the command that plays a suite, or goes on with it."""
    return [sys.executable, "-m", "hetgym", "evaluate", "--suite", suite, "--output", str(folder)]


def run(suite: str, folder: Path) -> tuple[float, float]:
    """Plays a suite to its end; returns seconds of the processor, and on the clock."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command(suite, folder), check=True, stdout=subprocess.DEVNULL)
    after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, ended - began


def killed_after(suite: str, folder: Path, seconds: float) -> int:
    """Kills a run after some time; returns how many finished cells there are then."""
    process = subprocess.Popen(command(suite, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return len(list((folder / "cells").glob("*.parquet")))


def main() -> None:
    """Prints what was measured, and fails where results differ or a finished cell is lost."""
    suite = sys.argv[1] if len(sys.argv) > 1 else "quick"
    rng = np.random.default_rng(SEED)
    console, table = Console(), Table("run", "CPU seconds", "seconds", "cells")
    with TemporaryDirectory() as scratch:
        whole, killed = Path(scratch, "whole"), Path(scratch, "killed")
        run(suite, Path(scratch, "warm"))  # kernels are compiled
        cpu, clock = run(suite, whole)
        cells = len(list((whole / "cells").glob("*.parquet")))
        table.add_row("whole", f"{cpu:.1f}", f"{clock:.1f}", str(cells))
        finished = 0
        for kill in range(KILLS):
            moment = clock * rng.uniform(0.1, 0.35)  # runs go on, so each has less to do than the one before
            now = killed_after(suite, killed, moment)
            assert now >= finished, f"{finished - now} finished cells are lost"
            finished = now
            table.add_row(f"killed: {kill + 1}", "", f"{moment:.1f}", str(finished))
        cpu, clock = run(suite, killed)
        table.add_row("resumed", f"{cpu:.1f}", f"{clock:.1f}", str(len(list((killed / "cells").glob("*.parquet")))))
        cpu, clock = run(suite, whole)
        table.add_row("again", f"{cpu:.1f}", f"{clock:.1f}", str(cells))
        console.print(table)
        one, two = (pd.read_parquet(folder / "results.parquet") for folder in (whole, killed))
        pd.testing.assert_frame_equal(one, two, check_exact=True)
        for path in sorted((whole / "cells").iterdir()):
            assert path.read_bytes() == (killed / "cells" / path.name).read_bytes(), path.name
    console.print(f"results and all {cells} cells are the same to the byte")


if __name__ == "__main__":
    main()
