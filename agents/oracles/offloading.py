"""Oracles of offloading's discrete face that plan whole episodes, and the search through all that can be chosen."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...envs import Simulator
from ...envs.core.simulator import Arrays
from ...envs.offloading.instance import FloatArray, Instance
from ...envs.offloading.rules import Rules
from ...envs.offloading.simulator import OffloadSimulator
from ...envs.offloading.state import IntArray
from ...errors import HetgymError
from ..heuristics.offloading.policy import offloading
from ..policy import Actions
from .offloading_bounds import (
    SIDE_BY_SIDE,
    Objective,
    check_objective,
    existing_candidates,
    given_simulator,
    play_choices,
)

MOST_COMBINATIONS = 200_000
"""That `ExhaustiveSearch` plays."""


class Planner(ABC):
    """An oracle that plans every episode at reset, and then plays its plan.

    Attributes:
        name: What it is called.
    """

    name: str
    clairvoyant = True
    observes = False
    reactive = False

    @abstractmethod
    def plan(self, instance: Instance, rules: Rules) -> IntArray:
        """Returns a candidate for each request, int64 (N,).

        Args:
            instance: The episode.
            rules: How it is played.
        """

    def reset(self, simulator: Simulator) -> None:
        """Plans every episode.

        Raises:
            HetgymError: If the simulator is of another family, its face is continuous, or nobody knows how many
                requests there will be.
        """
        played = offloading(self.name, simulator)
        if played.rules.continuous:
            raise HetgymError(f"policy {self.name!r} chooses a target: it cannot decide shares (continuous: true)")
        count = played.rules.num_requests
        if count is None and not played.state.status["is_given"].all():
            raise HetgymError(f"policy {self.name!r} plans whole episodes: the scenario must have num_requests")
        plans = [self.plan(played.instance(row, count), played.rules) for row in range(played.num_envs)]
        self._choices = np.zeros((len(plans), max(map(len, plans))), np.int64)
        for row, choices in enumerate(plans):
            self._choices[row, : len(choices)] = choices

    def act(self, observation: Arrays, simulator: Simulator) -> Actions:
        """Returns the next candidate of each plan, int64 (B,)."""
        decided = offloading(self.name, simulator).state.status["decided"]
        step = np.minimum(decided, self._choices.shape[1] - 1)
        actions: Actions = self._choices[np.arange(len(step)), step]
        return actions


@dataclass(frozen=True, eq=False)
class BestChoices:
    """The best that there is.

    Attributes:
        choices: int64 (N,), a candidate for each request; the first of equals.
        value: Of the objective.
    """

    choices: IntArray
    value: float


class ExhaustiveSearch(Planner):
    """Plays all combinations of candidates in the simulator, and takes the best: exact, for few requests."""

    name = "exhaustive"

    def __init__(self, objective: Objective = "cost") -> None:
        """Chooses what counts.

        Args:
            objective: Of the whole episode.

        Raises:
            HetgymError: If there is no such objective.
        """
        check_objective(objective)
        self._objective: Objective = objective

    def plan(self, instance: Instance, rules: Rules) -> IntArray:
        """Returns the best candidate for each request (`Planner.plan`)."""
        return self.search(instance, rules).choices

    def search(self, instance: Instance, rules: Rules | None = None) -> BestChoices:
        """Returns the best of all choices for an episode.

        Args:
            instance: The episode.
            rules: How it is played; by default with the usual ones.

        Raises:
            HetgymError: If there are too many combinations.
        """
        rules = rules or Rules()
        exists, count = existing_candidates(instance), len(instance.requests)
        combinations = math.prod(exists.sum(axis=1).tolist())
        if combinations > MOST_COMBINATIONS:
            raise HetgymError(
                f"policy {self.name!r}: {count} requests have {combinations} combinations of candidates: there must be "
                f"no more than {MOST_COMBINATIONS}"
            )
        rules = replace(rules, room=min(rules.room, count), reward="realised")
        simulator = given_simulator([instance] * min(combinations, SIDE_BY_SIDE), rules)
        simulator.logs = False
        best = BestChoices(np.zeros(count, np.int64), math.inf)
        for begin in range(0, combinations, simulator.num_envs):
            choices = _combinations(exists, begin, min(simulator.num_envs, combinations - begin))
            # The last batch is filled up with its last combination.
            choices = np.pad(choices, ((0, simulator.num_envs - len(choices)), (0, 0)), mode="edge")
            play_choices(simulator, choices)
            values = _values(simulator, self._objective)
            first = int(values.argmin())
            if values[first] < best.value:
                best = BestChoices(choices[first], float(values[first]))
        return best


def _combinations(exists: NDArray[np.bool_], begin: int, count: int) -> IntArray:
    """Returns some combinations of candidates, those of the last request changing fastest, int64 (count, N)."""
    rest = np.arange(begin, begin + count)
    choices = np.empty((count, len(exists)), np.int64)
    for n in range(len(exists) - 1, -1, -1):
        candidates = np.flatnonzero(exists[n])
        choices[:, n] = candidates[rest % len(candidates)]
        rest //= len(candidates)
    return choices


def _values(simulator: OffloadSimulator, objective: Objective) -> FloatArray:
    """Returns an objective of episodes that are over, float64 (B,)."""
    values: FloatArray
    if objective == "cost":
        values = (simulator.state.weights * simulator.state.total).sum(axis=1)
    else:
        values = simulator.state.status[objective].copy()
    return values
