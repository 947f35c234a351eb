"""CP-SAT: proven optima, brute force on small instances, and what it says when it is not done."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hetgym import HetgymError
from hetgym.agents import list_policies, make_policy
from hetgym.agents.heuristics.list_schedulers import StaticScheduler
from hetgym.envs import load_scenario
from hetgym.envs.task_graph.bounds import fractional_lower_bound, lower_bound
from hetgym.envs.task_graph.checker import violations
from hetgym.envs.task_graph.instance import Instance
from hetgym.evaluate.evaluation import play
from hetgym.hardware_models import Device, Link, Platform
from hetgym.workloads import TaskGraph, join_jobs, random_task_graph
from hetgym.workloads.canonical import heft_paper, peft_paper

pytest.importorskip("ortools", reason="OR-Tools is not installed: it comes with the extra hetgym[oracle]")

from ortools.sat.python import cp_model

from hetgym.agents.oracles.cp_sat import CpSat, Solution

STATIC = [policy for policy in map(make_policy, list_policies("task-graph")) if isinstance(policy, StaticScheduler)]


def solved(instance: Instance, **settings: float) -> Solution:
    """Returns a solution, checked."""
    solution = CpSat(**settings).solve(instance)
    assert violations(instance, solution.schedule) == []
    assert solution.upper_bound == solution.schedule.makespan
    assert solution.lower_bound <= solution.upper_bound
    assert solution.seconds > 0
    return solution


@pytest.mark.parametrize(("graph", "optimum"), [(heft_paper(), 73), (peft_paper(), 113)])
def test_optima_of_the_papers_are_proven_within_a_second(graph: TaskGraph, optimum: int) -> None:
    make_policy("cp-sat").schedule(graph)  # the first call compiles the hints
    begin = time.process_time()
    solution = solved(Instance.of(graph))
    assert time.process_time() - begin < 1
    assert (solution.status, solution.lower_bound, solution.upper_bound) == ("optimal", optimum, optimum)


@st.composite
def small_instances(draw: st.DrawFn) -> Instance:
    """Few tasks on two or three devices, of which some are equal; whole, binary or any numbers."""
    num_tasks, num_devices = draw(st.sampled_from([(1, 3), (3, 3), (4, 3), (5, 2)]))
    kinds = draw(st.lists(st.sampled_from("ab"), min_size=num_devices, max_size=num_devices))
    devices = tuple(Device(name=f"d{index}", kind=kind) for index, kind in enumerate(kinds))
    any_time = st.floats(0.0, 10.0).map(lambda time: round(time, 6))
    times = draw(st.sampled_from([st.integers(0, 9).map(float), st.sampled_from([0.0, 0.25, 1.5]), any_time]))
    links = tuple(
        Link(between=(devices[one].name, devices[other].name), bandwidth=draw(st.sampled_from([1.0, 4.0, 1e12])),
             latency=draw(st.sampled_from([0.0, 0.0, 2.0])))
        for other in range(num_devices) for one in range(other)
    )  # fmt: skip
    present = sorted(set(kinds))
    rows = st.lists(st.one_of(times, times, st.just(np.inf)), min_size=len(present), max_size=len(present))
    duration = [draw(rows.filter(lambda row: min(row) < np.inf)) for _ in range(num_tasks)]
    # The last task may be a job of its own, which arrives later.
    alone = draw(st.booleans()) and num_tasks > 1
    pairs = [(one, other) for other in range(num_tasks - alone) for one in range(other)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    graph = TaskGraph(
        "small", tuple(present), np.array(duration), np.array(edges, int).reshape(-1, 2).T,
        np.array([draw(st.one_of(st.just(0.0), times)) for _ in edges]),
        job=np.array([0] * (num_tasks - alone) + [1] * alone),
        arrival=np.array([0.0, *[draw(times)] * alone]),
    )  # fmt: skip
    return Instance(graph, Platform(name="small", devices=devices, links=links))


def least_makespan(instance: Instance) -> float:
    """Tries all devices and orders of starts; each task starts as soon as it can behind the others on its device."""
    graph, duration = instance.graph, instance.duration
    size = dict(zip(map(tuple, graph.edges.T.tolist()), graph.edge_bytes.tolist(), strict=True))
    latency, per_byte = instance.platform.latency, instance.platform.seconds_per_byte
    best = np.inf

    def decide(placed: dict[int, tuple[int, float]], free: list[float], last: float, makespan: float) -> None:
        nonlocal best
        if makespan >= best:
            return
        if len(placed) == graph.num_tasks:
            best = makespan
            return
        for task in range(graph.num_tasks):
            senders = [sender for sender, receiver in size if receiver == task]
            if task in placed or not all(sender in placed for sender in senders):
                continue
            for device in np.flatnonzero(np.isfinite(duration[task])).tolist():
                start = max(free[device], graph.release[task])
                for sender in senders:
                    source, finish = placed[sender]
                    sent = latency[source, device] + size[sender, task] * per_byte[source, device]
                    start = max(start, finish + sent)
                if start < last:
                    continue
                finish = start + duration[task, device]
                there = [finish if other == device else time for other, time in enumerate(free)]
                decide(placed | {task: (device, finish)}, there, start, max(makespan, finish))

    decide({}, [0.0] * instance.platform.num_devices, 0.0, 0.0)
    return best


def unlike_devices(duration: list[list[float]], edges: list[list[int]], seconds: list[float]) -> Instance:
    """Returns an instance on devices that are all of a kind of their own, with what each edge takes between them."""
    kinds = tuple(f"k{index}" for index in range(len(duration[0])))
    graph = TaskGraph("unlike", kinds, np.array(duration), np.array(edges, int).reshape(-1, 2).T, np.array(seconds))
    devices = tuple(Device(name=kind, kind=kind) for kind in kinds)
    return Instance(graph, Platform(name="unlike", devices=devices, links=(Link(between=kinds, bandwidth=1.0),)))


@pytest.mark.parametrize("unit", [1.0, 100.0])
def test_tasks_share_no_end_between_devices(unit: float) -> None:
    """OR-Tools 9.15 proves 3.4 of intervals that share a variable for the end, and finds others infeasible."""
    duration = [[0.29, 0.83], [1.13, 1.35], [0.71, 0.51], [0.81, 1.88], [0.64, 0.27], [2.03, 1.27], [1.99, 1.69]]
    in_units = [[round(unit * time, 2) for time in row] for row in duration]
    instance = unlike_devices(in_units, [[0, 1], [0, 3], [0, 5], [0, 6]], [0.0, 0.0, 0.0, 0.47 * unit])
    solution = solved(instance)
    assert solution.status == "optimal"
    assert solution.upper_bound == pytest.approx(3.25 * unit, rel=1e-12)
    assert solution.lower_bound == pytest.approx(3.25 * unit, rel=1e-8)
    assert least_makespan(instance) == pytest.approx(3.25 * unit, rel=1e-12)
    bound = [[0.0, 2.0], [2.0, 1.0], [2.0, 1.0], [1.0, np.inf], [2.0, np.inf]]
    assert solved(unlike_devices(bound, [[1, 3], [2, 3], [1, 4]], [0.0, 0.0, 0.0])).status == "optimal"


def test_drawn_instances_are_solved() -> None:
    """Unlike devices, durations of any kind, some tasks bound to a device: what the drawn graphs do not have."""
    chance = np.random.default_rng(0)
    for _ in range(60):
        num_tasks, num_devices = (6, 2) if chance.random() < 0.5 else (5, 3)
        duration = chance.choice([chance.random, chance.exponential])(size=(num_tasks, num_devices))
        duration[chance.random(duration.shape) < 0.2] = np.inf
        duration[np.arange(num_tasks), chance.integers(num_devices, size=num_tasks)] = chance.random(num_tasks)
        edges = [[one, other] for other in range(num_tasks) for one in range(other) if chance.random() < 0.3]
        seconds = chance.random(len(edges)) * chance.choice([0.0, 0.1, 1.0])
        instance = unlike_devices(duration.tolist(), edges, seconds.tolist())
        solution, wanted = solved(instance), least_makespan(instance)
        assert solution.status == "optimal"
        assert solution.upper_bound == pytest.approx(wanted, rel=1e-8)
        assert wanted * (1 - 1e-7) <= solution.lower_bound <= wanted * (1 + 1e-12)


@given(instance=small_instances())
def test_least_makespan_is_found(instance: Instance) -> None:
    solution, wanted = solved(instance), least_makespan(instance)
    assert solution.status == "optimal"
    assert solution.upper_bound == pytest.approx(wanted, rel=1e-8, abs=1e-12)
    assert solution.lower_bound <= wanted * (1 + 1e-9)
    assert solution.lower_bound == pytest.approx(wanted, rel=1e-7, abs=1e-12)
    assert lower_bound(instance) <= fractional_lower_bound(instance) <= wanted * (1 + 1e-9)


@settings(max_examples=settings.default.max_examples * 3 // 20)
@given(
    num_tasks=st.integers(1, 12),
    num_devices=st.integers(1, 4),
    ccr=st.sampled_from([0.1, 1.0, 5.0]),
    seed=st.integers(),
)
def test_no_static_scheduler_is_better(num_tasks: int, num_devices: int, ccr: float, seed: int) -> None:
    instance = Instance.of(random_task_graph(num_tasks, num_devices, ccr=ccr, seed=abs(seed) % 2**31))
    solution = solved(instance)
    assert solution.status == "optimal"
    assert fractional_lower_bound(instance) <= solution.lower_bound * (1 + 1e-9)
    best = min(policy.schedule(instance).makespan for policy in STATIC)
    assert solution.upper_bound <= best * (1 + 1e-8)
    assert solution.lower_bound <= best * (1 + 1e-9)


def test_whole_numbers_come_out_exact_in_any_unit() -> None:
    graph = heft_paper()
    for factor in (3.0, 2.0**-20):
        scaled = TaskGraph("scaled", graph.kinds, graph.duration * factor, graph.edges, graph.edge_bytes * factor)
        solution = solved(Instance.of(scaled))
        assert solution.status == "optimal"
        assert solution.upper_bound == 73 * factor


def test_jobs_are_not_begun_before_they_arrive() -> None:
    jobs = join_jobs([heft_paper(), heft_paper()], [0.0, 500.0])
    solution = solved(Instance.of(jobs))
    assert (solution.status, solution.upper_bound) == ("optimal", 573.0)


def test_equal_devices_share_tasks() -> None:
    """Ten tasks of 1 to 10 s, on three equal devices, take 55 / 3 s, rounded up."""
    duration = np.arange(1.0, 11.0)[:, None]
    graph = TaskGraph("shared", ("cpu",), duration, np.empty((2, 0), int), np.empty(0))
    devices = tuple(Device(name=f"d{index}", kind="cpu") for index in range(3))
    platform = Platform(name="equal", devices=devices, links=(Link(between=("d0", "d1", "d2"), bandwidth=1.0),))
    solution = solved(Instance(graph, platform))
    assert (solution.status, solution.lower_bound, solution.upper_bound) == ("optimal", 19.0, 19.0)


def test_when_time_is_up_there_are_bounds_and_a_schedule() -> None:
    instance = load_scenario("cholesky-2c2g").instance(0, 0)
    solution = solved(instance, deterministic_limit=0.01)
    assert solution.status == "feasible"
    assert 225 < fractional_lower_bound(instance) <= solution.lower_bound < solution.upper_bound <= 254


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[cp_model.CpSolverStatus], None]:
    """Makes CP-SAT answer with a status, whatever it finds."""

    def answer(status: cp_model.CpSolverStatus) -> None:
        solve = cp_model.CpSolver.solve

        def answering(solver: cp_model.CpSolver, model: cp_model.CpModel) -> cp_model.CpSolverStatus:
            solve(solver, model)
            return status

        monkeypatch.setattr(cp_model.CpSolver, "solve", answering)

    return answer


def test_without_an_answer_the_bound_is_our_own(answer: Callable[[cp_model.CpSolverStatus], None]) -> None:
    instance = Instance.of(heft_paper())
    answer(cp_model.UNKNOWN)
    solution = solved(instance)
    assert solution.status == "feasible"
    assert solution.lower_bound == fractional_lower_bound(instance) < 73
    assert solution.upper_bound <= make_policy("heft").schedule(instance).makespan


@pytest.mark.parametrize("status", [cp_model.INFEASIBLE, cp_model.MODEL_INVALID])
def test_a_wrong_answer_is_no_result(
    status: cp_model.CpSolverStatus, answer: Callable[[cp_model.CpSolverStatus], None]
) -> None:
    answer(status)
    with pytest.raises(HetgymError, match=rf"^policy 'cp-sat': task graph 'heft-paper': OR-Tools .* {status.name}"):
        CpSat().solve(heft_paper())


def test_no_bound_is_higher_than_what_the_schedule_takes_in_whole_units(monkeypatch: pytest.MonkeyPatch) -> None:
    instance = Instance.of(random_task_graph(10, 2, seed=1))
    right = solved(instance)
    assert right.lower_bound < right.upper_bound
    too_high = property(lambda solver: solver.objective_value + 1000.0)
    monkeypatch.setattr(cp_model.CpSolver, "best_objective_bound", too_high)
    assert solved(instance).lower_bound == right.lower_bound


def test_runs_are_the_same() -> None:
    instance = Instance.of(random_task_graph(40, 4, ccr=0.5, seed=2))
    one, other = (solved(instance, deterministic_limit=0.05, workers=workers) for workers in (1, 2))
    assert one.schedule.start.tolist() == other.schedule.start.tolist()
    assert one.lower_bound == other.lower_bound


@pytest.mark.parametrize("scenario", ["heft-paper", "random", "random-noisy"])
def test_plan_is_played(scenario: str) -> None:
    simulator = load_scenario(scenario).simulator(2)
    table = play(simulator, make_policy("cp-sat"), [0, 1])
    for row in range(2):
        instance, schedule = simulator.instance(row), simulator.schedule(row)
        assert violations(instance, schedule, 0) == []
        if scenario != "random-noisy":
            assert table["makespan"][row] == CpSat().schedule(instance).makespan


def test_name() -> None:
    assert "cp-sat" in list_policies("task-graph", solvers=True)
    assert "cp-sat" not in list_policies("task-graph")
    assert make_policy("cp-sat").name == "cp-sat"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"time_limit": 0}, "time_limit: must be positive"),
        ({"deterministic_limit": np.nan}, "deterministic_limit: must be positive"),
        ({"workers": 0}, "workers: there must be 1 to 10000"),
        ({"workers": 2.5}, "workers: there must be 1 to 10000"),
        ({"seed": 2**31}, "seed: must be a whole number of 32 bits"),
    ],
)
def test_bad_settings_are_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(HetgymError, match=f"policy 'cp-sat': {message}"):
        make_policy("cp-sat", **setting)


def test_ortools_is_imported_when_it_is_needed() -> None:
    code = """
import sys
import hetgym.agents
assert "ortools" not in sys.modules
sys.modules["ortools"] = None
try:
    hetgym.agents.make_policy("cp-sat")
except hetgym.HetgymError as error:
    assert str(error) == "policy 'cp-sat': OR-Tools is not installed; it comes with the extra hetgym[oracle]", error
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)
