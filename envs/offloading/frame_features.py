"""What an agent sees of offloading in frames: the features one by one, and the kernels that write them.

Bits and joules are divided by units of one user and frame, so that features mean the same for any number of users. The
**forecast** of a choice is the best allocation of the frame if earlier users are as decided and later ones local.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...compilation import inner, rare
from ..core.simulator import CLIP, Feature, ObservationSchema
from .allocation import SYSTEMS, frame_value
from .frame_state import FrameWorld

FRAME_SCHEMA = ObservationSchema(
    candidates=(
        Feature("offloads", "1 for offloading"),
        Feature("bits", "forecast of the user's bits, / unit; log2(1 + .) / 4"),
        Feature("energy", "forecast of the user's energy, J; / unit; log2(1 + .) / 4"),
        Feature("time", "forecast share of the frame in which the user sends"),
        Feature(
            "advantage",
            "forecast value of the frame less that if the user is local, in bits of the user; / unit; "
            "sign x log2(1 + size) / 4",
        ),
    ),
    context=(
        Feature("droo", "1 for wireless power"),
        Feature("lydroo", "1 for queues"),
        Feature("weight", "of the user / mean weight"),
        Feature("fading", "log10(gain of the user / its mean gain)"),
        Feature("mean_gain", "log10(mean gain of the user / geometric mean of those of all)"),
        Feature("snr", "log10 of the signal-to-noise ratio at full power; droo: with a whole frame's harvest"),
        Feature("stronger", "share of users with a higher weight x gain"),
        Feature("queue", "bits of the user that wait, / unit; log2(1 + .) / 4"),
        Feature("energy_queue", "J of the user beyond the budget, / unit; log2(1 + .) / 4"),
        Feature("decided", "share of users decided in this frame"),
        Feature("later", "users to be decided after this one; log2(1 + .) / 4"),
        Feature("offloading", "share of earlier users that offload; 0 if there are none"),
        Feature("time", "share of the frame in which they would send if all others were local"),
        Feature("later_snr", "mean of what snr would show of later users; 0 if there are none"),
        Feature("later_queue", "mean of later users' bits that wait, / unit; log2(1 + .) / 4"),
        Feature("later_energy_queue", "mean of later users' J beyond the budget, / unit; log2(1 + .) / 4"),
        Feature("elapsed", "share of the episode's frames that are over"),
    ),
)
"""The unit of bits is what arrives of a user in a frame on average, that of energy the budget; in droo these are what a
user in the middle of the distances computes itself and harvests in a whole frame."""

_LYDROO = SYSTEMS.index("lydroo")
_LEAST = 1e-12


@inner
def _clip(value: float) -> np.float32:
    return np.float32(min(max(value, -CLIP), CLIP))


@inner
def _magnitude(value: float) -> np.float32:
    """Returns sign x log2(1 + size) / 4."""
    return _clip(np.copysign(0.25 * np.log2(1.0 + abs(value)), value))


@inner
def _log10(ratio: float) -> float:
    return float(np.log10(max(ratio, _LEAST)))


@inner
def _log_snr(law: Any, gain: float) -> float:
    power = law.power if law.system == _LYDROO else law.efficiency * law.power * gain
    return _log10(power * gain / (law.noise * law.bandwidth))


@inner
def _show_candidates(world: FrameWorld, b: int, user: int) -> float:
    """Shows both choices; returns the share of the frame in which earlier users would send."""
    state, bench, law, units = world.state, world.bench, world.frame[0], world.units
    choices = state.choices[b]
    worth = state.weights[b, user] / law.duration
    if law.system == _LYDROO:
        worth = state.queues[b, user] + law.rate_weight * state.weights[b, user]
    time, local = 0.0, 0.0
    for choice in range(2):
        choices[user] = choice
        value = frame_value(
            world.frame, state.gains[b], state.weights[b], state.queues[b], state.energy_queues[b], choices,
            bench.room, bench.shares, bench.bits, bench.energies,
        )  # fmt: skip
        if choice == 0:
            local = value
            for earlier in range(user):
                time += bench.shares[earlier]
        features = world.shown.candidates[b, choice]
        features[0] = np.float32(choice)
        features[1] = _magnitude(bench.bits[user] / units[0])
        features[2] = _magnitude(bench.energies[user] / units[1])
        features[3] = _clip(bench.shares[user])
        features[4] = _magnitude((value - local) / (worth * units[0]))
    choices[user] = 0
    return time


@inner
def _show_user(world: FrameWorld, b: int, user: int) -> None:
    state, context, num_users = world.state, world.shown.context[b], world.weights.size
    gain, mean_gain, weight = state.gains[b, user], state.mean_gains[b, user], state.weights[b, user]
    weights, stronger = 0.0, 0
    for other in range(num_users):
        weights += state.weights[b, other]
        stronger += state.weights[b, other] * state.gains[b, other] > weight * gain
    context[2] = _clip(weight * num_users / weights)
    context[3] = _clip(_log10(gain / mean_gain))
    context[4] = _clip(_log10(mean_gain / state.status[b].usual_gain))
    context[5] = _clip(_log_snr(world.frame[0], gain))
    context[6] = np.float32(stronger / num_users)
    context[7] = _magnitude(state.queues[b, user] / world.units[0])
    context[8] = _magnitude(state.energy_queues[b, user] / world.units[1])


@inner
def _show_others(world: FrameWorld, b: int, user: int) -> None:
    state, context, num_users = world.state, world.shown.context[b], world.weights.size
    offloading, snr, queue, energy_queue = 0, 0.0, 0.0, 0.0
    for earlier in range(user):
        offloading += state.choices[b, earlier]
    later = num_users - user - 1
    for other in range(user + 1, num_users):
        snr += _log_snr(world.frame[0], state.gains[b, other]) / later
        queue += state.queues[b, other] / later
        energy_queue += state.energy_queues[b, other] / later
    context[9] = np.float32(user / num_users)
    context[10] = _magnitude(float(later))
    context[11] = np.float32(offloading / max(user, 1))
    context[13] = _clip(snr)
    context[14] = _magnitude(queue / world.units[0])
    context[15] = _magnitude(energy_queue / world.units[1])


@rare
def show(world: FrameWorld, b: int) -> None:
    """Brings the observation of one episode up to date."""
    status, shown, system = world.state.status[b], world.shown, world.frame[0].system
    context = shown.context[b]
    shown.action_mask[b, 0], shown.action_mask[b, 1] = 1, not status.is_over
    if status.is_over:
        for column in range(context.size):
            context[column] = np.float32(0.0)
        for row in range(2):
            for column in range(shown.candidates.shape[2]):
                shown.candidates[b, row, column] = np.float32(0.0)
        return
    context[0], context[1] = np.float32(system != _LYDROO), np.float32(system == _LYDROO)
    context[12] = _clip(_show_candidates(world, b, status.user))
    _show_user(world, b, status.user)
    _show_others(world, b, status.user)
    context[16] = np.float32(status.frame / world.drawn[0].num_frames)
