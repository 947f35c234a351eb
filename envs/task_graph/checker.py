"""What is wrong with a finished schedule, in plain Python from the definition of its rules (`docs/dispatch.md`).

Nothing here is shared with the compiled code.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise

from .instance import Instance
from .reference import Run, edges, shared_by, transfer_time
from .rules import Rules
from .schedule import DuplicatedSchedule, Schedule

TOLERANCE = 1e-9
"""Relative: sums in another order may differ in the last bits."""


def violations(instance: Instance, schedule: Schedule, rules: Rules | None = None) -> list[str]:
    """Returns what is wrong with a finished schedule, one sentence a fault; an empty list if nothing is.

    Checked are: every task is decided, once, on a device that can run it; it takes exactly its duration; it starts no
    earlier than its job arrives and all its inputs have arrived; a device runs one task at a time. Of a schedule
    that was decided while tasks ran, durations are the realised ones, and checked are besides:

    - a task is decided when its predecessors have finished, its job has arrived and the device is up, in a line that
      is not too long, under the power cap;
    - nothing runs or waits in line during an outage (``restart``), or it pauses for so long (``resume``);
    - devices serve their tasks in the order of the decisions, each as soon as it can start; or no earlier, where that
      depends on what the schedule does not show: transfers to runs that were lost;
    - where transfers share links (``fair``) or tasks resume after outages, `Run` comes to the same from the same
      decisions.

    Args:
        instance: The problem.
        schedule: A finished schedule of it.
        rules: How it was decided while tasks ran; by default lines may have any length, and nothing else is limited.
    """
    check = _Check(instance, schedule, rules or Rules(mode="dispatch", queue_limit=instance.graph.num_tasks))
    faults = [*check.missing(), *(fault for task in range(instance.graph.num_tasks) for fault in check.task(task))]
    if not faults:
        faults = [*check.late_inputs(), *check.overlaps()]
    if not faults and schedule.decided is not None:
        faults = [*check.hasty_decisions(), *check.lines(), *check.outages(), *check.power()]
    if not faults and check.runs_again:
        faults = list(check.another_run())
    return faults


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
        for sender, size in [(sender, size) for sender, receiver, size in edges(instance) if receiver == task]:
            arrivals = [
                end + transfer_time(instance, size, source, device) for other, source, _, end in runs if other == sender
            ]
            if not start >= min(arrivals, default=math.inf) - slack:
                faults.append(f"{run} starts at {start}, before the output of {names[sender]!r} arrives")
    for (one, device, start, finish), (other, another, begin, end) in combinations(runs, 2):
        if device == another and min(finish, end) - max(start, begin) > slack:
            faults.append(f"tasks {names[one]!r} and {names[other]!r} overlap on device {devices[device].name!r}")
    return faults


@dataclass(frozen=True, eq=False)
class _Check:
    instance: Instance
    schedule: Schedule
    rules: Rules

    # What is given

    @cached_property
    def slack(self) -> float:
        return TOLERANCE * max(abs(float(finish)) for finish in self.schedule.finish)

    @cached_property
    def sequence(self) -> list[int]:
        tasks: list[int] = self.schedule.sequence.tolist()
        return tasks

    @cached_property
    def decided(self) -> list[float]:
        assert self.schedule.decided is not None
        decided: list[float] = self.schedule.decided.tolist()
        return decided

    @cached_property
    def loses_runs(self) -> bool:
        """Whether there may have been runs that the schedule does not show."""
        return len(self.instance.outages) > 0 and self.rules.on_failure == "restart"

    @cached_property
    def runs_again(self) -> bool:
        """Whether starts must be found by running it all again, and can be."""
        entangled = self.rules.contention == "fair" or len(self.instance.outages) > 0
        return self.schedule.decided is not None and entangled and not self.loses_runs

    @cached_property
    def knows_starts(self) -> bool:
        """Whether starts follow from the decisions one by one."""
        if self.loses_runs:
            return self.rules.contention == "none"
        return not self.runs_again

    def name(self, task: int) -> str:
        return repr(self.instance.graph.task_names[task])

    def device_name(self, device: int) -> str:
        return repr(self.instance.platform.devices[device].name)

    def start(self, task: int) -> float:
        return float(self.schedule.start[task])

    def finish(self, task: int) -> float:
        return float(self.schedule.finish[task])

    def device(self, task: int) -> int:
        return int(self.schedule.device[task])

    def step(self, task: int) -> int:
        return 0 if self.schedule.step is None else int(self.schedule.step[task])

    def steps(self, device: int) -> list[tuple[float, float]]:
        return self.instance.platform.devices[device].steps(self.rules.speed_steps)

    def line(self, device: int) -> list[int]:
        """Returns the tasks of a device in the order in which it serves them."""
        return [task for task in self.sequence if self.device(task) == device]

    def outages_of(self, task: int) -> list[tuple[float, float]]:
        """Returns begin and end of the outages of a task's device, seconds; none where they do not matter."""
        if self.schedule.decided is None:
            return []
        outages = self.instance.outages.tolist()
        return [(begin, end) for device, begin, end in outages if device == self.device(task)]

    # What is checked

    def missing(self) -> Iterator[str]:
        if sorted(self.sequence) != list(range(self.instance.graph.num_tasks)):
            yield f"the sequence is {self.sequence} instead of every task once"

    def task(self, task: int) -> Iterator[str]:
        """Checks where a task runs, from when, and for how long."""
        device, start, finish = self.device(task), self.start(task), self.finish(task)
        if not 0 <= device < self.instance.platform.num_devices:
            yield f"task {self.name(task)} is on no device"
            return
        if not 0 <= self.step(task) < len(self.steps(device)):
            yield f"task {self.name(task)} runs at step {self.step(task)}, which {self.device_name(device)} has not"
            return
        duration = self.run_time(task)
        release = float(self.instance.graph.release[task])
        if not math.isfinite(duration):
            yield f"task {self.name(task)} is on device {self.device_name(device)}, which cannot run it"
        elif not (math.isfinite(start) and start >= release - self.slack):
            yield f"task {self.name(task)} starts at {start}, its job arrives at {release}"
        elif not abs(finish - start - duration) <= self.slack:
            yield f"task {self.name(task)} takes {finish - start} s instead of {duration} s"

    def run_time(self, task: int) -> float:
        """Returns the seconds from start to finish: the duration, and the pauses."""
        durations = self.instance.duration if self.schedule.decided is None else self.instance.realised_duration
        speed, _ = self.steps(self.device(task))[self.step(task)]
        pauses = 0.0
        if self.rules.on_failure == "resume":
            start, finish = self.start(task), self.finish(task)
            pauses = sum(max(0.0, min(finish, end) - max(start, begin)) for begin, end in self.outages_of(task))
        return float(durations[task, self.device(task)]) / speed + pauses

    @cached_property
    def arrivals(self) -> dict[tuple[int, int], float]:
        """By sender and receiver: when the data are there, seconds; no earlier, where that cannot be known."""
        arrivals: dict[tuple[int, int], float] = {}
        free_at: dict[Hashable, float] = {}
        for receiver in self.sequence:
            for sender, other, size in edges(self.instance):
                if other == receiver:
                    source, target = self.device(sender), self.device(receiver)
                    begin, needed = self.finish(sender), []
                    if source != target and self.schedule.decided is not None and self.rules.contention != "none":
                        begin = max(begin, self.decided[receiver])
                        if self.rules.contention != "fair":
                            needed = shared_by(self.instance, self.rules, source, target)
                    begin = max([begin, *(free_at.get(what, 0.0) for what in needed)])
                    arrivals[sender, receiver] = begin + transfer_time(self.instance, size, source, target)
                    free_at.update(dict.fromkeys(needed, arrivals[sender, receiver]))
        return arrivals

    def late_inputs(self) -> Iterator[str]:
        for (sender, receiver), arrival in self.arrivals.items():
            if self.start(receiver) < arrival - self.slack:
                yield (
                    f"task {self.name(receiver)} starts at {self.start(receiver)}, before the output of "
                    f"{self.name(sender)} arrives at {arrival}"
                )

    def overlaps(self) -> Iterator[str]:
        for one, other in combinations(range(self.instance.graph.num_tasks), 2):
            begin = max(self.start(one), self.start(other))
            end = min(self.finish(one), self.finish(other))
            if self.device(one) == self.device(other) and end - begin > self.slack:
                where = self.device_name(self.device(one))
                yield f"tasks {self.name(one)} and {self.name(other)} overlap on device {where}"

    def hasty_decisions(self) -> Iterator[str]:
        for task, release in enumerate(self.instance.graph.release.tolist()):
            if not self.decided[task] >= release - self.slack:
                yield (
                    f"task {self.name(task)} is decided at {self.decided[task]}, before its job arrives at {release}"
                )
        for sender, receiver, _ in edges(self.instance):
            if self.decided[receiver] < self.finish(sender) - self.slack:
                yield (
                    f"task {self.name(receiver)} is decided at {self.decided[receiver]}, before {self.name(sender)} "
                    f"finishes at {self.finish(sender)}"
                )
        for one, other in pairwise(self.sequence):
            if self.decided[other] < self.decided[one] - self.slack:
                yield f"task {self.name(other)} comes after {self.name(one)} in the sequence, but is decided before it"

    def lines(self) -> Iterator[str]:
        """Checks that devices serve their tasks in order, at once, and from lines that are not too long."""
        for device in range(self.instance.platform.num_devices):
            line = self.line(device)
            for position, task in enumerate(line):
                yield from self.place_in_line(task, line[:position])

    def place_in_line(self, task: int, before: list[int]) -> Iterator[str]:
        front = max([self.decided[task], *map(self.finish, before)])
        inputs = [arrival for (_, receiver), arrival in self.arrivals.items() if receiver == task]
        earliest = max([front + self.moving_delay(task, before), *inputs])
        if self.knows_starts and abs(self.start(task) - earliest) > self.slack:
            yield f"task {self.name(task)} starts at {self.start(task)} instead of {earliest}"
        elif self.start(task) < earliest - self.slack:
            yield f"task {self.name(task)} starts at {self.start(task)}, before it can at {earliest}"
        # One is in front, the others wait.
        waiting = sum(self.finish(other) > self.decided[task] + self.slack for other in before)
        if waiting > self.rules.queue_limit:
            limit = self.rules.queue_limit
            yield f"task {self.name(task)} is decided behind {waiting} others, where {limit} may wait"

    def moving_delay(self, task: int, before: list[int]) -> float:
        """Returns the seconds that the device prepares for a task, given those that it has served before."""
        job = self.instance.graph.job
        if before and job[before[-1]] == job[task] and not self.fails_between(before[-1], task):
            return 0.0
        return self.rules.moving_delay

    def fails_between(self, task: int, following: int) -> bool:
        """Whether the device forgets a task before it is given the following one."""
        finish, decided = self.finish(task) - self.slack, self.decided[following] + self.slack
        return self.loses_runs and any(finish <= begin and end <= decided for begin, end in self.outages_of(task))

    def outages(self) -> Iterator[str]:
        for task in self.sequence:
            for begin, end in self.outages_of(task):
                where = f"while device {self.device_name(self.device(task))} is down from {begin} to {end}"
                if begin + self.slack < self.decided[task] < end - self.slack:
                    yield f"task {self.name(task)} is decided at {self.decided[task]}, {where}"
                elif begin + self.slack < self.start(task) < end - self.slack:
                    yield f"task {self.name(task)} starts at {self.start(task)}, {where}"
                elif self.loses_runs and min(self.finish(task), end) - max(self.decided[task], begin) > self.slack:
                    yield f"task {self.name(task)} is in line until {self.finish(task)}, {where}"

    def power(self) -> Iterator[str]:
        """Checks what devices may come to draw after each decision."""
        for position, task in enumerate(self.sequence):
            now = self.decided[task] + self.slack
            in_line = [other for other in self.sequence[:position] if self.finish(other) > now]
            power = sum(
                self.committed(device, [task, *in_line]) for device in range(self.instance.platform.num_devices)
            )
            if power > self.rules.power_cap * (1 + TOLERANCE):
                yield f"task {self.name(task)} may raise the power to {power} W, above {self.rules.power_cap} W"

    def committed(self, device: int, tasks: list[int]) -> float:
        """Returns what a device may come to draw with these of the tasks that are in its line, W."""
        busy = [self.steps(device)[self.step(task)][1] for task in tasks if self.device(task) == device]
        return max(busy, default=self.instance.platform.devices[device].idle_power)

    def another_run(self) -> Iterator[str]:
        """Decides the same at the same times, and compares what comes of it."""
        run = Run(self.instance, self.rules)
        for task in self.sequence:
            decision, time = (task, self.device(task), self.step(task)), self.decided[task]
            while run.can_wait() and (
                run.now < time - self.slack or (run.now <= time + self.slack and not run.can_decide(*decision))
            ):
                run.wait()
            if run.now > time + self.slack or not run.can_decide(*decision):
                where = self.device_name(self.device(task))
                yield f"task {self.name(task)} cannot be given to device {where} at {time}"
                return
            run.decide(*decision)
        while run.can_wait():
            run.wait()
        for task in self.sequence:
            if abs(self.start(task) - run.start[task]) > self.slack:
                yield f"task {self.name(task)} starts at {self.start(task)} instead of {run.start[task]}"
