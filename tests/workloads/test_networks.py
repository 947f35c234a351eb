"""Networks against what is published of them, and what cuts cost, by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.hardware_models import Device, load_platform
from hetgym.workloads import (
    BOTTLEFIT,
    NetworkProfile,
    decoder_language_model,
    layer_seconds,
    list_networks,
    mobilenet_v2,
    network_profile,
    resnet50,
    split_costs,
    vgg16,
    with_bottleneck,
    with_slim_head,
)
from hetgym.workloads.networks import Cut, Layer

# Billions of multiply-accumulate operations, and millions of weights without norms and biases.
PUBLISHED = {"mobilenet-v2": (0.301, 3.47), "resnet50": (4.089, 25.50), "vgg16": (15.47, 138.34)}

# At a cut: percent of the operations before it, and KiB at fp32.
CUTS = [
    ("mobilenet-v2", "stem", 3.6, 1568),
    ("mobilenet-v2", "block2", 16.6, 294),
    ("mobilenet-v2", "block4", 30.3, 98),
    ("mobilenet-v2", "block7", 40.2, 49),
    ("mobilenet-v2", "block13", 69.8, 73.5),
    ("mobilenet-v2", "block14", 75.0, 30.625),
    ("mobilenet-v2", "block17", 92.9, 61.25),
    ("mobilenet-v2", "last", 99.6, 245),
    ("mobilenet-v2", "fc", 100.0, 3.90625),
    ("resnet50", "conv1", 2.9, 3136),
    ("resnet50", "maxpool", 2.9, 784),
    ("resnet50", "layer1.2", 19.2, 3136),
    ("resnet50", "layer2.3", 44.4, 1568),
    ("resnet50", "layer3.5", 80.2, 784),
    ("resnet50", "layer4.2", 99.9, 392),
    ("vgg16", "pool1", 12.5, 3136),
    ("vgg16", "pool2", 30.5, 1568),
    ("vgg16", "pool3", 60.3, 784),
    ("vgg16", "pool4", 90.2, 392),
    ("vgg16", "pool5", 99.2, 98),
]

JETSON = next(each for each in load_platform("jetson-orin").devices if each.name == "gpu")
A100 = load_platform("dgx-a100").devices[0]
# A FLOP and a byte take a second each, but for products of matrices, at half the rate.
UNIT = Device(name="unit", kind="cpu", peak_flops={"fp32": 1.0}, memory_bandwidth=1.0, efficiency={"matmul": 0.5})
TWICE = Device(name="twice", kind="gpu", peak_flops={"fp32": 2.0, "fp16": 2.0}, memory_bandwidth=2.0)
TINY = NetworkProfile(
    name="tiny",
    layers=(Layer("first", "convolution", 100, 2, 4, 3), Layer("second", "matmul", 60, 6, 3, 1)),
    cuts=(Cut("input", 0, 4, 1.0), Cut("first", 1, 3), Cut("second", 2, 1)),
)


@pytest.mark.parametrize("name", PUBLISHED)
def test_operations_and_weights_are_as_published(name: str) -> None:
    profile = network_profile(name)
    assert profile.name == name
    assert (round(profile.macs / 1e9, 3 if profile.macs < 1e10 else 2), round(profile.weights / 1e6, 2)) == (
        PUBLISHED[name]
    )


@pytest.mark.parametrize(("name", "cut", "percent", "kibibytes"), CUTS)
def test_cuts_are_where_they_were_measured(name: str, cut: str, percent: float, kibibytes: float) -> None:
    profile = network_profile(name)
    place = profile.cuts[profile.cut_index(cut)]
    before = sum(layer.macs for layer in profile.layers[: place.layers])
    assert round(100 * before / profile.macs, 1) == percent
    assert place.num_bytes("fp32") / 1024 == kibibytes


@pytest.mark.parametrize("name", list_networks())
def test_image_is_sent_raw_or_compressed(name: str) -> None:
    raw, compressed = network_profile(name), network_profile(name, input_bytes_per_element=0.1)
    assert raw.input_elements == 3 * 224 * 224
    assert raw.cuts[0].num_bytes("fp32") == 147 * 1024
    assert compressed.cuts[0].num_bytes("fp32") == pytest.approx(14.7 * 1024)
    assert compressed.layers == raw.layers


@pytest.mark.parametrize("name", list_networks())
def test_tensors_lead_from_layer_to_layer(name: str) -> None:
    """What a cut sends was written by the layer before it, and is read by the one behind it."""
    profile = network_profile(name)
    for cut in profile.cuts[1:]:
        assert cut.elements == profile.layers[cut.layers - 1].outputs
    for cut in profile.cuts[:-1]:
        assert cut.elements == profile.layers[cut.layers].inputs


def test_residual_blocks_have_their_shortcuts() -> None:
    resnet = [layer.name for layer in resnet50().layers]
    assert sum(name.endswith(".shortcut") for name in resnet) == 4
    assert sum(name.endswith(".add") for name in resnet) == 16
    # Of the 17 blocks, those that keep stride and channels: 1 + 2 + 3 + 2 + 2 of the repeats.
    assert sum(layer.name.endswith(".add") for layer in mobilenet_v2().layers) == 10
    assert len(vgg16().cuts) == 13 + 5 + 3 + 1


def test_layers_of_resnet_by_hand() -> None:
    resnet = resnet50()
    seconds = layer_seconds(resnet, JETSON, "fp32")
    assert seconds.shape == (len(resnet.layers),)
    assert seconds.dtype == np.float64
    # conv1: 2 x 7 x 7 x 3 x 64 x 112 x 112 FLOP at half of 5.3 TFLOP/s, which takes longer than its bytes.
    assert seconds[0] == pytest.approx(236_027_904 / 2.65e12)
    # maxpool: 4 (64 x 112 x 112 + 64 x 56 x 56) bytes at 0.8 of 204.8 GB/s, and no FLOP.
    assert seconds[1] == pytest.approx(4_014_080 / 163.84e9)
    # fc, at fp16: 2 (2048 x 1000 + 2048 + 1000) bytes, longer than 2 x 2048 x 1000 FLOP.
    assert layer_seconds(resnet, JETSON, "fp16")[-1] == pytest.approx(4_102_096 / 163.84e9)


def test_cuts_of_a_small_network_by_hand() -> None:
    costs = split_costs(TINY, UNIT, TWICE, "fp32", "fp16")
    assert costs.names == ("input", "first", "second")
    # 200 FLOP (36 bytes) take 200 s, 120 FLOP at half the rate (40 bytes) 240 s; on the other 100 s and 60 s.
    assert costs.local_seconds.tolist() == [0, 200, 440]
    assert costs.remote_seconds.tolist() == [160, 60, 0]
    assert costs.up_bytes.tolist() == [4, 12, 0]
    assert costs.down_bytes.tolist() == [2, 2, 0]
    assert costs.error.tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", list_networks())
def test_what_is_not_done_here_is_done_there(name: str) -> None:
    profile = network_profile(name)
    same = split_costs(profile, JETSON, JETSON, "fp16")
    np.testing.assert_allclose(same.local_seconds + same.remote_seconds, layer_seconds(profile, JETSON, "fp16").sum())
    costs = split_costs(profile, JETSON, A100, "fp32", "fp16")
    assert (np.diff(costs.local_seconds) > 0).all()
    assert (np.diff(costs.remote_seconds) < 0).all()
    assert (costs.local_seconds[0], costs.remote_seconds[-1]) == (0, 0)
    assert (costs.remote_seconds[:-1] < costs.local_seconds[-1]).all()


def test_no_cut_of_resnet_shrinks_a_raw_image() -> None:
    up = split_costs(resnet50(), JETSON, A100).up_bytes
    assert up[1:-1].min() > up[0]


def test_bottlefit_sends_less_than_the_image() -> None:
    resnet = resnet50()
    variant = with_bottleneck(resnet, "layer1.2", **BOTTLEFIT)
    assert [cut.name for cut in variant.cuts[:3]] == ["input", "layer1.2", "layer2.0"]
    assert variant.cuts[1].num_bytes("fp32") == pytest.approx(0.229 * 147 * 1024)
    end = variant.cuts[1].layers
    assert variant.layers[end:] == resnet.layers[end:]
    head, of = (sum(layer.macs for layer in each.layers[:end]) for each in (variant, resnet))
    assert of / head == pytest.approx(83)
    costs = split_costs(variant, JETSON, A100)
    assert (costs.error == 0.006).all()
    whole = split_costs(resnet, JETSON, A100)
    assert costs.local_seconds[1] < whole.local_seconds[whole.names.index("layer1.2")] / 5
    assert costs.remote_seconds[1] == pytest.approx(whole.remote_seconds[whole.names.index("layer1.2")])


def test_slim_head_by_hand() -> None:
    slim = with_slim_head(TINY, 1, width=0.5, error=0.1)
    assert slim.layers == (Layer("first", "convolution", 25, 0.5, 2, 1.5), TINY.layers[1])
    assert slim.cuts == (TINY.cuts[0], Cut("first", 1, 1.5), TINY.cuts[2])
    assert slim.error == 0.1
    assert with_slim_head(TINY, "first", 1.0, 0.0).layers == TINY.layers


def test_decoder_has_the_published_parameters() -> None:
    tiny = decoder_language_model()
    norms = (2 * 22 + 1) * 2048
    assert tiny.total_parameters + norms == 1_100_048_384
    llama = decoder_language_model(
        "llama-2-7b", hidden=4096, layers=32, heads=32, kv_heads=32, ffn=11008, vocabulary=32000
    )
    assert llama.total_parameters + (2 * 32 + 1) * 4096 == 6_738_415_616


def test_passes_of_a_decoder_by_hand() -> None:
    model = decoder_language_model("small", hidden=8, layers=2, heads=4, kv_heads=2, ffn=16, vocabulary=10)
    # Attention: queries and output 8 x 8 each, keys and values 8 x 4 each; the network 3 x 8 x 16.
    layer = 2 * 64 + 2 * 32 + 384
    prompt = model.prompt(3)
    # 6 pairs of tokens, for each 8 numbers of queries by keys, and of scores by values.
    assert [each.macs for each in prompt.layers] == [3 * layer, 6 * 16, 3 * layer, 6 * 16, 80]
    assert [each.weights for each in prompt.layers] == [layer, 0, layer, 0, 80]
    assert [(cut.name, cut.layers, cut.num_bytes("fp16")) for cut in prompt.cuts] == [
        ("input", 0, 12), ("layer0", 2, 48), ("layer1", 4, 48), ("output", 5, 4),
    ]  # fmt: skip
    token = model.answer_token(100)
    assert [each.macs for each in token.layers] == [layer, 1600, layer, 1600, 80]
    assert [each.inputs for each in token.layers] == [8, 800, 8, 800, 8]
    assert token.cuts[1].num_bytes("fp16") == 16


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: network_profile("alexnet"), "unknown network 'alexnet': choose one of mobilenet-v2, resnet50, vgg16"),
        (lambda: network_profile("vgg16", width=2), "unknown setting of network 'vgg16' 'width'"),
        (lambda: resnet50(0.0), r"input_bytes_per_element: must be finite and greater than 0 \(given: 0.0\)"),
        (lambda: resnet50("raw"), "input_bytes_per_element: must be finite"),  # type: ignore[arg-type]
        (lambda: TINY.cut_index(3), r"network 'tiny': cut: must be from 0 to 2 \(given: 3\)"),
        (lambda: TINY.cut_index(-1), "must be from 0 to 2"),
        (lambda: TINY.cut_index("third"), "unknown cut of network 'tiny' 'third': choose one of input, first, second"),
        (lambda: with_bottleneck(TINY, 4, 0.5, 0.5, 0.0), "cut: must be from 0 to 2"),
        (lambda: with_bottleneck(TINY, 0, 0.5, 0.5, 0.0), "at_cut: must have layers before and behind it: .*'input'"),
        (lambda: with_slim_head(TINY, "second", 0.5, 0.0), "at_cut: must have layers before and behind it: .*'second'"),
        (lambda: with_bottleneck(TINY, 1, 1.0, 0.5, 0.0), r"compression: .*less than 1 \(given: 1.0\)"),
        (lambda: with_bottleneck(TINY, 1, -0.1, 0.5, 0.0), "compression: must be at least 0"),
        (lambda: with_bottleneck(TINY, 1, 0.5, 0.0, 0.0), "head_scale: must be finite and greater than 0"),
        (lambda: with_bottleneck(TINY, 1, 0.5, 0.5, 1.5), "error: must be from 0 to 1"),
        (lambda: with_slim_head(TINY, 1, 1.5, 0.0), "width: must be greater than 0 and at most 1"),
        (lambda: layer_seconds(TINY, UNIT, "fp7"), "unknown precision 'fp7'"),
        (lambda: split_costs(TINY, UNIT, UNIT, "fp16"), "unknown precision of device 'unit' 'fp16'"),
        (lambda: NetworkProfile("odd", TINY.layers, TINY.cuts[:2]), r"network 'odd': cuts: .*\(given: \[0, 1\]\)"),
        (lambda: decoder_language_model(hidden=100), "tinyllama-1.1b: hidden: must be a positive multiple of heads"),
        (lambda: decoder_language_model(kv_heads=0), "heads: must be a positive multiple of kv_heads"),
        (lambda: decoder_language_model(layers=0), "tinyllama-1.1b: layers: .*greater than or equal to 1"),
        (lambda: decoder_language_model().prompt(0), "tinyllama-1.1b: prompt: there must be at least 1 token"),
        (lambda: decoder_language_model().answer_token(0), "tinyllama-1.1b: token: there must be at least 1 token"),
    ],
)
def test_bad_input_is_refused_in_one_line(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(HetgymError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
