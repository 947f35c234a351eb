"""The settings of the offloading family."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, field_validator, model_validator

from ...errors import HetgymError, unknown_name
from ..core.scenario import Scenario, register_family
from .frames import FrameSimulator, FrameWorkload
from .instance import ACCESS, FADING, FLIGHT, OPTION, REQUEST, SERVER, TARGET, USER, Channel, Instance, Records, Sharing
from .luck import PLACEMENT, Luck
from .rules import OBJECTIVES, Epochs, RewardKind, Rules
from .settings import Interval, Line, Positive, Servers, Users, find_device, middle, span
from .simulator import OffloadSimulator, Source
from .workload import Prompt, RequestWorkload, llm_times, shared_rate

REWARDS: tuple[RewardKind, ...] = ("forecast", "realised")

_SAMPLES, _SAMPLED_FROM = 64, 2**40
"""Episodes whose first decisions say what a usual delay and energy are, and the first of their seeds."""

_Weights = tuple[float, float, float]


class _Place(NamedTuple):
    """A server: of which group, and which of the group."""

    group: Servers
    number: int
    in_cloud: bool


class OffloadScenario(Scenario):
    """Who asks for what, what may compute it, and how that is decided; `docs/offloading.md` has the rules.

    Attributes:
        workload: A stream of requests, or a system whose time is cut into frames (which takes none of the rest).
        users: Who has requests.
        edges: Servers at the edge.
        cloud: Servers in the cloud.
        area: Metres; side of the square in which users are, and cells without a place or a distance.
        sharing: What those share who send at once: nothing (``dedicated``: each has the cell's bandwidth), the
            bandwidth in ``equal`` parts, or the whole of it, with ``interference``.
        reach: dB that the mean gain of a cell to which a user sends may be below that of the best; without it users
            reach all cells.
        block: Seconds in which channels do not change; without it they never do.
        epochs: Whether requests are decided at their ``arrival`` or one in each ``slot``.
        slot: Seconds of a slot.
        room: Requests that can be on their way; decisions wait while there are as many.
        weights: Of delay, energy and misses in the scalar reward; without them each episode draws its own.
        delay_unit: Seconds by which delays are divided; by default the median forecast of all options at the first
            decisions of some episodes.
        energy_unit: J by which energies are divided; by default likewise.
        continuous: Whether a share, a power and a speed are decided, not a target.
    """

    family: Literal["offloading"] = "offloading"
    workload: Annotated[RequestWorkload | FrameWorkload, Field(discriminator="kind")]
    users: Users = Users()
    edges: Servers | None = None
    cloud: Servers | None = None
    area: Positive = 1000.0
    sharing: Sharing = "dedicated"
    reach: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    block: Interval | None = None
    epochs: Epochs = "arrival"
    slot: Interval = 1.0
    room: Annotated[int, Field(ge=1, le=65_536)] = 256
    weights: _Weights | None = None
    delay_unit: Positive | None = None
    energy_unit: Positive | None = None
    continuous: bool = False

    @field_validator("weights", mode="before")
    @classmethod
    def _check_length(cls, weights: Any) -> Any:
        if isinstance(weights, list | tuple) and len(weights) != len(OBJECTIVES):
            raise ValueError(f"must be three numbers, of delay, energy and misses (given: {len(weights)})")
        return weights

    @field_validator("weights")
    @classmethod
    def _check_weights(cls, weights: _Weights | None) -> _Weights | None:
        if weights is not None and not (all(w >= 0 for w in weights) and abs(sum(weights) - 1) < 1e-6):
            raise ValueError(f"must not be negative and add up to 1 (given: {', '.join(f'{w:g}' for w in weights)})")
        return weights

    @model_validator(mode="after")
    def _check(self) -> OffloadScenario:
        if isinstance(self.workload, FrameWorkload):
            if self.edges or self.cloud or self.continuous:
                raise ValueError("edges, cloud and continuous are not for a workload of frames")
            return self
        if self.edges is None and self.cloud is None:
            raise ValueError("there must be servers: edges, cloud or both")
        if self.edges is not None and self.edges.access is None:
            raise ValueError("edges: access: must be a cell or a line")
        if self.cloud is not None and self.cloud.access is None and self.edges is None:
            raise ValueError("cloud: access: must be a cell or a line, if there are no edges that lead there")
        if self.continuous and not self.users.local:
            raise ValueError("users: local: must be true where requests are computed in two parts")
        return self

    def sections(self) -> tuple[tuple[str, ...], ...]:
        """Returns the workload, its arrivals and the users: their settings can be overridden by their own names."""
        if isinstance(self.workload, FrameWorkload):
            return (("workload",),)
        return (("workload", "arrivals"), ("workload",), ("users",))

    def override(self, /, **changes: Any) -> OffloadScenario:
        """Returns the scenario with some settings changed; ``num_edges`` is the count of the edges.

        Raises:
            HetgymError: If there is no such setting, or the value is not right for it.
        """
        if "num_edges" in changes:
            if self.edges is None:
                raise HetgymError(f"scenario {self.name!r} has no edges: num_edges cannot be set")
            changes["edges"] = self.edges.model_dump() | {"count": changes.pop("num_edges")}
        return super().override(**changes)

    @property
    def baselines(self) -> tuple[str, ...]:
        """Rules of thumb, greedy policies, and the preference-weighted greedy that a learned policy must beat."""
        if isinstance(self.workload, FrameWorkload):
            return ("frame-search", "frame-descent", "all-local", "all-edge", "random")
        if self.continuous:
            return ("convex", "partial-split", "all-local", "all-edge", "random")
        names = [
            "weighted-greedy",
            "weighted-selfish",
            "greedy-delay",
            "greedy-social",
            "greedy-energy",
            "least-work",
            "jsq",
        ]
        names += ["power-of-two", "round-robin", "lyapunov", "threshold"]
        names += ["all-local"] if self.users.local else []
        names += ["all-edge"] if self.edges else []
        names += ["all-cloud"] if self.cloud else []
        if self.workload.kinds[0].kind == "network":
            names.insert(4, "neurosurgeon")
        return (*names, "random")

    @property
    def metric(self) -> str:
        """What policies are compared by."""
        if not isinstance(self.workload, FrameWorkload):
            return "cost"
        return "weighted_rate" if self.workload.system == "droo" else "backlog"

    @property
    def more_is_better(self) -> frozenset[str]:
        """Of rates."""
        return frozenset({"computation_rate", "weighted_rate"})

    @property
    def objectives(self) -> tuple[str, ...]:
        """The metrics that are traded for each other: the normalised sums of an episode, less is better."""
        if isinstance(self.workload, FrameWorkload):
            return ()
        return tuple(f"{objective}_cost" for objective in OBJECTIVES)

    @property
    def rules(self) -> Rules:
        """How episodes are played."""
        workload = self.requests
        return Rules(
            num_requests=workload.num_requests,
            horizon=workload.horizon or np.inf,
            epochs=self.epochs,
            slot=self.slot,
            room=self.room,
            draws_weights=self.weights is None,
            users_in_turn=workload.users_in_turn,
            continuous=self.continuous,
        )

    @property
    def requests(self) -> RequestWorkload:
        """The stream of requests.

        Raises:
            HetgymError: If there is none.
        """
        if isinstance(self.workload, FrameWorkload):
            raise HetgymError(f"scenario {self.name!r} is of frames, not of requests")
        return self.workload

    @cached_property
    def _servers(self) -> list[_Place]:
        edges = [_Place(self.edges, number, False) for number in range(self.edges.count)] if self.edges else []
        cloud = [_Place(self.cloud, number, True) for number in range(self.cloud.count)] if self.cloud else []
        return edges + cloud

    @cached_property
    def _accesses(self) -> list[_Place]:
        """The servers that have an access point of their own, one each."""
        return [place for place in self._servers if place.group.access is not None]

    @cached_property
    def _targets(self) -> list[tuple[int, int]]:
        """Access point and server of each target; servers without access points are reached through all edges."""
        pairs, own = [], 0
        for server, place in enumerate(self._servers):
            if place.group.access is not None:
                pairs.append((own, server))
                own += 1
            else:
                pairs += [(access, server) for access, other in enumerate(self._accesses) if not other.in_cloud]
        return pairs

    @cached_property
    def drawn_from(self) -> Source:
        """What episodes are drawn from, with usual units of delay and energy.

        Raises:
            HetgymError: If a device, a model or a record is not right.
        """
        plain = self._source
        given = np.array([self.delay_unit or np.nan, self.energy_unit or np.nan])
        units = np.where(np.isnan(given), _usual_units(plain), given) if np.isnan(given).any() else given
        return replace(plain, template=replace(plain.template, units=units))

    @property
    def _source(self) -> Source:
        """What `drawn_from` is, with units of 1."""
        workload = self.requests
        return Source(
            template=self._template,
            luck=self._luck,
            process=workload.arrivals.law(None),
            recorded_times=workload.arrivals.times(),
            kinds=workload.records,
            recorded=workload.recorded,
            cloud=np.array([self._servers[server].in_cloud for _, server in self._targets]),
        )

    @property
    def _template(self) -> Instance:
        accesses = [place.group.access for place in self._accesses if place.group.access is not None]
        block = np.inf if self.block is None else self.block
        traces = [access.rates(block) if isinstance(access, Line) else np.ones(1) for access in accesses]
        longest = max(len(trace) for trace in traces)
        num_users = self.users.num_users
        channel = Channel(
            gain=np.ones((num_users, len(accesses))),
            block=block,
            sharing=self.sharing,
            reach=np.inf if self.reach is None else 10.0 ** (0.1 * self.reach),
            fading=_records(FADING, [access.faded() for access in accesses]),
            flights=_records(
                FLIGHT, [place.group.access.flight(place.number) for place in self._accesses if place.group.access]
            ),
            positions=np.zeros((num_users, 2)),
            trace=np.stack([np.pad(trace, (0, longest - len(trace))) for trace in traces]),
            length=np.array([len(trace) for trace in traces]),
            offset=np.zeros((num_users, len(accesses)), np.int64),
        )
        return Instance(
            requests=np.zeros(0, REQUEST),
            users=self._users,
            servers=_records(SERVER, [self._server(place) for place in self._servers]),
            accesses=_records(ACCESS, [access.access() for access in accesses]),
            targets=_records(TARGET, [self._target(*pair) for pair in self._targets]),
            options=self._options,
            channel=channel,
            weights=np.array(self.weights or (1 / 3, 1 / 3, 1 / 3)),
        )

    @property
    def _users(self) -> Records:
        users = np.zeros(self.users.num_users, USER)
        kinds = self.users.devices or (None,)
        for number, user in enumerate(users):
            device = kinds[number % len(kinds)]
            user["device"] = number % len(kinds)
            if self.requests.kinds[0].kind == "task":
                frequency = middle(self.users.frequency)
                user["speed"], user["energy"] = frequency, self.users.kappa * frequency**2
            else:
                user["speed"] = 1.0
                user["energy"] = find_device(device).busy_power if device else 0.0
            user["power"], user["receive_power"] = self.users.transmit_power, self.users.receive_power
            user["idle_power"] = self.users.idle_power
        return users

    def _server(self, place: _Place) -> tuple[float, float, float, float]:
        """Returns speed, fixed, per_job and energy of a server."""
        group, kind = place.group, self.requests.kinds[0]
        if kind.kind == "task":
            frequency = middle(group.frequency)
            return frequency, 0.0, 1.0 / frequency, group.kappa * frequency**2
        device = find_device(group.device) if group.device else None
        power = device.busy_power if device and group.counts_energy else 0.0
        if isinstance(kind, Prompt):
            rate = shared_rate(llm_times(group), kind)
            return 1.0, rate.fixed, rate.per_job, 0.0
        return 1.0, 0.0, 1.0, power

    def _target(self, access: int, server: int) -> tuple[int, int, float, float]:
        group = self._servers[server].group
        latency = group.latency
        if group.access is None and self.edges is not None:
            latency += self.edges.latency
        return access, server, group.backhaul or np.inf, latency

    @property
    def _options(self) -> Records:
        kinds, devices = self.requests.kinds, self.users.devices or (None,)
        shape = len(devices), len(kinds), 1 + len(self._targets), self.requests.num_options
        options = np.zeros(shape, OPTION)
        for d, device in enumerate(devices):
            for k, kind in enumerate(kinds):
                if self.users.local:
                    options[d, k, 0, 0] = kind.local_option(device)
                for t, (_, server) in enumerate(self._targets):
                    place = self._servers[server]
                    remote = kind.remote_options(device, place.group, place.in_cloud)
                    options[d, k, 1 + t, : len(remote)] = np.stack(remote)
        return options

    @property
    def _luck(self) -> Luck:
        def factors(numbers: Any) -> tuple[float, float]:
            low, high = span(numbers)
            return low / middle(numbers), high / middle(numbers)

        in_cycles = self.requests.kinds[0].kind == "task"
        of_users = factors(self.users.frequency) if in_cycles else (1.0, 1.0)
        of_servers = [factors(place.group.frequency) if in_cycles else (1.0, 1.0) for place in self._servers]
        placements = [place.group.access.placement(place.number) for place in self._accesses if place.group.access]
        return Luck(
            user_speed=np.tile(np.array(of_users), (self.users.num_users, 1)),
            server_speed=np.array(of_servers),
            placements=_records(PLACEMENT, placements),
            area=np.array([self.area]),
        )

    def simulator(self, num_envs: int, reward: str | None = None) -> OffloadSimulator | FrameSimulator:
        """Returns a simulator of so many episodes side by side.

        Args:
            num_envs: B.
            reward: ``forecast`` or ``realised``; frames have the one of their system.

        Raises:
            HetgymError: If there is no such reward, or a device, a model or a record is not right.
        """
        if isinstance(self.workload, FrameWorkload):
            if reward is not None:
                raise HetgymError(f"reward: frames have that of their system alone (given: {reward!r})")
            return FrameSimulator(self.workload, num_envs)
        if reward not in (None, *REWARDS):
            raise unknown_name("reward", str(reward), list(REWARDS))
        rules = self.rules
        if reward == "realised":
            rules = Rules(**{**vars(rules), "reward": "realised"})
        return OffloadSimulator(self.drawn_from, rules, num_envs)


def _records(dtype: np.dtype[np.void], rows: list[Any]) -> Records:
    return np.array(rows, dtype) if rows else np.zeros(0, dtype)


def _usual_units(source: Source) -> Any:
    """Returns the median forecasts of delay and energy of all options, at the first decisions of some episodes."""
    simulator = OffloadSimulator(source, Rules(num_requests=1), _SAMPLES)
    simulator.reset(range(_SAMPLED_FROM, _SAMPLED_FROM + _SAMPLES))
    forecasts = simulator.state.forecasts
    forecasts = forecasts[forecasts["exists"]]
    units = np.array([np.median(forecasts["delay"]), np.median(forecasts["energy"])])
    return np.where(units > 0, units, 1.0)


register_family("offloading", OffloadScenario, {})
