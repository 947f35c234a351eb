"""Searches for the choices that make the best frame, each of which is allocated as well as can be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ....compilation import kernel
from ....envs.offloading.allocation import frame_value
from ....envs.offloading.instance import FloatArray


@kernel
def best_choices_exhaustive(
    frame: NDArray[np.void],
    gains: FloatArray,
    weights: FloatArray,
    queues: FloatArray,
    energy_queues: FloatArray,
    room: NDArray[np.void],
    shares: FloatArray,
    bits: FloatArray,
    energies: FloatArray,
    choices: NDArray[np.int8],
) -> float:
    """Tries all 2^K choices; returns the value of the best, in bit/s (droo) or bit^2 (lydroo).

    The first of equals counts, in the order of binary numbers with user 0 as the last digit.

    Args:
        frame: (1,) of `FRAME`.
        gains: float64 (K,), power gains of the channels.
        weights: float64 (K,), of the users.
        queues: float64 (K,), bits that wait; not read of droo.
        energy_queues: float64 (K,), energy used beyond the budget, J; not read of droo.
        room: (K,) of `ROOM`, to work in.
        shares: float64 (K,), to work in.
        bits: float64 (K,), to work in.
        energies: float64 (K,), to work in.
        choices: int8 (K,), the result.
    """
    best, best_number = -np.inf, 0
    for number in range(1 << choices.size):
        _write_digits(number, choices)
        value = frame_value(
            frame, gains, weights, queues, energy_queues, choices, room, shares, bits, energies
        )  # fmt: skip
        if value > best:
            best, best_number = value, number
    _write_digits(best_number, choices)
    return best


@kernel
def _write_digits(number: int, choices: NDArray[np.int8]) -> None:
    for user in range(choices.size):
        choices[user] = (number >> user) & 1


@kernel
def best_choices_coordinate_descent(
    frame: NDArray[np.void],
    gains: FloatArray,
    weights: FloatArray,
    queues: FloatArray,
    energy_queues: FloatArray,
    room: NDArray[np.void],
    shares: FloatArray,
    bits: FloatArray,
    energies: FloatArray,
    choices: NDArray[np.int8],
) -> float:
    """Changes the one choice that gains most until none gains anything; returns the value that is reached.

    Source: Bi, Zhang, IEEE Transactions on Wireless Communications 17(6), 2018, arXiv:1708.08810.

    The arguments are those of `best_choices_exhaustive`; `choices` holds those to begin with, and then the result.
    """
    best = frame_value(frame, gains, weights, queues, energy_queues, choices, room, shares, bits, energies)
    changed = 0
    while changed >= 0:
        changed = -1
        for user in range(choices.size):
            choices[user] = 1 - choices[user]
            value = frame_value(
                frame, gains, weights, queues, energy_queues, choices, room, shares, bits, energies
            )  # fmt: skip
            choices[user] = 1 - choices[user]
            if value > best:
                best, changed = value, user
        if changed >= 0:
            choices[changed] = 1 - choices[changed]
    return best
