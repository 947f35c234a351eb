"""What work costs: seconds and joules from numbers of operations, bytes and cycles.

Quantities of the work (operations, bytes, seconds, cycles) are floats, or numpy arrays of one shape, and the result
is like them. All units are SI. A quantity that is negative or not finite is refused by its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import HetgymError, unknown_name
from .platform import Device, Link

Quantity = TypeVar("Quantity", float, NDArray[np.float64])


def roofline_time(
    flop: Quantity,
    num_bytes: Quantity,
    peak_flops: float,
    memory_bandwidth: float,
    compute_efficiency: float = 1.0,
    memory_efficiency: float = 1.0,
) -> Quantity:
    """Returns the time of an operation whose arithmetic and memory traffic overlap, s.

    ``max(flop / (compute_efficiency * peak_flops), num_bytes / (memory_efficiency * memory_bandwidth))``

    Source: Williams, Waterman, Patterson, Communications of the ACM 52(4), 2009, doi:10.1145/1498765.1498785.

    Args:
        flop: Operations, FLOP.
        num_bytes: Bytes read from and written to memory.
        peak_flops: Peak rate, FLOP/s.
        memory_bandwidth: Peak rate, byte/s.
        compute_efficiency: Fraction of `peak_flops` that the operation reaches, in (0, 1].
        memory_efficiency: Fraction of `memory_bandwidth` that the operation reaches, in (0, 1].

    Raises:
        HetgymError: If an argument is out of its range.
    """
    require_non_negative(flop=flop, num_bytes=num_bytes)
    require_positive(peak_flops=peak_flops, memory_bandwidth=memory_bandwidth)
    _require_fraction(compute_efficiency=compute_efficiency, memory_efficiency=memory_efficiency)
    compute = flop / (compute_efficiency * peak_flops)
    memory = num_bytes / (memory_efficiency * memory_bandwidth)
    slower: Quantity = np.maximum(compute, memory)
    return slower


def operation_time(device: Device, operation: str, precision: str, flop: Quantity, num_bytes: Quantity) -> Quantity:
    """Returns the `roofline_time` of an operation on a device, at its highest operating point, s.

    Args:
        device: Gives the peak rates and, where it has them, the efficiencies of this operation and of "memory";
            what it does not list counts as 1.
        operation: A class of operations, a key of `Device.efficiency`.
        precision: A key of `Device.peak_flops`.
        flop: Operations, FLOP.
        num_bytes: Bytes read from and written to the device's memory.

    Raises:
        HetgymError: If the device lacks this precision or a memory bandwidth, or a quantity is out of its range.
    """
    if not device.peak_flops:
        raise HetgymError(f"device {device.name!r} has no peak_flops; give it one, in FLOP/s by precision")
    if precision not in device.peak_flops:
        raise unknown_name(f"precision of device {device.name!r}", precision, list(device.peak_flops))
    if device.memory_bandwidth is None:
        raise HetgymError(f"device {device.name!r} has no memory_bandwidth; give it one, in byte/s")
    return roofline_time(
        flop,
        num_bytes,
        device.peak_flops[precision],
        device.memory_bandwidth,
        device.efficiency.get(operation, 1.0),
        device.efficiency.get("memory", 1.0),
    )


def measured_time(durations: Mapping[str, Mapping[str, float]], task: str, kind: str) -> float:
    """Returns a duration from a table of measurements, s.

    Args:
        durations: Seconds by task and then by kind of device.
        task: The name of a task.
        kind: The kind of a device.

    Raises:
        HetgymError: If the table has no such task, no duration of it on this kind, or a negative or infinite one.
    """
    if task not in durations:
        raise unknown_name("task in the table of durations", task, list(durations))
    if kind not in durations[task]:
        raise unknown_name(f"kind with a duration of task {task!r}", kind, list(durations[task]))
    require_non_negative(**{f"durations[{task!r}][{kind!r}]": durations[task][kind]})
    return durations[task][kind]


def transfer_time(num_bytes: Quantity, links: Sequence[Link]) -> Quantity:
    """Returns the time of a transfer that streams through links one after another, s.

    ``sum(latency) + num_bytes / min(bandwidth)``, and 0 where there is no link to pass.

    Source: Hockney, Parallel Computing 20(3), 1994, doi:10.1016/S0167-8191(06)80021-9, for one link; on a path the
    latencies add and the narrowest link sets the pace.

    Args:
        num_bytes: Bytes.
        links: The path, as `Platform.route` gives it.

    Raises:
        HetgymError: If `num_bytes` is negative or not finite.
    """
    require_non_negative(num_bytes=num_bytes)
    latency = sum(link.latency for link in links)
    seconds_per_byte = max((1.0 / link.bandwidth for link in links), default=0.0)
    return latency + num_bytes * seconds_per_byte


def dynamic_power(capacitance: Quantity, voltage: Quantity, frequency: Quantity) -> Quantity:
    """Returns the power that switching takes, W: ``capacitance * voltage**2 * frequency``.

    Source: Chandrakasan, Sheng, Brodersen, IEEE Journal of Solid-State Circuits 27(4), 1992, doi:10.1109/4.126534.

    Args:
        capacitance: Capacitance switched in a cycle, activity included, F.
        voltage: Supply voltage, V.
        frequency: Clock rate, Hz.

    Raises:
        HetgymError: If an argument is negative or not finite.
    """
    require_non_negative(capacitance=capacitance, voltage=voltage, frequency=frequency)
    return capacitance * voltage * voltage * frequency


def static_dynamic_energy(
    static_power: float, dynamic_power: float, elapsed: Quantity, switching: Quantity
) -> Quantity:
    """Returns leakage for as long as the device is on plus switching while it works, J.

    ``static_power * elapsed + dynamic_power * switching``

    Source: Chandrakasan, Sheng, Brodersen, IEEE Journal of Solid-State Circuits 27(4), 1992, doi:10.1109/4.126534.

    Args:
        static_power: Power that flows whether or not work is done, W.
        dynamic_power: Power that work adds, W; see the function of this name.
        elapsed: Time that the device is on, s.
        switching: The part of `elapsed` in which it works, s.

    Raises:
        HetgymError: If an argument is negative or not finite, or `switching` exceeds `elapsed`.
    """
    require_non_negative(static_power=static_power, dynamic_power=dynamic_power, elapsed=elapsed, switching=switching)
    if np.any(np.greater(switching, elapsed)):
        raise HetgymError("switching must not exceed elapsed, of which it is a part")
    return static_power * elapsed + dynamic_power * switching


def busy_idle_energy(idle_power: float, busy_power: float, idle: Quantity, busy: Quantity) -> Quantity:
    """Returns the energy of a device that is either idle or busy, J: ``idle_power * idle + busy_power * busy``.

    Source: Fan, Weber, Barroso, ISCA 2007, doi:10.1145/1250662.1250665, whose power is linear in the utilisation.

    Args:
        idle_power: W.
        busy_power: W.
        idle: Time without a task, s.
        busy: Time with a task, s.

    Raises:
        HetgymError: If an argument is negative or not finite.
    """
    require_non_negative(idle_power=idle_power, busy_power=busy_power, idle=idle, busy=busy)
    return idle_power * idle + busy_power * busy


def cycle_energy(kappa: float, cycles: Quantity, frequency: Quantity) -> Quantity:
    """Returns the energy of a computation at a clock rate that sets the voltage, J: ``kappa * cycles * frequency**2``.

    It is `dynamic_power` for ``cycles / frequency`` seconds, the voltage being proportional to the frequency.

    Source: Mao, You, Zhang, Huang, Letaief, IEEE Communications Surveys & Tutorials 19(4), 2017,
    doi:10.1109/COMST.2017.2745201, section II.

    Args:
        kappa: Effective switched capacitance, J s^2 per cycle; offloading papers take 1e-28 to 1e-26.
        cycles: Clock cycles of the computation.
        frequency: Clock rate, Hz.

    Raises:
        HetgymError: If an argument is negative or not finite.
    """
    require_non_negative(kappa=kappa, cycles=cycles, frequency=frequency)
    return kappa * cycles * frequency * frequency


_Numbers = float | NDArray[np.float64]


def require_non_negative(**quantities: _Numbers) -> None:
    """Checks quantities by their names.

    Raises:
        HetgymError: If one is negative or not finite.
    """
    for name, given in quantities.items():
        refuse_unless(np.greater_equal(given, 0) & np.isfinite(given), name, given, "finite and not negative")


def require_positive(**quantities: _Numbers) -> None:
    """Checks quantities by their names.

    Raises:
        HetgymError: If one is not greater than 0, or not finite.
    """
    for name, given in quantities.items():
        refuse_unless(np.greater(given, 0) & np.isfinite(given), name, given, "finite and greater than 0")


def _require_fraction(**quantities: _Numbers) -> None:
    for name, given in quantities.items():
        refuse_unless(np.greater(given, 0) & np.less_equal(given, 1), name, given, "greater than 0 and at most 1")


def refuse_unless(good: NDArray[np.bool_], name: str, given: _Numbers, right: str) -> None:
    """Checks a quantity.

    Args:
        good: Whether it is right, for each number.
        name: What it is called.
        given: The quantity.
        right: What would be right.

    Raises:
        HetgymError: If it is not right everywhere.
    """
    if not np.all(good):
        first = np.asarray(given)[~np.asarray(good)].flat[0]
        raise HetgymError(f"{name} must be {right} (given: {first:g})")
