"""Reads and writes workflows in WfFormat 1.5, the JSON of the WfCommons project.

The format: Coleman et al., Future Generation Computer Systems 128, 2022, doi:10.1016/j.future.2021.09.043.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from ..errors import HetgymError, one_line, read_text
from .task_graph import TaskGraph

REFERENCE_CLOCK = 2.4e9
"""Hz. Durations are referred to a core at this rate; so is a task whose machine has no recorded rate."""

_Id = Annotated[str, Field(min_length=1)]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Bytes = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _File(BaseModel):
    id: _Id
    sizeInBytes: _Bytes  # noqa: N815


class _Task(BaseModel):
    id: _Id
    parents: list[_Id] = []
    children: list[_Id] = []
    inputFiles: list[_Id] = []  # noqa: N815
    outputFiles: list[_Id] = []  # noqa: N815


class _Specification(BaseModel):
    tasks: Annotated[list[_Task], Field(min_length=1)]
    files: list[_File] = []


class _Run(BaseModel):
    id: _Id
    runtimeInSeconds: _Seconds  # noqa: N815
    machines: list[str] = []


class _Cpu(BaseModel):
    speedInMHz: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None  # noqa: N815


class _Machine(BaseModel):
    nodeName: str  # noqa: N815
    cpu: _Cpu = _Cpu()


class _Execution(BaseModel):
    tasks: list[_Run]
    machines: list[_Machine] = []


class _Workflow(BaseModel):
    specification: _Specification
    execution: _Execution


class _Document(BaseModel):
    name: str
    schemaVersion: Literal["1.5"]  # noqa: N815
    workflow: _Workflow


def read_wfformat(path: str | Path, speedup: Mapping[str, float] | None = None) -> TaskGraph:
    """Reads a workflow and its recorded execution.

    A task's duration on a CPU at speed 1 (2.4 GHz) is its recorded runtime times the recorded clock rate of its
    machine over 2.4 GHz. The bytes of an edge are those of the files that its parent writes and its child
    reads.

    Args:
        path: The JSON file.
        speedup: Device kinds besides ``cpu`` that run every task so many times faster than a CPU at speed 1. The
            format records CPUs only, so this is the caller's assumption.

    Returns:
        The task graph. Its tasks are in the file's order.

    Raises:
        HetgymError: If the file is not readable, not JSON, not WfFormat 1.5, or contradicts itself: an unknown
            parent, child or file, a task without a runtime, a cycle, a negative number.
    """
    path = Path(path)
    try:
        document = _Document.model_validate_json(read_text(path, "workflow"))
    except ValidationError as error:
        raise one_line(error, str(path)) from error
    tasks = document.workflow.specification.tasks
    index = {task.id: position for position, task in enumerate(tasks)}
    if len(index) < len(tasks):
        raise HetgymError(f"{path}: specification.tasks: two tasks have the id {_first_repeated(tasks)!r}")
    volume = _edge_bytes(path, tasks, index, _file_sizes(path, document.workflow.specification.files))
    factors = {"cpu": 1.0, **(speedup or {})}
    runtime = _reference_runtimes(path, tasks, document.workflow.execution)
    try:
        return TaskGraph(
            name=document.name,
            kinds=tuple(factors),
            duration=runtime[:, None] / np.array(list(factors.values())),
            edges=np.array(list(volume), np.int64).reshape(-1, 2).T,
            edge_bytes=np.array(list(volume.values()), np.float64),
            task_names=tuple(index),
        )
    except HetgymError as error:
        raise HetgymError(f"{path}: {error}") from error


def _first_repeated(tasks: list[_Task]) -> str:
    seen: set[str] = set()
    return next(task.id for task in tasks if task.id in seen or seen.add(task.id))  # type: ignore[func-returns-value]


def _file_sizes(path: Path, files: list[_File]) -> dict[str, float]:
    sizes: dict[str, float] = {}
    for file in files:
        if sizes.setdefault(file.id, file.sizeInBytes) != file.sizeInBytes:
            raise HetgymError(f"{path}: specification.files: {file.id!r} is listed twice, with different sizes")
    return sizes


def _edge_bytes(
    path: Path, tasks: list[_Task], index: dict[str, int], sizes: dict[str, float]
) -> dict[tuple[int, int], float]:
    """Returns the bytes of each edge (parent, child); an edge counts if either end names it."""
    for task in tasks:
        for role, others in (("parent", task.parents), ("child", task.children)):
            for other in others:
                if other not in index:
                    raise HetgymError(
                        f"{path}: task {task.id!r}: its {role} {other!r} is not among specification.tasks"
                    )
        for file in (*task.inputFiles, *task.outputFiles):
            if file not in sizes:
                raise HetgymError(f"{path}: task {task.id!r}: its file {file!r} is not among specification.files")
    edges = {(index[parent], index[task.id]) for task in tasks for parent in task.parents}
    edges |= {(index[task.id], index[child]) for task in tasks for child in task.children}
    reads = [frozenset(task.inputFiles) for task in tasks]
    writes = [frozenset(task.outputFiles) for task in tasks]
    return {
        (parent, child): float(sum(sizes[file] for file in sorted(writes[parent] & reads[child])))
        for parent, child in sorted(edges)
    }


def _reference_runtimes(path: Path, tasks: list[_Task], execution: _Execution) -> np.ndarray:
    """Returns what each task would take on a core at the reference clock, float64 (T,), seconds."""
    clock = {machine.nodeName: machine.cpu.speedInMHz * 1e6 for machine in execution.machines if machine.cpu.speedInMHz}
    runs = {run.id: run for run in execution.tasks}
    runtime = np.empty(len(tasks))
    for position, task in enumerate(tasks):
        if task.id not in runs:
            raise HetgymError(f"{path}: task {task.id!r}: execution.tasks has no runtimeInSeconds for it")
        run = runs[task.id]
        rates = [clock.get(machine, REFERENCE_CLOCK) for machine in run.machines] or [REFERENCE_CLOCK]
        runtime[position] = run.runtimeInSeconds * (sum(rates) / len(rates)) / REFERENCE_CLOCK
    return runtime


def write_wfformat(graph: TaskGraph, path: str | Path, created_at: datetime | None = None) -> None:
    """Writes a task graph as a workflow that `read_wfformat` reads back.

    Every edge becomes a file of its own; sizes are rounded to whole bytes. The runtimes are those of kind
    ``cpu`` on one machine at the reference clock. The file is replaced atomically.

    Args:
        graph: Must have durations of kind ``cpu`` for every task.
        path: Where to write.
        created_at: The file's date; now by default.

    Raises:
        HetgymError: If a task cannot run on kind ``cpu``.
    """
    if "cpu" not in graph.kinds or not np.isfinite(graph.duration[:, graph.kinds.index("cpu")]).all():
        raise HetgymError(
            f"task graph {graph.name!r}: WfFormat needs a duration of every task on kind 'cpu', not on {graph.kinds}"
        )
    date = (created_at or datetime.now(UTC)).isoformat()
    runtime = graph.duration[:, graph.kinds.index("cpu")].tolist()
    names = graph.task_names
    edges = [(names[source], names[target]) for source, target in graph.edges.T]
    machine = "reference"
    specification = {
        "tasks": [
            {
                "name": name,
                "id": name,
                "parents": [parent for parent, child in edges if child == name],
                "children": [child for parent, child in edges if parent == name],
                "inputFiles": [f"{parent}->{child}" for parent, child in edges if child == name],
                "outputFiles": [f"{parent}->{child}" for parent, child in edges if parent == name],
            }
            for name in names
        ],
        "files": [
            {"id": f"{parent}->{child}", "sizeInBytes": round(size)}
            for (parent, child), size in zip(edges, graph.edge_bytes.tolist(), strict=True)
        ],
    }
    execution = {
        "makespanInSeconds": sum(runtime),
        "executedAt": date,
        "tasks": [
            {"id": name, "runtimeInSeconds": seconds, "machines": [machine]}
            for name, seconds in zip(names, runtime, strict=True)
        ],
        "machines": [{"nodeName": machine, "cpu": {"coreCount": 1, "speedInMHz": int(REFERENCE_CLOCK / 1e6)}}],
    }
    document = {
        "name": graph.name,
        "description": "Written by hetgym: runtimes as on one core at the reference clock.",
        "createdAt": date,
        "schemaVersion": "1.5",
        "workflow": {"specification": specification, "execution": execution},
    }
    partial = Path(f"{path}.partial")
    partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)
