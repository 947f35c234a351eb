"""Where episodes of offloading in frames stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .allocation import ROOM
from .instance import FloatArray, Records
from .state import View

DRAWN = np.dtype(
    [
        ("num_frames", np.int64),
        ("nearest", np.float64),  # metres
        ("farthest", np.float64),
        ("is_even", np.bool_),  # users stand evenly between the two; else each anywhere
        ("antenna_gain", np.float64),
        ("carrier", np.float64),  # Hz
        ("exponent", np.float64),  # of the path loss
        ("fading", np.int64),  # place in `workloads.fading.FADINGS`
        ("k_factor", np.float64),
        ("doppler", np.float64),  # Hz
        ("mean_arrival", np.float64),  # bits of a user in a frame
    ],
    align=True,
)
"""What episodes are drawn from."""

STATUS = np.dtype(
    [
        ("seed", np.int64),
        ("episode", np.int64),
        ("is_given", np.bool_),  # whether gains and arrivals are those of an instance
        ("is_over", np.bool_),
        ("frame", np.int64),
        ("user", np.int64),  # who is decided
        ("usual_gain", np.float64),  # geometric mean of the users' mean gains
        ("bits", np.float64),  # sums over users and frames that are over
        ("weighted_bits", np.float64),
        ("energy", np.float64),  # J
        ("backlog", np.float64),  # bits
    ],
    align=True,
)
"""The numbers of one episode."""

ROW = np.dtype(
    [
        ("frame", np.int64),
        ("user", np.int64),
        ("offloads", np.bool_),
        ("gain", np.float64),
        ("share", np.float64),  # of the frame's time, in which it sent
        ("bits", np.float64),  # computed
        ("energy", np.float64),  # J
        ("queue", np.float64),  # bits, at the beginning of the frame
        ("energy_queue", np.float64),  # J, likewise
        ("reward", np.float64),  # of the whole frame
    ],
    align=True,
)
"""What became of a user in a frame."""


@dataclass(frozen=True, eq=False)
class FrameInstance:
    """One episode.

    Attributes:
        gains: float64 (M, K), power gains by frame and user; >= 0.
        arrivals: float64 (M, K), bits that arrive in each frame; >= 0, not read of droo.
        weights: float64 (K,), of the users; > 0.
        mean_gains: float64 (K,), around which gains fade, as observations show; > 0.
    """

    gains: FloatArray
    arrivals: FloatArray
    weights: FloatArray
    mean_gains: FloatArray


class FrameState(NamedTuple):
    """Where the episodes of a batch stand."""

    status: Records  # (B,) of STATUS
    gains: FloatArray  # (B, K), of the frame
    mean_gains: FloatArray  # (B, K)
    weights: FloatArray  # (B, K)
    queues: FloatArray  # (B, K) bits
    energy_queues: FloatArray  # (B, K) J
    choices: NDArray[np.int8]  # (B, K), of the frame; 0 for those not yet decided
    log: Records  # (B, L, K) of ROW; goes round

    @classmethod
    def empty(cls, num_envs: int, num_users: int, log_frames: int) -> FrameState:
        """Returns room for B episodes.

        Args:
            num_envs: B.
            num_users: K.
            log_frames: L, frames that are remembered.
        """
        gains, mean_gains, weights, queues, energy_queues = np.zeros((5, num_envs, num_users))
        return cls(
            status=np.zeros(num_envs, STATUS),
            gains=gains,
            mean_gains=mean_gains,
            weights=weights,
            queues=queues,
            energy_queues=energy_queues,
            choices=np.zeros((num_envs, num_users), np.int8),
            log=np.zeros((num_envs, log_frames, num_users), ROW),
        )


class Bench(NamedTuple):
    """What a frame is allocated in: an array each, with an entry a user."""

    room: Records  # (K,) of allocation.ROOM
    shares: FloatArray  # (K,)
    bits: FloatArray  # (K,)
    energies: FloatArray  # (K,) J

    @classmethod
    def empty(cls, num_users: int) -> Bench:
        """Returns one for so many users."""
        return cls(np.zeros(num_users, ROOM), *np.zeros((3, num_users)))


class FrameWorld(NamedTuple):
    """All that the kernels of a batch read and write."""

    frame: Records  # (1,) of allocation.FRAME
    drawn: Records  # (1,) of DRAWN
    weights: FloatArray  # (K,), of episodes that are drawn
    units: FloatArray  # (2,) bits and J by which features are divided
    given_gains: FloatArray  # (B, M, K), or (0, M, K) if no instances are given
    given_arrivals: FloatArray  # likewise, bits
    state: FrameState
    bench: Bench
    outcome: Records  # (B,) of OUTCOME
    shown: View
