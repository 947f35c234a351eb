"""Mixture-of-experts models against what is published of them, and what they cost, by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.hardware_models import Device, Link, Memory, Platform, load_platform
from hetgym.workloads import list_moe_models, load_moe_model
from hetgym.workloads.moe_models import Attention, MoEModel, serving_costs
from hetgym.workloads.serving import WEIGHT_ERROR

# Layers, those with experts, E, k, millions of parameters and MiB at fp16 of an expert, GiB of all experts at fp16 and
# int4, published billions of active parameters.
PUBLISHED = {
    "mixtral-8x7b": (32, 32, 8, 2, 176.2, 336, 84, 21, 12.9),
    "phi-3.5-moe": (32, 32, 16, 2, 78.6, 150, 75, 18.8, 6.6),
    "olmoe-1b-7b": (16, 16, 64, 8, 6.29, 12, 12, 3, 1.3),
    "qwen1.5-moe": (24, 24, 60, 4, 8.65, 16.5, 23.2, 5.8, 2.7),
    "qwen2-57b-a14b": (28, 28, 64, 8, 27.5, 52.5, 91.9, 23, 14.2),
    "qwen3-30b-a3b": (48, 48, 128, 8, 4.72, 9, 54, 13.5, 3.3),
    "deepseekmoe-16b": (28, 27, 64, 6, 8.65, 16.5, 27.8, 7, 2.8),
    "deepseek-v2-lite": (27, 26, 64, 6, 8.65, 16.5, 26.8, 6.7, 2.4),
    "deepseek-v3": (61, 58, 256, 8, 44.0, 84, 1218, 304, 37.0),
}
DESKTOP = load_platform("desktop-rtx4090")


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_as_published(name: str) -> None:
    model = load_moe_model(name)
    layers, moe_layers, experts, top_k, millions, mebibytes, all_high, all_low, active = PUBLISHED[name]
    assert (model.layers, model.moe_layers, model.experts, model.top_k) == (layers, moe_layers, experts, top_k)
    assert model.expert_parameters / 1e6 == pytest.approx(millions, rel=0.005)
    assert model.expert_bytes("fp16") == mebibytes * 2**20
    assert model.expert_bytes("int8") == mebibytes * 2**19
    every = moe_layers * experts
    assert every * model.expert_bytes("fp16") / 2**30 == pytest.approx(all_high, rel=0.01)
    assert every * model.expert_bytes("int4") / 2**30 == pytest.approx(all_low, rel=0.02)
    assert model.parameters is not None
    assert model.total_parameters / 1e9 == pytest.approx(model.parameters, rel=0.003)
    # DeepSeek do not count the embedding.
    without = model.active_parameters - model.output_parameters
    assert min(abs(each / 1e9 - active) for each in (model.active_parameters, without)) < 0.02 * active + 0.05


def test_all_models_are_listed() -> None:
    assert list_moe_models() == sorted(PUBLISHED)


def test_attention_of_mixtral_by_hand() -> None:
    model = load_moe_model("mixtral-8x7b")
    assert model.attention_parameters == 2 * 4096 * 4096 + 2 * 4096 * 1024
    assert model.kept_numbers == 2048
    assert model.pair_flop == 4 * 4096


def test_latent_attention_of_v3_by_hand() -> None:
    model = load_moe_model("deepseek-v3")
    query = 7168 * 1536 + 1536 * 128 * 192
    keys_and_values = 7168 * 576 + 512 * 128 * 256
    assert model.attention_parameters == query + keys_and_values + 128 * 128 * 7168
    assert model.kept_numbers == 576
    assert model.pair_flop == 2 * 128 * (576 + 512)


def test_scales_take_bytes() -> None:
    model = load_moe_model("qwen3-30b-a3b")
    assert model.expert_bytes("int4", scale_group=128) == model.expert_parameters * (0.5 + 2 / 128)
    costs = serving_costs(model, DESKTOP, scale_group=64)
    assert costs.high_bytes == model.expert_bytes("fp16")
    assert costs.low_bytes == model.expert_bytes("int4", scale_group=64)


@pytest.mark.parametrize(("name", "milliseconds"), [("mixtral-8x7b", 14.1), ("qwen3-30b-a3b", 0.38)])
def test_an_expert_on_the_link(name: str, milliseconds: float) -> None:
    costs = serving_costs(load_moe_model(name), DESKTOP)
    assert costs.link_bandwidth == 25e9
    assert 1e3 * costs.high_bytes / costs.link_bandwidth == pytest.approx(milliseconds, rel=0.01)


def test_costs_on_a_desktop_by_hand() -> None:
    model = load_moe_model("mixtral-8x7b")
    costs = serving_costs(model, DESKTOP)
    size = 3 * 4096 * 14336
    assert costs.device.name == "gpu"
    assert costs.device_floor_high == pytest.approx(2 * size / (0.9 * 1.008e12))
    assert costs.device_floor_low == pytest.approx(0.5 * size / (0.9 * 1.008e12))
    assert costs.device_slope == pytest.approx(2 * size / (0.85 * 165.2e12))
    assert costs.cpu_floor == pytest.approx(2 * size / (0.8 * 89.6e9))
    assert costs.cpu_slope == pytest.approx(2 * size / (0.8 * 1e12))
    assert (costs.link_latency, costs.ssd_bandwidth, costs.ssd_latency) == (10e-6, 7e9, 80e-6)
    assert costs.device_memory == 24e9
    assert costs.dense_bytes == 2 * model.dense_parameters
    assert (costs.low_price, costs.skip_price) == (0.11, 1.0)


def test_dense_part_by_hand() -> None:
    model = load_moe_model("deepseek-v2-lite")
    costs = serving_costs(model, DESKTOP)
    read, compute = 0.9 * 1.008e12, 0.85 * 165.2e12
    attention = 2048 * 16 * 192 + 2048 * 576 + 512 * 16 * 256 + 2048 * 2048
    layer, first = attention + 2048 * 64 + 6 * 2048 * 1408, attention + 3 * 2048 * 10944
    output = 2 * 102400 * 2048 / read
    kept = 27 / 26 * 2 * 576 * 300 / read
    decode = 2 * layer / read + kept + (2 * first / read + output) / 26
    n, pairs = 1000, 1000 * 1001 / 2
    looks = 27 / 26 * 2 * 16 * 1088 * pairs / (0.7 * 165.2e12)
    prefill = 2 * layer * n / compute + looks + (2 * first * n / compute + output) / 26
    assert costs.dense_seconds(1, 300) == pytest.approx(decode)
    assert costs.dense_seconds(np.array([1, n]), np.array([300, n]), np.array([300, pairs])) == pytest.approx(
        [decode, prefill]
    )


def test_reading_is_what_takes_the_time_of_few_tokens() -> None:
    costs = serving_costs(load_moe_model("qwen3-30b-a3b"), DESKTOP)
    assert costs.dense_seconds(8, 100) == costs.dense_seconds(1, 100)
    assert costs.dense_seconds(1, 1_000_000) > 10 * costs.dense_seconds(1, 100)
    assert costs.dense_seconds(10_000, 100) > 10 * costs.dense_seconds(1, 100)


@pytest.mark.parametrize(
    ("platform", "device", "bandwidth", "memory", "ssd"),
    [
        ("desktop-rtx3090", "gpu", 16e9, 24e9, 7e9),
        ("dgx-a100", "gpu-1", 32e9, 80e9, 50e9),
        ("dgx-h100", "gpu-1", 64e9, 80e9, 50e9),
        ("sn40l-node", "rdu-1", 125e9, 64e9, math.inf),
        ("jetson-orin", "gpu", 3.5e9, 64e9, math.inf),
        ("phone-soc", "gpu", 4e9, 16e9, math.inf),
        ("cloudmatrix384", "npu-1", 160e9, 128e9, math.inf),
    ],
)
def test_parts_of_platforms(platform: str, device: str, bandwidth: float, memory: float, ssd: float) -> None:
    costs = serving_costs(load_moe_model("deepseek-v2-lite"), load_platform(platform))
    assert costs.device.name == device
    assert (costs.link_bandwidth, costs.device_memory, costs.ssd_bandwidth) == (bandwidth, memory, ssd)
    assert math.isinf(costs.cpu_floor) == (platform == "sn40l-node")


def test_processor_of_a_chip_with_one_memory_reads_flash() -> None:
    costs = serving_costs(load_moe_model("mixtral-8x7b"), load_platform("phone-soc"))
    assert costs.cpu_floor == pytest.approx(100e-6 + costs.high_bytes / 4e9)


def test_sizes_of_models_that_are_switched_on_different_nodes() -> None:
    # The ratio of bandwidths to host memory is the SN40L paper's result (arXiv:2405.07518): 31 and 15 for 8 sockets.
    model = load_moe_model("mixtral-8x7b")
    bandwidth = {
        name: serving_costs(model, load_platform(name)).link_bandwidth
        for name in ("sn40l-node", "dgx-a100", "dgx-h100")
    }
    assert 8 * bandwidth["sn40l-node"] / bandwidth["dgx-a100"] == pytest.approx(31, rel=0.02)
    assert 8 * bandwidth["sn40l-node"] / bandwidth["dgx-h100"] == pytest.approx(15, rel=0.05)


def test_errors_of_rounded_weights() -> None:
    weights = np.random.default_rng(0).standard_normal((2000, 128))
    for precision, bits in (("int8", 8), ("int4", 4)):
        step = 2 * np.abs(weights).max(axis=1, keepdims=True) / (2**bits - 1)
        rounded = (np.floor(weights / step) + 0.5) * step
        assert np.sqrt(((rounded - weights) ** 2).mean()) == pytest.approx(WEIGHT_ERROR[precision], rel=0.03)
    unit = 2.0 ** (np.floor(np.log2(np.abs(weights))) - 3)
    assert np.sqrt(((np.rint(weights / unit) * unit - weights) ** 2).mean()) == pytest.approx(
        WEIGHT_ERROR["fp8"], rel=0.03
    )


def test_prices_can_be_given() -> None:
    model = load_moe_model("mixtral-8x7b")
    assert serving_costs(model, DESKTOP, low="int8", skip_price=2.0).low_price == pytest.approx(0.013)
    assert serving_costs(model, DESKTOP, low="fp16").low_price == 0
    assert serving_costs(model, DESKTOP, low_price=0.3).low_price == 0.3


def small(**settings: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "layers": 2,
        "experts": 4,
        "top_k": 2,
        "hidden": 8,
        "intermediate": 16,
        "attention": {"heads": 2, "kv_heads": 1, "head_size": 4},
        "vocabulary": 10,
        **settings,
    }


def test_a_model_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(str(small()).replace("'", '"'))
    assert load_moe_model(path) == MoEModel(**small())
    assert load_moe_model(str(path)).total_parameters == 2 * (8 * 8 * 2 + 8 * 4 * 2 + 8 * 4 + 4 * 3 * 8 * 16) + 160


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_k": 5}, r"small.yaml: content: top_k: must be at most experts, 4 \(given: 5\)"),
        ({"dense_layers": 2, "dense_intermediate": 1}, r"dense_layers: must be fewer than layers, 2 \(given: 2\)"),
        ({"dense_layers": 1}, "dense_layers and dense_intermediate: either both are 0 or neither"),
        ({"shared_intermediate": 8}, "shared_experts and shared_intermediate: either both"),
        ({"attention": {"heads": 2, "head_size": 4}}, "attention: give either kv_heads or kv_latent"),
        ({"attention": {"heads": 2, "head_size": 4, "kv_heads": 1, "rope_size": 3}}, "go with kv_latent"),
        ({"hidden": -8}, r"hidden: .*given: -8"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
    ],
)
def test_wrong_models_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(str(small(**settings)).replace("'", '"'))
    with pytest.raises(HetgymError, match=message):
        load_moe_model(path)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(HetgymError, match="unknown mixture-of-experts model 'gpt': choose one of deepseek-v2-lite"):
        load_moe_model("gpt")
    model = load_moe_model("mixtral-8x7b")
    with pytest.raises(HetgymError, match="unknown precision 'int3': choose one of fp32"):
        serving_costs(model, DESKTOP, low="int3")
    with pytest.raises(HetgymError, match=r"low: must not take more bytes than high, 'int4' \(given: 'fp16'\)"):
        serving_costs(model, DESKTOP, high="int4", low="fp16")
    with pytest.raises(HetgymError, match=r"skip_price: must be finite and not negative \(given: -1"):
        serving_costs(model, DESKTOP, skip_price=-1.0, low_price=0.0)
    with pytest.raises(HetgymError, match=r"scale_group: must be at least 1 weight \(given: 0\)"):
        model.expert_bytes("int4", scale_group=0)


GPU = Device(name="gpu", kind="gpu", peak_flops={"fp16": 1e12}, memory_bandwidth=1e11)
FAST, SLOW = Memory(name="fast", capacity=1e9, bandwidth=1e11), Memory(name="slow", capacity=1e10, bandwidth=1e10)
OWN = Link(between=("gpu", "fast"), bandwidth=1e11)


@pytest.mark.parametrize(
    ("devices", "memories", "links", "message"),
    [
        ((Device(name="cpu", kind="cpu", peak_flops={"fp32": 1e12}),), (), (), "devices: none has a rate for fp16"),
        ((GPU,), (SLOW,), (Link(between=("gpu", "slow"), bandwidth=1e9),), "none on a link of device 'gpu' has the"),
        ((GPU,), (FAST,), (OWN,), "memories: none that 'gpu' reaches is slower than 'fast', to load from"),
        ((GPU,), (FAST, SLOW), (OWN,), "memories: none that 'gpu' reaches is slower than 'fast', to load from"),
    ],
)
def test_platforms_that_serve_no_model_are_refused(
    devices: tuple[Device, ...], memories: tuple[Memory, ...], links: tuple[Link, ...], message: str
) -> None:
    platform = Platform(name="bare", devices=devices, memories=memories, links=links)
    with pytest.raises(HetgymError, match=f"platform 'bare': .*{message}|platform 'bare': {message}"):
        serving_costs(load_moe_model("mixtral-8x7b"), platform)


def test_attention_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Attention(heads=1, head_size=1, kv_heads=1).heads = 2  # type: ignore[misc]
