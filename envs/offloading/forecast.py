"""What would come of each option if no request came after it: observations, greedy policies and rewards use it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...compilation import inner, rare
from ...hardware_models.radio import rate_of
from .channel import block_at, down_rate, fading_at, mean_value_at
from .instance import SHARINGS, FloatArray
from .rules import DELAY, ENERGY, MISSES
from .state import SENDING, SHARED, TRANSIT, Episode

_EQUAL, INTERFERENCE = SHARINGS.index("equal"), SHARINGS.index("interference")


@inner
def _work(c: FloatArray, size: float, work: float) -> float:
    return float(c[0] + c[1] * size + c[2] * size * size + c[3] * work)


@inner
def _bits(c: FloatArray, size: float, work: float) -> float:
    return float(c[0] + c[1] * size + c[2] * work)


@inner
def others_sending(episode: Episode, user: int, access: int) -> tuple[int, float]:
    """Returns what a user who sends has to share with all other users who are sending now.

    Args:
        episode: Where it stands.
        user: Who sends.
        access: To which access point.

    Returns:
        How many, the user included, share the bandwidth, and the power of interference, W.
    """
    number, interference = 1, 0.0
    if episode.sharing != 0:
        for position in range(episode.status[0].on_way):
            place = episode.order[position]
            other = episode.remote[place]
            if other.stage == SENDING and other.user != user:
                if episode.sharing == _EQUAL:
                    number += other.access == access
                elif episode.accesses[access].is_radio and episode.accesses[other.access].is_radio:
                    interference += other.power * episode.heard[place, access]
    return number, interference


@inner
def send_rate(
    episode: Episode, access: int, power: float, value: float, backhaul: float, number: int, interference: float
) -> float:
    """Returns the rate at which a request is sent, bit/s.

    Args:
        episode: Where it stands.
        access: To which access point.
        power: W.
        value: Of the channel.
        backhaul: bit/s.
        number: How many share the bandwidth.
        interference: W.
    """
    cell = episode.accesses[access]
    if not cell.is_radio:
        return float(min(value / number, backhaul))
    return float(min(rate_of(power, value, cell.bandwidth / number, cell.noise, interference), backhaul))


@inner
def shared_now(episode: Episode, server: int) -> float:
    """Returns the progress of a server's shared unit now, units of work for each request."""
    unit, costs = episode.server_state[server], episode.servers[server]
    if unit.num_shared == 0:
        return float(unit.progress)
    elapsed = episode.status[0].now - unit.since
    return float(unit.progress + elapsed / (costs.fixed + costs.per_job * unit.num_shared))


@inner
def take_stock(episode: Episode) -> None:
    """Writes down what forecasts of the current decision have to know of those who are on their way."""
    status = episode.status[0]
    status.radio, status.block_now = status.now, block_at(status.now, episode.block)
    first = 0
    for server in range(episode.server_state.size):
        unit = episode.server_state[server]
        unit.first, unit.inbound = first, 0.0
        unit.progress_now = shared_now(episode, server)
        first += unit.num_on_way
    for position in range(status.on_way):
        place = episode.order[position]
        remote = episode.remote[place]
        unit = episode.server_state[remote.server]
        left = episode.left[unit.first]
        # Until all are in their places, `first` is where the server's next one goes.
        unit.first += 1
        left.place, left.is_there = place, remote.stage == SHARED
        left.work = max(remote.shared - unit.progress_now, 0.0) if left.is_there else remote.shared
        if remote.stage <= TRANSIT:
            unit.inbound += remote.serial
            if remote.stage <= SENDING and remote.user == episode.request[0].user:
                status.radio = max(status.now, remote.forecast_sent)
    for server in range(episode.server_state.size):
        episode.server_state[server].first -= episode.server_state[server].num_on_way
    status.best_gain = 0.0
    if np.isfinite(episode.reach):
        _find_reach(episode)


@rare
def _find_reach(episode: Episode) -> None:
    """Finds the least mean gain of cells that are within the user's reach."""
    status, request = episode.status[0], episode.request[0]
    block, device = status.block_now, episode.users[request.user].device
    for target in range(episode.targets.size):
        access, is_open = episode.targets[target].access, False
        for option in range(episode.options.shape[3]):
            is_open |= episode.options[device, request.kind, target + 1, option].exists
        if is_open and episode.accesses[access].is_radio:
            gain = mean_value_at(episode, request.user, access, block)
            status.best_gain = max(status.best_gain, gain / episode.reach)


@inner
def _is_in_reach(episode: Episode, access: int) -> bool:
    status = episode.status[0]
    if status.best_gain == 0.0 or not episode.accesses[access].is_radio:
        return True
    return bool(mean_value_at(episode, episode.request[0].user, access, status.block_now) >= status.best_gain)


@inner
def _drained(episode: Episode, server: int, served: float) -> float:
    """Returns how much of its work each request in a shared unit will have been given by a time, units of work."""
    unit, costs = episode.server_state[server], episode.servers[server]
    if unit.num_shared == 0:
        return 0.0
    return float((served - episode.status[0].now) / (costs.fixed + costs.per_job * unit.num_shared))


@inner
def _common(left: Any, drained: float, shared: float) -> float:
    """Returns the work that a request on its way and a new one have to share a unit for."""
    return float(min(max(left.work - drained, 0.0) if left.is_there else left.work, shared))


@inner
def forecast(
    episode: Episode, target: int, option: int, fraction: float, power: float, factor: float, split: bool, f: Any
) -> None:
    """Writes what would come of an option.

    Args:
        episode: Where it stands.
        target: 0 for the user's own device.
        option: Of the target.
        fraction: The share that goes to the target; the rest is done on the user's device.
        power: With which it is sent, W.
        factor: Speed of the user's processor, relative to its own.
        split: Whether the two parts are independent; else the option's local work comes first.
        f: A `FORECAST`, written.
    """
    status, request = episode.status[0], episode.request[0]
    user = episode.users[request.user]
    option_of = episode.options[user.device, request.kind, target, option]
    f.exists, f.error, f.rate = option_of.exists, option_of.error, 0.0
    if target > 0 and f.exists:
        f.exists = _is_in_reach(episode, episode.targets[target - 1].access)
    if not f.exists:
        return
    f.local = f.serial = f.shared = f.up = f.down = f.imposed = f.backlog = 0.0
    f.radio = f.done = status.now
    local = option_of.local
    stays = 1.0 if target == 0 else 0.0
    if split:
        stays = 1.0 - fraction
        local = episode.options[user.device, request.kind, 0, 0].local
        if fraction == 0.0:
            f.error = episode.options[user.device, request.kind, 0, 0].error
    if stays > 0.0:
        f.local = _work(local, stays * request.size, stays * request.work)
    elif not split:
        f.local = _work(local, request.size, request.work)
    if f.local > 0.0:
        begin = max(status.now, episode.user_state[request.user].processor_free)
        f.done = begin + f.local / (user.speed * factor)
    f.sent = f.served = f.left = f.end = f.done
    f.energy = f.local * user.energy * factor * factor
    if target > 0 and fraction > 0.0:
        _forecast_remote(episode, target, option, fraction, power, split, f)
    f.delay = f.end - request.arrival
    f.missed = f.end > request.arrival + request.deadline
    cost = (f.delay + f.imposed) / episode.units[DELAY] * episode.weights[DELAY]
    cost += f.energy / episode.units[ENERGY] * episode.weights[ENERGY]
    f.cost = cost + (1.0 if f.missed else f.error) * episode.weights[MISSES]


@inner
def _forecast_remote(
    episode: Episode, target: int, option: int, fraction: float, power: float, split: bool, f: Any
) -> None:
    status, request = episode.status[0], episode.request[0]
    user = episode.users[request.user]
    option_of = episode.options[user.device, request.kind, target, option]
    size, work = fraction * request.size, fraction * request.work
    reached = episode.targets[target - 1]
    server, costs = reached.server, episode.servers[reached.server]
    f.serial = _work(option_of.serial, size, work)
    if f.serial > 0.0:
        f.serial /= costs.speed
    f.shared = _work(option_of.shared, size, work)
    f.up, f.down = _bits(option_of.up, size, work), _bits(option_of.down, size, work)
    block = status.block_now
    mean = mean_value_at(episode, request.user, reached.access, block)
    value = mean * fading_at(episode, request.user, reached.access, block)
    number, interference = others_sending(episode, request.user, reached.access)
    f.rate = send_rate(episode, reached.access, power, value, reached.backhaul, number, interference)
    f.radio = status.radio
    begin = max(status.now if split else f.done, f.radio)
    f.sent = begin
    if f.up > 0.0:
        f.sent += f.up / f.rate
        block_end = (block + 1) * episode.block
        if f.sent > block_end and mean != value:
            later = send_rate(episode, reached.access, power, mean, reached.backhaul, number, interference)
            soon = max(block_end - begin, 0.0)
            f.sent = begin + soon + (f.up - f.rate * soon) / later
    airtime = f.sent - begin
    unit = episode.server_state[server]
    serial_free = max(unit.serial_free, status.now) + unit.inbound
    f.served = max(f.sent + reached.latency, serial_free) + f.serial
    both, backlog = 0.0, 0.0
    if unit.num_on_way > 0:
        drained = _drained(episode, server, f.served)
        for position in range(unit.first, unit.first + unit.num_on_way):
            backlog += episode.left[position].work
            both += _common(episode.left[position], drained, f.shared)
    f.backlog = serial_free - status.now + costs.per_job * backlog
    f.left = f.served + costs.fixed * f.shared + costs.per_job * (f.shared + both)
    f.imposed = costs.per_job * both
    down = f.left + reached.latency
    usual = mean if np.isfinite(episode.block) else value
    coming = f.down / down_rate(episode.accesses[reached.access], usual, reached.backhaul) if f.down > 0.0 else 0.0
    f.end = max(f.end if split and f.local > 0.0 else 0.0, down + coming)
    f.energy += power * airtime + user.idle_power * (down - f.sent) + user.receive_power * coming
    f.energy += (f.serial * costs.speed + f.shared) * costs.energy


@inner
def charge_others(episode: Episode, f: Any, server: int) -> None:
    """Notes that a decision was charged for delaying the requests of a server.

    Args:
        episode: Where it stands.
        f: The `FORECAST` that was charged.
        server: Which server.
    """
    unit = episode.server_state[server]
    drained, per_job = _drained(episode, server, f.served), episode.servers[server].per_job
    for position in range(unit.first, unit.first + unit.num_on_way):
        left = episode.left[position]
        episode.remote[left.place].imposed += per_job * _common(left, drained, f.shared)


@rare
def forecast_parts(episode: Episode, target: int, fraction: float, power: float, factor: float, f: Any) -> None:
    """Writes what would come of a request in two parts; the arguments are those of `forecast`."""
    forecast(episode, target, 0, fraction, power, factor, True, f)
