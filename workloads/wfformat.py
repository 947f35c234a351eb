"""Reads and writes workflows in WfFormat 1.5, the JSON of the WfCommons project.

The format: Coleman et al., Future Generation Computer Systems 128, 2022, doi:10.1016/j.future.2021.09.043.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from ..errors import HetgymError, one_line, read_text, write_text
from .task_graph import TaskGraph

REFERENCE_CLOCK = 2.4e9
"""Hz. Durations are referred to a core at this rate; so is a task whose machine has no recorded rate."""

Value = TypeVar("Value")

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
    cpu: _Cpu | None = None


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
        repeated = next(task.id for position, task in enumerate(tasks) if index[task.id] != position)
        raise HetgymError(f"{path}: specification.tasks: two tasks have the id {repeated!r}")
    files = document.workflow.specification.files
    sizes = _by_name(path, "specification.files", ((file.id, file.sizeInBytes) for file in files))
    volume = _edge_bytes(path, tasks, index, sizes)
    factors = {"cpu": 1.0}
    for kind, factor in (speedup or {}).items():
        if kind == "cpu" or not isinstance(factor, int | float) or not 0 < factor < float("inf"):
            raise HetgymError(
                f"{path}: speedup: {kind!r}: must be a kind besides 'cpu' and above 0 (given: {factor!r})"
            )
        factors[kind] = factor
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


def _by_name(path: Path, where: str, entries: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    """Returns the value of each name; a name may be listed again, but not with another value."""
    values: dict[str, Value] = {}
    for name, value in entries:
        if values.setdefault(name, value) != value:
            raise HetgymError(f"{path}: {where}: {name!r} is listed twice, as {values[name]} and as {value}")
    return values


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
    clock = _by_name(
        path,
        "execution.machines",
        ((machine.nodeName, machine.cpu and machine.cpu.speedInMHz) for machine in execution.machines),
    )
    runs = _by_name(
        path, "execution.tasks", ((run.id, (run.runtimeInSeconds, tuple(run.machines))) for run in execution.tasks)
    )
    runtime = np.empty(len(tasks))
    for position, task in enumerate(tasks):
        if task.id not in runs:
            raise HetgymError(f"{path}: task {task.id!r}: execution.tasks has no runtimeInSeconds for it")
        seconds, machines = runs[task.id]
        rates = [(clock.get(machine) or REFERENCE_CLOCK / 1e6) * 1e6 for machine in machines] or [REFERENCE_CLOCK]
        runtime[position] = seconds * (sum(rates) / len(rates) / REFERENCE_CLOCK)
    return runtime


def write_wfformat(graph: TaskGraph, path: str | Path, created_at: datetime | None = None) -> None:
    """Writes a task graph as a workflow that `read_wfformat` reads back.

    Every edge becomes a file of its own; sizes are rounded to whole bytes. The runtimes are those of kind
    ``cpu`` on one machine at the reference clock. The file is replaced atomically.

    Args:
        graph: Must have durations of kind ``cpu`` for every task, and be one job without arrival or deadline: a
            workflow is no more than that.
        path: Where to write.
        created_at: The file's date; now by default.

    Raises:
        HetgymError: If a task cannot run on kind ``cpu``, there are several jobs, an arrival or a deadline, or the
            file cannot be written.
    """
    if not graph.is_plain:
        raise HetgymError(
            f"task graph {graph.name!r}: a WfFormat workflow is one job that arrives at 0 without a deadline, "
            f"not {graph.num_jobs} with arrival {graph.arrival.tolist()} and deadline {graph.deadline.tolist()}"
        )
    if "cpu" not in graph.kinds or not np.isfinite(graph.duration[:, graph.kinds.index("cpu")]).all():
        raise HetgymError(
            f"task graph {graph.name!r}: WfFormat needs a duration of every task on kind 'cpu', not on {graph.kinds}"
        )
    date = (created_at or datetime.now(UTC)).isoformat()
    runtime = graph.duration[:, graph.kinds.index("cpu")].tolist()
    names = graph.task_names
    parents: dict[int, list[int]] = {task: [] for task in range(graph.num_tasks)}
    children: dict[int, list[int]] = {task: [] for task in range(graph.num_tasks)}
    for edge, (source, target) in enumerate(graph.edges.T.tolist()):
        children[source].append(edge)
        parents[target].append(edge)
    source, target = graph.edges.tolist()
    specification = {
        "tasks": [
            {
                "name": name,
                "id": name,
                "parents": [names[source[edge]] for edge in parents[task]],
                "children": [names[target[edge]] for edge in children[task]],
                "inputFiles": [f"edge-{edge}" for edge in parents[task]],
                "outputFiles": [f"edge-{edge}" for edge in children[task]],
            }
            for task, name in enumerate(names)
        ],
        "files": [
            {"id": f"edge-{edge}", "sizeInBytes": round(size)} for edge, size in enumerate(graph.edge_bytes.tolist())
        ],
    }
    machine = "reference"
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
    write_text(Path(path), json.dumps(document, indent=1) + "\n", "workflow")
