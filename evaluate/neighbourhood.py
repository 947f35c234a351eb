"""Small changes to task graphs, after PISA: Coleman, Krishnamachari 2025, doi:10.1109/IPDPS64566.2025.00014."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from ..workloads import GraphSource, TaskGraph
from ..workloads.task_graph import FloatArray, IntArray

STEP = 0.1
"""A change moves a number by at most so much of its range; PISA's."""

RANGE_GRAPHS = 64
"""From so many graphs the ranges of durations and volumes are found."""

QUANTILES = 0.05, 0.95
"""A range leaves out what is rarer: a ratio of 1000 that needs durations of nearly 0 says little."""


@dataclass(frozen=True)
class Neighbourhood:
    """What can be changed about a graph, one thing at a time.

    A task's duration on a kind of device, the bytes of an edge, or whether there is an edge: PISA's changes to the task
    graph. A duration or a volume moves by at most `STEP` of its range, and not out of it. Which kind can run which
    task, how many tasks there are, and jobs stay as they are.

    Attributes:
        duration: The least and the largest, seconds.
        edge_bytes: The least and the largest.
        num_edges: No graph gets more.
    """

    duration: tuple[float, float]
    edge_bytes: tuple[float, float]
    num_edges: int

    @classmethod
    def of(cls, source: GraphSource) -> Neighbourhood:
        """Returns changes after which graphs are still like those of a source."""
        graphs = [source.sample(seed, 0) for seed in range(RANGE_GRAPHS if source.varies else 1)]
        return cls(
            duration=_range([graph.duration[np.isfinite(graph.duration)] for graph in graphs]),
            edge_bytes=_range([graph.edge_bytes for graph in graphs]),
            num_edges=source.max_edges,
        )

    def neighbour(self, graph: TaskGraph, chance: Generator) -> TaskGraph:
        """Returns a graph with one change, of a kind that is drawn among those for which there is an edge, or room."""
        changes = [self._with_other_duration]
        if graph.num_edges:
            changes += [self._with_other_bytes, self._without_edge]
        if graph.num_edges < self.num_edges:
            changes.append(self._with_edge)
        return changes[chance.integers(len(changes))](graph, chance)

    def _with_other_duration(self, graph: TaskGraph, chance: Generator) -> TaskGraph:
        task, kind = chance.choice(np.argwhere(np.isfinite(graph.duration)))
        duration = graph.duration.copy()
        duration[task, kind] = _moved(duration[task, kind], self.duration, chance)
        return replace(graph, duration=duration)

    def _with_other_bytes(self, graph: TaskGraph, chance: Generator) -> TaskGraph:
        edge = chance.integers(graph.num_edges)
        edge_bytes = graph.edge_bytes.copy()
        edge_bytes[edge] = _moved(edge_bytes[edge], self.edge_bytes, chance)
        return replace(graph, edge_bytes=edge_bytes)

    def _without_edge(self, graph: TaskGraph, chance: Generator) -> TaskGraph:
        edge = chance.integers(graph.num_edges)
        return replace(graph, edges=np.delete(graph.edges, edge, axis=1), edge_bytes=np.delete(graph.edge_bytes, edge))

    def _with_edge(self, graph: TaskGraph, chance: Generator) -> TaskGraph:
        possible = possible_edges(graph)
        if not len(possible):
            return graph
        edges = np.column_stack([graph.edges, chance.choice(possible)])
        return replace(graph, edges=edges, edge_bytes=np.append(graph.edge_bytes, chance.uniform(*self.edge_bytes)))


def _range(values: list[FloatArray]) -> tuple[float, float]:
    """Returns the usual least and largest of some numbers; 0 where there are none."""
    low, high = np.quantile(np.concatenate(values) if any(map(len, values)) else np.zeros(1), QUANTILES)
    return float(low), float(high)


def _moved(value: float, limits: tuple[float, float], chance: Generator) -> float:
    """Returns a number that has been moved a little within its range."""
    low, high = limits
    return float(np.clip(value + chance.uniform(-STEP, STEP) * (high - low), low, high))


def possible_edges(graph: TaskGraph) -> IntArray:
    """Returns the pairs of tasks that one more edge may join: without a cycle, in one job; int64 (N, 2)."""
    source, target = graph.edges
    leads_to = np.eye(graph.num_tasks, dtype=bool)
    leads_to[source, target] = True
    # Paths of up to 2, 4, 8, ... edges.
    for _ in range(graph.num_tasks.bit_length()):
        leads_to = leads_to @ leads_to
    possible = ~leads_to.T & (graph.job[:, None] == graph.job)
    possible[source, target] = False
    return np.argwhere(possible)
