"""How a frame is allocated for given binary choices, as `docs/offloading-frames.md` defines it.

Both problems are convex, and have one price: of the frame's time. Given the price, what each user sends at follows from
it alone; the price is the root of a monotone function.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compilation import inner, kernel
from .instance import FloatArray

SYSTEMS = ("droo", "lydroo")
"""In the order of their codes."""

FRAME = np.dtype(
    [
        ("system", np.int64),  # place in SYSTEMS
        ("duration", np.float64),  # seconds
        ("bandwidth", np.float64),  # Hz
        ("noise", np.float64),  # W/Hz
        ("overhead", np.float64),  # bits sent for a bit of data
        ("cycles", np.float64),  # for a bit of data
        ("kappa", np.float64),  # J s^2 per cycle
        ("power", np.float64),  # W: droo: of the broadcast; lydroo: the most with which a user sends
        ("efficiency", np.float64),  # droo: of harvesting
        ("max_frequency", np.float64),  # lydroo: Hz
        ("rate_weight", np.float64),  # lydroo: V, bits
        ("energy_weight", np.float64),  # lydroo: bit^2/J^2
        ("energy_budget", np.float64),  # lydroo: J a frame and user
        ("unit", np.float64),  # by which rewards are divided: bit/s (droo) or bit^2 (lydroo)
    ],
    align=True,
)
"""The constants of a system whose time is cut into frames."""

ROOM = np.dtype(
    [
        ("offloads", np.bool_),  # and gains by it
        ("snr", np.float64),  # droo: if it sent all of the frame what is harvested in all of it; lydroo: at 1 W
        ("worth", np.float64),  # value of a nat
        ("log_snr", np.float64),  # ln(1 + signal-to-noise ratio), nats/s/Hz; at the price at hand
        ("most", np.float64),  # of log_snr, at the highest power
        ("cost", np.float64),  # value of the energy of a second at a signal-to-noise ratio of 1
        ("limit", np.float64),  # price of a second at which the user gives up
        ("order", np.int64),  # users by falling limit
    ],
    align=True,
)
"""What an allocation works in: a record a user."""

_DROO, _LYDROO = range(2)
_STEPS = 60


@inner
def _saddle(excess: float) -> float:
    """Returns v >= 0 with (v - 1) exp(v) + 1 = excess, which is 1 + W((excess - 1) / e).

    W is the main branch of Lambert's function: Corless et al. 1996, doi:10.1007/BF02124750, with its series around the
    branch point and Halley's iteration.
    """
    p = np.sqrt(2.0 * excess)
    if p < 0.03:
        tail = 11.0 / 72.0 + p * (
            -43.0 / 540.0 + p * (769.0 / 17280.0 + p * (-221.0 / 8505.0 + p * 680863.0 / 43545600.0))
        )
        return float(p * (1.0 + p * (-1.0 / 3.0 + p * tail)))
    if excess < 2.0:
        v = p / (1.0 + p / 3.0 - p * p / 24.0)
    else:
        logarithm = np.log1p((excess - 1.0) / np.e)
        v = 1.0 + logarithm * (1.0 - np.log1p(logarithm) / (2.0 + logarithm))
    for _ in range(2):
        grown = np.exp(v)
        wrong = (v - 1.0) * grown + 1.0 - excess
        slope = v * grown
        v -= wrong / (slope - 0.5 * wrong * (v + 1.0) / v)
    return float(v)


@inner
def _balance(room: NDArray[np.void], local: float, price: float) -> tuple[float, float, float]:
    """Writes each `log_snr` at a price; returns the broadcast's share, and how wrong the price is, with slope."""
    senders, value, bend = 0.0, 0.0, 0.0
    for user in range(room.size):
        if room[user].offloads:
            nats = price / room[user].worth
            log_snr = nats + _saddle(-np.expm1(-nats))
            outage = np.exp(-log_snr)
            heard = -np.expm1(-log_snr)
            room[user].log_snr = log_snr
            senders += room[user].snr * outage / heard
            value += room[user].worth * room[user].snr * outage
            bend += room[user].snr * outage / (room[user].worth * heard * heard * heard)
    broadcast = 1.0 / (1.0 + senders)
    root = np.cbrt(broadcast)
    wrong = local / (3.0 * root * root) + value - price
    return broadcast, wrong, -(1.0 + senders) - 2.0 / 9.0 * local * root * bend


@inner
def _broadcast(room: NDArray[np.void], local: float, ceiling: float, snr: float) -> float:
    """Returns the broadcast's share of the frame, with each `log_snr` of the best allocation written.

    Args:
        room: (K,) of `ROOM`.
        local: Weighted rate of those who compute themselves if the broadcast took all of the frame, bit/s.
        ceiling: Of the weighted rate of those who offload, bit/s; > 0.
        snr: The sum of theirs.
    """
    low, high = local / 3.0, local / 3.0 + ceiling
    # A guess from which Newton's method takes five steps or so.
    price, broadcast = low + ceiling / (1.0 + np.sqrt(8.0 * snr)), 1.0
    for _ in range(_STEPS):
        broadcast, wrong, slope = _balance(room, local, price)
        if wrong > 0.0:
            low = price
        else:
            high = price
        step = price - wrong / slope
        if abs(step - price) <= 1e-10 * price:
            break
        price = step if low < step < high else 0.5 * (low + high)
    return broadcast


@kernel
def droo_rate(
    frame: NDArray[np.void],
    gains: FloatArray,
    weights: FloatArray,
    choices: NDArray[np.int8],
    room: NDArray[np.void],
    shares: FloatArray,
    bits: FloatArray,
    energies: FloatArray,
) -> float:
    """Returns the highest weighted computation rate of a frame of a wireless powered network, bit/s.

    Source: Huang, Bi, Zhang, IEEE Transactions on Mobile Computing 19(11), 2020, doi:10.1109/TMC.2019.2928811, (P2).

    Args:
        frame: (1,) of `FRAME`.
        gains: float64 (K,), power gains of the channels; >= 0.
        weights: float64 (K,), of the users' rates; >= 0.
        choices: int8 (K,), 0 local, 1 offload.
        room: (K,) of `ROOM`, to work in.
        shares: float64 (K,), the frame's time in which each user sends, as a share; the result. The broadcast has the
            rest.
        bits: float64 (K,), computed in the frame; the result.
        energies: float64 (K,), harvested and used up, J; the result.
    """
    law = frame[0]
    harvest = law.efficiency * law.power
    nats = law.bandwidth / (law.overhead * np.log(2.0))
    local, ceiling, snr = 0.0, 0.0, 0.0
    for user in range(gains.size):
        room[user].snr = harvest * gains[user] * gains[user] / (law.noise * law.bandwidth)
        room[user].worth = weights[user] * nats
        room[user].offloads = choices[user] == 1 and room[user].snr * room[user].worth > 0.0
        if room[user].offloads:
            ceiling += room[user].worth * room[user].snr
            snr += room[user].snr
        elif choices[user] == 0:
            local += weights[user] * np.cbrt(harvest * gains[user] / law.kappa) / law.cycles
    broadcast = _broadcast(room, local, ceiling, snr) if ceiling > 0.0 else 1.0
    rate = 0.0
    for user in range(gains.size):
        shares[user] = bits[user] = 0.0
        energies[user] = harvest * gains[user] * broadcast * law.duration
        if room[user].offloads:
            shares[user] = broadcast * room[user].snr / np.expm1(room[user].log_snr)
            bits[user] = nats * shares[user] * room[user].log_snr * law.duration
        elif choices[user] == 0:
            bits[user] = np.cbrt(harvest * gains[user] * broadcast / law.kappa) / law.cycles * law.duration
        rate += weights[user] * bits[user] / law.duration
    return float(rate)


@inner
def _log_snr(record: Any, price: float) -> float:
    """Returns ln(1 + signal-to-noise ratio) at which a user sends its bits at the least cost."""
    if record.cost <= 0.0:
        return float(record.most)
    return float(min(_saddle(min(price / record.cost, 1e30)), record.most))


@inner
def _seconds(room: NDArray[np.void], queues: FloatArray, active: int, nats: float, price: float) -> tuple[float, float]:
    """Returns how long the first users in order send all that they have, and minus the slope of that in the price."""
    seconds, slope = 0.0, 0.0
    for place in range(active):
        user = room[place].order
        log_snr = _log_snr(room[user], price)
        alone = queues[user] / (nats * log_snr)
        seconds += alone
        if log_snr < room[user].most:
            slope += alone / (room[user].cost * log_snr * log_snr * np.exp(log_snr))
    return seconds, slope


@inner
def _price_of_time(
    room: NDArray[np.void], queues: FloatArray, active: int, nats: float, duration: float, low: float
) -> float:
    """Returns the price of a second, at least `low`, at which the first users in order send for the whole frame."""
    if low == 0.0 and _seconds(room, queues, active, nats, 0.0)[0] <= duration:
        return 0.0
    high = room[room[active - 1].order].limit
    price = high
    for _ in range(_STEPS):
        seconds, slope = _seconds(room, queues, active, nats, price)
        if seconds > duration:
            low = price
        else:
            high = price
        before = price
        # Newton's step for the square of the reciprocal, which is nearly a line.
        price += ((seconds / duration) ** 2 - 1.0) * seconds / (2.0 * slope)
        if not low <= price <= high:
            price = 0.5 * (low + high)
        if abs(price - before) <= 1e-12 * before:
            break
    return float(price)


@inner
def _rank(room: NDArray[np.void], num_ranked: int, user: int) -> None:
    """Inserts a user into the order, behind those with the same limit."""
    place = num_ranked
    while place > 0 and room[room[place - 1].order].limit < room[user].limit:
        room[place].order = room[place - 1].order
        place -= 1
    room[place].order = user


@inner
def _compute_locally(law: Any, worth: float, cost: float, queue: float) -> tuple[float, float]:
    """Returns the bits that a user computes itself, and the energy, J."""
    bits = min(queue, law.max_frequency * law.duration / law.cycles)
    cube = law.kappa * law.cycles**3 / law.duration**2
    if cost > 0.0:
        bits = min(bits, np.sqrt(worth / (3.0 * cube * cost)))
    return float(bits), float(cube * bits**3)


@inner
def _enter(record: Any, law: Any, gain: float, worth: float, cost: float, nats: float) -> None:
    """Fills the record of a user who offloads."""
    record.snr = gain / (law.noise * law.bandwidth)
    record.worth = worth
    record.cost = cost / record.snr
    record.most = np.log1p(law.power * record.snr)
    record.log_snr = record.most
    if record.cost > 0.0:
        record.log_snr = min(np.log(worth * nats / record.cost), record.most)
    record.limit = worth * nats * record.log_snr - record.cost * np.expm1(record.log_snr)
    record.offloads = record.log_snr > 0.0


@inner
def _share_time(
    law: Any,
    room: NDArray[np.void],
    queues: FloatArray,
    num_ranked: int,
    nats: float,
    bits: FloatArray,
    shares: FloatArray,
) -> None:
    """Writes bits and shares of those who offload, with each `log_snr`."""
    active, spent, is_full = 0, 0.0, False
    while active < num_ranked and not is_full:
        user = room[active].order
        spent = _seconds(room, queues, active, nats, room[user].limit)[0]
        is_full = spent + queues[user] / (nats * room[user].log_snr) >= law.duration
        active += not is_full
    price = 0.0
    if is_full:
        user = room[active].order
        price = room[user].limit
        shares[user] = max(law.duration - spent, 0.0) / law.duration
        bits[user] = nats * room[user].log_snr * shares[user] * law.duration
    if active > 0 and (not is_full or spent > law.duration):
        price = _price_of_time(room, queues, active, nats, law.duration, price)
    for place in range(active):
        user = room[place].order
        room[user].log_snr = _log_snr(room[user], price)
        bits[user] = queues[user]
        shares[user] = queues[user] / (nats * room[user].log_snr * law.duration)


@kernel
def lydroo_value(
    frame: NDArray[np.void],
    gains: FloatArray,
    weights: FloatArray,
    queues: FloatArray,
    energy_queues: FloatArray,
    choices: NDArray[np.int8],
    room: NDArray[np.void],
    shares: FloatArray,
    bits: FloatArray,
    energies: FloatArray,
) -> float:
    """Returns the highest value of a frame under Lyapunov's drift plus penalty, bit^2.

    Source: Bi, Huang, Wang, Zhang, IEEE Transactions on Wireless Communications, 2021,
    doi:10.1109/TWC.2021.3085319, (P4).

    Args:
        frame: (1,) of `FRAME`.
        gains: float64 (K,), power gains of the channels; >= 0.
        weights: float64 (K,), of the users' bits; >= 0.
        queues: float64 (K,), bits that wait.
        energy_queues: float64 (K,), energy used beyond the budget, J.
        choices: int8 (K,), 0 local, 1 offload.
        room: (K,) of `ROOM`, to work in.
        shares: float64 (K,), the frame's time in which each user sends, as a share; the result.
        bits: float64 (K,), computed in the frame; the result.
        energies: float64 (K,), J; the result.
    """
    law = frame[0]
    nats = law.bandwidth / (law.overhead * np.log(2.0))
    num_ranked = 0
    for user in range(gains.size):
        shares[user] = bits[user] = energies[user] = 0.0
        room[user].offloads = False
        worth = queues[user] + law.rate_weight * weights[user]
        cost = law.energy_weight * energy_queues[user]
        if choices[user] == 0:
            bits[user], energies[user] = _compute_locally(law, worth, cost, queues[user])
        elif queues[user] > 0.0 and gains[user] > 0.0:
            _enter(room[user], law, gains[user], worth, cost, nats)
            if room[user].offloads:
                _rank(room, num_ranked, user)
                num_ranked += 1
    _share_time(law, room, queues, num_ranked, nats, bits, shares)
    value = 0.0
    for user in range(gains.size):
        if room[user].offloads:
            energies[user] = shares[user] * law.duration * np.expm1(room[user].log_snr) / room[user].snr
        value += (queues[user] + law.rate_weight * weights[user]) * bits[user]
        value -= law.energy_weight * energy_queues[user] * energies[user]
    return float(value)


@kernel
def frame_value(
    frame: NDArray[np.void],
    gains: FloatArray,
    weights: FloatArray,
    queues: FloatArray,
    energy_queues: FloatArray,
    choices: NDArray[np.int8],
    room: NDArray[np.void],
    shares: FloatArray,
    bits: FloatArray,
    energies: FloatArray,
) -> float:
    """Allocates a frame of either system; the arguments and results are those of `lydroo_value` or `droo_rate`."""
    if frame[0].system == _DROO:
        return droo_rate(frame, gains, weights, choices, room, shares, bits, energies)
    return lydroo_value(frame, gains, weights, queues, energy_queues, choices, room, shares, bits, energies)
