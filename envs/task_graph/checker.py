"""The rules of a schedule once more, in plain Python from their definition, to check the kernels by.

Nothing here is shared with the compiled code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from .instance import Instance
from .schedule import DuplicatedSchedule, Schedule

TOLERANCE = 1e-9
"""Relative: sums in another order may differ in the last bits."""


def violations(instance: Instance, schedule: Schedule, queue_limit: int | None = None) -> list[str]:
    """Returns what is wrong with a finished schedule, one sentence a fault; an empty list if nothing is.

    Checked are: every task is decided, on a device that can run it; it takes exactly its duration; it starts no
    earlier than its job arrives and all its inputs have arrived; a device runs one task at a time. Of a schedule
    that was decided while tasks ran, durations are the realised ones, and checked are besides: a task is decided
    when its predecessors have finished and its job has arrived; devices serve their tasks in the order of the
    decisions, each as soon as it can start; no device has more tasks waiting than it may.

    Args:
        instance: The problem.
        schedule: A finished schedule of it.
        queue_limit: How many tasks may wait on a device behind the one in service, if that is limited.
    """
    slack = TOLERANCE * max(abs(float(finish)) for finish in schedule.finish)
    faults = [
        fault for task in range(instance.graph.num_tasks) for fault in _task_faults(instance, schedule, task, slack)
    ]
    if not faults:
        faults = [*_late_inputs(instance, schedule, slack), *_overlaps(instance, schedule, slack)]
    if not faults and schedule.decided is not None:
        faults = [*_hasty_decisions(instance, schedule, slack), *_line_faults(instance, schedule, queue_limit, slack)]
    return faults


def _task_faults(instance: Instance, schedule: Schedule, task: int, slack: float) -> Iterator[str]:
    name = instance.graph.task_names[task]
    device, start, finish = int(schedule.device[task]), float(schedule.start[task]), float(schedule.finish[task])
    if not 0 <= device < instance.platform.num_devices:
        yield f"task {name!r} is on no device"
        return
    durations = instance.duration if schedule.decided is None else instance.realised_duration
    duration = float(durations[task, device])
    release = float(instance.graph.release[task])
    if not math.isfinite(duration):
        yield f"task {name!r} is on device {instance.platform.devices[device].name!r}, which cannot run it"
    elif not (math.isfinite(start) and start >= release - slack):
        yield f"task {name!r} starts at {start}, its job arrives at {release}"
    elif not abs(finish - start - duration) <= slack:
        yield f"task {name!r} takes {finish - start} s instead of {duration} s"


def _hasty_decisions(instance: Instance, schedule: Schedule, slack: float) -> Iterator[str]:
    assert schedule.decided is not None
    names = instance.graph.task_names
    for task, release in enumerate(instance.graph.release.tolist()):
        if not schedule.decided[task] >= release - slack:
            yield f"task {names[task]!r} is decided at {schedule.decided[task]}, before its job arrives at {release}"
    for sender, receiver, _ in _edges(instance):
        if schedule.decided[receiver] < schedule.finish[sender] - slack:
            yield (
                f"task {names[receiver]!r} is decided at {schedule.decided[receiver]}, before {names[sender]!r} "
                f"finishes at {schedule.finish[sender]}"
            )


def _line_faults(instance: Instance, schedule: Schedule, queue_limit: int | None, slack: float) -> Iterator[str]:
    """Checks that devices serve their tasks in order, at once, and from lines that are not too long."""
    assert schedule.decided is not None
    names = instance.graph.task_names
    inputs: dict[int, list[float]] = {}
    for _, receiver, arrival in _arrivals(instance, schedule):
        inputs.setdefault(receiver, []).append(arrival)
    for device in range(instance.platform.num_devices):
        line = [task for task in schedule.sequence.tolist() if schedule.device[task] == device]
        for position, task in enumerate(line):
            decided = float(schedule.decided[task])
            before = [float(schedule.finish[other]) for other in line[:position]]
            earliest = max([decided, *before, *inputs.get(task, [])])
            if abs(float(schedule.start[task]) - earliest) > slack:
                yield f"task {names[task]!r} starts at {schedule.start[task]} instead of {earliest}"
            # One is in service, the others wait.
            waiting = sum(finish > decided + slack for finish in before)
            if queue_limit is not None and waiting > queue_limit:
                yield f"task {names[task]!r} is decided behind {waiting} others, where {queue_limit} may wait"


def _arrivals(instance: Instance, schedule: Schedule) -> Iterator[tuple[int, int, float]]:
    """Gives each sender and receiver, and when the data have arrived, seconds."""
    for sender, receiver, size in _edges(instance):
        source, target = int(schedule.device[sender]), int(schedule.device[receiver])
        yield sender, receiver, float(schedule.finish[sender]) + _transfer(instance, size, source, target)


def _late_inputs(instance: Instance, schedule: Schedule, slack: float) -> Iterator[str]:
    names = instance.graph.task_names
    for sender, receiver, arrival in _arrivals(instance, schedule):
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


def duplication_violations(instance: Instance, schedule: DuplicatedSchedule) -> list[str]:
    """Returns what is wrong with a schedule that may run a task more than once, one sentence a fault.

    Checked are: every task runs at least once; every run is on a device that can run it and takes exactly its
    duration; it starts no earlier than its job arrives and, for each predecessor, the data of some run have arrived; a
    device runs one task at a time.

    Args:
        instance: The problem.
        schedule: A finished schedule of it.
    """
    names, devices = instance.graph.task_names, instance.platform.devices
    columns = (schedule.task, schedule.device, schedule.start, schedule.finish)
    runs = list(zip(*(column.tolist() for column in columns), strict=True))
    slack = TOLERANCE * max((abs(finish) for _, _, _, finish in runs), default=0.0)
    missing = set(range(instance.graph.num_tasks)) - {task for task, _, _, _ in runs}
    faults = [f"task {names[task]!r} does not run" for task in sorted(missing)]
    for task, device, start, finish in runs:
        duration, release = float(instance.duration[task, device]), float(instance.graph.release[task])
        run = f"task {names[task]!r} on device {devices[device].name!r}"
        if not math.isfinite(duration):
            faults.append(f"{run}, which cannot run it")
        elif not (math.isfinite(start) and start >= release - slack):
            faults.append(f"{run} starts at {start}, its job arrives at {release}")
        elif not abs(finish - start - duration) <= slack:
            faults.append(f"{run} takes {finish - start} s instead of {duration} s")
        for sender, size in [(sender, size) for sender, receiver, size in _edges(instance) if receiver == task]:
            arrivals = [
                end + _transfer(instance, size, source, device) for other, source, _, end in runs if other == sender
            ]
            if not start >= min(arrivals, default=math.inf) - slack:
                faults.append(f"{run} starts at {start}, before the output of {names[sender]!r} arrives")
    for (one, device, start, finish), (other, another, begin, end) in combinations(runs, 2):
        if device == another and min(finish, end) - max(start, begin) > slack:
            faults.append(f"tasks {names[one]!r} and {names[other]!r} overlap on device {devices[device].name!r}")
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
        ready = max([float(instance.graph.release[task]), *inputs, *([] if insertion else [end for _, end in others])])
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


class Run:
    """Runs tasks by the definition of the Dispatch environment, slowly: what is decided, and what time it is.

    A task can be decided when its predecessors have finished and its job has arrived, for a device that can run it
    and has at most ``queue_limit`` tasks waiting. It starts when it is decided, its inputs have arrived, and all
    tasks that were given to its device before it have finished. Whenever nothing can be decided (`go_on`), and when
    somebody waits, time passes until the next task finishes or the next job arrives.
    """

    def __init__(self, instance: Instance, queue_limit: int) -> None:
        """Begins at time 0.

        Args:
            instance: The problem.
            queue_limit: How many tasks may wait on a device behind the one in service.
        """
        self.instance = instance
        self.num_devices = instance.platform.num_devices
        self.queue_limit = queue_limit
        self.now = 0.0
        self.device: dict[int, int] = {}
        self.decided: dict[int, float] = {}
        self.start: dict[int, float] = {}
        self.finish: dict[int, float] = {}

    def can_decide(self, task: int, device: int) -> bool:
        """Whether a task may be given to a device now."""
        senders = [sender for sender, receiver, _ in _edges(self.instance) if receiver == task]
        line = [other for other in self.device if self.device[other] == device and self.finish[other] > self.now]
        return (
            task not in self.device
            and math.isfinite(self.instance.duration[task, device])
            and self.instance.graph.release[task] <= self.now
            and all(sender in self.finish and self.finish[sender] <= self.now for sender in senders)
            and len(line) <= self.queue_limit
        )

    def can_wait(self) -> bool:
        """Whether anything is still to happen by itself."""
        return any(time > self.now for time in self._events())

    def wait(self) -> None:
        """Lets time pass until something happens."""
        self.now = min(time for time in self._events() if time > self.now)

    def go_on(self) -> None:
        """Lets time pass until something can be decided, or nothing will happen any more."""
        tasks, devices = range(self.instance.graph.num_tasks), range(self.num_devices)
        while self.can_wait() and not any(self.can_decide(task, device) for task in tasks for device in devices):
            self.wait()

    def _events(self) -> list[float]:
        return [*self.finish.values(), *self.instance.graph.release.tolist()]

    def decide(self, task: int, device: int) -> None:
        """Gives a task to a device."""
        assert self.can_decide(task, device)
        inputs = [
            self.finish[sender] + _transfer(self.instance, size, self.device[sender], device)
            for sender, receiver, size in _edges(self.instance)
            if receiver == task
        ]
        before = [self.finish[other] for other in self.device if self.device[other] == device]
        self.start[task] = max([self.now, *inputs, *before])
        self.finish[task] = self.start[task] + float(self.instance.realised_duration[task, device])
        self.device[task] = device
        self.decided[task] = self.now

    def schedule(self) -> Schedule:
        """Returns what has been decided."""
        tasks = range(self.instance.graph.num_tasks)
        return Schedule(
            device=np.array([self.device.get(task, -1) for task in tasks]),
            start=np.array([self.start.get(task, 0.0) for task in tasks]),
            finish=np.array([self.finish.get(task, 0.0) for task in tasks]),
            sequence=np.array(list(self.device), int),
            decided=np.array([self.decided.get(task, 0.0) for task in tasks]),
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
