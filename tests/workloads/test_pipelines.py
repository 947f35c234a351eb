"""Pipelines: the orders of the papers by hand, their makespans in closed form, and rings that sum gradients."""

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
from hetgym.envs.task_graph.schedule import Schedule
from hetgym.workloads import Pipeline, TaskGraph, bubble_fraction, pipeline
from hetgym.workloads.pipelines import Pass

SIZES = [(stages, microbatches) for stages in (1, 2, 3, 4, 7) for microbatches in (1, 2, 3, 8, 13)]


def planned(graph: TaskGraph, policy: str = "heft") -> Schedule:
    instance = Instance(graph, graph.default_platform())
    schedule = make_policy(policy).schedule(instance)
    assert violations(instance, schedule) == []
    return schedule


def order(settings: Pipeline, stage: int) -> str:
    """Passes of a stage as in the papers' figures: F or B, and the microbatch; capitals for the first chunk."""
    word = {False: "F", True: "B"}
    words = [(word[step.is_backward], step.part // settings.stages, step.microbatch) for step in settings.passes(stage)]
    return " ".join(f"{letter if chunk == 0 else letter.lower()}{number + 1}" for letter, chunk, number in words)


def test_gpipe_by_hand() -> None:
    settings = Pipeline(schedule="gpipe", stages=4, microbatches=4)
    assert {order(settings, stage) for stage in range(4)} == {"F1 F2 F3 F4 B4 B3 B2 B1"}


def test_1f1b_by_hand() -> None:
    settings = Pipeline(schedule="1f1b", stages=4, microbatches=8)
    assert [order(settings, stage) for stage in range(4)] == [
        "F1 F2 F3 F4 B1 F5 B2 F6 B3 F7 B4 F8 B5 B6 B7 B8",
        "F1 F2 F3 B1 F4 B2 F5 B3 F6 B4 F7 B5 F8 B6 B7 B8",
        "F1 F2 B1 F3 B2 F4 B3 F5 B4 F6 B5 F7 B6 F8 B7 B8",
        "F1 B1 F2 B2 F3 B3 F4 B4 F5 B5 F6 B6 F7 B7 F8 B8",
    ]


def test_interleaved_by_hand() -> None:
    """After 10 and 4 forward passes, in groups of four microbatches."""
    settings = Pipeline(schedule="interleaved", stages=4, microbatches=8, chunks=2)
    assert order(settings, 0) == (
        "F1 F2 F3 F4 f1 f2 f3 f4 F5 F6 F7 b1 F8 b2 f5 b3 f6 b4 f7 B1 f8 B2 B3 B4 b5 b6 b7 b8 B5 B6 B7 B8"
    )
    assert order(settings, 3) == (
        "F1 F2 F3 F4 f1 b1 f2 b2 f3 b3 f4 b4 F5 B1 F6 B2 F7 B3 F8 B4 f5 b5 f6 b6 f7 b7 f8 b8 B5 B6 B7 B8"
    )


def test_graph_by_hand() -> None:
    graph = pipeline("gpipe", stages=2, microbatches=2, forward=3.0, activation_bytes=5.0)
    names = graph.task_names
    edges = {
        f"{names[source]} > {names[target]}": size
        for (source, target), size in zip(graph.edges.T, graph.edge_bytes, strict=True)
    }
    assert edges == {
        "F 0 0 > F 1 0": 5.0,
        "F 1 0 > B 1 0": 0.0,
        "B 1 0 > B 0 0": 5.0,
        "F 0 1 > F 1 1": 5.0,
        "F 1 1 > B 1 1": 0.0,
        "B 1 1 > B 0 1": 5.0,
        "F 0 0 > F 0 1": 0.0,
        "F 0 1 > B 0 1": 0.0,
        "B 0 1 > B 0 0": 0.0,
        "F 1 0 > F 1 1": 0.0,
        "B 1 1 > B 1 0": 0.0,
    }
    inf = np.inf
    assert graph.kinds == ("device-1", "device-2")
    assert names == ("F 0 0", "F 1 0", "B 1 0", "B 0 0", "F 0 1", "F 1 1", "B 1 1", "B 0 1")
    assert graph.duration.tolist() == 2 * [[3, inf], [inf, 3], [inf, 6], [6, inf]]


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize(("stages", "microbatches"), SIZES)
@pytest.mark.parametrize("backward_ratio", [0.5, 1.0, 2.0])
def test_makespan_is_the_closed_form(schedule: str, stages: int, microbatches: int, backward_ratio: float) -> None:
    graph = pipeline(schedule, stages, microbatches, forward=4.0, backward_ratio=backward_ratio)  # type: ignore[arg-type]
    step = 4.0 + 4.0 * backward_ratio
    assert planned(graph).makespan == (microbatches + stages - 1) * step


@pytest.mark.parametrize("chunks", [2, 4, 8])
@pytest.mark.parametrize(
    ("stages", "microbatches"), [(1, 3), (2, 2), (2, 6), (3, 3), (3, 9), (4, 4), (4, 8), (4, 16), (6, 12)]
)
@pytest.mark.parametrize("backward_ratio", [0.5, 1.0, 2.0])
def test_interleaved_bubble_is_the_closed_form(
    chunks: int, stages: int, microbatches: int, backward_ratio: float
) -> None:
    graph = pipeline("interleaved", stages, microbatches, chunks, forward=8.0, backward_ratio=backward_ratio)
    step = 8.0 + 8.0 * backward_ratio
    assert planned(graph).makespan - microbatches * step == (stages - 1) * step / chunks


@pytest.mark.parametrize(
    ("schedule", "stages", "microbatches", "chunks"),
    [("gpipe", 4, 8, 1), ("1f1b", 4, 8, 1), ("1f1b", 8, 32, 1), ("interleaved", 4, 8, 2), ("interleaved", 3, 6, 4)],
)
def test_idle_time_is_the_bubble_fraction(schedule: Any, stages: int, microbatches: int, chunks: int) -> None:
    makespan = planned(pipeline(schedule, stages, microbatches, chunks)).makespan
    idle = makespan - 3.0 * microbatches
    assert bubble_fraction(stages, microbatches, chunks) == pytest.approx(idle / makespan, rel=1e-12)


def test_bubble_fraction_of_the_paper() -> None:
    """(p - 1) / m of the busy time, or a v-th of it."""
    assert bubble_fraction(4, 8) == 3 / 11
    assert bubble_fraction(1, 5) == 0.0
    for chunks in (1, 2, 3):
        fraction = bubble_fraction(4, 8, chunks)
        assert fraction / (1 - fraction) == pytest.approx(3 / (8 * chunks))


@pytest.mark.parametrize("policy", ["heft", "min-min", "olb"])
@pytest.mark.parametrize("name", ["pipeline-gpipe", "pipeline-1f1b", "pipeline-interleaved"])
def test_fixed_order_leaves_nothing_to_decide(name: str, policy: str) -> None:
    scenario = load_scenario(name)
    assert isinstance(scenario, TaskGraphScenario)
    instance = scenario.instance(0, 0)
    expected = {"pipeline-interleaved": 3 * (8 + 3 / 2)}.get(name, 3.0 * (8 + 3))
    assert make_policy(policy).schedule(instance).makespan == expected


def test_free_order_is_no_worse_for_a_good_policy() -> None:
    settings: dict[str, Any] = {"head": 0.5, "speeds": (1.0, 0.5, 2.0, 1.0), "activation_bytes": 0.25}
    fixed = min(planned(pipeline(schedule, **settings)).makespan for schedule in ("gpipe", "1f1b"))  # type: ignore[arg-type]
    free = planned(pipeline("free", **settings), "best-of-32:lookahead").makespan
    assert free <= fixed


def test_vocabulary_speeds_and_chunks_change_durations() -> None:
    settings = Pipeline(
        schedule="interleaved", stages=2, microbatches=2, chunks=2, forward=8.0, embedding=1.0, head=3.0,
        speeds=(1.0, 0.5), backward_ratio=2.0,
    )  # fmt: skip
    assert [settings.seconds(Pass(False, part, 0)) for part in range(4)] == [5.0, 8.0, 4.0, 14.0]
    assert [settings.seconds(Pass(True, part, 0)) for part in range(4)] == [10.0, 16.0, 8.0, 28.0]


def test_ring_by_hand() -> None:
    """Two pipelines of one stage: after their passes, each device sends half the gradients twice."""
    graph = pipeline("free", stages=1, microbatches=2, replicas=2, gradient_bytes=10.0)
    assert graph.kinds == ("device-1", "device-2")
    assert graph.num_tasks == 2 * 2 * 2 + 2 * 3
    schedule = planned(graph)
    assert schedule.makespan == 2 * 3.0 + 2 * 5.0
    ring = [task for task, name in enumerate(graph.task_names) if name.startswith("R")]
    assert Counter(schedule.finish[ring].tolist()) == Counter([6.0, 6.0, 11.0, 11.0, 16.0, 16.0])


@pytest.mark.parametrize(("replicas", "stages"), [(2, 1), (3, 2), (5, 1)])
def test_ring_takes_two_less_than_twice_the_replicas_steps(replicas: int, stages: int) -> None:
    """2 (R - 1) / R of the gradients leave each device, as in Patarasuk, Yuan 2009."""
    alone = planned(pipeline("1f1b", stages, 4))
    with_ring = planned(pipeline("1f1b", stages, 4, replicas=replicas, gradient_bytes=60.0))
    assert with_ring.makespan == pytest.approx(alone.makespan + 2 * (replicas - 1) / replicas * 60.0)


def test_adjacent_numbers_the_devices() -> None:
    for adjacent, device in (("replicas", 1), ("stages", 3)):
        graph = pipeline("free", 3, 1, replicas=2, adjacent=adjacent)
        second_replica = graph.duration[graph.task_names.index("F 0 0 1")]
        assert np.flatnonzero(np.isfinite(second_replica)).tolist() == [device]


def test_summing_gradients_inside_a_cluster_is_faster() -> None:
    """What Holmes is for."""
    makespans = {}
    for adjacent in ("replicas", "stages"):
        scenario = load_scenario("hetero-nic", adjacent=adjacent)
        assert isinstance(scenario, TaskGraphScenario)
        makespans[adjacent] = make_policy("heft").schedule(scenario.instance(0, 0)).makespan
    assert makespans["replicas"] < 0.6 * makespans["stages"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "zigzag"}, "pipeline: schedule: "),
        ({"stages": 0}, "pipeline: stages: "),
        ({"forward": 0.0}, "pipeline: forward: "),
        ({"head": -1.0}, "pipeline: head: "),
        ({"activation_bytes": np.inf}, "pipeline: activation_bytes: "),
        ({"schedule": "gpipe", "chunks": 2}, "chunks: must be 1 with schedule 'gpipe' (given: 2)"),
        ({"schedule": "interleaved"}, "chunks: must be 2 or more with schedule 'interleaved' (given: 1)"),
        (
            {"schedule": "interleaved", "chunks": 2, "stages": 4, "microbatches": 6},
            "microbatches: must be a multiple of stages, 4, with schedule 'interleaved' (given: 6)",
        ),
        ({"speeds": (1.0, 2.0)}, "speeds: must be 4, one for each stage (given: 2)"),
        ({"layers": 2}, "pipeline: layers: "),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(HetgymError) as caught:
        pipeline(**settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("argument", ["stages", "microbatches", "chunks"])
def test_bubble_fraction_refuses_less_than_one(argument: str) -> None:
    with pytest.raises(HetgymError, match=f"bubble_fraction: {argument}: must be 1 or more"):
        bubble_fraction(**({"stages": 2, "microbatches": 2, "chunks": 1} | {argument: 0}))
