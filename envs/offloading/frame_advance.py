"""The kernels that the simulator of frames calls: they begin episodes, and take a decision in each."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...compilation import handle_kernel, inner, rare
from .advance import BEGIN, NOTHING
from .allocation import SYSTEMS, frame_value
from .frame_features import show
from .frame_luck import arrival_of, draw_users, gain_of
from .frame_state import FrameWorld
from .instance import FloatArray
from .state import IntArray

_LYDROO = SYSTEMS.index("lydroo")


@inner
def _begin_episode(world: FrameWorld, b: int) -> None:
    state, status, outcome = world.state, world.state.status[b], world.outcome[b]
    if not status.is_given:
        draw_users(world, b)
    logarithms = 0.0
    for user in range(world.weights.size):
        state.queues[b, user] = state.energy_queues[b, user] = 0.0
        logarithms += np.log(state.mean_gains[b, user])
    status.usual_gain = np.exp(logarithms / world.weights.size)
    status.is_over, status.frame = False, 0
    status.bits = status.weighted_bits = status.energy = status.backlog = 0.0
    outcome.reward, outcome.episode_return, outcome.episode_length = 0.0, 0.0, 0
    outcome.terminated, outcome.invalid_action = False, False


@inner
def _begin_frame(world: FrameWorld, b: int) -> None:
    state, status = world.state, world.state.status[b]
    status.user = 0
    for user in range(world.weights.size):
        state.choices[b, user] = 0
        state.gains[b, user] = gain_of(world, b, status.frame, user)


@inner
def _note(world: FrameWorld, b: int) -> float:
    """Writes down what became of each user in the frame; returns the weighted bits."""
    state, bench, status = world.state, world.bench, world.state.status[b]
    weighted = 0.0
    for user in range(world.weights.size):
        row = state.log[b, status.frame % state.log.shape[1], user]
        row.frame, row.user, row.offloads = status.frame, user, state.choices[b, user] == 1
        row.gain, row.share = state.gains[b, user], bench.shares[user]
        row.bits, row.energy = bench.bits[user], bench.energies[user]
        row.queue, row.energy_queue = state.queues[b, user], state.energy_queues[b, user]
        status.bits += bench.bits[user]
        status.energy += bench.energies[user]
        weighted += state.weights[b, user] * bench.bits[user]
    status.weighted_bits += weighted
    return weighted


@inner
def _drift(world: FrameWorld, b: int) -> float:
    """Lets the queues pass to the next frame; returns by how much half the sum of their squares rises, bit^2."""
    state, bench, law, status = world.state, world.bench, world.frame[0], world.state.status[b]
    drift, num_users = 0.0, world.weights.size
    for user in range(num_users):
        before, energy_before = state.queues[b, user], state.energy_queues[b, user]
        queue = max(before - bench.bits[user], 0.0) + arrival_of(world, b, status.frame, user)
        energy_queue = max(energy_before + bench.energies[user] - law.energy_budget, 0.0)
        drift += 0.5 * (queue * queue - before * before)
        drift += 0.5 * law.energy_weight * (energy_queue * energy_queue - energy_before * energy_before)
        state.queues[b, user], state.energy_queues[b, user] = queue, energy_queue
        status.backlog += queue
    return drift


@inner
def _end_frame(world: FrameWorld, b: int) -> float:
    """Lets the frame happen; returns its reward."""
    state, bench, law, frame = world.state, world.bench, world.frame[0], world.state.status[b].frame
    reward = frame_value(
        world.frame, state.gains[b], state.weights[b], state.queues[b], state.energy_queues[b], state.choices[b],
        bench.room, bench.shares, bench.bits, bench.energies,
    )  # fmt: skip
    weighted = _note(world, b)
    if law.system == _LYDROO:
        reward = law.rate_weight * weighted - _drift(world, b)
    reward /= law.unit
    for user in range(world.weights.size):
        state.log[b, frame % state.log.shape[1], user].reward = reward
    return float(reward)


@inner
def _decide(world: FrameWorld, b: int, choice: int) -> float:
    """Takes a user's decision, and with the last of a frame lets that happen; returns the reward."""
    state, status = world.state, world.state.status[b]
    state.choices[b, status.user] = choice
    status.user += 1
    if status.user < world.weights.size:
        return 0.0
    reward = _end_frame(world, b)
    status.frame += 1
    status.is_over = status.frame == world.drawn[0].num_frames
    if not status.is_over:
        _begin_frame(world, b)
    return reward


@rare
def _advance(world: FrameWorld, rows: IntArray, actions: IntArray, observes: bool) -> int:
    noteworthy = 0
    for position in range(rows.size):
        b, action = rows[position], actions[position]
        outcome = world.outcome[b]
        if action == BEGIN:
            _begin_episode(world, b)
            _begin_frame(world, b)
        elif action != NOTHING and not outcome.terminated:
            allowed = action in (0, 1)
            outcome.reward = _decide(world, b, action if allowed else 0)
            outcome.invalid_action, outcome.terminated = not allowed, world.state.status[b].is_over
            outcome.episode_return += outcome.reward
            outcome.episode_length += 1
        if observes:
            show(world, b)
        noteworthy += outcome.terminated or outcome.invalid_action
    return noteworthy


@handle_kernel
def advance_frames(handle: Any, rows: IntArray, actions: IntArray, observes: bool) -> int:
    """Takes one decision in some episodes, and returns how many have ended or were asked for what is not allowed.

    Args:
        handle: Of a `FrameWorld`.
        rows: Which episodes.
        actions: One for each of them: 0 local, 1 offload, `NOTHING` or `BEGIN`.
        observes: Whether to bring observations up to date.
    """
    return _advance(handle.value, rows, actions, observes)


@rare
def _list_frames(world: FrameWorld, b: int, gains: FloatArray, arrivals: FloatArray) -> None:
    for frame in range(gains.shape[0]):
        for user in range(gains.shape[1]):
            gains[frame, user] = gain_of(world, b, frame, user)
            arrivals[frame, user] = arrival_of(world, b, frame, user)


@handle_kernel
def list_frames(handle: Any, b: int, gains: FloatArray, arrivals: FloatArray) -> None:
    """Writes the gains and arrivals of an episode.

    Args:
        handle: Of a `FrameWorld`.
        b: Which episode.
        gains: float64 (M, K), written.
        arrivals: float64 (M, K), bits, written.
    """
    _list_frames(handle.value, b, gains, arrivals)
