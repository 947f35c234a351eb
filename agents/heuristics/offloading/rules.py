"""Rules of thumb for where a request is computed, as kernels over a batch of episodes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....compilation import handle_kernel, inner
from ....envs.offloading.instance import FloatArray
from ....envs.offloading.state import Episode, World, episode_at, named_by
from ....workloads.counter_random import random_integer, random_stream
from ...policy import Actions

BY_TARGET = (
    "all-local",
    "all-edge",
    "all-cloud",
    "round-robin",
    "least-work",
    "jsq",
    "power-of-two",
    "threshold",
)
"""Rules that choose a target, of which the first option that exists is taken: a whole network, where it can be cut.

A target is open to a request if one of its options exists; the own device is one of them. Where nothing is as a rule
wants it, it takes the first option that exists.

- ``all-local``: the own device.
- ``all-edge``, ``all-cloud``: the target of highest rate there.
- ``round-robin``: request r goes to open target r modulo their number.
- ``least-work``: the least `FORECAST.backlog`; of the own device, the seconds until its processor is free.
- ``jsq``: the server to which fewest requests are on their way that have not left it (Winston 1977,
  doi:10.1017/S0021900200104772); the own device counts as 1 while its processor is taken. Of equals the highest rate,
  and before that the own device.
- ``power-of-two``: ``jsq`` among two open targets that are drawn (Mitzenmacher 2001, doi:10.1109/71.963420).
- ``threshold``: the own device, unless it would take longer than ``delay`` delay units, waiting included, and there is
  a target of at least ``rate`` bit/s; then that of highest rate.
"""

BY_OPTION = (
    "greedy-delay",
    "greedy-energy",
    "greedy-social",
    "weighted-greedy",
    "weighted-selfish",
    "lyapunov",
    "neurosurgeon",
    "neurosurgeon-energy",
)
"""Rules that take the option of which something is least.

- ``greedy-delay``, ``greedy-energy``: the forecast delay, or energy.
- ``greedy-social``: the forecast delay and what it would delay others by.
- ``weighted-greedy``: all forecast costs, with the weights of the episode.
- ``weighted-selfish``: the same without what it would delay others by.
- ``lyapunov``: drift plus penalty, ``penalty x (delay + imposed) / delay unit + Y x energy / energy unit``, where Y,
  the virtual queue of the user, grows by ``(energy - budget) / energy unit`` with each decision, and is never negative.
  The principle is that of LODCO (Mao, Zhang, Letaief 2016, doi:10.1109/JSAC.2016.2611964) and LyDROO (Bi et al. 2021,
  doi:10.1109/TWC.2021.3085319), there in slots.
- ``neurosurgeon``: the time of the local work, of sending at the current rate, and at a server that nobody else uses:
  no queue is looked at (Kang et al. 2017, doi:10.1145/3037697.3037698).
- ``neurosurgeon-energy``: the energy that local work and sending take of the user's device (the same).
"""

RULES = BY_TARGET + BY_OPTION
"""In the order of the codes that kernels take."""

(_ALL_LOCAL, _ALL_EDGE, _ALL_CLOUD, _ROUND_ROBIN, _LEAST_WORK, _JSQ, _POWER_OF_TWO, _THRESHOLD) = range(len(BY_TARGET))
(_DELAY, _ENERGY, _SOCIAL, _WEIGHTED, _SELFISH, _LYAPUNOV, _NEUROSURGEON, _NEUROSURGEON_ENERGY) = range(
    len(BY_TARGET), len(RULES)
)

_PURPOSE = 1_002
"""Of the random numbers that ``power-of-two`` draws."""


class Settings(NamedTuple):
    """The numbers of rules that have some."""

    delay: float = 1.0  # of `threshold`, delay units
    rate: float = 0.0  # of `threshold`, bit/s
    penalty: float = 1.0  # of `lyapunov`
    budget: float = np.nan  # of `lyapunov`, J for each request; NaN for the mean of its options


@inner
def _target_of(episode: Episode, row: int) -> int:
    return named_by(row, episode.options.shape[3])[0]


@inner
def _num_open(episode: Episode, forecasts: Any) -> int:
    """Returns how many targets are open to the request."""
    count, last = 0, -1
    for row in range(forecasts.size):
        target = _target_of(episode, row)
        if forecasts[row].exists and target != last:
            count += 1
            last = target
    return count


@inner
def _eligible(episode: Episode, forecasts: Any, rule: int) -> tuple[int, int]:
    """Returns the one or two places among the open targets that a rule chooses from."""
    status, count = episode.status[0], _num_open(episode, forecasts)
    if rule == _ROUND_ROBIN:
        place = status.decided % count
        return place, place
    stream = random_stream(status.seed, status.episode, _PURPOSE)
    one = random_integer(stream, 2 * status.decided, count)
    other = random_integer(stream, 2 * status.decided + 1, max(count - 1, 1))
    return one, min(other + (other >= one), count - 1)


@inner
def _waiting_seconds(episode: Episode) -> float:
    """Returns the time until the user's processor is free."""
    free = episode.user_state[episode.request[0].user].processor_free
    return float(max(free - episode.status[0].now, 0.0))


@inner
def _queue_length(episode: Episode, target: int) -> float:
    """Returns how many requests are on their way to a target's server, or whether the user's processor is taken."""
    if target == 0:
        return 1.0 if _waiting_seconds(episode) > 0.0 else 0.0
    return float(episode.server_state[episode.targets[target - 1].server].num_on_way)


@inner
def _threshold_order(episode: Episode, f: Any, target: int, settings: Settings) -> float:
    """Returns the own device's place before, between or behind targets that are fast and targets that are slow."""
    if target == 0:
        return 0.0 if f.delay <= settings.delay * episode.units[0] else 2.0
    return 1.0 if f.rate >= settings.rate else 3.0


@inner
def _key_of_target(
    episode: Episode, f: Any, target: int, rule: int, settings: Settings, cloud: NDArray[np.bool_]
) -> tuple[float, float]:
    """Returns what a rule compares targets by, and then equal ones."""
    rate = f.rate if target > 0 else np.inf
    if rule in (_ALL_EDGE, _ALL_CLOUD):
        is_there = target > 0 and cloud[target - 1] == (rule == _ALL_CLOUD)
        return (-rate if is_there else np.inf), 0.0
    if rule == _LEAST_WORK:
        return (f.backlog if target > 0 else _waiting_seconds(episode)), 0.0
    if rule in (_JSQ, _POWER_OF_TWO):
        return _queue_length(episode, target), -rate
    if rule == _THRESHOLD:
        return _threshold_order(episode, f, target, settings), -rate
    return 0.0, 0.0


@inner
def _key_of_option(episode: Episode, f: Any, target: int, rule: int, penalty: float, queue: float) -> float:
    """Returns what a rule compares options by."""
    user = episode.users[episode.request[0].user]
    key = f.delay
    if rule == _ENERGY:
        key = f.energy
    elif rule == _SOCIAL:
        key = f.delay + f.imposed
    elif rule == _WEIGHTED:
        key = f.cost
    elif rule == _SELFISH:
        key = f.cost - episode.weights[0] * f.imposed / episode.units[0]
    elif rule == _LYAPUNOV:
        key = penalty * (f.delay + f.imposed) / episode.units[0] + queue * f.energy / episode.units[1]
    elif rule == _NEUROSURGEON:
        key = f.local / user.speed + _sending_seconds(f)
        if target > 0:
            costs = episode.servers[episode.targets[target - 1].server]
            key += f.serial + f.shared * (costs.fixed + costs.per_job)
    elif rule == _NEUROSURGEON_ENERGY:
        key = f.local * user.energy + user.power * _sending_seconds(f)
    return float(key)


@inner
def _sending_seconds(f: Any) -> float:
    return float(f.up / f.rate) if f.up > 0.0 else 0.0


@inner
def _best_row(
    episode: Episode, forecasts: Any, rule: int, settings: Settings, cloud: NDArray[np.bool_], queue: float
) -> int:
    """Returns the row that a rule chooses: of equals the lowest."""
    by_target, draws = rule < len(BY_TARGET), rule in (_ROUND_ROBIN, _POWER_OF_TWO)
    one, other = _eligible(episode, forecasts, rule) if draws else (0, 0)
    best, least, then, place, last = -1, np.inf, np.inf, -1, -1
    for row in range(forecasts.size):
        f, target = forecasts[row], _target_of(episode, row)
        if not f.exists or (by_target and target == last):
            continue
        last = target
        place += 1
        if draws and place not in (one, other):
            continue
        if by_target:
            key, second = _key_of_target(episode, f, target, rule, settings, cloud)
        else:
            key, second = _key_of_option(episode, f, target, rule, settings.penalty, queue), 0.0
        if best < 0 or key < least or (key == least and second < then):
            best, least, then = row, key, second
    return best


@inner
def _mean_energy(forecasts: Any) -> float:
    """Returns what the options that exist take on average, J."""
    total, count = 0.0, 0
    for row in range(forecasts.size):
        if forecasts[row].exists:
            total += forecasts[row].energy
            count += 1
    return total / count


@inner
def _choose(
    world: World, rule: int, settings: Settings, cloud: NDArray[np.bool_], queues: FloatArray, actions: Actions
) -> None:
    for b in range(actions.size):
        episode, forecasts = episode_at(world, b), world.state.forecasts[b]
        status, user = episode.status[0], episode.request[0].user
        actions[b] = 0
        if status.is_over:
            continue
        if status.decided == 0:
            queues[b] = 0.0
        row = _best_row(episode, forecasts, rule, settings, cloud, queues[b, user])
        actions[b] = row
        if rule == _LYAPUNOV:
            budget = _mean_energy(forecasts) if np.isnan(settings.budget) else settings.budget
            queues[b, user] = max(queues[b, user] + (forecasts[row].energy - budget) / episode.units[1], 0.0)


@handle_kernel
def choose(
    handle: Any, rule: int, settings: Settings, cloud: NDArray[np.bool_], queues: FloatArray, actions: Actions
) -> None:
    """Finds the next decision of every episode; 0 for those that are over.

    Args:
        handle: Of a `World`.
        rule: Place in `RULES`.
        settings: Of the rule.
        cloud: bool (T,), which targets are in the cloud.
        queues: float64 (B, K), virtual energy queues of ``lyapunov``, energy units; brought up to date, and empty when
            an episode begins.
        actions: int64 (B,), the result.
    """
    _choose(handle.value, rule, settings, cloud, queues, actions)
