"""Times of servers of language models against their sources, and those of devices by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.hardware_models import Device, load_platform
from hetgym.workloads import (
    decoder_language_model,
    device_llm_times,
    layer_seconds,
    list_llm_times,
    load_llm_times,
)

JETSON = next(each for each in load_platform("jetson-orin").devices if each.name == "gpu")
PI = load_platform("raspberry-pi-4").devices[0]


# Milliseconds: a prompt of 1000 tokens; a step of 10 requests with 500 tokens each.
@pytest.mark.parametrize(
    ("name", "prompt", "step"),
    [
        ("opt-13b-a100", 18.10 + 101.9 + 7.12, 19.93 + 0.385 + 3.135),
        ("opt-66b-4xa100", 29.44 + 151.4 + 8.32, 30.76 + 0.633 + 2.26),
        ("llama2-70b-8xh100", 99.9, 29.9 + 2.23 + 0.8),
        ("llama2-70b-8xa100", 203.0, 44.2 + 2.37 + 1.5),
    ],
)
def test_times_are_those_of_the_source(name: str, prompt: float, step: float) -> None:
    times = load_llm_times(name)
    assert times.source
    assert 1e3 * times.prefill_polynomial() @ [1.0, 1e3, 1e6] == pytest.approx(prompt)
    rate = times.shared_rate(context=500)
    assert 1e3 * (rate.fixed + 10 * rate.per_job) == pytest.approx(step)


def test_all_servers_are_listed() -> None:
    assert list_llm_times() == ["llama2-70b-8xa100", "llama2-70b-8xh100", "opt-13b-a100", "opt-66b-4xa100"]
    assert [load_llm_times(name).accelerators for name in list_llm_times()] == [8, 8, 1, 4]


def test_large_batches_have_times_of_their_own() -> None:
    times = load_llm_times("opt-13b-a100")
    assert times.shared_rate(100, batch=94) == times.shared_rate(100)
    assert times.shared_rate(100, batch=95) == pytest.approx((7.17e-3, 0.158e-3 + 5.80e-5))
    only_small = load_llm_times("opt-66b-4xa100")
    assert only_small.shared_rate(100, batch=500) == only_small.shared_rate(100)


def test_no_prompt_takes_negative_time() -> None:
    times = load_llm_times("llama2-70b-8xa100")
    assert times.prefill.fixed == -31.4e-3
    assert times.prefill_polynomial().tolist() == [0.0, 0.203e-3, 0.0]


def test_tinyllama_on_a_jetson_by_hand() -> None:
    times = device_llm_times(decoder_language_model(), JETSON)
    assert times.name == "tinyllama-1.1b-gpu"
    layers, output = 22 * 44_040_192, 32_000 * 2048
    reading = 2 * (layers + output) / (0.8 * 204.8e9)
    rate, attention = 0.7 * 42.5e12, 0.5 * 42.5e12
    pair = 22 * 4 * 2048 / attention  # FLOP of a token and a position: 4 for each number of its queries
    assert times.prefill_polynomial() == pytest.approx(
        [reading + 2 * output / rate, 2 * layers / rate + pair / 2, pair / 2]
    )
    # Of a position 2 x 4 x 64 numbers of 2 bytes are read in each layer, which takes longer than its FLOP.
    kept = 22 * 1024 / (0.8 * 204.8e9)
    assert times.shared_rate(context=300) == pytest.approx((reading, 2 * (layers + output) / rate + 300 * kept))
    assert reading == pytest.approx(12.6e-3, rel=0.01)


def test_smaller_weights_are_read_faster() -> None:
    model = decoder_language_model()
    high, low = device_llm_times(model, JETSON).decode, device_llm_times(model, JETSON, "int4").decode
    assert low.fixed == pytest.approx(high.fixed / 4)
    assert (low.per_request, low.per_token) == (high.per_request, high.per_token)


def test_processor_without_16_bits_computes_at_32() -> None:
    model = decoder_language_model()
    assert device_llm_times(model, PI) == device_llm_times(model, PI, precision="fp32")


@pytest.mark.parametrize("tokens", [1, 64, 180, 1024, 4096])
def test_prompt_takes_between_once_and_twice_the_roofline(tokens: int) -> None:
    model = decoder_language_model()
    roofline = layer_seconds(model.prompt(tokens), JETSON, "fp16").sum()
    prefill = device_llm_times(model, JETSON).prefill_polynomial() @ [1.0, tokens, tokens**2]
    assert roofline <= prefill <= 2 * roofline


def test_token_takes_between_once_and_twice_the_roofline() -> None:
    model = decoder_language_model()
    rate = device_llm_times(model, JETSON).shared_rate(context=1000)
    roofline = layer_seconds(model.answer_token(1000), JETSON, "fp16").sum()
    assert roofline <= rate.fixed + rate.per_job <= 1.02 * roofline


def test_own_times_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "{name: mine, prefill: {fixed: 0.5, per_token: 0.25}, decode: {fixed: 1.0, per_request: 2.0}}",
        encoding="utf-8",
    )
    times = load_llm_times(path)
    np.testing.assert_array_equal(times.prefill_polynomial(), [0.5, 0.25, 0.0])
    assert times.shared_rate(1e6) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{name: bad, decode: {fixed: 1.0, per_request: 1.0}}", "bad.yaml: prefill: Field required"),
        (
            "{name: bad, prefill: {fixed: 1.0, per_token: -1.0}, decode: {fixed: 1.0, per_request: 1.0}}",
            r"bad.yaml: prefill.per_token: .*greater than or equal to 0 \(given: -1.0\)",
        ),
        (
            "{name: b, prefill: {fixed: 1.0, per_token: 1.0}, decode: {fixed: 1.0, per_request: 1.0}, large_batch: 2}",
            "decode_large and large_batch: give both or neither",
        ),
        ("[]", "bad.yaml: content: "),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(HetgymError, match=message) as caught:
        load_llm_times(path)
    assert "\n" not in str(caught.value)


def test_bad_arguments_are_refused() -> None:
    times = load_llm_times("opt-13b-a100")
    with pytest.raises(HetgymError, match=r"unknown server of a language model 'gpt': choose one of .*opt-13b-a100"):
        load_llm_times("gpt")
    with pytest.raises(HetgymError, match=r"opt-13b-a100: context: must be finite and not negative \(given: -1\)"):
        times.shared_rate(-1)
    with pytest.raises(HetgymError, match=r"opt-13b-a100: batch: must be at least 1 \(given: 0\)"):
        times.shared_rate(10, batch=0)
    model = decoder_language_model()
    with pytest.raises(HetgymError, match="unknown precision 'int3'"):
        device_llm_times(model, JETSON, "int3")
    with pytest.raises(HetgymError, match="unknown precision of device 'gpu' 'fp64'"):
        device_llm_times(model, JETSON, precision="fp64")
    with pytest.raises(HetgymError, match="device 'x' has no memory_bandwidth"):
        device_llm_times(model, Device(name="x", kind="cpu", peak_flops={"fp32": 1e9}))
