"""What a workload runs on: devices, links and memory tiers, and what work costs there."""

from .costs import (
    busy_idle_energy,
    cycle_energy,
    dynamic_power,
    measured_time,
    operation_time,
    roofline_time,
    static_dynamic_energy,
    transfer_time,
)
from .hierarchy import MemoryHierarchy, memory_hierarchy
from .platform import Device, Link, Memory, OperatingPoint, Platform, list_platforms, load_platform

__all__ = [
    "Device",
    "Link",
    "Memory",
    "MemoryHierarchy",
    "OperatingPoint",
    "Platform",
    "busy_idle_energy",
    "cycle_energy",
    "dynamic_power",
    "list_platforms",
    "load_platform",
    "measured_time",
    "memory_hierarchy",
    "operation_time",
    "roofline_time",
    "static_dynamic_energy",
    "transfer_time",
]
