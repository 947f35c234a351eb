"""One episode of offloading, fully realised: what arrives, what serves it, and how the channel fades."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import HetgymError

FloatArray = NDArray[np.float64]
Records = NDArray[Any]

Sharing = Literal["dedicated", "equal", "interference"]
SHARINGS: tuple[Sharing, ...] = ("dedicated", "equal", "interference")
"""In the order of their codes."""

REQUEST = np.dtype(
    [
        ("arrival", np.float64),  # seconds
        ("user", np.int64),
        ("kind", np.int64),
        ("size", np.float64),  # bits, tokens of a prompt, ...
        ("work", np.float64),  # cycles, tokens of an answer, ...
        ("deadline", np.float64),  # seconds after the arrival; inf for none
    ],
    align=True,
)
"""What has to be computed."""

USER = np.dtype(
    [
        ("device", np.int64),  # kind of device: the first index of options
        ("speed", np.float64),  # units of work per second
        ("energy", np.float64),  # J per unit of work
        ("power", np.float64),  # W, while it sends
        ("receive_power", np.float64),  # W
        ("idle_power", np.float64),  # W, while it waits for a result
    ],
    align=True,
)
"""Who asks for it."""

SERVER = np.dtype(
    [
        ("speed", np.float64),  # of the serial unit, units of work per second
        ("fixed", np.float64),  # of the shared unit, seconds per unit of work
        ("per_job", np.float64),  # seconds per unit of work and request that is there
        ("energy", np.float64),  # J per unit of work
    ],
    align=True,
)
"""What computes it elsewhere."""

ACCESS = np.dtype(
    [
        ("is_radio", np.bool_),  # a cell; else a line
        ("bandwidth", np.float64),  # Hz, up
        ("down_bandwidth", np.float64),  # Hz
        ("noise", np.float64),  # W/Hz
        ("power", np.float64),  # W, with which results are sent
        ("down_ratio", np.float64),  # of a line: rate down / rate up
    ],
    align=True,
)
"""What leads there."""

TARGET = np.dtype(
    [
        ("access", np.int64),
        ("server", np.int64),
        ("backhaul", np.float64),  # bit/s; inf where there is none
        ("latency", np.float64),  # seconds, each way
    ],
    align=True,
)
"""A server behind an access point; the first is target 1."""

OPTION = np.dtype(
    [
        ("exists", np.bool_),
        ("local", np.float64, 4),  # units of work: c0 + c1 size + c2 size^2 + c3 work
        ("serial", np.float64, 4),
        ("shared", np.float64, 4),
        ("up", np.float64, 3),  # bits: c0 + c1 size + c2 work
        ("down", np.float64, 3),
        ("error", np.float64),  # share of answers that are spoilt
    ],
    align=True,
)
"""What a request asks of a target."""

FADING = np.dtype(
    [
        ("kind", np.int64),  # place in `workloads.fading.FADINGS`
        ("k_factor", np.float64),  # of Rician fading: power of the direct path / power of the scattered ones
        ("doppler", np.float64),  # Hz; 0: blocks are independent
    ],
    align=True,
)
"""How a cell's gain fades around its mean."""

FLIGHT = np.dtype(
    [
        ("flies", np.bool_),
        ("x", np.float64),  # metres; the centre of its circle
        ("y", np.float64),
        ("height", np.float64),  # metres
        ("radius", np.float64),  # metres
        ("angular_speed", np.float64),  # rad/s
        ("phase", np.float64),  # rad at time 0
    ],
    align=True,
)
"""Where a flying access point is."""


@dataclass(frozen=True, eq=False)
class Channel:
    """The channel between users and access points, for all time.

    Attributes:
        gain: float64 (K, G), mean power gain of cells that stand still; shadowing as a factor for those that fly; 1 for
            lines.
        block: Seconds in which it is constant; inf for one block.
        sharing: What is shared by those who send at once.
        fading: (G,) of `FADING`.
        flights: (G,) of `FLIGHT`.
        positions: float64 (K, 2), metres; where users are, for cells that fly.
        trace: float64 (G, L), bit/s by block, of lines; each goes round after its `length`.
        length: int64 (G,), blocks, at least 1.
        offset: int64 (K, G), the block of the trace with which each user begins.
        seed: Of the fading.
        episode: Of the fading.
        reach: How many times the mean gain of the best cell may be that of one to which a user sends.
    """

    gain: FloatArray
    block: float
    sharing: Sharing
    fading: Records
    flights: Records
    positions: FloatArray
    trace: FloatArray
    length: NDArray[np.int64]
    offset: NDArray[np.int64]
    seed: int = 0
    episode: int = 0
    reach: float = np.inf

    def value(self, user: int, access: int, block: int, is_radio: bool, fades: bool = True) -> float:
        """Returns the power gain of a cell in a block (the mean, unless `fades`), or the rate of a line in bit/s."""
        from .channel import channel_value

        return float(
            channel_value(
                self.gain, self.fading, self.flights, self.positions, self.trace, self.length, self.offset, self.block,
                self.seed, self.episode, user, access, block, is_radio, fades,
            )
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Instance:
    """One episode.

    Attributes:
        requests: (N,) of `REQUEST`, by rising arrival.
        users: (K,) of `USER`.
        servers: (S,) of `SERVER`.
        accesses: (G,) of `ACCESS`.
        targets: (T,) of `TARGET`; the first is target 1.
        options: (devices, kinds, 1 + T, O) of `OPTION`.
        channel: The channel.
        units: float64 (2,), the delay in seconds and the energy in J by which costs are divided.
        weights: float64 (3,), of delay, energy and misses in the scalar reward.
    """

    requests: Records
    users: Records
    servers: Records
    accesses: Records
    targets: Records
    options: Records
    channel: Channel
    units: FloatArray = field(default_factory=lambda: np.ones(2))
    weights: FloatArray = field(default_factory=lambda: np.array([1.0, 0.0, 0.0]))

    def check(self) -> None:
        """Checks the numbers.

        Raises:
            HetgymError: If one is out of its range; the message says which.
        """
        kinds, users = self.options.shape[1], len(self.users)
        arrival = self.requests["arrival"]
        _require(
            "requests",
            "arrival",
            arrival,
            "finite, not negative and not before the one above",
            np.isfinite(arrival) & (arrival >= 0) & (np.diff(arrival, prepend=0.0) >= 0),
        )
        _require_index("requests", "user", self.requests["user"], users)
        _require_index("requests", "kind", self.requests["kind"], kinds)
        for name in ("size", "work"):
            _require_finite("requests", name, self.requests[name], least=0.0)
        deadline = self.requests["deadline"]
        _require("requests", "deadline", deadline, "not negative", deadline >= 0)
        _require_index("users", "device", self.users["device"], self.options.shape[0])
        for what, name in (("users", "speed"), ("users", "power"), ("servers", "speed")):
            _require_finite(what, name, getattr(self, what)[name], above=0.0)
        for what, name in (
            ("users", "energy"), ("users", "receive_power"), ("users", "idle_power"), ("servers", "fixed"),
            ("servers", "energy"), ("targets", "latency"),
        ):  # fmt: skip
            _require_finite(what, name, getattr(self, what)[name], least=0.0)
        _require_finite("servers", "per_job", self.servers["per_job"], least=0.0)
        _require_finite("servers", "fixed + per_job", self.servers["fixed"] + self.servers["per_job"], above=0.0)
        self._check_ways()

    def _check_ways(self) -> None:
        """Checks what leads to servers."""
        _require_index("targets", "access", self.targets["access"], len(self.accesses))
        _require_index("targets", "server", self.targets["server"], len(self.servers))
        backhaul = self.targets["backhaul"]
        _require("targets", "backhaul", backhaul, "above 0", backhaul > 0)
        cells, lines = self.accesses[self.accesses["is_radio"]], self.accesses[~self.accesses["is_radio"]]
        for name in ("bandwidth", "down_bandwidth", "noise", "power"):
            _require_finite("accesses", name, cells[name], above=0.0)
        _require_finite("accesses", "down_ratio", lines["down_ratio"], above=0.0)
        _require_finite("channel", "gain", self.channel.gain, above=0.0)
        _require("channel", "reach", np.array([self.channel.reach]), "at least 1", np.array([self.channel.reach >= 1]))
        _require("channel", "block", np.array([self.channel.block]), "above 0", np.array([self.channel.block > 0]))
        for access in np.flatnonzero(~self.accesses["is_radio"]).tolist():
            _require_finite("channel", "trace", self.channel.trace[access, : self.channel.length[access]], above=0.0)
        asked = self.options[self.options["exists"]]
        for name in ("local", "serial", "shared", "up", "down", "error"):
            _require_finite("options", name, asked[name], least=0.0)
        if not self.options["exists"].any(axis=(2, 3)).all():
            raise HetgymError("instance: options: for each device and kind one must exist")


def _require(what: str, name: str, values: Records, wanted: str, right: NDArray[np.bool_]) -> None:
    wrong = np.flatnonzero(~right.ravel())
    if wrong.size:
        raise HetgymError(
            f"instance: {what}: {name}: number {wrong[0]} must be {wanted} (given: {values.ravel()[wrong[0]]:g})"
        )


def _require_index(what: str, name: str, values: Records, count: int) -> None:
    _require(what, name, values, f"from 0 to {count - 1}", (values >= 0) & (values < count))


def _require_finite(
    what: str, name: str, values: Records, least: float | None = None, above: float | None = None
) -> None:
    enough = values >= least if least is not None else values > (above or 0.0)
    wanted = f"finite and {'at least' if least is not None else 'above'} {least if least is not None else above:g}"
    _require(what, name, values, wanted, np.isfinite(values) & enough)
