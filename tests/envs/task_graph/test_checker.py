"""The checker finds every kind of fault: schedules of Dispatch that are right, then changed in one place."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from hetgym.envs.task_graph.checker import violations
from hetgym.envs.task_graph.instance import Instance
from hetgym.envs.task_graph.reference import Run
from hetgym.envs.task_graph.rules import Rules
from hetgym.envs.task_graph.schedule import Schedule
from hetgym.hardware_models import Device, Link, OperatingPoint, Platform
from hetgym.workloads import TaskGraph

POINTS = (
    OperatingPoint(frequency=1e9, voltage=1, speed=0.5, busy_power=4),
    OperatingPoint(frequency=2e9, voltage=1, speed=1, busy_power=10),
)
DEVICES = tuple(Device(name=f"d{n}", kind="p", idle_power=1, busy_power=10, operating_points=POINTS) for n in range(3))
BUS = Platform(name="bus", devices=DEVICES, links=(Link(between=("d0", "d1", "d2"), bandwidth=1),))


@dataclass(frozen=True)
class Setting:
    """Tasks 0 and 1 of 2 s; 2 and 3, of 1 s, wait for 0 and 1 and get 2 bytes: each decided as soon as it may be.

    The bus carries 1 byte/s.
    """

    devices: tuple[int, ...] = (0, 1, 2, 0)
    steps: tuple[int, ...] = (0, 0, 0, 0)
    rules: dict[str, Any] = field(default_factory=dict)
    outages: tuple[tuple[float, float, float], ...] = ()
    job: tuple[int, ...] = (0, 1, 0, 1)
    arrival: tuple[float, ...] = (0, 0)

    @property
    def instance(self) -> Instance:
        graph = TaskGraph(
            "two-pairs", ("p",), np.array([[2.0], [2.0], [1.0], [1.0]]), np.array([[0, 1], [2, 3]]), np.full(2, 2.0),
            job=np.array(self.job), arrival=np.array(self.arrival),
        )  # fmt: skip
        return Instance(graph, BUS, outages=np.array(self.outages).reshape(-1, 3))

    def limits(self) -> Rules:
        return Rules(**({"mode": "dispatch", "queue_limit": 1} | self.rules))

    def schedule(self) -> Schedule:
        run = Run(self.instance, self.limits())
        while not run.is_over:
            open_ = [task for task in range(4) if run.can_decide(task, self.devices[task], self.steps[task])]
            if open_:
                run.decide(open_[0], self.devices[open_[0]], self.steps[open_[0]])
            else:
                run.wait()
        return run.schedule()


def changed(schedule: Schedule, changes: dict[str, dict[int, float]]) -> Schedule:
    for name, values in changes.items():
        array = getattr(schedule, name)
        array = np.zeros(len(schedule.start), int) if array is None else array.copy()
        for place, value in values.items():
            array[place] = value
        schedule = replace(schedule, **{name: array})
    return schedule


# By hand, where nothing is shared: 0 and 1 from 0 to 2; 2 and 3 from 4 to 5.
PLAIN = Setting()
# On the bus 2 waits for [2, 4], 3 for [4, 6].
LINK = Setting(rules={"contention": "link"})
# At half the rate each, until 6.
FAIR = Setting(rules={"contention": "fair"})
# d2 is down from 4.5 to 5.5: 2 pauses, or is lost and runs again from 5.5 to 6.5.
RESUME = Setting(rules={"on_failure": "resume"}, outages=((2, 4.5, 5.5),))
RESTART = Setting(rules={"on_failure": "restart"}, outages=((2, 4.5, 5.5),))
# 1 follows 0 on d0, behind it in line; 2 and 3 on d1 and d2.
LINE = Setting(devices=(0, 0, 1, 2))
# Each task is of another job than the one before on its device: 0 from 1 to 3, 1 from 4 to 6.
MOVING = Setting(devices=(0, 0, 1, 2), rules={"moving_delay": 1.0})
# Task 3 comes back to d1, which 1 of its job has left at 3.
RETURN = Setting(devices=(0, 1, 2, 1), rules={"moving_delay": 1.0})
# Three devices at 10 + 10 + 1 W, the most that is allowed.
POWER = Setting(steps=(0, 0, 1, 0), rules={"power_cap": 21.0, "speed_steps": 2})
LATE_JOB = Setting(arrival=(0, 1))

FAULTS: dict[str, tuple[Setting, dict[str, dict[int, float]], str]] = {
    "named twice": (PLAIN, {"sequence": {0: 1}}, "the sequence is [1, 1, 2, 3] instead of every task once"),
    "no device": (PLAIN, {"device": {2: -1}}, "task 't2' is on no device"),
    "another device": (PLAIN, {"device": {2: 0}}, "tasks 't2' and 't3' overlap on device 'd0'"),
    "no such step": (PLAIN, {"step": {2: 1}}, "task 't2' runs at step 1, which 'd2' has not"),
    "another step": (POWER, {"step": {2: 0}}, "task 't2' takes 2.0 s instead of 1.0 s"),
    "too short": (PLAIN, {"finish": {2: 4.5}}, "task 't2' takes 0.5 s instead of 1.0 s"),
    "not finished": (PLAIN, {"finish": {2: np.nan}}, "task 't2' takes nan s instead of 1.0 s"),
    "before its job arrives": (LATE_JOB, {"start": {1: 0}, "finish": {1: 2}}, "its job arrives at 1.0"),
    "decided before its job arrives": (LATE_JOB, {"decided": {1: 0}}, "decided at 0.0, before its job arrives at 1.0"),
    "decided before its input is made": (PLAIN, {"decided": {2: 1}}, "decided at 1.0, before 't0' finishes at 2.0"),
    "out of order": (PLAIN, {"sequence": {1: 2, 2: 1}}, "task 't1' comes after 't2' in the sequence"),
    "before its input arrives": (
        PLAIN, {"start": {2: 3}, "finish": {2: 4}},
        "task 't2' starts at 3.0, before the output of 't0' arrives at 4.0",
    ),
    "before its booking ends": (
        LINK, {"start": {3: 5}, "finish": {3: 6}}, "task 't3' starts at 5.0, before the output of 't1' arrives at 6.0",
    ),
    "faster than alone": (
        FAIR, {"start": {3: 3}, "finish": {3: 4}}, "task 't3' starts at 3.0, before the output of 't1' arrives at 4.0",
    ),
    "late": (PLAIN, {"start": {2: 5}, "finish": {2: 6}}, "task 't2' starts at 5.0 instead of 4.0"),
    "late on a link": (LINK, {"start": {2: 5}, "finish": {2: 6}}, "task 't2' starts at 5.0 instead of 4.0"),
    "too early for its share": (
        FAIR, {"start": {3: 5}, "finish": {3: 6}}, "task 't3' starts at 5.0 instead of 6.0",
    ),
    "late for its share": (FAIR, {"start": {3: 7}, "finish": {3: 8}}, "task 't3' starts at 7.0 instead of 6.0"),
    "decided while nothing happens": (
        FAIR, {"decided": {3: 2.5}}, "task 't3' cannot be given to device 'd0' at 2.5",
    ),
    "overtaken": (
        LINE,
        {
            "start": {0: 2, 1: 0, 2: 6, 3: 4}, "finish": {0: 4, 1: 2, 2: 7, 3: 5}, "decided": {2: 4, 3: 2},
            "sequence": {2: 3, 3: 2},
        },
        "task 't0' starts at 2.0 instead of 0.0",
    ),
    "no moving delay": (MOVING, {"start": {1: 3}, "finish": {1: 5}}, "task 't1' starts at 3.0 instead of 4.0"),
    "moving delay within a job": (
        RETURN, {"start": {3: 4}, "finish": {3: 5}}, "task 't3' starts at 4.0 instead of 3.0",
    ),
    "runs on while the device is down": (
        RESUME, {"finish": {2: 5}}, "task 't2' takes 1.0 s instead of 1.5 s",
    ),
    "pauses too long": (RESUME, {"finish": {2: 7}}, "task 't2' takes 3.0 s instead of 2.0 s"),
    "starts while the device is down": (
        RESUME, {"start": {2: 5}, "finish": {2: 6.5}}, "task 't2' starts at 5.0, while device 'd2' is down",
    ),
    "decided while the device is down": (
        RESUME, {"decided": {2: 5}, "start": {2: 5.5}, "finish": {2: 6.5}},
        "task 't2' is decided at 5.0, while device 'd2' is down from 4.5 to 5.5",
    ),
    "late after an outage": (
        RESUME, {"start": {2: 5.5}, "finish": {2: 6.5}}, "task 't2' starts at 5.5 instead of 4.0",
    ),
    "in line while the device is down": (
        RESTART, {"decided": {2: 2}}, "task 't2' is in line until 6.5, while device 'd2' is down from 4.5 to 5.5",
    ),
    "late after a failure": (RESTART, {"start": {2: 6}, "finish": {2: 7}}, "task 't2' starts at 6.0 instead of 5.5"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_found(name: str) -> None:
    setting, changes, fault = FAULTS[name]
    right = setting.schedule()
    assert violations(setting.instance, right, setting.limits()) == []
    faults = violations(setting.instance, changed(right, changes), setting.limits())
    assert any(fault in found for found in faults), faults


@pytest.mark.parametrize(
    ("setting", "limits", "fault"),
    [
        (LINE, {"queue_limit": 0}, "task 't1' is decided behind 1 others, where 0 may wait"),
        (POWER, {"power_cap": 20.0}, "task 't1' may raise the power to 21.0 W, above 20.0 W"),
        (POWER, {"speed_steps": 1}, "task 't2' runs at step 1, which 'd2' has not"),
    ],
)
def test_breach_of_a_limit_is_found(setting: Setting, limits: dict[str, Any], fault: str) -> None:
    schedule = setting.schedule()
    assert violations(setting.instance, schedule, setting.limits()) == []
    assert fault in violations(setting.instance, schedule, replace(setting.limits(), **limits))


def test_only_realised_durations_count() -> None:
    schedule = PLAIN.schedule()
    slower = replace(PLAIN.instance, slowdown=np.array([1.0, 1.0, 2.0, 1.0]))
    assert violations(slower, schedule, PLAIN.limits()) == ["task 't2' takes 1.0 s instead of 2.0 s"]


def test_device_that_cannot_run_a_task_is_found() -> None:
    graph = TaskGraph("alone", ("p", "q"), np.array([[1.0, np.inf]]), np.zeros((2, 0), int), np.zeros(0))
    run = Run(Instance.of(graph), Rules(mode="dispatch"))
    run.decide(0, 0)
    run.go_on()
    elsewhere = changed(run.schedule(), {"device": {0: 1}})
    assert violations(run.instance, elsewhere) == ["task 't0' is on device 'q', which cannot run it"]


def test_lines_may_have_any_length_where_no_rules_are_given() -> None:
    assert violations(LINE.instance, LINE.schedule()) == []


@pytest.mark.parametrize("contention", ["link", "nic", "fair"])
def test_lost_bookings_do_not_count_as_faults(contention: str) -> None:
    """Where transfers to lost runs may hold others up, starts are only bounded from below."""
    # On the bus: 2 waits for [2, 4] and is lost at 2.5; 3 for [4, 6]; then 2 again, from 3.5.
    setting = Setting(rules={"contention": contention}, outages=((2, 2.5, 3.5),))
    schedule = setting.schedule()
    assert violations(setting.instance, schedule, setting.limits()) == []
    late = changed(schedule, {"start": {2: 19}, "finish": {2: 20}})
    assert violations(setting.instance, late, setting.limits()) == []
    early = changed(schedule, {"start": {2: 5}, "finish": {2: 6}})
    fault = "task 't2' starts at 5.0, before the output of 't0' arrives at"
    assert violations(setting.instance, early, setting.limits())[0].startswith(fault)
