from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.agents import make_policy
from hetgym.envs import load_scenario
from hetgym.envs.task_graph.checker import violations
from hetgym.envs.task_graph.instance import Instance
from hetgym.envs.task_graph.scenario import TaskGraphScenario
from hetgym.envs.task_graph.simulator import TaskGraphSimulator
from hetgym.evaluate import play
from hetgym.hardware_models import Device, Link, Platform, list_platforms, load_platform
from hetgym.workloads import FFT, Chains, ForkJoin, GaussianElimination, RandomGraphs
from hetgym.workloads.generators import DrawnGraphs

SOURCES: list[DrawnGraphs] = [RandomGraphs(), FFT(points=4), GaussianElimination(size=4), ForkJoin(), Chains()]
DRAWN = ["random", "fft", "gaussian-elimination", "fork-join", "chains"]


def drawn(name: str, **settings: Any) -> TaskGraphScenario:
    scenario = load_scenario(name, **settings)
    assert isinstance(scenario, TaskGraphScenario)
    return scenario


def bits(instance: Instance) -> tuple[bytes, bytes, bytes]:
    return instance.duration.tobytes(), instance.graph.edges.tobytes(), instance.graph.edge_bytes.tobytes()


def pair(latency: float, bandwidth: float = 4.0) -> Platform:
    """A device of speed 1 and one, of another kind, of speed 2."""
    devices = (Device(name="a", kind="x"), Device(name="b", kind="y", speed=2.0))
    return Platform(
        name="pair", devices=devices, links=(Link(between=("a", "b"), bandwidth=bandwidth, latency=latency),)
    )


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.kind)
def test_own_devices_are_a_platform_of_one_kind_each(source: DrawnGraphs) -> None:
    platform = Platform.fully_connected("three", ("p1", "p2", "p3"))
    own = type(source)(**{**source.model_dump(), "num_devices": 3}).sample(5, 1)
    graph = source.on(platform).sample(5, 1)
    assert graph.kinds == own.kinds
    assert bits(Instance(graph, platform)) == bits(Instance(own, platform))


def test_durations_are_drawn_for_kinds() -> None:
    platform = load_platform("soc-ds3")
    graph = RandomGraphs().on(platform).sample(0, 0)
    assert graph.kinds == ("a7", "a15", "mm", "fft", "vit")
    assert graph.duration.tobytes() == RandomGraphs(num_devices=5).sample(0, 0).duration.tobytes()
    duration = Instance(graph, platform).duration
    assert (duration[:, :4] == graph.duration[:, :1]).all()
    assert (duration[:, 10:14] == graph.duration[:, 3:4]).all()


def test_speeds_divide_durations() -> None:
    platform = load_platform("four-workers")
    graph = FFT().on(platform).sample(0, 0)
    assert graph.kinds == ("cpu",)
    assert (Instance(graph, platform).duration == graph.duration / [0.5, 0.75, 1.0, 1.25]).all()


@pytest.mark.parametrize("platform", ["phone-soc", "soc-ds3", "four-workers", "raspberry-pi-4", "jetson-orin"])
@pytest.mark.parametrize("name", DRAWN)
def test_batch_plays_the_instances_that_it_names(name: str, platform: str) -> None:
    scenario = drawn(name, platform=platform, pool=2)
    simulator = scenario.simulator(3)
    simulator.reset([3, 4, 2**40])
    for episode in range(3):
        for row, slot in enumerate(simulator.state.status["slot"]):
            instance = simulator.instance(row)
            num_tasks, num_edges = instance.graph.num_tasks, instance.graph.num_edges
            graph = simulator.instances.graph
            assert graph.duration[slot, :num_tasks].tobytes() == instance.duration.tobytes()
            assert graph.edges["bytes"][slot, :num_edges].tobytes() == instance.graph.edge_bytes.tobytes()
            assert bits(scenario.instance([3, 4, 2**40][row], episode)) == bits(instance)
        simulator.reset_to_next()


@pytest.mark.parametrize("platform", list_platforms())
def test_graphs_run_on_every_preset(platform: str) -> None:
    scenario = drawn("random", platform=platform, num_tasks=8, ready_window=2, pool=1)
    simulator = scenario.simulator(1)
    assert isinstance(simulator, TaskGraphSimulator)
    for policy in ("heft", "random"):
        play(simulator, make_policy(policy), [1])
        assert violations(simulator.instance(0), simulator.schedule(0)) == []


def test_volume_has_the_mean_transfer_time_of_ccr() -> None:
    """2 x the mean duration of (1 + 1/2) / 2 s is 1.5 s, of which 0.125 s are latency and 1.375 s move 5.5 bytes."""
    base = RandomGraphs(num_devices=2).sample(0, 0)
    graph = RandomGraphs(ccr=2.0).on(pair(latency=0.125)).sample(0, 0)
    np.testing.assert_allclose(graph.edge_bytes, 5.5 * base.edge_bytes, rtol=1e-14)
    graph = RandomGraphs(ccr=2.0, mean_duration=10.0).on(pair(latency=0.125)).sample(0, 0)
    np.testing.assert_allclose(graph.edge_bytes, 4 * (15 - 0.125) * base.edge_bytes, rtol=1e-14)


def test_volume_counts_all_pairs() -> None:
    """Through the middle: 1 s/byte and 0.5 s/byte to the ends, 1 s/byte and both latencies between them."""
    links = (Link(between=("a", "b"), bandwidth=1.0, latency=0.25), Link(between=("b", "c"), bandwidth=2.0))
    platform = Platform(name="line", devices=tuple(Device(name=name, kind=name) for name in "abc"), links=links)
    graph = FFT().on(platform).sample(0, 0)
    volume = (1.0 - (0.25 + 0.0 + 0.25) / 3) / ((1.0 + 0.5 + 1.0) / 3)
    np.testing.assert_allclose(graph.edge_bytes, volume * FFT().sample(0, 0).edge_bytes, rtol=1e-14)


@pytest.mark.parametrize("ccr", [0.0, 0.1])
def test_volume_is_zero_where_latencies_alone_take_longer(ccr: float) -> None:
    graph = RandomGraphs(ccr=ccr).on(pair(latency=0.5)).sample(0, 0)
    assert graph.num_edges > 0
    assert (graph.edge_bytes == 0).all()


@pytest.mark.parametrize("platform", ["phone-soc", "soc-ds3", "four-workers", "dgx-a100"])
@pytest.mark.parametrize("ccr", [0.2, 3.0])
def test_mean_transfer_over_mean_duration_is_ccr(platform: str, ccr: float) -> None:
    transfer, duration = [], []
    machine = load_platform(platform)
    apart = ~np.eye(machine.num_devices, dtype=bool)
    for seed in range(200):
        instance = drawn("random", platform=platform, num_tasks=50, ccr=ccr).instance(seed, 0)
        size = instance.graph.edge_bytes[:, None]
        transfer += [(machine.latency[apart] + size * machine.seconds_per_byte[apart]).mean()]
        duration += [instance.duration.mean()]
    assert np.mean(transfer) / np.mean(duration) == pytest.approx(ccr, rel=0.03)


def test_one_device_transfers_nothing() -> None:
    scenario = drawn("fft", platform="raspberry-pi-4")
    instance = scenario.instance(0, 0)
    assert instance.duration.shape == (39, 1)
    assert np.isfinite(instance.graph.edge_bytes).all()
    schedule = make_policy("heft").schedule(instance)  # type: ignore[attr-defined]
    assert schedule.makespan == pytest.approx(instance.duration.sum())


def test_scenario_file_names_a_platform(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("{name: mine, family: task-graph, workload: {kind: random, num_tasks: 9}, platform: phone-soc}")
    scenario = load_scenario(path)
    assert isinstance(scenario, TaskGraphScenario)
    assert bits(scenario.instance(0, 0)) == bits(drawn("random", num_tasks=9, platform="phone-soc").instance(0, 0))
    assert scenario.instance(0, 0).platform.name == "phone-soc"


def test_number_of_devices_may_agree_with_the_platform() -> None:
    given = drawn("random", platform="phone-soc", num_devices=3)
    assert bits(given.instance(0, 0)) == bits(drawn("random", platform="phone-soc").instance(0, 0))


BROKEN = """
name: islands
devices: [{name: a, kind: x}, {name: b, kind: x}]
"""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"platform": "phone-soc", "num_devices": 4}, "num_devices: platform 'phone-soc' has 3; .*given: 4"),
        ({"platform": "raspberry-pi-4", "num_devices": 2}, "num_devices: platform 'raspberry-pi-4' has 1; .*given: 2"),
        ({"platform": "phone-sock"}, "unknown platform 'phone-sock'"),
        ({"platform": "islands.yaml"}, "no path of links joins devices 'a' and 'b'"),
    ],
)
def test_platform_that_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    (tmp_path / "islands.yaml").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HetgymError, match=message) as caught:
        load_scenario("random", **changes)
    assert "\n" not in str(caught.value)
