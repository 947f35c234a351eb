"""The makespan of a batch of offloaded requests, by mixed-integer programming: plans, and what no plan undercuts.

Each candidate of a request goes through machines: the user's processor and radio, a server's serial and shared unit.
On each it has a head (seconds before it can be there), a time for which it keeps the machine busy, and a tail (seconds
that must follow); all are those of a request that is alone, so nothing can be faster. With x the 0-1 choice of
candidates, the makespan is at least

- x_c end_c for each candidate c;
- head_k x_k + the sum of time_j x_j over J + tail_i x_i, for each set J of candidates on a machine whose heads are not
  below head_k and whose tails are not below tail_i, with k and i in J: whatever the order, and whoever shares
  (Carlier, European Journal of Operational Research 11(1), 1982, doi:10.1016/S0377-2217(82)80007-6);
- the same with J all candidates from k to i in the order in which the machine takes them, where that is known: on a
  processor, and in a serial unit if every user has one request.

If each user has one request and each server only serial work, the greatest of these is the makespan; also with servers
that have only shared work, no ``fixed`` time, and one tail for all. Elsewhere it is a lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from ...envs.offloading.instance import FloatArray, Instance
from ...envs.offloading.rules import Rules
from ...envs.offloading.state import IntArray
from ...errors import HetgymError
from .offloading import Planner
from .offloading_bounds import Alone, given_simulator, least_makespan, one_each, play_choices

MOST_REQUESTS = 64
"""Of a batch; constraints grow with the cube."""

PRECISION = 1e-6
"""Relative: what the solver's bound may be off by."""


@dataclass(frozen=True, eq=False)
class StaticSolution:
    """What is known of a batch.

    Attributes:
        status: ``optimal`` if no choice has a makespan smaller by more than `PRECISION`, otherwise ``feasible``.
        choices: int64 (N,), a candidate for each request: the best that was found.
        makespan: Of these choices in the simulator, seconds.
        lower_bound: No choice has a smaller makespan, seconds.
    """

    status: Literal["optimal", "feasible"]
    choices: IntArray
    makespan: float
    lower_bound: float


@dataclass(frozen=True, eq=False)
class _Machine:
    """What could be on a processor, a radio or a unit.

    Attributes:
        places: int64 (c,), of the candidates.
        head: float64 (c,), seconds, as time and tail.
        time: float64 (c,).
        tail: float64 (c,).
        order: int64 (c,), in which it takes them; None if that is not known.
    """

    places: IntArray
    head: FloatArray
    time: FloatArray
    tail: FloatArray
    order: IntArray | None

    def paths(self) -> Iterator[tuple[IntArray, FloatArray]]:
        """Gives each sum that is no more than the makespan: its candidates and their coefficients, seconds."""
        for k, head in enumerate(self.head):
            for i, tail in enumerate(self.tail):
                inside = (self.head >= head) & (self.tail >= tail)
                if inside[k] and inside[i]:
                    yield self._path(inside, k, i)
        if self.order is None:
            return
        rank = np.argsort(self.order)
        for place, k in enumerate(self.order):
            for i in self.order[place:]:
                yield self._path((rank >= place) & (rank <= rank[i]), int(k), int(i))

    def _path(self, inside: NDArray[np.bool_], k: int, i: int) -> tuple[IntArray, FloatArray]:
        seconds = np.where(inside, self.time, 0.0)
        seconds[k] += self.head[k]
        seconds[i] += self.tail[i]
        return self.places[inside], seconds[inside]


def _machines(instance: Instance, alone: Alone) -> Iterator[_Machine]:
    """Gives all machines that two requests could meet on."""
    rows, users = alone.rows, alone.rows["user"]
    servers = np.where(rows["target"] > 0, instance.targets["server"][np.maximum(rows["target"] - 1, 0)], -1)
    costs = instance.servers[np.maximum(servers, 0)]
    end, shared = rows["end"], alone.demands["shared"] * costs["per_job"]
    by_request = np.arange(len(rows))
    reached = np.where(servers >= 0, rows["reached"], np.inf)
    one_each = len(np.unique(instance.requests["user"])) == len(instance.requests)
    by_arrival = np.lexsort((by_request, reached)) if one_each else None
    everything: list[tuple[IntArray, FloatArray, FloatArray, FloatArray, IntArray | None]] = [
        (users, np.zeros(len(rows)), rows["ready"], end - rows["ready"], by_request),
        (users, rows["ready"], rows["airtime"], end - rows["sent"], None),
        (servers, rows["reached"], alone.demands["serial"], end - rows["served"], by_arrival),
        (servers, rows["served"], shared, end - rows["left"], None),
    ]
    for number, head, time, tail, order in everything:
        for machine in np.unique(number[time > 0]):
            there = (number == machine) & (time > 0)
            places = np.flatnonzero(there)
            if len(np.unique(alone.request[places])) > 1:
                own = None if order is None else np.searchsorted(places, order[there[order]])
                yield _Machine(places, head[places], time[places], tail[places], own)


def solve_static(instance: Instance, time_limit: float = 10.0) -> StaticSolution:
    """Returns choices of small makespan for a batch, and a lower bound; the makespan is that of the simulator.

    Args:
        instance: All of its requests arrive at time 0, its channel does not change, and nothing is shared on the air.
        time_limit: Of the solver (HiGHS), seconds.

    Raises:
        HetgymError: If it is another instance, has too many requests, or the limit is not positive.
    """
    _check_static(instance)
    if not time_limit > 0:
        raise HetgymError(f"policy 'milp': time_limit: must be positive (given: {time_limit})")
    alone = Alone.of(instance)
    found, bound = _chosen(instance, alone, time_limit)
    simulator = given_simulator([instance] * len(found), Rules(room=len(instance.requests)))
    play_choices(simulator, found)
    makespans = simulator.state.status["makespan"]
    best = int(makespans.argmin())
    makespan = float(makespans[best])
    bound = min(max(bound, least_makespan(instance, alone)), makespan)
    status: Literal["optimal", "feasible"] = "optimal" if makespan - bound <= PRECISION * makespan else "feasible"
    return StaticSolution(status, found[best], makespan, bound)


def _check_static(instance: Instance) -> None:
    last = float(instance.requests["arrival"][-1])
    if last > 0:
        raise HetgymError(f"policy 'milp': all requests must arrive at time 0 (the last arrives at {last:g} s)")
    if math.isfinite(instance.channel.block):
        raise HetgymError(f"policy 'milp': the channel must not change: no block (given: {instance.channel.block:g} s)")
    if instance.channel.sharing != "dedicated":
        raise HetgymError(f"policy 'milp': sharing: must be 'dedicated' (given: {instance.channel.sharing!r})")
    if len(instance.requests) > MOST_REQUESTS:
        raise HetgymError(
            f"policy 'milp': there must be at most {MOST_REQUESTS} requests (given: {len(instance.requests)})"
        )


def _chosen(instance: Instance, alone: Alone, time_limit: float) -> tuple[IntArray, float]:
    """Returns choices to play, int64 (some, N), and what the solver has proven no makespan to be below, seconds."""
    count, num_candidates = len(instance.requests), len(alone.request)
    end = alone.rows["end"]
    # Whoever is alone ends first at the first of equal ends.
    by_end = np.lexsort((end, alone.request))
    quickest = alone.candidate[by_end[np.flatnonzero(np.diff(alone.request[by_end], prepend=-1))]]
    unit = float(alone.least(end).max())
    if unit == 0.0:
        return quickest[None], 0.0
    paths = [(np.flatnonzero(alone.request == n), end[alone.request == n]) for n in range(count)]
    paths += [path for machine in _machines(instance, alone) for path in machine.paths()]
    row = np.repeat(np.arange(len(paths)), [len(places) for places, _ in paths])
    column, seconds = (np.concatenate(parts) for parts in zip(*paths, strict=True))
    above = sparse.csr_array((seconds / unit, (row, column)), shape=(len(paths), num_candidates))
    stack: Any = sparse.hstack
    solution = milp(
        np.append(np.zeros(num_candidates), 1.0),
        integrality=np.append(np.ones(num_candidates), 0.0),
        bounds=Bounds(0.0, np.append(np.ones(num_candidates), np.inf)),
        constraints=[
            LinearConstraint(stack([above, np.full((len(paths), 1), -1.0)]), -np.inf, 0.0),
            LinearConstraint(stack([one_each(alone), np.zeros((count, 1))]), 1.0, 1.0),
        ],
        options={"time_limit": time_limit, "mip_rel_gap": 0.0},
    )
    bound = 0.0 if solution.mip_dual_bound is None else unit * float(solution.mip_dual_bound)
    if solution.x is None:
        return quickest[None], bound
    taken = solution.x[:-1]
    chosen = [alone.candidate[alone.request == n][taken[alone.request == n].argmax()] for n in range(count)]
    return np.stack([quickest, np.array(chosen)]), bound


class Milp(Planner):
    """Plans a batch for the least makespan by mixed-integer programming (HiGHS), within a time limit."""

    name = "milp"

    def __init__(self, time_limit: float = 10.0) -> None:
        """Chooses how long it searches.

        Args:
            time_limit: Of the solver, for each episode, seconds.

        Raises:
            HetgymError: If it is not positive.
        """
        if not time_limit > 0:
            raise HetgymError(f"policy {self.name!r}: time_limit: must be positive (given: {time_limit})")
        self._time_limit = time_limit

    def plan(self, instance: Instance, rules: Rules) -> IntArray:
        """Returns the best candidate for each request that is found (`Planner.plan`).

        Raises:
            HetgymError: If `solve_static` takes no such instance, or requests are not all decided when they arrive.
        """
        if rules.epochs != "arrival":
            raise HetgymError(f"policy {self.name!r}: epochs: must be 'arrival' (given: {rules.epochs!r})")
        if rules.room < len(instance.requests):
            raise HetgymError(
                f"policy {self.name!r}: room: must be at least {len(instance.requests)}, so that no decision waits "
                f"(given: {rules.room})"
            )
        return solve_static(instance, self._time_limit).choices
