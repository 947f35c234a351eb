from typing import Any

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.envs.task_graph.instance import Instance
from hetgym.hardware_models import Device, Link, Platform, load_platform, operation_time
from hetgym.workloads import TaskGraph, task_graph_from_work

RATES: dict[str, Any] = {
    "peak_flops": {"fp32": 100.0},
    "memory_bandwidth": 10.0,
    "efficiency": {"matmul": 0.5, "memory": 0.8},
}


def platform(*devices: Device) -> Platform:
    links = (Link(between=tuple(device.name for device in devices), bandwidth=1.0),) if len(devices) > 1 else ()
    return Platform(name="bench", devices=devices, links=links)


CPU = Device(name="cpu", kind="cpu", **RATES)
GPU = Device(name="gpu", kind="gpu", peak_flops={"fp32": 1000.0, "fp16": 2000.0}, memory_bandwidth=100.0)


def chain(machine: Platform, **changes: Any) -> TaskGraph:
    given: dict[str, Any] = {
        "flop": [200.0, 50.0],
        "num_bytes": [16.0, 80.0],
        "edges": [[0], [1]],
        "edge_bytes": [5.0],
        **changes,
    }
    return task_graph_from_work("chain", machine, **given)


def test_durations_are_those_of_the_roofline() -> None:
    """On the CPU 50 FLOP/s and 8 byte/s are reached; on the GPU 1000 FLOP/s and 100 byte/s."""
    graph = chain(platform(CPU, GPU), task_names=("first", "second"))
    assert graph.kinds == ("cpu", "gpu")
    assert graph.duration.tolist() == [[4.0, 0.2], [10.0, 0.8]]
    assert graph.task_names == ("first", "second")
    assert (graph.edges.tolist(), graph.edge_bytes.tolist()) == ([[0], [1]], [5.0])


def test_each_task_has_its_operation_and_precision() -> None:
    graph = chain(platform(CPU, GPU), operation=["convolution", "matmul"], precision=["fp32", "fp16"])
    assert graph.duration.tolist() == [[2.0, 0.2], [np.inf, 0.8]]
    assert chain(platform(CPU, GPU), precision="fp16").duration.tolist() == [[np.inf, 0.16], [np.inf, 0.8]]


def test_durations_on_a_preset() -> None:
    """The phone's CPU reaches 140 GFLOP/s and 38.4 GB/s, its GPU 1.12 TFLOP/s and 53.76 GB/s, its NPU 13.6 TOP/s."""
    phone = load_platform("phone-soc")
    graph = task_graph_from_work(
        "inference",
        phone,
        flop=[1.4e12, 1.4e9, 13.6e12],
        num_bytes=[3.84e9, 53.76e9, 0.0],
        edges=[[0, 1], [1, 2]],
        edge_bytes=[1e6, 1e6],
        precision=["fp32", "fp32", "int8"],
    )
    assert graph.kinds == ("cpu", "gpu", "npu")
    np.testing.assert_allclose(
        Instance(graph, phone).duration,
        [[10.0, 1.25, np.inf], [1.4, 1.0, np.inf], [np.inf, np.inf, 1.0]],
        rtol=1e-14,
    )
    # Its durations are for the core at 2.4 GHz that speeds refer to; the phone's core has 3.3 GHz.
    np.testing.assert_allclose(graph.duration[:2, 0], [13.75, 1.925], rtol=1e-14)


@pytest.mark.parametrize("name", ["desktop-rtx4090", "jetson-orin", "raspberry-pi-4", "dgx-h100"])
def test_tasks_take_the_operation_time_of_each_device(name: str) -> None:
    machine = load_platform(name)
    duration = Instance(chain(machine, flop=[1e12, 1e6], num_bytes=[1e6, 1e9], precision="fp32"), machine).duration
    for column, device in enumerate(machine.devices):
        if "fp32" in device.peak_flops:
            expected = [
                operation_time(device, "matmul", "fp32", flop, size) for flop, size in ((1e12, 1e6), (1e6, 1e9))
            ]
            np.testing.assert_allclose(duration[:, column], expected, rtol=1e-14)
        else:
            assert (duration[:, column] == np.inf).all()


def test_speed_tells_devices_of_a_kind_apart() -> None:
    machine = platform(CPU.model_copy(update={"speed": 2.0}), CPU.model_copy(update={"name": "slow", "speed": 0.5}))
    graph = chain(machine)
    assert graph.duration.tolist() == [[8.0], [20.0]]
    assert Instance(graph, machine).duration.tolist() == [[4.0, 16.0], [10.0, 40.0]]


def test_rates_of_a_kind_may_agree_with_speeds() -> None:
    half = CPU.model_copy(update={"name": "half", "speed": 0.5, "peak_flops": {"fp32": 50.0}, "memory_bandwidth": 5.0})
    machine = platform(CPU, half)
    assert Instance(chain(machine), machine).duration.tolist() == [[4.0, 8.0], [10.0, 20.0]]


NARROW = GPU.model_copy(update={"name": "narrow", "memory_bandwidth": 50.0})
WITHOUT_MEMORY = Device(name="npu", kind="npu", peak_flops={"fp32": 1.0})


@pytest.mark.parametrize(
    ("machine", "changes", "message"),
    [
        (platform(CPU), {"flop": [1.0, -1.0]}, "flop of task 1 is -1.0: must be finite and zero or more"),
        (platform(CPU), {"flop": [np.nan, 1.0]}, "flop of task 0 is nan: must be finite and zero or more"),
        (platform(CPU), {"num_bytes": [0, np.inf]}, "num_bytes of task 1 is inf: must be finite and zero or more"),
        (platform(CPU), {"flop": ["much", 1]}, "flop: not an array of numbers"),
        (platform(CPU), {"flop": 7.0}, "flop: must have the shape (T), not ()"),
        (platform(CPU), {"num_bytes": [1.0]}, "num_bytes: 1 numbers for 2 tasks"),
        (platform(CPU), {"operation": ["matmul"]}, "operation: 1 words for 2 tasks"),
        (platform(CPU), {"precision": ["fp32"] * 3}, "precision: 3 words for 2 tasks"),
        (platform(CPU), {"precision": "fp64"}, "unknown precision of platform 'bench' 'fp64': choose one of fp32"),
        (platform(CPU), {"edges": [[0], [2]]}, "task graph 'chain': edges: (0, 2) names a task that is not there"),
        (platform(WITHOUT_MEMORY), {}, "device 'npu' has no memory_bandwidth"),
        (platform(GPU, NARROW), {}, "'gpu' and 'narrow' of platform 'bench' have unlike rates"),
        (load_platform("soc-ds3"), {}, "platform 'soc-ds3': no device has peak_flops"),
    ],
)
def test_wrong_work_is_refused(machine: Platform, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(HetgymError) as caught:
        chain(machine, **changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
