"""Rules of thumb for offloading as policies, and their names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....envs import Simulator
from ....envs.core.simulator import Arrays
from ....envs.offloading.frames import FrameSimulator
from ....envs.offloading.simulator import OffloadSimulator
from ....errors import HetgymError, unknown_name
from ...policy import Policy
from .frame_policies import FrameSearch
from .rules import RULES, Settings, choose

KNOBS = {"all-local": (-1.0, 1.0, 1.0), "all-edge": (1.0, 1.0, 1.0)}
"""What rules do in the continuous face, where there are no targets to choose from: nothing or all of a request is sent,
with all power and speed."""

IN_FRAMES = {"all-local": 0, "all-edge": 1}
"""What rules do in frames, where each user computes its data or offloads them."""

DESCRIPTIONS = {
    "all-local": "Computes all on the own device.",
    "all-edge": "Sends all to the edge, where the rate is highest.",
    "all-cloud": "Sends all to the cloud, where the rate is highest.",
    "round-robin": "Takes the targets in turn, the own device included.",
    "least-work": "Goes where least work waits, in seconds.",
    "jsq": "Joins the shortest queue (doi:10.1017/S0021900200104772); of equals by the highest rate.",
    "power-of-two": "Draws two targets, and joins the shorter queue (doi:10.1109/71.963420).",
    "greedy-delay": "Takes the least forecast delay.",
    "greedy-energy": "Takes the least forecast energy.",
    "greedy-social": "Takes the least forecast delay, that of others included.",
    "weighted-greedy": "Takes the least forecast cost, by the weights of the objectives.",
    "weighted-selfish": "Takes the least forecast cost of its own, whatever it costs others.",
    "neurosurgeon": "Cuts where computing and sending take least time, without queues (doi:10.1145/3037697.3037698).",
    "neurosurgeon-energy": "Cuts where computing and sending take least energy of the device (the same paper).",
}
"""Rules without settings, by name."""

SEARCHES = {
    "frame-search": ("Frames: the best of all choices of up to 12 users; LyDROO's drift plus penalty.", True),
    "frame-descent": ("Frames: changes a choice at a time while that helps (arXiv:1708.08810).", False),
}
"""Searches for the choices of a frame, by name; whether they try all."""


class OffloadPolicy:
    """One of the `RULES` as a policy.

    Attributes:
        name: What it is called.
        conditioned: Whether it reads the weights of the episode.
        reactive: Whether it keeps no queues, which its own decisions fill.
    """

    clairvoyant = False
    observes = False

    def __init__(self, name: str, rule: str, settings: Settings | None = None) -> None:
        """Chooses the rule.

        Args:
            name: What it is called.
            rule: One of `RULES`.
            settings: Of the rule; by default the usual ones.

        Raises:
            HetgymError: If there is no such rule.
        """
        if rule not in RULES:
            raise unknown_name("rule for offloading", rule, list(RULES))
        self.name = name
        self.conditioned = rule in ("weighted-greedy", "weighted-selfish")
        self.reactive = rule != "lyapunov"
        self._rule, self._code = rule, RULES.index(rule)
        self._settings = settings or Settings()

    def reset(self, simulator: Simulator) -> None:
        """Forgets earlier episodes.

        Raises:
            HetgymError: If the simulator is of another family, has a continuous face, or frames, that the rule is not
                for.
        """
        if isinstance(simulator, FrameSimulator) and self._rule in IN_FRAMES:
            return
        played = offloading(self.name, simulator)
        if played.rules.continuous and self._rule not in KNOBS:
            raise HetgymError(f"policy {self.name!r} chooses a target: it cannot decide shares (continuous: true)")
        self._cloud = played.source.cloud
        self._queues = np.zeros(played.state.user_state.shape)

    def act(self, observation: Arrays, simulator: Simulator) -> NDArray[Any]:
        """Returns a candidate for each episode, int64 (B,); in the continuous face its knobs, float64 (B, 3)."""
        if isinstance(simulator, FrameSimulator):
            return np.full(simulator.num_envs, IN_FRAMES[self._rule], np.int64)
        played = offloading(self.name, simulator)
        if played.rules.continuous:
            return np.tile(KNOBS[self._rule], (played.num_envs, 1))
        actions = np.empty(played.num_envs, np.int64)
        choose(played.handle, self._code, self._settings, self._cloud, self._queues, actions)
        return actions


def offloading(name: str, simulator: Simulator) -> OffloadSimulator:
    """Returns a simulator in which requests are offloaded.

    Args:
        name: Of the policy, for the message.
        simulator: Any.

    Raises:
        HetgymError: If it is another.
    """
    if not isinstance(simulator, OffloadSimulator):
        raise HetgymError(
            f"policy {name!r} offloads requests: it needs a scenario of the family offloading with requests"
        )
    return simulator


def threshold(delay: float = 1.0, rate: float = 0.0) -> OffloadPolicy:
    """Computes on the own device what does not take too long there, waiting included; else goes by the highest rate.

    Args:
        delay: What takes longer is sent, delay units.
        rate: What cannot be sent at so much is not sent, bit/s.

    Raises:
        HetgymError: If a number is negative.
    """
    checked = Settings(delay=_checked("threshold", "delay", delay), rate=_checked("threshold", "rate", rate))
    return OffloadPolicy("threshold", "threshold", checked)


def lyapunov(penalty: float = 1.0, budget: float | None = None) -> OffloadPolicy:
    """Weighs delay against a virtual queue of energy: drift plus penalty (doi:10.1109/JSAC.2016.2611964).

    Args:
        penalty: Weight of the delay; the larger, the more energy is used before the queue counts.
        budget: J for each request on average; by default what its options take on average, which a choice by chance
            would take.

    Raises:
        HetgymError: If a number is negative.
    """
    joules = np.nan if budget is None else _checked("lyapunov", "budget", budget)
    checked = Settings(penalty=_checked("lyapunov", "penalty", penalty), budget=joules)
    return OffloadPolicy("lyapunov", "lyapunov", checked)


def _checked(policy: str, name: str, number: float) -> float:
    if not 0 <= number < np.inf:
        raise HetgymError(f"policy {policy!r}: {name}: must be zero or more, and finite (given: {number})")
    return float(number)


def named_policies() -> dict[str, Callable[..., Policy]]:
    """Returns what makes each policy of the family, by name."""
    makers: dict[str, Callable[..., Policy]] = {name: _maker(name, line) for name, line in DESCRIPTIONS.items()}
    for name, (line, tries_all) in SEARCHES.items():
        search = partial(FrameSearch, name, tries_all)
        search.__doc__ = line
        makers[name] = search
    return makers | {"threshold": threshold, "lyapunov": lyapunov}


def _maker(name: str, description: str) -> Callable[..., Policy]:
    maker = partial(OffloadPolicy, name, name)
    maker.__doc__ = description
    return maker
