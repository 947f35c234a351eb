"""The compiled simulator of offloading: many episodes decided side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ...compilation import hold
from ...errors import HetgymError
from ...workloads.arrivals import PoissonArrivals
from ...workloads.requests import REQUEST_KIND
from ..core.simulator import Simulator, observation_space
from .advance import BEGIN, NOTHING, advance, list_requests
from .features import SCHEMA
from .instance import REQUEST, SHARINGS, Channel, FloatArray, Instance, Records
from .luck import PLACEMENT, Luck
from .rules import OBJECTIVES, Rules
from .state import IntArray, Setting, State, View, World
from .table import COLUMNS, REMOTE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

LOG_ROOM, LOG_ROOM_OF_MANY = 1 << 14, 1 << 10
"""Requests that are remembered of a single episode, and of each of several side by side; the oldest are forgotten
first."""


@dataclass(frozen=True, eq=False)
class Source:
    """What episodes are drawn from.

    Attributes:
        template: An instance without requests: its users and servers at factor 1 of their speeds, its gains as they
            come.
        luck: What is drawn for an episode.
        process: (1,) of `workloads.arrivals.PROCESS`.
        recorded_times: float64 (rows,), seconds.
        kinds: (kinds,) of `workloads.requests.REQUEST_KIND`.
        recorded: float64 (rows, columns).
        cloud: bool (T,), which targets are in the cloud.
    """

    template: Instance
    luck: Luck
    process: Records
    recorded_times: FloatArray
    kinds: Records
    recorded: FloatArray
    cloud: NDArray[np.bool_]

    @classmethod
    def given(cls, instance: Instance) -> Source:
        """Returns a source for instances that are given, of the same shapes: without them it has but empty requests."""
        kinds = np.zeros(1, REQUEST_KIND)
        kinds["share"] = 1.0
        return cls(
            template=replace(instance, requests=instance.requests[:0]),
            luck=Luck(
                user_speed=np.ones((len(instance.users), 2)),
                server_speed=np.ones((len(instance.servers), 2)),
                placements=np.zeros(len(instance.accesses), PLACEMENT),
                area=np.ones(1),
            ),
            process=PoissonArrivals(mean_interarrival=1.0).law(None),
            recorded_times=np.empty(0),
            kinds=kinds,
            recorded=np.zeros((1, 1)),
            cloud=np.zeros(len(instance.targets), np.bool_),
        )


class OffloadSimulator(Simulator):
    """Plays streams of requests that are computed here, at the edge or in the cloud, one decision a step.

    Attributes:
        source: What episodes are drawn from.
        rules: How they are played.
        state: Where they stand.
        costs: float64 (B, 3), what the last step charged: delay, energy, misses, normalised; rewards are minus these.
    """

    schema = SCHEMA

    def __init__(self, source: Source, rules: Rules, num_envs: int) -> None:
        """Makes room for B episodes.

        Args:
            source: What they are drawn from.
            rules: How they are played.
            num_envs: B.
        """
        template = source.template
        targets, options = len(template.targets), template.options.shape[3]
        candidates = 1 + targets * options
        space = observation_space(SCHEMA, candidates, 0, 0)
        box = spaces.Box(-1.0, 1.0, (3,), np.float32) if rules.continuous else None
        super().__init__(num_envs, space, candidates, box)
        self.source, self.rules = source, rules
        self._law = rules.law()
        shape = len(template.users), len(template.servers), len(template.accesses)
        log_room = LOG_ROOM if num_envs == 1 else LOG_ROOM_OF_MANY
        self.state = State.empty(num_envs, shape, candidates, rules.room, log_room)
        self.costs = self.state.costs
        self._views = [View.of(buffer) for buffer in self.buffers]
        self._all_rows = np.arange(num_envs)
        self._knobs = np.zeros((0, 3))
        self._given: dict[int, Instance] = {}
        self._make_room()

    def _make_room(self) -> None:
        """Lays out what is played on: the scenario's setting, and behind it those of given instances."""
        played = [self.source.template]
        if self._given:
            played += [self._given.get(row, self.source.template) for row in range(self.num_envs)]
        self._setting = _setting(played)
        worlds = [
            World(
                self._law, self._setting, self.state, self.outcome, view, self.source.process,
                self.source.recorded_times, self.source.kinds, self.source.recorded, self.source.luck,
            )
            for view in self._views
        ]  # fmt: skip
        self._handles = [hold(world) for world in worlds]

    @property
    def logs(self) -> bool:
        """Whether what becomes of requests is written down; long runs are faster without."""
        return bool(self._law["logs"][0])

    @logs.setter
    def logs(self, logs: bool) -> None:
        self._law["logs"] = logs

    @property
    def handle(self) -> Any:
        """What compiled policies read: a handle of the `World`."""
        return self._handles[self._current]

    def _accept(self, instances: Sequence[Any] | None) -> list[Instance] | None:
        if instances is None:
            return None
        for instance in {id(instance): instance for instance in instances}.values():
            _check_fits(instance, self.source.template)
        return list(instances)

    def _begin(self, rows: IntArray, instances: Sequence[Instance] | None) -> None:
        status, state = self.state.status, self.state
        status["seed"][rows], status["episode"][rows] = self.seeds[rows], self.episodes[rows]
        status["slot"][rows], status["is_given"][rows] = 0, False
        if instances is not None:
            self._given |= dict(zip(rows.tolist(), instances, strict=True))
            self._make_room()
            for row, instance in zip(rows.tolist(), instances, strict=True):
                channel = instance.channel
                status["seed"][row], status["episode"][row] = channel.seed, channel.episode
                status["slot"][row], status["is_given"][row] = 1 + row, True
                state.gain[row], state.positions[row] = channel.gain, channel.positions
                state.offset[row] = channel.offset
        advance(self.handle, rows, np.full(rows.size, BEGIN), self._knobs, True)

    def _advance(self, actions: NDArray[Any]) -> int:
        if self.rules.continuous:
            decides = np.zeros(self.num_envs, np.int64)
            return int(advance(self.handle, self._all_rows, decides, actions, self.observes))
        return int(advance(self.handle, self._all_rows, actions, self._knobs, self.observes))

    def instance(self, row: int, num_requests: int | None = None) -> Instance:
        """Returns what an episode plays.

        Args:
            row: Which episode.
            num_requests: Of its requests, the first so many; by default those that have been decided.
        """
        status, state = self.state.status[row], self.state
        slot = int(status["slot"])
        if status["is_given"]:
            return self._given[row]
        count = int(status["decided"]) if num_requests is None else num_requests
        requests = np.zeros(count, REQUEST)
        list_requests(self.handle, row, requests)
        template = self.source.template
        channel = Channel(
            gain=state.gain[row].copy(),
            block=template.channel.block,
            sharing=template.channel.sharing,
            fading=template.channel.fading,
            flights=template.channel.flights,
            positions=state.positions[row].copy(),
            trace=template.channel.trace,
            length=template.channel.length,
            offset=state.offset[row].copy(),
            seed=int(status["seed"]),
            episode=int(status["episode"]),
            reach=template.channel.reach,
        )
        return Instance(
            requests=requests,
            users=state.users[row].copy(),
            servers=state.servers[row].copy(),
            accesses=self._setting.accesses[slot],
            targets=self._setting.targets[slot],
            options=self._setting.options[slot],
            channel=channel,
            units=self._setting.units[slot],
            weights=state.weights[row].copy(),
        )

    def state_arrays(self) -> Mapping[str, NDArray[Any]]:
        """Returns the state, the seeds and what the last step gave."""
        if self.state.status["is_given"].any():
            raise HetgymError("episodes that play given instances cannot be saved")
        return {"seeds": self.seeds, "episodes": self.episodes, "outcome": self.outcome, **self.state._asdict()}

    def load_state_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Continues from arrays that `state_arrays` gave."""
        self.seeds[:] = arrays["seeds"]
        self.episodes[:] = arrays["episodes"]
        self.outcome[...] = arrays["outcome"]
        for name, array in self.state._asdict().items():
            array[...] = arrays[name]
        self._begun = True
        advance(self.handle, self._all_rows, np.full(self.num_envs, NOTHING), self._knobs, True)

    def metrics(self, rows: IntArray) -> dict[str, FloatArray]:
        """Returns what the docstring of the environment lists."""
        status = self.state.status[rows]
        ended = np.maximum(status["ended"], 1).astype(np.float64)
        costs = {
            f"{objective}_cost": self.state.total[rows, place].copy() for place, objective in enumerate(OBJECTIVES)
        }
        return {
            "delay": status["delay"] / ended,
            "energy": status["energy"] / ended,
            "missed": status["missed"] / ended,
            "error": status["error"] / ended,
            "offloaded": status["away"] / ended,
            "makespan": status["makespan"].copy(),
            "requests": status["ended"].astype(np.float64),
            "cost": (self.state.weights[rows] * self.state.total[rows]).sum(axis=1) / ended,
            **costs,
        }

    def episode(self, row: int) -> pd.DataFrame:
        """Returns what became of the requests that have ended, or of the last of them, one row each; see `table`."""
        import pandas as pd

        log, length = self.state.log[row], int(self.state.status["log_length"][row])
        kept = log[np.arange(max(length - len(log), 0), length) % len(log)]
        kept = kept[np.argsort(kept["request"], kind="stable")]
        table = pd.DataFrame({name: kept[name] for name in COLUMNS})
        table.loc[table["target"] == 0, list(REMOTE)] = np.nan
        return table

    def bars(self, row: int) -> pd.DataFrame:
        """Returns a bar for each stage of each request that has ended, on a lane of its own; groups are stages."""
        from .render import bars

        return bars(self.episode(row), self.instance(row))

    def figure(self, row: int) -> Figure:
        """Returns a picture of what became of the requests so far."""
        from .render import timeline

        return timeline(self.episode(row), self.instance(row))


def _setting(played: Sequence[Instance]) -> Setting:
    """Returns instances side by side."""
    channels = [instance.channel for instance in played]
    longest = max(len(instance.requests) for instance in played)
    requests = np.zeros((len(played), longest), REQUEST)
    for place, instance in enumerate(played):
        requests[place, : len(instance.requests)] = instance.requests
    return Setting(
        users=np.stack([instance.users for instance in played]),
        servers=np.stack([instance.servers for instance in played]),
        accesses=np.stack([instance.accesses for instance in played]),
        targets=np.stack([instance.targets for instance in played]),
        options=np.stack([instance.options for instance in played]),
        fading=np.stack([channel.fading for channel in channels]),
        flights=np.stack([channel.flights for channel in channels]),
        trace=_padded([channel.trace for channel in channels]),
        length=np.stack([channel.length for channel in channels]),
        block=np.array([channel.block for channel in channels]),
        sharing=np.array([SHARINGS.index(channel.sharing) for channel in channels]),
        reach=np.array([channel.reach for channel in channels]),
        units=np.stack([instance.units for instance in played]),
        weights=np.stack([instance.weights for instance in played]),
        requests=requests,
        num_requests=np.array([len(instance.requests) for instance in played]),
    )


def _padded(traces: Sequence[FloatArray]) -> FloatArray:
    """Returns the records of instances side by side."""
    longest = max(trace.shape[1] for trace in traces)
    return np.stack([np.pad(trace, ((0, 0), (0, longest - trace.shape[1]))) for trace in traces])


def _check_fits(instance: Any, template: Instance) -> None:
    """Checks that an instance can be played in a scenario's environment."""
    if not isinstance(instance, Instance):
        what = f"{type(instance).__name__} ({instance!r})"
        raise HetgymError(f"instance: must be a hetgym offloading Instance, not {what}")
    for name in ("users", "servers", "accesses", "targets", "options"):
        given, wanted = getattr(instance, name).shape, getattr(template, name).shape
        if given != wanted:
            raise HetgymError(f"instance: {name} must be of the shape {wanted}, as the scenario's (given: {given})")
    if not len(instance.requests):
        raise HetgymError("instance: must have at least one request")
    instance.check()
