"""The rules of a schedule once more, in plain Python from their definition, to check the kernels by.

Nothing here is shared with the compiled code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from .instance import Instance
from .schedule import Schedule

TOLERANCE = 1e-9
"""Relative: sums in another order may differ in the last bits."""


def violations(instance: Instance, schedule: Schedule) -> list[str]:
    """Returns what is wrong with a finished schedule, one sentence a fault; an empty list if nothing is.

    Checked are: every task is decided, on a device that can run it; it takes exactly its duration; it starts no
    earlier than all its inputs have arrived; a device runs one task at a time.

    Args:
        instance: The problem.
        schedule: A finished schedule of it.
    """
    slack = TOLERANCE * max(abs(float(finish)) for finish in schedule.finish)
    faults = [
        fault for task in range(instance.graph.num_tasks) for fault in _task_faults(instance, schedule, task, slack)
    ]
    return faults or [*_late_inputs(instance, schedule, slack), *_overlaps(instance, schedule, slack)]


def _task_faults(instance: Instance, schedule: Schedule, task: int, slack: float) -> Iterator[str]:
    name = instance.graph.task_names[task]
    device, start, finish = int(schedule.device[task]), float(schedule.start[task]), float(schedule.finish[task])
    if not 0 <= device < instance.platform.num_devices:
        yield f"task {name!r} is on no device"
        return
    duration = float(instance.duration[task, device])
    if not math.isfinite(duration):
        yield f"task {name!r} is on device {instance.platform.devices[device].name!r}, which cannot run it"
    elif not (math.isfinite(start) and start >= 0):
        yield f"task {name!r} starts at {start}"
    elif not abs(finish - start - duration) <= slack:
        yield f"task {name!r} takes {finish - start} s instead of {duration} s"


def _late_inputs(instance: Instance, schedule: Schedule, slack: float) -> Iterator[str]:
    names = instance.graph.task_names
    for sender, receiver, size in _edges(instance):
        source, target = int(schedule.device[sender]), int(schedule.device[receiver])
        arrival = float(schedule.finish[sender]) + _transfer(instance, size, source, target)
        if schedule.start[receiver] < arrival - slack:
            yield (
                f"task {names[receiver]!r} starts at {schedule.start[receiver]}, before the output of "
                f"{names[sender]!r} arrives at {arrival}"
            )


def _overlaps(instance: Instance, schedule: Schedule, slack: float) -> Iterator[str]:
    names = instance.graph.task_names
    for first, second in combinations(range(instance.graph.num_tasks), 2):
        begin = max(schedule.start[first], schedule.start[second])
        end = min(schedule.finish[first], schedule.finish[second])
        if schedule.device[first] == schedule.device[second] and end - begin > slack:
            device = instance.platform.devices[int(schedule.device[first])].name
            yield f"tasks {names[first]!r} and {names[second]!r} overlap on device {device!r}"


def replay(instance: Instance, decisions: Sequence[tuple[int, int]], insertion: bool) -> Schedule:
    """Places tasks one after another by the definition of the Plan environment, slowly.

    A task starts at the earliest time at which its inputs are on the device and, for its whole duration, no task
    decided before it runs there; without insertion also no earlier than all of those have ended.

    Args:
        instance: The problem.
        decisions: (task, device) pairs, each after those of the task's predecessors.
        insertion: Whether tasks may go into gaps.
    """
    device_of: dict[int, int] = {}
    start: dict[int, float] = {}
    finish: dict[int, float] = {}
    for task, device in decisions:
        duration = float(instance.duration[task, device])
        inputs = [
            finish[sender] + _transfer(instance, size, device_of[sender], device)
            for sender, receiver, size in _edges(instance)
            if receiver == task
        ]
        others = [(start[other], finish[other]) for other in start if device_of[other] == device]
        ready = max([0.0, *inputs, *([] if insertion else [end for _, end in others])])
        # The earliest feasible start is when the inputs are there, or when some other task ends.
        times = sorted({ready, *[end for _, end in others if end > ready]})
        start[task] = next(
            time for time in times if all(time + duration <= begin or time >= end for begin, end in others)
        )
        finish[task] = start[task] + duration
        device_of[task] = device
    tasks = range(instance.graph.num_tasks)
    return Schedule(
        device=np.array([device_of.get(task, -1) for task in tasks]),
        start=np.array([start.get(task, 0.0) for task in tasks]),
        finish=np.array([finish.get(task, 0.0) for task in tasks]),
        sequence=np.array([task for task, _ in decisions]),
    )


def _edges(instance: Instance) -> list[tuple[int, int, float]]:
    source, target = instance.graph.edges.tolist()
    return list(zip(source, target, instance.graph.edge_bytes.tolist(), strict=True))


def _transfer(instance: Instance, size: float, source: int, target: int) -> float:
    """Returns the seconds that so many bytes take, from the links themselves."""
    if source == target:
        return 0.0
    devices = instance.platform.devices
    links = instance.platform.route(devices[source].name, devices[target].name)
    return sum(link.latency for link in links) + size / min(link.bandwidth for link in links)
