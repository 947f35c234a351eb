"""Routing traces: what makes one valid, and the requests in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.workloads.routing import DECODE, PREFILL, RoutingTrace

LAYERS, EXPERTS, TOP_K = 3, 6, 2


def columns(tokens: tuple[tuple[int, int, int], ...] = ((4, 0, 0), (4, 0, 1), (4, 1, 0), (7, 1, 0))) -> dict[str, Any]:
    """A trace's fields: tokens are (request, phase, step)."""
    generator = np.random.default_rng(0)
    rows = len(tokens) * LAYERS
    request, phase, step = np.repeat(np.array(tokens).T, LAYERS, axis=1)
    return {
        "model": "tiny",
        "num_layers": LAYERS,
        "num_experts": EXPERTS,
        "top_k": TOP_K,
        "request": request,
        "phase": phase.astype(np.int8),
        "step": step.astype(np.int32),
        "layer": np.tile(np.arange(LAYERS, dtype=np.int16), len(tokens)),
        "experts": np.array([generator.permutation(EXPERTS)[:TOP_K] for _ in range(rows)], np.int16),
        "scores": np.tile(np.array([0.75, 0.25], np.float32), (rows, 1)),
        "predicted": np.full((rows, 2, 3), -1, np.int16),
    }


def test_a_trace_knows_its_tokens_and_requests() -> None:
    given = columns()
    trace = RoutingTrace(**given)
    assert (trace.num_rows, trace.num_tokens, trace.num_requests) == (12, 4, 2)
    assert trace.request_ids.tolist() == [4, 7]
    assert trace.first_token.tolist() == [0, 3, 4]
    by_token = trace.by_token(trace.experts)
    assert by_token.shape == (4, LAYERS, TOP_K)
    assert np.array_equal(by_token[2, 1], given["experts"][7])
    assert np.shares_memory(by_token, given["experts"])


def test_arrays_are_converted_and_read_only() -> None:
    given = columns()
    trace = RoutingTrace(**{**given, "experts": given["experts"].tolist(), "layer": given["layer"].astype(np.uint64)})
    assert trace.experts.dtype == trace.layer.dtype == np.int16
    for name in ("request", "phase", "step", "layer", "experts", "scores", "predicted"):
        assert not getattr(trace, name).flags.writeable
    assert given["request"].flags.writeable


def test_select_takes_whole_requests_in_their_order() -> None:
    trace = RoutingTrace(**columns(tuple((number, PREFILL, step) for number in (2, 3, 9) for step in range(number))))
    some = trace.select([9, 2])
    assert some.request_ids.tolist() == [2, 9]
    kept = np.isin(trace.request, [2, 9])
    for name in ("request", "step", "experts", "scores", "predicted"):
        assert np.array_equal(getattr(some, name), getattr(trace, name)[kept])
    bare = RoutingTrace(**{**columns(), "scores": None, "predicted": None}).select([7])
    assert bare.scores is None
    assert bare.num_tokens == 1
    assert bare.phase.tolist() == [DECODE] * LAYERS
    with pytest.raises(HetgymError, match="there is no request 5"):
        trace.select([2, 5])
    with pytest.raises(HetgymError, match="select at least one"):
        trace.select([])


def changed(name: str, place: Any, value: Any) -> dict[str, Any]:
    given = columns()
    given[name][place] = value
    return given


WRONG = [
    ({"model": ""}, "model: must be a name"),
    ({"num_layers": 0}, "num_layers: must be a whole number from 1"),
    ({"num_experts": 40_000}, r"num_experts: must be a whole number from 1 to 32768 \(given: 40000\)"),
    ({"top_k": 7}, r"top_k: must be a whole number from 1 to 6 \(given: 7\)"),
    ({"top_k": True}, "top_k: must be a whole number"),
    ({"top_k": 1}, r"experts: must have the shape \(any, 1\), not \(12, 2\)"),
    ({"request": np.zeros(11, np.int64)}, r"request: must have the shape \(12\), not \(11,\)"),
    ({"scores": np.ones((12, 1))}, r"scores: must have the shape \(12, 2\), not \(12, 1\)"),
    ({"predicted": np.zeros((12, 0, 3), np.int16)}, r"predicted: must have the shape \(rows, D, m\)"),
    ({"step": np.zeros(12)}, "step: must be an array of integers, not of float64"),
    ({"scores": np.full((12, 2), "a")}, "scores: must be an array of numbers"),
    ({"step": np.full(12, 2**40)}, "step: row 0 has 1099511627776: must fit int32"),
    (changed("layer", 4, 2), "layer: row 4 has 2: each token has one row for each layer, 0 to 2"),
    (changed("request", 4, 5), "request: row 4 has 5: must be the same in all rows of a token"),
    (changed("step", 4, 5), "step: row 4 has 5: must be the same in all rows of a token"),
    (changed("phase", slice(3, 6), 2), "phase: row 3 has 2: must be 0, prefill, or 1, decode"),
    (changed("phase", slice(3), 1), "phase: row 3 has 0: a request's prefill must come before its decode"),
    (changed("request", slice(9, 12), 3), "request: row 9 has 3: requests must be in ascending order"),
    (changed("step", slice(3, 6), 2), "step: row 3 has 2: the steps of each phase"),
    (changed("step", slice(3, 6), 0), "step: row 3 has 0: the steps of each phase"),
    (changed("step", slice(9, 12), 1), "step: row 9 has 1: the steps of each phase"),
    (changed("step", slice(3), -1), "step: row 0 has -1: the steps of each phase"),
    (changed("experts", (5, 1), 6), "experts: row 5 has 6: experts are 0 to 5"),
    (changed("experts", (5, 1), -1), "experts: row 5 has -1: experts are 0 to 5"),
    (changed("experts", 5, 4), "experts: row 5 has 4 twice"),
    (changed("scores", (8, 0), np.nan), "scores: row 8 has nan: must be finite and zero or more"),
    (changed("scores", (8, 0), np.inf), "scores: row 8 has inf: must be finite"),
    (changed("scores", (8, 1), -0.5), "scores: row 8 has -0.5: must be finite and zero or more"),
    (changed("scores", (8, 1), 0.875), "scores: row 8 has 0.875: must be in descending order"),
    (changed("predicted", (8, 1, 2), 6), "predicted: row 8 has 6: experts are 0 to 5, and -1 is none"),
    (changed("predicted", (8, 1, 2), -2), "predicted: row 8 has -2"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_what_is_wrong_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(HetgymError, match=message) as caught:
        RoutingTrace(**{**columns(), **changes})
    assert "\n" not in str(caught.value)


def test_rows_must_be_there() -> None:
    names = ("request", "phase", "step", "layer", "experts", "scores", "predicted")
    given = columns()
    with pytest.raises(HetgymError, match="the trace ends at row 10 with layer 1"):
        RoutingTrace(**{**given, **{name: given[name][:-1] for name in names}})
    with pytest.raises(HetgymError, match="there are no rows"):
        RoutingTrace(**{**given, **{name: given[name][:0] for name in names}})
    # A row that is missing within is where the layers go on too early.
    with pytest.raises(HetgymError, match="layer: row 4 has 2"):
        RoutingTrace(**{**given, **{name: np.delete(given[name], 4, axis=0) for name in names}})
