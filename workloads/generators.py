"""Where an environment's task graphs come from. A source is data: it can be written in YAML."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, InstanceOf, ValidationError, ValidationInfo, field_validator

from ..compilation import inner, kernel
from ..errors import HetgymError, one_line, unknown_name
from ..hardware_models import Platform
from .canonical import CANONICAL_GRAPHS
from .counter_random import random_integer, random_stream, random_uniform
from .graph_file import load_task_graph
from .task_graph import FloatArray, GraphArrays, IntArray, TaskGraph
from .wfformat import read_wfformat

DEFAULT_DEVICES = 4
"""How many devices drawn graphs bring with them."""

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

    @property
    def max_jobs(self) -> int:
        """No graph has more jobs."""
        return 1

    def on(self, platform: Platform) -> GraphSource:
        """Returns the source of the graphs as they are on a platform; most are the same on all.

        Raises:
            HetgymError: If the source cannot give graphs for this platform.
        """
        return self

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

    @property
    def max_jobs(self) -> int:
        """The graph's jobs."""
        return self.task_graph.num_jobs

    def sample(self, seed: int, episode: int) -> TaskGraph:
        """Returns the graph."""
        return self.task_graph


class GivenGraph(OneGraph):
    """A graph that was made in Python; the one source that YAML cannot hold.

    Attributes:
        graph: It.
    """

    graph: InstanceOf[TaskGraph]

    def load(self) -> TaskGraph:
        """Returns it."""
        return self.graph


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


class _File(OneGraph):
    """The graph of a file.

    Attributes:
        path: The file; in a YAML scenario, relative to that.
    """

    path: Path

    @field_validator("path")
    @classmethod
    def _beside_scenario(cls, path: Path, info: ValidationInfo) -> Path:
        return info.context["folder"] / path if info.context else path


class GraphFile(_File):
    """A whole graph, as `load_task_graph` reads it.

    Attributes:
        path: A JSON file of `save_task_graph`; in a YAML scenario, relative to that file.
    """

    kind: Literal["file"] = "file"

    def load(self) -> TaskGraph:
        """Reads the file."""
        return load_task_graph(self.path)


class WorkflowFile(_File):
    """A recorded workflow, as `read_wfformat` reads it.

    The format records processors only. On a platform the workflow runs on devices of kind ``cpu``, of the kinds in
    `Platform.processors`, and of those that ``speedup`` names: whether a GPU or another engine could run its programs,
    and how fast, is for the user to say.

    Attributes:
        path: A JSON file in WfFormat 1.5; in a YAML scenario, relative to that file.
        speedup: Device kinds besides ``cpu``, and how many times faster than a CPU at speed 1 they run every task;
            this counts before `Platform.processors`.
    """

    kind: Literal["wfformat"] = "wfformat"
    speedup: dict[str, _Positive] = {}

    def on(self, platform: Platform) -> WorkflowFile:
        """Returns the source of the workflow with durations for all kinds of the platform that run it.

        Raises:
            HetgymError: If ``speedup`` names a kind that the platform has not.
        """
        for kind in self.speedup:
            if kind not in platform.kinds:
                raise unknown_name(f"speedup: kind of device on platform {platform.name!r}:", kind, [*platform.kinds])
        if not platform.processors:
            return self
        return WorkflowFile(path=self.path, speedup={**platform.processors, **self.speedup})

    def load(self) -> TaskGraph:
        """Reads the file."""
        return read_wfformat(self.path, self.speedup)


class Law(NamedTuple):
    """What durations and volumes are drawn by, as kernels take it."""

    kind: IntArray  # (P,) place of each column's device kind among the kinds
    speed: FloatArray  # (P,) of each column's device
    num_kinds: int  # K
    mean_duration: float  # seconds on a device at speed 1
    heterogeneity: float
    mean_volume: float  # bytes


class DrawnGraphs(GraphSource):
    """Graphs whose durations and volumes are drawn, on unrelated devices that they bring with them, or on a platform.

    A task's mean duration is uniform on (0, 2 ``mean_duration``] s, its duration on each kind of device, at speed 1,
    uniform within ``heterogeneity`` / 2 around that. After Topcuoglu, Hariri, Wu 2002, doi:10.1109/71.993206.

    Volumes are uniform on (0, 2 V] bytes. V is such that a transfer of V bytes takes, on average over ordered pairs of
    distinct devices and with the latencies, ``ccr`` times what a task takes on average over the devices, with their
    speeds; it is 0 where the latencies alone take longer. The graphs' own devices have speed 1 and are joined by
    1 byte/s without latency, so that V is ``ccr`` ``mean_duration``; so it is on a platform of one device, where
    nothing has to be transferred.

    Attributes:
        num_devices: Devices, one kind each, P; 4 by default. On a platform, as many as that has.
        ccr: Mean transfer time over mean duration.
        mean_duration: Seconds that a task takes on average on a device at speed 1.
        heterogeneity: From 0, all kinds alike, to 2 (the paper's beta).
    """

    varies: ClassVar[bool] = True

    kind: str
    num_devices: Annotated[int, Field(ge=1, le=1_000)] | None = None
    ccr: _NonNegative = 1.0
    mean_duration: _Positive = 1.0
    heterogeneity: Annotated[float, Field(ge=0, le=2)] = 1.0
    _platform: Platform | None = None

    def on(self, platform: Platform) -> Self:
        """Returns the source with durations for the kinds of a platform, and volumes for its links.

        Raises:
            HetgymError: If ``num_devices`` is given and the platform has not as many.
        """
        if self.num_devices not in (None, platform.num_devices):
            raise HetgymError(
                f"num_devices: platform {platform.name!r} has {platform.num_devices}; leave it out "
                f"(given: {self.num_devices})"
            )
        source = type(self)(**self.model_dump())
        source._platform = platform
        return source

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Those of the platform; without one, one for each device: p1, p2, ..."""
        if self._platform:
            return tuple(dict.fromkeys(self._platform.kinds))
        return tuple(f"p{device + 1}" for device in range(self.num_devices or DEFAULT_DEVICES))

    @property
    def task_names(self) -> tuple[str, ...]:
        """One for each task, or none, as in `TaskGraph`."""
        return ()

    @cached_property
    def _device_law(self) -> Law:
        """With one column for each device."""
        if not self._platform:
            return self._kind_law
        kind = [self.kinds.index(kind) for kind in self._platform.kinds]
        speed = [device.speed for device in self._platform.devices]
        return self._kind_law._replace(kind=np.array(kind), speed=np.array(speed))

    @cached_property
    def _kind_law(self) -> Law:
        """With one column for each kind, at speed 1."""
        num_kinds = len(self.kinds)
        return Law(
            kind=np.arange(num_kinds),
            speed=np.ones(num_kinds),
            num_kinds=num_kinds,
            mean_duration=self.mean_duration,
            heterogeneity=self.heterogeneity,
            mean_volume=self._mean_volume,
        )

    @property
    def _mean_volume(self) -> float:
        volume = self.ccr * self.mean_duration
        if self._platform is None or self._platform.num_devices == 1:
            return volume
        pairs = self._platform.num_devices * (self._platform.num_devices - 1)
        latency = self._platform.latency.sum() / pairs
        seconds_per_byte = self._platform.seconds_per_byte.sum() / pairs
        slowness = np.mean([1.0 / device.speed for device in self._platform.devices])
        return float(max(volume * slowness - latency, 0.0) / seconds_per_byte)

    @abstractmethod
    def join(self, arrays: GraphArrays, rows: IntArray, seeds: IntArray, episodes: IntArray) -> None:
        """Writes how many tasks and edges there are, and what the edges join, but not their bytes."""

    def price(self, arrays: GraphArrays, rows: IntArray, seeds: IntArray, episodes: IntArray, law: Law) -> None:
        """Writes the rest: durations by the columns of a law, volumes, and jobs."""
        _draw_costs(arrays, rows, seeds, episodes, law)

    def fill(self, arrays: GraphArrays, rows: IntArray, seeds: IntArray, episodes: IntArray) -> None:
        """Writes the graphs of several (seed, episode) into rows of an array, whose columns are devices."""
        self.join(arrays, rows, seeds, episodes)
        self.price(arrays, rows, seeds, episodes, self._device_law)

    def sample(self, seed: int, episode: int) -> TaskGraph:
        """Returns the graph of an episode."""
        arrays = GraphArrays.empty(1, self.max_tasks, len(self.kinds), self.max_edges, self.max_jobs)
        row, seeds, episodes = np.zeros(1, np.int64), np.array([seed]), np.array([episode])
        self.join(arrays, row, seeds, episodes)
        self.price(arrays, row, seeds, episodes, self._kind_law)
        num_tasks = arrays.num_tasks[0]
        edges = arrays.edges[0, : arrays.num_edges[0]]
        return TaskGraph(
            name=f"{self.kind}-{seed}-{episode}",
            kinds=self.kinds,
            duration=arrays.duration[0, :num_tasks],
            edges=np.array([edges["source"], edges["target"]]),
            edge_bytes=edges["bytes"],
            task_names=self.task_names,
            job=arrays.job[0, :num_tasks],
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


def graph_from(
    source: type[GraphSource], function: str, seed: int = 0, /, platform: Platform | None = None, **settings: Any
) -> TaskGraph:
    """Returns the first graph of a source, for a function whose arguments are the source's settings.

    Args:
        source: The class.
        function: The function's name, for the message.
        seed: From 0 to 2^63 - 1.
        platform: What the graph is for, where that matters.
        settings: Attributes of the source.

    Raises:
        HetgymError: If an argument is out of range.
    """
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise HetgymError(f"{function}: seed: must be an integer from 0 to 2^63 - 1 (given: {seed!r})")
    try:
        made = source(**settings)
    except ValidationError as error:
        raise one_line(error, function) from error
    return (made.on(platform) if platform else made).sample(seed, 0)


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
def _draw_costs(arrays: GraphArrays, rows: IntArray, seeds: IntArray, episodes: IntArray, law: Law) -> None:
    for i in range(rows.size):
        row, seed, episode = rows[i], seeds[i], episodes[i]
        arrays.num_jobs[row] = 1
        arrays.jobs[row, 0].arrival = 0.0
        arrays.jobs[row, 0].deadline = np.inf
        draw_volumes(arrays, row, seed, episode, law)
        means = random_stream(seed, episode, 3)
        spreads = random_stream(seed, episode, 4)
        for task in range(arrays.num_tasks[row]):
            arrays.job[row, task] = 0
            arrays.release[row, task] = 0.0
            mean = 2.0 * law.mean_duration * random_uniform(means, task)
            for column in range(law.kind.size):
                spread = random_uniform(spreads, task * law.num_kinds + law.kind[column]) - 0.5
                duration = mean * (1.0 + law.heterogeneity * spread)
                arrays.duration[row, task, column] = duration / law.speed[column]


@inner
def draw_volumes(arrays: GraphArrays, row: int, seed: int, episode: int, law: Law) -> None:
    """Writes the bytes of a graph's edges."""
    stream = random_stream(seed, episode, 2)
    for edge in range(arrays.num_edges[row]):
        arrays.edges[row, edge].bytes = 2.0 * law.mean_volume * random_uniform(stream, edge)


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
