"""The tiny model learns, is deterministic, and its routing is recorded as it is."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hetgym.errors import HetgymError
from hetgym.workloads import routing
from hetgym.workloads.routing import DECODE, PREFILL, tiny_trace, trace_statistics, uniform_floor
from hetgym.workloads.routing.tiny_model import TinyModel, TinySettings, record_tiny, train_tiny
from hetgym.workloads.routing.tiny_text import standard_library_texts

SMALL = TinySettings(num_layers=3, num_experts=8, top_k=2, hidden=32, expert_hidden=32, num_heads=2, context=32)


@pytest.fixture(scope="module")
def texts():
    return standard_library_texts()


@pytest.fixture(scope="module")
def trained(texts):
    return train_tiny(texts, steps=150, seed=4, settings=SMALL)


def test_texts_are_of_several_kinds_and_the_ones_held_out_are_not_trained_on(texts):
    assert len(texts) == 5
    for text in texts.values():
        assert len(text.training) > 300_000
        assert len(text.held_out) >= 5
        assert all(document not in text.training for document in text.held_out)
    again = standard_library_texts()
    assert texts == again


def test_training_lowers_the_loss_below_that_of_byte_frequencies(trained):
    assert 7 < trained.before < 10
    assert 4.5 < trained.unigram < 6
    assert trained.after < trained.unigram - 0.5
    assert trained.after == pytest.approx(np.mean(list(trained.after_of.values())))


def test_the_same_seed_gives_the_same_model_whatever_was_drawn_before(texts, trained):
    torch.manual_seed(9)
    state = torch.random.get_rng_state()
    twin = train_tiny(texts, steps=150, seed=4, settings=SMALL)
    assert torch.equal(state, torch.random.get_rng_state())
    assert twin.after_of == trained.after_of
    first, second = (
        record_tiny(model, texts, requests=3, prompt_bytes=8, new_bytes=8) for model in (twin.model, trained.model)
    )
    np.testing.assert_array_equal(first.scores, second.scores)


def test_no_byte_sees_what_follows_it():
    torch.manual_seed(0)
    model = TinyModel(SMALL).eval()
    ids = torch.randint(256, (2, 12))
    whole, _, _ = model(ids)
    parts, _, cache = model(ids[:, :5])
    logits = [parts]
    for step in range(5, 12):
        following, _, cache = model(ids[:, step : step + 1], cache)
        logits.append(following)
    torch.testing.assert_close(torch.cat(logits, dim=1), whole, rtol=1e-4, atol=1e-4)


def test_experts_are_summed_by_weight():
    torch.manual_seed(0)
    experts = TinyModel(SMALL).layers[0].experts
    hidden = torch.randn(7, 32)
    output, balance = experts(hidden)
    logits, weights, ids = experts.router(hidden)
    expected = torch.zeros_like(hidden)
    for token in range(7):
        for weight, expert in zip(weights[token], ids[token], strict=True):
            expected[token] += weight * ((hidden[token] @ experts.inner[expert]).relu() @ experts.outer[expert])
    torch.testing.assert_close(output, expected)
    probability = logits.softmax(dim=-1).mean(dim=0)
    share = torch.tensor([(ids == expert).sum() / 14 for expert in range(8)])
    torch.testing.assert_close(balance, 8 * (share * probability).sum())


def test_requests_of_a_recording_go_round_the_kinds_of_text(texts, trained):
    trace = record_tiny(trained.model, texts, requests=7, prompt_bytes=10, new_bytes=6, distances=1)
    assert (trace.num_layers, trace.num_experts, trace.top_k) == (3, 8, 2)
    assert trace.num_rows == 7 * 3 * (10 + 5)
    assert trace.step[trace.phase == PREFILL].max() == 9
    assert trace.step[trace.phase == DECODE].max() == 4
    assert trace.predicted.shape == (trace.num_rows, 1, 2)
    with pytest.raises(HetgymError, match=r"new_bytes: must be 1 \.\.\. 23 after a prompt of 10"):
        record_tiny(trained.model, texts, prompt_bytes=10, new_bytes=24)


def test_the_trace_that_comes_along_is_what_its_card_says_and_is_local():
    file = Path(routing.__file__).with_name("tiny.parquet")
    assert file.stat().st_size <= 2**20
    card = json.loads(file.with_suffix(".json").read_text())
    trace = tiny_trace()
    size = card["model"]
    assert (trace.num_layers, trace.num_experts, trace.top_k) == (
        size["num_layers"],
        size["num_experts"],
        size["top_k"],
    )
    assert trace.num_requests == 100
    assert trace.num_tokens == 100 * size["context"]
    assert card["bits_per_byte"]["after"] < card["bits_per_byte"]["unigram"] / 2
    statistics = trace_statistics(trace)
    assert (statistics["overlap"] > 1.5 * trace.top_k / trace.num_experts).all()
    assert (statistics["srp"] > uniform_floor(trace.num_experts, trace.top_k) + 0.05).all()
    assert (statistics["entropy"] > 0.9).all()
    assert (statistics["predicted_recall_1"].iloc[:-1] > 0.5).all()
