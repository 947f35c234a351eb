"""Offloading in frames, once more in plain Python, as `docs/offloading-frames.md` defines it.

Slow and obvious, to check the kernels by; nothing here is shared with the compiled code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.optimize import brentq


@dataclass(frozen=True)
class FrameRules:
    """The constants of a system.

    Attributes:
        system: Which one.
        duration: Seconds of a frame.
        bandwidth: Hz.
        noise: W/Hz.
        overhead: Bits sent for a bit of data.
        cycles: Cycles for a bit of data.
        kappa: J s^2 per cycle.
        power: W; of the broadcast (`droo`), or the most with which a user sends (`lydroo`).
        efficiency: Of harvesting (`droo`).
        max_frequency: Hz (`lydroo`).
        rate_weight: V, bits (`lydroo`).
        energy_weight: Value of energy, bit^2/J^2 (`lydroo`).
        energy_budget: J of a user in a frame (`lydroo`).
        unit: What rewards are divided by, bit/s (`droo`) or bit^2 (`lydroo`).
    """

    system: Literal["droo", "lydroo"]
    duration: float
    bandwidth: float
    noise: float
    overhead: float
    cycles: float
    kappa: float
    power: float
    efficiency: float = 0.0
    max_frequency: float = 0.0
    rate_weight: float = 0.0
    energy_weight: float = 0.0
    energy_budget: float = 0.0
    unit: float = 1.0

    @property
    def nats(self) -> float:
        """Bits of data that a second carries for each nat/s/Hz."""
        return self.bandwidth / (self.overhead * math.log(2.0))


@dataclass(frozen=True)
class Allocation:
    """What becomes of a frame.

    Attributes:
        shares: Of the frame's time, by user.
        bits: Computed, by user.
        energies: Used, by user, J.
        value: Of the objective, bit/s (`droo`) or bit^2 (`lydroo`).
    """

    shares: list[float]
    bits: list[float]
    energies: list[float]
    value: float


def allocate_droo(
    rules: FrameRules, gains: Sequence[float], weights: Sequence[float], choices: Sequence[int]
) -> Allocation:
    """Returns the best allocation of a frame of a wireless powered network."""
    harvest = [rules.efficiency * rules.power * gain for gain in gains]  # W
    snrs = [power * gain / (rules.noise * rules.bandwidth) for power, gain in zip(harvest, gains, strict=True)]
    senders = [u for u, choice in enumerate(choices) if choice and snrs[u] * weights[u] > 0]
    full_rates = [math.cbrt(power / rules.kappa) / rules.cycles for power in harvest]
    local = sum(weights[u] * full_rates[u] for u, choice in enumerate(choices) if not choice)
    worth = {u: weights[u] * rules.nats for u in senders}

    def log_snr(price: float, u: int) -> float:
        return _root(lambda z: worth[u] * (z + math.expm1(-z)) - price, 0.0, price / worth[u] + 2)

    def log_snrs(price: float) -> dict[int, float]:
        return {u: log_snr(price, u) for u in senders}

    def broadcast(price: float) -> float:
        return 1 / (1 + sum(snrs[u] / math.expm1(z) for u, z in log_snrs(price).items()))

    def time_is_worth_more(price: float) -> float:
        sent = sum(worth[u] * snrs[u] * math.exp(-z) for u, z in log_snrs(price).items())
        return local / 3 / math.cbrt(broadcast(price)) ** 2 + sent - price

    share, shares, bits = 1.0, [0.0] * len(gains), [0.0] * len(gains)
    if senders:
        most = (local / 3 + sum(worth[u] * snrs[u] for u in senders)) * (1 + 1e-9)
        price = _root(time_is_worth_more, max(local / 3, 1e-9 * most), most)
        share = broadcast(price)
        for u, z in log_snrs(price).items():
            shares[u] = share * snrs[u] / math.expm1(z)
            bits[u] = rules.nats * z * shares[u] * rules.duration
    for u, choice in enumerate(choices):
        if not choice:
            bits[u] = full_rates[u] * math.cbrt(share) * rules.duration
    rate = sum(weight * bit for weight, bit in zip(weights, bits, strict=True)) / rules.duration
    return Allocation(shares, bits, [power * share * rules.duration for power in harvest], rate)


def allocate_lydroo(
    rules: FrameRules,
    gains: Sequence[float],
    weights: Sequence[float],
    queues: Sequence[float],
    energy_queues: Sequence[float],
    choices: Sequence[int],
) -> Allocation:
    """Returns the best allocation of a frame under drift plus penalty."""
    everybody = range(len(gains))
    worth = [queues[u] + rules.rate_weight * weights[u] for u in everybody]
    cost = [rules.energy_weight * energy_queues[u] for u in everybody]
    shares, bits, energies = [0.0] * len(gains), [0.0] * len(gains), [0.0] * len(gains)
    senders = [
        _Sender(rules, gains[u], worth[u], cost[u], queues[u], u)
        for u in everybody
        if choices[u] and queues[u] > 0 and gains[u] > 0
    ]
    for sender, seconds in zip(senders, _shared_time(rules, senders), strict=True):
        shares[sender.user] = seconds / rules.duration
        bits[sender.user] = sender.bits(seconds)
        energies[sender.user] = sender.energy(seconds)
    for u in everybody:
        if not choices[u]:
            frequency = min(rules.cycles * queues[u] / rules.duration, rules.max_frequency)
            if cost[u] > 0:
                frequency = min(frequency, math.sqrt(worth[u] / (3 * rules.cycles * rules.kappa * cost[u])))
            bits[u] = frequency * rules.duration / rules.cycles
            energies[u] = rules.kappa * frequency**3 * rules.duration
    value = sum(worth[u] * bits[u] - cost[u] * energies[u] for u in everybody)
    return Allocation(shares, bits, energies, value)


@dataclass(frozen=True)
class _Sender:
    """A user who offloads."""

    rules: FrameRules
    gain: float
    worth: float
    cost: float
    queue: float
    user: int

    @property
    def snr(self) -> float:
        """At 1 W."""
        return self.gain / (self.rules.noise * self.rules.bandwidth)

    @property
    def eager(self) -> float:
        """The log-SNR, in nats/s/Hz, at which a second is worth most."""
        most = math.log1p(self.rules.power * self.snr)
        if self.cost == 0:
            return most
        return min(most, max(math.log(self.worth * self.rules.nats * self.snr / self.cost), 0.0))

    @property
    def limit(self) -> float:
        """What such a second is worth."""
        return self.worth * self.rules.nats * self.eager - self.cost * math.expm1(self.eager) / self.snr

    def demand(self, price: float) -> float:
        """Returns the seconds that it takes at a price."""
        if price >= self.limit:
            return 0.0
        log_snr = self.eager
        if price < self.marginal(log_snr):
            log_snr = _root(lambda z: self.marginal(z) - price, 0.0, log_snr) if price > 0 else 0.0
        return self.queue / (self.rules.nats * log_snr) if log_snr > 0 else math.inf

    def marginal(self, log_snr: float) -> float:
        """Returns what one more second saves once all bits are sent, at the log-SNR at which they are."""
        return self.cost / self.snr * (log_snr * math.exp(log_snr) - math.expm1(log_snr))

    def log_snr(self, seconds: float) -> float:
        """Returns that with which it sends in its time."""
        return min(self.eager, self.queue / (self.rules.nats * seconds)) if seconds > 0 else 0.0

    def bits(self, seconds: float) -> float:
        """Returns what it sends."""
        return min(self.queue, self.rules.nats * self.log_snr(seconds) * seconds)

    def energy(self, seconds: float) -> float:
        """Returns what that takes, J."""
        return seconds * math.expm1(self.log_snr(seconds)) / self.snr


def _shared_time(rules: FrameRules, senders: list[_Sender]) -> list[float]:
    """Returns each one's seconds: bisects the price, and gives what is left by index to those who just give up."""
    low, high = 0.0, max((sender.limit for sender in senders), default=0.0)
    if sum(sender.demand(low) for sender in senders) <= rules.duration:
        return [sender.demand(low) for sender in senders]
    while low < (middle := 0.5 * (low + high)) < high:
        if sum(sender.demand(middle) for sender in senders) > rules.duration:
            low = middle
        else:
            high = middle
    seconds = [sender.demand(high) for sender in senders]
    for place, sender in enumerate(senders):
        seconds[place] += min(max(rules.duration - sum(seconds), 0.0), max(sender.demand(low) - seconds[place], 0.0))
    return seconds


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Returns the root of a monotone function between two bounds of it."""
    return float(brentq(function, low, high, xtol=high * 1e-15, rtol=1e-14, maxiter=500))


class FrameRun:
    """Plays an episode, one decision after another.

    Attributes:
        frame: The frame at hand.
        user: Who is decided next.
        queues: Bits that wait, by user.
        energy_queues: J beyond the budget, by user.
        allocations: Of the frames that are over.
        rewards: Of the frames that are over.
        backlogs: Bits that waited at the ends of frames, on average over users.
    """

    def __init__(
        self,
        rules: FrameRules,
        weights: Sequence[float],
        gains: Sequence[Sequence[float]],
        arrivals: Sequence[Sequence[float]] | None = None,
    ) -> None:
        """Starts the first frame, with empty queues.

        Args:
            rules: The constants.
            weights: (K,), of the users.
            gains: (M, K), of all frames.
            arrivals: (M, K), bits that arrive in each frame (`lydroo`).
        """
        self.rules = rules
        self.weights = weights
        self.gains = gains
        self.arrivals = arrivals
        self.frame = 0
        self.user = 0
        self.queues = [0.0] * len(weights)
        self.energy_queues = [0.0] * len(weights)
        self.allocations: list[Allocation] = []
        self.rewards: list[float] = []
        self.backlogs: list[float] = []
        self._choices: list[int] = []

    @property
    def is_over(self) -> bool:
        """Whether all frames are."""
        return self.frame == len(self.gains)

    def decide(self, choice: int) -> float:
        """Decides for the user at hand; returns the reward of the step.

        Args:
            choice: 0 local, 1 offload.
        """
        self._choices.append(choice)
        self.user += 1
        if self.user < len(self.weights):
            return 0.0
        self.rewards.append(self._end_frame() / self.rules.unit)
        self.frame, self.user, self._choices = self.frame + 1, 0, []
        return self.rewards[-1]

    def _end_frame(self) -> float:
        gains = self.gains[self.frame]
        if self.arrivals is None:
            self.allocations.append(allocate_droo(self.rules, gains, self.weights, self._choices))
            return self.allocations[-1].value
        allocation = allocate_lydroo(self.rules, gains, self.weights, self.queues, self.energy_queues, self._choices)
        self.allocations.append(allocation)
        before = self._drift_function()
        for u, arrived in enumerate(self.arrivals[self.frame]):
            self.queues[u] = max(self.queues[u] - allocation.bits[u], 0.0) + arrived
            excess = allocation.energies[u] - self.rules.energy_budget
            self.energy_queues[u] = max(self.energy_queues[u] + excess, 0.0)
        self.backlogs.append(sum(self.queues) / len(self.queues))
        weighted = sum(weight * bits for weight, bits in zip(self.weights, allocation.bits, strict=True))
        return self.rules.rate_weight * weighted - (self._drift_function() - before)

    def _drift_function(self) -> float:
        energy = sum(queue**2 for queue in self.energy_queues)
        return 0.5 * (sum(queue**2 for queue in self.queues) + self.rules.energy_weight * energy)

    def metrics(self) -> dict[str, float]:
        """Returns the metrics of the frames that are over."""
        num_frames, num_users = len(self.allocations), len(self.weights)
        seconds = num_frames * self.rules.duration
        bits = sum(sum(allocation.bits) for allocation in self.allocations)
        weighted = sum(
            weight * bit
            for allocation in self.allocations
            for weight, bit in zip(self.weights, allocation.bits, strict=True)
        )
        energy = sum(sum(allocation.energies) for allocation in self.allocations) / (num_frames * num_users)
        return {
            "computation_rate": bits / seconds,
            "weighted_rate": weighted / seconds,
            "energy": energy,
            "power": energy / self.rules.duration,
            "backlog": sum(self.backlogs) / num_frames,
        }
