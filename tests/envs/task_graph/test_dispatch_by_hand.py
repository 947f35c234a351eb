"""Small cases of Dispatch, worked out by hand, played by the reference and by the compiled simulator."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hetgym.envs.task_graph.checker import violations
from hetgym.envs.task_graph.instance import Instance
from hetgym.envs.task_graph.reference import Run, max_min_rates
from hetgym.envs.task_graph.rules import CONTENTIONS, Information, Rules
from hetgym.envs.task_graph.schedule import Schedule
from hetgym.envs.task_graph.simulator import TaskGraphSimulator
from hetgym.hardware_models import Device, Link, OperatingPoint, Platform
from hetgym.workloads import TaskGraph
from hetgym.workloads.generators import GivenGraph

Runs = list[tuple[float, float]]

WAIT = None


def joined(*links: Link, num_devices: int = 4) -> Platform:
    """Devices d0, d1, ... that draw 1 W, and 5 W while they run, joined by links."""
    devices = tuple(Device(name=f"d{n}", kind="p", idle_power=1, busy_power=5) for n in range(num_devices))
    return Platform(name="by-hand", devices=devices, links=links)


def link(*ends: int | str, bandwidth: float = 1.0, latency: float = 0.0) -> Link:
    """A link between devices, by number, and switches."""
    between = tuple(end if isinstance(end, str) else f"d{end}" for end in ends)
    return Link(between=between, bandwidth=bandwidth, latency=latency)


def bus(num_devices: int = 4, bandwidth: float = 1.0, latency: float = 0.0) -> Platform:
    """Devices on one link."""
    return joined(link(*range(num_devices), bandwidth=bandwidth, latency=latency), num_devices=num_devices)


def line(*bandwidths: float) -> Platform:
    """Devices side by side, each joined to the next."""
    links = [link(n, n + 1, bandwidth=bandwidth) for n, bandwidth in enumerate(bandwidths)]
    return joined(*links, num_devices=len(links) + 1)


ALONE = joined(num_devices=1)


def tasks(
    *durations: float,
    edges: dict[tuple[int, int], float] | None = None,
    job: list[int] | None = None,
    arrival: list[float] | None = None,
) -> TaskGraph:
    """Tasks that take so many seconds everywhere; edges with their bytes."""
    edges = edges or {}
    return TaskGraph(
        "by-hand", ("p",), np.array(durations)[:, None], np.array(list(edges), int).reshape(-1, 2).T,
        np.array(list(edges.values()), float), job=np.array(job or [], int), arrival=np.array(arrival or [], float),
    )  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What is decided in this order, each as soon as it may be (or after a wait); and start and finish of each task."""

    platform: Platform
    graph: TaskGraph
    decisions: list[tuple[int, ...] | None]
    runs: Runs
    rules: dict[str, Any] = field(default_factory=dict)
    outages: list[tuple[int, float, float]] = field(default_factory=list)
    slowdown: list[float] | None = None
    energy: float | None = None

    @property
    def instance(self) -> Instance:
        outages = np.array(self.outages, float).reshape(-1, 3)
        slowdown = None if self.slowdown is None else np.array(self.slowdown)
        return Instance(self.graph, self.platform, slowdown, outages=outages)

    def limits(self) -> Rules:
        return Rules(mode="dispatch", **self.rules)


def play(run: Run, decisions: list[tuple[int, ...] | None]) -> list[tuple[int, ...] | None]:
    """Decides in order, each as soon as it may be, then lets all happen; returns what was done, waits included."""
    done: list[tuple[int, ...] | None] = []
    for decision in decisions:
        run.go_on()
        while decision is not WAIT and not run.can_decide(*decision):
            run.wait()
            run.go_on()
            done.append(WAIT)
        if decision is WAIT:
            run.wait()
        else:
            run.decide(*decision)
        done.append(decision)
    run.go_on()
    return done


def play_compiled(case: Case, actions: list[tuple[int, ...] | None]) -> TaskGraphSimulator:
    """Does the same in the compiled simulator."""
    simulator = TaskGraphSimulator(
        GivenGraph(graph=case.graph), case.platform, num_envs=1, window=case.graph.num_tasks, rules=case.limits()
    )
    simulator.reset([0], instances=[case.instance])
    for action in actions:
        named = np.array([action if len(action) == 3 else (*action, 0)]).T if action else None
        simulator.step(np.zeros(1, np.int64) if named is None else simulator.name_action(*named))
        assert not simulator.outcome["invalid_action"][0], action
    assert simulator.outcome["terminated"][0]
    return simulator


def assert_runs(schedule: Schedule, runs: Runs) -> None:
    assert list(zip(schedule.start.tolist(), schedule.finish.tolist(), strict=True)) == [
        pytest.approx(run) for run in runs
    ]


# Four tasks: 0 and 1 run from 0 to 1, and send 2 bytes to 2 and 3, which are decided at 1.
PAIRS = tasks(1, 1, 1, 1, edges={(0, 2): 2, (1, 3): 2})
APART: list[tuple[int, ...] | None] = [(0, 0), (1, 1), (2, 2), (3, 3)]
FIRST: Runs = [(0, 1), (0, 1)]

CONTENTION: dict[str, tuple[Platform, TaskGraph, list[tuple[int, ...] | None], dict[str, Runs]]] = {
    "two over a bus": (
        bus(), PAIRS, APART,
        {
            "none": [*FIRST, (3, 4), (3, 4)],  # 1 + 2 / 1
            "link": [*FIRST, (3, 4), (5, 6)],  # the bus from 1 to 3, then from 3 to 5
            "nic": [*FIRST, (3, 4), (3, 4)],  # ports d0, d2 and d1, d3
            "fair": [*FIRST, (5, 6), (5, 6)],  # 2 bytes at 1/2
        },
    ),
    "disjoint links": (
        joined(link(0, 2), link(1, 3), link(0, 1)), PAIRS, APART,
        # 1 + 2 / 1, whatever is shared
        {each: [*FIRST, (3, 4), (3, 4)] for each in CONTENTIONS},
    ),
    "a shared link in the middle": (
        # 0 sends from d0 to d3 over all links, 1 from d1 to d2 over that in the middle, the narrowest.
        line(2, 1, 4), PAIRS, [(0, 0), (1, 1), (2, 3), (3, 2)],
        {
            "none": [*FIRST, (3, 4), (3, 4)],  # 1 + 2 / 1
            "link": [*FIRST, (3, 4), (5, 6)],  # from 1 to 3, then from 3 to 5
            "nic": [*FIRST, (3, 4), (3, 4)],  # ports d0, d3 and d1, d2
            "fair": [*FIRST, (5, 6), (5, 6)],  # 2 bytes at 1/2
        },
    ),
    "two inputs of one task": (
        bus(latency=0.5), tasks(1, 1, 1, edges={(0, 2): 2, (1, 2): 1}), [(0, 0), (1, 1), (2, 2)],
        {
            "none": [*FIRST, (3.5, 4.5)],  # max(1 + 0.5 + 2, 1 + 0.5 + 1)
            "link": [*FIRST, (5, 6)],  # from 1 to 3.5, then from 3.5 to 3.5 + 0.5 + 1
            "nic": [*FIRST, (5, 6)],  # both into port d2: as above
            "fair": [*FIRST, (4.5, 5.5)],  # 1 byte at 1/2 until 3; of the other 1 is left at 1, until 4; then 0.5
        },
    ),
    "one sender, one link out": (
        joined(*(link(n, "switch") for n in range(4))), tasks(1, 1, 1, edges={(0, 1): 2, (0, 2): 2}),
        [(0, 0), (1, 1), (2, 2)],
        {
            "none": [(0, 1), (3, 4), (3, 4)],  # 1 + 2 / 1
            "link": [(0, 1), (3, 4), (5, 6)],  # link d0-switch from 1 to 3, from 3 to 5
            "nic": [(0, 1), (3, 4), (5, 6)],  # port d0 from 1 to 3, from 3 to 5
            "fair": [(0, 1), (5, 6), (5, 6)],  # link d0-switch at 1/2 each
        },
    ),
    "one sender, a link to each receiver": (
        joined(link(0, 1), link(0, 2), link(0, 3)), tasks(1, 1, 1, edges={(0, 1): 2, (0, 2): 2}),
        [(0, 0), (1, 1), (2, 2)],
        {
            "none": [(0, 1), (3, 4), (3, 4)],  # 1 + 2 / 1
            "link": [(0, 1), (3, 4), (3, 4)],  # as above
            "nic": [(0, 1), (3, 4), (5, 6)],  # port d0 from 1 to 3, from 3 to 5
            "fair": [(0, 1), (3, 4), (3, 4)],  # as without contention
        },
    ),
    "in both directions": (
        bus(2), PAIRS, [(0, 0), (1, 1), (2, 1), (3, 0)],
        {
            "none": [*FIRST, (3, 4), (3, 4)],  # 1 + 2 / 1
            "link": [*FIRST, (3, 4), (5, 6)],  # the link from 1 to 3, from 3 to 5
            "nic": [*FIRST, (3, 4), (5, 6)],  # both ports, for sending and receiving alike
            "fair": [*FIRST, (5, 6), (5, 6)],  # 1/2 each
        },
    ),
    "no bytes": (
        bus(latency=2), tasks(1, 1, 1, 1, edges={(0, 2): 0, (1, 3): 0}), APART,
        {
            "none": [*FIRST, (3, 4), (3, 4)],  # 1 + 2 + 0
            "link": [*FIRST, (3, 4), (5, 6)],  # the bus is occupied from 1 to 3, from 3 to 5
            "nic": [*FIRST, (3, 4), (3, 4)],  # ports d0, d2 and d1, d3
            "fair": [*FIRST, (3, 4), (3, 4)],  # latencies are not shared
        },
    ),
    "same device": (
        # 100 bytes from d0 to d0 take no time, 3 bytes to d1 take 3 s, alone on the bus.
        bus(), tasks(1, 1, 1, edges={(0, 1): 100, (0, 2): 3}), [(0, 0), (1, 0), (2, 1)],
        {each: [(0, 1), (1, 2), (4, 5)] for each in CONTENTIONS},
    ),
    "late decision": (
        # Task 2 could be decided at 1, but is at 4, when 1 finishes.
        bus(), tasks(1, 4, 1, edges={(0, 2): 2}), [(0, 0), (1, 1), WAIT, (2, 2)],
        {
            "none": [(0, 1), (0, 4), (4, 5)],  # the input was there at 1 + 2
            **{each: [(0, 1), (0, 4), (6, 7)] for each in ("link", "nic", "fair")},  # it is sent at 4
        },
    ),
    "booked behind a booking that is still to begin": (
        # d1 sends 4 bytes to d2 (link 12); d0 sends 1 byte to d3 (links 01, 12, 23) and 1 byte to d1 (link 01).
        line(1, 1, 1), tasks(1, 1, 1, 1, 1, edges={(0, 2): 4, (1, 3): 1, (1, 4): 1}),
        [(0, 1), (1, 0), (2, 2), (3, 3), (4, 1)],
        {
            "none": [*FIRST, (5, 6), (2, 3), (2, 3)],  # 1 + 4, 1 + 1, 1 + 1
            "link": [*FIRST, (5, 6), (6, 7), (7, 8)],  # 12 from 1 to 5; all from 5 to 6; 01 behind, from 6 to 7
            "nic": [*FIRST, (5, 6), (2, 3), (6, 7)],  # d1, d2 from 1 to 5; d0, d3 from 1 to 2; d0, d1 from 5 to 6
            "fair": [*FIRST, (6, 7), (3, 4), (3, 4)],  # 1/2 each until 3; of 4 bytes 3 are left, at 1, until 6
        },
    ),
    "a bottleneck leaves more to the other": (
        # d0 sends 2 bytes to d2 over links of 1 and 4; d1 sends 9 bytes to d3 over links of 4 and 8.
        line(1, 4, 8), tasks(1, 1, 1, 1, edges={(0, 2): 2, (1, 3): 9}), APART,
        {
            "none": [*FIRST, (3, 4), (3.25, 4.25)],  # 1 + 2 / 1, 1 + 9 / 4
            "link": [*FIRST, (3, 4), (5.25, 6.25)],  # link 12 from 1 to 3, from 3 to 3 + 9 / 4
            "nic": [*FIRST, (3, 4), (3.25, 4.25)],  # ports d0, d2 and d1, d3
            "fair": [*FIRST, (3, 4), (3.75, 4.75)],  # 1 and 3 until 3; of 9 bytes 3 are left, at 4
        },
    ),
    "those that stay speed up": (
        # d0, d1, d2 send 2, 5, 11 bytes over a bus of 6.
        bus(6, bandwidth=6), tasks(*[1] * 6, edges={(0, 3): 2, (1, 4): 5, (2, 5): 11}), [(n, n) for n in range(6)],
        {
            "none": [*FIRST, (0, 1), (4 / 3, 7 / 3), (11 / 6, 17 / 6), (17 / 6, 23 / 6)],  # 1 + 2/6, 1 + 5/6, 1 + 11/6
            "link": [*FIRST, (0, 1), (4 / 3, 7 / 3), (13 / 6, 19 / 6), (4, 5)],  # 1 + 2/6, 8/6 + 5/6, 13/6 + 11/6
            "nic": [*FIRST, (0, 1), (4 / 3, 7 / 3), (11 / 6, 17 / 6), (17 / 6, 23 / 6)],  # as without
            "fair": [*FIRST, (0, 1), (2, 3), (3, 4), (4, 5)],  # 2 each until 2; 3, 9 left, 3 each until 3; 6 left, at 6
        },
    ),
    "one that joins slows the other down": (
        # d0 sends 4 bytes to d2 at 1, d1 sends 1 byte to d3 at 3.
        bus(), tasks(1, 3, 1, 1, edges={(0, 2): 4, (1, 3): 1}), APART,
        {
            "none": [(0, 1), (0, 3), (5, 6), (4, 5)],  # 1 + 4, 3 + 1
            "link": [(0, 1), (0, 3), (5, 6), (6, 7)],  # the bus from 1 to 5, from 5 to 6
            "nic": [(0, 1), (0, 3), (5, 6), (4, 5)],  # as without
            "fair": [(0, 1), (0, 3), (6, 7), (5, 6)],  # 2 of 4 bytes until 3; 1/2 each until 5; 1 is left, at 1
        },
    ),
    "latencies and bandwidths along a route": (
        # From d0 to d1 0.5 + 0.25 s and 3 bytes at 1; from d0 to d2 0.5 s and 1 byte at 2.
        joined(
            link(0, "switch", bandwidth=2, latency=0.5), link(1, "switch", latency=0.25),
            link(2, "switch", bandwidth=4), num_devices=3,
        ), tasks(1, 1, 1, edges={(0, 1): 3, (0, 2): 1}), [(0, 0), (1, 1), (2, 2)],
        {
            "none": [(0, 1), (4.75, 5.75), (2, 3)],  # 1 + 0.75 + 3, 1 + 0.5 + 0.5
            "link": [(0, 1), (4.75, 5.75), (5.75, 6.75)],  # link d0-switch until 4.75, and 1 s on
            "nic": [(0, 1), (4.75, 5.75), (5.75, 6.75)],  # port d0, as above
            "fair": [(0, 1), (4.75, 5.75), (2.5, 3.5)],  # 1 each on link d0-switch: 1 + 3 + 0.75, 1 + 1 + 0.5
        },
    ),
    "links fill one after another": (
        # d0 sends over a link of 3 to links of 1/2, 1 and 4.
        joined(*(link(n, "switch", bandwidth=bandwidth) for n, bandwidth in enumerate((3, 0.5, 1, 4)))),
        tasks(1, 1, 1, 1, edges={(0, 1): 1, (0, 2): 2, (0, 3): 6}), [(n, n) for n in range(4)],
        {
            "none": [(0, 1), (3, 4), (3, 4), (3, 4)],  # 1 + 1 / 0.5, 1 + 2 / 1, 1 + 6 / 3
            "link": [(0, 1), (3, 4), (5, 6), (7, 8)],  # 2 s of link d0-switch each
            "nic": [(0, 1), (3, 4), (5, 6), (7, 8)],  # 2 s of port d0 each
            "fair": [(0, 1), (3, 4), (3, 4), (4, 5)],  # 0.5, 1, 1.5 until 3; of 6 bytes 3 are left, at 3
        },
    ),
    "lost transfers": (
        # 4 bytes are sent to d1 at 1; d1 fails at 2, is repaired at 3, and gets the task again.
        bus(), tasks(1, 1, edges={(0, 1): 4}), [(0, 0), (1, 1), (1, 1)],
        {
            "none": [(0, 1), (5, 6)],  # 1 + 4: they were sent wherever it runs
            "link": [(0, 1), (9, 10)],  # the bus is booked from 1 to 5, then again from 5 to 9
            "nic": [(0, 1), (9, 10)],  # the ports, as above
            "fair": [(0, 1), (7, 8)],  # nothing else is under way: 3 + 4
        },
    ),
}  # fmt: skip
OUTAGES: dict[str, list[tuple[int, float, float]]] = {"lost transfers": [(1, 2, 3)]}

CASES: dict[str, Case] = {
    f"{contention}: {name}": Case(
        platform, graph, decisions, runs[contention], {"contention": contention}, OUTAGES.get(name, [])
    )
    for name, (platform, graph, decisions, runs) in CONTENTION.items()
    for contention in CONTENTIONS
}

CASES |= {
    "moving delay: first, another job, the same job": Case(
        # 0 + 2; 3 + 2; at once
        ALONE, tasks(1, 1, 1, job=[0, 1, 1]), [(0, 0), (1, 0), (2, 0)], [(2, 3), (5, 6), (6, 7)],
        {"moving_delay": 2, "queue_limit": 2},
    ),
    "moving delay: there and back": Case(
        # 0 + 2; 3 + 2; 6 + 2
        ALONE, tasks(1, 1, 1, job=[0, 1, 0]), [(0, 0), (1, 0), (2, 0)], [(2, 3), (5, 6), (8, 9)],
        {"moving_delay": 2, "queue_limit": 2},
    ),
    "moving delay: while data are on their way": Case(
        # 1 and 2 are in front at 3, ready to start at 5; their inputs are there at 3 + 5 and 3 + 1.
        bus(), tasks(1, 1, 1, edges={(0, 1): 5, (0, 2): 1}), [(0, 0), (1, 1), (2, 2)], [(2, 3), (8, 9), (5, 6)],
        {"moving_delay": 2},
    ),
    "moving delay: back after a pause": Case(
        # 1 is the first on d1: 3 + 2; then d0 goes on with the job that it served last: at once.
        bus(), tasks(1, 1, 1, edges={(0, 1): 0, (1, 2): 0}), [(0, 0), (1, 1), (2, 0)], [(2, 3), (5, 6), (6, 7)],
        {"moving_delay": 2},
    ),
    "moving delay: goes on during an outage": Case(
        # In front from 0: 0 + 3. The outage from 1 to 2 changes nothing.
        ALONE, tasks(1), [(0, 0)], [(3, 4)], {"moving_delay": 3, "on_failure": "resume"}, [(0, 1, 2)],
    ),
    "moving delay: ends in an outage": Case(
        # 0 + 3 is before the repair.
        ALONE, tasks(1), [(0, 0)], [(5, 6)], {"moving_delay": 3, "on_failure": "resume"}, [(0, 1, 5)],
    ),
    "restart: from the beginning": Case(
        # Lost from 0 to 2, again from 3 to 7. 7 s x 1 W + (2 + 4) s x 4 W.
        ALONE, tasks(4), [(0, 0), (0, 0)], [(3, 7)], {}, [(0, 2, 3)], energy=31,
    ),
    "restart: elsewhere, and all in line": Case(
        # At 2 both are lost; d1 takes 0 at once, d0 takes 1 at 3. 2 x 7 s x 1 W + (2 + 4 + 4) s x 4 W.
        bus(2), tasks(4, 4), [(0, 0), (1, 0), (0, 1), (1, 0)], [(2, 6), (3, 7)], {"queue_limit": 1}, [(0, 2, 3)],
        energy=54,
    ),
    "restart: down at first": Case(ALONE, tasks(4), [(0, 0)], [(2, 6)], {}, [(0, 0, 2)]),
    "restart: finished at the last moment": Case(
        # 0 finishes at 2, then the device fails; 1 has just come to the front.
        ALONE, tasks(2, 2), [(0, 0), (1, 0), (1, 0)], [(0, 2), (3, 5)], {"queue_limit": 1}, [(0, 2, 3)], energy=5 + 16,
    ),
    "restart: again and again": Case(
        # Lost from 0 to 1 and from 2 to 4; from 5 to 8. 8 s x 1 W + (1 + 2 + 3) s x 4 W.
        ALONE, tasks(3), [(0, 0)] * 3, [(5, 8)], {}, [(0, 1, 2), (0, 4, 5)], energy=32,
    ),
    "restart: the device forgets the job": Case(
        # d0 runs 0 after 0 + 1, fails at 3; it gets 1 of the same job at 4, and has to prepare again.
        bus(2), tasks(1, 1, 4, job=[0, 0, 0]), [(0, 0), (2, 1), WAIT, (1, 0)], [(1, 2), (5, 6), (1, 5)],
        {"moving_delay": 1}, [(0, 3, 4)],
    ),
    "restart: what was shared is left to others": Case(
        # 1/2 each from 1 to 3; 3 of 4 bytes are left, at 1 until 4; then 1/2 each: 2 bytes until 8. Of the others
        # 2 are left, at 1, until 10.
        bus(), tasks(1, 1, 1, 1, edges={(0, 2): 4, (1, 3): 4}), [*APART, (2, 2)], [*FIRST, (10, 11), (8, 9)],
        {"contention": "fair"}, [(2, 3, 4)],
    ),
    "resume: one pause": Case(
        # From 0 to 2 and from 3 to 5. 5 s x 1 W + 4 s x 4 W.
        ALONE, tasks(4), [(0, 0)], [(0, 5)], {"on_failure": "resume"}, [(0, 2, 3)], energy=21,
    ),
    "resume: two pauses": Case(
        # From 0 to 1, from 2 to 3 and from 5 to 7. 7 s x 1 W + 4 s x 4 W.
        ALONE, tasks(4), [(0, 0)], [(0, 7)], {"on_failure": "resume"}, [(0, 1, 2), (0, 3, 5)], energy=23,
    ),
    "resume: outages that touch": Case(
        # From 0 to 1 and from 5 to 8.
        ALONE, tasks(4), [(0, 0)], [(0, 8)], {"on_failure": "resume"}, [(0, 1, 2), (0, 2, 5)], energy=24,
    ),
    "resume: inputs arrive while it is down": Case(
        # 1 + 2 is before the repair.
        bus(2), tasks(1, 1, edges={(0, 1): 2}), [(0, 0), (1, 1)], [(0, 1), (5, 6)], {"on_failure": "resume"},
        [(1, 2, 5)],
    ),
    "resume: inputs arrive after the repair": Case(
        # 1 + 6
        bus(2), tasks(1, 1, edges={(0, 1): 6}), [(0, 0), (1, 1)], [(0, 1), (7, 8)], {"on_failure": "resume"},
        [(1, 2, 5)],
    ),
    "resume: inputs arrive as it fails": Case(
        # 1 + 2, when it fails
        bus(2), tasks(1, 1, edges={(0, 1): 2}), [(0, 0), (1, 1)], [(0, 1), (5, 6)], {"on_failure": "resume"},
        [(1, 3, 5)],
    ),
    "resume: the line follows": Case(
        # From 0 to 1 and from 2 to 3; then from 3 to 5.
        ALONE, tasks(2, 2), [(0, 0), (1, 0)], [(0, 3), (3, 5)], {"on_failure": "resume", "queue_limit": 1},
        [(0, 1, 2)],
    ),
    "resume: shared transfers go on": Case(
        # 1 + 2 / 1 is before the repair, at 6.
        bus(2), tasks(1, 1, edges={(0, 1): 2}), [(0, 0), (1, 1)], [(0, 1), (6, 7)],
        {"on_failure": "resume", "contention": "fair"}, [(1, 2, 6)],
    ),
    "resume: the device remembers the job": Case(
        # As "restart: the device forgets the job", but 1 starts when it is decided.
        bus(2), tasks(1, 1, 4, job=[0, 0, 0]), [(0, 0), (2, 1), WAIT, (1, 0)], [(1, 2), (4, 5), (1, 5)],
        {"moving_delay": 1, "on_failure": "resume"}, [(0, 3, 4)],
    ),
}  # fmt: skip

# Speed 1, 1/2 and 1/4 at 10, 4 and 2 W; 1 W while idle.
POINTS = tuple(
    OperatingPoint(frequency=speed * 1e9, voltage=1, speed=speed, busy_power=power)
    for speed, power in ((0.25, 2), (0.5, 4), (1, 10))
)
SCALING = tuple(Device(name=f"d{n}", kind="p", idle_power=1, busy_power=10, operating_points=POINTS) for n in range(2))
ONE_SCALING = Platform(name="by-hand", devices=SCALING[:1])
TWO_SCALING = Platform(name="by-hand", devices=SCALING, links=(link(0, 1),))

CASES |= {
    # 2 s at 10 W; 4 s at 4 W; 8 s at 2 W.
    "steps: highest": Case(ONE_SCALING, tasks(2), [(0, 0, 0)], [(0, 2)], {"speed_steps": 3}, energy=20),
    "steps: middle": Case(ONE_SCALING, tasks(2), [(0, 0, 1)], [(0, 4)], {"speed_steps": 3}, energy=16),
    "steps: lowest": Case(ONE_SCALING, tasks(2), [(0, 0, 2)], [(0, 8)], {"speed_steps": 3}, energy=16),
    # Of two steps the second is the lowest.
    "steps: two of three": Case(ONE_SCALING, tasks(2), [(0, 0, 1)], [(0, 8)], {"speed_steps": 2}, energy=16),
    # 2 s x 1.5 / 0.5
    "steps: noise": Case(ONE_SCALING, tasks(2), [(0, 0, 1)], [(0, 6)], {"speed_steps": 3}, slowdown=[1.5], energy=24),
    "steps: one after another": Case(
        # d0: 4 s at 4 W, 3 s at 1 W; d1: 5 s at 1 W (while a byte is on its way, too), 2 s at 10 W.
        TWO_SCALING, tasks(2, 2, edges={(0, 1): 1}), [(0, 0, 1), (1, 1, 0)], [(0, 4), (5, 7)], {"speed_steps": 3},
        energy=19 + 25,
    ),
    "steps: a pause in a slow run": Case(
        # 4 s at half the speed, and 2 s down: 4 x 4 W + 2 x 1 W.
        ONE_SCALING, tasks(2), [(0, 0, 1)], [(0, 6)], {"speed_steps": 3, "on_failure": "resume"}, [(0, 1, 3)],
        energy=18,
    ),
    "cap: one after another": Case(
        # 10 + 10 W are too much before the first has finished. 4 s x 1 W + 2 x 2 s x 10 W
        TWO_SCALING, tasks(2, 2), [(0, 0, 0), (1, 1, 0)], [(0, 2), (2, 4)], {"speed_steps": 3, "power_cap": 12},
        energy=44,
    ),
    "cap: side by side, slowly": Case(
        # 10 + 2 W are allowed at once. 2 s x 10 W + 6 s x 1 W + 8 s x 2 W
        TWO_SCALING, tasks(2, 2), [(0, 0, 0), (1, 1, 2)], [(0, 2), (0, 8)], {"speed_steps": 3, "power_cap": 12},
        energy=42,
    ),
    "cap: counts what is in line": Case(
        # 0 draws 2 W from 0 to 8, but 1 behind it may come to draw 10 W, until 10: 10 + 4 W are too much until then.
        # 8 s x 2 W + 2 s x 10 W + 4 s x 1 W, and 10 s x 1 W + 4 s x 4 W
        TWO_SCALING, tasks(2, 2, 2), [(0, 0, 2), (1, 0, 0), (2, 1, 1)], [(0, 8), (8, 10), (10, 14)],
        {"speed_steps": 3, "power_cap": 12, "queue_limit": 1}, energy=40 + 26,
    ),
    "cap: more in a line that counts already": Case(
        # 10 + 1 W, with one task or two. 4 s x (10 + 1) W
        TWO_SCALING, tasks(2, 2), [(0, 0, 0), (1, 0, 0)], [(0, 2), (2, 4)], {"power_cap": 11, "queue_limit": 1},
        energy=44,
    ),
    "queue: one waits behind the one in front": Case(
        # The third can be decided only when the first has finished, and 2 runs elsewhere meanwhile.
        bus(2), tasks(1, 1, 1, 3), [(0, 0), (3, 1), (1, 0), (2, 0)], [(0, 1), (1, 2), (2, 3), (0, 3)],
        {"queue_limit": 1}, energy=2 * 3 + 6 * 4,
    ),
    "queue: jobs arrive": Case(
        ALONE, tasks(1, 1, job=[0, 1], arrival=[2, 5]), [(0, 0), (1, 0)], [(2, 3), (5, 6)], energy=6 + 8,
    ),
}  # fmt: skip

each_case = pytest.mark.parametrize("name", CASES)


@each_case
def test_reference(name: str) -> None:
    case = CASES[name]
    run = Run(case.instance, case.limits())
    play(run, case.decisions)
    assert run.is_over
    assert_runs(run.schedule(), case.runs)
    if case.energy is not None:
        assert run.energy() == pytest.approx(case.energy)
    assert violations(case.instance, run.schedule(), case.limits()) == []


@each_case
def test_simulator(name: str) -> None:
    case = CASES[name]
    simulator = play_compiled(case, play(Run(case.instance, case.limits()), case.decisions))
    assert_runs(simulator.schedule(0), case.runs)
    if case.energy is not None:
        assert simulator.metrics_of(0)["energy"] == pytest.approx(case.energy)


def begin(platform: Platform, graph: TaskGraph, **settings: Any) -> Run:
    return Run(Instance(graph, platform), Rules(mode="dispatch"), **settings)


def test_one_active_job() -> None:
    # d1 is idle until 2, when the second job becomes active. Jobs are in the system for 2 and 4 s.
    run = begin(bus(2), tasks(2, 2, job=[0, 1]), active_jobs=1)
    play(run, [(0, 0), (1, 1)])
    assert_runs(run.schedule(), [(0, 2), (2, 4)])
    assert run.job_finish == {0: 2, 1: 4}
    assert run.job_seconds == 2 + 4


def test_jobs_become_active_in_order_of_arrival() -> None:
    # Job 2 arrives before job 1, so it becomes active at 2, and job 1 at 4.
    run = begin(bus(2), tasks(2, 2, 2, job=[0, 1, 2], arrival=[0, 1, 0.5]), active_jobs=1)
    run.decide(0, 0)
    run.go_on()
    assert run.now == 2
    assert not run.can_decide(1, 1)
    play(run, [(2, 1), (1, 0)])
    assert_runs(run.schedule(), [(0, 2), (4, 6), (2, 4)])
    assert run.job_seconds == 2 + (6 - 1) + (4 - 0.5)


def test_active_job_may_wait_for_a_device() -> None:
    # Both jobs may be active, but 0 runs on the one device until 2; the third becomes active at 2.
    run = begin(ALONE, tasks(2, 2, 2, job=[0, 1, 2]), active_jobs=2)
    run.decide(0, 0)
    assert run.is_ready(1)
    assert not run.is_ready(2)
    assert run.jobs_in_system == 3
    play(run, [(2, 0), (1, 0)])
    assert_runs(run.schedule(), [(0, 2), (4, 6), (2, 4)])


def test_job_is_active_until_its_last_task_ends() -> None:
    # Job 0 ends at 3, with its second task.
    run = begin(bus(2), tasks(1, 3, 1, job=[0, 0, 1]), active_jobs=1)
    play(run, [(0, 0), (1, 1), (2, 0)])
    assert_runs(run.schedule(), [(0, 1), (0, 3), (3, 4)])


def test_horizon_cuts_off() -> None:
    # At 3 one of the jobs ends, the other runs on. Both devices draw 5 W for 3 s.
    run = begin(bus(2), tasks(4, 3, job=[0, 1]), horizon=3.0)
    play(run, [(0, 0), (1, 1)])
    assert run.is_over
    assert run.now == 3
    assert run.job_finish == {1: 3}
    assert run.jobs_in_system == 1
    assert run.job_seconds == 3 + 3
    assert run.energy() == 2 * 5 * 3
    assert run.schedule().start.tolist() == [0, 0]
    assert math.isnan(run.schedule().finish[0])


def test_waiting_ends_at_the_horizon() -> None:
    # The second job would arrive at 5. From 0 to 2 a device draws 5 W, then 1 W.
    run = begin(ALONE, tasks(2, 2, job=[0, 1], arrival=[0, 5]), horizon=3.0)
    play(run, [(0, 0)])
    assert run.is_over
    assert run.now == 3
    assert not run.can_wait()
    assert run.jobs_in_system == 0
    assert run.job_seconds == 2
    assert run.energy() == 2 * 5 + 1 * 1


def test_waiting_must_end() -> None:
    # Nothing is in line, no job is to arrive, and the device is up: it fails only later.
    run = Run(Instance(tasks(1), ALONE, outages=np.array([[0, 5, 6]])), Rules(mode="dispatch"))
    assert not run.can_wait()
    run = Run(Instance(tasks(1), bus(2), outages=np.array([[0, 0, 6]])), Rules(mode="dispatch"))
    assert run.can_wait()
    assert not run.can_decide(0, 0)
    run.wait()
    assert run.now == 6


def test_outages_that_touch_are_one() -> None:
    # From 0 to 1 and from 5 to 8; nothing happens at 2.
    instance = Instance(tasks(4), ALONE, outages=np.array([[0, 1, 2], [0, 2, 5]]))
    run = Run(instance, Rules(mode="dispatch", on_failure="resume"))
    run.decide(0, 0)
    times = []
    while run.can_wait():
        run.wait()
        times.append(run.now)
    assert times == [1, 5, 8]
    assert_runs(run.schedule(), [(0, 8)])


def test_shared_transfers_do_not_end_a_wait() -> None:
    # 1 gets its data at 3, and finishes at 4.
    instance = Instance(tasks(1, 1, edges={(0, 1): 2}), bus(2))
    run = Run(instance, Rules(mode="dispatch", contention="fair"))
    run.decide(0, 0)
    run.wait()
    run.decide(1, 1)
    run.wait()
    assert run.now == 4


@pytest.mark.parametrize(
    ("information", "duration"),
    [
        # 2 and 4 s by the graph; on d1, which is twice as fast, 1 and 2 s.
        ("expected", [[2, 1], [4, 2]]),
        ("exact", [[3, 1.5], [2, 1]]),  # times 1.5 and 0.5
        ("blind", [[2.25, 2.25], [2.25, 2.25]]),  # (2 + 1 + 4 + 2) / 4
    ],
)
def test_information(information: Information, duration: list[list[float]]) -> None:
    devices = (Device(name="d0", kind="p"), Device(name="d1", kind="p", speed=2))
    platform = Platform(name="by-hand", devices=devices, links=(link(0, 1),))
    instance = Instance(tasks(2, 4), platform, np.array([1.5, 0.5]), information)
    assert instance.duration.tolist() == duration
    # What is known changes nothing of what happens.
    run = Run(instance, Rules(mode="dispatch"))
    play(run, [(0, 0), (1, 1)])
    assert_runs(run.schedule(), [(0, 3), (0, 1)])


def test_blind_knows_where_tasks_can_run() -> None:
    graph = TaskGraph("by-hand", ("p", "q"), np.array([[2.0, np.inf], [4.0, 6.0]]), np.zeros((2, 0), int), np.zeros(0))
    instance = Instance(graph, graph.default_platform(), information="blind")
    assert instance.duration.tolist() == [[4, np.inf], [4, 4]]  # (2 + 4 + 6) / 3


LINKS = [link(n, n + 1, bandwidth=bandwidth) for n, bandwidth in enumerate((1, 2, 2, 3, 8))]


@given(routes=st.lists(st.lists(st.sampled_from(LINKS), min_size=1, unique=True), max_size=8))
def test_rates_are_max_min_fair(routes: list[list[Link]]) -> None:
    """No link is overfull, and each transfer passes a full link on which none is faster (Bertsekas, Gallager 1992)."""
    rates = max_min_rates(routes)
    used = {link: sum(rate for rate, route in zip(rates, routes, strict=True) if link in route) for link in LINKS}
    fastest = {
        link: max((rate for rate, route in zip(rates, routes, strict=True) if link in route), default=0.0)
        for link in LINKS
    }
    assert all(used[link] <= link.bandwidth * (1 + 1e-9) for link in LINKS)
    for rate, route in zip(rates, routes, strict=True):
        assert any(used[link] >= link.bandwidth * (1 - 1e-9) and rate >= fastest[link] * (1 - 1e-9) for link in route)
