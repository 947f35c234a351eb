"""Small episodes of offloading, by hand and by chance, for the kernels and for the plain-Python player."""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hetgym.envs.offloading.instance import (
    ACCESS,
    FADING,
    FLIGHT,
    OPTION,
    REQUEST,
    SERVER,
    SHARINGS,
    TARGET,
    USER,
    Channel,
    Instance,
    Sharing,
)
from hetgym.workloads.fading import FADINGS

Fields = Mapping[str, Any]

PLAIN = {
    REQUEST: {"size": 1.0, "work": 1.0, "deadline": math.inf},
    USER: {"speed": 1.0, "energy": 1.0, "power": 1.0},
    SERVER: {"speed": 1.0, "per_job": 1.0},
    ACCESS: {"is_radio": True, "bandwidth": 1.0, "down_bandwidth": 1.0, "noise": 1.0, "power": 1.0, "down_ratio": 1.0},
    TARGET: {"backhaul": math.inf},
    OPTION: {"exists": True},
}
"""What is not given, where that is not 0."""


def records(dtype: np.dtype, rows: Iterable[Fields]) -> np.ndarray:
    """Rows of a kind; a polynomial that is given as one number is a constant."""
    rows = list(rows)
    made = np.zeros(len(rows), dtype)
    for number, row in enumerate(rows):
        for name, value in (PLAIN[dtype] | dict(row)).items():
            if made[name].ndim == 1:
                made[name][number] = value
            else:
                terms = np.atleast_1d(value)
                made[name][number, : len(terms)] = terms
    return made


def option_table(by_target: Sequence[Sequence[Fields]]) -> np.ndarray:
    """The options of one device and one kind; where there are fewer than for another target, the rest do not exist."""
    most = max(len(options) for options in by_target)
    padded = [[*options, *({"exists": False},) * (most - len(options))] for options in by_target]
    return np.array([records(OPTION, options) for options in padded])[None, None]


def small_instance(
    requests: Iterable[Fields],
    options: Sequence[Sequence[Fields]] | np.ndarray,
    users: Sequence[Fields] = ({},),
    servers: Sequence[Fields] = ({},),
    accesses: Sequence[Fields] = ({},),
    targets: Sequence[Fields] = ({},),
    gain: Any = 1.0,
    block: float = math.inf,
    sharing: Sharing = "dedicated",
    trace: Sequence[float] = (1.0,),
    units: Sequence[float] = (1.0, 1.0),
    weights: Sequence[float] = (1.0, 0.0, 0.0),
    **channel: Any,
) -> Instance:
    """An episode of a few users.

    Args:
        requests: By rising arrival.
        options: The options of each target, target 0 first, the same for all devices and kinds; or an array of all.
        users: What differs from `PLAIN`, as for all the others.
        servers: Likewise.
        accesses: Likewise.
        targets: Likewise.
        gain: Of all users to all access points, or a number for each pair of them.
        block: Seconds.
        sharing: What is shared by those who send at once.
        trace: bit/s, of lines.
        units: Of delay and energy.
        weights: Of delay, energy and misses.
        channel: Other fields of the channel.
    """
    shape = (len(users), len(accesses))
    asked = records(REQUEST, requests)
    made_users = records(USER, users)
    if not isinstance(options, np.ndarray):
        devices, kinds = made_users["device"].max() + 1, asked["kind"].max() + 1
        options = np.tile(option_table(options), (devices, kinds, 1, 1))
    given = {
        "fading": np.zeros(shape[1], FADING),
        "flights": np.zeros(shape[1], FLIGHT),
        "positions": np.zeros((shape[0], 2)),
        "offset": np.zeros(shape, np.int64),
    } | channel
    return Instance(
        requests=asked,
        users=made_users,
        servers=records(SERVER, servers),
        accesses=records(ACCESS, accesses),
        targets=records(TARGET, targets),
        options=options,
        channel=Channel(
            gain=np.broadcast_to(np.asarray(gain, np.float64), shape).copy(),
            block=block,
            sharing=sharing,
            trace=np.tile(np.array(trace, np.float64), (shape[1], 1)),
            length=np.full(shape[1], len(trace)),
            **given,
        ),
        units=np.array(units, np.float64),
        weights=np.array(weights, np.float64),
    )


def drawn_instance(
    seed: int,
    requests: int = 12,
    users: int | None = None,
    servers: int | None = None,
    accesses: int | None = None,
    targets: int | None = None,
    options: int | None = None,
    sharing: Sharing | None = None,
    fading: str | None = None,
    block: float | None = None,
    lines: float = 0.3,
    always_local: bool = False,
    at_once: bool = False,
    gap: float = 0.5,
) -> Instance:
    """An episode by chance, in which all takes about a second.

    Args:
        seed: Of chance.
        requests: How many.
        users: How many; by default drawn, as all that is None.
        servers: How many.
        accesses: How many.
        targets: How many, besides target 0.
        options: How many a target has at most; some do not exist, but the first does.
        sharing: What is shared by those who send at once.
        fading: One of `FADINGS`.
        block: Seconds.
        lines: How many access points are lines, on average.
        always_local: Whether target 0 always has an option.
        at_once: Whether all requests arrive at time 0.
        gap: Seconds between arrivals, on average.
    """
    luck = random.Random(seed)
    draw = luck.uniform
    users = users or luck.randint(1, 4)
    servers = servers or luck.randint(1, 3)
    accesses = accesses or luck.randint(1, 3)
    targets = targets or luck.randint(1, 4)
    options = options or luck.randint(1, 3)
    devices, kinds = luck.randint(1, 2), luck.randint(1, 2)
    arrivals = np.cumsum([0.0 if at_once else luck.expovariate(1 / gap) for _ in range(requests)])

    drawn_options = [
        [_drawn_options(luck, targets, options, always_local) for _ in range(kinds)] for _ in range(devices)
    ]
    kind = FADINGS.index(fading or luck.choice(FADINGS))
    cells = [luck.random() >= lines for _ in range(accesses)]
    weights = [luck.expovariate(1) for _ in range(3)]
    return small_instance(
        requests=[
            {
                "arrival": arrival,
                "user": luck.randrange(users),
                "kind": luck.randrange(kinds),
                "size": draw(0.5, 2),
                "work": draw(0.5, 2),
                "deadline": luck.choice((math.inf, draw(0.5, 6))),
            }
            for arrival in arrivals
        ],
        options=np.array(drawn_options),
        users=[
            {
                "device": luck.randrange(devices),
                "speed": draw(0.5, 2),
                "energy": draw(0.5, 2),
                "power": draw(0.5, 2),
                "receive_power": _sometimes(luck, 0.1, 0.5),
                "idle_power": _sometimes(luck, 0.1, 0.5),
            }
            for _ in range(users)
        ],
        servers=[
            {
                "speed": draw(1, 4),
                "fixed": _sometimes(luck, 0.1, 0.5),
                "per_job": draw(0.2, 1),
                "energy": _sometimes(luck, 0.1, 0.5),
            }
            for _ in range(servers)
        ],
        accesses=[
            {
                "is_radio": is_cell,
                "bandwidth": draw(1, 3),
                "down_bandwidth": draw(1, 3),
                "noise": draw(0.05, 0.5),
                "power": draw(0.5, 2),
                "down_ratio": draw(0.5, 3),
            }
            for is_cell in cells
        ],
        targets=[
            {
                "access": luck.randrange(accesses),
                "server": luck.randrange(servers),
                "backhaul": luck.choice((math.inf, math.inf, draw(0.5, 2))),
                "latency": _sometimes(luck, 0.01, 0.3),
            }
            for _ in range(targets)
        ],
        gain=[[draw(0.3, 2) if is_cell else 1.0 for is_cell in cells] for _ in range(users)],
        block=block or luck.choice((math.inf, draw(0.05, 0.3), draw(0.3, 2))),
        sharing=sharing or luck.choice(SHARINGS),
        trace=[draw(0.5, 4) for _ in range(luck.randint(1, 20))],
        units=(draw(0.5, 4), draw(0.5, 4)),
        weights=[weight / sum(weights) for weight in weights],
        fading=np.array([(kind, draw(0, 5), luck.choice((0.0, draw(0.1, 1)))) for _ in cells], FADING),
        offset=np.array([[luck.randrange(20) for _ in cells] for _ in range(users)], np.int64),
        seed=seed,
        reach=math.inf if always_local else luck.choice((math.inf, math.inf, 2.0)),
    )


def _drawn_options(luck: random.Random, targets: int, options: int, always_local: bool) -> np.ndarray:
    """Those of one device and one kind, (1 + T, O)."""
    own = {
        "exists": always_local or luck.random() < 0.8,
        "local": [luck.uniform(0.1, 0.5), *_polynomial(luck, 3, 0.5)],
        "error": _sometimes(luck, 0.0, 0.1),
    }
    others = [[_remote_option(luck, first=number == 0) for number in range(options)] for _ in range(targets)]
    return option_table([[own], *others])[0, 0]


def _remote_option(luck: random.Random, first: bool) -> Fields:
    return {
        "exists": first or luck.random() < 0.7,
        "local": luck.choice((0.0, 0.0, [luck.uniform(0.1, 0.5), *_polynomial(luck, 3, 0.5)])),
        "serial": _polynomial(luck, 4, 0.5),
        "shared": _polynomial(luck, 4, 1.0),
        "up": _polynomial(luck, 3, 2.0),
        "down": _polynomial(luck, 3, 2.0),
        "error": _sometimes(luck, 0.0, 0.2),
    }


def _polynomial(luck: random.Random, terms: int, scale: float) -> list[float]:
    """Coefficients, one time in five all 0."""
    return [scale * _sometimes(luck, 0.0, 0.5) for _ in range(terms)] if luck.random() < 0.8 else [0.0] * terms


def _sometimes(luck: random.Random, low: float, high: float) -> float:
    """A number, or one time in three 0."""
    return luck.choice((0.0, 1.0, 1.0)) * luck.uniform(low, high)


def drawn_rules(seed: int, continuous: bool = False) -> dict[str, Any]:
    """When decisions are taken, how much room there is, and whether requests are decided in two parts."""
    luck = random.Random(seed)
    return {
        "epochs": luck.choice(("arrival", "slot")),
        "slot": luck.uniform(0.1, 0.6),
        "room": luck.choice((1, 2, 3, 100)),
        "continuous": continuous,
    }


def drawn_choice(luck: random.Random, instance: Instance, request: int) -> tuple[int, int]:
    """A target and one of its options that exist."""
    asked = instance.requests[request]
    options = instance.options[instance.users["device"][asked["user"]], asked["kind"]]
    cells = instance.accesses["is_radio"][instance.targets["access"]]
    gain = np.where(cells, instance.channel.gain[asked["user"], instance.targets["access"]], 0.0)
    exists = options["exists"].copy()
    least = (gain * exists[1:].any(axis=1)).max() / instance.channel.reach
    exists[1:][cells & (gain < least)] = False
    target, option = luck.choice(np.argwhere(exists).tolist())
    return target, option


def drawn_parts(luck: random.Random, instance: Instance) -> tuple[int, float, float, float]:
    """A target, a share of the request that goes there, a power and a factor of the processor's speed."""
    share = luck.choice((0.0, 1.0, luck.random(), luck.random()))
    return luck.randint(1, len(instance.targets)), share, luck.uniform(0.5, 2), luck.uniform(0.5, 1.5)
