from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hetgym import HetgymError
from hetgym.hardware_models import load_platform
from hetgym.workloads import CanonicalGraph, RandomGraphs, TaskGraph, WorkflowFile, random_task_graph, write_wfformat
from hetgym.workloads.task_graph import GraphArrays


def bits(graph: TaskGraph) -> tuple[bytes, bytes, bytes]:
    return graph.duration.tobytes(), graph.edges.tobytes(), graph.edge_bytes.tobytes()


def longest_path_to(graph: TaskGraph) -> NDArray[np.int64]:
    """The number of edges on the longest path to each task; senders precede their receivers."""
    length = np.zeros(graph.num_tasks, np.int64)
    for source, target in graph.edges.T:
        length[target] = max(length[target], length[source] + 1)
    return length


random_graphs = st.builds(
    RandomGraphs,
    num_tasks=st.integers(1, 60),
    num_devices=st.integers(1, 5),
    ccr=st.just(0.0) | st.floats(1e-6, 10),
    shape=st.floats(0.1, 10),
    out_degree=st.integers(1, 6),
    heterogeneity=st.floats(0, 2),
)
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=settings.default.max_examples * 2)
@given(source=random_graphs, seed=seeds)
def test_edges_join_layers(source: RandomGraphs, seed: int) -> None:
    graph = source.sample(seed, 0)
    sender, receiver = graph.edges
    assert graph.num_tasks == source.max_tasks == source.num_tasks
    assert graph.num_edges <= source.max_edges
    assert np.unique(graph.edges, axis=1).shape == graph.edges.shape
    assert (sender < receiver).all()
    # Every task hears from the layer above, so its layer is the longest path to it; tasks are numbered by layer.
    layer = longest_path_to(graph)
    assert (np.diff(layer) >= 0).all()
    without_receiver = np.setdiff1d(np.arange(graph.num_tasks), sender)
    assert (layer[without_receiver] == layer[-1]).all()
    # Receivers beyond the largest number that a task draws can only be tasks that it has as the layer above.
    beyond = np.bincount(sender, minlength=graph.num_tasks) > source.out_degree
    assert (layer[receiver] == layer[sender] + 1)[beyond[sender]].all()


@settings(max_examples=settings.default.max_examples * 2)
@given(source=random_graphs, seed=seeds)
def test_number_of_layers_is_near_root_of_tasks_over_shape(source: RandomGraphs, seed: int) -> None:
    layers = longest_path_to(source.sample(seed, 0)).max() + 1
    height = np.sqrt(source.num_tasks) / source.shape
    fewest, most = np.clip(np.round([0.5 * height - 0.01, 1.5 * height + 0.01]), 1, source.num_tasks)
    assert fewest <= layers <= most


@settings(max_examples=settings.default.max_examples * 2)
@given(source=random_graphs, seed=seeds)
def test_durations_and_volumes_keep_to_their_bands(source: RandomGraphs, seed: int) -> None:
    graph = source.sample(seed, 0)
    half = source.heterogeneity / 2
    shortest, longest = graph.duration.min(axis=1), graph.duration.max(axis=1)
    assert (shortest > 0).all()
    assert (longest <= 2 * (1 + half)).all()
    # There is one mean, and all durations are within (1 - half, 1 + half] times that.
    assert (longest * (1 - half) <= shortest * (1 + half) * (1 + 1e-12)).all()
    assert (graph.edge_bytes <= 2 * source.ccr).all()
    assert ((graph.edge_bytes > 0) == (source.ccr > 0)).all()


@pytest.mark.parametrize("heterogeneity", [0.0, 0.5, 1.0])
def test_durations_fill_their_band(heterogeneity: float) -> None:
    duration = random_task_graph(20, 1000, heterogeneity=heterogeneity).duration
    ratio = (1 + heterogeneity / 2) / (1 - heterogeneity / 2)
    np.testing.assert_allclose(duration.max(axis=1) / duration.min(axis=1), ratio, rtol=0.03)


def test_durations_of_tasks_are_uncorrelated() -> None:
    duration = random_task_graph(20, 1000).duration
    for task in range(1, 20):
        for shift in (0, 1):
            above, below = duration[task - 1, shift:], duration[task, : 1000 - shift]
            assert abs(np.corrcoef(above, below)[0, 1]) < 0.15


@pytest.mark.parametrize("ccr", [0.1, 1.0, 10.0])
def test_mean_transfer_over_mean_duration_is_ccr(ccr: float) -> None:
    graphs = [random_task_graph(50, 4, ccr, seed) for seed in range(200)]
    transfer = np.concatenate([graph.edge_bytes for graph in graphs]).mean()
    duration = np.concatenate([graph.duration for graph in graphs]).mean()
    assert duration == pytest.approx(1.0, rel=0.03)
    assert transfer / duration == pytest.approx(ccr, rel=0.03)


@pytest.mark.parametrize(("shape", "layers"), [(0.5, 20), (1.0, 10), (2.0, 5)])
def test_mean_number_of_layers(shape: float, layers: int) -> None:
    drawn = [longest_path_to(random_task_graph(100, 1, seed=seed, shape=shape)).max() + 1 for seed in range(300)]
    assert np.mean(drawn) == pytest.approx(layers, rel=0.05)


def test_number_of_drawn_receivers_is_uniform() -> None:
    # In a chain of layers of one task, each task has the next as a receiver, and few are drawn twice.
    senders = [random_task_graph(400, 1, seed=seed, shape=1e-6, out_degree=4).edges[0] for seed in range(20)]
    receivers = np.concatenate([np.bincount(sender)[:200] for sender in senders])
    np.testing.assert_allclose(np.bincount(receivers) / receivers.size, [0, 0.25, 0.25, 0.25, 0.25], atol=0.03)


def test_shape_makes_graphs_wide_or_narrow() -> None:
    assert random_task_graph(30, shape=1e6).num_edges == 0
    assert longest_path_to(random_task_graph(30, shape=1e-6)).tolist() == list(range(30))


def test_tiny_shape_makes_a_chain() -> None:
    assert longest_path_to(random_task_graph(30, shape=1e-30)).tolist() == list(range(30))


def test_same_seed_gives_the_same_bits() -> None:
    assert bits(random_task_graph(seed=7)) == bits(random_task_graph(seed=7))
    assert bits(random_task_graph(seed=7)) == bits(RandomGraphs().sample(7, 0))


def test_seeds_and_episodes_give_different_graphs() -> None:
    source = RandomGraphs()
    drawn = [bits(source.sample(seed, episode)) for seed in range(20) for episode in range(20)]
    for durations_or_edges_or_volumes in zip(*drawn, strict=True):
        assert len(set(durations_or_edges_or_volumes)) == 400


def test_arguments_are_attributes_of_random_graphs() -> None:
    source = RandomGraphs(num_tasks=30, num_devices=3, ccr=2.0, shape=0.5, out_degree=2, heterogeneity=0.2)
    graph = random_task_graph(30, 3, 2.0, 5, shape=0.5, out_degree=2, heterogeneity=0.2)
    assert bits(graph) == bits(source.sample(5, 0))
    assert graph.kinds == source.kinds == ("p1", "p2", "p3")
    assert graph.name == "random-5-0"


def test_fill_equals_sample_in_any_batch() -> None:
    source = RandomGraphs(num_tasks=25, num_devices=3)
    episodes_of = [(seed, episode) for seed in (0, 3, 2**40) for episode in range(4)]
    rng = np.random.default_rng(0)
    for batch in (1, 5, len(episodes_of)):
        arrays = GraphArrays.empty(batch, source.max_tasks, len(source.kinds), source.max_edges)
        chosen = rng.permutation(len(episodes_of))[:batch]
        rows = rng.permutation(batch)
        drawn = np.array(episodes_of)[chosen]
        source.fill(arrays, rows, drawn[:, 0], drawn[:, 1])
        for row, (seed, episode) in zip(rows, drawn.tolist(), strict=True):
            graph = source.sample(seed, episode)
            edges = arrays.edges[row, : arrays.num_edges[row]]
            assert arrays.num_tasks[row] == graph.num_tasks
            assert arrays.num_edges[row] == graph.num_edges
            assert arrays.duration[row].tobytes() == graph.duration.tobytes()
            assert (edges["source"] == graph.edges[0]).all()
            assert (edges["target"] == graph.edges[1]).all()
            assert edges["bytes"].tobytes() == graph.edge_bytes.tobytes()


def test_fill_leaves_other_rows_alone() -> None:
    source = RandomGraphs()
    arrays = GraphArrays.empty(3, source.max_tasks, len(source.kinds), source.max_edges)
    for array in arrays:
        array.view(np.uint8)[:] = 7
    before = [array[[0, 2]].tobytes() for array in arrays]
    source.fill(arrays, np.array([1]), np.array([0]), np.array([0]))
    assert [array[[0, 2]].tobytes() for array in arrays] == before
    assert arrays.num_tasks[1] == source.num_tasks


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("num_tasks", 0),
        ("num_tasks", -1),
        ("num_tasks", 10**9),
        ("num_tasks", 2.5),
        ("num_tasks", "many"),
        ("num_devices", 0),
        ("num_devices", 10**9),
        ("ccr", -0.1),
        ("ccr", np.nan),
        ("ccr", np.inf),
        ("shape", 0.0),
        ("shape", -1.0),
        ("shape", np.nan),
        ("shape", np.inf),
        ("out_degree", 0),
        ("heterogeneity", -0.1),
        ("heterogeneity", 2.1),
        ("heterogeneity", np.nan),
        ("out_degree", 10**12),
        ("seed", 1.5),
        ("seed", "x"),
        ("seed", 2**70),
    ],
)
def test_argument_out_of_range_is_refused(argument: str, value: Any) -> None:
    with pytest.raises(HetgymError) as caught:
        random_task_graph(**{argument: value})
    message = str(caught.value)
    assert message.startswith(f"random_task_graph: {argument}: ")
    assert message.endswith(f"(given: {value!r})")
    assert "\n" not in message


def test_canonical_source_gives_one_graph() -> None:
    source = CanonicalGraph(graph="heft-paper")
    graph = source.sample(0, 0)
    assert source.sample(1, 2) is graph
    assert (source.kinds, source.max_tasks, source.max_edges) == (("p1", "p2", "p3"), 10, 15)


def test_unknown_canonical_graph_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown graph 'heft': choose one of heft-paper, peft-paper"):
        CanonicalGraph(graph="heft")


def test_workflow_source_reads_beside_its_scenario(tmp_path: Path) -> None:
    recorded = random_task_graph(5, 1)
    write_wfformat(
        TaskGraph("w", ("cpu",), recorded.duration, recorded.edges, recorded.edge_bytes), tmp_path / "w.json"
    )
    source = WorkflowFile.model_validate({"path": "w.json", "speedup": {"gpu": 4}}, context={"folder": tmp_path})
    assert source.path == tmp_path / "w.json"
    assert source.kinds == ("cpu", "gpu")
    assert (source.max_tasks, source.max_edges) == (5, recorded.num_edges)
    assert source.sample(0, 0) is source.sample(3, 1)


def test_workflow_runs_on_the_processors_of_a_platform(tmp_path: Path) -> None:
    recorded = random_task_graph(5, 1)
    path = tmp_path / "w.json"
    write_wfformat(TaskGraph("w", ("cpu",), recorded.duration, recorded.edges, recorded.edge_bytes), path)
    source = WorkflowFile(path=path).on(load_platform("soc-ds3"))
    assert source.kinds == ("cpu", "a7", "a15")
    np.testing.assert_allclose(source.sample(0, 0).duration, recorded.duration / [1, 0.5833, 0.8333])
    chosen = WorkflowFile(path=path, speedup={"a15": 2.0, "vit": 4.0}).on(load_platform("soc-ds3"))
    assert chosen.speedup == {"a7": 0.5833, "a15": 2.0, "vit": 4.0}
    assert WorkflowFile(path=path).on(load_platform("four-workers")).kinds == ("cpu",)


def test_speedup_of_a_kind_that_is_not_there_is_refused(tmp_path: Path) -> None:
    source = WorkflowFile(path=tmp_path / "w.json", speedup={"gpu": 2.0, "npu": 3.0})
    with pytest.raises(HetgymError, match=r"speedup: kind of device on platform 'desktop-rtx4090': 'npu'.*cpu, gpu"):
        source.on(load_platform("desktop-rtx4090"))
