"""Which parts of a platform serve a model that does not fit its fast memory."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import HetgymError
from .platform import Device, Link, Memory, Platform

SIXTEEN_BITS = ("fp16", "bf16")
"""Precisions at which models compute by default."""


@dataclass(frozen=True)
class MemoryHierarchy:
    """An accelerator, the tiers of memory that it reaches, and the processor beside it.

    Attributes:
        accelerator: The device that computes.
        fast: The memory that it computes from.
        slow: The next tier, from which it loads.
        link: What a load passes from there.
        storage: The tier after that, if there is one.
        storage_link: What a load passes from storage to the slow memory.
        processor: The CPU that can compute from the slow memory, if there is one.
        processor_link: What it reads the slow memory through.
    """

    accelerator: Device
    fast: Memory
    slow: Memory
    link: tuple[Link, ...]
    storage: Memory | None
    storage_link: tuple[Link, ...]
    processor: Device | None
    processor_link: tuple[Link, ...]

    @property
    def bandwidth(self) -> float:
        """Of loads from the slow memory, byte/s."""
        return min(self.slow.bandwidth, *(link.bandwidth for link in self.link))

    @property
    def latency(self) -> float:
        """Of loads from the slow memory, s."""
        return sum(link.latency for link in self.link)

    @property
    def storage_bandwidth(self) -> float:
        """Of loads from storage to the slow memory, byte/s; inf where there is no storage."""
        if self.storage is None:
            return math.inf
        return min(self.storage.bandwidth, *(link.bandwidth for link in self.storage_link))

    @property
    def storage_latency(self) -> float:
        """Of loads from storage to the slow memory, s; 0 where there is no storage."""
        return sum(link.latency for link in self.storage_link)


def memory_hierarchy(platform: Platform) -> MemoryHierarchy:
    """Returns the parts of a platform that serve a model.

    - The accelerator is the device of the highest peak rate at 16 bits (fp16 or bf16).
    - Its fast memory is the one on a link of its own whose bandwidth is the device's ``memory_bandwidth``.
    - The slow memory is the fastest of those that have less bandwidth than the fast one, and storage the fastest of
      those that have less than the slow one. So host memory comes before an SSD; where a chip has one memory for all
      its devices, the slow tier is flash, and there is no further one.
    - The processor is the nearest device of kind ``cpu``.

    Ties go to what is fewest links away, then to what the platform lists first.

    Args:
        platform: The platform.

    Raises:
        HetgymError: If it has no such device, fast memory or slow memory.
    """
    accelerator = _accelerator(platform)
    fast = _fast_memory(platform, accelerator)
    slow = _next_tier(platform, accelerator, fast)
    if slow is None:
        raise HetgymError(
            f"platform {platform.name!r}: memories: none that {accelerator.name!r} reaches is slower than "
            f"{fast.name!r}, to load from"
        )
    storage = _next_tier(platform, accelerator, slow)
    cpus = [device.name for device in platform.devices if device.kind == "cpu"]
    nearest = _nearest(platform, accelerator.name, cpus)
    return MemoryHierarchy(
        accelerator=accelerator,
        fast=fast,
        slow=slow,
        link=tuple(platform.route(slow.name, accelerator.name)),
        storage=storage,
        storage_link=tuple(platform.route(storage.name, slow.name)) if storage else (),
        processor=next((device for device in platform.devices if device.name == nearest), None),
        processor_link=tuple(platform.route(slow.name, nearest)) if nearest else (),
    )


def _accelerator(platform: Platform) -> Device:
    rates = [
        max((device.peak_flops.get(precision, 0.0) for precision in SIXTEEN_BITS), default=0.0)
        for device in platform.devices
    ]
    if max(rates) == 0.0:
        raise HetgymError(
            f"platform {platform.name!r}: devices: none has a rate for fp16 or bf16 in peak_flops, to serve a model"
        )
    return platform.devices[rates.index(max(rates))]


def _fast_memory(platform: Platform, accelerator: Device) -> Memory:
    beside = {end for link in platform.links if accelerator.name in link.between for end in link.between}
    for memory in platform.memories:
        if memory.name in beside and memory.bandwidth == accelerator.memory_bandwidth:
            return memory
    raise HetgymError(
        f"platform {platform.name!r}: memories: none on a link of device {accelerator.name!r} has the bandwidth of its "
        f"memory_bandwidth (given: {accelerator.memory_bandwidth})"
    )


def _next_tier(platform: Platform, accelerator: Device, above: Memory) -> Memory | None:
    slower = [memory for memory in platform.memories if memory.bandwidth < above.bandwidth]
    reached = [memory for memory in slower if _is_reached(platform, memory.name, accelerator.name)]
    best = max((memory.bandwidth for memory in reached), default=0.0)
    nearest = _nearest(platform, accelerator.name, [memory.name for memory in reached if memory.bandwidth == best])
    return next((memory for memory in reached if memory.name == nearest), None)


def _is_reached(platform: Platform, source: str, target: str) -> bool:
    try:
        platform.route(source, target)
    except HetgymError:
        return False
    return True


def _nearest(platform: Platform, source: str, ends: Iterable[str]) -> str | None:
    return min(ends, key=lambda end: len(platform.route(end, source)), default=None)
