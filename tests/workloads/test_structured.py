"""Structure by hand at small sizes, task counts in closed form, known makespans, and drawn costs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.agents import list_policies, make_policy
from hetgym.envs import TaskGraphScenario, load_scenario
from hetgym.envs.task_graph.checker import violations
from hetgym.envs.task_graph.instance import Instance
from hetgym.envs.task_graph.simulator import TaskGraphSimulator
from hetgym.evaluate import evaluate, play
from hetgym.hardware_models import load_platform
from hetgym.workloads import (
    FFT,
    Chains,
    ForkJoin,
    GaussianElimination,
    RandomGraphs,
    TaskGraph,
    TiledMatrix,
    chains,
    cholesky,
    fft,
    fork_join,
    gaussian_elimination,
    lu,
    qr,
)
from hetgym.workloads.structured import Call, StructuredGraphs, structure_of
from hetgym.workloads.task_graph import GraphArrays

SCENARIOS = ["cholesky-2c2g", "lu-2c2g", "qr-2c2g", "fft", "gaussian-elimination", "fork-join", "chains"]
DRAWN = [FFT(), GaussianElimination(), ForkJoin(), Chains()]
FUNCTIONS = [cholesky, lu, qr, fft, gaussian_elimination, fork_join, chains]
PLAYING = [name for name in list_policies("task-graph") if name != "duplication"]


def named_edges(graph: TaskGraph) -> set[tuple[str, str]]:
    names = graph.task_names
    return {(names[source], names[target]) for source, target in graph.edges.T}


def edges_in(lines: str) -> set[tuple[str, str]]:
    """Reads lines of ``sender: receiver, receiver``."""
    pairs = (line.strip().split(": ") for line in lines.strip().splitlines())
    return {(sender, receiver) for sender, receivers in pairs for receiver in receivers.split(", ")}


def kernels(graph: TaskGraph) -> Counter[str]:
    return Counter(name.split()[0] for name in graph.task_names)


@pytest.mark.parametrize("make", FUNCTIONS)
def test_senders_have_lower_indices(make: Callable[[], TaskGraph]) -> None:
    graph = make()
    assert (graph.edges[0] < graph.edges[1]).all()
    assert len(set(graph.task_names)) == graph.num_tasks


@pytest.mark.parametrize("tiles", [1, 2, 3, 4, 8, 13])
def test_tiled_counts(tiles: int) -> None:
    t = tiles
    pairs, triples, squares = t * (t - 1) // 2, t * (t - 1) * (t - 2) // 6, t * (t - 1) * (2 * t - 1) // 6
    graph = cholesky(t)
    assert kernels(graph) == Counter(POTRF=t, TRSM=pairs, SYRK=pairs, GEMM=triples)
    assert (graph.num_tasks, graph.num_edges) == (t * (t + 1) * (t + 2) // 6, t * (t - 1) * (t + 1) // 2)
    graph = lu(t)
    assert kernels(graph) == Counter(GETRF=t, TRSM=2 * pairs, GEMM=squares)
    assert (graph.num_tasks, graph.num_edges) == (t * (t + 1) * (2 * t + 1) // 6, t * (t - 1) * (2 * t + 1) // 2)
    graph = qr(t)
    assert kernels(graph) == Counter(GEQRT=t, UNMQR=pairs, TSQRT=pairs, TSMQR=squares)
    assert (graph.num_tasks, graph.num_edges) == (t * (t + 1) * (2 * t + 1) // 6, t * (t - 1) * (2 * t + 1) // 2)


def test_eight_tiles() -> None:
    assert [make(tiles=8).num_tasks for make in (cholesky, lu, qr)] == [120, 204, 204]


def test_cholesky_by_hand() -> None:
    assert cholesky(1).task_names == ("POTRF 0",)
    assert named_edges(cholesky(2)) == edges_in("""
        POTRF 0: TRSM 1 0
        TRSM 1 0: SYRK 1 0
        SYRK 1 0: POTRF 1
    """)
    assert named_edges(cholesky(3)) == edges_in("""
        POTRF 0: TRSM 1 0, TRSM 2 0
        TRSM 1 0: SYRK 1 0, GEMM 2 1 0
        TRSM 2 0: SYRK 2 0, GEMM 2 1 0
        SYRK 1 0: POTRF 1
        GEMM 2 1 0: TRSM 2 1
        POTRF 1: TRSM 2 1
        SYRK 2 0: SYRK 2 1
        TRSM 2 1: SYRK 2 1
        SYRK 2 1: POTRF 2
    """)


def test_lu_by_hand() -> None:
    assert named_edges(lu(2)) == edges_in("""
        GETRF 0: TRSM 0 1, TRSM 1 0
        TRSM 0 1: GEMM 1 1 0
        TRSM 1 0: GEMM 1 1 0
        GEMM 1 1 0: GETRF 1
    """)
    assert named_edges(lu(3)) == edges_in("""
        GETRF 0: TRSM 0 1, TRSM 0 2, TRSM 1 0, TRSM 2 0
        TRSM 0 1: GEMM 1 1 0, GEMM 2 1 0
        TRSM 0 2: GEMM 1 2 0, GEMM 2 2 0
        TRSM 1 0: GEMM 1 1 0, GEMM 1 2 0
        TRSM 2 0: GEMM 2 1 0, GEMM 2 2 0
        GEMM 1 1 0: GETRF 1
        GEMM 1 2 0: TRSM 1 2
        GEMM 2 1 0: TRSM 2 1
        GETRF 1: TRSM 1 2, TRSM 2 1
        TRSM 1 2: GEMM 2 2 1
        TRSM 2 1: GEMM 2 2 1
        GEMM 2 2 0: GEMM 2 2 1
        GEMM 2 2 1: GETRF 2
    """)


def test_qr_by_hand() -> None:
    assert named_edges(qr(2)) == edges_in("""
        GEQRT 0: UNMQR 0 1, TSQRT 1 0
        UNMQR 0 1: TSMQR 1 1 0
        TSQRT 1 0: TSMQR 1 1 0
        TSMQR 1 1 0: GEQRT 1
    """)
    assert named_edges(qr(3)) == edges_in("""
        GEQRT 0: UNMQR 0 1, UNMQR 0 2, TSQRT 1 0
        UNMQR 0 1: TSMQR 1 1 0
        UNMQR 0 2: TSMQR 1 2 0
        TSQRT 1 0: TSMQR 1 1 0, TSMQR 1 2 0, TSQRT 2 0
        TSQRT 2 0: TSMQR 2 1 0, TSMQR 2 2 0
        TSMQR 1 1 0: TSMQR 2 1 0, GEQRT 1
        TSMQR 1 2 0: TSMQR 2 2 0, UNMQR 1 2
        TSMQR 2 1 0: TSQRT 2 1
        TSMQR 2 2 0: TSMQR 2 2 1
        GEQRT 1: UNMQR 1 2, TSQRT 2 1
        UNMQR 1 2: TSMQR 2 2 1
        TSQRT 2 1: TSMQR 2 2 1
        TSMQR 2 2 1: GEQRT 2
    """)


def right_looking_cholesky(tiles: int) -> Iterator[Call]:
    for k in range(tiles):
        yield Call("POTRF", (k,), writes=((k, k),))
        for i in range(k + 1, tiles):
            yield Call("TRSM", (i, k), reads=((k, k),), writes=((i, k),))
        for i in range(k + 1, tiles):
            yield Call("SYRK", (i, k), reads=((i, k),), writes=((i, i),))
            for j in range(k + 1, i):
                yield Call("GEMM", (i, j, k), reads=((i, k), (j, k)), writes=((i, j),))


def test_order_of_loops_does_not_change_the_graph() -> None:
    kernels_of, names, edges = structure_of(right_looking_cholesky(6))
    graph = cholesky(6)
    assert sorted(names) == sorted(graph.task_names)
    assert {(names[source], names[target]) for source, target in edges.T} == named_edges(graph)
    assert Counter(kernels_of) == kernels(graph)


@pytest.mark.parametrize(("policy", "fewest", "most"), [("peft", 254, 254), ("min-min", 262, 262), ("heft", 266, 276)])
def test_known_makespans_of_cholesky(policy: str, fewest: float, most: float) -> None:
    instance = Instance(cholesky(tiles=8), load_platform("readys-2c2g"))
    assert fewest <= make_policy(policy).schedule(instance).makespan <= most


def test_default_durations_are_those_of_readys() -> None:
    graph = cholesky(2)
    assert graph.kinds == ("cpu", "gpu")
    assert graph.duration.tolist() == [[18, 11], [52, 8], [57, 2], [18, 11]]
    assert not graph.edge_bytes.any()
    assert qr(2).task_names == ("GEQRT 0", "UNMQR 0 1", "TSQRT 1 0", "TSMQR 1 1 0", "GEQRT 1")
    assert qr(2).duration.tolist() == [[4, 3], [6, 1], [6, 3], [10, 1], [4, 3]]
    assert lu(2).duration.tolist() == [[18, 11], [52, 8], [52, 8], [95, 3], [18, 11]]


def test_tile_bytes_and_durations_are_settings() -> None:
    durations = {"POTRF": {"cpu": 1}, "TRSM": {"cpu": 2, "npu": 3}, "SYRK": {"npu": 4}, "GEMM": {"cpu": 5}}
    graph = cholesky(2, tile_bytes=7.0, durations=durations)
    assert graph.kinds == ("cpu", "npu")
    assert graph.duration.tolist() == [[1, np.inf], [2, 3], [np.inf, 4], [1, np.inf]]
    assert graph.edge_bytes.tolist() == [7, 7, 7]


def test_fft_by_hand() -> None:
    assert named_edges(fft(4)) == edges_in("""
        call 0 0: call 1 0, call 1 1
        call 1 0: call 2 0, call 2 1
        call 1 1: call 2 2, call 2 3
        call 2 0: butterfly 0 0, butterfly 0 1
        call 2 1: butterfly 0 0, butterfly 0 1
        call 2 2: butterfly 0 2, butterfly 0 3
        call 2 3: butterfly 0 2, butterfly 0 3
        butterfly 0 0: butterfly 1 0, butterfly 1 2
        butterfly 0 1: butterfly 1 1, butterfly 1 3
        butterfly 0 2: butterfly 1 0, butterfly 1 2
        butterfly 0 3: butterfly 1 1, butterfly 1 3
    """)


@pytest.mark.parametrize("points", [2, 4, 8, 32])
def test_fft_counts(points: int) -> None:
    graph, butterflies = fft(points), points * (points.bit_length() - 1)
    assert kernels(graph) == Counter(call=2 * points - 1, butterfly=butterflies)
    assert graph.num_edges == 2 * points - 2 + 2 * butterflies


@pytest.mark.parametrize("points", [4, 16])
def test_every_output_of_fft_depends_on_every_recursive_call(points: int) -> None:
    graph = fft(points)
    reached = np.eye(graph.num_tasks, dtype=bool)
    for source, target in graph.edges.T:
        reached[target] |= reached[source]
    assert reached[-points:, : 2 * points - 1].all()


def test_gaussian_elimination_by_hand() -> None:
    assert named_edges(gaussian_elimination(4)) == edges_in("""
        pivot 0: update 0 1, update 0 2, update 0 3
        update 0 1: pivot 1
        update 0 2: update 1 2
        update 0 3: update 1 3
        pivot 1: update 1 2, update 1 3
        update 1 2: pivot 2
        update 1 3: update 2 3
        pivot 2: update 2 3
    """)


@pytest.mark.parametrize("size", [2, 3, 5, 20])
def test_gaussian_elimination_counts(size: int) -> None:
    graph = gaussian_elimination(size)
    assert graph.num_tasks == (size**2 + size - 2) // 2
    assert graph.num_edges == size**2 - size - 1


def test_fork_join_by_hand() -> None:
    assert named_edges(fork_join(width=2, stages=2)) == edges_in("""
        fork 0: branch 0 0, branch 0 1
        branch 0 0: join 0
        branch 0 1: join 0
        join 0: branch 1 0, branch 1 1
        branch 1 0: join 1
        branch 1 1: join 1
    """)


@pytest.mark.parametrize(("width", "stages"), [(1, 1), (8, 3), (3, 10)])
def test_fork_join_counts(width: int, stages: int) -> None:
    graph = fork_join(width, stages)
    assert (graph.num_tasks, graph.num_edges) == ((width + 1) * stages + 1, 2 * width * stages)


def test_chains_by_hand() -> None:
    graph = chains(chains=2, length=3)
    assert graph.task_names == ("link 0 0", "link 0 1", "link 0 2", "link 1 0", "link 1 1", "link 1 2")
    assert graph.edges.T.tolist() == [[0, 1], [1, 2], [3, 4], [4, 5]]


@pytest.mark.parametrize(("number", "length"), [(1, 1), (5, 1), (5, 6)])
def test_chains_counts(number: int, length: int) -> None:
    graph = chains(number, length)
    assert (graph.num_tasks, graph.num_edges) == (number * length, number * (length - 1))


@pytest.mark.parametrize("source", DRAWN, ids=lambda source: source.kind)
def test_costs_are_drawn_and_structure_is_not(source: StructuredGraphs) -> None:
    graph, other = source.sample(3, 1), source.sample(3, 2)
    assert (graph.edges == other.edges).all()
    assert (graph.duration != other.duration).all()
    assert (graph.edge_bytes != other.edge_bytes).all()
    assert graph.kinds == source.kinds == ("p1", "p2", "p3", "p4")
    assert (graph.num_tasks, graph.num_edges) == (source.max_tasks, source.max_edges)
    assert graph.name == f"{source.kind}-3-1"


def test_durations_are_those_of_random_graphs_and_scale() -> None:
    """A (seed, episode) gives a task the same luck whatever the structure."""
    drawn = RandomGraphs(num_tasks=39, ccr=0.5).sample(7, 2)
    graph = FFT(ccr=0.5).sample(7, 2)
    assert graph.duration.tobytes() == drawn.duration.tobytes()
    longer = FFT(ccr=0.5, mean_duration=4.0).sample(7, 2)
    assert (longer.duration == 4.0 * graph.duration).all()
    assert (longer.edge_bytes == 4.0 * graph.edge_bytes).all()
    common = min(graph.num_edges, drawn.num_edges)
    assert graph.edge_bytes[:common].tobytes() == drawn.edge_bytes[:common].tobytes()


@pytest.mark.parametrize("source", DRAWN, ids=lambda source: source.kind)
def test_fill_equals_sample_and_leaves_other_rows_alone(source: StructuredGraphs) -> None:
    room = GraphArrays.empty(4, source.max_tasks + 2, len(source.kinds), source.max_edges + 3)
    for array in room:
        array.view(np.uint8)[:] = 7
    before = [array[[1, 3]].tobytes() for array in room]
    source.fill(room, np.array([2, 0]), np.array([5, 2**40]), np.array([0, 6]))
    assert [array[[1, 3]].tobytes() for array in room] == before
    for row, graph in ((2, source.sample(5, 0)), (0, source.sample(2**40, 6))):
        edges = room.edges[row, : room.num_edges[row]]
        assert room.num_tasks[row] == graph.num_tasks
        assert room.duration[row, : graph.num_tasks].tobytes() == graph.duration.tobytes()
        assert np.array([edges["source"], edges["target"]]).tobytes() == graph.edges.tobytes()
        assert edges["bytes"].tobytes() == graph.edge_bytes.tobytes()


def test_ccr_heterogeneity_and_devices_are_settings() -> None:
    graph = gaussian_elimination(60, seed=1, num_devices=3, ccr=2.0, mean_duration=5.0, heterogeneity=0.0)
    assert graph.kinds == ("p1", "p2", "p3")
    assert (graph.duration == graph.duration[:, :1]).all()
    assert graph.duration.mean() == pytest.approx(5.0, rel=0.05)
    assert graph.edge_bytes.mean() / graph.duration.mean() == pytest.approx(2.0, rel=0.05)


def test_functions_give_the_first_graph_of_their_source() -> None:
    for graph, source in (
        (fft(16, 5, ccr=0.1), FFT(points=16, ccr=0.1)),
        (gaussian_elimination(6, 5, num_devices=2), GaussianElimination(size=6, num_devices=2)),
        (fork_join(2, 3, 5), ForkJoin(width=2, stages=3)),
        (chains(2, 3, 5), Chains(chains=2, length=3)),
        (lu(3), TiledMatrix(graph="lu", tiles=3)),
    ):
        same = source.sample(5, 0)
        assert graph.duration.tobytes() == same.duration.tobytes()
        assert named_edges(graph) == named_edges(same)


def test_ten_thousand_random_graphs_take_seconds() -> None:
    source = RandomGraphs(num_tasks=50)
    room = GraphArrays.empty(10_000, source.max_tasks, len(source.kinds), source.max_edges)
    rows = np.arange(10_000)
    source.fill(room, rows[:1], rows[:1], rows[:1])
    begin = time.process_time()
    source.fill(room, rows, rows, np.zeros_like(rows))
    assert time.process_time() - begin < 5.0


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (cholesky, {"tiles": 0}, "cholesky: tiles: Input should be greater than or equal to 1 (given: 0)"),
        (lu, {"tiles": 2.5}, "lu: tiles: "),
        (qr, {"tiles": 10**6}, "qr: tiles: "),
        (cholesky, {"tile_bytes": -1.0}, "cholesky: tile_bytes: "),
        (cholesky, {"tile_bytes": np.nan}, "cholesky: tile_bytes: "),
        (lu, {"durations": {"GETRF": {"cpu": 1}}}, "durations: must be of GETRF, TRSM, GEMM, not of GETRF"),
        (
            lu,
            {"durations": {"GETRF": {"cpu": -1}, "TRSM": {"cpu": 1}, "GEMM": {"cpu": 1}}},
            "lu: durations.GETRF.cpu: ",
        ),
        (lu, {"durations": {"GETRF": {}, "TRSM": {"cpu": 1}, "GEMM": {"cpu": 1}}}, "lu: durations.GETRF: "),
        (fft, {"points": 6}, "fft: points: must be a power of two (given: 6)"),
        (fft, {"points": 1}, "fft: points: "),
        (fft, {"points": 2**20}, "fft: points: "),
        (fft, {"seed": -1}, "fft: seed: must be an integer from 0 to 2^63 - 1 (given: -1)"),
        (fft, {"mean_duration": 0.0}, "fft: mean_duration: "),
        (fft, {"num_tasks": 5}, "fft: num_tasks: "),
        (gaussian_elimination, {"size": 1}, "gaussian_elimination: size: "),
        (gaussian_elimination, {"ccr": np.inf}, "gaussian_elimination: ccr: "),
        (fork_join, {"width": 0}, "fork_join: width: "),
        (fork_join, {"stages": 0}, "fork_join: stages: "),
        (fork_join, {"heterogeneity": 2.5}, "fork_join: heterogeneity: "),
        (chains, {"chains": 0}, "chains: chains: "),
        (chains, {"length": 0}, "chains: length: "),
        (chains, {"num_devices": 0}, "chains: num_devices: "),
    ],
)
def test_argument_out_of_range_is_refused(make: Callable[..., TaskGraph], settings: Any, message: str) -> None:
    with pytest.raises(HetgymError) as caught:
        make(**settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("scenario", "change"),
    [("cholesky-2c2g", {"tiles": 0}), ("cholesky-2c2g", {"graph": "svd"}), ("fft", {"points": 12}),
     ("fork-join", {"points": 8}), ("chains", {"platform": "four-workers", "num_devices": 3})],
)  # fmt: skip
def test_override_out_of_range_is_refused(scenario: str, change: dict[str, Any]) -> None:
    with pytest.raises(HetgymError) as caught:
        load_scenario(scenario, **change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("scenario", "change", "num_tasks"),
    [("cholesky-2c2g", {"tiles": 4}, 20), ("lu-2c2g", {"tiles": 4}, 30), ("cholesky-2c2g", {"graph": "qr"}, 204),
     ("fft", {"points": 4}, 15), ("gaussian-elimination", {"size": 5}, 14), ("fork-join", {"width": 2}, 10),
     ("chains", {"length": 2}, 10)],
)  # fmt: skip
def test_settings_can_be_overridden(scenario: str, change: dict[str, Any], num_tasks: int) -> None:
    setting = load_scenario(scenario, **change)
    assert isinstance(setting, TaskGraphScenario)
    assert setting.instance(0, 0).graph.num_tasks == num_tasks


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_names_its_source(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.description.endswith(".")
    assert "doi:10." in scenario.source


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_policy_plays_every_scenario(name: str) -> None:
    table = evaluate(name, PLAYING, episodes=3, seed=11, mode="dispatch")
    assert len(table) == 3 * len(PLAYING)
    assert (table["makespan"] >= table["lower_bound"] * (1 - 1e-12)).all()
    varied = table.groupby("policy")["lower_bound"].nunique()
    assert (varied == (1 if name.endswith("2c2g") else 3)).all()


@pytest.mark.parametrize("policy", PLAYING)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_schedule_is_valid(name: str, policy: str) -> None:
    small = {"tiles": 5} if name.endswith("2c2g") else {}
    plans = policy == "random" or hasattr(make_policy(policy), "schedule")
    simulator = load_scenario(name, mode="plan" if plans else "dispatch", **small).simulator(2)
    assert isinstance(simulator, TaskGraphSimulator)
    play(simulator, make_policy(policy), [4, 5])
    for row in range(2):
        assert violations(simulator.instance(row), simulator.schedule(row)) == []


def test_batch_plays_the_graphs_of_single_episodes() -> None:
    """Over several episodes of each seed, the pool's wrap included."""
    scenario = load_scenario("fft", points=4, pool=2)
    assert isinstance(scenario, TaskGraphScenario)
    simulator = scenario.simulator(3)
    simulator.reset([0, 1, 2])
    for episode in range(3):
        for row, slot in enumerate(simulator.state.status["slot"]):
            expected = scenario.instance(row, episode).duration
            assert simulator.instances.graph.duration[slot].tobytes() == expected.tobytes()
        simulator.reset_to_next()
