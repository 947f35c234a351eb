"""A platform: the devices, links and memory tiers that a workload runs on."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import HetgymError, one_line, read_yaml, unknown_name

PRESETS = Path(__file__).parent / "presets"

Name = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OperatingPoint(_Frozen):
    """A clock rate at which a device can run, with the voltage that it needs (DVFS).

    Attributes:
        frequency: Hz.
        voltage: V.
        speed: Speed relative to the same device at its highest operating point.
        busy_power: Power while a task runs at this point, W.
    """

    frequency: Positive
    voltage: Positive
    speed: Fraction
    busy_power: NonNegative


class Device(_Frozen):
    """Something that runs one task at a time.

    Speeds, rates and powers are those of the highest operating point.

    Attributes:
        name: Unique on its platform.
        kind: What durations are looked up by; devices of one kind run the same tasks.
        speed: Speed relative to the device that the durations of this kind were measured on.
        peak_flops: Peak rate by precision ("fp32", "int8", ...), FLOP/s; OP/s for integers.
        memory_bandwidth: Peak rate to the device's own memory, byte/s.
        efficiency: Fraction of the peak that real kernels reach, by operation class: "matmul", "attention",
            "convolution", or any other, of `peak_flops`; "memory" of `memory_bandwidth`.
        idle_power: Power while nothing runs, W.
        busy_power: Power while a task runs, W.
        operating_points: DVFS steps by rising frequency; none where the clock is fixed or its steps are not known.
    """

    name: Name
    kind: Name
    speed: Positive = 1.0
    peak_flops: dict[Name, Positive] = {}
    memory_bandwidth: Positive | None = None
    efficiency: dict[Name, Fraction] = {}
    idle_power: NonNegative = 0.0
    busy_power: NonNegative = 0.0
    operating_points: tuple[OperatingPoint, ...] = ()

    @model_validator(mode="after")
    def _check_operating_points(self) -> Device:
        points = self.operating_points
        for low, high in pairwise(points):
            if not (low.frequency < high.frequency and low.speed <= high.speed):
                raise ValueError(
                    f"operating points must rise in frequency and not fall in speed; "
                    f"{high.frequency:g} Hz at speed {high.speed:g} follows {low.frequency:g} Hz at {low.speed:g}"
                )
        if points and (points[-1].speed, points[-1].busy_power) != (1.0, self.busy_power):
            raise ValueError(
                f"the highest operating point must have speed 1 and the device's busy_power, {self.busy_power:g} W; "
                f"it has {points[-1].speed:g} and {points[-1].busy_power:g} W"
            )
        return self

    def steps(self, count: int) -> list[tuple[float, float]]:
        """Returns (speed, busy power in W) of up to so many operating points, from the highest to the lowest.

        Args:
            count: At most so many, evenly spread over those that there are; 1 is the highest alone.
        """
        points = self.operating_points
        if not points:
            return [(1.0, self.busy_power)]
        chosen = np.linspace(len(points) - 1, 0, min(count, len(points))).round().astype(int)
        return [(points[index].speed, points[index].busy_power) for index in chosen]


class Memory(_Frozen):
    """A memory tier.

    Attributes:
        name: Unique on its platform.
        capacity: Bytes.
        bandwidth: Byte/s.
    """

    name: Name
    capacity: Positive
    bandwidth: Positive


class Link(_Frozen):
    """A channel that joins devices, memories and switches, each with each, in both directions.

    Attributes:
        between: Names of what it joins, two or more. A name that is neither a device nor a memory is a switch.
        bandwidth: Byte/s.
        latency: Seconds.
    """

    between: Annotated[tuple[Name, ...], Field(min_length=2)]
    bandwidth: Positive
    latency: NonNegative = 0.0


class Platform(_Frozen):
    """Devices, the links between them, and memory tiers. All numbers are in SI units.

    Attributes:
        name: Lower-case with hyphens.
        description: One sentence.
        source: Where the numbers come from.
        devices: At least one; their order is the order of all per-device arrays.
        links: Data take the path of fewest links, the same one in both directions; ties by the order of this list,
            link by link from that end which is listed first.
        memories: Memory tiers, fastest first; one that each device has for itself is listed once for each.
        processors: Kinds of general-purpose processor besides ``cpu``, which run all that ``cpu`` runs, with their
            speed at ``Device.speed`` 1 relative to a core at the 2.4 GHz of the WfFormat reader.
    """

    name: Name
    description: str = ""
    source: str = ""
    devices: Annotated[tuple[Device, ...], Field(min_length=1)]
    links: tuple[Link, ...] = ()
    memories: tuple[Memory, ...] = ()
    processors: dict[Name, Positive] = {}

    @model_validator(mode="after")
    def _check(self) -> Platform:
        names = self._names
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            raise ValueError(f"the name {twice[0]!r} is given to several devices or memories; names must be unique")
        first = self.devices[0].name
        reached = self._last_steps(first)
        for device in self.devices[1:]:
            if device.name not in reached:
                raise ValueError(f"no path of links joins devices {first!r} and {device.name!r}; add a link")
        for kind in self.processors:
            if kind == "cpu" or kind not in self.kinds:
                raise ValueError(f"processors: {kind!r} must be a kind of its devices besides 'cpu'")
        return self

    @property
    def _names(self) -> list[str]:
        return [device.name for device in self.devices] + [memory.name for memory in self.memories]

    @cached_property
    def _links_at(self) -> dict[str, list[int]]:
        """Positions of the links at each device, memory and switch, which come in this order."""
        links_at: dict[str, list[int]] = {name: [] for name in self._names}
        for position, link in enumerate(self.links):
            for end in link.between:
                links_at.setdefault(end, []).append(position)
        return links_at

    @cached_property
    def _rank(self) -> dict[str, int]:
        return {name: rank for rank, name in enumerate(self._links_at)}

    def _last_steps(self, source: str) -> dict[str, tuple[str, Link]]:
        """Returns, nearest first, all that the source reaches: the end before it on its route, and the last link."""
        steps: dict[str, tuple[str, Link]] = {}
        crossed: set[int] = set()
        frontier = deque([source])
        while frontier:
            here = frontier.popleft()
            for position in self._links_at[here]:
                if position not in crossed:
                    crossed.add(position)
                    link = self.links[position]
                    for end in link.between:
                        if end != source and end not in steps:
                            steps[end] = here, link
                            frontier.append(end)
        return steps

    @property
    def num_devices(self) -> int:
        """How many devices there are, P."""
        return len(self.devices)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each device."""
        return tuple(device.kind for device in self.devices)

    def route(self, source: str, target: str) -> list[Link]:
        """Returns the links that data from one device, memory or switch to another pass, in order.

        Raises:
            HetgymError: If there is no such end, or no path.
        """
        for end in (source, target):
            if end not in self._rank:
                raise unknown_name(f"device or memory of platform {self.name!r}", end, list(self._rank))
        if self._rank[source] > self._rank[target]:
            return self.route(target, source)[::-1]
        steps = self._last_steps(source)
        links: list[Link] = []
        end = target
        while end != source:
            if end not in steps:
                raise HetgymError(f"platform {self.name!r}: no path of links joins {source!r} and {target!r}")
            end, link = steps[end]
            links.insert(0, link)
        return links

    @property
    def latency(self) -> NDArray[np.float64]:
        """Seconds before the first byte arrives, float64 (P, P): the sum along the path, 0 on the diagonal."""
        return self._matrices[0]

    @property
    def seconds_per_byte(self) -> NDArray[np.float64]:
        """Seconds per byte, float64 (P, P): that of the narrowest link of the path, 0 on the diagonal."""
        return self._matrices[1]

    @cached_property
    def _matrices(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        shape = (self.num_devices, self.num_devices)
        latency, seconds_per_byte = np.zeros(shape), np.zeros(shape)
        column = {device.name: index for index, device in enumerate(self.devices)}
        for row, source in enumerate(self.devices):
            costs = {source.name: (0.0, 0.0)}
            for end, (before, link) in self._last_steps(source.name).items():
                delay, slowest = costs[before]
                costs[end] = delay + link.latency, max(slowest, 1.0 / link.bandwidth)
                if column.get(end, -1) > row:
                    latency[row, column[end]], seconds_per_byte[row, column[end]] = costs[end]
        return _symmetric(latency), _symmetric(seconds_per_byte)

    @classmethod
    def fully_connected(cls, name: str, kinds: Iterable[str], bandwidth: float = 1.0) -> Platform:
        """Returns one device of each kind, all joined by one bandwidth without latency.

        Args:
            name: The platform's name.
            kinds: Kind of each device; a device is named after its kind.
            bandwidth: Byte/s between any two devices.
        """
        devices = tuple(Device(name=kind, kind=kind) for kind in kinds)
        names = tuple(device.name for device in devices)
        links = (Link(between=names, bandwidth=bandwidth),) if len(names) > 1 else ()
        return cls(name=name, devices=devices, links=links)


def _symmetric(upper: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = upper + upper.T
    matrix.flags.writeable = False
    return matrix


def list_platforms() -> list[str]:
    """Returns the names of the presets."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_platform(name_or_path: str | Path) -> Platform:
    """Returns a preset by its name, or a platform from a YAML file.

    Args:
        name_or_path: A name from `list_platforms`, or a path that ends in ``.yaml`` or ``.yml``.

    Raises:
        HetgymError: If there is no such preset or file, or the file does not describe a platform.
    """
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        if str(name_or_path) not in list_platforms():
            raise unknown_name("platform", str(name_or_path), [*list_platforms(), "a path to a .yaml file"])
        path = PRESETS / f"{name_or_path}.yaml"
    content = read_yaml(path, "platform")
    try:
        return Platform.model_validate(content)
    except ValidationError as error:
        raise one_line(error, str(path)) from error
