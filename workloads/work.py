"""Task graphs whose durations follow from what there is to compute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from ..errors import HetgymError, unknown_name
from ..hardware_models import Device, Platform, operation_time
from .task_graph import FloatArray, IntArray, TaskGraph


def task_graph_from_work(
    name: str,
    platform: Platform,
    flop: ArrayLike,
    num_bytes: ArrayLike,
    edges: ArrayLike,
    edge_bytes: ArrayLike,
    *,
    operation: str | Sequence[str] = "matmul",
    precision: str | Sequence[str] = "fp32",
    task_names: Sequence[str] = (),
) -> TaskGraph:
    """Returns a task graph for a platform, from the operations and memory traffic of each task.

    A task takes the `operation_time` of each device, from the roofline model. The kinds are those of the platform. A
    kind's durations are those of its first device, brought to speed 1; its other devices differ from that by
    ``Device.speed`` alone.

    Args:
        name: As in `TaskGraph`.
        platform: Gives the rates.
        flop: (T,), operations of each task, FLOP.
        num_bytes: (T,), bytes that each task reads from and writes to its device's memory.
        edges: As in `TaskGraph`.
        edge_bytes: As in `TaskGraph`.
        operation: The class of operations of each task, or of all: a key of `Device.efficiency`.
        precision: The precision of each task, or of all: a key of `Device.peak_flops`. A device without a rate for it
            cannot run the task.
        task_names: As in `TaskGraph`.

    Raises:
        HetgymError: If no device has a rate for a precision, one that has is without memory bandwidth, devices of one
            kind have unlike rates that do not agree with their speeds, or the arguments are not right for `TaskGraph`.
    """
    work = [_quantities(name, field, value) for field, value in (("flop", flop), ("num_bytes", num_bytes))]
    num_tasks = len(work[0])
    if len(work[1]) != num_tasks:
        raise HetgymError(f"task graph {name!r}: num_bytes: {len(work[1])} numbers for {num_tasks} tasks")
    operations = _of_each("operation", operation, name, num_tasks)
    precisions = _of_each("precision", precision, name, num_tasks)
    known = sorted({known for device in platform.devices for known in device.peak_flops})
    for given in dict.fromkeys(precisions):
        if not known:
            raise HetgymError(f"platform {platform.name!r}: no device has peak_flops; give them some, in FLOP/s")
        if given not in known:
            raise unknown_name(f"precision of platform {platform.name!r}", given, known)
    seconds = _seconds_by_kind(name, platform, list(zip(operations, precisions, strict=True)), work)
    return TaskGraph(
        name=name,
        kinds=tuple(seconds),
        duration=np.array(list(seconds.values())).T,
        edges=cast("IntArray", edges),
        edge_bytes=cast("FloatArray", edge_bytes),
        task_names=tuple(task_names),
    )


def _quantities(name: str, field: str, value: ArrayLike) -> FloatArray:
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError) as error:
        raise HetgymError(f"task graph {name!r}: {field}: not an array of numbers ({error})") from error
    if array.ndim != 1:
        raise HetgymError(f"task graph {name!r}: {field}: must have the shape (T), not {array.shape}")
    wrong = np.flatnonzero(~(np.isfinite(array) & (array >= 0)))
    if wrong.size:
        raise HetgymError(
            f"task graph {name!r}: {field} of task {wrong[0]} is {array[wrong[0]]}: must be finite and zero or more"
        )
    return array


def _of_each(field: str, value: str | Sequence[str], name: str, num_tasks: int) -> list[str]:
    """Returns a word for each task."""
    words = [value] * num_tasks if isinstance(value, str) else list(value)
    if len(words) != num_tasks:
        raise HetgymError(f"task graph {name!r}: {field}: {len(words)} words for {num_tasks} tasks")
    return words


def _seconds_by_kind(
    name: str, platform: Platform, classes: list[tuple[str, str]], work: list[FloatArray]
) -> dict[str, FloatArray]:
    """Returns the seconds of each task, float64 (T,), on a device at speed 1 of each kind."""
    first: dict[str, Device] = {}
    seconds: dict[str, FloatArray] = {}
    for device in platform.devices:
        own = device.speed * _seconds(device, classes, work)
        other = first.setdefault(device.kind, device)
        known = seconds.setdefault(device.kind, own)
        if not (_rates(device) == _rates(other) or np.allclose(own, known, rtol=1e-9, atol=0.0)):
            raise HetgymError(
                f"task graph {name!r}: devices {other.name!r} and {device.name!r} of platform {platform.name!r} have "
                f"unlike rates, which do not agree with their speeds; they must not both be of kind {device.kind!r}"
            )
    return seconds


def _seconds(device: Device, classes: list[tuple[str, str]], work: list[FloatArray]) -> FloatArray:
    """Returns the seconds of each task on a device, by its rates alone."""
    seconds = np.full(len(classes), np.inf)
    for operation, precision in dict.fromkeys(classes):
        if precision in device.peak_flops:
            tasks = [task for task, given in enumerate(classes) if given == (operation, precision)]
            seconds[tasks] = operation_time(device, operation, precision, *(quantity[tasks] for quantity in work))
    return seconds


def _rates(device: Device) -> tuple[dict[str, float], float | None, dict[str, float]]:
    return device.peak_flops, device.memory_bandwidth, device.efficiency
