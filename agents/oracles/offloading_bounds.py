"""What requests take that have all to themselves, and what no choice of offloading's discrete face undercuts."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

from ...envs.offloading.advance import BEGIN, advance
from ...envs.offloading.instance import FloatArray, Instance, Records
from ...envs.offloading.rules import DELAY, ENERGY, MISSES, Rules
from ...envs.offloading.simulator import OffloadSimulator, Source
from ...envs.offloading.state import FORECAST, ROW, IntArray
from ...errors import unknown_name
from ...hardware_models.radio import rate_of, uav_gain
from ...workloads.fading import FADINGS

Objective = Literal["cost", "delay", "energy", "makespan"]
"""Sums over an episode, and the time of its last end: weighted normalised costs, seconds, J, seconds."""

SIDE_BY_SIDE = 64
"""Episodes that are played to find something out."""

_ROUNDING = 1e-9
"""Relative: what times may be off by, as sums of floats."""

_HIGHEST_AMPLITUDE, _HIGHEST_MOVING_AMPLITUDE = math.sqrt(53 * math.log(2)), 4.0
"""Of the scattered paths of `workloads.fading.fading_power`, whose mean power is 1: where blocks are independent,
that of the least uniform number of 53 bits; where something moves, that of 16 waves in phase."""


def given_simulator(instances: Sequence[Instance], rules: Rules) -> OffloadSimulator:
    """Returns a simulator that has begun to play instances.

    Args:
        instances: B of them, of the same shapes.
        rules: How they are played.
    """
    simulator = OffloadSimulator(Source.given(instances[0]), rules, len(instances))
    simulator.observes = False
    simulator.reset(np.zeros(len(instances), np.int64), instances)
    return simulator


def play_choices(simulator: OffloadSimulator, choices: IntArray) -> None:
    """Plays the instances that a simulator was given, from their beginning to their end.

    Args:
        simulator: Its environments were reset with B instances; it is left where the episodes end.
        choices: int64 (B, N), a candidate for each request.
    """
    rows = np.arange(simulator.num_envs)
    advance(simulator.handle, rows, np.full(rows.size, BEGIN), np.zeros((0, 3)), False)
    for actions in np.ascontiguousarray(choices.T):
        simulator.step(actions)


def existing_candidates(instance: Instance) -> NDArray[np.bool_]:
    """Returns which candidates each request has, bool (N, A)."""
    requests = instance.requests
    exists = instance.options["exists"][instance.users["device"][requests["user"]], requests["kind"]]
    others = exists[:, 1:].reshape(len(requests), -1)
    return np.concatenate([exists[:, 0, :1], others], axis=1)


@dataclass(frozen=True, eq=False)
class Alone:
    """What becomes of each candidate of each request if there is no other, decided at its arrival: no end is earlier.

    Whatever is begun later ends later, or at the same time: on a processor, on a channel that changes, in a unit.

    Attributes:
        request: int64 (C,), the request of each of the C candidates, by rising request.
        candidate: int64 (C,), its number among the request's.
        demands: (C,) of `FORECAST`, what it asks for.
        rows: (C,) of `ROW`, what becomes of it.
    """

    request: IntArray
    candidate: IntArray
    demands: Records
    rows: Records

    @classmethod
    def of(cls, instance: Instance) -> Alone:
        """Plays each candidate of each request by itself.

        Args:
            instance: Any.
        """
        request, candidate = np.nonzero(existing_candidates(instance))
        demands, rows = np.zeros(len(request), FORECAST), np.zeros(len(request), ROW)
        singles = [replace(instance, requests=instance.requests[n : n + 1]) for n in range(len(instance.requests))]
        # The last batch is filled up with what was played already; a batch of one would have much room for rows.
        width = np.arange(max(min(len(request), SIDE_BY_SIDE), 2))
        simulator = given_simulator([singles[0]] * len(width), Rules(room=1))
        for begin in range(0, len(request), len(width)):
            played = (begin + width) % len(request)
            simulator.reset(np.zeros(len(width), np.int64), [singles[n] for n in request[played]])
            demands[played] = simulator.state.forecasts[width, candidate[played]]
            simulator.step(candidate[played])
            rows[played] = simulator.state.log[:, 0]
        return cls(request, candidate, demands, rows)

    def least(self, values: FloatArray) -> FloatArray:
        """Returns the least of a number of candidates for each request, float64 (N,).

        Args:
            values: float64 (C,).
        """
        begins = np.flatnonzero(np.diff(self.request, prepend=-1))
        least: FloatArray = np.minimum.reduceat(values, begins)
        return least


def fluid_bound(instance: Instance, objective: Objective = "cost") -> float:
    """Returns what an objective cannot be below, whatever is chosen, in the discrete face.

    - ``delay``: the sum of what each request takes if it is alone; or, if that is more, the least sum of delays on one
      machine that is as fast as all processors and units together, on which each request takes the least time that it
      keeps any of them busy: that of the shortest remaining time first (Schrage, Operations Research 16(3), 1968,
      doi:10.1287/opre.16.3.687).
    - ``energy``: the sum of the least energies, at the highest rates that the channel can have.
    - ``cost``: the sum of the least costs, with the delay of a request that is alone, the energy as above, and a miss
      only if it would miss its deadline alone.
    - ``makespan``: that of a batch in which requests can be divided among their candidates at will, and no processor,
      radio or unit ever waits: a linear program. The bound is made of its dual variables, by weak duality, so it holds
      to rounding whatever the solver's precision.

    Args:
        instance: Any.
        objective: Of what.

    Raises:
        HetgymError: If there is no such objective.
    """
    check_objective(objective)
    alone = Alone.of(instance)
    if objective == "makespan":
        return least_makespan(instance, alone)
    if objective == "delay":
        return max(float(alone.least(alone.rows["delay"]).sum()), _pooled_delay(instance, alone))
    energy = _least_energy(instance, alone)
    if objective == "energy":
        return float(alone.least(energy).sum())
    deadline = instance.requests[alone.request]["deadline"]
    missed = alone.rows["delay"] > deadline + _ROUNDING * alone.rows["end"]
    cost = instance.weights[DELAY] * alone.rows["delay"] / instance.units[DELAY]
    cost += instance.weights[ENERGY] * energy / instance.units[ENERGY]
    cost += instance.weights[MISSES] * np.where(missed, 1.0, alone.demands["error"])
    return float(alone.least(cost).sum())


def check_objective(objective: str) -> None:
    """Checks a name.

    Raises:
        HetgymError: If there is no such objective.
    """
    if objective not in get_args(Objective):
        raise unknown_name("objective of offloading", objective, list(get_args(Objective)))


@dataclass(frozen=True, eq=False)
class _Places:
    """Where the candidates of `Alone` go; what stays on the user's device goes nowhere.

    Attributes:
        user: int64 (C,).
        target: int64 (C,); 0 stays.
        server: int64 (C,); 0 for what stays, which asks nothing of it.
        pace: float64 (C,), seconds per unit of work of a request that is alone in the shared unit.
    """

    user: IntArray
    target: IntArray
    server: IntArray
    pace: FloatArray

    @classmethod
    def of(cls, instance: Instance, alone: Alone) -> _Places:
        target = alone.rows["target"]
        server = instance.targets["server"][np.maximum(target - 1, 0)]
        costs = instance.servers[server]
        return cls(alone.rows["user"], target, server, costs["fixed"] + costs["per_job"])


def _highest_gains(instance: Instance) -> FloatArray:
    """Returns what gains of cells and rates of lines are never above, float64 (K, G)."""
    channel, fading = instance.channel, instance.channel.fading
    root = np.sqrt(fading["k_factor"] * (fading["kind"] == FADINGS.index("rician")))
    amplitude = np.where(fading["doppler"] > 0, _HIGHEST_MOVING_AMPLITUDE, _HIGHEST_AMPLITUDE)
    peak = np.where(fading["kind"] == FADINGS.index("none"), 1.0, (amplitude + root) ** 2 / (1 + root**2))
    highest: FloatArray = channel.gain * peak
    for g in range(len(instance.accesses)):
        flight = channel.flights[g]
        if not instance.accesses["is_radio"][g]:
            highest[:, g] = channel.trace[g, : channel.length[g]].max()
        elif flight["flies"]:
            from_centre = np.hypot(channel.positions[:, 0] - flight["x"], channel.positions[:, 1] - flight["y"])
            highest[:, g] *= uav_gain(float(flight["height"]), np.abs(from_centre - flight["radius"]))
    return highest


def _least_airtimes(instance: Instance, alone: Alone, places: _Places) -> tuple[FloatArray, FloatArray]:
    """Returns the least times in which each candidate is sent and its result comes, float64 (C,) each, seconds."""
    highest, rates = _highest_gains(instance), np.full((2, len(instance.users), 1 + len(instance.targets)), np.inf)
    for t, target in enumerate(instance.targets, 1):
        access, gains = instance.accesses[target["access"]], highest[:, target["access"]]
        up, down = gains, gains * access["down_ratio"]
        if access["is_radio"]:
            up = rate_of(instance.users["power"], gains, access["bandwidth"], access["noise"], 0.0)
            down = rate_of(access["power"], gains, access["down_bandwidth"], access["noise"], 0.0)
        rates[0, :, t], rates[1, :, t] = np.minimum(up, target["backhaul"]), np.minimum(down, target["backhaul"])
    fastest = rates[:, places.user, places.target]
    return alone.demands["up"] / fastest[0], alone.demands["down"] / fastest[1]


def _least_energy(instance: Instance, alone: Alone) -> FloatArray:
    """Returns what energy each candidate takes at least, float64 (C,), J."""
    places, demands = _Places.of(instance, alone), alone.demands
    users, costs = instance.users[places.user], instance.servers[places.server]
    up, down = _least_airtimes(instance, alone, places)
    latency = np.where(places.target > 0, instance.targets["latency"][np.maximum(places.target - 1, 0)], 0.0)
    waits = 2 * latency + demands["serial"] + places.pace * demands["shared"]
    energy = demands["local"] * users["energy"] + users["power"] * up
    energy += users["idle_power"] * waits + users["receive_power"] * down
    energy += (demands["serial"] * costs["speed"] + demands["shared"]) * costs["energy"]
    least: FloatArray = energy
    return least


def _loads(instance: Instance, alone: Alone) -> tuple[FloatArray, IntArray]:
    """Returns for how long each candidate keeps its processor, radio, serial and shared unit busy, and which.

    Returns:
        Seconds at least, float64 (4, C), and numbers among all of these, int64 (4, C).
    """
    places, demands = _Places.of(instance, alone), alone.demands
    users, servers = len(instance.users), len(instance.servers)
    seconds = np.stack(
        [
            demands["local"] / instance.users["speed"][places.user],
            _least_airtimes(instance, alone, places)[0],
            demands["serial"],
            demands["shared"] * instance.servers["per_job"][places.server],
        ]
    )
    machines = np.stack(
        [places.user, users + places.user, 2 * users + places.server, 2 * users + servers + places.server]
    )
    return seconds, machines


def _pooled_delay(instance: Instance, alone: Alone) -> float:
    """Returns the least sum of delays on one machine that is as fast as all processors and units together."""
    seconds, machines = (array[[0, 2, 3]] for array in _loads(instance, alone))
    pooled = len(np.unique(machines[seconds > 0]))
    if not pooled:
        return 0.0
    arrivals, work = instance.requests["arrival"].tolist(), alone.least(seconds.sum(axis=0) / pooled).tolist()
    waiting: list[float] = []
    now, delays = 0.0, -float(sum(arrivals))
    for arrival, left, following in zip(arrivals, work, [*arrivals[1:], math.inf], strict=True):
        now = max(now, arrival)
        heapq.heappush(waiting, left)
        while waiting and now + waiting[0] <= following:
            now += heapq.heappop(waiting)
            delays += now
        if waiting:
            heapq.heapreplace(waiting, waiting[0] - max(following - now, 0.0))
            now = max(now, following)
    return delays


def one_each(alone: Alone) -> Any:
    """Returns the sums over the candidates of each request, a sparse array (N, C)."""
    return sparse.csr_array((np.ones(len(alone.request)), (alone.request, np.arange(len(alone.request)))))


def least_makespan(instance: Instance, alone: Alone) -> float:
    """Returns `fluid_bound` of the makespan.

    Args:
        instance: Any.
        alone: Its requests.
    """
    seconds, machines = _loads(instance, alone)
    begin, count, num_candidates = float(instance.requests["arrival"][0]), len(instance.requests), len(alone.request)
    ends = alone.rows["end"] - begin
    least = begin + float(alone.least(ends).max())
    if least == begin:
        return begin
    seconds, ends = seconds / (least - begin), ends / (least - begin)
    columns = np.arange(num_candidates)
    loads = sparse.coo_array((seconds.ravel(), (machines.ravel(), np.tile(columns, len(seconds)))))
    own = sparse.coo_array((ends, (alone.request, columns)))
    above = sparse.vstack([loads, own]).tocsr()
    # The types of linprog leave out that matrices may be sparse.
    stack: Any = sparse.hstack
    solution = linprog(
        c=np.append(np.zeros(num_candidates), 1.0),
        A_ub=stack([above, np.full((above.shape[0], 1), -1.0)]),
        b_ub=np.zeros(above.shape[0]),
        A_eq=stack([one_each(alone), np.zeros((count, 1))]),
        b_eq=np.ones(count),
    )
    prices = np.maximum(-solution.ineqlin.marginals, 0.0)
    prices /= prices.sum()
    return max(least, begin + (least - begin) * float(alone.least(prices @ above).sum()))
