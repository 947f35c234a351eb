"""Offloading in frames: what episodes are made of, and the compiled simulator.

`docs/offloading-frames.md` has the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from ...compilation import hold
from ...errors import HetgymError
from ...workloads.fading import FADINGS
from ..core.simulator import Simulator, observation_space
from .advance import BEGIN, NOTHING
from .allocation import FRAME, SYSTEMS
from .frame_advance import advance_frames, list_frames
from .frame_features import FRAME_SCHEMA
from .frame_luck import mean_gain
from .frame_state import DRAWN, Bench, FrameInstance, FrameState, FrameWorld
from .instance import FloatArray, Records
from .settings import Count, Frozen, NonNegative, Positive, Range, check_range, middle, span
from .simulator import LOG_ROOM, LOG_ROOM_OF_MANY
from .state import IntArray, View

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_OWN = {
    "droo": ("efficiency",),
    "lydroo": ("max_frequency", "rate_weight", "energy_weight", "energy_budget", "mean_arrival"),
}
"""Settings of one system alone."""


class FrameWorkload(Frozen):
    """Users who share an access point, frame by frame.

    Attributes:
        system: ``droo``, wireless power, or ``lydroo``, queues.
        num_users: K.
        num_frames: Of an episode, M.
        distance: Between users and access point, metres, or a range of it.
        placement: Whether each episode draws the distance of each user from the range, or users stand at even distances
            from its beginning to its end.
        antenna_gain: A.
        carrier: Frequency, Hz.
        exponent: Of the path loss.
        fading: ``none``, ``rayleigh`` or ``rician``.
        k_factor: Of Rician fading: power of the direct path / power of the scattered ones.
        doppler: Hz; 0: frames are independent.
        weights: Of the users' bits, in turn.
        duration: Of a frame, seconds.
        bandwidth: Hz.
        noise: Density, W/Hz.
        overhead: Bits sent for a bit of data.
        cycles: For a bit of data.
        kappa: Effective capacitance, J s^2 per cycle: computing at f Hz takes ``kappa f^3`` W.
        power: W; of the broadcast (droo), or the most with which a user sends (lydroo).
        efficiency: Share of the power received that is harvested (droo).
        max_frequency: Of the users' processors, Hz (lydroo).
        rate_weight: V, bits (lydroo).
        energy_weight: Of the energy queues' squares, bit^2/J^2 (lydroo).
        energy_budget: Of a user in a frame, J (lydroo).
        mean_arrival: Of a user in a frame, bits (lydroo).
        unit: By which rewards are divided, bit/s (droo) or bit^2 (lydroo).
    """

    kind: Literal["frames"] = "frames"
    system: Literal["droo", "lydroo"]
    num_users: Annotated[int, Field(ge=1, le=1000)] = 10
    num_frames: Count = 100
    distance: Range
    placement: Literal["drawn", "even"] = "drawn"
    antenna_gain: Positive
    carrier: Positive = 915e6
    exponent: Positive
    fading: Literal["none", "rayleigh", "rician"] = "rayleigh"
    k_factor: NonNegative = 0.0
    doppler: NonNegative = 0.0
    weights: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.0, 1.5)
    duration: Positive = 1.0
    bandwidth: Positive = 2e6
    noise: Positive
    overhead: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.1
    cycles: Positive = 100.0
    kappa: Positive = 1e-26
    power: Positive
    efficiency: Annotated[float, Field(gt=0, le=1)] | None = None
    max_frequency: Positive | None = None
    rate_weight: Positive | None = None
    energy_weight: Positive | None = None
    energy_budget: Positive | None = None
    mean_arrival: Positive | None = None
    unit: Positive

    _rises = field_validator("distance")(check_range)

    @model_validator(mode="after")
    def _check_system(self) -> FrameWorkload:
        for system, names in _OWN.items():
            for name in names:
                given = getattr(self, name)
                if system == self.system and given is None:
                    raise ValueError(f"{name}: the system {self.system} needs it")
                if system != self.system and given is not None:
                    raise ValueError(f"{name}: is of the system {system}; leave it out of {self.system}")
        return self

    def record(self) -> Records:
        """Returns the constants as kernels read them, (1,) of `allocation.FRAME`."""
        law = np.zeros(1, FRAME)
        for name in FRAME.names or ():
            law[name] = SYSTEMS.index(self.system) if name == "system" else getattr(self, name) or 0.0
        return law

    def drawn(self) -> Records:
        """Returns what episodes are drawn from, (1,) of `frame_state.DRAWN`."""
        nearest, farthest = span(self.distance)
        return np.array(
            [
                (
                    self.num_frames, nearest, farthest, self.placement == "even", self.antenna_gain, self.carrier,
                    self.exponent, FADINGS.index(self.fading), self.k_factor, self.doppler, self.mean_arrival or 0.0,
                )
            ],
            DRAWN,
        )  # fmt: skip

    def user_weights(self) -> FloatArray:
        """Returns the weight of each user, float64 (K,)."""
        return np.resize(np.array(self.weights), self.num_users)

    def units(self) -> FloatArray:
        """Returns what features are divided by, float64 (2,): bits and J of a user in a frame."""
        if self.mean_arrival is not None and self.energy_budget is not None:
            return np.array([self.mean_arrival, self.energy_budget])
        gain = mean_gain(self.antenna_gain, self.carrier, self.exponent, middle(self.distance))
        harvested = (self.efficiency or 0.0) * self.power * gain
        return self.duration * np.array([np.cbrt(harvested / self.kappa) / self.cycles, harvested])


class FrameSimulator(Simulator):
    """Plays frames in which users compute locally or offload, one user a step.

    Candidate 0 is to compute locally, 1 to offload. The arrays of `state` are live: ``gains``, ``queues`` and the like
    are those of the frame at hand, and ``status["user"]`` is who is decided.

    Attributes:
        workload: What episodes are made of.
        frame: (1,) of `allocation.FRAME`, the constants.
        state: Where episodes stand.
    """

    schema = FRAME_SCHEMA

    def __init__(self, workload: FrameWorkload, num_envs: int) -> None:
        """Makes room for B episodes.

        Args:
            workload: What they are made of.
            num_envs: B.
        """
        super().__init__(num_envs, observation_space(FRAME_SCHEMA, 2, 0, 0), 2)
        self.workload, self.frame = workload, workload.record()
        log_room = LOG_ROOM if num_envs == 1 else LOG_ROOM_OF_MANY
        log_frames = min(workload.num_frames, max(log_room // workload.num_users, 1))
        self.state = FrameState.empty(num_envs, workload.num_users, log_frames)
        self._all_rows = np.arange(num_envs)
        self._shape = workload.num_frames, workload.num_users
        self._given: dict[int, FrameInstance] = {}
        self._make_room()

    def _make_room(self) -> None:
        """Lays out what is played, the gains and arrivals of given instances among it."""
        gains, arrivals = np.zeros((2, self.num_envs if self._given else 0, *self._shape))
        for row, instance in self._given.items():
            gains[row], arrivals[row] = instance.gains, instance.arrivals
        workload, bench = self.workload, Bench.empty(self.workload.num_users)
        worlds = [
            FrameWorld(
                self.frame, workload.drawn(), workload.user_weights(), workload.units(), gains, arrivals, self.state,
                bench, self.outcome, View.of(buffer),
            )
            for buffer in self.buffers
        ]  # fmt: skip
        self._handles = [hold(world) for world in worlds]

    @property
    def handle(self) -> Any:
        """What compiled policies read: a handle of the `FrameWorld`."""
        return self._handles[self._current]

    def _accept(self, instances: Sequence[Any] | None) -> list[FrameInstance] | None:
        if instances is None:
            return None
        if len(instances) != self.num_envs:
            raise HetgymError(f"instances: there must be {self.num_envs}, one an environment (given: {len(instances)})")
        for instance in instances:
            _check_fits(instance, *self._shape)
        return list(instances)

    def _begin(self, rows: IntArray, instances: Sequence[FrameInstance] | None) -> None:
        state, status = self.state, self.state.status
        status["seed"][rows], status["episode"][rows] = self.seeds[rows], self.episodes[rows]
        status["is_given"][rows] = instances is not None
        if instances is not None:
            self._given |= dict(zip(rows.tolist(), instances, strict=True))
            self._make_room()
            for row, instance in zip(rows.tolist(), instances, strict=True):
                state.weights[row], state.mean_gains[row] = instance.weights, instance.mean_gains
        advance_frames(self.handle, rows, np.full(rows.size, BEGIN), True)

    def _advance(self, actions: NDArray[Any]) -> int:
        return int(advance_frames(self.handle, self._all_rows, actions, self.observes))

    def instance(self, row: int) -> FrameInstance:
        """Returns what an episode plays, all of its frames."""
        if self.state.status["is_given"][row]:
            return self._given[row]
        gains, arrivals = np.zeros((2, *self._shape))
        list_frames(self.handle, row, gains, arrivals)
        return FrameInstance(gains, arrivals, self.state.weights[row].copy(), self.state.mean_gains[row].copy())

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
        advance_frames(self.handle, self._all_rows, np.full(self.num_envs, NOTHING), True)

    def metrics(self, rows: IntArray) -> dict[str, FloatArray]:
        """Returns the metrics of `docs/offloading-frames.md`, over the frames that are over."""
        status = self.state.status[rows]
        frames, users = np.maximum(status["frame"], 1), self.workload.num_users
        seconds = frames * self.workload.duration
        return {
            "computation_rate": status["bits"] / seconds,
            "weighted_rate": status["weighted_bits"] / seconds,
            "energy": status["energy"] / (frames * users),
            "power": status["energy"] / (seconds * users),
            "backlog": status["backlog"] / (frames * users),
        }

    def episode(self, row: int) -> pd.DataFrame:
        """Returns what became of the frames that are over, or of the last of them, a row for each user of each.

        The columns are those of `frame_state.ROW`: gains, shares of the frame's time, bits, J, the queues at the
        beginning of the frame, and the reward of all of it.
        """
        import pandas as pd

        log, over = self.state.log[row], int(self.state.status["frame"][row])
        kept = log[np.arange(max(over - len(log), 0), over) % len(log)].reshape(-1)
        return pd.DataFrame({name: kept[name] for name in log.dtype.names or ()})

    def bars(self, row: int) -> pd.DataFrame:
        """Returns a bar for each user and frame that is over; groups are where the frame's data was computed."""
        from .frame_render import bars

        return bars(self.episode(row), self.workload.duration, self.workload.num_users)

    def figure(self, row: int) -> Figure:
        """Returns a picture of the frames so far."""
        from .frame_render import frames_figure

        return frames_figure(
            self.episode(row), self.workload.system, self.workload.duration, self.workload.energy_budget
        )


def _check_fits(instance: Any, num_frames: int, num_users: int) -> None:
    """Checks that an instance can be played in a scenario's environment."""
    if not isinstance(instance, FrameInstance):
        raise HetgymError(f"instance: must be a hetgym FrameInstance, not {type(instance).__name__} ({instance!r})")
    by_frame, by_user = (num_frames, num_users), (num_users,)
    wanted = {"gains": by_frame, "arrivals": by_frame, "weights": by_user, "mean_gains": by_user}
    for name, shape in wanted.items():
        given = np.asarray(getattr(instance, name))
        if given.shape != shape:
            raise HetgymError(
                f"instance: {name} must be of the shape {shape}, as the scenario's (given: {given.shape})"
            )
        is_number = given.dtype.kind in "fiu" and np.isfinite(given).all()
        if not is_number or (given < 0).any() or (shape == by_user and not given.all()):
            bound = "above 0" if shape == by_user else "not negative"
            raise HetgymError(f"instance: {name} must be finite numbers, {bound} (given: {given.tolist()!r:.60})")
