"""How graphs are decided and run, as `docs/dispatch.md` explains it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Mode = Literal["plan", "dispatch"]
Contention = Literal["none", "link", "nic", "fair"]
OnFailure = Literal["restart", "resume"]
Information = Literal["expected", "exact", "blind"]

CONTENTIONS = ("none", "link", "nic", "fair")
"""In the order of the codes that kernels take."""


@dataclass(frozen=True)
class Rules:
    """How graphs are decided and run.

    Attributes:
        mode: Before anything runs (``plan``), or while it runs (``dispatch``); what follows concerns one of the two.
        insertion: Plan: whether tasks may go into gaps.
        queue_limit: Dispatch: how many tasks may wait on a device behind the one in front.
        contention: Dispatch: what transfers have to share.
        moving_delay: Dispatch: seconds that a device prepares for a task of another job.
        on_failure: Dispatch: what becomes of the tasks in the line of a device that fails.
        speed_steps: Dispatch: between how many operating points of each device can be chosen, M.
        power_cap: Dispatch: W, for all devices together.
    """

    mode: Mode = "plan"
    insertion: bool = True
    queue_limit: int = 0
    contention: Contention = "none"
    moving_delay: float = 0.0
    on_failure: OnFailure = "restart"
    speed_steps: int = 1
    power_cap: float = float("inf")

    def law(self) -> NDArray[Any]:
        """Returns them as kernels read them, (1,) of `LAW`."""
        law = np.zeros(1, LAW)
        for name in ("insertion", "queue_limit", "moving_delay", "power_cap"):
            law[name] = getattr(self, name)
        law["contention"] = CONTENTIONS.index(self.contention)
        law["resumes"] = self.on_failure == "resume"
        law["horizon"] = np.inf
        return law


LAW = np.dtype(
    [
        ("insertion", np.bool_),
        ("queue_limit", np.int64),
        ("contention", np.int64),
        ("moving_delay", np.float64),  # seconds
        ("resumes", np.bool_),  # whether tasks stay in the line of a device that fails
        ("power_cap", np.float64),  # W
        ("is_stream", np.bool_),
        ("horizon", np.float64),  # seconds
        ("warmup", np.float64),  # seconds
    ],
    align=True,
)
"""The numbers of `Rules`, and those of a stream's end."""
