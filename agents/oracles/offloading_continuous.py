"""The optimum of offloading's continuous face for one request, and the share with which its parts end together.

**Why the optimum can be found.** A request of which a share f goes is to end D seconds from now. Its local part, of
L(f) units, then has T = D - wait seconds, and takes energy in proportion to L max(L / (speed T), least factor)^2; its
remote part, of U(f) bits, has a = D - wait - (what follows) seconds of airtime, and takes max(a g(U / a), U s), with
g(r) = (2^(r / W) - 1) noise / gain the power for a rate and s the J per bit at the least power. The first is made of L
and of the perspective T (L / T)^3 of a cube, the second of U and of the perspective of g; perspectives of convex
functions are convex (Boyd, Vandenberghe, Convex Optimization, 2004, section 3.2.6), both rise with L and U and fall
with T and a, L is convex in f, U linear, T and a concave in (f, D). So the cost is convex in (f, D), and its least over
D is convex in f: two golden-section searches, one in the other, find it (Kiefer, Proceedings of the American
Mathematical Society 4(3), 1953, doi:10.1090/S0002-9939-1953-0055639-3). That all or nothing is sent, which saves what
the other part takes whatever its size, is compared with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...envs.offloading.advance import LEAST_POWER, LEAST_SPEED
from ...envs.offloading.instance import FloatArray, Instance
from ...envs.offloading.rules import DELAY, ENERGY, MISSES
from ...errors import HetgymError
from ...hardware_models.radio import rate_of

_STEPS = 40
"""Of a golden-section search: its interval shrinks to 4e-9."""

_GOLDEN = (math.sqrt(5) - 1) / 2

_LOG_2 = math.log(2)

_SMALLEST = 1e-9
"""Share of a part that is not left out."""

_ROUNDING = 1e-9
"""Relative: how much earlier than its deadline a request is planned to end."""

SURROUNDINGS = np.dtype(
    [
        ("target", np.int64),  # where the rate is highest
        ("channel", np.float64),  # of its access point
        ("number", np.int64),  # of those who share its bandwidth
        ("interference", np.float64),  # W
        ("processor_wait", np.float64),  # seconds
        ("radio_wait", np.float64),  # seconds
        ("serial_wait", np.float64),  # seconds
        ("others", np.int64),  # on their way to the server, or there
        ("age", np.float64),  # seconds since the arrival
    ],
    align=True,
)
"""What a request finds when it is decided."""


_Terms = tuple[float, float, float]


class SplitChoice(NamedTuple):
    """A decision of the continuous face.

    Attributes:
        cost: Weighted and normalised.
        fraction: Share that is sent.
        power: With which it is sent, W.
        factor: Speed of the user's processor, relative to its own.
    """

    cost: float
    fraction: float
    power: float
    factor: float


def _least(value: Callable[[float], Any], low: float, high: float) -> float:
    """Returns where a convex function, or one of convex functions in order of importance, is least on an interval."""
    begin, end = low, high
    left, right = end - _GOLDEN * (end - begin), begin + _GOLDEN * (end - begin)
    at_left, at_right = value(left), value(right)
    for _ in range(_STEPS):
        if at_left <= at_right:
            end, right, at_right = right, left, at_left
            left = end - _GOLDEN * (end - begin)
            at_left = value(left)
        else:
            begin, left, at_left = left, right, at_right
            right = begin + _GOLDEN * (end - begin)
            at_right = value(right)
    return min((low, high, left, right), key=value)


def _at(terms: _Terms, share: float) -> float:
    return terms[0] + share * (terms[1] + share * terms[2])


@dataclass(frozen=True, eq=False)
class SplitDecision:
    """One request and what it finds, as if nobody left the shared unit and the channel stayed as it is.

    Terms are of quadratic polynomials of the share that stays or goes.

    Attributes:
        local: Terms of the seconds of the local part at full speed.
        local_power: W, of the processor at full speed.
        up: Terms of the bits of the remote part.
        rest: Terms of the seconds from the begin of its serial work to its end.
        joules: Terms of the energy that it takes in these.
        imposed: Terms of the seconds for which it delays others.
        latency: Seconds.
        processor_wait: Seconds.
        radio_wait: Seconds.
        serial_wait: Seconds.
        power: Of the radio, W.
        idle_power: W.
        bandwidth: Hz; 0 of a line.
        noise: Noise and interference / gain, W.
        slowest: bit/s, at the least power.
        fastest: bit/s, at full power.
        age: Seconds since the arrival.
        deadline: Seconds from now.
        prices: Cost of a second, a J and a miss.
        errors: Of what is done locally alone, and of what is not.
    """

    local: _Terms
    local_power: float
    up: _Terms
    rest: _Terms
    joules: _Terms
    imposed: _Terms
    latency: float
    processor_wait: float
    radio_wait: float
    serial_wait: float
    power: float
    idle_power: float
    bandwidth: float
    noise: float
    slowest: float
    fastest: float
    age: float
    deadline: float
    prices: tuple[float, float, float]
    errors: tuple[float, float]

    @classmethod
    def of(cls, instance: Instance, request: Any, found: Any) -> SplitDecision:
        """Gathers what a decision depends on.

        Args:
            instance: The episode.
            request: A `REQUEST`.
            found: Its `SURROUNDINGS`.
        """
        user, target = instance.users[request["user"]], instance.targets[found["target"] - 1]
        access, server = instance.accesses[target["access"]], instance.servers[target["server"]]
        options = instance.options[user["device"], request["kind"]]
        own, remote = options[0, 0], options[found["target"], 0]
        size, work = request["size"], request["work"]

        def units(c: FloatArray) -> FloatArray:
            return np.array([c[0], c[1] * size + c[3] * work, c[2] * size * size])

        def bits(c: FloatArray) -> FloatArray:
            return np.array([c[0], c[1] * size + c[2] * work, 0.0])

        serial, shared = units(remote["serial"]), units(remote["shared"])
        slowest, fastest, down_rate = np.minimum(_rates(user, access, found), target["backhaul"]).tolist()
        coming = bits(remote["down"]) / down_rate
        pace = server["fixed"] + server["per_job"] * (1 + found["others"])
        waits = serial / server["speed"] + pace * shared + np.array([target["latency"], 0.0, 0.0])
        joules = user["idle_power"] * waits + user["receive_power"] * coming + server["energy"] * (serial + shared)
        noise = access["noise"] * access["bandwidth"] / found["number"] + found["interference"]
        return cls(
            local=_terms(units(own["local"]) / user["speed"]),
            local_power=float(user["energy"] * user["speed"]),
            up=_terms(bits(remote["up"])),
            rest=_terms(waits + coming),
            joules=_terms(joules),
            imposed=_terms(server["per_job"] * found["others"] * shared),
            latency=float(target["latency"]),
            processor_wait=float(found["processor_wait"]),
            radio_wait=float(found["radio_wait"]),
            serial_wait=float(found["serial_wait"]),
            power=float(user["power"]),
            idle_power=float(user["idle_power"]),
            bandwidth=float(access["bandwidth"] / found["number"]) if access["is_radio"] else 0.0,
            noise=float(noise / found["channel"]),
            slowest=slowest,
            fastest=fastest,
            age=float(found["age"]),
            deadline=float(request["deadline"] - found["age"]),
            prices=_terms(instance.weights / np.append(instance.units, 1.0)),
            errors=(float(own["error"]), float(remote["error"])),
        )

    def best(self) -> SplitChoice:
        """Returns the decision of least cost."""
        limits = [math.inf]
        if self.prices[MISSES] > 0 and 0 < self.deadline < math.inf:
            limits.append(self.deadline * (1 - _ROUNDING))
        best = SplitChoice(math.inf, 0.0, self.power, 1.0)
        for limit in limits:

            def least(share: float, limit: float = limit) -> tuple[float, float]:
                return _Parts.of(self, share).least(limit)[:2]

            for share in (0.0, 1.0, _least(least, _SMALLEST, 1.0 - _SMALLEST)):
                parts = _Parts.of(self, share)
                excess, cost, end = parts.least(limit)
                if excess <= 0:
                    cost += self.prices[MISSES] * (1.0 if end > self.deadline else self.errors[share > 0])
                    best = min(best, SplitChoice(cost, share, parts.power(end), parts.factor(end)))
        return best

    def even_share(self) -> float:
        """Returns the share with which both parts end together, with full power and speed.

        The local part takes less time the more is sent, the remote part more, both in proportion: they meet where two
        straight lines do. The serial unit begins at the later of two times, so there are two lines for the remote
        part, and the share is the less of both. If they meet at no share, all or nothing is sent. Where work is not in
        proportion to size, a line stands for it that is right for nothing and for all.
        """
        longest, shortest = (self.processor_wait + _at(self.local, stays) for stays in (1.0, 0.0))
        shares = []
        for wait, pace in ((self.radio_wait + self.latency, 1 / self.fastest), (self.serial_wait, 0.0)):
            first, last = (wait + _at(self.up, goes) * pace + _at(self.rest, goes) for goes in (0.0, 1.0))
            slope = longest - shortest + last - first
            shares.append((longest - first) / slope if slope > 0 else float(longest > first))
        return min(max(min(shares), 0.0), 1.0)


def _terms(array: FloatArray) -> _Terms:
    first, second, third = array.tolist()
    return first, second, third


def _rates(user: Any, access: Any, found: Any) -> FloatArray:
    """Returns the rates up at the least and at full power, and down, float64 (3,), bit/s."""
    value, number, interference = found["channel"], found["number"], found["interference"]
    if not access["is_radio"]:
        return np.array([value / number, value / number, value * access["down_ratio"]])
    bandwidth = access["bandwidth"] / number
    up = [rate_of(share * user["power"], value, bandwidth, access["noise"], interference) for share in (LEAST_POWER, 1)]
    return np.array([*up, rate_of(access["power"], value, access["down_bandwidth"], access["noise"], 0.0)])


@dataclass(frozen=True, eq=False)
class _Parts:
    """The two parts of a request of which a share is sent. Ends are seconds from now, like limits.

    Attributes:
        whole: The request.
        goes: Whether anything is sent.
        seconds: That the local part takes at full speed.
        bits: Of the remote part.
        rest: Seconds from the begin of its serial work to its end.
        base: Cost that depends on the share alone.
    """

    whole: SplitDecision
    goes: bool
    seconds: float
    bits: float
    rest: float
    base: float

    @classmethod
    def of(cls, whole: SplitDecision, share: float) -> _Parts:
        """Cuts a request.

        Args:
            whole: The request.
            share: That is sent.
        """
        seconds = _at(whole.local, 1.0 - share) if share < 1 else 0.0
        base = whole.prices[DELAY] * whole.age
        if share <= 0:
            return cls(whole, False, seconds, 0.0, 0.0, base)
        base += whole.prices[DELAY] * _at(whole.imposed, share) + whole.prices[ENERGY] * _at(whole.joules, share)
        return cls(whole, True, seconds, _at(whole.up, share), _at(whole.rest, share), base)

    def least(self, limit: float) -> tuple[float, float, float]:
        """Returns by how much the soonest end is above a limit, the least cost without a miss, and the end for it."""
        soonest, latest = self._end(1.0, self.whole.fastest), self._end(LEAST_SPEED, self.whole.slowest)
        if soonest > limit:
            return soonest - limit, math.inf, soonest
        end = _least(self._cost, soonest, min(latest, limit))
        return 0.0, self._cost(end), end

    def _end(self, factor: float, rate: float) -> float:
        whole, end = self.whole, 0.0
        if self.seconds > 0:
            end = whole.processor_wait + self.seconds / factor
        if self.goes:
            reached = whole.radio_wait + self.bits / rate + whole.latency
            end = max(end, max(reached, whole.serial_wait) + self.rest)
        return end

    def factor(self, end: float) -> float:
        """Returns the speed of the processor, relative to its own, with which the local part ends at a time."""
        if self.seconds <= 0:
            return LEAST_SPEED
        return min(max(self.seconds / (end - self.whole.processor_wait), LEAST_SPEED), 1.0)

    def _airtime(self, end: float) -> float:
        longest = end - self.rest - self.whole.latency - self.whole.radio_wait
        return min(max(longest, self.bits / self.whole.fastest), self.bits / self.whole.slowest)

    def power(self, end: float) -> float:
        """Returns the power with which the remote part ends at a time, W."""
        whole = self.whole
        if self.bits <= 0 or not whole.bandwidth:
            return LEAST_POWER * whole.power
        needed = whole.noise * math.expm1(self.bits / self._airtime(end) / whole.bandwidth * _LOG_2)
        return min(max(needed, LEAST_POWER * whole.power), whole.power)

    def _cost(self, end: float) -> float:
        """Returns the cost of ending at a time, without a miss."""
        whole = self.whole
        energy = whole.local_power * self.seconds * self.factor(end) ** 2
        if self.goes:
            airtime = self._airtime(end)
            energy += self.power(end) * airtime
            energy += whole.idle_power * max(whole.latency, whole.serial_wait - whole.radio_wait - airtime)
        return self.base + whole.prices[DELAY] * end + whole.prices[ENERGY] * energy


def convex_optimum(instance: Instance, request: int = 0) -> SplitChoice:
    """Returns the best decision of the continuous face for a request that has all to itself.

    It goes to the target with the highest rate, as the rules say. The optimum is exact, to a relative 1e-6, of the
    cost that the simulator charges for an episode of this request alone.

    Args:
        instance: Its channel does not change.
        request: Which.

    Raises:
        HetgymError: If there is no such request, nothing can stay or go, the channel changes, or work is concave in
            the size.
    """
    if not 0 <= request < len(instance.requests):
        raise HetgymError(f"request: must be from 0 to {len(instance.requests) - 1} (given: {request})")
    if math.isfinite(instance.channel.block):
        raise HetgymError(f"convex: the channel must not change: no block (given: {instance.channel.block:g} s)")
    asked = instance.requests[request]
    found = _alone(instance, asked)
    options = instance.options[instance.users["device"][asked["user"]], asked["kind"]]
    own, remote = options[0, 0], options[found["target"], 0]
    if not (own["exists"] and remote["exists"]):
        raise HetgymError(f"convex: request {request}: a part must be able to stay, and one to go")
    if min(own["local"][2], remote["serial"][2], remote["shared"][2]) < 0:
        raise HetgymError(f"convex: request {request}: its work must not be concave in its size")
    return SplitDecision.of(instance, asked, found).best()


def _alone(instance: Instance, request: Any) -> Any:
    """Returns the `SURROUNDINGS` of a request that finds nobody."""
    user, found = int(request["user"]), np.zeros(1, SURROUNDINGS)[0]
    fastest = -math.inf
    for number, target in enumerate(instance.targets, 1):
        access = instance.accesses[target["access"]]
        value = instance.channel.value(user, int(target["access"]), 0, bool(access["is_radio"]))
        rate = value
        if access["is_radio"]:
            rate = rate_of(instance.users["power"][user], value, access["bandwidth"], access["noise"], 0.0)
        rate = min(rate, target["backhaul"])
        if rate > fastest:
            fastest, found["target"], found["channel"] = rate, number, value
    found["number"] = 1
    return found
