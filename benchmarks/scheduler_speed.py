"""CPU milliseconds of static schedulers on one random graph, from the task graph to the finished schedule.

Run: python benchmarks/scheduler_speed.py
"""

from __future__ import annotations

import time

from rich.console import Console
from rich.table import Table

from hetgym.agents import make_policy
from hetgym.workloads import random_task_graph

SIZES = ((100, 4), (100, 16), (1000, 4), (1000, 16), (5000, 16))
SCHEDULERS = ("heft", "peft", "cpop", "lookahead", "min-min", "dls", "mct")
REPEATS = 7


def milliseconds(name: str, num_tasks: int, num_devices: int) -> float:
    """Returns the least CPU time of several runs; the first, which compiles, does not count."""
    graph = random_task_graph(num_tasks, num_devices, seed=1)
    scheduler = make_policy(name)
    seconds = []
    for _ in range(1 + REPEATS):
        before = time.process_time()
        scheduler.schedule(graph)
        seconds.append(time.process_time() - before)
    return 1e3 * min(seconds[1:])


if __name__ == "__main__":
    table = Table("tasks x devices", *SCHEDULERS)
    for num_tasks, num_devices in SIZES:
        times = [milliseconds(name, num_tasks, num_devices) for name in SCHEDULERS]
        table.add_row(f"{num_tasks} x {num_devices}", *[f"{value:.2f}" for value in times])
    Console(width=100).print(table)
