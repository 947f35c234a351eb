"""The continuous face of offloading: the best share, power and speed for one request, and the share in closed form.

**Why the best decision can be found.** A request of which a share f goes is to end D seconds from now. Its local part,
of L(f) units, then has T = D - wait seconds, and takes energy in proportion to L max(L / (speed T), least factor)^2; its
remote part, of U(f) bits, has a = D - wait - (what follows) seconds of airtime, and takes max(a g(U / a), U s), with
g(r) = (2^(r / W) - 1) noise / gain the power for a rate and s the J per bit at the least power. The first is the greater
of L and of the perspective T (L / T)^3 of a cube, the second of U and of the perspective of g; perspectives of convex
functions are convex (Boyd, Vandenberghe, Convex Optimization, 2004, section 3.2.6), both rise with L and U and fall with
T and a, L is convex in f, U linear, T and a concave in (f, D). So the cost is convex in (f, D), its least over D is
convex in f, and two golden-section searches, one in the other, find the optimum (Kiefer, Proceedings of the American
Mathematical Society 4(3), 1953, doi:10.1090/S0002-9939-1953-0055639-3). That all or nothing is sent, which saves what the
other part takes whatever its size, is compared with it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...compilation import handle_kernel, inner
from ...envs import Simulator
from ...envs.core.simulator import Arrays
from ...envs.offloading.advance import LEAST_POWER, LEAST_SPEED, best_rate
from ...envs.offloading.channel import block_at, value_at
from ...envs.offloading.forecast import others_sending
from ...envs.offloading.instance import FloatArray, Instance, Records
from ...envs.offloading.rules import DELAY, ENERGY, MISSES
from ...envs.offloading.state import TRANSIT, World, episode_at
from ...errors import HetgymError
from ...hardware_models.radio import rate_of
from ..heuristics.offloading.policy import offloading

_STEPS = 45
"""Of a golden-section search: its interval shrinks to 4e-10."""

_GOLDEN = (math.sqrt(5) - 1) / 2

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


def _at(terms: FloatArray, share: float) -> float:
    return float(terms[0] + share * (terms[1] + share * terms[2]))


@dataclass(frozen=True, eq=False)
class _Decision:
    """One request and what it finds. Terms are of quadratic polynomials of the share that stays or goes.

    Nobody leaves the shared unit, and the channel stays as it is.

    Attributes:
        local: Terms of the seconds of the local part at full speed.
        local_power: W, of the processor at full speed.
        up: Terms of the bits of the remote part.
        rest: Terms of the seconds from the begin of its serial work to its end.
        joules: Terms of the energy that it takes in these.
        imposed: Terms of the seconds for which it delays others.
        latency: Seconds.
        found: `SURROUNDINGS`; waiting times are from now.
        power: Of the radio, W.
        idle_power: W.
        bandwidth: Hz; 0 of a line.
        noise: Noise and interference / gain, W.
        slowest: bit/s, at the least power.
        fastest: bit/s, at full power.
        deadline: Seconds from now.
        prices: Cost of a second, a J and a miss.
        errors: Of what is done locally alone, and of what is not.
    """

    local: FloatArray
    local_power: float
    up: FloatArray
    rest: FloatArray
    joules: FloatArray
    imposed: FloatArray
    latency: float
    found: Any
    power: float
    idle_power: float
    bandwidth: float
    noise: float
    slowest: float
    fastest: float
    deadline: float
    prices: tuple[float, float, float]
    errors: tuple[float, float]

    @classmethod
    def of(cls, instance: Instance, request: Any, found: Any) -> _Decision:
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

        channel, bandwidth = found["channel"], access["bandwidth"] / found["number"]
        noise = access["noise"] * bandwidth + found["interference"]
        if access["is_radio"]:
            slowest, fastest = (
                rate_of(share * user["power"], channel, bandwidth, access["noise"], found["interference"])
                for share in (LEAST_POWER, 1.0)
            )
            down_rate = rate_of(access["power"], channel, access["down_bandwidth"], access["noise"], 0.0)
        else:
            slowest = fastest = channel / found["number"]
            down_rate = channel * access["down_ratio"]
        serial, shared = units(remote["serial"]), units(remote["shared"])
        coming = bits(remote["down"]) / min(down_rate, target["backhaul"])
        pace = server["fixed"] + server["per_job"] * (1 + found["others"])
        waits = serial / server["speed"] + pace * shared + np.array([target["latency"], 0.0, 0.0])
        weights, units_of = instance.weights, instance.units
        return cls(
            local=units(own["local"]) / user["speed"],
            local_power=float(user["energy"] * user["speed"]),
            up=bits(remote["up"]),
            rest=waits + coming,
            joules=user["idle_power"] * waits + user["receive_power"] * coming + server["energy"] * (serial + shared),
            imposed=server["per_job"] * found["others"] * shared,
            latency=float(target["latency"]),
            found={name: found[name].item() for name in SURROUNDINGS.names or ()},
            power=float(user["power"]),
            idle_power=float(user["idle_power"]),
            bandwidth=float(bandwidth) if access["is_radio"] else 0.0,
            noise=float(noise / channel),
            slowest=float(min(slowest, target["backhaul"])),
            fastest=float(min(fastest, target["backhaul"])),
            deadline=float(request["deadline"] - found["age"]),
            prices=(weights[DELAY] / units_of[DELAY], weights[ENERGY] / units_of[ENERGY], weights[MISSES]),
            errors=(float(own["error"]), float(remote["error"])),
        )

    def best(self) -> SplitChoice:
        """Returns the decision of least cost."""
        limits = [math.inf]
        if self.prices[MISSES] > 0 and 0 < self.deadline < math.inf:
            limits.append(self.deadline * (1 - _ROUNDING))
        tried = []
        for limit in limits:
            between = _least(lambda share, limit=limit: self._within(share, limit)[:2], 0.0, 1.0)
            for share in (0.0, 1.0, between):
                excess, _, end = self._within(share, limit)
                if excess <= 0:
                    tried.append((self._cost_with_miss(share, end), share, end))
        cost, share, end = min(tried)
        return SplitChoice(cost, share, self._power(share, end), self._factor(share, end))

    def even_share(self) -> float:
        """Returns the share with which both parts end together, with full power and speed.

        The local part takes less time the more is sent, the remote part more, both in proportion: they meet where two
        straight lines do. It is remote that is begun at the later of two times, so there are two such lines, and what
        is sent is the less of both. If they meet at no share, all or nothing is sent. Where work is not in proportion
        to size, a line stands for it that is right for nothing and for all.
        """
        longest, shortest = (self.found["processor_wait"] + _at(self.local, share) for share in (1.0, 0.0))
        shares = []
        for wait, seconds_per_bit in (
            (self.found["radio_wait"] + self.latency, 1 / self.fastest),
            (self.found["serial_wait"], 0.0),
        ):
            first, last = (
                wait + _at(self.up, share) * seconds_per_bit + _at(self.rest, share) for share in (0.0, 1.0)
            )
            slope = longest - shortest + last - first
            shares.append((longest - first) / slope if slope > 0 else float(longest > first))
        return min(max(min(shares), 0.0), 1.0)

    def _within(self, share: float, limit: float) -> tuple[float, float, float]:
        """Returns by how much a share is too much or too little to end within a limit, its least cost, and its end.

        All in seconds from now; without a miss.
        """
        soonest, latest = self._end(share, 1.0, self.fastest), self._end(share, LEAST_SPEED, self.slowest)
        if soonest > limit:
            return soonest - limit, math.inf, soonest
        end = _least(lambda end: self._cost(share, end), soonest, max(min(latest, limit), soonest))
        return 0.0, self._cost(share, end), end

    def _end(self, share: float, factor: float, rate: float) -> float:
        """Returns when a request ends, seconds from now."""
        end = 0.0
        if self._seconds(share) > 0:
            end = self.found["processor_wait"] + self._seconds(share) / factor
        if share > 0:
            sent = self.found["radio_wait"] + _at(self.up, share) / rate
            end = max(end, max(sent + self.latency, self.found["serial_wait"]) + _at(self.rest, share))
        return end

    def _seconds(self, share: float) -> float:
        """Returns how long the local part takes at full speed."""
        return _at(self.local, 1.0 - share) if share < 1 else 0.0

    def _airtime(self, share: float, end: float) -> float:
        """Returns for how long the remote part is sent if it is to end at a time: as long as it may."""
        bits = _at(self.up, share)
        longest = end - self.found["radio_wait"] - self.latency - _at(self.rest, share)
        return min(max(longest, bits / self.fastest), bits / self.slowest)

    def _power(self, share: float, end: float) -> float:
        """Returns the power with which the remote part is sent, W."""
        least = LEAST_POWER * self.power
        airtime = self._airtime(share, end) if share > 0 else 0.0
        if airtime <= 0 or not self.bandwidth:
            return least
        needed = self.noise * math.expm1(_at(self.up, share) / airtime / self.bandwidth * math.log(2))
        return min(max(needed, least), self.power)

    def _factor(self, share: float, end: float) -> float:
        """Returns the speed of the processor."""
        seconds = self._seconds(share)
        longest = end - self.found["processor_wait"]
        return min(max(seconds / longest, LEAST_SPEED), 1.0) if seconds > 0 else LEAST_SPEED

    def _cost(self, share: float, end: float) -> float:
        """Returns the cost of a request that ends at a time, without a miss."""
        delay = self.found["age"] + end
        energy = self.local_power * self._seconds(share) * self._factor(share, end) ** 2
        if share > 0:
            delay += _at(self.imposed, share)
            airtime = self._airtime(share, end)
            sent = self.found["radio_wait"] + airtime
            energy += self._power(share, end) * airtime + _at(self.joules, share)
            energy += self.idle_power * max(self.latency, self.found["serial_wait"] - sent)
        return self.prices[DELAY] * delay + self.prices[ENERGY] * energy

    def _cost_with_miss(self, share: float, end: float) -> float:
        miss = 1.0 if end > self.deadline else self.errors[share > 0]
        return self._cost(share, end) + self.prices[MISSES] * miss


def convex_optimum(instance: Instance, request: int = 0) -> SplitChoice:
    """Returns the best decision of the continuous face for a request that has all to itself.

    It goes to the target with the highest rate, as the rules say. The optimum is exact (to a relative 1e-8), of the
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
    return _Decision.of(instance, asked, found).best()


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


@inner
def _look_around(world: World, b: int, found: Any) -> None:
    episode = episode_at(world, b)
    now, request = episode.status[0].now, episode.request[0]
    target = best_rate(world, episode, b)
    reached = episode.targets[target - 1]
    server = episode.server_state[reached.server]
    block = block_at(now, episode.block)
    found.target, found.age = target, now - request.arrival
    found.channel = value_at(episode, request.user, reached.access, block)
    found.number, found.interference = others_sending(episode, request.user, reached.access, block)
    found.processor_wait = max(episode.user_state[request.user].processor_free - now, 0.0)
    found.radio_wait = world.state.forecasts[b, 1 + (target - 1) * episode.options.shape[3]].radio - now
    found.serial_wait, found.others = max(server.serial_free - now, 0.0), server.num_on_way
    for position in range(episode.status[0].on_way):
        remote = episode.remote[episode.order[position]]
        if remote.server == reached.server and remote.stage <= TRANSIT:
            found.serial_wait += remote.serial


@inner
def _look_around_all(world: World, found: Records) -> None:
    for b in range(found.size):
        _look_around(world, b, found[b])


@handle_kernel
def look_around(handle: Any, found: Records) -> None:
    """Writes what the current request of each episode finds.

    Args:
        handle: Of a `World`.
        found: (B,) of `SURROUNDINGS`.
    """
    _look_around_all(handle.value, found)


class _SharePolicy(ABC):
    """A policy of the continuous face that decides one request after the other."""

    name: str
    clairvoyant = False
    observes = False

    @abstractmethod
    def _decide(self, decision: _Decision) -> tuple[float, float, float]:
        """Returns the share that goes, and the shares of the user's power and speed."""

    def reset(self, simulator: Simulator) -> None:
        """Does nothing more than check.

        Raises:
            HetgymError: If the simulator is of another family, or its face is not continuous.
        """
        if not offloading(self.name, simulator).rules.continuous:
            raise HetgymError(f"policy {self.name!r} decides shares: the scenario must be continuous (continuous: true)")

    def act(self, observation: Arrays, simulator: Simulator) -> NDArray[np.float64]:
        """Returns a share, a power and a speed for each episode, float64 (B, 3) from -1 to 1."""
        played = offloading(self.name, simulator)
        found = np.zeros(played.num_envs, SURROUNDINGS)
        look_around(played.handle, found)
        knobs = np.zeros((played.num_envs, 3))
        for row in np.flatnonzero(~played.state.status["is_over"]):
            decision = _Decision.of(played.instance(row, 0), played.state.request[row], found[row])
            share, power, speed = self._decide(decision)
            knobs[row] = share, (power - LEAST_POWER) / (1 - LEAST_POWER), (speed - LEAST_SPEED) / (1 - LEAST_SPEED)
        return 2.0 * knobs - 1.0


class Convex(_SharePolicy):
    """Minimises each request's forecast cost over share, power and speed, as if nobody left and nothing changed.

    It is the optimum (`convex_optimum`) of a request that is alone on a channel that does not change; elsewhere it is
    myopic, and a heuristic. Each decision takes milliseconds.
    """

    name = "convex"

    def _decide(self, decision: _Decision) -> tuple[float, float, float]:
        best = decision.best()
        return best.fraction, best.power / decision.power, best.factor


class PartialSplit(_SharePolicy):
    """Sends the share with which the local and the remote part end together, with full power and speed."""

    name = "partial-split"

    def _decide(self, decision: _Decision) -> tuple[float, float, float]:
        return decision.even_share(), 1.0, 1.0
