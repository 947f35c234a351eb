"""What an agent sees of offloading: the features one by one, and the kernels that write them.

Times are divided by the delay unit, energies by the energy unit, so that they mean the same for any workload and
machine.
"""

from __future__ import annotations

import numpy as np

from ...compilation import inner
from ..core.simulator import CLIP, Feature, ObservationSchema
from .state import Episode, World, named_by

SCHEMA = ObservationSchema(
    candidates=(
        Feature("stays", "1 for the user's own device"),
        Feature("delay", "forecast delay, s; / delay unit"),
        Feature("imposed", "forecast delay of others, s; / delay unit"),
        Feature("energy", "forecast energy, J; / energy unit"),
        Feature("missed", "1 if it would miss its deadline"),
        Feature("error", "share of answers that it spoils"),
        Feature("local", "time of its local work, waiting included, s; / delay unit"),
        Feature("radio", "time that it then waits for the radio, s; / delay unit"),
        Feature("air", "time in which it is sent, s; / delay unit"),
        Feature("alone", "time at the server if nobody else were there, s; / delay unit"),
        Feature("requests", "log2(1 + requests that were decided for the server and have not left it); / 4"),
        Feature("backlog", "work of the server that is not done, s; / delay unit"),
        Feature("slack", "deadline - forecast delay, s; / delay unit; 10 without a deadline"),
        Feature("cost", "weighted sum of the forecast costs, delays of others included"),
    ),
    context=(
        Feature("weight_delay", "weight of delay"),
        Feature("weight_energy", "weight of energy"),
        Feature("weight_misses", "weight of misses"),
        Feature("waited", "time since the request arrived, s; / delay unit"),
        Feature("processor", "time until the user's processor is free, s; / delay unit"),
        Feature("radio", "time until the user's radio is free, s; / delay unit"),
        Feature("waiting", "log2(1 + requests that have arrived and wait behind this one); / 4"),
        Feature("on_way", "log2(1 + requests on their way); / 4"),
        Feature("sending", "log2(1 + requests that are being sent); / 4"),
        Feature("deadline", "s; / delay unit; 10 for none"),
        Feature("elapsed", "share of the episode that has passed, by requests or by time; 0 if it does not end"),
    ),
)

_NUM_CANDIDATE_FEATURES, _NUM_CONTEXT_FEATURES = len(SCHEMA.candidates), len(SCHEMA.context)

_LOGARITHM = np.minimum(np.log2(1.0 + np.arange(4096)) / 4.0, CLIP).astype(np.float32)


@inner
def _logarithm(count: int) -> np.float32:
    """Returns log2(1 + count) / 4."""
    return np.float32(_LOGARITHM[min(count, _LOGARITHM.size - 1)])


@inner
def _clip(value: float) -> np.float32:
    return np.float32(min(max(value, -CLIP), CLIP))


@inner
def _show_candidate(world: World, episode: Episode, b: int, row: int, target: int) -> None:
    f, features = world.state.forecasts[b, row], world.shown.candidates[b, row]
    now, scale = episode.status[0].now, 1.0 / episode.units[0]
    features[0] = np.float32(target == 0)
    features[1] = _clip(f.delay * scale)
    features[2] = _clip(f.imposed * scale)
    features[3] = _clip(f.energy / episode.units[1])
    features[4] = np.float32(f.missed)
    features[5] = _clip(f.error)
    features[6] = _clip((f.done - now) * scale)
    if target > 0:
        begin = max(f.done, f.radio)
        server = episode.targets[target - 1].server
        costs = episode.servers[server]
        features[7] = _clip((begin - f.done) * scale)
        features[8] = _clip((f.sent - begin) * scale)
        features[9] = _clip((f.serial + f.shared * (costs.fixed + costs.per_job)) * scale)
        features[10] = _logarithm(episode.server_state[server].num_on_way)
        features[11] = _clip(f.backlog * scale)
    else:
        for column in range(7, 12):
            features[column] = np.float32(0.0)
    features[12] = _clip((episode.request[0].deadline - f.delay) * scale)
    features[13] = _clip(f.cost)


@inner
def _show_context(world: World, episode: Episode, b: int, radio: float) -> None:
    status, request, context = episode.status[0], episode.request[0], world.shown.context[b]
    scale = 1.0 / episode.units[0]
    for objective in range(3):
        context[objective] = np.float32(episode.weights[objective])
    context[3] = _clip((status.now - request.arrival) * scale)
    context[4] = _clip(max(episode.user_state[request.user].processor_free - status.now, 0.0) * scale)
    context[5] = _clip((radio - status.now) * scale)
    context[6] = _logarithm(max(world.state.arrivals[b, 1].index - status.decided - 1, 0))
    context[7] = _logarithm(status.on_way)
    context[8] = _logarithm(status.sending)
    context[9] = _clip(request.deadline * scale)
    law, elapsed = world.law[0], 0.0
    num_requests = world.setting.num_requests[status.slot] if status.is_given else law.num_requests
    if num_requests > 0:
        elapsed = status.decided / num_requests
    elif np.isfinite(law.horizon):
        elapsed = min(status.now / law.horizon, 1.0)
    context[10] = np.float32(elapsed)


@inner
def show(world: World, episode: Episode, b: int) -> None:
    """Brings the observation of one episode up to date."""
    shown, forecasts = world.shown, world.state.forecasts[b]
    options, is_over = episode.options.shape[3], episode.status[0].is_over
    radio = 0.0
    for row in range(forecasts.size):
        exists = not is_over and forecasts[row].exists
        shown.action_mask[b, row] = exists
        if exists:
            _show_candidate(world, episode, b, row, named_by(row, options)[0])
            radio = max(radio, forecasts[row].radio)
        else:
            for column in range(_NUM_CANDIDATE_FEATURES):
                shown.candidates[b, row, column] = np.float32(0.0)
    if is_over:
        shown.action_mask[b, 0] = 1
        for column in range(_NUM_CONTEXT_FEATURES):
            shown.context[b, column] = np.float32(0.0)
    else:
        _show_context(world, episode, b, radio)
