"""How graphs run, once more in plain Python: Plan, and Dispatch as `docs/dispatch.md` defines it.

Slow and obvious, to check the kernels by; nothing here is shared with the compiled code.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from ...hardware_models import Link
from .instance import Instance
from .rules import Rules
from .schedule import Schedule


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
            finish[sender] + transfer_time(instance, size, device_of[sender], device)
            for sender, receiver, size in edges(instance)
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


@dataclass(eq=False)
class SharedTransfer:
    """A transfer that shares its links with others (``fair``).

    Attributes:
        sender: The task whose output it is.
        receiver: The task that waits for it.
        links: What it goes through.
        left: Bytes that had not left when the rate was last set.
        rate: Byte/s.
        gone: Seconds, when the last byte will have left if the rate stays.
    """

    sender: int
    receiver: int
    links: list[Link]
    left: float
    rate: float = 0.0
    gone: float = math.inf


class Run:
    """Runs tasks by the rules of the Dispatch environment: what is decided, and what time it is.

    Attributes:
        now: Seconds.
        device: The device of each decided task, in the order of the decisions, without those that were lost.
        step: The speed step of each decided task.
        decided: When each was decided, seconds.
        lines: The tasks in line at each device, that in front first.
        start: When tasks start, seconds, as soon as that is known: of the one in front of a device, and those before.
        finish: When these finish, seconds, if nothing comes between.
        finished: The tasks that have finished.
        job_finish: When jobs ended, seconds.
        lost_runs: (task, device, begin, end) of what ran in vain, seconds.
    """

    def __init__(
        self, instance: Instance, rules: Rules, active_jobs: int | None = None, horizon: float = math.inf
    ) -> None:
        """Begins at time 0.

        Args:
            instance: The problem.
            rules: How it is decided and run.
            active_jobs: How many jobs may be active at once; None: all that have arrived are.
            horizon: Seconds after which nothing happens any more.
        """
        self.instance = instance
        self.rules = rules
        self.active_jobs = math.inf if active_jobs is None else active_jobs
        self.horizon = horizon
        self.num_devices = instance.platform.num_devices
        self.now = 0.0

        self.device: dict[int, int] = {}
        self.step: dict[int, int] = {}
        self.decided: dict[int, float] = {}
        self.lines: list[list[int]] = [[] for _ in range(self.num_devices)]
        self.start: dict[int, float] = {}
        self.finish: dict[int, float] = {}
        self.finished: set[int] = set()

        self._earliest: dict[int, float] = {}  # of tasks that have come to the front: they start no earlier
        self._arrivals: dict[int, dict[int, float]] = {}  # by receiver and sender: when the data are there, if known
        self._part_begin: dict[int, float] = {}  # when a task last began or went on to run
        self._to_run: dict[int, float] = {}  # seconds that a task has to run from then on
        self._runs: list[tuple[int, float, float, float]] = []  # device, begin, end, W: what was run, lost or not
        self.lost_runs: list[tuple[int, int, float, float]] = []

        self._free_at: dict[Hashable, float] = {}  # links or ports: when their last booking ends
        self._shared: list[SharedTransfer] = []
        self._shared_since = 0.0  # when the rates were set

        self.job_finish: dict[int, float] = {}
        self._arrived: list[int] = []
        self._active: set[int] = set()

        self._last_job: list[int | None] = [None] * self.num_devices  # of the task that was in front before
        outages = _joined(instance.outages.tolist())
        self._failures = sorted((begin, device) for device, begin, _ in outages)
        self._repairs = sorted((end, device) for device, _, end in outages)
        self._down: set[int] = set()
        self._settle()

    # Decisions

    @property
    def is_over(self) -> bool:
        """Whether all jobs have ended, or the horizon is reached."""
        return len(self.job_finish) == self.instance.graph.num_jobs or self.now >= self.horizon

    def is_ready(self, task: int) -> bool:
        """Whether a task's job is active, its predecessors have finished, and it has not been decided."""
        senders = [sender for sender, receiver, _ in edges(self.instance) if receiver == task]
        active = int(self.instance.graph.job[task]) in self._active
        return active and task not in self.device and all(sender in self.finished for sender in senders)

    def can_decide(self, task: int, device: int, step: int = 0) -> bool:
        """Whether a task may be given to a device now, at one of its speed steps."""
        return (
            not self.is_over
            and self.is_ready(task)
            and math.isfinite(self.instance.expected_duration[task, device])
            and 0 <= step < len(self._steps(device))
            and device not in self._down
            and len(self.lines[device]) <= self.rules.queue_limit
            and self._power_with(device, step) <= self.rules.power_cap
        )

    def decide(self, task: int, device: int, step: int = 0) -> None:
        """Gives a task to a device."""
        assert self.can_decide(task, device, step)
        self.device[task], self.step[task], self.decided[task] = device, step, self.now
        self._send_inputs(task)
        self.lines[device].append(task)
        if self.lines[device] == [task]:
            self._come_to_front(device)
        self._settle()

    def can_wait(self) -> bool:
        """Whether a task is in line, a job is to arrive, or a device is down."""
        to_arrive = len(self._arrived) < self.instance.graph.num_jobs
        return not self.is_over and (any(self.lines) or to_arrive or bool(self._down))

    def wait(self) -> None:
        """Lets time pass until a task finishes, a job arrives, a device fails or is repaired, or all is over."""
        assert self.can_wait()
        event = False
        while not (event or self.is_over):
            self.now = min(self.horizon, *self._times())
            event = self._settle()

    def go_on(self) -> None:
        """Lets time pass until something can be decided, or nothing will happen any more."""
        while self.can_wait() and not self._can_decide_anything():
            self.wait()

    def _can_decide_anything(self) -> bool:
        return any(
            self.can_decide(task, device, step)
            for task in range(self.instance.graph.num_tasks)
            for device in range(self.num_devices)
            for step in range(len(self._steps(device)))
        )

    # What happens

    def _times(self) -> list[float]:
        """Returns when anything known is to happen, seconds; nothing of it is due by now."""
        return [
            *(self.finish[line[0]] for line in self.lines if line and line[0] in self.finish),
            *(transfer.gone for transfer in self._shared),
            *(time for time, _ in [*self._failures, *self._repairs]),
            *(time for job, time in enumerate(self.instance.graph.arrival.tolist()) if job not in self._arrived),
        ]

    def _settle(self) -> bool:
        """Lets all that is due happen; returns whether there was an event, which ends a wait."""
        any_event = False
        while True:
            finished = self._finish_tasks()
            ended = self._end_transfers()
            failed = self._fail()
            repaired = self._repair()
            arrived = self._arrive()
            self._activate()
            event = finished or failed or repaired or arrived
            any_event = any_event or event
            if not (event or ended):
                return any_event

    def _finish_tasks(self) -> bool:
        fronts = [line[0] for line in self.lines if line]
        due = [task for task in fronts if self.finish.get(task, math.inf) <= self.now]
        for task in due:
            device, job = self.device[task], int(self.instance.graph.job[task])
            self._end_part(task)
            self.finished.add(task)
            if all(other in self.finished for other in np.flatnonzero(self.instance.graph.job == job).tolist()):
                self.job_finish[job] = self.now
                self._active.remove(job)
            self.lines[device].pop(0)
            self._last_job[device] = job
            if self.lines[device]:
                self._come_to_front(device)
        return bool(due)

    def _end_transfers(self) -> bool:
        due = [transfer for transfer in self._shared if transfer.gone <= self.now]
        for transfer in due:
            latency = sum(link.latency for link in transfer.links)
            self._arrivals[transfer.receiver][transfer.sender] = transfer.gone + latency
            self._set_start(self.device[transfer.receiver])
        if due:
            self._share([transfer for transfer in self._shared if transfer not in due])
        return bool(due)

    def _fail(self) -> bool:
        due = [device for time, device in self._failures if time <= self.now]
        self._failures = [(time, device) for time, device in self._failures if time > self.now]
        for device in due:
            self._down.add(device)
            if self.lines[device] and self.rules.on_failure == "resume":
                self._pause(self.lines[device][0])
            elif self.rules.on_failure == "restart":
                self._lose(device)
        return bool(due)

    def _repair(self) -> bool:
        due = [device for time, device in self._repairs if time <= self.now]
        self._repairs = [(time, device) for time, device in self._repairs if time > self.now]
        for device in due:
            self._down.remove(device)
            if self.lines[device]:
                self._go_on_with(self.lines[device][0])
        return bool(due)

    def _arrive(self) -> bool:
        arrivals = enumerate(self.instance.graph.arrival.tolist())
        due = [job for job, time in arrivals if time <= self.now and job not in self._arrived]
        self._arrived += due
        return bool(due)

    def _activate(self) -> None:
        for job in self._arrived:
            if len(self._active) < self.active_jobs and job not in self._active and job not in self.job_finish:
                self._active.add(job)

    # Service

    def _come_to_front(self, device: int) -> None:
        task = self.lines[device][0]
        moves = self._last_job[device] != self.instance.graph.job[task]
        self._earliest[task] = self.now + (self.rules.moving_delay if moves else 0.0)
        self._set_start(device)

    def _set_start(self, device: int) -> None:
        """Notes when the task in front will start, if it is known when all its inputs are there."""
        if device in self._down or not self.lines[device]:
            return
        task = self.lines[device][0]
        inputs = [sender for sender, receiver, _ in edges(self.instance) if receiver == task]
        if task not in self.start and all(sender in self._arrivals[task] for sender in inputs):
            self.start[task] = max([self._earliest[task], *self._arrivals[task].values()])
            speed, _ = self._steps(device)[self.step[task]]
            self._run_from(task, self.start[task], float(self.instance.realised_duration[task, device]) / speed)

    def _run_from(self, task: int, begin: float, seconds: float) -> None:
        self._part_begin[task], self._to_run[task] = begin, seconds
        self.finish[task] = begin + seconds

    def _end_part(self, task: int) -> None:
        device = self.device[task]
        _, busy_power = self._steps(device)[self.step[task]]
        self._runs.append((device, self._part_begin[task], self.now, busy_power))

    def _has_started(self, task: int) -> bool:
        return task in self.start and self.start[task] <= self.now

    def _pause(self, task: int) -> None:
        """Stops the task in front of a device that fails; one that has not started is to start after the repair."""
        if self._has_started(task):
            self._end_part(task)
            self._to_run[task] -= self.now - self._part_begin[task]
        else:
            self.start.pop(task, None)
        self.finish.pop(task, None)

    def _go_on_with(self, task: int) -> None:
        if self._has_started(task):
            self._run_from(task, self.now, self._to_run[task])
        else:
            self._earliest[task] = max(self._earliest[task], self.now)
            self._set_start(self.device[task])

    def _lose(self, device: int) -> None:
        """Takes all tasks out of the line of a device that fails."""
        for task in self.lines[device]:
            if self._has_started(task):
                self._end_part(task)
                self.lost_runs.append((task, device, self.start[task], self.now))
            for known in (self.device, self.step, self.decided, self.start, self.finish, self._arrivals):
                known.pop(task, None)
        self._share([transfer for transfer in self._shared if transfer.receiver not in self.lines[device]])
        self.lines[device] = []
        self._last_job[device] = None

    # Transfers

    def _send_inputs(self, task: int) -> None:
        self._arrivals[task] = {}
        begun = []
        for sender, receiver, size in edges(self.instance):
            if receiver == task:
                source, target = self.device[sender], self.device[task]
                if source == target:
                    self._arrivals[task][sender] = self.finish[sender]
                elif self.rules.contention == "none":
                    self._arrivals[task][sender] = self.finish[sender] + transfer_time(
                        self.instance, size, source, target
                    )
                elif self.rules.contention == "fair":
                    links = route(self.instance, source, target)
                    begun.append(SharedTransfer(sender, task, links, size))
                else:
                    self._arrivals[task][sender] = self._book(size, source, target)
        self._share([*self._shared, *begun])

    def _book(self, size: float, source: int, target: int) -> float:
        """Books a transfer behind all those that need the same links or ports; returns when it arrives."""
        needed = shared_by(self.instance, self.rules, source, target)
        begin = max([self.now, *(self._free_at.get(what, 0.0) for what in needed)])
        end = begin + transfer_time(self.instance, size, source, target)
        for what in needed:
            self._free_at[what] = end
        return end

    def _share(self, transfers: list[SharedTransfer]) -> None:
        """Lets these transfers, and no others, go on from now, at the rates that they get."""
        for transfer in self._shared:
            transfer.left = max(0.0, transfer.left - transfer.rate * (self.now - self._shared_since))
        self._shared, self._shared_since = transfers, self.now
        rates = max_min_rates([transfer.links for transfer in transfers if transfer.left > 0])
        for transfer in transfers:
            transfer.rate = rates.pop(0) if transfer.left > 0 else 0.0
            transfer.gone = self.now + (transfer.left / transfer.rate if transfer.left > 0 else 0.0)

    # Power and results

    def _steps(self, device: int) -> list[tuple[float, float]]:
        return self.instance.platform.devices[device].steps(self.rules.speed_steps)

    def _committed(self, device: int, further: Sequence[float] = ()) -> float:
        """Returns what a device may come to draw, W, with the busy powers of further tasks in its line."""
        line = [self._steps(device)[self.step[task]][1] for task in self.lines[device]]
        return max([*line, *further], default=self.instance.platform.devices[device].idle_power)

    def power(self) -> float:
        """Returns what all devices together may come to draw, W: what the power cap bounds."""
        return sum(self._committed(device) for device in range(self.num_devices))

    def _power_with(self, device: int, step: int) -> float:
        further = [self._steps(device)[step][1]]
        return sum(self._committed(other, further if other == device else ()) for other in range(self.num_devices))

    def energy(self) -> float:
        """Returns what all devices together have drawn until now, J."""
        devices = self.instance.platform.devices
        running = [
            (device, self._part_begin[line[0]], self.now, self._steps(device)[self.step[line[0]]][1])
            for device, line in enumerate(self.lines)
            if line and line[0] in self.finish and self._has_started(line[0])
        ]
        idle = sum(device.idle_power * self.now for device in devices)
        return idle + sum(
            (busy_power - devices[device].idle_power) * (end - begin)
            for device, begin, end, busy_power in [*self._runs, *running]
        )

    @property
    def jobs_in_system(self) -> int:
        """How many jobs have arrived and not ended."""
        return len(self._arrived) - len(self.job_finish)

    @property
    def job_seconds(self) -> float:
        """The integral of `jobs_in_system` until now, seconds."""
        arrival: list[float] = self.instance.graph.arrival.tolist()
        return sum(self.job_finish.get(job, self.now) - arrival[job] for job in self._arrived)

    def schedule(self) -> Schedule:
        """Returns what has been decided; start and finish are nan where they have not come."""
        tasks = range(self.instance.graph.num_tasks)
        start = {task: self.start[task] if self._has_started(task) else math.nan for task in self.device}
        finish = {task: self.finish[task] if task in self.finished else math.nan for task in self.device}
        return Schedule(
            device=np.array([self.device.get(task, -1) for task in tasks]),
            start=np.array([start.get(task, 0.0) for task in tasks]),
            finish=np.array([finish.get(task, 0.0) for task in tasks]),
            sequence=np.array(list(self.device), int),
            decided=np.array([self.decided.get(task, 0.0) for task in tasks]),
            step=None if self.rules.speed_steps == 1 else np.array([self.step.get(task, 0) for task in tasks]),
        )


def max_min_rates(routes: Sequence[Sequence[Link]]) -> list[float]:
    """Returns the rates of transfers that share links with max-min fairness, byte/s.

    Progressive filling (Bertsekas, Gallager 1992, Data Networks, section 6.5.2): the rates of all transfers rise
    together; where a link is full, those that pass it stay as they are, and the others rise on.

    Args:
        routes: The links that each transfer passes, at least one.
    """
    rates = [0.0] * len(routes)
    rising = set(range(len(routes)))
    while rising:
        room = {}
        for link in {link for transfer in rising for link in routes[transfer]}:
            users = [transfer for transfer in range(len(routes)) if link in routes[transfer]]
            free = link.bandwidth - sum(rates[transfer] for transfer in users)
            room[link] = free / len(rising.intersection(users))
        rise = min(room.values())
        for transfer in rising:
            rates[transfer] += rise
        full = {link for link in room if room[link] == rise}
        rising = {transfer for transfer in rising if not full.intersection(routes[transfer])}
    return rates


def _joined(outages: list[list[float]]) -> list[tuple[int, float, float]]:
    """Returns outages as (device, begin, end), those that touch as one."""
    joined: list[tuple[int, float, float]] = []
    for device, begin, end in sorted(outages):
        touches = bool(joined) and joined[-1][0] == device and joined[-1][2] == begin
        joined.append((int(device), joined.pop()[1] if touches else begin, end))
    return joined


def edges(instance: Instance) -> list[tuple[int, int, float]]:
    """Returns (sender, receiver, bytes) of all edges, by index of their senders."""
    source, target = instance.graph.edges.tolist()
    return list(zip(source, target, instance.graph.edge_bytes.tolist(), strict=True))


def route(instance: Instance, source: int, target: int) -> list[Link]:
    """Returns the links between two devices."""
    devices = instance.platform.devices
    return instance.platform.route(devices[source].name, devices[target].name)


def transfer_time(instance: Instance, size: float, source: int, target: int) -> float:
    """Returns the seconds that so many bytes take where nobody else sends, from the links themselves."""
    if source == target:
        return 0.0
    links = route(instance, source, target)
    return sum(link.latency for link in links) + size / min(link.bandwidth for link in links)


def shared_by(instance: Instance, rules: Rules, source: int, target: int) -> list[Hashable]:
    """Returns what a transfer between two devices occupies: links (``link``), or devices as ports (``nic``)."""
    return [source, target] if rules.contention == "nic" else list(route(instance, source, target))
