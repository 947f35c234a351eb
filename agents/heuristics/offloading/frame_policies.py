"""Policies for offloading in frames."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....compilation import handle_kernel, hold, rare
from ....envs import Simulator
from ....envs.core.simulator import Arrays
from ....envs.offloading.frame_state import Bench, FrameWorld
from ....envs.offloading.frames import FrameSimulator
from ....errors import HetgymError
from ...policy import Actions
from .frame_search import best_choices_coordinate_descent, best_choices_exhaustive

MOST_USERS = 12
"""Of a frame whose choices are all tried."""


class Plans(NamedTuple):
    """What has been decided for the frames at hand."""

    choices: NDArray[np.int8]  # (B, K)
    is_made: NDArray[np.bool_]  # (B,)
    bench: Bench


class FrameSearch:
    """The choices that make a frame best, allocated as well as can be; searched for with the frame's first user.

    On ``mec-droo`` the best of all choices are the optimum that DROO is compared with. On ``mec-lydroo`` they make
    Lyapunov's drift plus penalty least, as far as choices change it: LyDROO without its network.

    Sources: Huang, Bi, Zhang, doi:10.1109/TMC.2019.2928811; Bi, Huang, Wang, Zhang, doi:10.1109/TWC.2021.3085319.

    Attributes:
        name: What it is called.
    """

    clairvoyant = False
    observes = False

    def __init__(self, name: str, exhaustive: bool) -> None:
        """Chooses the search.

        Args:
            name: What it is called.
            exhaustive: Whether to try all choices, where there are at most `MOST_USERS` users. Else coordinate descent
                changes one choice at a time, from all local.
        """
        self.name = name
        self._exhaustive = exhaustive

    def reset(self, simulator: Simulator) -> None:
        """Forgets the frames at hand.

        Raises:
            HetgymError: If the simulator is not one of frames.
        """
        shape = frames_of(self.name, simulator).state.choices.shape
        plans = Plans(np.zeros(shape, np.int8), np.zeros(shape[0], np.bool_), Bench.empty(shape[1]))
        self._plans = hold(plans)
        self._tries_all = self._exhaustive and shape[1] <= MOST_USERS

    def act(self, observation: Arrays, simulator: Simulator) -> Actions:
        """Returns what each episode does, int64 (B,)."""
        actions = np.empty(simulator.num_envs, np.int64)
        search_frames(frames_of(self.name, simulator).handle, self._plans, self._tries_all, actions)
        return actions


def frames_of(name: str, simulator: Simulator) -> FrameSimulator:
    """Returns a simulator as one of frames.

    Raises:
        HetgymError: If it is another.
    """
    if not isinstance(simulator, FrameSimulator):
        raise HetgymError(
            f"policy {name!r} decides frames: it needs an offloading scenario with a workload of kind frames"
        )
    return simulator


@rare
def _make_plan(world: FrameWorld, plans: Plans, b: int, tries_all: bool) -> None:
    state, bench, choices = world.state, plans.bench, plans.choices[b]
    if tries_all:
        best_choices_exhaustive(
            world.frame, state.gains[b], state.weights[b], state.queues[b], state.energy_queues[b],
            bench.room, bench.shares, bench.bits, bench.energies, choices,
        )  # fmt: skip
        return
    for user in range(choices.size):
        choices[user] = 0
    best_choices_coordinate_descent(
        world.frame, state.gains[b], state.weights[b], state.queues[b], state.energy_queues[b],
        bench.room, bench.shares, bench.bits, bench.energies, choices,
    )  # fmt: skip


@rare
def _search_frames(world: FrameWorld, plans: Plans, tries_all: bool, actions: Actions) -> None:
    for b in range(actions.size):
        status = world.state.status[b]
        actions[b] = 0
        if not status.is_over:
            if status.user == 0 or not plans.is_made[b]:
                _make_plan(world, plans, b, tries_all)
                plans.is_made[b] = True
            actions[b] = plans.choices[b, status.user]


@handle_kernel
def search_frames(handle: Any, plans: Any, tries_all: bool, actions: Actions) -> None:
    """Writes what each episode does; with a frame's first user all of its choices are searched for.

    Args:
        handle: Of a `FrameWorld`.
        plans: Of `Plans`.
        tries_all: Whether to try all choices; else by coordinate descent.
        actions: int64 (B,), written.
    """
    _search_frames(handle.value, plans.value, tries_all, actions)
