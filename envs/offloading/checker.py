"""What is wrong with a finished episode of offloading, in plain Python from the rules (`docs/offloading.md`).

An episode is given by its table, which `table` describes. Nothing is played again: each time is held against the times
that it follows from, and rates are integrated with what the table says was going on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd

from .instance import Instance
from .table import COLUMNS, REMOTE, WHOLE

TOLERANCE = 1e-9
"""Relative: sums in another order may differ in the last bits."""

ROUNDING = 1e-12
"""Of times, relative to the whole episode: what may be lost of an amount where one of its rates begins or ends."""


def violations(
    table: pd.DataFrame,
    instance: Instance,
    epochs: Literal["arrival", "slot"] = "arrival",
    slot: float = math.inf,
    room: float = math.inf,
    continuous: bool = False,
    metrics: Mapping[str, float] | None = None,
) -> list[str]:
    """Returns what is wrong with a finished episode, one sentence a fault; an empty list if nothing is.

    Checked are: each request is decided once, in order, as soon as its turn comes and there is room, and as it may be;
    processors do their work one at a time, in the order of decisions, and radios in the order in which requests
    became ready, without a pause; the rates integrate to the bits that are sent and to those that come back, given who
    else is sending; the serial units are first come, first served; the shared units do the work that there is, given
    who else is there; delay, energy, misses and errors are those of the times and the options; and metrics are those
    of the rows.

    Args:
        table: The episode.
        instance: What is played.
        epochs: When decisions are taken.
        slot: Seconds, where epochs are slots.
        room: How many requests can be on their way.
        continuous: Whether requests are decided in two parts.
        metrics: What was counted: any of `delay` and `energy` (means), `missed` (the share) and `makespan` (the last
            end); by default that is not checked.
    """
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        return [f"the table has no column {missing[0]!r}"]
    if len(table) != len(instance.requests):
        return [f"the table has {len(table)} rows, for {len(instance.requests)} requests"]
    numbers = table[list(COLUMNS)].astype(np.float64)
    broken = [name for name in WHOLE if not (np.isfinite(numbers[name]) & (numbers[name] % 1 == 0)).all()]
    if broken:
        return [f"column {broken[0]!r} has numbers that are not whole"]
    rows = [Row(*values) for values in numbers.astype(dict.fromkeys(WHOLE, int)).itertuples(index=False, name=None)]
    faults = [fault for number, row in enumerate(rows) for fault in _malformed(number, row, instance, continuous)]
    if faults:
        return faults
    check = _Check(instance, rows, continuous)
    return [
        *check.decisions(epochs, slot, room),
        *check.processors(),
        *check.radios(),
        *check.sendings(),
        *check.serial_units(),
        *check.shared_units(),
        *check.ends(),
        *check.costs(),
        *check.miscounts(metrics or {}),
    ]


@dataclass(frozen=True, eq=False)
class Row:
    """A row of the table."""

    request: int
    user: int
    target: int
    option: int
    arrival: float
    decided: float
    ready: float
    begin_send: float
    sent: float
    reached: float
    served: float
    left: float
    down: float
    end: float
    delay: float
    energy: float
    missed: float
    error: float
    airtime: float
    power: float
    fraction: float
    speed_factor: float

    def __str__(self) -> str:
        return f"request {self.request}"


def _malformed(number: int, row: Row, instance: Instance, continuous: bool) -> Iterator[str]:
    """Checks what can be seen in a row by itself, so that all that follows can go by it."""
    request = instance.requests[number]
    named = {name: getattr(row, name) for name in COLUMNS}
    if row.request != number:
        yield f"row {number} is of request {row.request}"
        return
    if row.user != request["user"]:
        yield f"{row} is of user {row.user} instead of {request['user']}"
    if row.arrival != request["arrival"]:
        yield f"{row} arrives at {row.arrival} instead of {request['arrival']}"
    for name, value in named.items():
        is_there = name not in REMOTE or row.target > 0
        if math.isfinite(value) != is_there or (not is_there and not math.isnan(value)):
            yield f"{row} has {name} {value}, for target {row.target}"
    if row.missed not in (0, 1):
        yield f"{row} has missed {row.missed}"
    yield from _wrong_choice(row, instance, continuous)


def _wrong_choice(row: Row, instance: Instance, continuous: bool) -> Iterator[str]:
    options = instance.options[instance.users["device"][row.user], instance.requests["kind"][row.request]]
    used = {(row.target, row.option)}
    if continuous and row.fraction < 1:
        used.add((0, 0))
    for target, option in used:
        if not (0 <= target < options.shape[0] and 0 <= option < options.shape[1]):
            yield f"{row} has option {option} of target {target}, of {options.shape[1]} and {options.shape[0]}"
        elif not options[target, option]["exists"]:
            yield f"{row} has option {option} of target {target}, which does not exist"
        elif target > 0 and not _is_in_reach(row, instance, options):
            yield f"{row} goes to a cell that is out of reach"
    if row.target > 0 and not row.power > 0:
        yield f"{row} is sent with {row.power} W"
    if not continuous and row.target > 0 and row.power != instance.users["power"][row.user]:
        yield f"{row} is sent with {row.power} W instead of {instance.users['power'][row.user]}"
    if not row.speed_factor > 0 or (not continuous and row.speed_factor != 1):
        yield f"{row} has a processor at {row.speed_factor} times its speed"
    is_split = continuous and 0 < row.fraction < 1
    if row.fraction != float(row.target > 0) and not (row.target > 0 and is_split):
        yield f"{row} has a share of {row.fraction} for target {row.target}"
    if continuous and row.option != 0:
        yield f"{row} is decided in two parts, with option {row.option}"


def _is_in_reach(row: Row, instance: Instance, options: Any) -> bool:
    channel = instance.channel
    block = 0 if math.isinf(channel.block) else math.floor(row.decided / channel.block)

    def gain(target: int) -> float:
        access = instance.targets["access"][target - 1]
        return channel.value(row.user, access, block, True, False) if instance.accesses["is_radio"][access] else 0.0

    open_targets = [target for target in range(1, len(options)) if options[target]["exists"].any()]
    own = gain(row.target)
    return own == 0.0 or own * channel.reach >= max(map(gain, open_targets)) * (1 - TOLERANCE)


class _Check:
    """Holds rows that are well formed against the rules."""

    def __init__(self, instance: Instance, rows: list[Row], continuous: bool) -> None:
        self.instance = instance
        self.rows = rows
        self.remote = [row for row in rows if row.target > 0]
        self.continuous = continuous
        last = max((row.end for row in rows), default=0.0)
        self.slack = TOLERANCE * last
        self.rounding = ROUNDING * last
        self.local_end = self._local_ends()
        self.result_end = {row: self._result_end(row) for row in self.remote}

    def _is(self, value: float, right: float) -> bool:
        return abs(value - right) <= self.slack

    # What a request asks for

    def _option(self, row: Row, target: int) -> Any:
        request = self.instance.requests[row.request]
        return self.instance.options[self.instance.users["device"][row.user], request["kind"], target, row.option]

    def _amount(self, row: Row, name: str) -> float:
        """Returns the units of work, or the bits, that a request asks for."""
        is_own_part = self.continuous and name == "local"
        if is_own_part and row.fraction == 1:
            return 0.0
        share = 1 - row.fraction if is_own_part else row.fraction if self.continuous else 1.0
        request = self.instance.requests[row.request]
        size, work = share * request["size"], share * request["work"]
        terms = self._option(row, 0 if is_own_part else row.target)[name]
        powers = (1.0, size, size * size, work) if len(terms) == 4 else (1.0, size, work)
        return float(sum(term * power for term, power in zip(terms, powers, strict=True)))

    def _target(self, row: Row) -> Any:
        return self.instance.targets[row.target - 1]

    def _server(self, row: Row) -> Any:
        return self.instance.servers[self._target(row)["server"]]

    def _access(self, row: Row) -> Any:
        return self.instance.accesses[self._target(row)["access"]]

    # Decisions

    def decisions(self, epochs: str, slot: float, room: float) -> Iterator[str]:
        """Checks that decisions are taken in order, each when it should be."""
        before: Row | None = None
        for row in self.rows:
            if row.decided < row.arrival - self.slack:
                yield f"{row} is decided at {row.decided}, before it arrives at {row.arrival}"
            if before and row.decided < before.decided:
                yield f"{row} is decided at {row.decided}, before {before} at {before.decided}"
            epoch = self._slot(row, before, slot) if epochs == "slot" else row.arrival
            if epochs == "arrival" and before:
                epoch = max(epoch, before.decided)
            right = self._with_room(row, epoch, room)
            if not self._is(row.decided, right):
                yield f"{row} is decided at {row.decided} instead of {right}"
            before = row

    def _slot(self, row: Row, before: Row | None, slot: float) -> float:
        """Returns when the first slot begins that is not before an arrival, and is after the decision before."""
        after = -math.inf if before is None else before.decided
        number = max(0, int(max(row.arrival, after) / slot) - 1)
        while number * slot < row.arrival or number * slot <= after:
            number += 1
        return number * slot

    def _with_room(self, row: Row, epoch: float, room: float) -> float:
        """Returns when there is room for a request, from the time of its turn on."""
        others = [other for other in self.remote if other.request < row.request]
        leave = sorted(other.left for other in others if other.left > epoch)
        return epoch if len(leave) < room else leave[len(leave) - int(room)]

    # The users

    def _local_ends(self) -> dict[Row, float]:
        """Returns when local work ends, given the decisions; when a request is decided, if there is none."""
        free = [0.0] * len(self.instance.users)
        ends = {}
        for row in self.rows:
            work, speed = self._amount(row, "local"), self.instance.users["speed"][row.user] * row.speed_factor
            ends[row] = row.decided
            if work > 0:
                ends[row] = free[row.user] = max(row.decided, free[row.user]) + float(work / speed)
        return ends

    def processors(self) -> Iterator[str]:
        """Checks that local work is done one after the other, in the order of decisions."""
        for row in self.rows:
            right = row.decided if self.continuous and row.target > 0 else self.local_end[row]
            if not self._is(row.ready, right):
                yield f"{row} is ready at {row.ready} instead of {right}"

    def radios(self) -> Iterator[str]:
        """Checks that radios send one request after the other, in the order in which they became ready."""
        for user in range(len(self.instance.users)):
            sent, before = -math.inf, None
            mine = [row for row in self.remote if row.user == user]
            for row in sorted(mine, key=lambda row: (row.begin_send, row.sent, row.ready, row.request)):
                if not self._is(row.begin_send, max(row.ready, sent)):
                    yield f"{row} is sent from {row.begin_send} on instead of {max(row.ready, sent)}"
                if before and not self._is_first_come(before, before.ready, row, row.ready):
                    yield f"{row} is sent after {before}, but was ready before it, at {row.ready}"
                sent, before = row.sent, row

    def _is_first_come(self, first: Row, first_time: float, second: Row, second_time: float) -> bool:
        """Whether two may come in this order; of those at the same time, the first to be decided comes first."""
        if first_time == second_time:
            return first.request < second.request
        return first_time < second_time + self.slack

    # The channel

    def sendings(self) -> Iterator[str]:
        """Checks that the rates of sending integrate to the bits."""
        for row in self.remote:
            bits = self._amount(row, "up")
            if row.sent < row.begin_send or not self._is(row.airtime, row.sent - row.begin_send):
                yield f"{row} is sent in {row.airtime} s, from {row.begin_send} to {row.sent}"
            elif bits == 0 and row.sent != row.begin_send:
                yield f"{row} is sent until {row.sent} instead of {row.begin_send}: it has no bits"
            elif bits > 0:
                others = [other for other in self.remote if other is not row]
                times = [time for other in others for time in (other.begin_send, other.sent)]
                times += self._blocks(row.begin_send, row.sent)
                yield from self._integrates(
                    f"bits of {row} sent", bits, row.begin_send, row.sent, times, self._sending_rate(row, others)
                )

    def _sending_rate(self, row: Row, others: list[Row]) -> Callable[[float], float]:
        def rate(time: float) -> float:
            flows = [other for other in others if other.begin_send <= time < other.sent]
            target, cell, sharing = self._target(row), self._access(row), self.instance.channel.sharing
            number = 1 + sum(self._target(flow)["access"] == target["access"] for flow in flows)
            divided = number if sharing == "equal" else 1
            value = self._value(row.user, row, time)
            if not cell["is_radio"]:
                return float(min(value / divided, target["backhaul"]))
            width = cell["bandwidth"] / divided
            disturbing = [flow for flow in flows if sharing == "interference" and self._access(flow)["is_radio"]]
            noise = cell["noise"] * width + sum(flow.power * self._value(flow.user, row, time) for flow in disturbing)
            return float(min(width * _bits_per_symbol(row.power * value / noise), target["backhaul"]))

        return rate

    def _value(self, user: int, row: Row, time: float) -> float:
        """Returns the channel between a user and the access point of a request."""
        is_radio = bool(self._access(row)["is_radio"])
        return self.instance.channel.value(user, int(self._target(row)["access"]), self._block(time), is_radio)

    def _block(self, time: float) -> int:
        """Returns the block in which a time is."""
        seconds = self.instance.channel.block
        if math.isinf(seconds):
            return 0
        number = int(time // seconds)
        if number * seconds > time:
            number -= 1
        elif (number + 1) * seconds <= time:
            number += 1
        return number

    def _blocks(self, begin: float, end: float) -> list[float]:
        """Returns when blocks begin in an interval."""
        seconds = self.instance.channel.block
        if math.isinf(seconds):
            return []
        return [number * seconds for number in range(self._block(begin) + 1, self._block(end) + 1)]

    def _integrates(
        self, what: str, amount: float, begin: float, end: float, times: list[float], rate: Callable[[float], float]
    ) -> Iterator[str]:
        """Checks that a rate that can only change at these times comes to an amount."""
        pieces = sorted({begin, end, *(time for time in times if begin < time < end)})
        done = steepest = 0.0
        for first, last in pairwise(pieces):
            now = rate((first + last) / 2)
            done += now * (last - first)
            steepest = max(steepest, now)
        if abs(done - amount) > TOLERANCE * amount + self.rounding * steepest:
            yield f"{what} from {begin} to {end} come to {done} instead of {amount}"

    def _down_rate(self, row: Row, time: float) -> float:
        target, cell = self._target(row), self._access(row)
        value = self._value(row.user, row, time)
        if not cell["is_radio"]:
            return float(min(cell["down_ratio"] * value, target["backhaul"]))
        width = cell["down_bandwidth"]
        return float(min(width * _bits_per_symbol(cell["power"] * value / (cell["noise"] * width)), target["backhaul"]))

    def _result_end(self, row: Row) -> float:
        """Returns when the last bit of a result is there, given when the first begins to come."""
        bits, time = self._amount(row, "down"), row.down
        if bits == 0:
            return time
        while True:
            rate = self._down_rate(row, time)
            seconds = self.instance.channel.block
            change = (self._block(time) + 1) * seconds if math.isfinite(seconds) else math.inf
            if rate > 0 and time + bits / rate <= change:
                return time + bits / rate
            bits -= rate * (change - time)
            time = change

    # The servers

    def serial_units(self) -> Iterator[str]:
        """Checks that requests reach the servers when they should, and are served in that order."""
        for number in range(len(self.instance.servers)):
            free = 0.0
            there = [row for row in self.remote if self._target(row)["server"] == number]
            for row in sorted(there, key=lambda row: (row.reached, row.request)):
                reached = row.sent + self._target(row)["latency"]
                if not self._is(row.reached, reached):
                    yield f"{row} reaches its server at {row.reached} instead of {reached}"
                begin = max(row.reached, free)
                served = begin + self._amount(row, "serial") / self._server(row)["speed"]
                if not self._is(row.served, served):
                    yield f"{row} is served from {begin} to {row.served} instead of {served}"
                free = row.served

    def shared_units(self) -> Iterator[str]:
        """Checks that the shared units' rates integrate to the work."""
        for number, server in enumerate(self.instance.servers):
            there = [row for row in self.remote if self._target(row)["server"] == number]
            work = {row: self._amount(row, "shared") for row in there}
            sharing = [row for row in there if work[row] > 0]
            changes = [time for row in sharing for time in (row.served, row.left)]
            rate = _sharing_rate(server, sharing)
            for row in there:
                if row in sharing and row.left >= row.served:
                    what = f"units of shared work of {row}"
                    yield from self._integrates(what, work[row], row.served, row.left, changes, rate)
                elif not self._is(row.left, row.served) or row in sharing:
                    yield f"{row} is in the shared unit from {row.served} to {row.left}, for {work[row]} units of work"

    # Ends

    def ends(self) -> Iterator[str]:
        """Checks when results begin to come down, and when requests end."""
        for row in self.rows:
            right = self.local_end[row]
            if row.target > 0:
                down = row.left + self._target(row)["latency"]
                if not self._is(row.down, down):
                    yield f"the result of {row} comes from {row.down} on instead of {down}"
                right = max(right, self.result_end[row])
            if not self._is(row.end, right):
                yield f"{row} ends at {row.end} instead of {right}"

    def costs(self) -> Iterator[str]:
        """Checks delay, energy, misses and errors."""
        for row in self.rows:
            if not self._is(row.delay, row.end - row.arrival):
                yield f"{row} has a delay of {row.delay} instead of {row.end - row.arrival}"
            energy, slack = self._energy(row)
            if abs(row.energy - energy) > slack:
                yield f"{row} takes {row.energy} J instead of {energy}"
            due = row.arrival + self.instance.requests["deadline"][row.request]
            if bool(row.missed) != (row.end > due) and not self._is(row.end, due):
                yield f"{row} has missed {bool(row.missed)}, with its end at {row.end} and its deadline at {due}"
            error = self._option(row, row.target)["error"]
            if row.error != error:
                yield f"{row} has an error of {row.error} instead of {error}"

    def _energy(self, row: Row) -> tuple[float, float]:
        """Returns the energy of a request, and by how much it may differ."""
        user = self.instance.users[row.user]
        energy = self._amount(row, "local") * user["energy"] * row.speed_factor**2
        powers = 0.0
        if row.target > 0:
            energy += row.power * (row.sent - row.begin_send)
            energy += user["idle_power"] * (row.down - row.sent)
            energy += user["receive_power"] * (self.result_end[row] - row.down)
            energy += (self._amount(row, "serial") + self._amount(row, "shared")) * self._server(row)["energy"]
            powers = row.power + user["idle_power"] + user["receive_power"]
        return float(energy), float(TOLERANCE * energy + self.rounding * powers)

    def miscounts(self, metrics: Mapping[str, float]) -> Iterator[str]:
        """Checks what was counted of what can be."""
        count = max(len(self.rows), 1)
        right = {
            "delay": sum(row.delay for row in self.rows) / count,
            "energy": sum(row.energy for row in self.rows) / count,
            "missed": sum(bool(row.missed) for row in self.rows) / count,
            "makespan": max((row.end for row in self.rows), default=0.0),
        }
        for name, value in metrics.items():
            if name in right and not abs(value - right[name]) <= TOLERANCE * abs(right[name]):
                yield f"metric {name!r} is {value} instead of {right[name]}"


def _sharing_rate(server: Any, rows: list[Row]) -> Callable[[float], float]:
    """Returns how fast the shared unit does the work of each of those that are there at a time."""

    def rate(time: float) -> float:
        number = sum(row.served <= time < row.left for row in rows)
        return 1 / float(server["fixed"] + server["per_job"] * number)

    return rate


def _bits_per_symbol(ratio: float) -> float:
    """Returns log2(1 + ratio), also of ratios so small that 1 + ratio would lose their digits."""
    return math.log1p(ratio) / math.log(2)
