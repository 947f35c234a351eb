"""Task graphs of known algorithms: tiled factorisations, FFT, Gaussian elimination, fork-join and chains."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Annotated, Literal, NamedTuple, TypedDict, Unpack

import numpy as np
from pydantic import Field, field_validator, model_validator

from .generators import DrawnGraphs, OneGraph, graph_from
from .task_graph import GraphArrays, IntArray, TaskGraph


class Call(NamedTuple):
    """A call of a kernel, which becomes a task.

    Attributes:
        kernel: What is called.
        indices: Which of the kernel's calls it is.
        reads: Data that it only reads.
        writes: Data that it writes, having read them if they were there before.
    """

    kernel: str
    indices: tuple[int, ...]
    reads: tuple[Hashable, ...] = ()
    writes: tuple[Hashable, ...] = ()


class Structure(NamedTuple):
    """A task graph without durations and volumes."""

    kernels: tuple[str, ...]  # of each task
    names: tuple[str, ...]  # of each task: its kernel and indices
    edges: IntArray  # (2, E), sorted by sender, then receiver; a sender is always before its receivers


def structure_of(calls: Iterable[Call]) -> Structure:
    """Returns the graph of calls made one after another: a task hears from the last writer of each of its data.

    No datum may be overwritten while others still have to read it: such an order without data is no edge.
    """
    calls = list(calls)
    last_writer: dict[Hashable, int] = {}
    edges = []
    for task, call in enumerate(calls):
        edges += [(last_writer[datum], task) for datum in (*call.reads, *call.writes) if datum in last_writer]
        last_writer |= dict.fromkeys(call.writes, task)
    return Structure(
        kernels=tuple(call.kernel for call in calls),
        names=tuple(" ".join(map(str, (call.kernel, *call.indices))) for call in calls),
        edges=np.array(sorted(edges), np.int64).reshape(-1, 2).T,
    )


def _cholesky_calls(tiles: int) -> Iterator[Call]:
    for i in range(tiles):
        for j in range(i):
            for k in range(j):
                yield Call("GEMM", (i, j, k), reads=((i, k), (j, k)), writes=((i, j),))
            yield Call("TRSM", (i, j), reads=((j, j),), writes=((i, j),))
            yield Call("SYRK", (i, j), reads=((i, j),), writes=((i, i),))
        yield Call("POTRF", (i,), writes=((i, i),))


def _lu_calls(tiles: int) -> Iterator[Call]:
    for k in range(tiles):
        yield Call("GETRF", (k,), writes=((k, k),))
        for j in range(k + 1, tiles):
            yield Call("TRSM", (k, j), reads=((k, k),), writes=((k, j),))
        for i in range(k + 1, tiles):
            yield Call("TRSM", (i, k), reads=((k, k),), writes=((i, k),))
        for i in range(k + 1, tiles):
            for j in range(k + 1, tiles):
                yield Call("GEMM", (i, j, k), reads=((i, k), (k, j)), writes=((i, j),))


def _qr_calls(tiles: int) -> Iterator[Call]:
    for k in range(tiles):
        # The diagonal tile holds the factor R and the reflectors V; TSQRT changes R while UNMQR reads V.
        yield Call("GEQRT", (k,), writes=((k, k), ("V", k)))
        for j in range(k + 1, tiles):
            yield Call("UNMQR", (k, j), reads=(("V", k),), writes=((k, j),))
        for i in range(k + 1, tiles):
            yield Call("TSQRT", (i, k), writes=((k, k), (i, k)))
            for j in range(k + 1, tiles):
                yield Call("TSMQR", (i, j, k), reads=((i, k),), writes=((k, j), (i, j)))


class _Factorisation(NamedTuple):
    calls: Callable[[int], Iterator[Call]]
    duration: dict[str, dict[str, float]]  # of each kernel on each device kind


_FACTORISATIONS = {
    "cholesky": _Factorisation(
        _cholesky_calls,
        {
            "POTRF": {"cpu": 18.0, "gpu": 11.0},
            "TRSM": {"cpu": 52.0, "gpu": 8.0},
            "SYRK": {"cpu": 57.0, "gpu": 2.0},
            "GEMM": {"cpu": 95.0, "gpu": 3.0},
        },
    ),
    "lu": _Factorisation(
        _lu_calls,
        {
            "GETRF": {"cpu": 18.0, "gpu": 11.0},
            "TRSM": {"cpu": 52.0, "gpu": 8.0},
            "GEMM": {"cpu": 95.0, "gpu": 3.0},
        },
    ),
    "qr": _Factorisation(
        _qr_calls,
        {
            "GEQRT": {"cpu": 4.0, "gpu": 3.0},
            "TSQRT": {"cpu": 6.0, "gpu": 3.0},
            "UNMQR": {"cpu": 6.0, "gpu": 1.0},
            "TSMQR": {"cpu": 10.0, "gpu": 1.0},
        },
    ),
}

Durations = Mapping[str, Mapping[str, float]]
"""Of each kernel, by device kind; a kind that is left out cannot run the kernel."""

_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class TiledMatrix(OneGraph):
    """The factorisation of a matrix of square tiles, kernel by kernel.

    The algorithms: Buttari, Langou, Kurzak, Dongarra 2009, doi:10.1016/j.parco.2008.10.002; LU does without
    pivoting. Cholesky's tasks are numbered row by row, those of LU and QR step by step (right-looking); the order
    of the loops does not change what a task has to wait for, only which of equal tasks has the lower index. The
    default durations: Grinsztajn, Beaumont, Jeannot, Preux 2021 (READYS),
    doi:10.1109/Cluster48925.2021.00031, in their unit of time, which here counts as a second.

    Attributes:
        graph: ``cholesky``, ``lu`` or ``qr``.
        tiles: Rows of tiles, as many as columns.
        tile_bytes: What each edge carries; READYS has no communication.
        durations: Seconds, by kernel and device kind (``{POTRF: {cpu: 18, gpu: 11}, ...}``); READYS's by default.
    """

    kind: Literal["tiled"] = "tiled"
    graph: Literal["cholesky", "lu", "qr"]
    tiles: Annotated[int, Field(ge=1, le=60)] = 8
    tile_bytes: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    durations: dict[str, Annotated[dict[str, _Seconds], Field(min_length=1)]] | None = None

    @model_validator(mode="after")
    def _kernels_have_durations(self) -> TiledMatrix:
        kernels = list(_FACTORISATIONS[self.graph].duration)
        if self.durations is not None and set(self.durations) != set(kernels):
            raise ValueError(f"durations: must be of {', '.join(kernels)}, not of {', '.join(self.durations)}")
        return self

    def load(self) -> TaskGraph:
        """Returns the graph; its tasks are in the order of the sequential algorithm."""
        factorisation = _FACTORISATIONS[self.graph]
        structure = structure_of(factorisation.calls(self.tiles))
        durations = self.durations or factorisation.duration
        kinds = tuple(dict.fromkeys(kind for row in durations.values() for kind in row))
        row = {kernel: [times.get(kind, np.inf) for kind in kinds] for kernel, times in durations.items()}
        return TaskGraph(
            name=f"{self.graph}-{self.tiles}",
            kinds=kinds,
            duration=np.array([row[kernel] for kernel in structure.kernels]),
            edges=structure.edges,
            edge_bytes=np.full(structure.edges.shape[1], self.tile_bytes),
            task_names=structure.names,
        )


def cholesky(tiles: int = 8, tile_bytes: float = 0.0, durations: Durations | None = None) -> TaskGraph:
    """Returns the Cholesky factorisation of a matrix of T x T tiles, T (T + 1) (T + 2) / 6 tasks.

    Of these T are POTRF, T (T - 1) / 2 each are TRSM and SYRK, and T (T - 1) (T - 2) / 6 are GEMM.
    T (T - 1) (T + 1) / 2 edges join them.

    Args:
        tiles: T.
        tile_bytes: As in `TiledMatrix`.
        durations: As in `TiledMatrix`.

    Raises:
        HetgymError: If an argument is out of range.
    """
    return graph_from(
        TiledMatrix, "cholesky", graph="cholesky", tiles=tiles, tile_bytes=tile_bytes, durations=durations
    )


def lu(tiles: int = 8, tile_bytes: float = 0.0, durations: Durations | None = None) -> TaskGraph:
    """Returns the LU factorisation of a matrix of T x T tiles, T (T + 1) (2 T + 1) / 6 tasks.

    Of these T are GETRF, T (T - 1) are TRSM, and T (T - 1) (2 T - 1) / 6 are GEMM. T (T - 1) (2 T + 1) / 2 edges
    join them.

    Args:
        tiles: T.
        tile_bytes: As in `TiledMatrix`.
        durations: As in `TiledMatrix`.

    Raises:
        HetgymError: If an argument is out of range.
    """
    return graph_from(TiledMatrix, "lu", graph="lu", tiles=tiles, tile_bytes=tile_bytes, durations=durations)


def qr(tiles: int = 8, tile_bytes: float = 0.0, durations: Durations | None = None) -> TaskGraph:
    """Returns the QR factorisation of a matrix of T x T tiles, T (T + 1) (2 T + 1) / 6 tasks.

    Of these T are GEQRT, T (T - 1) / 2 each are UNMQR and TSQRT, and T (T - 1) (2 T - 1) / 6 are TSMQR.
    T (T - 1) (2 T + 1) / 2 edges join them. The TSQRT of a column follow one another, as they all update its
    diagonal tile. (The graph in READYS's code lets them run side by side, and UNMQR before its GEQRT.)

    Args:
        tiles: T.
        tile_bytes: As in `TiledMatrix`.
        durations: As in `TiledMatrix`.

    Raises:
        HetgymError: If an argument is out of range.
    """
    return graph_from(TiledMatrix, "qr", graph="qr", tiles=tiles, tile_bytes=tile_bytes, durations=durations)


class StructuredGraphs(DrawnGraphs):
    """Graphs of one structure, with durations and volumes that are drawn for each task and edge."""

    @abstractmethod
    def calls(self) -> Iterator[Call]:
        """Gives the tasks in order."""

    @cached_property
    def structure(self) -> Structure:
        """What all graphs have in common."""
        return structure_of(self.calls())

    @property
    def task_names(self) -> tuple[str, ...]:
        """Kernel and indices of each task."""
        return self.structure.names

    @property
    def max_tasks(self) -> int:
        """Every graph has exactly this many tasks."""
        return len(self.structure.names)

    @property
    def max_edges(self) -> int:
        """Every graph has exactly this many edges."""
        return len(self.structure.edges.T)

    def join(self, arrays: GraphArrays, rows: IntArray, seeds: IntArray, episodes: IntArray) -> None:
        """Writes the structure."""
        arrays.num_tasks[rows] = self.max_tasks
        arrays.num_edges[rows] = self.max_edges
        arrays.edges["source"][rows, : self.max_edges], arrays.edges["target"][rows, : self.max_edges] = (
            self.structure.edges[:, None]
        )


class Costs(TypedDict, total=False):
    """Settings of `DrawnGraphs`."""

    num_devices: int
    ccr: float
    mean_duration: float
    heterogeneity: float


class FFT(StructuredGraphs):
    """The fast Fourier transform: recursive calls that split the points, then butterflies that combine them.

    After Topcuoglu, Hariri, Wu 2002, doi:10.1109/71.993206, section 5.3, who give all tasks of a level one cost;
    here costs are drawn task by task.

    Attributes:
        points: m, a power of two.
    """

    kind: Literal["fft"] = "fft"
    points: Annotated[int, Field(ge=2, le=4096)] = 8

    @field_validator("points")
    @classmethod
    def _power_of_two(cls, points: int) -> int:
        if points & (points - 1):
            raise ValueError("must be a power of two")
        return points

    def calls(self) -> Iterator[Call]:
        """Gives the calls level by level, then the butterflies level by level."""
        depth = self.points.bit_length() - 1
        for level in range(depth + 1):
            for i in range(2**level):
                yield Call("call", (level, i), reads=((level - 1, i // 2),), writes=((level, i),))
        for level in range(depth):
            for i in range(self.points):
                above = depth + level
                yield Call(
                    "butterfly",
                    (level, i),
                    reads=((above, i), (above, i ^ (1 << level))),
                    writes=((above + 1, i),),
                )


def fft(points: int = 8, seed: int = 0, **costs: Unpack[Costs]) -> TaskGraph:
    """Returns one graph of `FFT`: for m points 2 m - 1 recursive calls and m log2 m butterflies.

    2 m - 2 edges join the calls, and 2 m log2 m edges lead to the butterflies.

    Args:
        points: m.
        seed: As in `random_task_graph`.
        costs: As in `DrawnGraphs`.

    Raises:
        HetgymError: If an argument is out of range.
    """
    return graph_from(FFT, "fft", seed, points=points, **costs)


class GaussianElimination(StructuredGraphs):
    """Gaussian elimination by columns: each step prepares its pivot column and updates the columns to the right.

    After Cosnard, Marrakchi, Robert, Trystram 1988, doi:10.1016/0167-8191(88)90070-1, and Topcuoglu, Hariri, Wu
    2002, doi:10.1109/71.993206, section 5.3.

    Attributes:
        size: Columns of the matrix, m.
    """

    kind: Literal["gaussian-elimination"] = "gaussian-elimination"
    size: Annotated[int, Field(ge=2, le=400)] = 8

    def calls(self) -> Iterator[Call]:
        """Gives the tasks step by step."""
        for k in range(self.size - 1):
            yield Call("pivot", (k,), writes=(k,))
            for j in range(k + 1, self.size):
                yield Call("update", (k, j), reads=(k,), writes=(j,))


def gaussian_elimination(size: int = 8, seed: int = 0, **costs: Unpack[Costs]) -> TaskGraph:
    """Returns one graph of `GaussianElimination`: for m columns (m^2 + m - 2) / 2 tasks and m^2 - m - 1 edges.

    Args:
        size: m.
        seed: As in `random_task_graph`.
        costs: As in `DrawnGraphs`.

    Raises:
        HetgymError: If an argument is out of range.
    """
    return graph_from(GaussianElimination, "gaussian_elimination", seed, size=size, **costs)


class ForkJoin(StructuredGraphs):
    """Stages of parallel tasks between single tasks that join one stage and fork the next.

    A structure of Kwok, Ahmad 1999, doi:10.1145/344588.344618.

    Attributes:
        width: Parallel tasks of each stage.
        stages: How many.
    """

    kind: Literal["fork-join"] = "fork-join"
    width: Annotated[int, Field(ge=1, le=1_000)] = 8
    stages: Annotated[int, Field(ge=1, le=90)] = 3

    def calls(self) -> Iterator[Call]:
        """Gives the tasks stage by stage."""
        yield Call("fork", (0,), writes=(0,))
        for stage in range(self.stages):
            branches = tuple((stage, i) for i in range(self.width))
            for branch in branches:
                yield Call("branch", branch, reads=(stage,), writes=(branch,))
            yield Call("join", (stage,), reads=branches, writes=(stage + 1,))


def fork_join(width: int = 8, stages: int = 3, seed: int = 0, **costs: Unpack[Costs]) -> TaskGraph:
    """Returns one graph of `ForkJoin`: (width + 1) stages + 1 tasks and 2 width stages edges.

    Args:
        width: Parallel tasks of each stage.
        stages: How many.
        seed: As in `random_task_graph`.
        costs: As in `DrawnGraphs`.

    Raises:
        HetgymError: If an argument is out of range.
    """
    return graph_from(ForkJoin, "fork_join", seed, width=width, stages=stages, **costs)


class Chains(StructuredGraphs):
    """Independent chains of tasks. A structure of Coleman, Krishnamachari 2025, doi:10.1109/IPDPS64566.2025.00014.

    Attributes:
        chains: How many.
        length: Tasks in each.
    """

    kind: Literal["chains"] = "chains"
    chains: Annotated[int, Field(ge=1, le=1_000)] = 5
    length: Annotated[int, Field(ge=1, le=100)] = 6

    def calls(self) -> Iterator[Call]:
        """Gives the tasks chain by chain."""
        for chain in range(self.chains):
            for link in range(self.length):
                yield Call("link", (chain, link), writes=(chain,))


def chains(chains: int = 5, length: int = 6, seed: int = 0, **costs: Unpack[Costs]) -> TaskGraph:
    """Returns one graph of `Chains`: chains x length tasks and chains x (length - 1) edges.

    Args:
        chains: How many.
        length: Tasks in each.
        seed: As in `random_task_graph`.
        costs: As in `DrawnGraphs`.

    Raises:
        HetgymError: If an argument is out of range.
    """
    return graph_from(Chains, "chains", seed, chains=chains, length=length, **costs)
