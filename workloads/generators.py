"""Where an environment's task graphs come from. A source is data: it can be written in YAML."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from ..compilation import inner, kernel
from ..errors import HetgymError, one_line, unknown_name
from .canonical import CANONICAL_GRAPHS
from .counter_random import random_integer, random_stream, random_uniform
from .task_graph import GraphArrays, IntArray, TaskGraph
from .wfformat import read_wfformat

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class GraphSource(BaseModel, ABC):
    """Gives the task graph of every (seed, episode)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    varies: ClassVar[bool]
    """Whether episodes have different graphs."""

    @property
    @abstractmethod
    def kinds(self) -> tuple[str, ...]:
        """The device kinds of every graph."""

    @property
    @abstractmethod
    def max_tasks(self) -> int:
        """No graph has more tasks."""

    @property
    @abstractmethod
    def max_edges(self) -> int:
        """No graph has more edges."""

    @abstractmethod
    def sample(self, seed: int, episode: int) -> TaskGraph:
        """Returns the graph of an episode; the same seed and episode give the same graph."""


class OneGraph(GraphSource):
    """The same graph in every episode."""

    varies: ClassVar[bool] = False

    @abstractmethod
    def load(self) -> TaskGraph:
        """Returns the graph."""

    @cached_property
    def task_graph(self) -> TaskGraph:
        """The graph, loaded once."""
        return self.load()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The device kinds of the graph."""
        return self.task_graph.kinds

    @property
    def max_tasks(self) -> int:
        """The graph's tasks."""
        return self.task_graph.num_tasks

    @property
    def max_edges(self) -> int:
        """The graph's edges."""
        return self.task_graph.num_edges

    def sample(self, seed: int, episode: int) -> TaskGraph:
        """Returns the graph."""
        return self.task_graph


class CanonicalGraph(OneGraph):
    """The worked example of a paper.

    Attributes:
        graph: A name from `CANONICAL_GRAPHS`.
    """

    kind: Literal["canonical"] = "canonical"
    graph: str

    @field_validator("graph")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in CANONICAL_GRAPHS:
            raise unknown_name("graph", name, sorted(CANONICAL_GRAPHS))
        return name

    def load(self) -> TaskGraph:
        """Returns the paper's graph."""
        return CANONICAL_GRAPHS[self.graph]()


class WorkflowFile(OneGraph):
    """A recorded workflow.

    Attributes:
        path: A JSON file in WfFormat 1.5; in a YAML scenario, relative to that file.
        speedup: As in `read_wfformat`.
    """

    kind: Literal["wfformat"] = "wfformat"
    path: Path
    speedup: dict[str, _Positive] = {}

    @field_validator("path")
    @classmethod
    def _beside_scenario(cls, path: Path, info: ValidationInfo) -> Path:
        return info.context["folder"] / path if info.context else path

    def load(self) -> TaskGraph:
        """Reads the file."""
        return read_wfformat(self.path, self.speedup)


class DrawnGraphs(GraphSource):
    """Graphs whose durations and volumes are drawn, on unrelated devices that they bring with them.

    A task's mean duration is uniform on (0, 2 ``mean_duration``] s, its duration on each device uniform within
    ``heterogeneity`` / 2 around that. Volumes are uniform on (0, 2 ``ccr`` ``mean_duration``] bytes, at 1 byte/s.
    After Topcuoglu, Hariri, Wu 2002, doi:10.1109/71.993206.

    Attributes:
        num_devices: Devices, one kind each, P.
        ccr: Mean transfer time over mean duration.
        mean_duration: Seconds that a task takes on average.
        heterogeneity: From 0, all devices alike, to 2 (the paper's beta).
    """

    varies: ClassVar[bool] = True

    kind: str
    num_devices: Annotated[int, Field(ge=1, le=1_000)] = 4
    ccr: _NonNegative = 1.0
    mean_duration: _Positive = 1.0
    heterogeneity: Annotated[float, Field(ge=0, le=2)] = 1.0

    @property
    def kinds(self) -> tuple[str, ...]:
        """One kind for each device: p1, p2, ..."""
        return tuple(f"p{device + 1}" for device in range(self.num_devices))

    @property
    def task_names(self) -> tuple[str, ...]:
        """One for each task, or none, as in `TaskGraph`."""
        return ()

    @abstractmethod
    def join(self, arrays: GraphArrays, rows: IntArray, seeds: IntArray, episodes: IntArray) -> None:
        """Writes how many tasks and edges there are, and what the edges join, but not their bytes."""

    def fill(self, arrays: GraphArrays, rows: IntArray, seeds: IntArray, episodes: IntArray) -> None:
        """Writes the graphs of several (seed, episode) into rows of an array."""
        self.join(arrays, rows, seeds, episodes)
        _draw_costs(arrays, rows, seeds, episodes, self.ccr, self.mean_duration, self.heterogeneity)

    def sample(self, seed: int, episode: int) -> TaskGraph:
        """Returns the graph of an episode."""
        arrays = GraphArrays.empty(1, self.max_tasks, self.num_devices, self.max_edges)
        self.fill(arrays, np.zeros(1, np.int64), np.array([seed]), np.array([episode]))
        edges = arrays.edges[0, : arrays.num_edges[0]]
        return TaskGraph(
            name=f"{self.kind}-{seed}-{episode}",
            kinds=self.kinds,
            duration=arrays.duration[0],
            edges=np.array([edges["source"], edges["target"]]),
            edge_bytes=edges["bytes"],
            task_names=self.task_names,
        )


class RandomGraphs(DrawnGraphs):
    """Random layered graphs, after Topcuoglu, Hariri, Wu 2002, doi:10.1109/71.993206.

    The number of layers is uniform around ``sqrt(num_tasks) / shape``, by up to half of it; every layer has a
    task, and the others fall into layers at random. Every task below the first layer hears from a task of the
    layer above; every task above the last layer draws a number of receivers, uniform on 1 ... ``out_degree``,
    and is joined to later layers until it has them (a receiver drawn twice counts once). Durations and volumes
    are those of `DrawnGraphs`.

    Attributes:
        num_tasks: Tasks in every graph, n.
        shape: Below 1: long and narrow; above 1: short and wide (the paper's alpha).
        out_degree: The largest number of receivers that a task draws.
    """

    kind: Literal["random"] = "random"
    num_tasks: Annotated[int, Field(ge=1, le=100_000)] = 20
    shape: _Positive = 1.0
    out_degree: Annotated[int, Field(ge=1, le=10_000)] = 4

    @property
    def max_tasks(self) -> int:
        """Every graph has exactly this many tasks."""
        return self.num_tasks

    @property
    def max_edges(self) -> int:
        """One edge from the layer above for each task, and the drawn receivers; or all pairs if they are fewer."""
        return min(self.num_tasks * (self.out_degree + 1), self.num_tasks * (self.num_tasks - 1) // 2)

    def join(self, arrays: GraphArrays, rows: IntArray, seeds: IntArray, episodes: IntArray) -> None:
        """Draws what the edges join."""
        layer_end, room = np.empty((2, arrays.duration.shape[1]), np.int64)
        _draw_structure(arrays, rows, seeds, episodes, layer_end, room, self.shape, self.out_degree)


def random_task_graph(
    num_tasks: int = 20,
    num_devices: int = 4,
    ccr: float = 1.0,
    seed: int = 0,
    *,
    shape: float = 1.0,
    out_degree: int = 4,
    mean_duration: float = 1.0,
    heterogeneity: float = 1.0,
) -> TaskGraph:
    """Returns one graph of `RandomGraphs`, whose attributes the arguments are.

    Raises:
        HetgymError: If an argument is out of range.
    """
    return graph_from(
        RandomGraphs,
        "random_task_graph",
        seed,
        num_tasks=num_tasks,
        num_devices=num_devices,
        ccr=ccr,
        shape=shape,
        out_degree=out_degree,
        mean_duration=mean_duration,
        heterogeneity=heterogeneity,
    )


def graph_from(source: type[GraphSource], function: str, seed: int = 0, /, **settings: Any) -> TaskGraph:
    """Returns the first graph of a source, for a function whose arguments are the source's settings.

    Args:
        source: The class.
        function: The function's name, for the message.
        seed: From 0 to 2^63 - 1.
        settings: Attributes of the source.

    Raises:
        HetgymError: If an argument is out of range.
    """
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise HetgymError(f"{function}: seed: must be an integer from 0 to 2^63 - 1 (given: {seed!r})")
    try:
        return source(**settings).sample(seed, 0)
    except ValidationError as error:
        raise one_line(error, function) from error


@kernel
def _draw_structure(
    arrays: GraphArrays,
    rows: IntArray,
    seeds: IntArray,
    episodes: IntArray,
    layer_end: IntArray,
    room: IntArray,
    shape: float,
    out_degree: int,
) -> None:
    for i in range(rows.size):
        row, seed, episode = rows[i], seeds[i], episodes[i]
        _draw_layers(layer_end, room, shape, random_stream(seed, episode, 0))
        arrays.num_tasks[row] = layer_end.size
        arrays.num_edges[row] = _draw_edges(
            arrays.edges[row], layer_end, room, out_degree, random_stream(seed, episode, 1)
        )


@kernel
def _draw_costs(
    arrays: GraphArrays,
    rows: IntArray,
    seeds: IntArray,
    episodes: IntArray,
    ccr: float,
    mean_duration: float,
    heterogeneity: float,
) -> None:
    num_devices = arrays.duration.shape[2]
    for i in range(rows.size):
        row, seed, episode = rows[i], seeds[i], episodes[i]
        volumes = random_stream(seed, episode, 2)
        for edge in range(arrays.num_edges[row]):
            arrays.edges[row, edge].bytes = 2.0 * ccr * mean_duration * random_uniform(volumes, edge)
        means = random_stream(seed, episode, 3)
        spreads = random_stream(seed, episode, 4)
        for task in range(arrays.num_tasks[row]):
            mean = 2.0 * mean_duration * random_uniform(means, task)
            for device in range(num_devices):
                spread = random_uniform(spreads, task * num_devices + device) - 0.5
                arrays.duration[row, task, device] = mean * (1.0 + heterogeneity * spread)


@inner
def _draw_layers(layer_end: IntArray, width: IntArray, shape: float, stream: np.uint64) -> None:
    """Writes for each task the first task of the next layer; tasks are numbered layer by layer."""
    num_tasks = layer_end.size
    height = min(np.sqrt(num_tasks) / shape, 2.0 * num_tasks)
    layers = int(height * (0.5 + random_uniform(stream, 0)) + 0.5)
    layers = min(max(layers, 1), num_tasks)
    for layer in range(layers):
        width[layer] = 1
    for task in range(num_tasks - layers):
        width[random_integer(stream, task + 1, layers)] += 1
    begin = 0
    for layer in range(layers):
        end = begin + width[layer]
        for task in range(begin, end):
            layer_end[task] = end
        begin = end


@inner
def _draw_edges(
    edges: NDArray[np.void], layer_end: IntArray, sender_above: IntArray, out_degree: int, stream: np.uint64
) -> int:
    """Writes the edges sorted by (sender, receiver), without repetition, and returns how many there are."""
    num_tasks = layer_end.size
    # Each task below the first layer first draws a sender from the layer above it.
    above = 0
    for task in range(layer_end[0], num_tasks):
        if layer_end[layer_end[above]] == task:
            above = layer_end[above]
        sender_above[task] = above + random_integer(stream, task, layer_end[above] - above)
    count = 0
    draw = num_tasks
    for sender in range(num_tasks):
        first = count
        below = layer_end[sender]
        later = num_tasks - below
        for task in range(below, layer_end[below] if later > 0 else below):
            if sender_above[task] == sender:
                edges[count].target = task
                count += 1
        wanted = 1 + random_integer(stream, draw, out_degree) if later > 0 else 0
        draw += 1
        for _ in range(wanted - (count - first)):
            receiver = below + random_integer(stream, draw, later)
            draw += 1
            position = count
            while position > first and edges[position - 1].target > receiver:
                position -= 1
            if position == first or edges[position - 1].target != receiver:
                for later_edge in range(count, position, -1):
                    edges[later_edge].target = edges[later_edge - 1].target
                edges[position].target = receiver
                count += 1
        for edge in range(first, count):
            edges[edge].source = sender
    return count
