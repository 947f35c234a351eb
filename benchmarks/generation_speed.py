"""Random graphs of 50 tasks on 4 devices per CPU second, beside as many random DAGs of networkx.

Run: python benchmarks/generation_speed.py
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import networkx as nx
import numpy as np
from rich.console import Console
from rich.table import Table

from hetgym.workloads import RandomGraphs
from hetgym.workloads.task_graph import GraphArrays

NUM_TASKS, NUM_DEVICES = 50, 4
REPEATS = 3
SOURCE = RandomGraphs(num_tasks=NUM_TASKS, num_devices=NUM_DEVICES)
MEAN_EDGES = float(np.mean([SOURCE.sample(seed, 0).num_edges for seed in range(200)]))


def arrays(count: int) -> None:
    """All at once, as the simulator does."""
    room = GraphArrays.empty(count, SOURCE.max_tasks, NUM_DEVICES, SOURCE.max_edges)
    rows = np.arange(count)
    SOURCE.fill(room, rows, rows, np.zeros_like(rows))


def task_graphs(count: int) -> None:
    """One validated `TaskGraph` after another."""
    for seed in range(count):
        SOURCE.sample(seed, 0)


def networkx_graphs(count: int) -> None:
    """Random orders with as many edges on average, with durations and bytes."""
    density = 2 * MEAN_EDGES / (NUM_TASKS * (NUM_TASKS - 1))
    for seed in range(count):
        chance = random.Random(seed)
        drawn = nx.fast_gnp_random_graph(NUM_TASKS, density, seed=seed, directed=True)
        graph: nx.DiGraph[int] = nx.DiGraph()
        for task in range(NUM_TASKS):
            graph.add_node(task, duration=[chance.random() for _ in range(NUM_DEVICES)])
        graph.add_edges_from((u, v, {"bytes": chance.random()}) for u, v in drawn.edges if u < v)


def seconds_for(generate: Callable[[int], None], count: int) -> float:
    """Returns the least CPU time of several runs; what compiles does not count."""
    generate(1)
    times = []
    for _ in range(REPEATS):
        before = time.process_time()
        generate(count)
        times.append(time.process_time() - before)
    return min(times)


if __name__ == "__main__":
    table = Table("generator", "graphs", "CPU seconds", "graphs per CPU second")
    for name, generate, count in (
        ("RandomGraphs.fill", arrays, 10_000),
        ("RandomGraphs.sample", task_graphs, 10_000),
        ("networkx", networkx_graphs, 2_000),
    ):
        seconds = seconds_for(generate, count)
        table.add_row(name, f"{count:,}", f"{seconds:.2f}", f"{count / seconds:,.0f}")
    Console(width=100).print(table)
