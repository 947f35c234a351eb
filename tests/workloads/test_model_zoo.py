"""Whole models and adapters that are cached: what is chosen how often, and what it costs, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from hetgym import HetgymError
from hetgym.hardware_models import load_platform
from hetgym.workloads.model_zoo import CompositionOfExperts, ItemRequests, LoraAdapters
from hetgym.workloads.routing import DrawnLength, RoutingTrace


def chosen(source: ItemRequests, seed: int = 0, episode: int = 0) -> list[int]:
    """Returns the item of each request."""
    trace = source.trace(seed, episode)
    first = np.unique(trace.request, return_index=True)[1]
    return trace.experts[first, 0].tolist()


def test_a_request_uses_one_model_for_all_its_tokens() -> None:
    source = CompositionOfExperts(requests=20, prompt_tokens=3, output_tokens=4)
    trace = source.trace(1, 2)
    assert isinstance(trace, RoutingTrace)
    assert (trace.num_layers, trace.num_experts, trace.top_k) == source.shape == (1, 150, 1)
    used = trace.experts.reshape(20, 7)
    assert (used == used[:, :1]).all()
    assert trace.request.reshape(20, 7)[:, 0].tolist() == list(range(40, 60))
    assert trace.phase[:7].tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert trace.step[:7].tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert trace.scores is not None
    assert (trace.scores == 1).all()


def test_request_depends_on_seed_and_number_alone() -> None:
    short, long = (CompositionOfExperts(requests=n, mean_run=3, prompt_tokens=1) for n in (5, 10))
    assert chosen(long, 7, 0)[5:] == chosen(short, 7, 1)
    assert chosen(long, 7, 0) != chosen(long, 8, 0)


@pytest.mark.parametrize("popularity", [0.0, 1.0, 2.0])
def test_popularity_is_a_power_law(popularity: float) -> None:
    source = LoraAdapters(items=20, requests=40_000, prompt_tokens=1, output_tokens=0, popularity=popularity)
    share = np.arange(1, 21) ** -popularity
    assert np.sort(source.shares)[::-1] == pytest.approx(share / share.sum())
    drawn = np.bincount(chosen(source), minlength=20) / 40_000
    assert np.abs(drawn - source.shares).max() < 0.012


def test_rank_has_nothing_to_do_with_size() -> None:
    source = LoraAdapters(items=2000)
    assert abs(np.corrcoef(np.log(source.shares), source.item_parameters)[0, 1]) < 0.07
    assert abs(np.corrcoef(np.arange(2000), source.item_parameters)[0, 1]) < 0.07
    assert abs(np.corrcoef(np.arange(2000), np.log(source.shares))[0, 1]) < 0.07


def test_requests_stay_with_an_item() -> None:
    source = CompositionOfExperts(
        items=1000, requests=20_000, prompt_tokens=1, output_tokens=0, popularity=0, mean_run=5
    )
    items = np.array(chosen(source))
    assert (items[1:] == items[:-1]).mean() == pytest.approx(0.8, abs=0.01)


def test_sizes_are_as_frequent_as_their_shares() -> None:
    sizes, counts = np.unique(CompositionOfExperts().item_parameters, return_counts=True)
    assert sizes.tolist() == [7e9, 13e9, 70e9]
    assert counts.tolist() == [105, 30, 15]


def test_adapters_of_s_lora_by_hand() -> None:
    source = LoraAdapters(items=4)
    assert sorted(source.item_parameters) == [32 * 4 * 2 * 4096 * rank for rank in (8, 16, 32, 64)]
    platform = load_platform("desktop-rtx4090")
    costs, read = source.costs(platform), 0.9 * 1.008e12
    assert costs.high_bytes == pytest.approx(2 * source.item_parameters)
    assert costs.low_bytes == pytest.approx(source.item_parameters / 2)
    assert costs.device_floor_high == pytest.approx(costs.high_bytes / read)
    assert costs.device_slope == pytest.approx(2 * source.item_parameters / (0.85 * 165.2e12))
    assert costs.cpu_floor == pytest.approx(costs.high_bytes / (0.8 * 89.6e9))
    assert costs.dense_bytes == 2 * 6.74e9
    step = 2 * 6.74e9 / read + 4 * 32 * 4096 * 500 / read
    assert costs.dense_seconds(2, 500) == pytest.approx(step)
    assert costs.dense_seconds(np.array([2, 3]), np.array([500, 500])) == pytest.approx([step, step])
    assert (costs.link_bandwidth, costs.link_latency, costs.ssd_bandwidth, costs.device_memory) == (
        25e9,
        1e-5,
        7e9,
        24e9,
    )


def test_models_are_switched_as_on_the_sn40l() -> None:
    # arXiv:2405.07518: 31 times as fast as a DGX A100, 15 times as a DGX H100, with the models over eight sockets.
    seconds = {}
    for platform, devices in (("sn40l-node", 8), ("dgx-a100", 1), ("dgx-h100", 1)):
        source = CompositionOfExperts(parameters=(7e9,), tensor_parallel=devices)
        costs = source.costs(load_platform(platform))
        assert costs.high_bytes == pytest.approx(np.full(150, 14e9 / devices))
        seconds[platform] = costs.high_bytes[0] / costs.link_bandwidth
    assert seconds["sn40l-node"] == pytest.approx(0.014)
    assert seconds["dgx-a100"] / seconds["sn40l-node"] == pytest.approx(31, rel=0.02)
    assert seconds["dgx-h100"] / seconds["sn40l-node"] == pytest.approx(15, rel=0.05)


def test_whole_models_leave_nothing_to_compute_besides() -> None:
    costs = CompositionOfExperts().costs(load_platform("dgx-h100"))
    assert costs.dense_bytes == 0
    assert costs.dense_seconds(np.ones(3), np.ones(3)).tolist() == [0, 0, 0]
    assert np.isinf(CompositionOfExperts().costs(load_platform("sn40l-node")).cpu_floor).all()


def test_lengths_may_be_drawn() -> None:
    source = LoraAdapters(requests=500, prompt_tokens=DrawnLength(mean=20, sigma=1.0), output_tokens=0)
    lengths = np.bincount(source.trace(0, 0).request)
    assert lengths.std() > 10
    assert lengths.mean() == pytest.approx(20, rel=0.2)


def test_sources_are_data() -> None:
    reader: TypeAdapter[Any] = TypeAdapter(LoraAdapters | CompositionOfExperts)
    source = LoraAdapters(items=5, ranks=(4, 8), rank_shares=(1.0, 4.0), prompt_tokens=DrawnLength(mean=9, sigma=0.1))
    assert reader.validate_python(source.model_dump()) == source
    assert sorted(source.item_parameters / source.item_parameters.min()) == [1, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (CompositionOfExperts, {"parameters": (7e9, 8e9)}, "parameters: there are 2 of them, and 3 shares"),
        (CompositionOfExperts, {"parameters": (-1.0,)}, "greater than 0"),
        (CompositionOfExperts, {"mean_run": 0.5}, "greater than or equal to 1"),
        (LoraAdapters, {"rank_shares": (1.0,)}, "ranks: there are 4 of them, and 1 shares"),
        (LoraAdapters, {"items": 40_000}, "less than or equal to 32767"),
        (LoraAdapters, {"popularity": float("inf")}, "finite"),
    ],
)
def test_wrong_settings_are_refused(kind: type[ItemRequests], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        kind(**settings)


def test_what_cannot_be_drawn_or_served_is_refused() -> None:
    with pytest.raises(HetgymError, match="both 0; a request needs a token"):
        LoraAdapters(prompt_tokens=0, output_tokens=0).trace(0, 0)
    with pytest.raises(HetgymError, match=r"lora-adapters-2000: first_request: .*given: -64"):
        LoraAdapters().trace(0, -1)
    with pytest.raises(HetgymError, match="platform 'heft-paper': devices: none has a rate for fp16 or bf16"):
        LoraAdapters().costs(load_platform("heft-paper"))
