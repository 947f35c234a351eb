"""The kernels that a simulator calls: they begin episodes, and take a decision in each."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...compilation import handle_kernel, inner, rare
from .events import decide, run
from .features import show
from .forecast import forecast, forecast_parts, take_stock
from .instance import FloatArray
from .luck import draw_episode, first_request, look_at, move_on
from .state import Episode, IntArray, World, episode_at, named_by

NOTHING, BEGIN = -(2**63), -(2**63) + 1
"""Actions that decide nothing: the one only shows an episode as it is, the other begins it."""

LEAST_POWER, LEAST_SPEED = 0.01, 0.1
"""Shares of a user's power and speed that the lowest continuous action stands for."""


@inner
def _slot_from(time: float, slot: float) -> int:
    """Returns the first slot that does not begin before a time."""
    m = int(np.ceil(time / slot))
    while m * slot < time:
        m += 1
    while m > 0 and (m - 1) * slot >= time:
        m -= 1
    return m


@inner
def _is_past_end(world: World, b: int, place: int) -> bool:
    """Whether one of the two places in the order of arrivals is behind the last request of the episode."""
    law, status, arrival = world.law[0], world.state.status[b], world.state.arrivals[b, place]
    if not np.isfinite(arrival.time):
        return True
    if status.is_given:
        return False
    return bool((law.num_requests >= 0 and arrival.index >= law.num_requests) or arrival.time > law.horizon)


@inner
def _wait_for_decision(world: World, episode: Episode, b: int) -> None:
    """Lets time pass until the next request is decided, or until all is over."""
    law, status, arrivals = world.law[0], episode.status[0], world.state.arrivals[b]
    is_last, time, first = _is_past_end(world, b, 0), np.inf, 0
    if not is_last:
        time = max(arrivals[0].time, status.now)
        if law.by_slot:
            first = max(_slot_from(arrivals[0].time, law.slot), status.next_slot)
            time = first * law.slot
    run(episode, time)
    if is_last:
        status.is_over = True
        return
    if law.by_slot:
        # A decision that had to wait for room may have let slots pass.
        m = _slot_from(status.now, law.slot)
        status.next_slot = max(first + 1, m + (m * law.slot == status.now))
    while arrivals[1].time <= status.now and not _is_past_end(world, b, 1):
        move_on(world, b, 1)
    look_at(world, b, arrivals[0].index, arrivals[0].time, episode.request[0])
    _forecast_all(world, episode, b)


@inner
def _forecast_all(world: World, episode: Episode, b: int) -> None:
    power = episode.users[episode.request[0].user].power
    forecasts, options = world.state.forecasts[b], episode.options.shape[3]
    take_stock(episode)
    for row in range(forecasts.size):
        target, option = named_by(row, options)
        forecast(episode, target, option, 1.0, power, 1.0, False, forecasts[row])


@inner
def _candidate_of(world: World, b: int, action: int) -> int:
    """Returns the candidate that an action stands for: itself, or if that is not allowed the first that is."""
    forecasts = world.state.forecasts[b]
    if 0 <= action < forecasts.size and forecasts[action].exists:
        return action
    row = 0
    while not forecasts[row].exists:
        row += 1
    return row


@inner
def best_rate(world: World, episode: Episode, b: int) -> int:
    """Returns the target to which the current request could be sent fastest."""
    options, best = episode.options.shape[3], 1
    for target in range(2, episode.options.shape[2]):
        rows = 1 + (best - 1) * options, 1 + (target - 1) * options
        if world.state.forecasts[b, rows[1]].rate > world.state.forecasts[b, rows[0]].rate:
            best = target
    return best


@inner
def _decide(world: World, episode: Episode, b: int, candidate: int, knobs: FloatArray) -> None:
    """Takes a decision: a candidate, or a share, a power and a speed, each from -1 to 1."""
    options, power = episode.options.shape[3], episode.users[episode.request[0].user].power
    split, fraction, factor = knobs.size > 0, 1.0, 1.0
    target, option = named_by(candidate, options)
    f = world.state.forecasts[b, candidate]
    if split:
        target, option = best_rate(world, episode, b), 0
        can_go = world.state.forecasts[b, 1 + (target - 1) * options].exists
        fraction = 0.5 * (knobs[0] + 1.0) if can_go else 0.0
        power *= LEAST_POWER + (1.0 - LEAST_POWER) * 0.5 * (knobs[1] + 1.0)
        factor = LEAST_SPEED + (1.0 - LEAST_SPEED) * 0.5 * (knobs[2] + 1.0)
        f = world.state.chosen[b]
        forecast_parts(episode, target, fraction, power, factor, f)
    decide(episode, target, option, fraction, power, factor, split, f, world.state.scratch[b])


@inner
def _pay(world: World, episode: Episode, b: int) -> float:
    """Returns what the last step charged, weighted, and writes it down."""
    state, units = world.state, episode.units
    total = 0.0
    for objective in range(state.charge.shape[1]):
        cost = state.charge[b, objective]
        if objective < units.size:
            cost /= units[objective]
        state.costs[b, objective] = cost
        state.total[b, objective] += cost
        state.charge[b, objective] = 0.0
        total += state.weights[b, objective] * cost
    return total


@inner
def _clear(world: World, b: int) -> None:
    state, status, outcome = world.state, world.state.status[b], world.outcome[b]
    status.is_over = False
    status.now = status.delay = status.energy = status.error = status.makespan = 0.0
    status.next_slot = status.decided = status.on_way = status.sending = status.block = 0
    status.ended = status.missed = status.away = status.log_length = 0
    for user in range(state.user_state.shape[1]):
        radio = state.user_state[b, user]
        radio.processor_free, radio.sends, radio.num_ready = 0.0, False, 0
    for server in range(state.server_state.shape[1]):
        unit = state.server_state[b, server]
        unit.serial_free = unit.progress = unit.since = 0.0
        unit.num_shared = unit.num_on_way = 0
    for place in range(state.order.shape[1]):
        state.order[b, place] = place
    state.charge[b] = 0.0
    state.costs[b] = 0.0
    state.total[b] = 0.0
    outcome.reward, outcome.episode_return, outcome.episode_length = 0.0, 0.0, 0
    outcome.terminated, outcome.invalid_action, outcome.discount = False, False, 1.0


@rare
def _advance(world: World, rows: IntArray, actions: IntArray, knobs: FloatArray, observes: bool) -> int:
    noteworthy = 0
    for position in range(rows.size):
        b, action = rows[position], actions[position]
        episode, outcome = episode_at(world, b), world.outcome[b]
        status = episode.status[0]
        begins, allowed = action == BEGIN, True
        decides = not begins and action != NOTHING and not outcome.terminated
        if begins:
            _clear(world, b)
            draw_episode(world, b)
        elif decides and not status.is_over:
            candidate = 0 if knobs.shape[0] > 0 else _candidate_of(world, b, action)
            allowed = knobs.shape[0] > 0 or candidate == action
            _decide(world, episode, b, candidate, knobs[position] if knobs.shape[0] > 0 else knobs[0:0, 0])
            move_on(world, b, 0)
        if begins or decides:
            _wait_for_decision(world, episode, b)
        if decides:
            outcome.reward = -_pay(world, episode, b)
            outcome.invalid_action, outcome.terminated = not allowed, status.is_over
            outcome.episode_return += outcome.reward
            outcome.episode_length += 1
        if observes:
            show(world, episode, b)
        noteworthy += outcome.terminated or outcome.invalid_action
    return noteworthy


@handle_kernel
def advance(handle: Any, rows: IntArray, actions: IntArray, knobs: FloatArray, observes: bool) -> int:
    """Takes one decision in some episodes, and returns how many have ended or were asked for what is not allowed.

    Args:
        handle: Of a `World`.
        rows: Which episodes.
        actions: One for each of them: a candidate, `NOTHING` or `BEGIN`; in the continuous face anything else decides.
        knobs: float64 (rows, 3) from -1 to 1, share, power and speed of the continuous face; else (0, 3).
        observes: Whether to bring observations up to date.
    """
    return _advance(handle.value, rows, actions, knobs, observes)


@inner
def _list_requests(world: World, b: int, requests: Any) -> None:
    place = world.state.arrivals[b, 0]
    index, time, draws, in_burst, switch = place.index, place.time, place.draws, place.in_burst, place.switch
    first_request(world, b, 0)
    for request in range(requests.size):
        look_at(world, b, place.index, place.time, requests[request])
        move_on(world, b, 0)
    place.index, place.time, place.draws, place.in_burst, place.switch = index, time, draws, in_burst, switch


@handle_kernel
def list_requests(handle: Any, b: int, requests: Any) -> None:
    """Writes the first requests of an episode.

    Args:
        handle: Of a `World`.
        b: Which episode.
        requests: (N,) of `REQUEST`, written.
    """
    _list_requests(handle.value, b, requests)
