"""Generated routing: what its law says, to within chance, and what depends on what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from hetgym import HetgymError
from hetgym.workloads import list_moe_models, load_moe_model
from hetgym.workloads.routing import (
    DECODE,
    PREFILL,
    DrawnLength,
    RoutingLaw,
    RoutingTrace,
    generate_trace,
    latent_deviation,
    latent_logits,
    latent_uses,
    next_layer_recall,
    routing_law,
    summarise_trace,
    trace_statistics,
)

SMALL = RoutingLaw(num_layers=4, num_experts=9, top_k=3, sigma_prompt=0.7, sigma_ar=0.9, rho=0.6, recall=0.8)


def pairs(**settings: Any) -> RoutingLaw:
    """One layer, in which a token uses one of two experts."""
    return RoutingLaw(num_layers=1, num_experts=2, top_k=1, **settings)


def choices(law: RoutingLaw, requests: int, tokens: int, seed: int = 0) -> NDArray[np.int16]:
    """Returns the first choice, (requests, tokens, L)."""
    trace = generate_trace(law, requests=requests, prompt_tokens=tokens, output_tokens=0, seed=seed)
    return trace.experts[:, 0].reshape(requests, tokens, law.num_layers)


def agreement(correlation: float) -> float:
    """Probability that two standard normal numbers of a correlation have one sign (Sheppard 1899)."""
    return 0.5 + np.arcsin(correlation) / np.pi


def of_request(trace: RoutingTrace, request: int) -> tuple[NDArray[Any], ...]:
    rows = trace.request == request
    assert trace.scores is not None
    assert trace.predicted is not None
    return trace.experts[rows], trace.scores[rows], trace.predicted[rows]


def test_rows_are_in_order() -> None:
    trace = generate_trace(SMALL, requests=3, prompt_tokens=2, output_tokens=5, first_request=7)
    assert (trace.num_layers, trace.num_experts, trace.top_k, trace.model) == (4, 9, 3, "synthetic")
    assert trace.num_rows == 3 * 7 * 4
    columns = np.stack([trace.request, trace.phase, trace.step, trace.layer])
    wanted = [
        (request, phase, step, layer)
        for request in (7, 8, 9)
        for phase, steps in ((PREFILL, 2), (DECODE, 5))
        for step in range(steps)
        for layer in range(4)
    ]
    assert columns.T.tolist() == [list(row) for row in wanted]


def test_experts_differ_and_scores_fall() -> None:
    trace = generate_trace(SMALL)
    assert trace.scores is not None
    assert (np.diff(np.sort(trace.experts, axis=1), axis=1) > 0).all()
    assert trace.experts.min() == 0
    assert trace.experts.max() == 8
    assert (np.diff(trace.scores, axis=1) <= 0).all()
    np.testing.assert_allclose(trace.scores.sum(axis=1), 1, rtol=1e-6)


def test_request_depends_on_seed_and_number_alone() -> None:
    many = generate_trace(SMALL, requests=6, prompt_tokens=5, output_tokens=20, seed=3)
    one = generate_trace(SMALL, requests=1, prompt_tokens=5, output_tokens=20, seed=3, first_request=4)
    shorter = generate_trace(SMALL, requests=5, prompt_tokens=8, output_tokens=2, seed=3)
    for whole, alone, part in zip(of_request(many, 4), of_request(one, 4), of_request(shorter, 4), strict=True):
        assert (whole == alone).all()
        assert (whole[: len(part)] == part).all()
    other_seed = generate_trace(SMALL, requests=6, prompt_tokens=5, output_tokens=20, seed=4)
    assert (many.experts != other_seed.experts).any()
    assert (of_request(many, 4)[0] != of_request(many, 3)[0]).any()


def test_prediction_changes_nothing_else() -> None:
    silent = generate_trace(SMALL, recall=None)
    assert silent.predicted is None
    assert (silent.experts == generate_trace(SMALL).experts).all()


@pytest.mark.parametrize("lag", [1, 2, 5])
@pytest.mark.parametrize(("prompt", "wandering", "rho"), [(0, 0, 0), (0, 1.2, 0.7), (0.8, 0, 0.5), (0.6, 0.9, 0.5)])
def test_choices_agree_as_the_law_says(prompt: float, wandering: float, rho: float, lag: int) -> None:
    law = pairs(sigma_prompt=prompt, sigma_ar=wandering, rho=rho)
    chosen = choices(law, requests=4000, tokens=lag + 1)
    correlation = (prompt**2 + wandering**2 * rho**lag) / (1 + prompt**2 + wandering**2)
    assert (chosen[:, 0] == chosen[:, lag]).mean() == pytest.approx(agreement(correlation), abs=0.025)


def test_state_begins_as_it_goes_on() -> None:
    law = RoutingLaw(num_layers=1, num_experts=2, top_k=1, sigma_ar=3.0, rho=0.9)
    latent = np.stack([latent_logits(law, 0, request, 30) for request in range(500)])
    assert latent[:, 0].std() == pytest.approx(3.0, rel=0.1)
    assert latent[:, -1].std() == pytest.approx(3.0, rel=0.1)


def test_layers_are_coupled_by_partners() -> None:
    law = pairs(sigma_prompt=0.6, sigma_ar=0.9, rho=0.5, coupling=0.8).model_copy(update={"num_layers": 40})
    chosen = choices(law, requests=300, tokens=20)
    assert sorted(np.unique(law.partner, axis=0).tolist()) == [[0, 1], [1, 0]]
    for distance, correlation in ((1, 0.8), (2, 0.8**2)):
        same = []
        for layer in range(distance, law.num_layers):
            before = chosen[..., layer]
            for step in range(distance):
                before = law.partner[layer - step][before]
            same.append((before == chosen[..., layer - distance]).mean())
        assert np.mean(same) == pytest.approx(agreement(correlation), abs=0.01)


def test_coupling_leaves_each_layer_as_it_was() -> None:
    settings = {"sigma_prompt": 0.8, "sigma_ar": 1.2, "rho": 0.5}
    law = pairs(**settings, coupling=0.9).model_copy(update={"num_layers": 3})
    chosen = choices(law, requests=4000, tokens=2)
    correlation = (0.64 + 1.44 * 0.5) / (1 + 0.64 + 1.44)
    assert (chosen[:, 0] == chosen[:, 1]).mean(axis=0) == pytest.approx(agreement(correlation), abs=0.025)
    first = generate_trace(law, requests=1).experts[::3]
    assert (first == generate_trace(law, requests=1, coupling=0.0).experts[::3]).all()


@pytest.mark.parametrize(
    ("model", "published"),
    [
        ("qwen3-30b-a3b", 0.541),
        ("phi-3.5-moe", 0.520),
        ("olmoe-1b-7b", 0.509),
        ("mixtral-8x7b", 0.494),
        ("deepseek-v2-lite", 0.379),
        ("deepseekmoe-16b", 0.369),
        ("qwen2-57b-a14b", 0.367),
        ("qwen1.5-moe", 0.307),
    ],
)
def test_locality_is_as_published(model: str, published: float) -> None:
    # Liang et al. 2025, arXiv:2505.16056, for segments of 16 tokens.
    trace = generate_trace(model, requests=10, prompt_tokens=128, output_tokens=0, seed=11)
    found = summarise_trace(trace, trace_statistics(trace))
    assert found["srp_pooled"] == pytest.approx(published, abs=0.02)
    if model == "deepseek-v2-lite":
        assert found["overlap"] == pytest.approx(0.263, abs=0.02)
    if model == "qwen3-30b-a3b":
        assert found["overlap"] == pytest.approx(0.427, abs=0.02)


def test_experts_of_a_layer_tell_those_of_the_next() -> None:
    # Learnt from 193,566 real tokens, the recall is 0.635.
    trace = generate_trace("deepseek-v2-lite", requests=32, prompt_tokens=256, output_tokens=0)
    assert np.nanmean(next_layer_recall(trace)[:, 0]) == pytest.approx(0.635, abs=0.05)


def test_topics_share_their_bias() -> None:
    law = pairs(sigma_prompt=2.0, topics=1, topic_share=0.4)
    other = pairs(sigma_prompt=2.0, topics=1_000_000, topic_share=0.4)
    # A topic is one number for two experts: many layers in its place.
    wide = {"num_layers": 2000}
    common = choices(law.model_copy(update=wide), requests=2, tokens=1)
    apart = choices(other.model_copy(update=wide), requests=2, tokens=1)
    assert (common[0] == common[1]).mean() == pytest.approx(agreement(0.4 * 4 / 5), abs=0.035)
    assert (apart[0] == apart[1]).mean() == pytest.approx(0.5, abs=0.035)
    alone = choices(law.model_copy(update={**wide, "topic_share": 0.0}), requests=2, tokens=1)
    assert (alone[0] == alone[1]).mean() == pytest.approx(0.5, abs=0.035)


def test_layers_at_the_ends_are_less_local() -> None:
    law = pairs(sigma_prompt=2.0, first_layer=0.0, last_layer=0.5, edge_layers=2.0).model_copy(
        update={"num_layers": 30}
    )
    middle = law.locality[10:20]
    assert law.locality[0] == pytest.approx(0, abs=1e-6)
    assert law.locality[-1] == pytest.approx(0.5, rel=1e-4)
    assert law.locality[2] == pytest.approx(1 - np.exp(-1), rel=1e-4)
    assert (middle > 0.99).all()
    chosen = choices(law, requests=3000, tokens=2)
    repeats = (chosen[:, 0] == chosen[:, 1]).mean(axis=0)
    for layer in (0, 15, 29):
        bias = (law.locality[layer] * 2) ** 2
        assert repeats[layer] == pytest.approx(agreement(bias / (1 + bias)), abs=0.03)


def test_one_layer_may_be_both_ends() -> None:
    assert pairs(first_layer=0.5, last_layer=0.5).locality == pytest.approx([0.25])


@pytest.mark.parametrize("ahead", [0, 1, 4])
def test_latent_state_gives_the_probability_of_a_choice(ahead: int) -> None:
    law = pairs(sigma_prompt=0.8, sigma_ar=1.5, rho=0.8)
    requests, tokens = 200, 60
    chosen = choices(law, requests, tokens, seed=5)[:, ahead:, 0]
    means = np.stack([latent_logits(law, 5, request, tokens - ahead, ahead=ahead)[:, 0] for request in range(requests)])
    difference = (means[..., 1] - means[..., 0]) / (np.sqrt(2) * latent_deviation(law, ahead=ahead)[0])
    probability = norm.cdf(difference)
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        bin_ = (probability >= low) & (probability < low + 0.2)
        assert (chosen[bin_] == 1).mean() == pytest.approx(probability[bin_].mean(), abs=0.04)


@pytest.mark.parametrize("discount", [0.0, 0.6])
def test_expected_uses_are_those_that_come(discount: float) -> None:
    law = RoutingLaw(num_layers=2, num_experts=64, top_k=6, sigma_prompt=0.6, sigma_ar=0.8, rho=0.7, first_layer=0.5)
    requests, tokens, ahead = 20, 100, 30
    trace = generate_trace(law, requests=requests, prompt_tokens=tokens, output_tokens=0, seed=3)
    experts = trace.experts.reshape(requests, tokens, 2, 6)
    used = (experts[..., None] == np.arange(64)).any(axis=3)
    weights = (1 - discount) * discount ** np.arange(ahead)
    share = sum(weights[i] * used[:, i + 1 : tokens - ahead + i + 1] for i in range(ahead))
    expected = np.stack([latent_uses(law, 3, request, tokens, discount=discount) for request in range(requests)])
    assert expected.dtype == np.float32
    expected = expected[:, : tokens - ahead]
    assert expected.sum(axis=3).mean() == pytest.approx(6, rel=0.05)
    for layer in range(2):
        for low in (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4):
            bin_ = (expected[:, :, layer] >= low) & (expected[:, :, layer] < low + 0.1)
            if bin_.sum() > 300:
                assert share[:, :, layer][bin_].mean() == pytest.approx(expected[:, :, layer][bin_].mean(), abs=0.05)


def test_expected_uses_of_some_layers() -> None:
    every = latent_uses(SMALL, 1, 2, 6)
    assert every.shape == (6, 4, 9)
    assert (latent_uses(SMALL, 1, 2, 6, layers=[3, 0]) == every[:, [3, 0]]).all()
    assert (latent_uses(SMALL, 1, 2, 4) == every[:4]).all()
    fresh = latent_uses(SMALL.model_copy(update={"sigma_prompt": 0.0, "sigma_ar": 0.0}), 1, 2, 6)
    assert fresh == pytest.approx(3 / 9)


@pytest.mark.parametrize("discount", [-0.1, 1.0, np.nan])
def test_discounts_are_below_1(discount: float) -> None:
    with pytest.raises(HetgymError, match=r"^latent_uses: discount must be at least 0 and below 1"):
        latent_uses(SMALL, 0, 0, 1, discount=discount)


def test_latent_logits_of_some_layers() -> None:
    law = SMALL.model_copy(update={"first_layer": 0.3})
    every = latent_logits(law, 1, 2, 6)
    assert every.dtype == np.float32
    assert every.shape == (6, 4, 9)
    assert (latent_logits(law, 1, 2, 6, layers=[3, 0]) == every[:, [3, 0]]).all()
    assert latent_deviation(law, layers=[3, 0], ahead=2).shape == (2,)


@pytest.mark.parametrize("recall", [0.4, 0.788, 0.95])
def test_recall_is_as_wanted(recall: float) -> None:
    law = routing_law("deepseek-v2-lite", recall=recall, recall_decay=0.5, prediction_distance=3)
    trace = generate_trace(law, requests=2, prompt_tokens=50)
    assert trace.predicted is not None
    layers = law.num_layers
    experts, predicted = trace.experts.reshape(-1, layers, 6), trace.predicted.reshape(-1, layers, 3, 6)
    for distance in (1, 2, 3):
        there = predicted[:, :-distance, distance - 1]
        found = (experts[:, distance:, :, None] == there[:, :, None, :]).any(axis=-1).mean()
        wanted = 6 / 64 + (recall - 6 / 64) * 0.5 ** (distance - 1)
        assert found == pytest.approx(wanted, abs=0.015)
        assert (predicted[:, -distance:, distance - 1] == -1).all()


def test_prediction_may_be_perfect_and_wider_than_the_choice() -> None:
    trace = generate_trace(SMALL, recall=1.0, prediction_width=5)
    assert trace.predicted is not None
    assert trace.predicted.shape[1:] == (1, 5)
    experts, predicted = trace.experts.reshape(-1, 4, 3), trace.predicted.reshape(-1, 4, 5)
    assert (predicted[:, :3, :3] == experts[:, 1:]).all()


def test_every_published_model_has_a_law() -> None:
    for name in list_moe_models():
        law, model = routing_law(name), load_moe_model(name)
        assert (law.num_layers, law.num_experts, law.top_k) == (model.moe_layers, model.experts, model.top_k)


def test_lengths_may_be_drawn() -> None:
    drawn = DrawnLength(mean=50, sigma=0.5, most=120)
    trace = generate_trace(pairs(), requests=3000, prompt_tokens=drawn, output_tokens=3)
    prompts = np.bincount(trace.request[trace.phase == PREFILL])
    assert prompts.mean() == pytest.approx(50, rel=0.04)
    assert prompts.max() == 120
    assert np.log(prompts[prompts < 120]).std() == pytest.approx(0.5, rel=0.15)
    assert (np.bincount(trace.request[trace.phase == DECODE]) == 3).all()
    part = generate_trace(pairs(), requests=10, prompt_tokens=drawn, output_tokens=3, first_request=40)
    assert (np.bincount(part.request[part.phase == PREFILL])[40:] == prompts[40:50]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "mixtral"}, "unknown mixture-of-experts model 'mixtral': choose one of deepseek-v2-lite, "),
        ({"requests": 0}, "generate_trace: requests: .* greater than or equal to 1 .given: 0"),
        ({"prompt_tokens": -1}, "prompt_tokens.* .given: -1"),
        ({"prompt_tokens": 0, "output_tokens": 0}, "both 0; a request needs a token"),
        ({"requests": 10**9}, "their trace would have 32,000,000,000 rows"),
        ({"requests": 1000, "prompt_tokens": 10**6}, "their trace would have 32,"),
        ({"seed": 2**70}, "seed: .*given: "),
        ({"rho": 1.5}, "law of routing: rho: .*given: 1.5"),
        ({"sigma_prompt": float("nan")}, "law of routing: sigma_prompt"),
        ({"recall": 0.1}, "recall: must be at least that of chance, k / E = 0.25 .given: 0.1"),
        ({"top_k": 9}, "top_k: must be at most num_experts, 8 .given: 9"),
        ({"prediction_width": 9}, "prediction_width: must be at most num_experts, 8"),
        ({"sigma": 1.0}, "law of routing: sigma: Extra inputs"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(HetgymError, match=message):
        generate_trace(**{"model": "mixtral-8x7b", **arguments})


def test_latent_state_of_what_there_is_not_is_refused() -> None:
    with pytest.raises(HetgymError, match=r"layers: must be among 0 \.\.\. 3 \(given: 4\)"):
        latent_logits(SMALL, 0, 0, 1, layers=[4])
    with pytest.raises(HetgymError, match=r"ahead must not be negative \(given: -1\)"):
        latent_deviation(SMALL, ahead=-1)
    with pytest.raises(HetgymError, match=r"tokens must not be negative \(given: -2\)"):
        latent_logits(SMALL, 0, 0, -2)
