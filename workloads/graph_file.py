"""Reads and writes whole task graphs, as JSON of hetgym's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import HetgymError, one_line, read_text, write_text
from .task_graph import FloatArray, TaskGraph

_Name = Annotated[str, Field(min_length=1)]
_Quantity = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Document(BaseModel):
    """The fields of a `TaskGraph`: rows of ``duration`` are tasks, rows of ``edges`` are sender, receiver and bytes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: _Name
    kinds: list[_Name]
    task_names: list[_Name] = []
    duration: list[list[_Quantity | None]]
    edges: list[tuple[int, int, _Quantity]] = []
    job: list[int] = []
    arrival: list[_Quantity] = []
    deadline: list[_Quantity | None] = []


def load_task_graph(path: str | Path) -> TaskGraph:
    """Reads a task graph from JSON.

    An object with the attributes of `TaskGraph`: ``name``, ``kinds``, ``duration`` (one row a task, seconds, null where
    a kind cannot run it), ``edges`` (rows of sender, receiver and bytes), and where they differ from the defaults
    ``task_names``, ``job``, ``arrival`` and ``deadline`` (null where there is none).

    Args:
        path: The file.

    Raises:
        HetgymError: If the file is not readable, not JSON, or does not describe a task graph: an unknown key, rows of
            unlike length, a cycle, a number that is negative or not finite.
    """
    path = Path(path)
    try:
        document = _Document.model_validate_json(read_text(path, "task graph"))
    except ValidationError as error:
        raise one_line(error, str(path)) from error
    for task, row in enumerate(document.duration):
        if len(row) != len(document.kinds):
            raise HetgymError(
                f"{path}: duration.{task}: must have {len(document.kinds)} numbers, one a kind (given: {len(row)})"
            )
    *edges, edge_bytes = zip(*document.edges, strict=True) if document.edges else ((), (), ())
    try:
        return TaskGraph(
            name=document.name,
            kinds=tuple(document.kinds),
            duration=_from_nulls(document.duration),
            edges=np.array(edges, np.int64),
            edge_bytes=np.array(edge_bytes, np.float64),
            task_names=tuple(document.task_names),
            job=np.array(document.job, np.int64),
            arrival=np.array(document.arrival, np.float64),
            deadline=_from_nulls(document.deadline),
        )
    except (HetgymError, OverflowError) as error:
        raise HetgymError(f"{path}: {error}") from error


def save_task_graph(graph: TaskGraph, path: str | Path) -> None:
    """Writes a task graph as JSON that `load_task_graph` reads back, every number to the bit.

    The file is replaced atomically.

    Args:
        graph: What to write.
        path: Where to.

    Raises:
        HetgymError: If the file cannot be written.
    """
    source, target = graph.edges.tolist()
    content = {
        "name": graph.name,
        "kinds": graph.kinds,
        "task_names": graph.task_names,
        "duration": _with_nulls(graph.duration),
        "edges": [*zip(source, target, graph.edge_bytes.tolist(), strict=True)],
    }
    if not graph.is_plain:
        content |= {
            "job": graph.job.tolist(),
            "arrival": graph.arrival.tolist(),
            "deadline": _with_nulls(graph.deadline),
        }
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content.items()]
    write_text(Path(path), "{\n" + ",\n".join(lines) + "\n}\n", "task graph")


def _with_nulls(values: FloatArray) -> list[object]:
    nulled = values.astype(object)
    nulled[np.isinf(values)] = None
    return list(nulled.tolist())


def _from_nulls(values: Sequence[object]) -> FloatArray:
    array = np.array(values, np.float64)
    return np.where(np.isnan(array), np.inf, array)
