"""How local routing is: what a cache of experts, or a prediction of the next layer, can hope for.

Tokens of a request are taken in their order, the prompt's first. Nothing here looks across the boundary between two
requests: segments lie within one, and caches begin each of them empty.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...compilation import inner, kernel
from ...errors import HetgymError
from .trace import PREFILL, RoutingTrace

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Experts = NDArray[np.int16]

SEGMENT = 16
"""Tokens of a segment by default: the one of the lengths of arXiv 2505.16056 that published values are compared at."""

CACHE_RATIO = 2.0
"""Experts that a cache holds, over those that a token uses: most models do best at about 2 (arXiv 2505.16056)."""

MOST_EXPERTS = 4096
"""Of models with more experts in a layer, the recall from the experts alone is not computed: it takes E x E numbers."""


def trace_statistics(trace: RoutingTrace, segment: int = SEGMENT, cache_ratio: float = CACHE_RATIO) -> pd.DataFrame:
    """Returns how local a trace's routing is, layer by layer.

    Args:
        trace: The trace.
        segment: m, tokens of a segment, and how far the cache's eviction looks ahead.
        cache_ratio: rho, experts that the cache holds over k.

    Returns:
        One row for each layer, indexed by ``layer``. A column is NaN where there is nothing to compute it from.

        - ``srp``: see `segment_routing_best_performance`.
        - ``sch``: see `segment_cache_best_hit_rate`.
        - ``overlap``: share of a token's experts that the token before it in the request used too, on average; k / E
          if they are independent and uniform.
        - ``entropy``: of how often each expert is used, over log E: 1 if all are used equally often.
        - ``entropy_per_prompt``: the same within each request, on average over tokens.
        - ``recall_at_k``, ``recall_at_2k``: see `next_layer_recall`; of the next layer's experts.
        - ``predicted_recall_1`` ... ``_D``: share of the experts of the layer at that distance that are among the m
          that the trace predicts for it at this layer, on average over tokens. Where nothing is predicted, nothing is
          found.

    Raises:
        HetgymError: If the segment is empty, or the cache holds less than k experts.
    """
    _check_segment(segment)
    capacity = _capacity(trace, cache_ratio)
    columns: dict[str, list[float]] = {}
    learn, test = _halves(trace)
    following = _layer(trace, 0)
    for layer in range(trace.num_layers):
        experts = following
        row = {
            "srp": best_balance(_histogram(trace, experts, segment)),
            "sch": _hit_rate(trace, experts, segment, capacity),
            "overlap": _overlap(trace, experts),
            "entropy": _entropy(trace, experts),
            "entropy_per_prompt": _entropy_per_prompt(trace, experts),
            "recall_at_k": math.nan,
            "recall_at_2k": math.nan,
        }
        if layer + 1 < trace.num_layers:
            following = _layer(trace, layer + 1)
            row["recall_at_k"], row["recall_at_2k"] = _recall(trace, experts, following, learn, test)
        for distance in range(1, 1 if trace.predicted is None else trace.predicted.shape[1] + 1):
            row[f"predicted_recall_{distance}"] = _predicted_recall(trace, layer, distance)
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return pd.DataFrame(columns, index=pd.RangeIndex(trace.num_layers, name="layer"))


def summarise_trace(
    trace: RoutingTrace, statistics: pd.DataFrame, segment: int = SEGMENT, cache_ratio: float = CACHE_RATIO
) -> dict[str, Any]:
    """Returns a trace's size, and its statistics as means over layers.

    Args:
        trace: The trace.
        statistics: What `trace_statistics` gives for it.
        segment: As there.
        cache_ratio: As there.

    Returns:
        The model's name and sizes, the numbers of requests and tokens, ``segment``, ``cache_experts``, then a mean for
        each column of the statistics, None where there is nothing to take it from. Beside ``srp`` there are
        ``srp_floor`` (`uniform_floor`), and ``srp_pooled``, with the experts of all layers as one group: this is what
        arXiv 2505.16056 tabulates for whole models. ``overlap_floor`` is k / E.
    """
    histogram = sum(_histogram(trace, _layer(trace, layer), segment) for layer in range(trace.num_layers))
    prefill = int((trace.phase[:: trace.num_layers] == PREFILL).sum())
    numbers = {
        **{str(name): float(column.mean()) for name, column in statistics.items()},
        "srp_floor": uniform_floor(trace.num_experts, trace.top_k, segment),
        "srp_pooled": best_balance(np.asarray(histogram)),
        "overlap_floor": trace.top_k / trace.num_experts,
    }
    return {
        "model": trace.model,
        "layers": trace.num_layers,
        "experts": trace.num_experts,
        "top_k": trace.top_k,
        "requests": trace.num_requests,
        "prefill_tokens": prefill,
        "decode_tokens": trace.num_tokens - prefill,
        "has_scores": trace.scores is not None,
        "segment": segment,
        "cache_experts": _capacity(trace, cache_ratio),
        **{name: None if math.isnan(number) else number for name, number in numbers.items()},
    }


def segment_routing_best_performance(trace: RoutingTrace, segment: int = SEGMENT) -> FloatArray:
    """Returns how well a fixed group of experts could serve a segment of tokens, float64 (L,).

    That is SRP(E, m) of Liang et al., "Not All Models Suit Expert Offloading" (arXiv 2505.16056), each layer a group:
    with f the activations of an expert in a segment,

        max over a of  2 sum [f if f >= a] / sum [(m if f >= a) + f],

    the sums over all segments of m successive tokens (they slide by one token, and do not cross from one request into
    the next; requests of less than m tokens have none) and all experts of the layer. It is the F1 score of holding
    for a whole segment what is used at least a times in it. NaN where there is no segment.

    Args:
        trace: The trace.
        segment: m.

    Raises:
        HetgymError: If the segment is empty.
    """
    _check_segment(segment)
    layers = range(trace.num_layers)
    return np.array([best_balance(_histogram(trace, _layer(trace, layer), segment)) for layer in layers])


def best_balance(histogram: NDArray[Any]) -> float:
    """Returns SRP from how many (segment, expert) pairs have f = 0 ... m activations, or which share, (m + 1,)."""
    segment = len(histogram) - 1
    pairs = np.cumsum(histogram[::-1])
    uses = np.cumsum((histogram * np.arange(segment + 1))[::-1])
    if uses[-1] == 0:
        return math.nan
    return float((2 * uses / (segment * pairs + uses[-1])).max())


def uniform_floor(num_experts: int, top_k: int, segment: int = SEGMENT) -> float:
    """Returns the SRP of routing that is independent from token to token and uniform.

    There an expert has a binomial number of activations in a segment of m tokens, each of probability k / E.

    Args:
        num_experts: E.
        top_k: k.
        segment: m.

    Raises:
        HetgymError: If the segment is empty, or k is not one of 1 ... E.
    """
    _check_segment(segment)
    if not 1 <= top_k <= num_experts:
        raise HetgymError(f"top_k: must be from 1 to num_experts, {num_experts} (given: {top_k})")
    used = np.arange(segment + 1)
    share = top_k / num_experts
    ways = np.array([math.comb(segment, f) for f in range(segment + 1)], np.float64)
    return best_balance(ways * share**used * (1.0 - share) ** (segment - used))


def segment_cache_best_hit_rate(
    trace: RoutingTrace, segment: int = SEGMENT, cache_ratio: float = CACHE_RATIO
) -> FloatArray:
    """Returns the hit rate of a cache that knows a segment of the future, float64 (L,).

    That is SCH(m, rho) of Liang et al. (arXiv 2505.16056): a cache of rho k experts (rounded down) for each layer,
    empty when a request begins. Every token loads all its k experts; whenever there is no room, the cache loses the
    expert, other than these, that has the fewest activations in the m tokens after this one, as far as the request
    goes (ties: the one that was used longest ago, then the lowest). A token's expert is a hit if the cache holds it
    before the token.

    Args:
        trace: The trace.
        segment: m.
        cache_ratio: rho.

    Raises:
        HetgymError: If the segment is empty, or the cache holds less than k experts.
    """
    _check_segment(segment)
    capacity = _capacity(trace, cache_ratio)
    layers = range(trace.num_layers)
    return np.array([_hit_rate(trace, _layer(trace, layer), segment, capacity) for layer in layers])


def next_layer_recall(trace: RoutingTrace) -> FloatArray:
    """Returns how much of the next layer's experts one can guess from the ids of this layer's, float64 (L, 2).

    The guess is learnt on every other request, from the first on: how often, when an expert e of this layer was used,
    each expert of the next was. For a token of the other requests, each expert of the next layer scores the sum of
    these frequencies over the k experts that the token uses in this layer; those which were never used count nothing.
    The recall is the share of the k experts used in the next layer that are among the n highest scores (ties: lowest
    id), on average over tokens, for n = k and for n = 2k.

    NaN in the last layer, where there is one request only, and for models of more than `MOST_EXPERTS` experts.

    Args:
        trace: The trace.
    """
    learn, test = _halves(trace)
    recall = np.full((trace.num_layers, 2), np.nan)
    for layer in range(trace.num_layers - 1):
        recall[layer] = _recall(trace, _layer(trace, layer), _layer(trace, layer + 1), learn, test)
    return recall


def _check_segment(segment: int) -> None:
    # Binomial coefficients of longer segments are not finite.
    if not 1 <= segment <= 1024:
        raise HetgymError(f"segment: must be from 1 to 1024 tokens (given: {segment})")


def _capacity(trace: RoutingTrace, cache_ratio: float) -> int:
    if not 1 <= cache_ratio < math.inf:
        raise HetgymError(f"cache_ratio: must be 1 or more (given: {cache_ratio})")
    # A product such as 1.16 * 25 may lie just below the whole number that is meant.
    return min(math.floor(cache_ratio * trace.top_k + 1e-6), trace.num_experts)


def _layer(trace: RoutingTrace, layer: int) -> Experts:
    """Returns the experts that tokens use in a layer, (T, k)."""
    return np.ascontiguousarray(trace.by_token(trace.experts)[:, layer])


def _histogram(trace: RoutingTrace, experts: Experts, segment: int) -> IntArray:
    """Returns how many (segment, expert) pairs have f = 0 ... m activations, (m + 1,)."""
    histogram = np.zeros(segment + 1, np.int64)
    uses, now = np.empty(trace.num_experts, np.int64), np.empty(segment + 1, np.int64)
    _count_segments(experts, trace.first_token, uses, now, histogram)
    return histogram


@kernel
def _count_segments(
    experts: Experts, first_token: IntArray, uses: IntArray, now: IntArray, histogram: IntArray
) -> None:
    """Adds to the histogram; ``uses`` (E,) and ``now`` (m + 1,), that of one segment, are room."""
    segment = histogram.size - 1
    for request in range(first_token.size - 1):
        begin, end = first_token[request], first_token[request + 1]
        uses[:] = 0
        now[:] = 0
        now[0] = uses.size
        for token in range(begin, end):
            if token - begin >= segment:
                for expert in experts[token - segment]:
                    now[uses[expert]] -= 1
                    uses[expert] -= 1
                    now[uses[expert]] += 1
            for expert in experts[token]:
                now[uses[expert]] -= 1
                uses[expert] += 1
                now[uses[expert]] += 1
            if token - begin >= segment - 1:
                for used in range(segment + 1):
                    histogram[used] += now[used]


def _hit_rate(trace: RoutingTrace, experts: Experts, segment: int, capacity: int) -> float:
    room = np.empty((3, trace.num_experts), np.int64)
    hits = _count_hits(experts, trace.first_token, segment, room, np.empty(capacity, np.int64))
    return float(hits / experts.size)


@kernel
def _count_hits(experts: Experts, first_token: IntArray, segment: int, room: IntArray, held: IntArray) -> int:
    """Returns the hits of a cache as large as ``held``; ``room`` is (3, E)."""
    ahead, last, is_held = room[0], room[1], room[2]
    hits = 0
    for request in range(first_token.size - 1):
        begin, end = first_token[request], first_token[request + 1]
        room[:] = 0
        size = 0
        _add(ahead, experts[begin : min(begin + segment, end)], 1)
        for token in range(begin, end):
            used = experts[token : token + 1]
            _add(ahead, used, -1)
            _add(ahead, experts[min(token + segment, end) : min(token + segment + 1, end)], 1)
            for expert in used[0]:
                hits += is_held[expert]
                last[expert] = token
            size = _load(used[0], token, size, held, ahead, last, is_held)
    return hits


@inner
def _add(count: IntArray, experts: Experts, change: int) -> None:
    for token in range(experts.shape[0]):
        for expert in experts[token]:
            count[expert] += change


@inner
def _load(
    used: Experts, token: int, size: int, held: IntArray, ahead: IntArray, last: IntArray, is_held: IntArray
) -> int:
    """Loads the experts of a token that are not held; returns how many then are."""
    for expert in used:
        if is_held[expert]:
            continue
        if size < held.size:
            place = size
            size += 1
        else:
            place = _victim(held, ahead, last, token)
            is_held[held[place]] = 0
        held[place] = expert
        is_held[expert] = 1
    return size


@inner
def _victim(held: IntArray, ahead: IntArray, last: IntArray, token: int) -> int:
    """Returns the place in a full cache of what is needed least, among what was last used before a token."""
    best = -1
    for place in range(held.size):
        expert = held[place]
        if last[expert] == token:
            continue
        if best >= 0:
            other = held[best]
            if ahead[expert] > ahead[other]:
                continue
            if ahead[expert] == ahead[other]:
                if last[expert] > last[other]:
                    continue
                if last[expert] == last[other] and expert > other:
                    continue
        best = place
    return best


def _overlap(trace: RoutingTrace, experts: Experts) -> float:
    pairs = trace.num_tokens - trace.num_requests
    if pairs == 0:
        return math.nan
    common = _count_common(experts, trace.first_token, np.full(trace.num_experts, -2))
    return float(common / (pairs * trace.top_k))


@kernel
def _count_common(experts: Experts, first_token: IntArray, last: IntArray) -> int:
    """Returns how many experts tokens have in common with the one before; ``last`` is (E,) and holds -2."""
    common = 0
    for request in range(first_token.size - 1):
        begin = first_token[request]
        for token in range(begin, first_token[request + 1]):
            for expert in experts[token]:
                if token > begin and last[expert] == token - 1:
                    common += 1
                last[expert] = token
    return common


def _entropy(trace: RoutingTrace, experts: Experts) -> float:
    whole = np.array([0, trace.num_tokens])
    return float(_mean_entropy(experts, whole, np.empty(trace.num_experts, np.int64)))


def _entropy_per_prompt(trace: RoutingTrace, experts: Experts) -> float:
    return float(_mean_entropy(experts, trace.first_token, np.empty(trace.num_experts, np.int64)))


@kernel
def _mean_entropy(experts: Experts, first_token: IntArray, uses: IntArray) -> float:
    """Returns the entropy of uses over log E, on average over the tokens of groups; ``uses`` is room for E."""
    if uses.size == 1:
        return 1.0
    total = 0.0
    for group in range(first_token.size - 1):
        begin, end = first_token[group], first_token[group + 1]
        uses[:] = 0
        for token in range(begin, end):
            for expert in experts[token]:
                uses[expert] += 1
        count = (end - begin) * experts.shape[1]
        entropy = 0.0
        for expert in range(uses.size):
            if uses[expert]:
                share = uses[expert] / count
                entropy -= share * np.log(share)
        total += entropy * (end - begin)
    return float(total / (np.log(uses.size) * experts.shape[0]))


def _halves(trace: RoutingTrace) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Returns which tokens are learnt from, and which are tested on."""
    number = np.repeat(np.arange(trace.num_requests), np.diff(trace.first_token))
    return number % 2 == 0, number % 2 == 1


def _recall(
    trace: RoutingTrace, experts: Experts, following: Experts, learn: NDArray[np.bool_], test: NDArray[np.bool_]
) -> tuple[float, float]:
    """Returns the shares of `next_layer_recall` for a layer and the one that follows."""
    if trace.num_experts > MOST_EXPERTS or not test.any():
        return math.nan, math.nan
    together = np.zeros((trace.num_experts, trace.num_experts))
    _count_together(experts, following, learn, together)
    uses = together.sum(axis=1, keepdims=True) / trace.top_k
    frequency = np.divide(together, uses, out=together, where=uses > 0)
    found = np.zeros(2, np.int64)
    _count_found(experts, following, test, frequency, np.empty(trace.num_experts), found)
    at_k, at_2k = found / (test.sum() * trace.top_k)
    return float(at_k), float(at_2k)


@kernel
def _count_together(experts: Experts, following: Experts, learn: NDArray[np.bool_], together: FloatArray) -> None:
    """Adds to ``together`` (E, E) how many tokens use an expert in a layer and one in the next."""
    for token in range(experts.shape[0]):
        if learn[token]:
            for expert in experts[token]:
                row = together[expert]
                for other in following[token]:
                    row[other] += 1.0


@kernel
def _count_found(
    experts: Experts,
    following: Experts,
    test: NDArray[np.bool_],
    frequency: FloatArray,
    score: FloatArray,
    found: IntArray,
) -> None:
    """Adds to ``found`` (2,) the next experts among the k and the 2k highest scores; ``score`` is room for E."""
    top_k = experts.shape[1]
    for token in range(experts.shape[0]):
        if not test[token]:
            continue
        score[:] = 0.0
        for expert in experts[token]:
            row = frequency[expert]
            for other in range(score.size):
                score[other] += row[other]
        for expert in following[token]:
            own = score[expert]
            rank = 0
            for other in range(expert):
                rank += score[other] >= own
            for other in range(expert + 1, score.size):
                rank += score[other] > own
            found[0] += rank < top_k
            found[1] += rank < 2 * top_k


def _predicted_recall(trace: RoutingTrace, layer: int, distance: int) -> float:
    if trace.predicted is None or layer + distance >= trace.num_layers:
        return math.nan
    predicted = np.ascontiguousarray(trace.by_token(trace.predicted)[:, layer, distance - 1])
    used = _layer(trace, layer + distance)
    found = _count_predicted(predicted, used, np.full(trace.num_experts, -1))
    return float(found / used.size)


@kernel
def _count_predicted(predicted: Experts, used: Experts, seen: IntArray) -> int:
    """Returns how many of the experts used, (T, k), were predicted, (T, m); ``seen`` is (E,) and holds -1."""
    found = 0
    for token in range(used.shape[0]):
        for expert in predicted[token]:
            if expert >= 0:
                seen[expert] = token
        for expert in used[token]:
            found += seen[expert] == token
    return found
