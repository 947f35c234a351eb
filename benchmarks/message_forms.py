"""From which density on messages are better summed by a matrix: CPU milliseconds of a gradient step of the encoder.

    python benchmarks/message_forms.py

Batches of graphs of equal size, with 1 to 8 edges a node, all nodes asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from hetgym.agents.networks.batch import Graphs
from hetgym.agents.networks.encoder import ROUNDS, GraphEncoder

BATCH, HIDDEN, NODE_FEATURES, REPEATS = 512, 32, 12, 5


def random_graphs(num_nodes: int, num_edges: int) -> Graphs:
    """Returns graphs of so many nodes and distinct edges each."""
    draw = np.random.default_rng(0)
    pairs = np.concatenate([draw.choice(num_nodes**2, num_edges, replace=False) for _ in range(BATCH)])
    first = np.repeat(np.arange(BATCH) * num_nodes, num_edges)
    total = BATCH * num_nodes
    return Graphs(
        nodes=torch.randn(total, NODE_FEATURES),
        away=torch.zeros(total, dtype=torch.int64),
        edges=torch.from_numpy(np.stack(np.divmod(pairs, num_nodes)) + first),
        edge_features=torch.rand(BATCH * num_edges, 1),
        jobs=torch.zeros(total, dtype=torch.int64),
        spoken_of=torch.zeros(BATCH, 1, dtype=torch.int64),
        num_nodes=torch.full((BATCH,), num_nodes),
        num_edges=torch.full((BATCH,), num_edges),
    )


def milliseconds(form: Callable[[Graphs], tuple[Tensor, Tensor]], graphs: Graphs) -> float:
    """Returns the CPU time of a forward and a backward pass, the median of several."""
    seconds = []
    for _ in range(1 + REPEATS):
        before = time.process_time()
        form(graphs)[0].sum().backward()
        seconds.append(time.process_time() - before)
    return 1e3 * float(np.median(seconds[1:]))


def main() -> None:
    table = Table("encoder", "nodes", "edges a node", "density", "sparse, ms", "dense, ms")
    for name in ROUNDS:
        for num_nodes in (6, 12, 24, 48):
            for degree in (1, 2, 4, 8):
                if degree <= num_nodes:
                    graphs = random_graphs(num_nodes, num_nodes * degree)
                    encoder = GraphEncoder(NODE_FEATURES, 1, HIDDEN, 2, name)  # type: ignore[arg-type]
                    sparse, dense = (milliseconds(form, graphs) for form in (encoder.sparse, encoder.dense))
                    density = f"1/{1 / graphs.density:.3g}"
                    table.add_row(name, str(num_nodes), str(degree), density, f"{sparse:.1f}", f"{dense:.1f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
