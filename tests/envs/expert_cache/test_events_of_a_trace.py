"""The events of a trace, made in plain Python, have each token once in each layer."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hetgym.envs.expert_cache.reference import events_of
from hetgym.workloads.routing import RoutingTrace

LENGTHS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)).filter(any), min_size=1, max_size=5)


def drawn(lengths: list[tuple[int, int]], seed: int, known: bool) -> RoutingTrace:
    generator = np.random.default_rng(seed)
    rows = [
        (10 * request, phase, step, layer)
        for request, phases in enumerate(lengths)
        for phase, length in enumerate(phases)
        for step in range(length)
        for layer in range(2)
    ]
    scores = -np.sort(-generator.random((len(rows), 3)), axis=1)
    return RoutingTrace(
        model="drawn", num_layers=2, num_experts=6, top_k=3,
        request=np.array([row[0] for row in rows]), phase=np.array([row[1] for row in rows], np.int8),
        step=np.array([row[2] for row in rows], np.int32), layer=np.array([row[3] for row in rows], np.int16),
        experts=np.array([generator.permutation(6)[:3] for _ in rows], np.int16),
        scores=scores.astype(np.float32) if known else None,
    )  # fmt: skip


@given(LENGTHS, st.integers(0, 99), st.booleans(), st.integers(1, 3), st.integers(0, 3), st.booleans())
def test_each_token_is_there_once_in_each_layer(
    lengths: list[tuple[int, int]], seed: int, known: bool, batch: int, chunk: int, hottest: bool
) -> None:
    trace = drawn(lengths, seed, known)
    events = events_of(trace, batch, chunk, "hottest" if hottest else "ascending")
    used: Counter[int] = Counter()
    for event in events:
        used.update({entry.item: entry.tokens for entry in event.entries})
        assert sum(entry.tokens for entry in event.entries) == 3 * event.tokens
        assert {entry.item // 6 for entry in event.entries} == {event.layer}
        assert event.tokens <= (batch if event.decode else chunk or 5)
        order = [(-entry.tokens if hottest else 0, entry.item) for entry in event.entries]
        assert order == sorted(order)
        assert min(entry.cumulative for entry in event.entries) == 0
        assert max(entry.weight for entry in event.entries) <= (1 if known else 1 / 3)
    assert used == Counter((trace.layer[:, None].astype(int) * 6 + trace.experts).ravel().tolist())
    assert [event.layer for event in events] == [0, 1] * (len(events) // 2)
    assert [event.step for event in events] == [number // 2 for number in range(len(events))]
    assert sum(event.new_prompt for event in events) == -(-len(lengths) // batch)
