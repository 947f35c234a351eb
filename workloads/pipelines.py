"""Training pipelines: the stages of a model on devices, microbatches that pass them forward and back."""

from __future__ import annotations

from itertools import chain, pairwise
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from ..errors import HetgymError
from .generators import OneGraph, graph_from
from .task_graph import TaskGraph, edges_from

Schedule = Literal["gpipe", "1f1b", "interleaved", "free"]

_Count = Annotated[int, Field(ge=1, le=256)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Pass(NamedTuple):
    """A microbatch passes one part of the model, forward or backward.

    Attributes:
        is_backward: Whether it does so backward.
        part: Which of the model's parts, from the input on.
        microbatch: Which microbatch.
    """

    is_backward: bool
    part: int
    microbatch: int


class Pipeline(OneGraph):
    """One training step of a model whose S stages are on S devices, by M microbatches.

    The model is cut into S v parts of equal cost; part p is on the device of stage p mod S. A microbatch passes all
    parts forward, then all backward. Each device has a kind of its own, ``device-1``, ``device-2``, ..., so that a
    schedule decides nothing but the order on each device. An edge of 0 bytes between the passes that follow one
    another on a device fixes that as well, to the order of

    - ``gpipe``: all forward, then all backward, the last microbatch first (Huang et al. 2019, arXiv:1811.06965);
    - ``1f1b``: one forward, one backward in turns, after as many forward passes as there are later stages
      (PipeDream-Flush: Narayanan et al. 2021, arXiv:2006.09503);
    - ``interleaved``: the same with v > 1 parts a device, M a multiple of S (Narayanan et al. 2021, arXiv:2104.04473,
      section 2.2, with the number of first forward passes from their code, Megatron-LM: 2 for each later stage and S
      for each part but one).

    With ``free`` a device may take its passes in any order. The output layer's share is what Yeung et al. 2024,
    arXiv:2411.05288, set out to balance.

    With several replicas, each has its own pipeline. When a device is through, its gradients are summed with those of
    the same stage in the other replicas, in a ring (Patarasuk, Yuan 2009, doi:10.1016/j.jpdc.2008.09.002): 2 (R - 1)
    steps, in each of which a device sends an R-th of the gradients to the next replica.

    Attributes:
        schedule: ``gpipe``, ``1f1b``, ``interleaved`` or ``free``.
        stages: Devices of a pipeline, S.
        microbatches: How many each pipeline takes, M.
        chunks: Parts of the model on each device, v.
        forward: Seconds that a microbatch takes forward through all parts on a device at speed 1.
        backward_ratio: How many times longer it takes backward.
        embedding: Seconds more forward on the first part.
        head: Seconds more forward on the last part.
        activation_bytes: What a microbatch carries from part to part, and back as gradients.
        speeds: One for each stage, which durations are divided by; 1 by default.
        replicas: Pipelines side by side, R.
        gradient_bytes: Of a device's parameters; what is summed over the replicas.
        adjacent: Which devices have adjacent numbers, with several replicas: the ``replicas`` of a stage, or the
            ``stages`` of a replica.
    """

    kind: Literal["pipeline"] = "pipeline"
    schedule: Schedule = "free"
    stages: _Count = 4
    microbatches: _Count = 8
    chunks: Annotated[int, Field(ge=1, le=16)] = 1
    forward: _Positive = 1.0
    backward_ratio: _Positive = 2.0
    embedding: _NonNegative = 0.0
    head: _NonNegative = 0.0
    activation_bytes: _NonNegative = 0.0
    speeds: tuple[_Positive, ...] = ()
    replicas: Annotated[int, Field(ge=1, le=64)] = 1
    gradient_bytes: _NonNegative = 0.0
    adjacent: Literal["replicas", "stages"] = "replicas"

    @model_validator(mode="after")
    def _schedule_fits(self) -> Pipeline:
        if self.schedule in {"gpipe", "1f1b"} and self.chunks > 1:
            raise ValueError(f"chunks: must be 1 with schedule {self.schedule!r} (given: {self.chunks})")
        if self.schedule == "interleaved" and self.chunks == 1:
            raise ValueError("chunks: must be 2 or more with schedule 'interleaved' (given: 1)")
        if self.schedule == "interleaved" and self.microbatches % self.stages:
            raise ValueError(
                f"microbatches: must be a multiple of stages, {self.stages}, with schedule 'interleaved' "
                f"(given: {self.microbatches})"
            )
        if self.speeds and len(self.speeds) != self.stages:
            raise ValueError(f"speeds: must be {self.stages}, one for each stage (given: {len(self.speeds)})")
        return self

    @property
    def parts(self) -> int:
        """Parts of the model, S v."""
        return self.stages * self.chunks

    def passes(self, stage: int) -> list[Pass]:
        """Returns the passes of a stage's device, in the order of the schedule."""
        groups = [range(self.microbatches)]
        if self.schedule == "interleaved":
            groups = [range(first, first + self.stages) for first in range(0, self.microbatches, self.stages)]
        parts = range(stage, self.parts, self.stages)
        forward = [Pass(False, part, number) for group in groups for part in parts for number in group]
        backward = [Pass(True, part, number) for group in groups for part in reversed(parts) for number in group]
        later = self.stages - 1 - stage
        match self.schedule:
            case "1f1b":
                return _in_turns(forward, backward, first=later)
            case "interleaved":
                return _in_turns(forward, backward, first=2 * later + (self.chunks - 1) * self.stages)
            case _:
                return [*forward, *reversed(backward)]

    def seconds(self, step: Pass) -> float:
        """Returns how long a pass takes on its device."""
        work = self.forward / self.chunks
        if step.part == 0:
            work += self.embedding
        if step.part == self.parts - 1:
            work += self.head
        if step.is_backward:
            work *= self.backward_ratio
        return work / self.speeds[step.part % self.stages] if self.speeds else work

    def load(self) -> TaskGraph:
        """Returns the graph; its tasks are numbered microbatch by microbatch along their way."""
        tasks = _Tasks(self.stages * self.replicas)
        for replica in range(self.replicas):
            self._add_pipeline(tasks, replica)
        if self.replicas > 1:
            for stage in range(self.stages):
                self._add_ring(tasks, stage)
        return tasks.graph(f"pipeline-{self.schedule}-{self.stages}x{self.microbatches}")

    def _device(self, stage: int, replica: int) -> int:
        if self.adjacent == "replicas":
            return stage * self.replicas + replica
        return replica * self.stages + stage

    def _name(self, word: str, *numbers: int, replica: int) -> str:
        return " ".join(map(str, (word, *numbers, replica) if self.replicas > 1 else (word, *numbers)))

    def _add_pipeline(self, tasks: _Tasks, replica: int) -> None:
        for number in range(self.microbatches):
            there = [Pass(False, part, number) for part in range(self.parts)]
            back = [Pass(True, part, number) for part in reversed(range(self.parts))]
            way = []
            for step in (*there, *back):
                name = self._name("B" if step.is_backward else "F", step.part, number, replica=replica)
                way.append((step, replica))
                tasks.add(way[-1], name, self._device(step.part % self.stages, replica), self.seconds(step))
            for before, after in pairwise(way):
                turns_back = before[0].part == after[0].part
                tasks.join(before, after, 0.0 if turns_back else self.activation_bytes)
        if self.schedule != "free":
            for stage in range(self.stages):
                for first, second in pairwise(self.passes(stage)):
                    tasks.join((first, replica), (second, replica), 0.0)

    def _add_ring(self, tasks: _Tasks, stage: int) -> None:
        """Adds the steps in which the replicas of a stage sum their gradients; step 0 is when a device is through."""
        for step in range(2 * self.replicas - 1):
            for replica in range(self.replicas):
                device = self._device(stage, replica)
                tasks.add((step, stage, replica), self._name("R", stage, step, replica=replica), device, 0.0)
        for replica in range(self.replicas):
            for each in self.passes(stage):
                if each.is_backward:
                    tasks.join((each, replica), (0, stage, replica), 0.0)
            ahead = (replica + 1) % self.replicas
            for step in range(2 * self.replicas - 2):
                tasks.join((step, stage, replica), (step + 1, stage, replica), 0.0)
                tasks.join((step, stage, replica), (step + 1, stage, ahead), self.gradient_bytes / self.replicas)


class _Tasks:
    """A graph in the making, each of whose tasks runs on one device."""

    def __init__(self, num_devices: int) -> None:
        self._num_devices = num_devices
        self._number: dict[object, int] = {}
        self._names: list[str] = []
        self._seconds: list[list[float]] = []
        self._edges: dict[tuple[int, int], float] = {}

    def add(self, key: object, name: str, device: int, seconds: float) -> None:
        self._number[key] = len(self._number)
        self._names.append(name)
        self._seconds.append([seconds if each == device else np.inf for each in range(self._num_devices)])

    def join(self, sender: object, receiver: object, num_bytes: float) -> None:
        """Adds an edge, unless there is one."""
        self._edges.setdefault((self._number[sender], self._number[receiver]), num_bytes)

    def graph(self, name: str) -> TaskGraph:
        edges, edge_bytes = edges_from([(*ends, size) for ends, size in self._edges.items()])
        return TaskGraph(
            name=name,
            kinds=tuple(f"device-{device + 1}" for device in range(self._num_devices)),
            duration=np.array(self._seconds),
            edges=edges,
            edge_bytes=edge_bytes,
            task_names=tuple(self._names),
        )


def _in_turns(forward: list[Pass], backward: list[Pass], first: int) -> list[Pass]:
    """Returns so many forward passes, then one forward and one backward in turns, then what is left backward."""
    alternating = chain.from_iterable(zip(forward[first:], backward, strict=False))
    return [*forward[:first], *alternating, *backward[len(forward[first:]) :]]


def pipeline(
    schedule: Schedule = "free", stages: int = 4, microbatches: int = 8, chunks: int = 1, **settings: Any
) -> TaskGraph:
    """Returns one training step of a pipeline: 2 S v M R tasks and, if R > 1, S R (2 R - 1) more.

    Args:
        schedule: As in `Pipeline`.
        stages: S.
        microbatches: M.
        chunks: v.
        settings: Other attributes of `Pipeline`, such as ``replicas``, R.

    Raises:
        HetgymError: If an argument is out of range.
    """
    return graph_from(
        Pipeline, "pipeline", schedule=schedule, stages=stages, microbatches=microbatches, chunks=chunks, **settings
    )


def bubble_fraction(stages: int, microbatches: int, chunks: int = 1) -> float:
    """Returns the part of a pipeline's time in which a device idles: (S - 1) / (v M + S - 1).

    So a step of M microbatches takes (M + (S - 1) / v) (f + b), with f and b the seconds of a device's whole share of
    one microbatch forward and backward. It holds for equal stages without transfers: of GPipe and 1F1B (v = 1), and of
    the interleaved schedule if M is a multiple of S.

    Source: Narayanan et al. 2021, arXiv:2104.04473, sections 2.2.1 and 2.2.2, who relate the idle time to the busy
    time, (S - 1) / (v M).

    Args:
        stages: Devices, S.
        microbatches: M.
        chunks: Parts of the model on each device, v.

    Raises:
        HetgymError: If an argument is less than 1.
    """
    for name, given in (("stages", stages), ("microbatches", microbatches), ("chunks", chunks)):
        if given < 1:
            raise HetgymError(f"bubble_fraction: {name}: must be 1 or more (given: {given})")
    return (stages - 1) / (chunks * microbatches + stages - 1)
