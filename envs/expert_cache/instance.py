"""One episode of expert caching, fully realised: which experts each event uses, and what everything costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compilation import kernel
from ...errors import HetgymError
from ...workloads.routing import DECODE, RoutingTrace
from .rules import Items, Serve

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Records = NDArray[Any]

EVENT = np.dtype(
    [
        ("first", np.int64),  # of its entries; they end where the next event's begin
        ("layer", np.int32),
        ("step", np.int32),  # from 0
        ("tokens", np.int32),  # of its step
        ("begins_prompt", np.bool_),  # the first event of a batch
        ("begins_step", np.bool_),  # the first event of a step
        ("is_decode", np.bool_),
        ("dense", np.float64),  # seconds of attention, router and shared experts
        ("ideal", np.float64),  # seconds in which the device computes its entries, all at high precision
    ],
    align=True,
)
"""What one layer does in one step; a last one, without entries, ends the list."""

ENTRY = np.dtype(
    [
        ("item", np.int32),
        ("tokens", np.int32),  # of the event, that use it
        ("weight", np.float32),  # largest router score
        ("cumulative", np.float32),  # least sum of the scores that rank higher
    ],
    align=True,
)
"""An expert that an event uses."""


@dataclass(frozen=True, eq=False)
class Instance:
    """One episode, or a longer recording from which episodes take batches.

    Attributes:
        trace: The routing.
        items: What can be held.
        events: (M + 1,) of `EVENT`.
        entries: (X,) of `ENTRY`.
        predicted: int32 (M, D, W), the items that are predicted for the layers at distance 1 ... D, in descending
            order of likelihood, -1 for none.
        batches: int64 (batches + 1,), the first event of each batch, and the end.
        unit: Mean ideal time of a step's pass, seconds.
    """

    trace: RoutingTrace
    items: Items
    events: Records
    entries: Records
    predicted: NDArray[np.int32]
    batches: IntArray
    unit: float

    @property
    def num_events(self) -> int:
        """M."""
        return len(self.events) - 1


@dataclass(frozen=True)
class Steps:
    """The steps of a trace's batches. Members are runs of tokens whose rows follow each other."""

    member_row: IntArray  # first row of each member's tokens
    member_tokens: IntArray
    first_member: IntArray  # (S + 1,) of each step
    context: IntArray  # (S,) positions that are read
    pairs: IntArray  # (S,) of a token and a position that it looks at
    is_decode: NDArray[np.bool_]  # (S,)
    batch_first_step: IntArray  # (batches + 1,)

    @property
    def tokens(self) -> IntArray:
        """Tokens of each step, (S,)."""
        return np.add.reduceat(self.member_tokens, self.first_member[:-1])


def steps_of(trace: RoutingTrace, batch: int, prefill_chunk: int) -> Steps:
    """Returns the steps of a trace.

    Args:
        trace: The routing.
        batch: Requests that run together.
        prefill_chunk: Tokens of a prompt that are prefilled at once; 0 for all.
    """
    layers = trace.num_layers
    _, first_row, num_rows = np.unique(trace.request, return_index=True, return_counts=True)
    decoded = np.add.reduceat((trace.phase == DECODE).astype(np.int64), first_row) // layers
    prompts = num_rows // layers - decoded
    member_row: list[int] = []
    member_tokens: list[int] = []
    first_member: list[int] = []
    context: list[int] = []
    pairs: list[int] = []
    is_decode: list[bool] = []
    batch_first_step: list[int] = []
    for begin in range(0, len(first_row), batch):
        batch_first_step.append(len(first_member))
        requests = range(begin, min(begin + batch, len(first_row)))
        for request in requests:
            chunk = prefill_chunk or int(prompts[request])
            for token in range(0, int(prompts[request]), max(chunk, 1)):
                count = min(chunk, int(prompts[request]) - token)
                first_member.append(len(member_row))
                member_row.append(int(first_row[request]) + token * layers)
                member_tokens.append(count)
                context.append(token + count)
                pairs.append(count * token + count * (count + 1) // 2)
                is_decode.append(False)
        for position in range(max(int(decoded[request]) for request in requests)):
            first_member.append(len(member_row))
            running = [request for request in requests if decoded[request] > position]
            member_row += [int(first_row[r]) + (int(prompts[r]) + position) * layers for r in running]
            member_tokens += [1] * len(running)
            context.append(sum(int(prompts[r]) + position + 1 for r in running))
            pairs.append(context[-1])
            is_decode.append(True)
    first_member.append(len(member_row))
    batch_first_step.append(len(first_member) - 1)
    return Steps(
        np.array(member_row),
        np.array(member_tokens),
        np.array(first_member),
        np.array(context),
        np.array(pairs),
        np.array(is_decode),
        np.array(batch_first_step),
    )


def build_instance(
    trace: RoutingTrace,
    items: Items,
    dense_seconds: Callable[[IntArray, IntArray, IntArray], FloatArray],
    batch: int = 1,
    prefill_chunk: int = 0,
    serve: Serve = "ascending",
    layer: int | None = None,
) -> Instance:
    """Returns the events of a trace.

    Args:
        trace: The routing.
        items: What can be held.
        dense_seconds: Seconds of a layer's attention, router and shared experts in steps of so many tokens, (S,),
            with so many positions read, (S,), and so many pairs of a token and a position that it looks at, (S,).
        batch: Requests that run together.
        prefill_chunk: Tokens of a prompt that are prefilled at once; 0 for all.
        serve: In which order the misses of an event are served.
        layer: The one layer to be played; None for all.

    Raises:
        HetgymError: If the trace's layers or experts are not those of the items.
    """
    if (trace.num_layers, trace.num_experts) != (items.num_layers, items.num_experts):
        raise HetgymError(
            f"trace: has {trace.num_layers} layers of {trace.num_experts} experts; the model has {items.num_layers} "
            f"of {items.num_experts}"
        )
    steps = steps_of(trace, batch, prefill_chunk)
    tokens = steps.tokens
    layers = np.arange(trace.num_layers) if layer is None else np.array([layer])
    num_events = len(tokens) * len(layers)
    most = int(np.minimum(tokens * trace.top_k, trace.num_experts).sum()) * len(layers)
    events, entries = np.zeros(num_events + 1, EVENT), np.zeros(most, ENTRY)
    distances, width = trace.predicted.shape[1:] if trace.predicted is not None else (0, 0)
    width = min(width * max(1, min(int(tokens[steps.is_decode].max(initial=1)), 4)), trace.num_experts)
    predicted = np.full((num_events, distances, width), -1, np.int32)
    nothing = np.zeros((0, 0), np.float32)
    count = _fill(
        trace.experts.astype(np.int16, copy=False),
        trace.scores if trace.scores is not None else nothing,
        trace.predicted if trace.predicted is not None else np.zeros((0, 0, 0), np.int16),
        np.array([trace.num_layers, trace.num_experts]),
        layers,
        (steps.member_row, steps.member_tokens, steps.first_member),
        (items.kind, items.kinds),
        serve == "hottest",
        (np.full(trace.num_experts, -1), np.zeros(trace.num_experts, ENTRY)),
        events,
        entries,
        predicted,
    )
    shape = (len(tokens), len(layers))
    timed = events[:-1].reshape(shape)
    timed["dense"] = dense_seconds(tokens, steps.context, steps.pairs)[:, None]
    timed["tokens"] = tokens[:, None]
    timed["is_decode"] = steps.is_decode[:, None]
    timed["begins_step"][:, 0] = True
    timed["begins_prompt"][steps.batch_first_step[:-1], 0] = True
    passes = (timed["dense"] + timed["ideal"]).sum(axis=1)
    counted = steps.is_decode if steps.is_decode.any() else np.ones_like(steps.is_decode)
    return Instance(
        trace, items, events, entries[:count], predicted, steps.batch_first_step * len(layers),
        float(passes[counted].mean()),
    )  # fmt: skip


@kernel
def _fill(
    experts: Any,
    scores: Any,
    predictions: Any,
    sizes: Any,
    layers: Any,
    steps: Any,
    items: Any,
    hottest_first: bool,
    desk: Any,
    events: Any,
    entries: Any,
    predicted: Any,
) -> int:
    """Writes events and entries, and returns how many entries there are.

    Args:
        experts: As in `RoutingTrace`.
        scores: As there, or empty.
        predictions: As there, or empty.
        sizes: Layers and experts a layer.
        layers: Those that are played.
        steps: First row, number of tokens, and first of each step, of the members of steps.
        items: Kind of each, and the kinds.
        hottest_first: Whether the entries of an event go by tokens.
        desk: Room: the event that last used each expert, -1 at first, and an entry for each expert.
        events: Written.
        entries: Written.
        predicted: Written.
    """
    member_row, member_tokens, first_member = steps
    kind, kinds = items
    seen, desks = desk
    num_layers, num_experts = sizes
    top_k = experts.shape[1]
    count = 0
    event = 0
    for step in range(first_member.size - 1):
        for layer in layers:
            events[event].first, events[event].layer, events[event].step = count, layer, step
            for member in range(first_member[step], first_member[step + 1]):
                for token in range(member_tokens[member]):
                    row = member_row[member] + token * num_layers + layer
                    before = 0.0
                    for rank in range(top_k):
                        expert = experts[row, rank]
                        score = scores[row, rank] if scores.size else np.float32(1.0 / top_k)
                        entry = desks[expert]
                        if seen[expert] != event:
                            seen[expert] = event
                            entry.item = layer * num_experts + expert
                            entry.tokens = 1
                            entry.weight, entry.cumulative = score, before
                        else:
                            entry.tokens += 1
                            entry.weight = max(entry.weight, score)
                            entry.cumulative = min(entry.cumulative, before)
                        before += float(score)
            ideal = 0.0
            for expert in range(num_experts):
                if seen[expert] == event:
                    place = count
                    if hottest_first:
                        while place > events[event].first and entries[place - 1].tokens < desks[expert].tokens:
                            entries[place] = entries[place - 1]
                            place -= 1
                    entries[place] = desks[expert]
                    costs = kinds[kind[desks[expert].item]]
                    ideal += max(costs.floor_high, desks[expert].tokens * costs.slope)
                    count += 1
            events[event].ideal = ideal
            _predict(predictions, num_layers, num_experts, layer, step, steps, predicted, event)
            event += 1
    events[event].first, events[event].layer, events[event].step = count, 0, first_member.size - 1
    return count


@kernel
def _predict(
    predictions: Any, num_layers: int, num_experts: int, layer: int, step: int, steps: Any, predicted: Any, event: int
) -> None:
    """Writes what is predicted in an event: of each distance what tokens have first, then second, and so on."""
    member_row, member_tokens, first_member = steps
    for distance in range(predicted.shape[1]):
        target = layer + distance + 1
        found = 0
        for rank in range(predictions.shape[2] if target < num_layers else 0):
            for member in range(first_member[step], first_member[step + 1]):
                for token in range(member_tokens[member]):
                    expert = predictions[member_row[member] + token * num_layers + layer, distance, rank]
                    if expert >= 0 and found < predicted.shape[2]:
                        item = target * num_experts + expert
                        is_new = True
                        for earlier in range(found):
                            is_new &= predicted[event, distance, earlier] != item
                        if is_new:
                            predicted[event, distance, found] = item
                            found += 1
