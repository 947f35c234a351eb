"""What decides: heuristics, oracles and learned agents have one protocol."""

from __future__ import annotations

from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..envs import Simulator
from ..envs.core.simulator import Arrays

Actions = NDArray[np.int64]

Algorithm = Literal["ppo", "sac", "dqn", "qr-dqn", "use-predictor", "weighted-rule"]
"""How a checkpoint was trained, and what it is named with: ``ppo:PATH``."""


@runtime_checkable
class Policy(Protocol):
    """Decides for a batch of episodes.

    Attributes:
        name: What it is called in tables.
        clairvoyant: Whether it reads the future: realised noise, arrivals, routing. Such a policy is an oracle.

    A policy that never looks at the observation may say so with an attribute ``observes = False``: evaluation then
    leaves observations out, and is faster. One that decides by the weights of the objectives, which an observation
    shows, may say so with ``conditioned = True``: fronts then play it once for each weight vector. One that follows
    a plan made at reset, or a state that takes its own decisions as done, may say so with ``reactive = False``: what
    it would do in a state that others brought about means nothing, and imitation does not ask.
    """

    name: str
    clairvoyant: bool

    def reset(self, simulator: Simulator) -> None:
        """Prepares for the episodes that have just begun."""

    def act(self, observation: Arrays, simulator: Simulator) -> NDArray[Any]:
        """Returns one action for each episode, int64 (B,); in a continuous face float64 (B, ...).

        Args:
            observation: The simulator's observation, (B, ...) each; what a learned agent reads.
            simulator: What a heuristic reads: the state, and names for actions outside the window.
        """
