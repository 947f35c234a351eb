"""A platform: the devices, links and memory tiers that a workload runs on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import networkx as nx
import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import HetgymError, one_line, read_text, unknown_name

PRESETS = Path(__file__).parent / "presets"

Name = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Device(_Frozen):
    """Something that runs one task at a time.

    Attributes:
        name: Unique on its platform.
        kind: What durations are looked up by; devices of one kind run the same tasks.
        speed: Speed relative to the device that the durations of this kind were measured on.
        peak_flops: Peak rate by precision ("fp32", "int8", ...), FLOP/s.
        memory_bandwidth: To the device's own memory, byte/s.
        idle_power: Power while nothing runs, W.
        busy_power: Power while a task runs, W.
    """

    name: Name
    kind: Name
    speed: Positive = 1.0
    peak_flops: dict[str, Positive] = {}
    memory_bandwidth: Positive | None = None
    idle_power: NonNegative = 0.0
    busy_power: NonNegative = 0.0


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
        links: Data between two devices takes the path of fewest links, ties by the order of this list.
        memories: Memory tiers, fastest first.
    """

    name: Name
    description: str = ""
    source: str = ""
    devices: Annotated[tuple[Device, ...], Field(min_length=1)]
    links: tuple[Link, ...] = ()
    memories: tuple[Memory, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Platform:
        names = [device.name for device in self.devices] + [memory.name for memory in self.memories]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the name {twice[0]!r} is given to several devices or memories; names must be unique")
        graph = self._graph
        for device in self.devices[1:]:
            if not nx.has_path(graph, self.devices[0].name, device.name):
                raise ValueError(
                    f"no path of links joins devices {self.devices[0].name!r} and {device.name!r}; add a link"
                )
        return self

    @cached_property
    def _graph(self) -> nx.Graph[str]:
        graph: nx.Graph[str] = nx.Graph()
        graph.add_nodes_from(device.name for device in self.devices)
        for link in self.links:
            for index, end in enumerate(link.between):
                for other in link.between[index + 1 :]:
                    if not graph.has_edge(end, other):
                        graph.add_edge(end, other, link=link)
        return graph

    @property
    def num_devices(self) -> int:
        """How many devices there are, P."""
        return len(self.devices)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each device."""
        return tuple(device.kind for device in self.devices)

    def route(self, source: str, target: str) -> list[Link]:
        """Returns the links that data from one device or memory to another pass, in order."""
        path = nx.shortest_path(self._graph, source, target)
        return [self._graph.edges[ends]["link"] for ends in pairwise(path)]

    @cached_property
    def latency(self) -> NDArray[np.float64]:
        """Seconds before the first byte arrives, float64 (P, P): the sum along the path, 0 on the diagonal."""
        return self._by_pair(lambda links: sum(link.latency for link in links))

    @cached_property
    def seconds_per_byte(self) -> NDArray[np.float64]:
        """Seconds per byte, float64 (P, P): that of the narrowest link of the path, 0 on the diagonal."""
        return self._by_pair(lambda links: max(1.0 / link.bandwidth for link in links))

    def _by_pair(self, value: Callable[[list[Link]], float]) -> NDArray[np.float64]:
        matrix = np.zeros((self.num_devices, self.num_devices))
        for i, source in enumerate(self.devices):
            for j, target in enumerate(self.devices):
                if i != j:
                    matrix[i, j] = value(self.route(source.name, target.name))
        matrix.flags.writeable = False
        return matrix

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
    try:
        return Platform.model_validate(yaml.safe_load(read_text(path, "platform")))
    except yaml.YAMLError as error:
        raise HetgymError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise one_line(error, str(path)) from error
