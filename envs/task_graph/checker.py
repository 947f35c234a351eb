"""The rules of a schedule once more, in plain Python from their definition, to check the kernels by.

Nothing here is shared with the compiled code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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
    graph, platform = instance.graph, instance.platform
    faults = []
    slack = TOLERANCE * max([1e-300, *[abs(finish) for finish in schedule.finish.tolist()]])
    for task, name in enumerate(graph.task_names):
        device, start, finish = int(schedule.device[task]), float(schedule.start[task]), float(schedule.finish[task])
        if not 0 <= device < platform.num_devices:
            faults.append(f"task {name!r} is on no device")
            continue
        duration = float(instance.duration[task, device])
        if not math.isfinite(duration):
            faults.append(f"task {name!r} is on device {platform.devices[device].name!r}, which cannot run it")
        if not (math.isfinite(start) and start >= 0):
            faults.append(f"task {name!r} starts at {start}")
        elif not abs(finish - start - duration) <= slack:
            faults.append(f"task {name!r} takes {finish - start} s instead of {duration} s")
    if faults:
        return faults
    for (sender, receiver), size in zip(graph.edges.T.tolist(), graph.edge_bytes.tolist(), strict=True):
        arrival = float(schedule.finish[sender]) + _transfer(
            instance, size, int(schedule.device[sender]), int(schedule.device[receiver])
        )
        if schedule.start[receiver] < arrival - slack:
            faults.append(
                f"task {graph.task_names[receiver]!r} starts at {schedule.start[receiver]}, before the output of "
                f"{graph.task_names[sender]!r} arrives at {arrival}"
            )
    for device in range(platform.num_devices):
        tasks = [task for task in range(graph.num_tasks) if schedule.device[task] == device]
        for task in tasks:
            for other in tasks:
                overlap = min(schedule.finish[task], schedule.finish[other]) - max(
                    schedule.start[task], schedule.start[other]
                )
                if task < other and overlap > slack:
                    faults.append(
                        f"tasks {graph.task_names[task]!r} and {graph.task_names[other]!r} overlap on device "
                        f"{platform.devices[device].name!r}"
                    )
    return faults


def replay(instance: Instance, decisions: Sequence[tuple[int, int]], insertion: bool) -> Schedule:
    """Places tasks one after another by the definition of the Plan environment, slowly.

    A task starts at the earliest time at which its inputs are on the device and, for its whole duration, no task
    decided before it runs there; without insertion also no earlier than all of those have ended.

    Args:
        instance: The problem.
        decisions: (task, device) pairs, each after those of the task's predecessors.
        insertion: Whether tasks may go into gaps.
    """
    num_tasks = instance.graph.num_tasks
    device_of = {task: device for task, device in decisions}
    start: dict[int, float] = {}
    finish: dict[int, float] = {}
    for task, device in decisions:
        duration = float(instance.duration[task, device])
        inputs = [
            finish[int(sender)] + _transfer(instance, size, device_of[int(sender)], device)
            for (sender, receiver), size in zip(
                instance.graph.edges.T.tolist(), instance.graph.edge_bytes.tolist(), strict=True
            )
            if receiver == task
        ]
        ready = max([0.0, *inputs])
        others = [(start[other], finish[other]) for other in start if device_of[other] == device]
        if not insertion:
            ready = max([ready, *[end for _, end in others]])
        # The earliest feasible start is when the inputs are there, or when some other task ends.
        times = sorted({ready, *[end for _, end in others if end > ready]})
        start[task] = next(
            time for time in times if all(time + duration <= begin or time >= end for begin, end in others)
        )
        finish[task] = start[task] + duration
    sequence = [task for task, _ in decisions]
    device, begin, end = np.full(num_tasks, -1), np.zeros(num_tasks), np.zeros(num_tasks)
    for task in sequence:
        device[task], begin[task], end[task] = device_of[task], start[task], finish[task]
    return Schedule(device, begin, end, np.array(sequence))


def _transfer(instance: Instance, size: float, source: int, target: int) -> float:
    """Returns the seconds that so many bytes take, from the links themselves."""
    if source == target:
        return 0.0
    devices = instance.platform.devices
    links = instance.platform.route(devices[source].name, devices[target].name)
    return sum(link.latency for link in links) + size / min(link.bandwidth for link in links)
