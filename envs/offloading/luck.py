"""How an episode is drawn: where everybody is, how fast servers are, and what counts; functions of (seed, episode)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...compilation import inner, rare
from ...workloads.arrivals import first_arrival, next_arrival
from ...workloads.counter_random import random_integer, random_stream, random_uniform
from ...workloads.fading import shadowing_db
from ...workloads.requests import draw_request
from .channel import fading_stream
from .instance import FloatArray, Records
from .state import World

PAIR, FIXED, SOMEWHERE, FLYING, LINE = range(5)
"""How access points are placed: at a drawn distance from each user, at a place, anywhere, in the air; or not at all.

The first three are on the ground."""

_SPEEDS, _POSITIONS, _PLACES, _DISTANCES, _SHADOWS, _WEIGHTS, _OFFSETS = range(124, 131)

PLACEMENT = np.dtype(
    [
        ("kind", np.int64),
        ("low", np.float64),  # metres; distances of PAIR
        ("high", np.float64),
        ("x", np.float64),  # metres; of FIXED
        ("y", np.float64),
        ("at_one_kilometre", np.float64),  # dB
        ("per_decade", np.float64),  # dB
        ("shadowing", np.float64),  # dB, standard deviation
        ("drawn_offset", np.bool_),  # whether users begin anywhere in a recorded rate
    ],
    align=True,
)
"""Where an access point is, and how gains follow from that."""

NEAREST = 1.0
"""Metres; nobody is nearer to an access point."""


class Luck(NamedTuple):
    """What episodes are drawn from."""

    user_speed: FloatArray  # (K, 2) least and greatest factor of each user's speed
    server_speed: FloatArray  # (S, 2)
    placements: Records  # (G,) of PLACEMENT
    area: FloatArray  # (1,) metres: side of the square in which users are


@inner
def _between(low: float, high: float, uniform: float) -> float:
    return low + (high - low) * uniform


@rare
def draw_episode(world: World, b: int) -> None:
    """Draws all that holds for a whole episode, and begins its requests.

    Args:
        world: What is read and written.
        b: Which episode; its status has seed and number.
    """
    state, luck, status = world.state, world.luck, world.state.status[b]
    status.fading_stream = fading_stream(status.seed, status.episode)
    for user in range(state.users.shape[1]):
        state.users[b, user] = world.setting.users[status.slot, user]
    for server in range(state.servers.shape[1]):
        state.servers[b, server] = world.setting.servers[status.slot, server]
    if not status.is_given:
        _draw_speeds(world, b)
        _draw_gains(world, b)
        places = random_stream(status.seed, status.episode, _OFFSETS)
        for user in range(state.users.shape[1]):
            for access in range(luck.placements.size):
                index = user * luck.placements.size + access
                length = world.setting.length[status.slot, access]
                drawn = luck.placements[access].drawn_offset
                state.offset[b, user, access] = random_integer(places, index, length) if drawn else 0
    _draw_weights(world, b)
    for place in range(2):
        first_request(world, b, place)


@inner
def _draw_speeds(world: World, b: int) -> None:
    state, luck, status = world.state, world.luck, world.state.status[b]
    stream = random_stream(status.seed, status.episode, _SPEEDS)
    for user in range(state.users.shape[1]):
        low, high = luck.user_speed[user, 0], luck.user_speed[user, 1]
        if low != high:
            factor = _between(low, high, random_uniform(stream, 2 * user))
            state.users[b, user].speed *= factor
            state.users[b, user].energy *= factor * factor
    for server in range(state.servers.shape[1]):
        low, high = luck.server_speed[server, 0], luck.server_speed[server, 1]
        if low != high:
            factor = _between(low, high, random_uniform(stream, 2 * server + 1))
            record = state.servers[b, server]
            record.speed *= factor
            record.per_job /= factor
            record.fixed /= factor
            record.energy *= factor * factor


@inner
def _draw_gains(world: World, b: int) -> None:
    state, luck, status = world.state, world.luck, world.state.status[b]
    positions = random_stream(status.seed, status.episode, _POSITIONS)
    places = random_stream(status.seed, status.episode, _PLACES)
    distances = random_stream(status.seed, status.episode, _DISTANCES)
    shadows = random_stream(status.seed, status.episode, _SHADOWS)
    num_users, num_accesses = state.users.shape[1], luck.placements.size
    side = luck.area[0]
    for user in range(num_users):
        for axis in range(2):
            state.positions[b, user, axis] = side * random_uniform(positions, 2 * user + axis)
    for access in range(num_accesses):
        cell = luck.placements[access]
        x, y = cell.x, cell.y
        if cell.kind == SOMEWHERE:
            x, y = side * random_uniform(places, 2 * access), side * random_uniform(places, 2 * access + 1)
        for user in range(num_users):
            index = user * num_accesses + access
            loss = 0.0
            if cell.kind <= SOMEWHERE:
                distance = np.hypot(x - state.positions[b, user, 0], y - state.positions[b, user, 1])
                if cell.kind == PAIR:
                    distance = _between(cell.low, cell.high, random_uniform(distances, index))
                kilometres = max(distance, NEAREST) / 1000.0
                loss = cell.at_one_kilometre + cell.per_decade * np.log10(kilometres)
            if cell.shadowing > 0.0:
                loss += shadowing_db(shadows, index, cell.shadowing)
            state.gain[b, user, access] = 10.0 ** (-0.1 * loss)


@inner
def _draw_weights(world: World, b: int) -> None:
    """Draws weights uniformly from all that add up to 1, or takes those that are given."""
    state, status = world.state, world.state.status[b]
    weights = state.weights[b]
    for objective in range(weights.size):
        weights[objective] = world.setting.weights[status.slot, objective]
    if world.law[0].draws_weights and not status.is_given:
        stream = random_stream(status.seed, status.episode, _WEIGHTS)
        total = 0.0
        for objective in range(weights.size):
            weights[objective] = -np.log(random_uniform(stream, objective))
            total += weights[objective]
        for objective in range(weights.size):
            weights[objective] /= total


@inner
def first_request(world: World, b: int, place: int) -> None:
    """Moves one of the two places in the order of arrivals to the first request; arguments as in `move_on`."""
    state, status = world.state, world.state.status[b]
    arrival = state.arrivals[b, place]
    if status.is_given:
        arrival.index = 0
        given = world.setting.num_requests[status.slot] > 0
        arrival.time = world.setting.requests[status.slot, 0].arrival if given else np.inf
    else:
        first_arrival(world.process, world.recorded_times, status.seed, status.episode, arrival)


@inner
def move_on(world: World, b: int, place: int) -> None:
    """Moves one of the two places in the order of arrivals to the next request.

    Args:
        world: What is read and written.
        b: Which episode.
        place: 0 for the request that is decided, 1 for the first that has not arrived.
    """
    state, status = world.state, world.state.status[b]
    arrival = state.arrivals[b, place]
    if status.is_given:
        arrival.index += 1
        more = arrival.index < world.setting.num_requests[status.slot]
        arrival.time = world.setting.requests[status.slot, arrival.index].arrival if more else np.inf
    else:
        next_arrival(world.process, world.recorded_times, status.seed, status.episode, arrival)


@inner
def look_at(world: World, b: int, index: int, arrival: float, request: Any) -> None:
    """Writes all about a request.

    Args:
        world: What is read.
        b: Which episode.
        index: Of the request.
        arrival: Its arrival, seconds.
        request: A `REQUEST`, written.
    """
    status = world.state.status[b]
    if status.is_given:
        given = world.setting.requests[status.slot, index]
        request.user, request.kind, request.size = given.user, given.kind, given.size
        request.work, request.deadline = given.work, given.deadline
    else:
        users, in_turn = world.state.users.shape[1], world.law[0].users_in_turn
        draw_request(world.kinds, world.recorded, users, in_turn, status.seed, status.episode, index, request)
    request.arrival = arrival
