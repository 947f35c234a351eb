"""What an oracle sees that knows the state of a generated trace's routers, but neither their noise nor the future."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...workloads.routing import RoutingLaw, latent_uses
from .instance import Instance, IntArray, Steps, steps_of


def expected_uses(
    instance: Instance, law: RoutingLaw, seed: int, batch: int = 1, prefill_chunk: int = 0
) -> NDArray[np.float32]:
    """Returns how likely items are to be used after each step: `latent_uses`, of the requests that run.

    A request is known from its first step on, and forgotten when others decode without it. If u is what is expected of
    one request, what is expected of all is 1 - the product of (1 - u).

    Args:
        instance: What is played, of a generated trace.
        law: The trace's.
        seed: The trace's.
        batch: Requests that run together.
        prefill_chunk: Tokens of a prompt that are prefilled at once; 0 for all.

    Returns:
        float32 (steps, N); 0 in layers that are not played.
    """
    trace, steps = instance.trace, steps_of(instance.trace, batch, prefill_chunk)
    layers = np.unique(instance.events["layer"][:-1]).tolist()
    unused = np.ones((len(steps.is_decode), trace.num_layers, trace.num_experts), np.float32)
    numbers, first_row, num_rows = np.unique(trace.request, return_index=True, return_counts=True)
    for request, row, count in zip(numbers.tolist(), first_row.tolist(), num_rows.tolist(), strict=True):
        tokens = count // trace.num_layers
        step, token = _known_at(steps, row, tokens, trace.num_layers)
        uses = latent_uses(law, seed, request, tokens, layers)
        unused[np.ix_(step, layers)] *= 1.0 - uses[token]
    expected: NDArray[np.float32] = (1.0 - unused).reshape(len(unused), -1)
    return expected


def _known_at(steps: Steps, first_row: int, tokens: int, num_layers: int) -> tuple[IntArray, IntArray]:
    """Returns the steps at which a request is known, and the last of its tokens that each has seen.

    Args:
        steps: Of the trace.
        first_row: Of the request.
        tokens: Of the request.
        num_layers: L.
    """
    is_own = (steps.member_row >= first_row) & (steps.member_row < first_row + tokens * num_layers)
    own = np.searchsorted(steps.first_member, np.flatnonzero(is_own), side="right") - 1
    last = (steps.member_row[is_own] - first_row) // num_layers + steps.member_tokens[is_own] - 1
    batch_end = steps.batch_first_step[np.searchsorted(steps.batch_first_step, own[0], side="right")]
    known = np.arange(own[0], batch_end)
    position = np.searchsorted(own, known, side="right") - 1
    runs = ~steps.is_decode[known] | (own[position] == known)
    return known[runs], last[position[runs]]
