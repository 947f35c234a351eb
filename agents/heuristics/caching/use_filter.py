"""A recurrent network, compiled, that follows the routing and says how likely each expert is to be used soon.

Each expert of each layer has a state of a few numbers. An event of a layer brings the states of its experts up to date:

    q = W [observed, own state, parent's state, child's state] + bias of the layer
    gate = clip(q[:H] + 1/2, 0, 1),   state += gate (clip(q[H:], -1, 1) - state)

and scores each by a perceptron with one hidden layer, of its new state and what was observed. The parent is the expert
of the layer before, the child that of the layer after, that tokens use together with it most often; of the one this
step's state is known, of the other that of the last step. So what any layer tells reaches all others, as in a graph
network on the grid of steps and layers. `hetgym.agents.use_predictor` has the same network in torch, which trains it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....compilation import inner, kernel, rare
from ....envs.expert_cache.instance import Instance, Records
from ....envs.expert_cache.simulator import ExpertCacheSimulator
from ....envs.expert_cache.state import Episode

OBSERVED = ("share", "excess", "log_tokens", "mean_share", "mean_excess", "newness")
"""What is observed of an expert in an event.

- ``share``: of the event's tokens, that which uses it.
- ``excess``: share x log(its router weight / the least weight of the event): how far its logit is above the threshold.
- ``log_tokens``: log2 of the tokens of a prefill, / 4; 0 for a decode step.
- ``mean_share``, ``mean_excess``: 4 x their means over the tokens of the prompt so far.
- ``newness``: 4 / sqrt(tokens of the prompt so far).
"""

NUM_OBSERVED = len(OBSERVED)
SHARE, EXCESS, LOG_TOKENS, MEAN_SHARE, MEAN_EXCESS, NEWNESS = range(NUM_OBSERVED)

_LEAST_WEIGHT = 1e-3
"""Router weights below are taken for it: recorded ones are rounded, and may be 0."""

_SCALE = np.float32(4.0)

Floats = NDArray[np.float32]


class FilterWeights(NamedTuple):
    """The numbers of a trained network, of M hidden units."""

    cell: Floats  # (observed + 3 H, 2 H)
    cell_bias: Floats  # (L, 2 H)
    hidden: Floats  # (observed + H, M)
    hidden_bias: Floats  # (L, M)
    output: Floats  # (M,)
    parent: NDArray[np.int32]  # (L, E) experts of the layer before; the first layer's row means nothing
    child: NDArray[np.int32]  # (L, E) experts of the layer after; the last layer's row means nothing

    @classmethod
    def nothing(cls) -> FilterWeights:
        """Returns those of no network, for policies that have none."""
        table, relation = np.zeros((0, 0), np.float32), np.zeros((0, 0), np.int32)
        return cls(table, table, table, table, np.zeros(0, np.float32), relation, relation)


class UseFilter(NamedTuple):
    """A network, and where it stands in B episodes."""

    weights: FilterWeights
    event: NDArray[np.int64]  # (B,) the first that has not been followed
    tokens: Floats  # (B, L) of the prompt, that each layer has seen
    sums: Floats  # (B, 2, N) of shares and excesses over these tokens
    state: Floats  # (B, L, H, E)
    score: Floats  # (B, N)
    inputs: Floats  # (observed + 3 H, E) room
    outputs: Floats  # (2 H or M, E) room

    @classmethod
    def of(cls, simulator: ExpertCacheSimulator, weights: FilterWeights | None) -> UseFilter:
        """Returns the room that a network needs.

        Args:
            simulator: Whose episodes have just begun.
            weights: Of the network, or None.
        """
        weights = weights or FilterWeights.nothing()
        rows, (layers, experts) = simulator.num_envs, weights.parent.shape
        width = weights.cell.shape[1] // 2
        return cls(
            weights=weights,
            event=simulator.state.status["first_event"].copy(),
            tokens=np.zeros((rows, layers), np.float32),
            sums=np.zeros((rows, 2, layers * experts), np.float32),
            state=np.zeros((rows, layers, width, experts), np.float32),
            score=np.zeros((rows, layers * experts), np.float32),
            inputs=np.zeros((len(weights.cell), experts), np.float32),
            outputs=np.zeros((max(2 * width, len(weights.output)), experts), np.float32),
        )


@inner
def _observe(events: Records, entries: Records, event: int, tokens: Floats, sums: Floats, inputs: Floats) -> None:
    """Writes what is observed in an event into the first rows of the inputs.

    Args:
        events: Of the instance.
        entries: Of the instance.
        event: Which.
        tokens: (L,) of the prompt, that each layer has seen; brought up to date.
        sums: (2, N) of shares and excesses over these tokens; brought up to date.
        inputs: (observed or more, E), written.
    """
    layer, experts = events[event].layer, inputs.shape[1]
    first, end = events[event].first, events[event + 1].first
    if events[event].begins_prompt:
        tokens[:] = np.float32(0.0)
        sums[:] = np.float32(0.0)
    together = events[event].tokens
    in_turn = np.float32(1.0 if events[event].is_decode else together)
    tokens[layer] += in_turn
    least = np.inf
    for x in range(first, end):
        least = min(least, entries[x].weight)
    log_tokens, newness = np.float32(math.log2(in_turn) / 4.0), _SCALE / np.float32(math.sqrt(tokens[layer]))
    for expert in range(experts):
        inputs[SHARE, expert] = inputs[EXCESS, expert] = np.float32(0.0)
        inputs[LOG_TOKENS, expert], inputs[NEWNESS, expert] = log_tokens, newness
    for x in range(first, end):
        expert, share = entries[x].item % experts, entries[x].tokens / together
        ratio = max(entries[x].weight, _LEAST_WEIGHT) / max(least, _LEAST_WEIGHT)
        inputs[SHARE, expert], inputs[EXCESS, expert] = np.float32(share), np.float32(share * math.log(ratio))
    scale = _SCALE / tokens[layer]
    for kind in range(2):
        for expert in range(experts):
            sums[kind, layer * experts + expert] += in_turn * inputs[SHARE + kind, expert]
            inputs[MEAN_SHARE + kind, expert] = scale * sums[kind, layer * experts + expert]


@rare
def follow_uses(network: UseFilter, episode: Episode, b: int) -> None:
    """Brings states and scores up to date with all events that have begun."""
    while network.event[b] <= episode.status[0].event:
        event = network.event[b]
        if episode.events[event].begins_prompt:
            network.state[b] = np.float32(0.0)
        _observe(episode.events, episode.entries, event, network.tokens[b], network.sums[b], network.inputs)
        layer = episode.events[event].layer
        _gather(network, b, layer)
        _update(network, b, layer)
        _score(network, b, layer)
        network.event[b] += 1


@inner
def _gather(network: UseFilter, b: int, layer: int) -> None:
    """Writes the states that a layer's experts depend on into the inputs."""
    inputs = network.inputs
    layers, width, experts = network.state[b].shape
    for unit in range(width):
        own = NUM_OBSERVED + unit
        parents, children = own + width, own + 2 * width
        for expert in range(experts):
            inputs[own, expert] = network.state[b, layer, unit, expert]
            inputs[parents, expert] = inputs[children, expert] = np.float32(0.0)
        if layer > 0:
            for expert in range(experts):
                inputs[parents, expert] = network.state[b, layer - 1, unit, network.weights.parent[layer, expert]]
        if layer + 1 < layers:
            for expert in range(experts):
                inputs[children, expert] = network.state[b, layer + 1, unit, network.weights.child[layer, expert]]


@inner
def _linear(outputs: Floats, table: Floats, bias: Floats, inputs: Floats) -> None:
    """Writes table^T inputs + bias, one column an expert."""
    for unit in range(table.shape[1]):
        row = outputs[unit]
        for expert in range(row.size):
            row[expert] = bias[unit]
        for source in range(table.shape[0]):
            weight, values = table[source, unit], inputs[source]
            for expert in range(row.size):
                row[expert] += weight * values[expert]


@inner
def _update(network: UseFilter, b: int, layer: int) -> None:
    weights, outputs, state = network.weights, network.outputs, network.state[b, layer]
    width = state.shape[0]
    _linear(outputs, weights.cell, weights.cell_bias[layer], network.inputs)
    for unit in range(width):
        for expert in range(state.shape[1]):
            gate = min(max(outputs[unit, expert] + np.float32(0.5), np.float32(0.0)), np.float32(1.0))
            wanted = min(max(outputs[width + unit, expert], np.float32(-1.0)), np.float32(1.0))
            state[unit, expert] += gate * (wanted - state[unit, expert])
            network.inputs[NUM_OBSERVED + unit, expert] = state[unit, expert]


@inner
def _score(network: UseFilter, b: int, layer: int) -> None:
    weights, outputs, experts = network.weights, network.outputs, network.inputs.shape[1]
    _linear(outputs, weights.hidden, weights.hidden_bias[layer], network.inputs)
    for expert in range(experts):
        network.score[b, layer * experts + expert] = np.float32(0.0)
    for unit in range(weights.output.size):
        for expert in range(experts):
            value = max(outputs[unit, expert], np.float32(0.0))
            network.score[b, layer * experts + expert] += weights.output[unit] * value


def observations(instance: Instance) -> Floats:
    """Returns what is observed in each event of an instance that plays all layers.

    Returns:
        float32 (steps, L, E, observed).
    """
    layers, experts = instance.items.num_layers, instance.items.num_experts
    observed = np.empty((instance.num_events, NUM_OBSERVED, experts), np.float32)
    _observe_all(
        instance.events,
        instance.entries,
        np.zeros(layers, np.float32),
        np.zeros((2, layers * experts), np.float32),
        observed,
    )
    return np.ascontiguousarray(observed.swapaxes(1, 2)).reshape(-1, layers, experts, NUM_OBSERVED)


@kernel
def _observe_all(events: Records, entries: Records, tokens: Floats, sums: Floats, observed: Floats) -> None:
    for event in range(observed.shape[0]):
        _observe(events, entries, event, tokens, sums, observed[event])
