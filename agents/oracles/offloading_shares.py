"""Policies of offloading's continuous face that look at each request by itself: its optimum, and its even share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compilation import handle_kernel, inner
from ...envs import Simulator
from ...envs.core.simulator import Arrays
from ...envs.offloading.advance import LEAST_POWER, LEAST_SPEED, best_rate
from ...envs.offloading.channel import block_at, value_at
from ...envs.offloading.forecast import others_sending
from ...envs.offloading.instance import Records
from ...envs.offloading.state import TRANSIT, World, episode_at
from ...errors import HetgymError
from ..heuristics.offloading.policy import offloading
from .offloading_continuous import SURROUNDINGS, SplitDecision


@inner
def _look_around(world: World, b: int, found: Any) -> None:
    episode = episode_at(world, b)
    now, request = episode.status[0].now, episode.request[0]
    target = best_rate(world, episode, b)
    reached = episode.targets[target - 1]
    server = episode.server_state[reached.server]
    block = block_at(now, episode.block)
    found.target, found.age = target, now - request.arrival
    found.channel = value_at(episode, request.user, reached.access, block)
    found.number, found.interference = others_sending(episode, request.user, reached.access)
    found.processor_wait = max(episode.user_state[request.user].processor_free - now, 0.0)
    found.radio_wait = world.state.forecasts[b, 1 + (target - 1) * episode.options.shape[3]].radio - now
    found.serial_wait, found.others = max(server.serial_free - now, 0.0), server.num_on_way
    for position in range(episode.status[0].on_way):
        remote = episode.remote[episode.order[position]]
        if remote.server == reached.server and remote.stage <= TRANSIT:
            found.serial_wait += remote.serial


@inner
def _look_around_all(world: World, found: Records) -> None:
    for b in range(found.size):
        _look_around(world, b, found[b])


@handle_kernel
def look_around(handle: Any, found: Records) -> None:
    """Writes what the current request of each episode finds.

    Args:
        handle: Of a `World`.
        found: (B,) of `SURROUNDINGS`.
    """
    _look_around_all(handle.value, found)


class _SharePolicy(ABC):
    """A policy of the continuous face that decides one request after the other."""

    name: str
    clairvoyant = False
    observes = False

    @abstractmethod
    def _decide(self, decision: SplitDecision) -> tuple[float, float, float]:
        """Returns the share that goes, and the shares of the user's power and speed."""

    def reset(self, simulator: Simulator) -> None:
        """Does nothing more than check.

        Raises:
            HetgymError: If the simulator is of another family, or its face is not continuous.
        """
        if not offloading(self.name, simulator).rules.continuous:
            raise HetgymError(
                f"policy {self.name!r} decides shares: the scenario must be continuous (continuous: true)"
            )

    def act(self, observation: Arrays, simulator: Simulator) -> NDArray[np.float64]:
        """Returns a share, a power and a speed for each episode, float64 (B, 3) from -1 to 1."""
        played = offloading(self.name, simulator)
        found = np.zeros(played.num_envs, SURROUNDINGS)
        look_around(played.handle, found)
        knobs = np.zeros((played.num_envs, 3))
        for row in np.flatnonzero(~played.state.status["is_over"]):
            decision = SplitDecision.of(played.instance(int(row), 0), played.state.request[row], found[row])
            share, power, speed = self._decide(decision)
            knobs[row] = share, (power - LEAST_POWER) / (1 - LEAST_POWER), (speed - LEAST_SPEED) / (1 - LEAST_SPEED)
        return 2.0 * knobs - 1.0


class Convex(_SharePolicy):
    """Minimises each request's forecast cost over share, power and speed, as if nobody left and nothing changed.

    It is the optimum (`convex_optimum`) of a request that is alone on a channel that does not change; elsewhere it is
    myopic, and a heuristic. Each decision takes milliseconds.
    """

    name = "convex"

    def _decide(self, decision: SplitDecision) -> tuple[float, float, float]:
        best = decision.best()
        return best.fraction, best.power / decision.power, best.factor


class PartialSplit(_SharePolicy):
    """Sends the share with which the local and the remote part end together, with full power and speed."""

    name = "partial-split"

    def _decide(self, decision: SplitDecision) -> tuple[float, float, float]:
        return decision.even_share(), 1.0, 1.0
