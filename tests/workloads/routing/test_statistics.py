"""Statistics of routing: the kernels are what the definitions say, and known laws have their known values."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from hetgym import HetgymError
from hetgym.workloads.routing import (
    RoutingTrace,
    generate_trace,
    next_layer_recall,
    segment_cache_best_hit_rate,
    segment_routing_best_performance,
    summarise_trace,
    trace_statistics,
    uniform_floor,
)
from hetgym.workloads.routing.figures import trace_figure

Routing = list[list[list[int]]]
"""For each request and token, the experts of one layer."""


def make_trace(experts: Any, lengths: list[int], num_experts: int, predicted: Any = None) -> RoutingTrace:
    """A trace of prompts of so many tokens; experts are (T, L, k)."""
    experts = np.asarray(experts)
    tokens, layers, top_k = experts.shape
    return RoutingTrace(
        "tiny",
        layers,
        num_experts,
        top_k,
        np.repeat(np.repeat(np.arange(len(lengths)), lengths), layers),
        np.zeros(tokens * layers, np.int8),
        np.repeat(np.concatenate([np.arange(length) for length in lengths]), layers),
        np.tile(np.arange(layers), tokens),
        experts.reshape(-1, top_k),
        predicted=None if predicted is None else np.asarray(predicted).reshape(tokens * layers, *predicted.shape[2:]),
    )


def random_trace(
    seed: int, lengths: list[int], layers: int, num_experts: int, top_k: int, width: int = 0
) -> RoutingTrace:
    """A trace with some locality: tokens keep some of the experts of the one before."""
    generator = np.random.default_rng(seed)
    heat = np.zeros((layers, num_experts))
    experts, predicted = [], []
    for _ in range(sum(lengths)):
        heat = 0.7 * heat + generator.random((layers, num_experts))
        order = np.argsort(-heat, axis=1)
        experts.append(order[:, :top_k])
        predicted.append(generator.integers(-1, num_experts, size=(layers, 2, width)))
    return make_trace(experts, lengths, num_experts, np.array(predicted) if width else None)


def routing(trace: RoutingTrace, layer: int) -> Routing:
    tokens = trace.by_token(trace.experts)[:, layer].tolist()
    bounds = trace.first_token.tolist()
    return [tokens[begin:end] for begin, end in pairwise(bounds)]


def srp(requests: Routing, num_experts: int, segment: int) -> float:
    """The definition, activation by activation."""
    uses = []
    for tokens in requests:
        for begin in range(len(tokens) - segment + 1):
            window = tokens[begin : begin + segment]
            uses += [sum(expert in used for used in window) for expert in range(num_experts)]
    if not uses:
        return math.nan
    return max(
        2 * sum(f for f in uses if f >= least) / sum((segment if f >= least else 0) + f for f in uses)
        for least in range(segment + 1)
    )


def sch(requests: Routing, segment: int, capacity: int) -> float:
    """The definition, with a cache that is a list, the expert used longest ago first."""
    hits = total = 0
    for tokens in requests:
        cache: list[int] = []
        for token, used in enumerate(tokens):
            total += len(used)
            hits += len(set(used) & set(cache))
            ahead = Counter(expert for later in tokens[token + 1 : token + 1 + segment] for expert in later)
            others = sorted((expert for expert in cache if expert not in used), key=lambda expert: ahead[expert])
            while len(others) > capacity - len(used):
                others.pop(0)
            # What was used by one token goes in ascending order.
            cache = [expert for expert in cache if expert in others] + sorted(used)
    return hits / total


def overlap(requests: Routing) -> float:
    shares = [len(set(first) & set(second)) / len(second) for tokens in requests for first, second in pairwise(tokens)]
    return sum(shares) / len(shares) if shares else math.nan


def entropy(tokens: list[list[int]], num_experts: int) -> float:
    uses = Counter(expert for used in tokens for expert in used)
    total = sum(uses.values())
    return -sum(count / total * math.log(count / total) for count in uses.values()) / math.log(num_experts)


def recall(first: Routing, second: Routing, num_experts: int, guesses: int) -> float:
    """What of the second layer the first tells, learnt on every other request."""
    uses: Counter[int] = Counter()
    together: Counter[tuple[int, int]] = Counter()
    for ones, others in zip(first[::2], second[::2], strict=True):
        for used, following in zip(ones, others, strict=True):
            uses.update(used)
            together.update((one, other) for one in used for other in following)
    shares = []
    for ones, others in zip(first[1::2], second[1::2], strict=True):
        for used, following in zip(ones, others, strict=True):
            score = [0.0] * num_experts
            for one in used:  # in the same order as the kernel: sums are rounded
                for other in range(num_experts):
                    score[other] += together[one, other] / uses[one] if uses[one] else 0.0
            ranked = sorted(range(num_experts), key=lambda other: (-score[other], other))
            shares.append(len(set(following) & set(ranked[:guesses])) / len(following))
    return sum(shares) / len(shares) if shares else math.nan


@settings(max_examples=settings.default.max_examples * 3 // 5)
@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    num_experts=st.integers(2, 7),
    data=st.data(),
)
def test_kernels_are_the_definitions(seed: int, lengths: list[int], num_experts: int, data: st.DataObject) -> None:
    top_k = data.draw(st.integers(1, num_experts))
    segment = data.draw(st.integers(1, 6))
    ratio = data.draw(st.sampled_from([1.0, 1.5, 2.0, 3.0]))
    trace = random_trace(seed, lengths, 2, num_experts, top_k, width=3)
    found = trace_statistics(trace, segment, ratio)
    capacity = min(int(ratio * top_k), num_experts)
    first, second = routing(trace, 0), routing(trace, 1)
    assert trace.predicted is not None
    predicted = trace.by_token(trace.predicted)
    following = [used for tokens in second for used in tokens]
    told = [
        len(set(used) & set(guess.tolist())) / top_k for used, guess in zip(following, predicted[:, 0, 0], strict=True)
    ]
    for layer, requests in enumerate((first, second)):
        expected = {
            "srp": srp(requests, num_experts, segment),
            "sch": sch(requests, segment, capacity),
            "overlap": overlap(requests),
            "entropy": entropy([used for tokens in requests for used in tokens], num_experts),
            "entropy_per_prompt": sum(entropy(tokens, num_experts) * len(tokens) for tokens in requests) / sum(lengths),
            "recall_at_k": recall(first, second, num_experts, top_k) if layer == 0 else math.nan,
            "recall_at_2k": recall(first, second, num_experts, 2 * top_k) if layer == 0 else math.nan,
            "predicted_recall_1": sum(told) / len(told) if layer == 0 else math.nan,
            "predicted_recall_2": math.nan,
        }
        assert found.loc[layer].to_dict() == pytest.approx(expected, nan_ok=True)


def test_single_statistics_are_columns() -> None:
    trace = random_trace(3, [30, 20, 25], 4, 8, 2)
    table = trace_statistics(trace, 5, 1.5)
    assert np.array_equal(segment_routing_best_performance(trace, 5), table["srp"])
    assert np.array_equal(segment_cache_best_hit_rate(trace, 5, 1.5), table["sch"])
    assert np.array_equal(next_layer_recall(trace), table[["recall_at_k", "recall_at_2k"]], equal_nan=True)
    assert list(table.index) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("num_experts", "top_k", "sampled"), [(8, 2, 0.451), (64, 8, 0.321), (64, 6, 0.281), (128, 8, 0.238)]
)
def test_floor_of_independent_routing(num_experts: int, top_k: int, sampled: float) -> None:
    floor = uniform_floor(num_experts, top_k)
    assert floor == pytest.approx(sampled, abs=1.1e-3)
    used = np.arange(17)
    share = binom.pmf(used, 16, top_k / num_experts)
    held = [2 * (share * used)[least:].sum() / (16 * share[least:].sum() + 16 * top_k / num_experts) for least in used]
    assert floor == pytest.approx(max(held))
    generator = np.random.default_rng(0)
    experts = np.argsort(generator.random((4000, 1, num_experts)), axis=2)[:, :, :top_k]
    trace = make_trace(experts, [4000], num_experts)
    assert segment_routing_best_performance(trace) == pytest.approx(floor, abs=0.01)


def test_floor_of_certain_routing() -> None:
    assert uniform_floor(4, 4) == 1.0
    assert uniform_floor(4, 1, 1) == 1.0
    assert 0.0 < uniform_floor(1000, 1, 1024) < 1.0


def test_routing_that_never_changes() -> None:
    trace = make_trace(np.tile([[1, 2], [0, 3]], (40, 1, 1)), [20, 20], 6)
    table = trace_statistics(trace)
    assert table["srp"].tolist() == [1.0, 1.0]
    assert table["overlap"].tolist() == [1.0, 1.0]
    assert table["sch"].tolist() == [19 / 20] * 2
    assert table["entropy"].tolist() == pytest.approx([math.log(2) / math.log(6)] * 2)
    assert table["recall_at_k"][0] == 1.0


def test_a_permutation_between_layers_is_learnt() -> None:
    generator = np.random.default_rng(1)
    first = np.argsort(generator.random((400, 16)), axis=1)[:, :1]
    permutation = generator.permutation(16)
    trace = make_trace(np.stack([first, permutation[first]], axis=1), [100] * 4, 16)
    assert next_layer_recall(trace)[0].tolist() == [1.0, 1.0]


def test_what_cannot_be_computed_is_nan() -> None:
    table = trace_statistics(make_trace([[[0]], [[1]]], [1, 1], 2))
    assert np.isnan(table.loc[0, ["srp", "overlap", "recall_at_k", "recall_at_2k"]].to_numpy(float)).all()
    assert table.loc[0, "sch"] == 0.0
    alone = trace_statistics(make_trace(np.zeros((40, 1, 1), int), [40], 1))
    assert alone.loc[0, ["srp", "entropy", "overlap"]].tolist() == [1.0, 1.0, 1.0]
    assert alone.loc[0, "sch"] == 39 / 40


def test_summary() -> None:
    trace = generate_trace("mixtral-8x7b", requests=4, prompt_tokens=10, output_tokens=30, seed=1)
    table = trace_statistics(trace)
    summary = summarise_trace(trace, table)
    assert summary["model"] == "mixtral-8x7b"
    assert (summary["requests"], summary["prefill_tokens"], summary["decode_tokens"]) == (4, 40, 120)
    assert summary["cache_experts"] == 4
    assert summary["sch"] == pytest.approx(table["sch"].mean())
    assert summary["srp_floor"] == uniform_floor(8, 2)
    # One threshold for all layers cannot do better than the best of each.
    assert summary["srp_floor"] < summary["srp_pooled"] <= summary["srp"] + 1e-3
    short = generate_trace("mixtral-8x7b", requests=1, prompt_tokens=4, output_tokens=0)
    assert summarise_trace(short, trace_statistics(short))["srp"] is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda trace: trace_statistics(trace, 0), r"segment: must be from 1 to 1024 tokens \(given: 0\)"),
        (lambda trace: segment_routing_best_performance(trace, 2000), "segment: must be"),
        (lambda trace: trace_statistics(trace, 16, 0.5), r"cache_ratio: must be 1 or more \(given: 0.5\)"),
        (lambda trace: segment_cache_best_hit_rate(trace, 16, math.nan), "cache_ratio: must be"),
        (lambda _: uniform_floor(8, 9), "top_k: must be from 1 to num_experts, 8"),
    ],
)
def test_arguments_are_checked(call: Any, message: str) -> None:
    with pytest.raises(HetgymError, match=message):
        call(random_trace(0, [5], 1, 4, 2))


def test_figure_shows_each_statistic() -> None:
    trace = random_trace(0, [30, 30], 5, 8, 2, width=2)
    figure = trace_figure(trace_statistics(trace), "tiny", 0.45)
    labels = [text.get_text() for axes in figure.axes for text in axes.get_legend().get_texts()]
    assert labels == [
        "measured",
        "independent, uniform",
        "hit rate",
        "overlap",
        "all requests",
        "within a request",
        "from ids, k guesses",
        "from ids, 2k guesses",
        "predicted, distance 1",
        "predicted, distance 2",
    ]
    assert figure.get_suptitle() == "tiny"
    # A single request and layer leave a panel empty.
    assert len(trace_figure(trace_statistics(random_trace(0, [3], 1, 4, 1))).axes) == 4
