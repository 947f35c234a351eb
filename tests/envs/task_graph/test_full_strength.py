"""Dispatch with everything on, against its rules in plain Python: contention, failures, speed steps, power, streams."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hetgym.envs import TaskGraphScenario
from hetgym.envs.task_graph.checker import violations
from hetgym.envs.task_graph.instance import Instance
from hetgym.envs.task_graph.luck import drawn_outages
from hetgym.envs.task_graph.reference import Run
from hetgym.envs.task_graph.rules import CONTENTIONS, Rules
from hetgym.envs.task_graph.simulator import TaskGraphSimulator
from hetgym.hardware_models import Device, Link, OperatingPoint, Platform
from hetgym.workloads import TaskGraph
from hetgym.workloads.generators import GivenGraph

MOST_TASKS = 8


@st.composite
def devices(draw: st.DrawFn, name: str) -> Device:
    """A device with up to three operating points."""
    idle = draw(st.sampled_from([0.0, 1.0, 2.0]))
    busy = idle + draw(st.sampled_from([0.0, 2.0, 4.0]))
    speeds = sorted(draw(st.lists(st.sampled_from([0.25, 0.5, 0.75]), unique=True, max_size=2)))
    points = [
        OperatingPoint(frequency=1 + speed, voltage=1, speed=speed, busy_power=idle + (busy - idle) * speed)
        for speed in speeds
    ]
    highest = [OperatingPoint(frequency=9, voltage=1, speed=1, busy_power=busy)] if points else []
    return Device(name=name, kind=name, idle_power=idle, busy_power=busy, operating_points=(*points, *highest))


@st.composite
def platforms(draw: st.DrawFn) -> Platform:
    """Up to three devices: each pair with a link of its own, on one bus, or around a switch."""
    names = [f"d{index}" for index in range(draw(st.integers(1, 3)))]
    bandwidth, latency = st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from([0.0, 0.5])
    if len(names) == 1:
        ends = []
    else:
        pairs = [(one, other) for index, one in enumerate(names) for other in names[:index]]
        ends = draw(st.sampled_from([pairs, [tuple(names)], [(name, "switch") for name in names]]))
    links = tuple(Link(between=end, bandwidth=draw(bandwidth), latency=draw(latency)) for end in ends)
    return Platform(name="drawn", devices=tuple(draw(devices(name)) for name in names), links=links)


@st.composite
def graphs(draw: st.DrawFn, kinds: tuple[str, ...], most_tasks: int, exact: bool) -> TaskGraph:
    """Numbers that add up exactly, with ties and zeros, or real numbers."""
    num_tasks = draw(st.integers(1, most_tasks))
    times = st.sampled_from([0.0, 1.0, 1.0, 2.0, 3.0, np.inf]) if exact else st.floats(0.1, 5.0)
    rows = st.lists(times, min_size=len(kinds), max_size=len(kinds)).filter(lambda row: min(row) < np.inf)
    pairs = [(one, other) for other in range(num_tasks) for one in range(other)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=2 * num_tasks)) if pairs else []
    volumes = [draw(st.sampled_from([0.0, 1.0, 2.0]) if exact else st.floats(0.1, 3.0)) for _ in edges]
    return TaskGraph(
        "drawn", kinds, [draw(rows) for _ in range(num_tasks)], np.array(edges, int).reshape(-1, 2).T, volumes
    )


@st.composite
def outages(draw: st.DrawFn, num_devices: int) -> np.ndarray:
    """Up to three a device."""
    drawn = []
    for device in range(num_devices):
        time = 0.0
        for _ in range(draw(st.integers(0, 3))):
            begin = time + draw(st.sampled_from([0.0, 0.5, 1.0, 4.0]))
            time = begin + draw(st.sampled_from([0.5, 1.0, 3.0]))
            drawn.append((device, begin, time))
    return np.array(drawn, float).reshape(-1, 3)


def least_cap(platform: Platform, steps: int) -> float:
    idle = sum(device.idle_power for device in platform.devices)
    return idle + max(min(power for _, power in device.steps(steps)) - device.idle_power for device in platform.devices)


@st.composite
def rules_for(draw: st.DrawFn, platform: Platform, contention: Any) -> Rules:
    steps = draw(st.integers(1, 3))
    above = draw(st.sampled_from([0.0, 1.0, 3.0, np.inf]))
    return Rules(
        mode="dispatch",
        queue_limit=draw(st.sampled_from([0, 1, 5])),
        contention=contention,
        moving_delay=draw(st.sampled_from([0.0, 0.5, 2.0])),
        on_failure=draw(st.sampled_from(["restart", "resume"])),
        speed_steps=steps,
        power_cap=max(least_cap(platform, steps) + above, 0.25),
    )


@dataclass
class Problem:
    instance: Instance
    rules: Rules


@st.composite
def problems(draw: st.DrawFn, contention: Any) -> Problem:
    platform, exact = draw(platforms()), draw(st.booleans())
    kinds = platform.kinds
    jobs = [draw(graphs(kinds, 4, exact)) for _ in range(draw(st.integers(1, 3)))]
    sizes = [graph.num_tasks for graph in jobs]
    first = np.cumsum([0, *sizes])
    graph = TaskGraph(
        "jobs", kinds, np.concatenate([graph.duration for graph in jobs]),
        np.concatenate([graph.edges + shift for graph, shift in zip(jobs, first[:-1], strict=True)], axis=1),
        np.concatenate([graph.edge_bytes for graph in jobs]), job=np.repeat(np.arange(len(jobs)), sizes),
        arrival=[draw(st.sampled_from([0.0, 0.0, 1.0, 6.0])) for _ in jobs],
    )  # fmt: skip
    factors = st.sampled_from([0.0, 0.5, 1.0, 1.0, 4.0]) if exact else st.floats(0.1, 3.0)
    slowdown = [[draw(factors) for _ in kinds] for _ in range(graph.num_tasks)]
    information = draw(st.sampled_from(["expected", "exact", "blind"]))
    instance = Instance(graph, platform, np.array(slowdown), information, draw(outages(len(kinds))))
    return Problem(instance, draw(rules_for(platform, contention)))


def begin(problem: Problem) -> TaskGraphSimulator:
    instance = problem.instance
    simulator = TaskGraphSimulator(
        GivenGraph(graph=instance.graph), instance.platform, 1, instance.graph.num_tasks, rules=problem.rules,
        information=instance.information, reward={"jobs-in-system": 1.0},
    )  # fmt: skip
    simulator.reset([0], [instance])
    return simulator


def play_both(simulator: TaskGraphSimulator, run: Run, seed: int, known_as: Any) -> None:
    """Takes the same random decisions in both; at every step the same ones are allowed, at the same time."""
    chance = np.random.default_rng(seed)
    num_devices, num_steps = simulator.platform.num_devices, simulator.rules.speed_steps
    num_tasks = run.instance.graph.num_tasks
    run.go_on()
    for _ in range(40 * num_tasks):
        if simulator.outcome["terminated"][0]:
            break
        status = simulator.state.status[0]
        assert status["now"] == pytest.approx(run.now, rel=1e-9)
        if simulator.rules.power_cap < np.inf:
            assert status["committed"] == pytest.approx(run.power())
        mask = simulator.observation["action_mask"][0]
        assert mask[0] == run.can_wait()
        actions = np.flatnonzero(mask[1:])
        nodes = simulator.observation["candidate_nodes"][0, 1 + actions] - [num_devices, 0]
        allowed = [
            (known_as(task), device, action % num_steps)
            for (task, device), action in zip(nodes.tolist(), actions.tolist(), strict=True)
        ]
        wanted = {
            (task, device, step)
            for task in range(num_tasks)
            for device in range(num_devices)
            for step in range(num_steps)
            if run.can_decide(task, device, step)
        }
        assert set(allowed) == wanted
        assert len(allowed) == len(wanted)
        action = int(chance.choice(np.flatnonzero(mask)))
        simulator.step(np.array([action]))
        if action == 0:
            run.wait()
        else:
            run.decide(*allowed[actions.tolist().index(action - 1)])
        run.go_on()
    assert simulator.outcome["terminated"][0]
    assert run.is_over
    assert simulator.state.status["energy"][0] == pytest.approx(run.energy())
    assert simulator.state.status["job_seconds"][0] == pytest.approx(run.job_seconds)
    if run.horizon < np.inf:
        return
    one, other = simulator.schedule(0), run.schedule()
    for name in ("device", "start", "finish", "decided"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-9, abs=1e-9), name


@pytest.mark.parametrize("contention", CONTENTIONS)
@settings(max_examples=settings.default.max_examples * 5)
@given(data=st.data(), seed=st.integers(0, 99))
def test_everything_at_once_follows_the_rules(contention: str, data: st.DataObject, seed: int) -> None:
    problem = data.draw(problems(contention))
    simulator, run = begin(problem), Run(problem.instance, problem.rules)
    play_both(simulator, run, seed, lambda task: task)
    assert not violations(problem.instance, simulator.schedule(0), problem.rules)


@pytest.mark.parametrize("contention", CONTENTIONS)
@settings(max_examples=settings.default.max_examples // 2)
@given(data=st.data(), seed=st.integers(0, 99))
def test_streams_follow_the_rules(contention: Any, data: st.DataObject, seed: int) -> None:
    """With failures that are drawn, room for few jobs, and at times a horizon."""
    draw = data.draw
    horizon = draw(st.sampled_from([None, 8.0]))
    scenario = TaskGraphScenario(
        name="stream", mode="dispatch", platform="readys-2c2g", contention=contention,
        queue_limit=draw(st.integers(0, 2)), moving_delay=draw(st.sampled_from([0.0, 0.5])),
        on_failure=draw(st.sampled_from(["restart", "resume"])), mean_uptime=9.0, mean_downtime=2.0,
        noise=draw(st.sampled_from(["none", "gamma"])), straggler_probability=0.2, misestimation_sigma=0.3,
        workload={
            "kind": "stream", "active_jobs": draw(st.integers(1, 3)), "num_jobs": 6, "horizon": horizon,
            "arrivals": {"kind": "poisson", "mean_interarrival": 1.0},
            "jobs": [
                {"workload": {"kind": "random", "num_tasks": 3}, "variants": 2},
                {"workload": {"kind": "random", "num_tasks": 2}},
            ],
        },
    )  # fmt: skip
    simulator = scenario.simulator(1)
    simulator.reset([seed])
    # Jobs that arrive after the horizon are still to arrive.
    whole = scenario.override(horizon=None).instance(seed, 0)
    active_jobs = scenario.graphs.active_jobs
    assert isinstance(simulator, TaskGraphSimulator)
    outages = drawn_outages(scenario.luck, scenario.devices, seed, 0, until=1e3)
    instance = Instance(whole.graph, whole.platform, whole.slowdown, outages=outages)
    run = Run(instance, scenario.rules, active_jobs=active_jobs, horizon=horizon or np.inf)
    first = np.searchsorted(whole.graph.job, np.arange(whole.graph.num_jobs))

    def known_as(task: int) -> int:
        place, index = divmod(task, scenario.graphs.tasks_per_job)
        return int(first[simulator.state.jobs["index"][0, place]] + index)

    play_both(simulator, run, seed, known_as)
    assert simulator.state.status["makespan"][0] == pytest.approx(run.now)
    assert run.now < 1e3
