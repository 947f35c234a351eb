"""What a workload runs on: devices, links and memory tiers."""

from .platform import Device, Link, Memory, Platform, list_platforms, load_platform

__all__ = ["Device", "Link", "Memory", "Platform", "list_platforms", "load_platform"]
