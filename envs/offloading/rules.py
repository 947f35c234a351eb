"""The rules of offloading as kernels read them; `docs/offloading.md` says what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Epochs = Literal["arrival", "slot"]
RewardKind = Literal["forecast", "realised"]

OBJECTIVES = ("delay", "energy", "misses")
"""What costs count, in the order of weights and of vector rewards."""

DELAY, ENERGY, MISSES = range(len(OBJECTIVES))

LAW = np.dtype(
    [
        ("num_requests", np.int64),  # -1: until the horizon
        ("horizon", np.float64),  # seconds; inf for none
        ("by_slot", np.bool_),  # one decision a slot, not one an arrival
        ("slot", np.float64),  # seconds
        ("charges_forecasts", np.bool_),
        ("draws_weights", np.bool_),
        ("users_in_turn", np.bool_),
        ("logs", np.bool_),  # whether what became of requests is written down
    ],
    align=True,
)
"""The numbers of the rules."""


@dataclass(frozen=True)
class Rules:
    """How an episode is played.

    Attributes:
        num_requests: Requests of an episode; None: those that arrive up to the horizon.
        horizon: Seconds up to which requests arrive.
        epochs: Whether requests are decided at their ``arrival`` or one in each ``slot``.
        slot: Seconds of a slot.
        room: Requests that can be on their way.
        reward: Whether costs are charged by ``forecast`` or when they are ``realised``.
        draws_weights: Whether each episode draws its weights.
        users_in_turn: Whether users ask in turn; else each is as likely to have a request.
        continuous: Whether a share, a power and a speed are decided, not a target.
    """

    num_requests: int | None = None
    horizon: float = np.inf
    epochs: Epochs = "arrival"
    slot: float = 1.0
    room: int = 256
    reward: RewardKind = "forecast"
    draws_weights: bool = False
    users_in_turn: bool = False
    continuous: bool = False

    def law(self) -> NDArray[np.void]:
        """Returns the rules as kernels read them, (1,) of `LAW`."""
        law = np.zeros(1, LAW)
        law["num_requests"] = -1 if self.num_requests is None else self.num_requests
        law["horizon"], law["slot"] = self.horizon, self.slot
        law["by_slot"], law["charges_forecasts"] = self.epochs == "slot", self.reward == "forecast"
        law["draws_weights"], law["users_in_turn"], law["logs"] = self.draws_weights, self.users_in_turn, True
        return law
