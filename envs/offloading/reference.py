"""How requests are offloaded, once more in plain Python, as `docs/offloading.md` defines it.

Slow and obvious, to check the kernels by; nothing here is shared with the compiled code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pandas as pd

from ...errors import HetgymError
from .instance import Instance
from .table import COLUMNS

Vector = tuple[float, float, float]
"""Delay, energy and misses."""


@dataclass(frozen=True)
class Forecast:
    """What would come of a request if none came after it.

    Attributes:
        done: When its local work would be done, seconds.
        rate: What it would be sent at, bit/s; NaN for target 0, as what follows.
        sent: When it would be sent.
        served: When the serial unit would have done its work.
        left: When it would leave the shared unit.
        end: When it would end.
        delay: Seconds from its arrival to its end.
        imposed: Seconds for which it would delay others, in all; 0 for target 0.
        energy: J.
        missed: Whether it would end after its deadline.
        error: The share of answers that its option spoils.
    """

    done: float
    rate: float
    sent: float
    served: float
    left: float
    end: float
    delay: float
    imposed: float
    energy: float
    missed: bool
    error: float

    @property
    def costs(self) -> Vector:
        """What is charged with the decision."""
        return self.delay + self.imposed, self.energy, 1.0 if self.missed else self.error


@dataclass(frozen=True)
class Step:
    """What a decision led to, until the next.

    Attributes:
        costs: What it was charged: s, J and misses.
        normalised: The same in the units of the instance.
        reward: Minus their weighted sum.
        done: Whether it was the last decision.
    """

    costs: Vector
    normalised: Vector
    reward: float
    done: bool


@dataclass(frozen=True)
class _Demand:
    """What a choice asks for: units of work, bits, and how it is sent and computed."""

    target: int
    option: int
    local: float
    serial: float
    shared: float
    up: float
    down: float
    error: float
    power: float
    fraction: float
    speed_factor: float
    in_parts: bool


@dataclass(eq=False)
class _Job:
    """A request that has been decided; what is not known yet is NaN."""

    request: int
    user: int
    deadline: float
    arrival: float
    decided: float
    demand: _Demand
    forecast: Forecast
    ready: float
    bits: float  # that have not been sent
    work: float  # that the shared unit has not done
    imposed: float = 0.0  # seconds that later decisions were charged for delaying it
    begin_send: float = math.nan
    sent: float = math.nan
    reached: float = math.nan
    served: float = math.nan
    left: float = math.nan
    down: float = math.nan
    end: float = math.nan
    energy: float = math.nan

    @property
    def is_remote(self) -> bool:
        return self.demand.target > 0

    @property
    def is_on_its_way(self) -> bool:
        return self.is_remote and math.isnan(self.left)

    @property
    def is_sending(self) -> bool:
        return not math.isnan(self.begin_send) and math.isnan(self.sent)

    @property
    def missed(self) -> bool:
        return self.end > self.arrival + self.deadline

    @property
    def costs(self) -> Vector:
        return self.end - self.arrival, self.energy, 1.0 if self.missed else self.demand.error

    def row(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in COLUMNS if hasattr(self, name)},
            **{name: getattr(self.demand, name) for name in ("target", "option", "error", "fraction", "speed_factor")},
            "delay": self.end - self.arrival,
            "airtime": self.sent - self.begin_send,
            "power": self.demand.power if self.is_remote else math.nan,
        }


@dataclass
class Run:
    """An episode, one decision after the other.

    Attributes:
        instance: What is played.
        epochs: When decisions are taken.
        slot: Seconds, where epochs are slots.
        room: How many requests can be on their way.
        reward: What decisions are charged.
        continuous: Whether requests are decided in two parts.
        current: The request that is to be decided; how many there are, when all are.
        now: When it is decided, seconds.

    Raises:
        HetgymError: If there are no slots where epochs are slots, or there is no room at all.
    """

    instance: Instance
    epochs: Literal["arrival", "slot"] = "arrival"
    slot: float = math.inf
    room: float = math.inf
    reward: Literal["forecast", "realised"] = "forecast"
    continuous: bool = False
    current: int = field(default=0, init=False)
    now: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        """Goes to the first decision."""
        if self.epochs == "slot" and not 0 < self.slot < math.inf:
            raise HetgymError(f"slot is {self.slot}: it should be a positive number of seconds")
        if not self.room >= 1:
            raise HetgymError(f"room is {self.room}: it should be at least 1")
        self._jobs: list[_Job] = []
        self._processor_free = [0.0] * len(self.instance.users)
        self._serial_free = [0.0] * len(self.instance.servers)
        self._charged: Vector = (0.0, 0.0, 0.0)
        self._go_to_decision()

    @property
    def is_over(self) -> bool:
        """Whether all is decided, and done."""
        return self.current == len(self.instance.requests)

    # Decisions

    def forecast(self, target: int, option: int = 0) -> Forecast:
        """Returns what would come of the current request, by a target and its option.

        Raises:
            HetgymError: If there is no such option, or no request to be decided.
        """
        return self._forecast(self._demand(target, option))

    def decide(self, target: int, option: int = 0) -> Step:
        """Decides the current request, and goes to the next decision, or to the end.

        Raises:
            HetgymError: If there is no such option, no request to be decided, or requests are decided in two parts.
        """
        if self.continuous:
            raise HetgymError("requests are decided in two parts: call decide_parts")
        return self._decide(self._demand(target, option))

    def forecast_parts(self, target: int, fraction: float, power: float, speed_factor: float) -> Forecast:
        """Returns what would come of the current request in two parts.

        Args:
            target: Where the remote part goes.
            fraction: Its share of the request, from 0 to 1.
            power: W, with which it is sent.
            speed_factor: Speed of the local part / the processor's own.

        Raises:
            HetgymError: If an argument is none of these, or there is no request to be decided.
        """
        return self._forecast(self._demand_in_parts(target, fraction, power, speed_factor))

    def decide_parts(self, target: int, fraction: float, power: float, speed_factor: float) -> Step:
        """Decides the current request in two parts, and goes to the next decision, or to the end.

        Args:
            target: Where the remote part goes.
            fraction: Its share of the request, from 0 to 1.
            power: W, with which it is sent.
            speed_factor: Speed of the local part / the processor's own.

        Raises:
            HetgymError: If an argument is none of these, there is no request to be decided, or requests are decided
                whole.
        """
        if not self.continuous:
            raise HetgymError("requests are decided whole: call decide")
        return self._decide(self._demand_in_parts(target, fraction, power, speed_factor))

    def _decide(self, demand: _Demand) -> Step:
        request = self.instance.requests[self.current]
        forecast = self._forecast(demand)
        job = _Job(
            request=self.current,
            user=int(request["user"]),
            arrival=float(request["arrival"]),
            deadline=float(request["deadline"]),
            decided=self.now,
            demand=demand,
            forecast=forecast,
            ready=self.now if demand.in_parts else forecast.done,
            bits=demand.up,
            work=demand.shared,
        )
        self._charged = (0.0, 0.0, 0.0)
        if self.reward == "forecast":
            self._charge(forecast.costs)
        if demand.local > 0:
            self._processor_free[job.user] = forecast.done
        if job.is_remote:
            self._impose(demand, forecast.served)
        else:
            job.end, job.energy = forecast.done, forecast.energy
            self._charge_outcome(job)
        self._jobs.append(job)
        self.current += 1
        self._go_to_decision()
        return self._step()

    def _demand(self, target: int, option: int) -> _Demand:
        request = self._request()
        user = self.instance.users[request["user"]]
        return self._asked(target, option, 1.0, float(user["power"]))

    def _demand_in_parts(self, target: int, fraction: float, power: float, speed_factor: float) -> _Demand:
        if not 0 <= fraction <= 1:
            raise HetgymError(f"fraction is {fraction}: it should be from 0 to 1")
        if not 0 < speed_factor < math.inf:
            raise HetgymError(f"speed_factor is {speed_factor}: it should be a positive number")
        if not 0 < power < math.inf:
            raise HetgymError(f"power is {power}: it should be a positive number of W")
        if fraction > 0 and target == 0:
            raise HetgymError(f"fraction is {fraction}: it should be 0 for target 0")
        local = self._asked(0, 0, 1 - fraction, power) if fraction < 1 else None
        remote = self._asked(target, 0, fraction, power) if fraction > 0 else local
        assert remote is not None
        return replace(
            remote,
            local=local.local if local else 0.0,
            fraction=fraction,
            speed_factor=speed_factor,
            in_parts=fraction > 0,
        )

    def _asked(self, target: int, option: int, share: float, power: float) -> _Demand:
        """Returns what an option asks for, of a share of the current request."""
        request = self._request()
        options = self.instance.options[self.instance.users["device"][request["user"]], request["kind"]]
        targets, per_target = options.shape
        if not (0 <= target < targets and 0 <= option < per_target and options[target, option]["exists"]):
            raise HetgymError(f"request {self.current} has no option {option} of target {target}")
        if not self._is_in_reach(int(request["user"]), options, target):
            raise HetgymError(f"the cell of target {target} is out of the reach of request {self.current}")
        asked = options[target, option]
        size, work = share * float(request["size"]), share * float(request["work"])
        remote = 1.0 if target > 0 else 0.0
        return _Demand(
            target=target,
            option=option,
            local=_units(asked["local"], size, work),
            serial=remote * _units(asked["serial"], size, work),
            shared=remote * _units(asked["shared"], size, work),
            up=remote * _bits(asked["up"], size, work),
            down=remote * _bits(asked["down"], size, work),
            error=float(asked["error"]),
            power=power,
            fraction=remote,
            speed_factor=1.0,
            in_parts=False,
        )

    def _is_in_reach(self, user: int, options: Any, target: int) -> bool:
        channel, block = self.instance.channel, self._block()
        gains = {}
        for number, way in enumerate(self.instance.targets, 1):
            if self.instance.accesses["is_radio"][way["access"]] and options[number]["exists"].any():
                gains[number] = self._channel(user, int(way["access"]), block, fades=False)
        return target not in gains or gains[target] * channel.reach >= max(gains.values()) * (1 - 1e-12)

    def _request(self) -> Any:
        if self.is_over:
            raise HetgymError("all requests are decided")
        return self.instance.requests[self.current]

    # Forecasts

    def _forecast(self, demand: _Demand) -> Forecast:
        request = self._request()
        user = int(request["user"])
        arrival, due = float(request["arrival"]), float(request["arrival"] + request["deadline"])
        done = self._local_end(user, demand)
        if demand.target == 0:
            energy = self._local_energy(user, demand)
            nan = math.nan
            return Forecast(done, nan, nan, nan, nan, done, done - arrival, 0.0, energy, done > due, demand.error)

        target = self.instance.targets[demand.target - 1]
        server = self.instance.servers[target["server"]]
        others = [flow for flow in self._flows() if flow.user != user]
        rate = self._rate(user, demand, others)
        ready = self.now if demand.in_parts else done
        first_bit = max(ready, self._radio_free(user))
        airtime = self._airtime(first_bit, demand.up, rate, self._rate(user, demand, others, fades=False))
        sent = first_bit + airtime
        begin = max(sent + target["latency"], self._serial_done(int(target["server"])))
        served = begin + demand.serial / server["speed"]
        met = sum(self._met(demand, served).values())
        left = served + server["fixed"] * demand.shared + server["per_job"] * (demand.shared + met)
        down = left + target["latency"]
        fades = math.isinf(self.instance.channel.block)
        down_time = _seconds(demand.down, self._down_rate(user, demand.target, self._block(), fades))
        end = max(down + down_time, done if demand.in_parts else down)
        energy = self._energy(user, demand, airtime, down - sent, down_time)
        return Forecast(
            done=done,
            rate=rate,
            sent=float(sent),
            served=float(served),
            left=float(left),
            end=float(end),
            delay=float(end - arrival),
            imposed=float(server["per_job"] * met),
            energy=energy,
            missed=bool(end > due),
            error=demand.error,
        )

    def _airtime(self, begin: float, bits: float, rate: float, later: float) -> float:
        """Returns how long bits take at one rate until the end of the current block, and at another after it."""
        end = (self._block() + 1) * self.instance.channel.block
        if begin + _seconds(bits, rate) <= end:
            return _seconds(bits, rate)
        soon = max(end - begin, 0.0)
        return soon + _seconds(bits - rate * soon, later)

    def _radio_free(self, user: int) -> float:
        unsent = [job for job in self._jobs if job.user == user and job.is_remote and math.isnan(job.sent)]
        return max(self.now, unsent[-1].forecast.sent) if unsent else self.now

    def _serial_done(self, server: int) -> float:
        """Returns when a serial unit is done with all that is decided for it, were the rest there now."""
        inbound = [job for job in self._at(server) if math.isnan(job.served)]
        seconds = sum(job.demand.serial for job in inbound) / float(self.instance.servers["speed"][server])
        return max(self.now, self._serial_free[server]) + seconds

    def _met(self, demand: _Demand, served: float) -> dict[_Job, float]:
        """Returns with how much of its work each request that is on its way is met by one that is served then."""
        number = self._server_of(demand)
        server = self.instance.servers[number]
        unit = self._in_unit(number)
        met = {}
        for job in self._at(number):
            left = job.work
            if job in unit:
                left = max(left - (served - self.now) / (server["fixed"] + server["per_job"] * len(unit)), 0.0)
            met[job] = min(demand.shared, float(left))
        return met

    def _impose(self, demand: _Demand, served: float) -> None:
        per_job = float(self.instance.servers["per_job"][self._server_of(demand)])
        for job, amount in self._met(demand, served).items():
            job.imposed += per_job * amount

    # Costs

    def _charge_outcome(self, job: _Job) -> None:
        """Charges what the forecast of a request was wrong by, or all that it cost."""
        delay, energy, misses = job.costs
        if self.reward == "forecast":
            forecast = job.forecast
            forecast_delay, forecast_energy, forecast_misses = replace(forecast, imposed=0.0).costs
            delay -= forecast_delay + job.imposed
            energy -= forecast_energy
            misses -= forecast_misses
        self._charge((delay, energy, misses))

    def _charge(self, costs: Vector) -> None:
        delay, energy, misses = self._charged
        self._charged = (delay + costs[0], energy + costs[1], misses + costs[2])

    def _step(self) -> Step:
        delay, energy, misses = self._charged
        units, weights = self.instance.units, self.instance.weights
        normalised = (delay / float(units[0]), energy / float(units[1]), misses)
        reward = -sum(float(weight) * cost for weight, cost in zip(weights, normalised, strict=True))
        return Step(self._charged, normalised, reward, self.is_over)

    def _local_energy(self, user: int, demand: _Demand) -> float:
        return demand.local * float(self.instance.users["energy"][user]) * demand.speed_factor**2

    def _energy(self, user: int, demand: _Demand, airtime: float, idle: float, down_time: float) -> float:
        who = self.instance.users[user]
        server_energy = self.instance.servers["energy"][self._server_of(demand)]
        return float(
            self._local_energy(user, demand)
            + demand.power * airtime
            + who["idle_power"] * idle
            + who["receive_power"] * down_time
            + (demand.serial + demand.shared) * server_energy
        )

    # What happens

    def _go_to_decision(self) -> None:
        if self.is_over:
            self._run_until(math.inf)
            return
        self._run_until(self._next_epoch())
        while sum(job.is_on_its_way for job in self._jobs) >= self.room:
            self._run_until(self._next_event())

    def _next_epoch(self) -> float:
        arrival = float(self.instance.requests["arrival"][self.current])
        if self.epochs == "arrival":
            return max(arrival, self.now)
        number = max(0, math.floor(max(arrival, self.now) / self.slot) - 1)
        while number * self.slot < arrival or (self._jobs and number * self.slot <= self.now):
            number += 1
        return number * self.slot

    def _run_until(self, time: float) -> None:
        self._settle()
        while (event := self._next_event()) <= time and event < math.inf:
            self._flow_until(event)
            self._settle()
        if time < math.inf:
            self._flow_until(time)

    def _next_event(self) -> float:
        """Returns when something ends or begins next, or a rate changes."""
        times = [time for job in self._jobs for time in (job.ready, job.reached, job.served) if time > self.now]
        rates = self._rates()
        times += [self.now + _seconds(job.bits, rate) for job, rate in rates.items()]
        times += [self.now + job.work * seconds for job, seconds in self._unit_seconds().items()]
        if rates and self.instance.channel.block < math.inf:
            times.append((self._block() + 1) * self.instance.channel.block)
        return min(times, default=math.inf)

    def _flow_until(self, time: float) -> None:
        """Sends bits and does work in the shared units up to a time, to which all rates stay as they are."""
        rates, unit_seconds = self._rates(), self._unit_seconds()
        for job, rate in rates.items():
            is_sent = self.now + _seconds(job.bits, rate) <= time
            job.bits = 0.0 if is_sent else job.bits - rate * (time - self.now)
        for job, seconds in unit_seconds.items():
            is_done = self.now + job.work * seconds <= time
            job.work = 0.0 if is_done else job.work - (time - self.now) / seconds
        self.now = time

    def _settle(self) -> None:
        """Lets begin and end now what can, stage by stage, since each stage feeds only those behind it."""
        for user in range(len(self.instance.users)):
            self._use_radio(user)
        arrived = [job for job in self._jobs if job.reached <= self.now and math.isnan(job.served)]
        for job in sorted(arrived, key=lambda job: (job.reached, job.request)):
            number = self._server_of(job.demand)
            seconds = job.demand.serial / float(self.instance.servers["speed"][number])
            job.served = self._serial_free[number] = max(job.reached, self._serial_free[number]) + seconds
        for number in range(len(self.instance.servers)):
            for job in self._in_unit(number):
                if job.work == 0:
                    self._leave(job)

    def _use_radio(self, user: int) -> None:
        jobs = [job for job in self._jobs if job.user == user and job.is_remote]
        while True:
            for job in jobs:
                if job.is_sending and job.bits == 0:
                    job.sent = self.now
                    job.reached = self.now + float(self.instance.targets["latency"][job.demand.target - 1])
            waiting = [job for job in jobs if math.isnan(job.begin_send) and job.ready <= self.now]
            if not waiting or any(job.is_sending for job in jobs):
                return
            min(waiting, key=lambda job: (job.ready, job.request)).begin_send = self.now

    def _leave(self, job: _Job) -> None:
        """Lets a request leave the shared unit; its end is known then."""
        job.left = self.now
        job.down = self.now + float(self.instance.targets["latency"][job.demand.target - 1])
        end = self._result_end(job)
        job.end = max(end, job.forecast.done) if job.demand.in_parts else end
        job.energy = self._energy(job.user, job.demand, job.sent - job.begin_send, job.down - job.sent, end - job.down)
        self._charge_outcome(job)

    def _result_end(self, job: _Job) -> float:
        time, bits = job.down, job.demand.down
        while bits > 0:
            block = self._block(time)
            rate = self._down_rate(job.user, job.demand.target, block)
            end = time + _seconds(bits, rate)
            change = (block + 1) * self.instance.channel.block
            if end <= change:
                return end
            bits -= rate * (change - time)
            time = change
        return time

    def _local_end(self, user: int, demand: _Demand) -> float:
        """Returns when local work would be done that is decided now; now, if there is none."""
        if demand.local == 0:
            return self.now
        speed = float(self.instance.users["speed"][user]) * demand.speed_factor
        return max(self.now, self._processor_free[user]) + demand.local / speed

    # Who is where

    def _server_of(self, demand: _Demand) -> int:
        return int(self.instance.targets["server"][demand.target - 1])

    def _at(self, server: int) -> list[_Job]:
        """Returns the requests that are on their way to a server, or there."""
        return [job for job in self._jobs if job.is_on_its_way and self._server_of(job.demand) == server]

    def _in_unit(self, server: int) -> list[_Job]:
        return [job for job in self._at(server) if job.served <= self.now]

    def _flows(self) -> list[_Job]:
        return [job for job in self._jobs if job.is_sending]

    # Rates

    def _rates(self) -> dict[_Job, float]:
        flows = self._flows()
        return {job: self._rate(job.user, job.demand, [flow for flow in flows if flow is not job]) for job in flows}

    def _rate(self, user: int, demand: _Demand, others: list[_Job], fades: bool = True) -> float:
        """Returns at what rate a user sends now, or would without fading of its own, while others do."""
        target = self.instance.targets[demand.target - 1]
        access, sharing = int(target["access"]), self.instance.channel.sharing
        cell = self.instance.accesses[access]
        value = self._channel(user, access, self._block(), fades)
        together = 1 + sum(self._access_of(other) == access for other in others)
        share = 1 / together if sharing == "equal" else 1.0
        if not cell["is_radio"]:
            return float(min(value * share, target["backhaul"]))
        bandwidth = cell["bandwidth"] * share
        noise = cell["noise"] * bandwidth
        if sharing == "interference":
            noise += sum(
                other.demand.power * self._channel(other.user, access, self._block())
                for other in others
                if self.instance.accesses["is_radio"][self._access_of(other)]
            )
        return float(min(bandwidth * _log2_of_one_plus(demand.power * value / noise), target["backhaul"]))

    def _down_rate(self, user: int, target: int, block: int, fades: bool = True) -> float:
        way = self.instance.targets[target - 1]
        cell = self.instance.accesses[way["access"]]
        value = self._channel(user, int(way["access"]), block, fades)
        if not cell["is_radio"]:
            return float(min(value * cell["down_ratio"], way["backhaul"]))
        snr = cell["power"] * value / (cell["noise"] * cell["down_bandwidth"])
        return float(min(cell["down_bandwidth"] * _log2_of_one_plus(snr), way["backhaul"]))

    def _unit_seconds(self) -> dict[_Job, float]:
        """Returns the seconds that a unit of work now takes, of all that is in a shared unit."""
        seconds: dict[_Job, float] = {}
        for number, server in enumerate(self.instance.servers):
            unit = self._in_unit(number)
            seconds |= dict.fromkeys(unit, float(server["fixed"] + server["per_job"] * len(unit)))
        return seconds

    def _access_of(self, job: _Job) -> int:
        return int(self.instance.targets["access"][job.demand.target - 1])

    def _channel(self, user: int, access: int, block: int, fades: bool = True) -> float:
        is_radio = bool(self.instance.accesses["is_radio"][access])
        return self.instance.channel.value(user, access, block, is_radio, fades)

    def _block(self, time: float | None = None) -> int:
        """Returns the block in which a time is, by default now."""
        time, block = self.now if time is None else time, self.instance.channel.block
        if block == math.inf:
            return 0
        number = math.floor(time / block)
        while number * block > time:
            number -= 1
        while (number + 1) * block <= time:
            number += 1
        return number

    # What has happened

    def table(self) -> pd.DataFrame:
        """Returns a row for each request that has been decided, in the columns that `table` describes."""
        return pd.DataFrame([job.row() for job in self._jobs], columns=list(COLUMNS))

    def metrics(self) -> dict[str, float]:
        """Returns means over the requests of an episode that is over, and when its last ended."""
        count = len(self._jobs)
        return {
            "delay": sum(job.end - job.arrival for job in self._jobs) / count,
            "energy": sum(job.energy for job in self._jobs) / count,
            "missed": sum(job.missed for job in self._jobs) / count,
            "makespan": max(job.end for job in self._jobs),
        }


def _units(terms: Any, size: float, work: float) -> float:
    constant, linear, square, of_work = map(float, terms)
    return constant + linear * size + square * size**2 + of_work * work


def _bits(terms: Any, size: float, work: float) -> float:
    constant, linear, of_work = map(float, terms)
    return constant + linear * size + of_work * work


def _seconds(bits: float, rate: float) -> float:
    if bits == 0:
        return 0.0
    return bits / rate if rate > 0 else math.inf


def _log2_of_one_plus(ratio: float) -> float:
    """Returns log2(1 + ratio), also of ratios so small that 1 + ratio would lose their digits."""
    return math.log1p(ratio) / math.log(2)
