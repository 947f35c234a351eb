from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.hardware_models import (
    Device,
    Link,
    busy_idle_energy,
    cycle_energy,
    dynamic_power,
    measured_time,
    operation_time,
    roofline_time,
    static_dynamic_energy,
    transfer_time,
)

WIDE = Link(between=("a", "switch"), bandwidth=10.0, latency=0.5)
NARROW = Link(between=("switch", "b"), bandwidth=4.0, latency=0.25)
GPU = Device(
    name="gpu",
    kind="gpu",
    peak_flops={"fp16": 100.0, "fp32": 50.0},
    memory_bandwidth=10.0,
    efficiency={"matmul": 0.5, "memory": 0.8},
)
DURATIONS = {"fft": {"cpu": 296e-6, "fft": 16e-6}, "crc": {"cpu": 5e-6}}


def test_roofline_is_the_slower_of_compute_and_memory() -> None:
    assert roofline_time(200.0, 10.0, 100.0, 10.0) == 2.0
    assert roofline_time(200.0, 50.0, 100.0, 10.0) == 5.0
    assert roofline_time(200.0, 50.0, 100.0, 10.0, compute_efficiency=0.25) == 8.0
    assert roofline_time(200.0, 50.0, 100.0, 10.0, memory_efficiency=0.5) == 10.0
    assert roofline_time(0.0, 0.0, 100.0, 10.0) == 0.0


def test_operation_takes_rates_and_efficiencies_from_the_device() -> None:
    assert operation_time(GPU, "matmul", "fp16", 200.0, 8.0) == 4.0
    assert operation_time(GPU, "matmul", "fp32", 200.0, 8.0) == 8.0
    assert operation_time(GPU, "convolution", "fp16", 200.0, 8.0) == 2.0
    assert operation_time(GPU, "matmul", "fp16", 200.0, 80.0) == 10.0


def test_efficiency_is_overridden_by_another_device() -> None:
    better = GPU.model_copy(update={"efficiency": {"matmul": 1.0}})
    assert operation_time(better, "matmul", "fp16", 200.0, 8.0) == 2.0


def test_measured_time_is_looked_up() -> None:
    assert measured_time(DURATIONS, "fft", "cpu") == 296e-6
    assert measured_time(DURATIONS, "fft", "fft") == 16e-6


def test_transfer_adds_latencies_and_takes_the_narrowest_bandwidth() -> None:
    assert transfer_time(8.0, [WIDE, NARROW]) == 0.75 + 2.0
    assert transfer_time(8.0, [WIDE]) == 0.5 + 0.8
    assert transfer_time(0.0, [NARROW]) == 0.25
    assert transfer_time(8.0, []) == 0.0


def test_energies() -> None:
    assert dynamic_power(2.0, 3.0, 5.0) == 90.0
    assert static_dynamic_energy(2.0, 3.0, 10.0, 4.0) == 32.0
    assert busy_idle_energy(2.0, 5.0, 6.0, 4.0) == 32.0
    assert cycle_energy(1e-27, 1e9, 2e9) == pytest.approx(4.0)


def test_cycle_energy_is_dynamic_power_where_voltage_follows_frequency() -> None:
    capacitance, volts_per_hertz, cycles, frequency = 1e-9, 0.5e-9, 3e9, 2e9
    power = dynamic_power(capacitance, volts_per_hertz * frequency, frequency)
    kappa = capacitance * volts_per_hertz**2
    assert cycle_energy(kappa, cycles, frequency) == pytest.approx(power * cycles / frequency)


@pytest.mark.parametrize(
    "cost",
    [
        lambda work: roofline_time(work, 2.0 * work, 7.0, 3.0, 0.5, 0.25),
        lambda work: operation_time(GPU, "matmul", "fp32", work, work),
        lambda work: transfer_time(work, [WIDE, NARROW]),
        lambda work: dynamic_power(work, 2.0 * work, 3.0 * work),
        lambda work: static_dynamic_energy(2.0, 3.0, 2.0 * work, work),
        lambda work: busy_idle_energy(2.0, 3.0, 2.0 * work, work),
        lambda work: cycle_energy(0.5, work, 2.0 * work),
    ],
)
def test_arrays_give_what_floats_give(cost: Callable[[Any], Any]) -> None:
    work = np.array([[0.0, 1.0, 2.5], [7.0, 11.0, 1e6]])
    together = cost(work)
    assert isinstance(together, np.ndarray)
    assert together.shape == work.shape
    for index, each in np.ndenumerate(work):
        alone = cost(float(each))
        assert isinstance(alone, float)
        assert together[index] == alone


NOT_NEGATIVE: list[tuple[Callable[..., Any], dict[str, Any], list[str]]] = [
    (
        roofline_time,
        {"flop": 1.0, "num_bytes": 1.0, "peak_flops": 1.0, "memory_bandwidth": 1.0},
        ["flop", "num_bytes", "peak_flops", "memory_bandwidth", "compute_efficiency", "memory_efficiency"],
    ),
    (
        operation_time,
        {"device": GPU, "operation": "matmul", "precision": "fp16", "flop": 1.0, "num_bytes": 1.0},
        ["flop", "num_bytes"],
    ),
    (transfer_time, {"num_bytes": 1.0, "links": [WIDE]}, ["num_bytes"]),
    (
        dynamic_power,
        {"capacitance": 1.0, "voltage": 1.0, "frequency": 1.0},
        ["capacitance", "voltage", "frequency"],
    ),
    (
        static_dynamic_energy,
        {"static_power": 1.0, "dynamic_power": 1.0, "elapsed": 1.0, "switching": 1.0},
        ["static_power", "dynamic_power", "elapsed", "switching"],
    ),
    (
        busy_idle_energy,
        {"idle_power": 1.0, "busy_power": 1.0, "idle": 1.0, "busy": 1.0},
        ["idle_power", "busy_power", "idle", "busy"],
    ),
    (cycle_energy, {"kappa": 1.0, "cycles": 1.0, "frequency": 1.0}, ["kappa", "cycles", "frequency"]),
]


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf, -np.inf, np.array([1.0, np.nan]), np.array([[0.5, -2.0]])])
@pytest.mark.parametrize(
    ("cost", "arguments", "name"),
    [(cost, arguments, name) for cost, arguments, names in NOT_NEGATIVE for name in names],
)
def test_negative_and_not_finite_are_refused_by_name(
    cost: Callable[..., Any], arguments: dict[str, Any], name: str, wrong: Any
) -> None:
    with pytest.raises(HetgymError, match=rf"^{name} must be .* \(given: "):
        cost(**{**arguments, name: wrong})


@pytest.mark.parametrize("name", ["peak_flops", "memory_bandwidth", "compute_efficiency", "memory_efficiency"])
def test_rate_of_zero_is_refused(name: str) -> None:
    arguments = {"flop": 1.0, "num_bytes": 1.0, "peak_flops": 1.0, "memory_bandwidth": 1.0}
    with pytest.raises(HetgymError, match=rf"^{name} must be .*greater than 0.* \(given: 0\)"):
        roofline_time(**{**arguments, name: 0.0})


@pytest.mark.parametrize("name", ["compute_efficiency", "memory_efficiency"])
def test_efficiency_above_one_is_refused(name: str) -> None:
    with pytest.raises(HetgymError, match=rf"^{name} must be greater than 0 and at most 1 \(given: 1.5\)"):
        roofline_time(1.0, 1.0, 1.0, 1.0, **{name: 1.5})


def test_switching_longer_than_elapsed_is_refused() -> None:
    with pytest.raises(HetgymError, match="switching must not exceed elapsed"):
        static_dynamic_energy(1.0, 1.0, np.array([2.0, 1.0]), np.array([1.0, 2.0]))


def test_device_without_the_rates_is_refused() -> None:
    with pytest.raises(HetgymError, match="unknown precision of device 'gpu' 'int4': choose one of fp16, fp32"):
        operation_time(GPU, "matmul", "int4", 1.0, 1.0)
    bare = Device(name="bare", kind="cpu", peak_flops={"fp32": 1.0})
    with pytest.raises(HetgymError, match="device 'bare' has no memory_bandwidth"):
        operation_time(bare, "matmul", "fp32", 1.0, 1.0)


@pytest.mark.parametrize(
    ("table", "task", "kind", "message"),
    [
        (DURATIONS, "ftt", "cpu", "unknown task in the table of durations 'ftt': choose one of fft, crc"),
        (DURATIONS, "crc", "fft", "unknown kind with a duration of task 'crc' 'fft': choose one of cpu"),
        ({"fft": {"cpu": -1.0}}, "fft", "cpu", r"durations\['fft'\]\['cpu'\] must be finite and not negative"),
        ({"fft": {"cpu": np.nan}}, "fft", "cpu", r"durations\['fft'\]\['cpu'\] must be finite and not negative"),
    ],
)
def test_missing_or_wrong_measurement_is_refused(
    table: dict[str, dict[str, float]], task: str, kind: str, message: str
) -> None:
    with pytest.raises(HetgymError, match=message):
        measured_time(table, task, kind)
