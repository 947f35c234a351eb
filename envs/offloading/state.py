"""Where episodes of offloading stand."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...compilation import inner
from ...workloads.arrivals import ARRIVAL
from ..core.simulator import Arrays
from .instance import REQUEST, SERVER, USER, FloatArray, Records
from .rules import OBJECTIVES

IntArray = NDArray[np.int64]

(LOCAL, READY, SENDING, TRANSIT, SERIAL, SHARED) = range(6)
"""Stages of a request on its way: on the user's processor, before the radio, in the air, behind it, in the units."""

STATUS = np.dtype(
    [
        ("seed", np.int64),
        ("episode", np.int64),
        ("slot", np.int64),  # place of the settings that are played
        ("fading_stream", np.uint64),  # key of the random numbers of its channels
        ("is_given", np.bool_),  # whether requests and luck come from an instance
        ("is_over", np.bool_),
        ("now", np.float64),  # seconds
        ("next_slot", np.int64),
        ("decided", np.int64),  # requests so far
        ("on_way", np.int64),
        ("sending", np.int64),
        ("block", np.int64),  # of the rates of those who send
        ("ended", np.int64),
        ("delay", np.float64),  # sums over requests that have ended: seconds
        ("energy", np.float64),  # J
        ("missed", np.int64),
        ("error", np.float64),
        ("away", np.int64),  # requests that were not served by the user's own device alone
        ("makespan", np.float64),  # seconds, of the last end
        ("best_gain", np.float64),  # at a decision: mean gain of the best cell, over `reach`
        ("block_now", np.int64),  # at a decision
        ("radio", np.float64),  # at a decision: when the user's radio is forecast to be free, seconds
        ("log_length", np.int64),
    ],
    align=True,
)
"""The numbers of one episode."""

ROW = np.dtype(
    [
        ("request", np.int64),
        ("user", np.int64),
        ("target", np.int64),
        ("option", np.int64),
        ("arrival", np.float64),  # seconds, like all up to `delay`; NaN for what did not happen
        ("decided", np.float64),
        ("ready", np.float64),  # end of its local work
        ("begin_send", np.float64),
        ("sent", np.float64),
        ("reached", np.float64),
        ("served", np.float64),  # end of its serial work
        ("left", np.float64),
        ("down", np.float64),  # begin of its result
        ("end", np.float64),
        ("delay", np.float64),
        ("energy", np.float64),  # J
        ("missed", np.bool_),
        ("error", np.float64),
        ("airtime", np.float64),  # seconds
        ("power", np.float64),  # W
        ("fraction", np.float64),  # that went to its target
        ("speed_factor", np.float64),  # of the user's processor
    ],
    align=True,
)
"""What became of a request."""

REMOTE = np.dtype(
    [
        ("stage", np.int32),
        ("user", np.int32),
        ("access", np.int32),
        ("server", np.int32),
        ("power", np.float64),  # W
        ("serial", np.float64),  # seconds
        ("shared", np.float64),  # units of work; in the shared unit: its progress at which the request leaves
        ("forecast_sent", np.float64),  # seconds
        ("bits", np.float64),  # that are not sent yet, at `since`
        ("rate", np.float64),  # bit/s, since then
        ("since", np.float64),  # seconds
        ("channel", np.float64),  # to its access point, in the current block
        ("imposed", np.float64),  # seconds; what others were charged for delaying it
    ],
    align=True,
)
"""A request on its way: what is looked at all the time. It is small, so that a batch stays in the cache."""

JOURNEY = np.dtype(
    [
        ("row", ROW),
        ("deadline", np.float64),  # seconds after the arrival
        ("backhaul", np.float64),  # bit/s
        ("latency", np.float64),  # seconds
        ("down_bits", np.float64),
        ("local_end", np.float64),  # seconds; of the part that stayed
        ("forecast", np.float64, len(OBJECTIVES)),  # what was charged for it
    ],
    align=True,
)
"""A request on its way: the rest."""

USER_STATE = np.dtype(
    [
        ("processor_free", np.float64),  # seconds
        ("sends", np.bool_),
        ("num_ready", np.int64),  # requests that wait for its radio
    ],
    align=True,
)
"""Where a user stands."""

SERVER_STATE = np.dtype(
    [
        ("serial_free", np.float64),  # seconds
        ("progress", np.float64),  # units of work that each request in the shared unit was given, at `since`
        ("since", np.float64),  # seconds
        ("num_shared", np.int64),
        ("num_on_way", np.int64),  # that were decided for it and have not left it
        ("first", np.int64),  # at a decision: place in `left` of the first of those
        ("inbound", np.float64),  # at a decision: serial work of those that have not reached it, seconds
        ("progress_now", np.float64),  # at a decision: `progress` now
    ],
    align=True,
)
"""Where a server stands."""

LEFT = np.dtype(
    [
        ("work", np.float64),  # units of work that are left for the shared unit
        ("place", np.int32),  # of the request
        ("is_there", np.bool_),  # whether it is in the shared unit
    ],
    align=True,
)
"""What a decision has to know of a request on its way."""

FORECAST = np.dtype(
    [
        ("exists", np.bool_),
        ("local", np.float64),  # units of work
        ("serial", np.float64),  # seconds
        ("shared", np.float64),  # units of work
        ("up", np.float64),  # bits
        ("down", np.float64),  # bits
        ("done", np.float64),  # seconds
        ("radio", np.float64),  # seconds
        ("rate", np.float64),  # bit/s
        ("sent", np.float64),  # seconds
        ("served", np.float64),
        ("left", np.float64),
        ("end", np.float64),
        ("delay", np.float64),
        ("imposed", np.float64),  # seconds
        ("backlog", np.float64),  # seconds of work that was decided for the server and is not done
        ("energy", np.float64),  # J
        ("missed", np.bool_),
        ("error", np.float64),
        ("cost", np.float64),  # what choosing it would be charged, with the weights of the episode
    ],
    align=True,
)
"""What would come of an option."""


class Setting(NamedTuple):
    """What episodes are played on: the scenario's in place 0, those of given instances behind."""

    users: Records  # (slots, K) of USER
    servers: Records  # (slots, S) of SERVER
    accesses: Records  # (slots, G) of ACCESS
    targets: Records  # (slots, T) of TARGET
    options: Records  # (slots, devices, kinds, 1 + T, O) of OPTION
    fading: Records  # (slots, G) of FADING
    flights: Records  # (slots, G) of FLIGHT
    trace: FloatArray  # (slots, G, L) bit/s
    length: NDArray[np.int64]  # (slots, G)
    block: FloatArray  # (slots,) seconds
    sharing: NDArray[np.int64]  # (slots,)
    reach: FloatArray  # (slots,)
    units: FloatArray  # (slots, 2) seconds, J
    weights: FloatArray  # (slots, 3)
    requests: Records  # (slots, N) of REQUEST, of given instances
    num_requests: NDArray[np.int64]  # (slots,)


class State(NamedTuple):
    """Where the episodes of a batch stand."""

    status: Records  # (B,) of STATUS
    request: Records  # (B,) of REQUEST, the one that is decided
    arrivals: Records  # (B, 2) of ARRIVAL: the request that is decided, and the first that has not arrived
    users: Records  # (B, K) of USER, as drawn
    servers: Records  # (B, S) of SERVER, as drawn
    gain: FloatArray  # (B, K, G)
    positions: FloatArray  # (B, K, 2) metres
    offset: NDArray[np.int64]  # (B, K, G)
    weights: FloatArray  # (B, 3)
    user_state: Records  # (B, K) of USER_STATE
    server_state: Records  # (B, S) of SERVER_STATE
    remote: Records  # (B, R) of REMOTE
    journey: Records  # (B, R) of JOURNEY
    order: NDArray[np.int64]  # (B, R) places in `remote`: of those on their way as they were decided, then free ones
    when: FloatArray  # (B, R) seconds; next event of each place
    heard: FloatArray  # (B, R, G) gains at which cells hear those who send, where that disturbs others
    left: Records  # (B, R) of LEFT, server by server; at a decision
    forecasts: Records  # (B, A) of FORECAST
    chosen: Records  # (B,) of FORECAST, of a decision that none of these is about
    scratch: Records  # (B,) of JOURNEY, a request that is never on its way
    charge: FloatArray  # (B, 3) costs since the last decision, not yet paid
    costs: FloatArray  # (B, 3) costs that the last step charged
    total: FloatArray  # (B, 3) costs of the episode
    log: Records  # (B, L) of ROW; goes round

    @classmethod
    def empty(cls, num_envs: int, shape: tuple[int, int, int], candidates: int, room: int, log_room: int) -> State:
        """Returns room for B episodes.

        Args:
            num_envs: B.
            shape: K, S, G.
            candidates: A.
            room: R, requests that can be on their way.
            log_room: L.
        """
        users, servers, accesses = shape
        objectives = len(OBJECTIVES)
        return cls(
            status=np.zeros(num_envs, STATUS),
            request=np.zeros(num_envs, REQUEST),
            arrivals=np.zeros((num_envs, 2), ARRIVAL),
            users=np.zeros((num_envs, users), USER),
            servers=np.zeros((num_envs, servers), SERVER),
            gain=np.zeros((num_envs, users, accesses)),
            positions=np.zeros((num_envs, users, 2)),
            offset=np.zeros((num_envs, users, accesses), np.int64),
            weights=np.zeros((num_envs, objectives)),
            user_state=np.zeros((num_envs, users), USER_STATE),
            server_state=np.zeros((num_envs, servers), SERVER_STATE),
            remote=np.zeros((num_envs, room), REMOTE),
            journey=np.zeros((num_envs, room), JOURNEY),
            order=np.zeros((num_envs, room), np.int64),
            when=np.zeros((num_envs, room)),
            heard=np.zeros((num_envs, room, accesses)),
            left=np.zeros((num_envs, room), LEFT),
            forecasts=np.zeros((num_envs, candidates), FORECAST),
            chosen=np.zeros(num_envs, FORECAST),
            scratch=np.zeros(num_envs, JOURNEY),
            charge=np.zeros((num_envs, objectives)),
            costs=np.zeros((num_envs, objectives)),
            total=np.zeros((num_envs, objectives)),
            log=np.zeros((num_envs, log_room), ROW),
        )


class View(NamedTuple):
    """One of the two observations of a batch."""

    candidates: Any  # float32 (B, A, Fc)
    action_mask: Any  # int8 (B, A)
    context: Any  # float32 (B, Fg)

    @classmethod
    def of(cls, buffer: Arrays) -> View:
        """Returns a simulator's buffer as kernels read it."""
        return cls(buffer["candidates"], buffer["action_mask"], buffer["context"])


class World(NamedTuple):
    """All that the kernels of a batch read and write."""

    law: Records  # (1,) of LAW
    setting: Setting
    state: State
    outcome: Records  # (B,) of OUTCOME
    shown: View
    process: Records  # (1,) of PROCESS
    recorded_times: FloatArray
    kinds: Records  # (kinds,) of REQUEST_KIND
    recorded: FloatArray  # (rows, columns)
    luck: Any  # Luck, how episodes are drawn


class Episode(NamedTuple):
    """One episode's part of the state, and what it is played on."""

    law: Records
    status: Records
    request: Records
    users: Records
    servers: Records
    accesses: Records
    targets: Records
    options: Records
    gain: FloatArray
    fading: Records
    flights: Records
    positions: FloatArray
    trace: FloatArray
    length: NDArray[np.int64]
    offset: NDArray[np.int64]
    block: float
    sharing: int
    reach: float
    units: FloatArray
    weights: FloatArray
    user_state: Records
    server_state: Records
    remote: Records
    journey: Records
    order: NDArray[np.int64]
    when: FloatArray
    heard: FloatArray
    left: Records
    charge: FloatArray
    log: Records


@inner
def named_by(candidate: int, options: int) -> tuple[int, int]:
    """Returns the target and the option that a candidate stands for.

    Args:
        candidate: 0 for the user's own device.
        options: O, of each target.
    """
    return (0, 0) if candidate == 0 else (1 + (candidate - 1) // options, (candidate - 1) % options)


@inner
def episode_at(world: World, b: int) -> Any:
    """Returns one episode's part of the state."""
    state, setting = world.state, world.setting
    slot = state.status[b].slot
    return Episode(
        world.law,
        state.status[b : b + 1],
        state.request[b : b + 1],
        state.users[b],
        state.servers[b],
        setting.accesses[slot],
        setting.targets[slot],
        setting.options[slot],
        state.gain[b],
        setting.fading[slot],
        setting.flights[slot],
        state.positions[b],
        setting.trace[slot],
        setting.length[slot],
        state.offset[b],
        setting.block[slot],
        setting.sharing[slot],
        setting.reach[slot],
        setting.units[slot],
        state.weights[b],
        state.user_state[b],
        state.server_state[b],
        state.remote[b],
        state.journey[b],
        state.order[b],
        state.when[b],
        state.heard[b],
        state.left[b],
        state.charge[b],
        state.log[b],
    )
