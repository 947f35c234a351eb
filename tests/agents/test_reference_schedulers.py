"""IPEFT, HBMCT, linear clustering and duplication: against plain Python in exact fractions, and worked by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hetgym import HetgymError
from hetgym.agents import make_policy
from hetgym.agents.heuristics.duplication import Duplication
from hetgym.agents.heuristics.list_schedulers import StaticScheduler
from hetgym.envs import load_scenario
from hetgym.envs.task_graph.checker import duplication_violations, violations
from hetgym.envs.task_graph.instance import Instance
from hetgym.envs.task_graph.schedule import DuplicatedSchedule
from hetgym.evaluate import evaluate
from hetgym.evaluate.evaluation import play
from hetgym.hardware_models import Device, Link, Platform
from hetgym.workloads import CANONICAL_GRAPHS, TaskGraph, random_task_graph

MOST_TASKS = 14
Run = tuple[int, int, Fraction]
"""Task, device, start."""


class Plain:
    """An instance in exact numbers, and what has been placed of it."""

    def __init__(self, instance: Instance) -> None:
        graph, platform = instance.graph, instance.platform
        self.tasks, self.devices = range(graph.num_tasks), range(platform.num_devices)
        self.release = [Fraction(time) for time in graph.release.tolist()]
        self.duration = [
            {device: Fraction(time) for device, time in enumerate(row) if time < np.inf}
            for row in instance.duration.tolist()
        ]
        self.bytes = {
            (sender, receiver): Fraction(size)
            for sender, receiver, size in zip(*graph.edges.tolist(), graph.edge_bytes.tolist(), strict=True)
        }
        self.latency = [[Fraction(time) for time in row] for row in platform.latency.tolist()]
        self.per_byte = [[Fraction(time) for time in row] for row in platform.seconds_per_byte.tolist()]
        self.senders = {task: [one for one, other in self.bytes if other == task] for task in self.tasks}
        self.receivers = {task: [other for one, other in self.bytes if one == task] for task in self.tasks}
        self.mean_duration = [sum(times.values()) / len(times) for times in self.duration]
        self.runs: list[Run] = []

    def transfer(self, edge: tuple[int, int], source: int, target: int) -> Fraction:
        return self.latency[source][target] + self.bytes[edge] * self.per_byte[source][target]

    def mean_transfer(self, edge: tuple[int, int]) -> Fraction:
        pairs = [(source, target) for source in self.devices for target in self.devices if source != target]
        return sum((self.transfer(edge, *pair) for pair in pairs), Fraction()) / max(len(pairs), 1)

    def upward_rank(self, task: int) -> Fraction:
        rest = [self.mean_transfer((task, other)) + self.upward_rank(other) for other in self.receivers[task]]
        return self.mean_duration[task] + max(rest, default=Fraction())

    def downward_rank(self, task: int) -> Fraction:
        return max(
            [
                self.downward_rank(other) + self.mean_duration[other] + self.mean_transfer((other, task))
                for other in self.senders[task]
            ],
            default=self.release[task],
        )

    def by_priority(self, priority: list[Fraction]) -> Iterator[int]:
        """Gives the ready task of highest priority again and again, ties by index."""
        done: list[int] = []
        while len(done) < len(self.tasks):
            ready = [task for task in self.tasks if task not in done and set(self.senders[task]) <= set(done)]
            done.append(min(ready, key=lambda task: (-priority[task], task)))
            yield done[-1]

    def data_ready(self, task: int, device: int) -> Fraction:
        """When a task is released and the first copies of its inputs have arrived."""
        return max([self.release[task], *(self.arrival(other, task, device) for other in self.senders[task])])

    def arrival(self, sender: int, receiver: int, device: int) -> Fraction:
        return min(
            start + self.duration[task][source] + self.transfer((sender, receiver), source, device)
            for task, source, start in self.runs
            if task == sender
        )

    def busy(self, device: int) -> list[tuple[Fraction, Fraction]]:
        return [(start, start + self.duration[task][where]) for task, where, start in self.runs if where == device]

    def inserted(self, task: int, device: int) -> Fraction:
        """The earliest start in a gap, or behind all others."""
        ready, length, busy = self.data_ready(task, device), self.duration[task][device], self.busy(device)
        times = sorted({ready, *(end for _, end in busy if end > ready)})
        return next(time for time in times if all(time + length <= begin or time >= end for begin, end in busy))


def ipeft(plain: Plain) -> list[Run]:
    up, down = map(plain.upward_rank, plain.tasks), map(plain.downward_rank, plain.tasks)
    through = [one + other for one, other in zip(up, down, strict=True)]
    critical = {task for task in plain.tasks if through[task] == max(through)}

    def table(choose: Callable[[Iterator[Fraction]], Fraction], task: int, device: int, receivers: Any) -> Fraction:
        return max(
            (
                choose(
                    table(choose, other, there, receivers)
                    + plain.duration[other][there]
                    + (plain.mean_transfer((task, other)) if there != device else 0)
                    for there in plain.duration[other]
                )
                for other in receivers(task)
            ),
            default=Fraction(),
        )

    def critical_first(task: int) -> list[int]:
        return [other for other in plain.receivers[task] if other in critical] or plain.receivers[task]

    priority = [
        sum(table(max, task, device, plain.receivers.get) for device in plain.devices) / len(plain.devices)
        + plain.mean_duration[task]
        for task in plain.tasks
    ]
    for task in plain.by_priority(priority):
        leads_to_critical = task not in critical and critical & set(plain.receivers[task])

        def outlook(device: int, task: int = task, alone: Any = leads_to_critical) -> Fraction:
            return Fraction() if alone else table(min, task, device, critical_first)

        finish = {
            device: plain.inserted(task, device) + plain.duration[task][device] for device in plain.duration[task]
        }
        device = min(finish, key=lambda device: (finish[device] + outlook(device), device))
        plain.runs.append((task, device, finish[device] - plain.duration[task][device]))
    return plain.runs


def hbmct(plain: Plain) -> list[Run]:
    groups: list[list[int]] = []
    for task in plain.by_priority(list(map(plain.upward_rank, plain.tasks))):
        if not groups or set(plain.senders[task]) & set(groups[-1]):
            groups.append([])
        groups[-1].append(task)
    for group in groups:
        _balanced(plain, group)
    return plain.runs


def _balanced(plain: Plain, group: list[int]) -> None:
    ready = {(task, device): plain.data_ready(task, device) for task in group for device in plain.devices}
    free = [max([end for _, end in plain.busy(device)], default=Fraction()) for device in plain.devices]
    on = {task: min(plain.duration[task], key=lambda device: (plain.duration[task][device], device)) for task in group}

    def line(on: dict[int, int], device: int) -> list[tuple[int, Fraction]]:
        """Tasks and starts on a device."""
        tasks, time, placed = sorted((ready[task, device], task) for task in on if on[task] == device), free[device], []
        for arrival, task in tasks:
            placed.append((task, max(time, arrival)))
            time = placed[-1][1] + plain.duration[task][device]
        return placed

    def end(on: dict[int, int], device: int) -> Fraction:
        placed = line(on, device)
        return placed[-1][1] + plain.duration[placed[-1][0]][device] if placed else Fraction()

    def mean_completion(task: int) -> Fraction:
        times = [max(ready[task, device], free[device]) + time for device, time in plain.duration[task].items()]
        return sum(times, Fraction()) / len(times)

    def move() -> bool:
        used = sorted(set(on.values()))
        last = max(used, key=lambda device: (end(on, device), -device))
        for task in sorted(
            (task for task in group if on[task] == last), key=lambda task: (mean_completion(task), task)
        ):
            others = [device for device in plain.duration[task] if device != last]
            there = min(others, key=lambda device: (end(on | {task: device}, device), device), default=None)
            if there is not None:
                moved = on | {task: there}
                if max(end(moved, last), end(moved, there)) < end(on, last):
                    on[task] = there
                    return True
        return False

    while move():
        pass
    plain.runs += [(task, device, start) for device in plain.devices for task, start in line(on, device)]


def linear_clustering(plain: Plain) -> list[Run]:
    cluster: dict[int, list[int]] = {}
    while len(cluster) < len(plain.tasks):
        free = [task for task in plain.tasks if task not in cluster]
        paths = [path for task in free for path in _paths(plain, task, free)]
        # Of equal paths the one of lower indices, and none that could go on.
        longest = min(paths, key=lambda path: (-_length(plain, path), [*path, len(plain.tasks)]))
        runs_whole = any(all(device in plain.duration[task] for task in longest) for device in plain.devices)
        for task in longest:
            cluster[task] = longest if runs_whole else [task]
    device_of: dict[int, int] = {}
    for task in plain.by_priority(list(map(plain.upward_rank, plain.tasks))):
        tasks = cluster[task]
        if task == tasks[0]:
            rest = {
                device: sum((plain.duration[other][device] for other in tasks), Fraction())
                for device in plain.devices
                if all(device in plain.duration[other] for other in tasks)
            }
            chosen = min(rest, key=lambda device: (plain.inserted(task, device) + rest[device], device))
            device_of |= dict.fromkeys(tasks, chosen)
        plain.runs.append((task, device_of[task], plain.inserted(task, device_of[task])))
    return plain.runs


def _paths(plain: Plain, task: int, free: list[int]) -> Iterator[list[int]]:
    yield [task]
    for other in plain.receivers[task]:
        if other in free:
            for path in _paths(plain, other, free):
                yield [task, *path]


def _length(plain: Plain, path: list[int]) -> Fraction:
    transfers = [plain.mean_transfer(edge) for edge in pairwise(path)]
    return sum([*transfers, *(plain.mean_duration[task] for task in path)], Fraction())


def duplication(plain: Plain) -> list[Run]:
    for task in plain.by_priority(list(map(plain.upward_rank, plain.tasks))):
        options = []
        before = list(plain.runs)
        for device, duration in plain.duration[task].items():
            plain.runs = list(before)
            start = _start_with_copies(plain, task, device)
            options.append((start + duration, device, [*plain.runs, (task, device, start)]))
        plain.runs = min(options, key=lambda option: option[:2])[2]
    return plain.runs


def _start_with_copies(plain: Plain, task: int, device: int) -> Fraction:
    start = plain.inserted(task, device)
    while plain.senders[task]:
        latest = min(plain.senders[task], key=lambda other: (-plain.arrival(other, task, device), other))
        there = any(run[:2] == (latest, device) for run in plain.runs)
        if there or device not in plain.duration[latest] or plain.data_ready(task, device) == plain.release[task]:
            break
        without = list(plain.runs)
        plain.runs.append((latest, device, plain.inserted(latest, device)))
        if plain.inserted(task, device) >= start:
            plain.runs = without
            break
        start = plain.inserted(task, device)
    return start


REFERENCES = {"ipeft": ipeft, "hbmct": hbmct, "linear-clustering": linear_clustering, "duplication": duplication}


@st.composite
def platforms(draw: st.DrawFn) -> Platform:
    """One to four devices; where three or more have unlike links, means would not be exact in binary."""
    count = draw(st.integers(1, 4))
    names = [f"d{index}" for index in range(count)]
    devices = tuple(Device(name=name, kind=name, speed=draw(st.sampled_from([0.5, 1.0, 2.0]))) for name in names)
    bandwidth, latency = draw(st.sampled_from([0.25, 1.0, 4.0])), draw(st.sampled_from([0.0, 0.5, 3.0]))
    pairs = [(one, other) for index, one in enumerate(names) for other in names[:index]]
    links = tuple(Link(between=pair, bandwidth=bandwidth, latency=latency) for pair in pairs)
    return Platform(name="drawn", devices=devices, links=links)


@st.composite
def tied_instances(draw: st.DrawFn) -> Instance:
    """Small whole numbers, so that ties, zeros and exact fits are frequent.

    Some devices cannot run some tasks; the tasks belong to one job or to two, of which one arrives later.
    """
    platform = draw(platforms())
    num_tasks = draw(st.integers(1, MOST_TASKS))
    times = st.sampled_from([0.0, 1.0, 1.0, 2.0, 3.0, 8.0, np.inf])
    rows = st.lists(times, min_size=platform.num_devices, max_size=platform.num_devices)
    duration = [draw(rows.filter(lambda row: min(row) < np.inf)) for _ in range(num_tasks)]
    order = draw(st.permutations(range(num_tasks)))
    job = np.zeros(num_tasks, int)
    job[order[: draw(st.integers(0, num_tasks - 1))]] = 1
    pairs = [
        (order[one], order[other])
        for other in range(num_tasks)
        for one in range(other)
        if job[order[one]] == job[order[other]]
    ]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=2 * num_tasks)) if pairs else []
    volumes = [draw(st.sampled_from([0.0, 1.0, 2.0, 5.0])) for _ in edges]
    arrival = np.array([0.0, 4.0])[: job.max() + 1]
    ends = np.array(edges, int).reshape(-1, 2).T
    graph = TaskGraph(
        "drawn", platform.kinds, np.array(duration), ends, np.array(volumes), job=job, arrival=arrival[: job.max() + 1]
    )
    return Instance(graph, platform)


@st.composite
def untied_instances(draw: st.DrawFn) -> Instance:
    """Real numbers, as from the generator."""
    graph = random_task_graph(
        num_tasks=draw(st.integers(1, MOST_TASKS)),
        num_devices=draw(st.integers(1, 4)),
        ccr=draw(st.sampled_from([0.1, 1.0, 5.0])),
        out_degree=draw(st.sampled_from([1, 2, 3])),
        seed=draw(st.integers(0, 2**31)),
    )
    return Instance.of(graph)


instances = st.one_of(tied_instances(), untied_instances())


def assert_as_reference(name: str, instance: Instance) -> None:
    policy = make_policy(name)
    runs = REFERENCES[name](Plain(instance))
    if isinstance(policy, Duplication):
        copies = policy.schedule(instance)
        assert duplication_violations(instance, copies) == []
        found = zip(copies.task.tolist(), copies.device.tolist(), copies.start.tolist(), strict=True)
    else:
        assert isinstance(policy, StaticScheduler)
        schedule = policy.schedule(instance)
        assert violations(instance, schedule) == []
        order = schedule.sequence
        found = zip(order.tolist(), schedule.device[order].tolist(), schedule.start[order].tolist(), strict=True)
    assert [(task, device, pytest.approx(float(start), rel=1e-9)) for task, device, start in runs] == list(found)


@pytest.mark.parametrize("name", REFERENCES)
@settings(max_examples=settings.default.max_examples * 3 // 2)
@given(instance=instances)
def test_every_decision_is_that_of_the_reference(name: str, instance: Instance) -> None:
    assert_as_reference(name, instance)


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("graph", CANONICAL_GRAPHS)
def test_worked_examples_of_the_literature(graph: str, name: str) -> None:
    assert_as_reference(name, Instance.of(CANONICAL_GRAPHS[graph]()))


def on_two(duration: list[list[float]], edges: dict[tuple[int, int], float]) -> Instance:
    """Two devices; what an edge holds is the seconds that it takes between them."""
    ends = np.array(list(edges), int).reshape(-1, 2).T
    return Instance.of(TaskGraph("worked", ("p0", "p1"), np.array(duration), ends, np.array(list(edges.values()))))


def scheduled(name: str, instance: Instance) -> dict[int, tuple[int, float]]:
    """The device and the start of each task."""
    policy = make_policy(name)
    assert isinstance(policy, StaticScheduler)
    schedule = policy.schedule(instance)
    return dict(enumerate(zip(schedule.device.tolist(), schedule.start.tolist(), strict=True)))


def test_ipeft_lets_parents_of_critical_tasks_finish_first() -> None:
    """Tasks 0 and 1 send to 2, which takes 1 s on the first device and 50 s on the second.

    Mean paths: 30 + 0 + 25.5 through 0, 6.5 + 10 + 25.5 through 1: 0 and 2 are critical. 0 goes to the first device,
    0 to 20. Then 1 would finish there at 21, on the second device at 12; CNCT, 1 and 11, would make it 22 and 23, but
    as a parent of a critical task that is not critical itself it goes to the second. 2: data of 1 arrive at 22.
    """
    instance = on_two([[20, 40], [1, 12], [1, 50]], {(0, 2): 0.0, (1, 2): 10.0})
    assert scheduled("ipeft", instance) == {0: (0, 0), 1: (1, 0), 2: (0, 22)}


def test_ipeft_goes_by_the_worst_device() -> None:
    """PCT of 0 is 9 and of 1 is 6 on both devices; upward ranks are 1 + 5.5 and 1 + 6."""
    instance = on_two([[1.0, 1.0], [1.0, 1.0], [9.0, 2.0], [6.0, 6.0]], {(0, 2): 0.0, (1, 3): 0.0})
    assert make_policy("ipeft").schedule(instance).sequence[0] == 0
    assert make_policy("heft").schedule(instance).sequence[0] == 1


def test_hbmct_balances_a_group() -> None:
    """All are fastest on the first device, which would end at 12. One goes: 8 and 6. Another would end at 12."""
    instance = on_two([[4.0, 6.0]] * 3, {})
    assert scheduled("hbmct", instance) == {0: (1, 0), 1: (0, 0), 2: (0, 4)}


def test_hbmct_runs_a_group_as_its_inputs_arrive() -> None:
    """Upward ranks 12, 7, 1, 5: groups {0, 1} and {3, 2}; the inputs of 2 are there at 6, those of 3 at 7."""
    duration = [[np.inf, 3.0], [6.0, np.inf], [1.0, np.inf], [5.0, np.inf]]
    instance = on_two(duration, {(0, 3): 4.0, (1, 2): 0.0})
    assert scheduled("hbmct", instance) == {0: (1, 0), 1: (0, 0), 2: (0, 6), 3: (0, 7)}


def test_linear_clustering_keeps_the_longest_path_together() -> None:
    """Paths 0-1: 2 + 5 + 5 = 12 s, 0-2: 2 + 1 + 4 = 7 s; upward ranks 12, 5, 4.

    The cluster {0, 1} takes 11 s on the first device and 3 s on the second, and goes there. {2} would end at 7 on
    both: on the first its data are there at 3, the second is free at 3.
    """
    instance = on_two([[2.0, 2.0], [9.0, 1.0], [4.0, 4.0]], {(0, 1): 5.0, (0, 2): 1.0})
    assert scheduled("linear-clustering", instance) == {0: (1, 0), 1: (1, 2), 2: (0, 3)}


def test_a_cluster_that_no_device_can_run_falls_apart() -> None:
    instance = on_two([[1.0, np.inf], [np.inf, 1.0], [2.0, 1.0]], {(0, 1): 1.0, (1, 2): 1.0})
    assert scheduled("linear-clustering", instance) == {0: (0, 0), 1: (1, 2), 2: (1, 3)}


def duplicated(instance: Instance) -> DuplicatedSchedule:
    return Duplication().schedule(instance)


FORK = on_two([[2.0, 2.0]] * 3, {(0, 1): 10.0, (0, 2): 10.0})


def test_duplication_copies_a_parent() -> None:
    """2 would run from 4 to 6 behind 1, or from 12 on elsewhere; with a copy of 0 there, from 2 to 4."""
    schedule = duplicated(FORK)
    table = schedule.table(FORK)
    assert table[["task", "device", "start", "finish"]].to_numpy().tolist() == [
        [0, 0, 0, 2], [1, 0, 2, 4], [0, 1, 0, 2], [2, 1, 2, 4],
    ]  # fmt: skip
    assert table["name"].tolist() == ["t0", "t1", "t0", "t2"]
    assert schedule.makespan == 4


def test_makespan_is_when_each_task_has_ended_once() -> None:
    columns = [np.array(column) for column in ([0, 1, 0], [0, 0, 1], [0.0, 2.0, 7.0], [2.0, 4.0, 9.0])]
    assert DuplicatedSchedule(*columns).makespan == 4


@given(instance=instances)
def test_without_transfers_nothing_is_copied(instance: Instance) -> None:
    """Where data are everywhere at once, duplication is HEFT."""
    graph = replace(instance.graph, edge_bytes=np.zeros(instance.graph.num_edges))
    links = tuple(link.model_copy(update={"latency": 0.0}) for link in instance.platform.links)
    instance = Instance(graph, instance.platform.model_copy(update={"links": links}))
    copies, heft = duplicated(instance), make_policy("heft").schedule(instance)
    assert copies.task.tolist() == heft.sequence.tolist()
    assert copies.device.tolist() == heft.device[heft.sequence].tolist()
    assert copies.start.tolist() == heft.start[heft.sequence].tolist()


def test_duplication_helps_where_transfers_are_long() -> None:
    graphs = [random_task_graph(30, 4, ccr=5.0, seed=seed) for seed in range(20)]
    ratios = [
        duplicated(Instance.of(graph)).makespan / make_policy("heft").schedule(graph).makespan for graph in graphs
    ]
    assert np.mean(ratios) < 0.9


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"task": [0, 1, 0, 1]}, "task 't2' does not run"),
        ({"finish": [2.0, 5.0, 2.0, 4.0]}, "'t1' on device .* takes 3.0 s instead of 2.0 s"),
        ({"start": [0.0, 1.0, 0.0, 2.0], "finish": [2.0, 3.0, 2.0, 4.0]}, "'t1' .* before the output of 't0' arrives"),
        ({"device": [0, 0, 0, 1]}, "tasks 't0' and 't0' overlap"),
        ({"start": [-1.0, 2.0, 0.0, 2.0], "finish": [1.0, 4.0, 2.0, 4.0]}, "'t0' .* starts at -1.0, its job arrives"),
        ({"start": [0.0, np.nan, 0.0, 2.0]}, "'t1' .* starts at nan"),
    ],
)
def test_faults_of_copies_are_found(changes: dict[str, Any], fault: str) -> None:
    schedule = duplicated(FORK)
    assert duplication_violations(FORK, schedule) == []
    broken = replace(schedule, **{name: np.array(column) for name, column in changes.items()})
    found = "\n".join(duplication_violations(FORK, broken))
    assert re.search(fault, found)


def test_copy_where_it_cannot_run_is_found() -> None:
    instance = on_two([[1.0, np.inf]], {})
    run = DuplicatedSchedule(np.array([0]), np.array([1]), np.zeros(1), np.ones(1))
    assert "which cannot run it" in duplication_violations(instance, run)[0]


def test_duplication_does_not_play() -> None:
    with pytest.raises(HetgymError, match=r"an environment runs each task once: use its schedule\(\)") as error:
        play(load_scenario("heft-paper").simulator(1), make_policy("duplication"), [0])
    assert "\n" not in str(error.value)
    with pytest.raises(HetgymError, match="environment runs each task once"):
        evaluate("heft-paper", "duplication", episodes=1)


@pytest.mark.parametrize("name", REFERENCES)
def test_one_task_on_one_device(name: str) -> None:
    schedule = make_policy(name).schedule(TaskGraph("one", ("p0",), [[3.0]], np.empty((2, 0), int), np.empty(0)))
    assert schedule.makespan == 3
