"""Hit rates on generated routing beside those on a recorded trace of DeepSeek-V2-Lite of 193,566 prefill tokens."""

from __future__ import annotations

import pytest

from hetgym.evaluate import evaluate


@pytest.mark.parametrize(("slots", "lru", "belady"), [(16, 0.474, 0.694), (32, 0.712, 0.858)])
def test_hit_rates_are_near_those_of_the_real_model(slots: int, lru: float, belady: float) -> None:
    table = evaluate(
        "v2-lite",
        ["lru", "belady-bypass"],
        episodes=1,
        requests=6,
        prompt_tokens=0,
        output_tokens=256,
        cache_slots=slots,
        cache_fraction=None,
    ).set_index("policy")
    assert table["hit_rate"]["lru"] == pytest.approx(lru, abs=0.03)
    assert table["hit_rate"]["belady-bypass"] == pytest.approx(belady, abs=0.03)
