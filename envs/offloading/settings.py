"""The parts of an offloading scenario: users, servers, and what leads to these."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from ...errors import HetgymError, unknown_name
from ...hardware_models import Device, load_platform
from ...hardware_models.radio import MACRO_LOSS, SMALL_CELL_LOSS, dbm_to_watts
from ...workloads.bandwidth import read_bandwidth
from ...workloads.fading import FADINGS
from ...workloads.llm_serving import load_llm_times
from ...workloads.task_graph import FloatArray
from .luck import FIXED, FLYING, LINE, PAIR, SOMEWHERE

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=100_000)]
Interval = Annotated[float, Field(ge=1e-6, allow_inf_nan=False)]
"""Seconds of which an episode has many: much shorter ones would take for ever."""
Range = Positive | tuple[Positive, Positive]

PATH_LOSSES = {"macro": MACRO_LOSS, "small-cell": SMALL_CELL_LOSS}
"""Losses at 1 km and per decade of distance, dB: those of `hardware_models.macro_path_loss` and its sibling."""


class Frozen(BaseModel):
    """Settings that do not change, and whose names are all known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def span(numbers: Range) -> tuple[float, float]:
    """Returns the least and the greatest of a range; a single number is both."""
    return numbers if isinstance(numbers, tuple) else (numbers, numbers)


def middle(numbers: Range) -> float:
    """Returns the middle of a range."""
    low, high = span(numbers)
    return (low + high) / 2


def check_range(numbers: Any) -> Any:
    """Checks that a range rises.

    Raises:
        ValueError: If it does not.
    """
    if isinstance(numbers, tuple) and not numbers[0] <= numbers[1]:
        raise ValueError(f"the first number must not be above the second (given: {numbers[0]:g}, {numbers[1]:g})")
    return numbers


def find_device(name: str) -> Device:
    """Returns a device of a platform.

    Args:
        name: ``platform`` or ``platform/device``, the platform by name or path; without a device the first one.

    Raises:
        HetgymError: If there is none of this name.
    """
    is_platform = "/" not in name or name.endswith((".yaml", ".yml"))
    platform_name, device_name = (name, "") if is_platform else name.rsplit("/", 1)
    devices = {device.name: device for device in load_platform(platform_name).devices}
    if device_name and device_name not in devices:
        raise unknown_name(f"device of platform {platform_name!r}", device_name, list(devices))
    return devices[device_name] if device_name else next(iter(devices.values()))


class Users(Frozen):
    """Who has requests.

    Attributes:
        num_users: K.
        frequency: Of the processor, Hz, or a range from which each user's is drawn; for work in cycles.
        kappa: Effective capacitance: a cycle takes ``kappa frequency^2`` J.
        local: Whether requests can be computed by the user's own device.
        devices: What users have, ``platform/device``, one after the other; for networks and language models.
        transmit_power: W.
        receive_power: W.
        idle_power: W, while a result is waited for.
    """

    num_users: Count = 1
    frequency: Range = 1.0e9
    kappa: NonNegative = 1.0e-27
    local: bool = True
    devices: tuple[str, ...] = ()
    transmit_power: Positive = 0.5
    receive_power: NonNegative = 0.0
    idle_power: NonNegative = 0.0

    _rises = field_validator("frequency")(check_range)

    @field_validator("devices")
    @classmethod
    def _check_devices(cls, devices: tuple[str, ...]) -> tuple[str, ...]:
        for device in devices:
            find_device(device)
        return devices


class Cell(Frozen):
    """A radio cell around each server of a group.

    Attributes:
        bandwidth: Hz, up.
        down_bandwidth: Hz; by default as much.
        power: With which results are sent, W.
        noise_dbm: Density of the noise, dBm/Hz.
        distance: Metres, or a range from which the distance of each user is drawn; without it users and cells have
            places in the square of the scenario's ``area``.
        places: Of the cells, metres; by default they are anywhere.
        path_loss: ``macro``, ``small-cell``, or the losses at 1 km and per decade of distance in dB.
        shadowing: Standard deviation, dB.
        fading: ``none``, ``rayleigh`` or ``rician``.
        k_factor: Of Rician fading.
        doppler: Hz; 0: blocks are independent.
        height: Metres; cells that have a height fly, in circles around their places, and their path loss is that of
            `hardware_models.uav_path_loss`.
        radius: Of these circles, metres.
        speed: On these circles, m/s.
    """

    kind: Literal["cell"] = "cell"
    bandwidth: Positive
    down_bandwidth: Positive | None = None
    power: Positive = 1.0
    noise_dbm: Annotated[float, Field(ge=-300, le=300)] = -174.0
    distance: Range | None = None
    places: tuple[tuple[float, float], ...] = ()
    path_loss: Literal["macro", "small-cell"] | tuple[float, NonNegative] = "macro"
    shadowing: NonNegative = 0.0
    fading: Literal["none", "rayleigh", "rician"] = "none"
    k_factor: NonNegative = 0.0
    doppler: NonNegative = 0.0
    height: Positive | None = None
    radius: NonNegative = 0.0
    speed: NonNegative = 0.0

    _rises = field_validator("distance")(check_range)

    @model_validator(mode="after")
    def _check_flight(self) -> Cell:
        if self.height is None and (self.radius or self.speed):
            raise ValueError("radius and speed are of cells that fly: give them a height")
        if self.height is not None and (self.distance is not None or not self.places):
            raise ValueError("cells that fly need places, around which they fly, and no distance")
        if self.speed and not self.radius:
            raise ValueError("speed: cells that move need a radius above 0")
        return self

    @property
    def losses(self) -> tuple[float, float]:
        """Loss at 1 km and per decade of distance, dB."""
        return PATH_LOSSES[self.path_loss] if isinstance(self.path_loss, str) else self.path_loss

    def access(self) -> tuple[bool, float, float, float, float, float]:
        """Returns it as an `instance.ACCESS`."""
        down = self.down_bandwidth or self.bandwidth
        return True, self.bandwidth, down, dbm_to_watts(self.noise_dbm), self.power, 1.0

    def placement(self, number: int) -> tuple[int, float, float, float, float, float, float, float, bool]:
        """Returns a `luck.PLACEMENT` of the cell of so many."""
        x, y = self.places[number] if self.places else (0.0, 0.0)
        low, high = span(self.distance) if self.distance is not None else (0.0, 0.0)
        kind = PAIR if self.distance is not None else FIXED if self.places else SOMEWHERE
        if self.height is not None:
            kind = FLYING
        return (kind, low, high, x, y, *self.losses, self.shadowing, False)

    def faded(self) -> tuple[int, float, float]:
        """Returns an `instance.FADING`."""
        return FADINGS.index(self.fading), self.k_factor, self.doppler

    def flight(self, number: int) -> tuple[bool, float, float, float, float, float, float]:
        """Returns an `instance.FLIGHT` of the cell of so many; cells are spread over their circles."""
        if self.height is None:
            return False, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0
        x, y = self.places[number]
        phase = 2.0 * np.pi * number / max(len(self.places), 1)
        angular = self.speed / self.radius if self.radius else 0.0
        return True, x, y, self.height, self.radius, angular, phase


class Line(Frozen):
    """A line to each server of a group, whose rate is known.

    Attributes:
        rate: bit/s, if it is constant.
        path: A CSV file of recorded rates instead, one row a block; in a YAML scenario, relative to that file.
        column: Of the rates.
        scale: Rates are multiplied by this: 1e6 where they are in Mbit/s.
        least: Rates below it are raised to it, bit/s: a rate of 0 would be refused.
        time_column: Of times in seconds, if rows are not blocks.
        down_ratio: Rate down / rate up.
        begins_anywhere: Whether each user begins at a place of the record that is drawn; else at its beginning.
    """

    kind: Literal["line"] = "line"
    rate: Positive | None = None
    path: Path | None = None
    column: str = "bandwidth"
    scale: Positive = 1.0
    least: NonNegative = 0.0
    time_column: str | None = None
    down_ratio: Positive = 1.0
    begins_anywhere: bool = True

    @field_validator("path")
    @classmethod
    def _beside_scenario(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return info.context["folder"] / path if path and info.context else path

    @model_validator(mode="after")
    def _check(self) -> Line:
        if (self.rate is None) == (self.path is None):
            raise ValueError("a line needs either a rate or a path to recorded rates")
        return self

    def rates(self, block: float) -> FloatArray:
        """Returns what it gave, bit/s by block.

        Args:
            block: Seconds.

        Raises:
            HetgymError: If there is no such record, or it is not right.
        """
        if self.path is None:
            return np.array([self.rate])
        if not np.isfinite(block):
            raise HetgymError(f"{self.path}: recorded rates need a block of so many seconds in the scenario")
        rates = np.maximum(read_bandwidth(self.path, self.column, self.scale, self.time_column, block), self.least)
        low = np.flatnonzero(rates <= 0)
        if low.size:
            raise HetgymError(
                f"{self.path}: {self.column}: block {low[0]} must have a rate above 0 bit/s; give a 'least' rate"
            )
        return rates

    def access(self) -> tuple[bool, float, float, float, float, float]:
        """Returns it as an `instance.ACCESS`."""
        return False, 0.0, 0.0, 0.0, 0.0, self.down_ratio

    def placement(self, number: int) -> tuple[int, float, float, float, float, float, float, float, bool]:
        """Returns a `luck.PLACEMENT`."""
        return LINE, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, self.begins_anywhere and self.path is not None

    def faded(self) -> tuple[int, float, float]:
        """Returns an `instance.FADING`."""
        return 0, 0.0, 0.0

    def flight(self, number: int) -> tuple[bool, float, float, float, float, float, float]:
        """Returns an `instance.FLIGHT`."""
        return False, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0


class Servers(Frozen):
    """Servers of one sort.

    Attributes:
        count: How many.
        frequency: Hz, or a range from which each server's is drawn; for work in cycles.
        kappa: A cycle takes ``kappa frequency^2`` J; 0 where the servers' energy is not counted.
        device: What computes networks there, ``platform/device``.
        model: What a language model takes there: a name or path for `workloads.load_llm_times`.
        counts_energy: Whether the power of the device, or of a model's accelerators, is counted.
        discipline: ``ps``: requests share the server; ``fcfs``: first come, first served.
        access: The cell or line that leads there; None: all cells of the edge do.
        backhaul: Between access point and server, bit/s; none by default.
        latency: Seconds, each way.
    """

    count: Annotated[int, Field(ge=1, le=1000)] = 1
    frequency: Range = 2.0e9
    kappa: NonNegative = 0.0
    device: str | None = None
    model: str | None = None
    counts_energy: bool = False
    discipline: Literal["ps", "fcfs"] = "ps"
    access: Annotated[Cell | Line, Field(discriminator="kind")] | None = None
    backhaul: Positive | None = None
    latency: NonNegative = 0.0

    _rises = field_validator("frequency")(check_range)

    @field_validator("device")
    @classmethod
    def _check_device(cls, device: str | None) -> str | None:
        if device is not None:
            find_device(device)
        return device

    @field_validator("model")
    @classmethod
    def _check_model(cls, model: str | None) -> str | None:
        if model is not None:
            load_llm_times(model)
        return model

    @model_validator(mode="after")
    def _check_places(self) -> Servers:
        if isinstance(self.access, Cell) and self.access.places and len(self.access.places) != self.count:
            raise ValueError(
                f"places: there must be {self.count}, as many as servers (given: {len(self.access.places)})"
            )
        return self
