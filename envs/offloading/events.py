"""What happens between decisions: requests are sent, served and end."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...compilation import inner, rare
from .channel import block_at, down_rate, value_at
from .forecast import INTERFERENCE, charge_others, others_sending, send_rate, shared_now
from .rules import DELAY, ENERGY, MISSES
from .state import LOCAL, READY, SENDING, SERIAL, SHARED, TRANSIT, Episode


@inner
def _set_rate(episode: Episode, place: int) -> None:
    """Brings the rate of a request that is being sent up to date, and when its last bit is sent."""
    status, remote = episode.status[0], episode.remote[place]
    if remote.rate > 0.0:
        remote.bits = max(remote.bits - remote.rate * (status.now - remote.since), 0.0)
    remote.since = status.now
    number, interference = others_sending(episode, remote.user, remote.access)
    remote.rate = send_rate(
        episode, remote.access, remote.power, remote.channel, episode.journey[place].backhaul, number, interference
    )
    if remote.bits <= 0.0:
        episode.when[place] = status.now
    elif remote.rate > 0.0:
        episode.when[place] = status.now + remote.bits / remote.rate
    else:
        episode.when[place] = np.inf


@rare
def _share_anew(episode: Episode) -> None:
    """Brings the rates of all that is being sent up to date, where whoever begins or ends changes them."""
    for position in range(episode.status[0].on_way):
        place = episode.order[position]
        if episode.remote[place].stage == SENDING:
            _set_rate(episode, place)


@inner
def _hear(episode: Episode, place: int) -> None:
    """Finds the channels of a request that is being sent, in the current block."""
    remote, block = episode.remote[place], episode.status[0].block
    remote.channel = value_at(episode, remote.user, remote.access, block)
    if episode.sharing == INTERFERENCE:
        for access in range(episode.accesses.size):
            if episode.accesses[access].is_radio:
                episode.heard[place, access] = value_at(episode, remote.user, access, block)


@inner
def _begin_block(episode: Episode) -> None:
    """Lets the next block begin, with other rates of all that is being sent."""
    status = episode.status[0]
    status.block += 1
    for position in range(status.on_way):
        if episode.remote[episode.order[position]].stage == SENDING:
            _hear(episode, episode.order[position])
    _share_anew(episode)


@inner
def _become_ready(episode: Episode, place: int) -> None:
    """Puts a request before its user's radio, which sends it at once if it is idle."""
    remote = episode.remote[place]
    user = episode.user_state[remote.user]
    if user.sends:
        remote.stage = READY
        episode.when[place] = np.inf
        user.num_ready += 1
    else:
        _send(episode, place)


@inner
def _send_next(episode: Episode, user: int) -> None:
    """Lets a radio that has become idle send what became ready first."""
    chosen, earliest = -1, np.inf
    if episode.user_state[user].num_ready == 0:
        return
    for position in range(episode.status[0].on_way):
        remote = episode.remote[episode.order[position]]
        if remote.stage == READY and remote.user == user and remote.since < earliest:
            chosen, earliest = episode.order[position], remote.since
    episode.user_state[user].num_ready -= 1
    _send(episode, chosen)


@inner
def _send(episode: Episode, place: int) -> None:
    status, remote = episode.status[0], episode.remote[place]
    if status.sending == 0:
        status.block = block_at(status.now, episode.block)
    remote.stage, remote.rate, remote.since = SENDING, 0.0, status.now
    episode.journey[place].row.begin_send = status.now
    _hear(episode, place)
    episode.user_state[remote.user].sends = True
    status.sending += 1
    if episode.sharing == 0:
        _set_rate(episode, place)
    else:
        _share_anew(episode)


@inner
def _end_sending(episode: Episode, place: int) -> None:
    status, remote, journey = episode.status[0], episode.remote[place], episode.journey[place]
    remote.stage = TRANSIT
    journey.row.sent = status.now
    journey.row.airtime = status.now - journey.row.begin_send
    episode.when[place] = status.now + journey.latency
    episode.user_state[remote.user].sends = False
    status.sending -= 1
    if episode.sharing != 0:
        _share_anew(episode)
    _send_next(episode, remote.user)


@inner
def _set_progress(episode: Episode, server: int, progress: float, change: int) -> None:
    """Notes the progress of a shared unit and how many are there, and brings the ends of all of them up to date."""
    status, unit, costs = episode.status[0], episode.server_state[server], episode.servers[server]
    unit.progress, unit.since = progress, status.now
    unit.num_shared += change
    pace = costs.fixed + costs.per_job * unit.num_shared
    for position in range(status.on_way):
        place = episode.order[position]
        remote = episode.remote[place]
        if remote.server == server and remote.stage == SHARED:
            episode.when[place] = status.now + max(remote.shared - progress, 0.0) * pace


@inner
def _enter_shared(episode: Episode, place: int) -> None:
    remote = episode.remote[place]
    # An empty unit begins to count anew, so that numbers stay small in long streams.
    progress = shared_now(episode, remote.server) if episode.server_state[remote.server].num_shared > 0 else 0.0
    remote.shared += progress
    remote.stage = SHARED
    _set_progress(episode, remote.server, progress, 1)


@inner
def _receive(episode: Episode, place: int, begin: float) -> float:
    """Returns when a result has come that begins to come at a time, seconds."""
    remote, journey = episode.remote[place], episode.journey[place]
    bits = journey.down_bits
    if bits <= 0.0:
        return begin
    block, time = block_at(begin, episode.block), begin
    while True:
        value = value_at(episode, remote.user, remote.access, block)
        rate = down_rate(episode.accesses[remote.access], value, journey.backhaul)
        block += 1
        # A single block has no end; its rate is positive.
        end = time + bits / rate if rate > 0.0 else np.inf
        if not np.isfinite(episode.block) or end <= block * episode.block:
            return float(end)
        bits -= rate * (block * episode.block - time)
        time = block * episode.block


@inner
def _leave(episode: Episode, place: int) -> None:
    """Lets a request leave its server: how it ends is known then."""
    status, remote, journey = episode.status[0], episode.remote[place], episode.journey[place]
    user, row = episode.users[remote.user], journey.row
    row.left = status.now
    row.down = status.now + journey.latency
    end = _receive(episode, place, row.down)
    row.energy += row.power * row.airtime + user.idle_power * (row.down - row.sent)
    row.energy += user.receive_power * (end - row.down)
    row.end = max(end, journey.local_end)
    episode.server_state[remote.server].num_on_way -= 1
    settle(episode, journey, remote.imposed)
    _forget(episode, place)


@inner
def _leave_shared(episode: Episode, place: int) -> None:
    remote = episode.remote[place]
    remote.stage = TRANSIT  # it no longer counts as one of those that share
    _set_progress(episode, remote.server, remote.shared, -1)
    _leave(episode, place)


@inner
def _forget(episode: Episode, place: int) -> None:
    """Gives a place back."""
    status, order = episode.status[0], episode.order
    position = 0
    while order[position] != place:
        position += 1
    last = status.on_way - 1
    for i in range(position, last):
        order[i] = order[i + 1]
    order[last] = place
    status.on_way = last


@inner
def _end_serial(episode: Episode, place: int) -> None:
    """Lets a request go from the serial unit to the shared one, or leave."""
    remote = episode.remote[place]
    episode.journey[place].row.served = episode.status[0].now
    if remote.shared > 0.0:
        _enter_shared(episode, place)
    else:
        _leave(episode, place)


@inner
def _reach(episode: Episode, place: int) -> None:
    status, remote = episode.status[0], episode.remote[place]
    server = episode.server_state[remote.server]
    server.serial_free = max(status.now, server.serial_free) + remote.serial
    episode.journey[place].row.reached = status.now
    if server.serial_free > status.now:
        remote.stage = SERIAL
        episode.when[place] = server.serial_free
    else:
        _end_serial(episode, place)


@inner
def settle(episode: Episode, journey: Any, imposed: float) -> None:
    """Counts a request whose end is known, charges what forecasts were wrong by, and writes it down.

    Args:
        episode: Where it stands.
        journey: A `JOURNEY`, also of what was never on its way.
        imposed: What others were charged for delaying it, seconds.
    """
    status, row = episode.status[0], journey.row
    row.delay = row.end - row.arrival
    row.missed = row.end > row.arrival + journey.deadline
    miss = 1.0 if row.missed else row.error
    episode.charge[DELAY] += row.delay - journey.forecast[DELAY] - imposed
    episode.charge[ENERGY] += row.energy - journey.forecast[ENERGY]
    episode.charge[MISSES] += miss - journey.forecast[MISSES]
    status.ended += 1
    status.delay += row.delay
    status.energy += row.energy
    status.missed += row.missed
    status.error += row.error
    status.away += row.target > 0
    status.makespan = max(status.makespan, row.end)
    if episode.law[0].logs:
        episode.log[status.log_length % episode.log.size] = row
        status.log_length += 1


@inner
def _happen(episode: Episode, place: int) -> None:
    """Lets the next thing happen to a request."""
    remote = episode.remote[place]
    stage = remote.stage
    if stage == LOCAL:
        _become_ready(episode, place)
    elif stage == SENDING:
        _end_sending(episode, place)
    elif stage == TRANSIT:
        _reach(episode, place)
    elif stage == SERIAL:
        _end_serial(episode, place)
    else:
        _leave_shared(episode, place)


@inner
def run(episode: Episode, until: float) -> None:
    """Lets time pass, and all happen that happens until then; or until there is room for one more, if that is later.

    Args:
        episode: Where it stands.
        until: Seconds; inf runs until nobody is on the way.
    """
    status = episode.status[0]
    while status.on_way > 0:
        time, place = np.inf, -1
        for position in range(status.on_way):
            other = episode.order[position]
            when = episode.when[other]
            if when > time:
                continue
            if when < time or (place >= 0 and episode.remote[other].stage < episode.remote[place].stage):
                time, place = when, other
        boundary = np.inf
        if status.sending > 0 and np.isfinite(episode.block):
            boundary = (status.block + 1) * episode.block
        following = min(time, boundary)
        if following > until and status.on_way == episode.order.size:
            until = following
        if following > until or not np.isfinite(following):
            break
        status.now = following
        if boundary <= time:
            _begin_block(episode)
        else:
            _happen(episode, place)
    if np.isfinite(until):
        status.now = max(status.now, until)


@inner
def decide(
    episode: Episode,
    target: int,
    option: int,
    fraction: float,
    power: float,
    factor: float,
    split: bool,
    f: Any,
    scratch: Any,
) -> None:
    """Takes a decision.

    Args:
        episode: Where it stands; there is room.
        target: 0 for the user's own device.
        option: Of the target.
        fraction: The share that goes to the target.
        power: With which it is sent, W.
        factor: Speed of the user's processor, relative to its own.
        split: Whether the two parts are independent.
        f: A `FORECAST` of it.
        scratch: A `JOURNEY`, for what stays.
    """
    status, request = episode.status[0], episode.request[0]
    goes = target > 0 and fraction > 0.0
    journey = episode.journey[episode.order[status.on_way]] if goes else scratch
    row = journey.row
    row.request, row.user, row.target, row.option = status.decided, request.user, target if goes else 0, option
    row.arrival, row.decided = request.arrival, status.now
    row.power, row.fraction, row.speed_factor = power, fraction if goes else 0.0, factor
    row.ready, row.error, row.airtime = f.done, f.error, 0.0
    row.energy = f.local * episode.users[request.user].energy * factor * factor
    row.begin_send = row.sent = row.reached = row.served = row.left = row.down = np.nan
    journey.deadline = request.deadline
    for objective in range(episode.charge.size):
        journey.forecast[objective] = 0.0
    if f.local > 0.0:
        episode.user_state[request.user].processor_free = f.done
    if episode.law[0].charges_forecasts:
        _charge(episode, journey, f)
        if goes:
            charge_others(episode, f, episode.targets[target - 1].server)
    status.decided += 1
    if goes:
        _set_off(episode, target, power, split, f)
    else:
        row.end = f.done
        settle(episode, journey, 0.0)


@inner
def _charge(episode: Episode, journey: Any, f: Any) -> None:
    """Charges a forecast."""
    journey.forecast[DELAY], journey.forecast[ENERGY] = f.delay, f.energy
    journey.forecast[MISSES] = 1.0 if f.missed else f.error
    episode.charge[DELAY] += f.delay + f.imposed
    episode.charge[ENERGY] += f.energy
    episode.charge[MISSES] += journey.forecast[MISSES]


@inner
def _set_off(episode: Episode, target: int, power: float, split: bool, f: Any) -> None:
    """Sends a request on its way."""
    status, reached = episode.status[0], episode.targets[target - 1]
    place = episode.order[status.on_way]
    remote, journey = episode.remote[place], episode.journey[place]
    remote.user, remote.access, remote.server = episode.request[0].user, reached.access, reached.server
    remote.power, remote.bits, remote.serial, remote.shared = power, f.up, f.serial, f.shared
    remote.forecast_sent, remote.imposed = f.sent, 0.0
    journey.backhaul, journey.latency, journey.down_bits = reached.backhaul, reached.latency, f.down
    journey.local_end = -np.inf
    costs = episode.servers[reached.server]
    journey.row.energy += (f.serial * costs.speed + f.shared) * costs.energy
    episode.server_state[reached.server].num_on_way += 1
    status.on_way += 1
    if split:
        if f.local > 0.0:
            journey.local_end = f.done
        journey.row.ready = status.now
    # Before the radio, `since` is when the request became ready.
    remote.since = journey.row.ready
    if remote.since > status.now:
        remote.stage = LOCAL
        episode.when[place] = remote.since
    else:
        _become_ready(episode, place)
