"""The rewards of expert caching."""

from __future__ import annotations

from ...compilation import inner
from .state import Episode

REWARDS = ("stall",)
"""Names."""


@inner
def reward(episode: Episode) -> float:
    """Minus the stall and the price of lost precision since the last decision; stall / mean ideal time of a pass."""
    status = episode.status[0]
    stall, price = status.stall - status.paid_stall, status.price - status.paid_price
    status.paid_stall, status.paid_price = status.stall, status.price
    return float(-(stall / status.unit + price))
