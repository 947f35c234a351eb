"""What it costs to hold weights, to load them, and to compute with them: shared by all that is cached."""

from __future__ import annotations

import math
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike

from ..errors import HetgymError, unknown_name
from ..hardware_models import Device, MemoryHierarchy, operation_time, transfer_time
from ..hardware_models.hierarchy import SIXTEEN_BITS
from .task_graph import FloatArray

PARAMETER_BYTES = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5}
"""Bytes of a weight by precision, without scales."""

SCALE_BYTES = 2.0
"""Of the scale that a group of weights shares."""

ACTIVATION_BYTES = 2.0
"""Of a number that is computed, and of a weight that is not held at a precision of its own."""

WEIGHT_ERROR = {"fp32": 0.0, "fp16": 0.0, "bf16": 0.0, "fp8": 0.027, "int8": 0.0065, "int4": 0.11}
"""Root mean square error of normal weights by precision, relative to the weights; 0 where it is negligible.

For integers of b bits, weights are rounded to steps of which 2^b - 1 lie between minus and plus the largest of a group
of 128, which is about 2.85 deviations: 2 x 2.85 / (2^b - 1) / sqrt(12). For fp8, to three bits of mantissa."""


class ItemSeconds(TypedDict):
    """Times of items, s, float64 (N,): with n tokens an item takes ``max(floor, n * slope)``."""

    device_floor_high: FloatArray
    device_floor_low: FloatArray
    device_slope: FloatArray
    cpu_floor: FloatArray
    cpu_slope: FloatArray


class MemoryCosts(TypedDict):
    """What the tiers of memory hold and how fast they are loaded from: bytes, byte/s, s."""

    link_bandwidth: float
    link_latency: float
    ssd_bandwidth: float
    ssd_latency: float
    device_memory: float


def weight_bytes(precision: str, scale_group: int | None = None) -> float:
    """Returns the bytes of a weight.

    Args:
        precision: A key of `PARAMETER_BYTES`.
        scale_group: So many weights share a scale of 2 bytes; None: scales are not counted.

    Raises:
        HetgymError: If there is no such precision, or the group is not positive.
    """
    if precision not in PARAMETER_BYTES:
        raise unknown_name("precision", precision, list(PARAMETER_BYTES))
    if scale_group is None:
        return PARAMETER_BYTES[precision]
    if scale_group < 1:
        raise HetgymError(f"scale_group: must be at least 1 weight (given: {scale_group})")
    return PARAMETER_BYTES[precision] + SCALE_BYTES / scale_group


def two_precisions(high: str, low: str, scale_group: int | None = None) -> tuple[float, float]:
    """Returns the bytes of a weight at high and at low precision; integers alone have scales.

    Args:
        high: A key of `PARAMETER_BYTES`.
        low: Another, or the same.
        scale_group: As in `weight_bytes`.

    Raises:
        HetgymError: If there is no such precision, ``low`` takes more bytes than ``high``, or the group is not
            positive.
    """
    high_bytes, low_bytes = (
        weight_bytes(precision, scale_group if precision.startswith("int") else None) for precision in (high, low)
    )
    if low_bytes > high_bytes:
        raise HetgymError(f"low: must not take more bytes than high, {high!r} (given: {low!r})")
    return high_bytes, low_bytes


def quality_prices(high: str, low: str, low_price: float | None, skip_price: float) -> tuple[float, float]:
    """Returns the prices of low precision and of leaving out, the first by default from `WEIGHT_ERROR`.

    Raises:
        HetgymError: If a price is negative or not finite.
    """
    if low_price is None:
        low_price = skip_price * max(WEIGHT_ERROR[low] - WEIGHT_ERROR[high], 0.0)
    for name, price in (("skip_price", skip_price), ("low_price", low_price)):
        if not 0 <= price < math.inf:
            raise HetgymError(f"{name}: must be finite and not negative (given: {price})")
    return low_price, skip_price


def sixteen_bits(device: Device) -> str:
    """Returns the precision of 16 bits at which a device is fastest; fp32 if it has a rate for neither."""
    known = [precision for precision in SIXTEEN_BITS if precision in device.peak_flops]
    return max(known, key=lambda precision: device.peak_flops[precision], default="fp32")


def item_seconds(parts: MemoryHierarchy, flop: ArrayLike, high_bytes: ArrayLike, low_bytes: ArrayLike) -> ItemSeconds:
    """Returns how long items take on the accelerator and on the processor, by the roofline model.

    The accelerator computes at 16 bits whatever the precision of the weights, which it reads from its fast memory. The
    processor computes from the slow memory, at 16 bits if it has a rate for that, else at 32; times are inf where there
    is none.

    Args:
        parts: Of the platform.
        flop: Of each item for a token, (N,).
        high_bytes: Of each item at high precision, (N,).
        low_bytes: Of each item at low precision, (N,).
    """
    flop, high, low = (np.atleast_1d(np.asarray(each, np.float64)) for each in (flop, high_bytes, low_bytes))
    nothing = np.zeros_like(flop)
    device, processor = parts.accelerator, parts.processor
    rate = sixteen_bits(device)
    cpu_floor, cpu_slope = np.full_like(flop, np.inf), np.full_like(flop, np.inf)
    if processor is not None:
        slower = sixteen_bits(processor)
        reading = operation_time(processor, "matmul", slower, nothing, high)
        cpu_floor = np.maximum(reading, transfer_time(high, parts.processor_link))
        cpu_slope = operation_time(processor, "matmul", slower, flop, nothing)
    return {
        "device_floor_high": operation_time(device, "matmul", rate, nothing, high),
        "device_floor_low": operation_time(device, "matmul", rate, nothing, low),
        "device_slope": operation_time(device, "matmul", rate, flop, nothing),
        "cpu_floor": cpu_floor,
        "cpu_slope": cpu_slope,
    }


def memory_costs(parts: MemoryHierarchy) -> MemoryCosts:
    """Returns what the tiers of memory cost."""
    return {
        "link_bandwidth": parts.bandwidth,
        "link_latency": parts.latency,
        "ssd_bandwidth": parts.storage_bandwidth,
        "ssd_latency": parts.storage_latency,
        "device_memory": parts.fast.capacity,
    }
