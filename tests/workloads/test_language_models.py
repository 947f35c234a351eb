"""Layers of experts and prefill on a phone: graphs and costs by hand, and what schedulers make of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.agents import make_policy
from hetgym.envs import TaskGraphScenario, load_scenario
from hetgym.envs.task_graph.checker import violations
from hetgym.envs.task_graph.instance import Instance
from hetgym.hardware_models import Platform, load_platform
from hetgym.workloads import MoELayer, NpuPrefill, TaskGraph, moe_layer, npu_prefill

PHONE = load_platform("phone-soc")
ROUND = {
    "tokens": 4, "hidden": 10, "ffn": 20, "experts": 5, "top_k": 2, "element_bytes": 1, "nodes": 2, "gpus_per_node": 3,
    "flops": 100.0, "intra_bandwidth": 10.0, "inter_bandwidth": 5.0,
    "compute_latency": 1.0, "intra_latency": 2.0, "inter_latency": 3.0,
}  # fmt: skip
"""A layer with round numbers."""


def named_edges(graph: TaskGraph) -> set[str]:
    names = graph.task_names
    return {f"{names[source]} > {names[target]}" for source, target in graph.edges.T}


def resources(graph: TaskGraph) -> dict[str, tuple[str, float]]:
    """Where each task runs, and for how long."""
    where = np.argmin(graph.duration, axis=1)
    return {name: (graph.kinds[kind], graph.duration[task, kind])
            for task, (name, kind) in enumerate(zip(graph.task_names, where, strict=True))}  # fmt: skip


def makespan(graph: TaskGraph, platform: Platform | None = None, policy: str = "heft") -> float:
    instance = Instance(graph, platform or graph.default_platform())
    schedule = make_policy(policy).schedule(instance)
    assert violations(instance, schedule) == []
    return schedule.makespan


def test_moe_layer_forward_by_hand() -> None:
    graph = moe_layer(chunks=2, **ROUND)
    assert graph.kinds == ("compute", "intra-link", "inter-link")
    assert (np.isfinite(graph.duration).sum(axis=1) == 1).all()
    assert not graph.edge_bytes.any()
    assert named_edges(graph) == {
        *(f"gate > dispatch {i}" for i in (0, 1)),
        *(f"dispatch {i} > gather {i}" for i in (0, 1)),
        *(f"gather {i} > experts {i}" for i in (0, 1)),
        *(f"experts {i} > scatter {i}" for i in (0, 1)),
        *(f"scatter {i} > combine {i}" for i in (0, 1)),
        *(f"combine {i} > sum" for i in (0, 1)),
    }
    found = resources(graph)
    assert found["gate"] == ("compute", 1 + 2 * 4 * 10 * 5 / 100)
    assert found["experts 1"] == ("compute", 1 + 6 * (4 * 2) * 10 * 20 / 2 / 100)
    assert found["sum"] == ("compute", 1 + 2 * (4 * 2) * 10 / 100)
    assert found["gather 0"] == found["scatter 0"] == ("intra-link", 2 + 2 * 80 / 2 / 10)
    assert found["dispatch 0"] == found["combine 1"] == ("inter-link", 3 + 80 / 2 / 2 / 5)


def test_moe_layer_training_by_hand() -> None:
    graph = moe_layer(training=True, chunks=2, backward_chunks=1, gradient_pieces=2, dense_parameters=600, **ROUND)
    forward = named_edges(moe_layer(chunks=2, **ROUND))
    assert named_edges(graph) - forward == {
        "sum > dense", "dense > sum-back", "sum-back > combine-back 0", "combine-back 0 > scatter-back 0",
        "scatter-back 0 > experts-back 0", "experts-back 0 > gather-back 0", "gather-back 0 > dispatch-back 0",
        "dispatch-back 0 > gate-back", "dense > all-reduce 0", "dense > all-reduce 1",
    }  # fmt: skip
    found = resources(graph)
    assert found["dense"] == ("compute", 1 + 6 * 4 * 600 / 100)
    assert found["experts-back 0"] == ("compute", 1 + 2 * 6 * 80 * 20 / 100)
    assert found["gather-back 0"] == found["scatter-back 0"] == ("intra-link", 2 + 2 * 80 / 10)
    assert found["combine-back 0"] == found["dispatch-back 0"] == ("inter-link", 3 + 80 / 2 / 5)
    assert found["all-reduce 0"] == ("inter-link", 3 + 2 * 0.5 * 600 / 3 / 2 / 5)


@pytest.mark.parametrize(("chunks", "backward", "pieces"), [(1, 1, 1), (4, None, 3), (2, 8, 5)])
def test_moe_layer_counts(chunks: int, backward: int | None, pieces: int) -> None:
    assert moe_layer(chunks=chunks).num_tasks == 5 * chunks + 2
    graph = moe_layer(True, chunks, backward_chunks=backward, gradient_pieces=pieces)
    assert graph.num_tasks == 5 * chunks + 2 + 5 * (backward or chunks) + 3 + pieces


def test_one_chunk_overlaps_nothing_and_more_do() -> None:
    whole = moe_layer(chunks=1)
    assert makespan(whole) == pytest.approx(whole.duration.min(axis=1).sum(), rel=1e-12)
    times = [makespan(moe_layer(chunks=chunks)) for chunks in (1, 2, 4, 8)]
    assert times == sorted(times, reverse=True)
    for chunks, time in zip((1, 2, 4, 8), times, strict=True):
        graph = moe_layer(chunks=chunks)
        busiest = np.where(np.isfinite(graph.duration), graph.duration, 0.0).sum(axis=0).max()
        assert time >= busiest


def test_volumes_do_not_depend_on_chunks_but_latencies_add() -> None:
    for kind, latency in enumerate((0.25, 0.5, 1.0)):
        settings = ROUND | {"compute_latency": 0.25, "intra_latency": 0.5, "inter_latency": 1.0}
        whole, split = (moe_layer(chunks=chunks, **settings).duration[:, kind] for chunks in (1, 4))
        seconds = [column[np.isfinite(column)].sum() for column in (whole, split)]
        operations = [np.isfinite(column).sum() for column in (whole, split)]
        assert seconds[1] - seconds[0] == pytest.approx(latency * (operations[1] - operations[0]))


def test_prefill_by_hand() -> None:
    graph = npu_prefill(PHONE, chunks=2, blocks=1)
    kept = {edge for edge in named_edges(graph) if not edge.endswith(" 0 0")}
    assert kept == {
        "attention-norm 0 1 > qkv 0 1", "attention-norm 0 1 > qkv-outliers 0 1",
        "qkv 0 1 > attention 0 1", "qkv-outliers 0 1 > attention 0 1",
        "qkv 0 0 > attention 0 1", "qkv-outliers 0 0 > attention 0 1",
        "attention 0 1 > output 0 1", "attention 0 1 > output-outliers 0 1",
        "output 0 1 > ffn-norm 0 1", "output-outliers 0 1 > ffn-norm 0 1",
        "ffn-norm 0 1 > ffn 0 1", "ffn-norm 0 1 > ffn-outliers 0 1",
    }  # fmt: skip
    two = named_edges(npu_prefill(PHONE, chunks=1, blocks=2))
    assert {edge for edge in two if " 0 0 > " in edge and edge.endswith(" 1 0")} == {
        "ffn 0 0 > attention-norm 1 0", "ffn-outliers 0 0 > attention-norm 1 0",
    }  # fmt: skip


@pytest.mark.parametrize(("chunks", "blocks"), [(1, 1), (3, 2), (4, 24)])
def test_prefill_counts(chunks: int, blocks: int) -> None:
    graph = npu_prefill(PHONE, chunks=chunks, blocks=blocks)
    assert graph.num_tasks == 9 * chunks * blocks
    inside, between_blocks, earlier_chunks = 10 * chunks * blocks, 2 * chunks * (blocks - 1), chunks * (chunks - 1)
    assert graph.num_edges == inside + between_blocks + blocks * earlier_chunks


def test_integers_run_on_the_npu_and_floats_on_the_others() -> None:
    graph = npu_prefill(PHONE)
    runs = Counter(
        (name.split()[0], kind)
        for name, row in zip(graph.task_names, graph.duration, strict=True)
        for kind, seconds in zip(graph.kinds, row, strict=True)
        if np.isfinite(seconds)
    )
    for step in ("qkv", "output", "ffn"):
        assert {kind for name, kind in runs if name == step} == {"npu"}
        assert {kind for name, kind in runs if name == f"{step}-outliers"} == {"cpu", "gpu"}
    for step in ("attention-norm", "attention", "ffn-norm"):
        assert {kind for name, kind in runs if name == step} == {"cpu", "gpu"}


def test_prefill_durations_by_hand() -> None:
    graph = npu_prefill(PHONE, chunks=2, blocks=1)
    duration = dict(zip(graph.task_names, graph.duration, strict=True))
    assert duration["qkv 0 1"][2] == pytest.approx(2 * 256 * 3 * 2048**2 / (0.4 * 34e12))
    gpu = graph.kinds.index("gpu")
    assert duration["attention 0 1"][gpu] == pytest.approx(4 * 256 * 2048 * 384 / (0.3 * 2.8e12))
    assert duration["ffn-norm 0 0"][gpu] == pytest.approx(8 * 256 * 2048 / (0.7 * 76.8e9))
    outlier_bytes = 4 * (10 * 2048 + 256 * 10 + 256 * 2048)
    assert duration["output-outliers 0 0"][gpu] == pytest.approx(outlier_bytes / (0.7 * 76.8e9))


def test_prefill_bytes_by_hand() -> None:
    graph = npu_prefill(PHONE, chunks=2, blocks=1)
    names = graph.task_names
    size = {
        (names[source], names[target]): volume
        for (source, target), volume in zip(graph.edges.T, graph.edge_bytes, strict=True)
    }
    numbers = 256 * 2048
    assert size["attention-norm 0 0", "qkv 0 0"] == numbers
    assert size["attention-norm 0 0", "qkv-outliers 0 0"] == 4 * 256 * 10
    assert size["qkv 0 1", "attention 0 1"] == 12 * numbers
    assert size["qkv 0 0", "attention 0 1"] == 8 * numbers
    assert size["output 0 0", "ffn-norm 0 0"] == 4 * numbers


def test_chunks_keep_the_npu_busy() -> None:
    """One long prompt in one chunk leaves the NPU idle while attention runs; in chunks it does not."""
    settings = {"blocks": 4, "outlier_channels": 10}
    whole = makespan(npu_prefill(PHONE, 1, chunk_tokens=1024, **settings), PHONE)  # type: ignore[arg-type]
    split = makespan(npu_prefill(PHONE, 4, chunk_tokens=256, **settings), PHONE)  # type: ignore[arg-type]
    assert split < 0.95 * whole


def test_prefill_needs_a_platform_with_its_rates() -> None:
    with pytest.raises(HetgymError, match="npu-prefill: platform: give one with rates for fp32 and int8"):
        NpuPrefill().sample(0, 0)
    with pytest.raises(HetgymError, match="unknown precision of platform 'raspberry-pi-4' 'int8'"):
        npu_prefill(load_platform("raspberry-pi-4"))
    with pytest.raises(HetgymError, match="npu-prefill: platform"):
        load_scenario("npu-prefill", platform=None).simulator(1)


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (moe_layer, {"chunks": 0}, "moe_layer: chunks: "),
        (moe_layer, {"top_k": 9}, "top_k: must be at most experts, 8 (given: 9)"),
        (moe_layer, {"flops": 0.0}, "moe_layer: flops: "),
        (moe_layer, {"inter_latency": np.nan}, "moe_layer: inter_latency: "),
        (moe_layer, {"expert": 1}, "moe_layer: expert: "),
        (npu_prefill, {"platform": PHONE, "chunks": 0}, "npu_prefill: chunks: "),
        (npu_prefill, {"platform": PHONE, "hidden": 1.5}, "npu_prefill: hidden: "),
    ],
)
def test_wrong_settings_are_refused(make: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(HetgymError) as caught:
        make(**settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sources_are_the_scenarios() -> None:
    for name, source in (("moe-layer-forward", MoELayer()), ("moe-layer-train", MoELayer(training=True))):
        scenario = load_scenario(name)
        assert isinstance(scenario, TaskGraphScenario)
        assert scenario.workload == source
