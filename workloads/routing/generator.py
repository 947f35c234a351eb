"""Synthetic routing: traces with the locality of published models, every number a function of what it is for.

The logit of an expert for a token is a bias that its request keeps, plus a state that wanders from token to token, plus
fresh noise; a token uses the k experts of the largest logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ...compilation import inner, kernel
from ...errors import HetgymError, one_line, read_yaml
from ..counter_random import random_integer, random_normal, random_normals, random_stream, substream
from ..moe_models import load_moe_model
from ..task_graph import FloatArray, IntArray
from .requests import DrawnLength, requests_from
from .trace import RoutingTrace

_FITTED = Path(__file__).parent / "laws.yaml"
_BIAS, _TOPIC, _TOPIC_BIAS, _TOKENS, _PREDICTIONS, _CALIBRATION = range(200, 206)
_PARTNERS = 208
_CALIBRATION_LOGITS = 500_000
_RECALL_TOLERANCE = 1e-4
_LEAST_WEIGHT = 0.01
"""Tokens ahead that count less than this together are taken to be alike."""

Records = NDArray[Any]
_Deviation = Annotated[float, Field(ge=0, le=1_000, allow_inf_nan=False)]
_Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class RoutingLaw(BaseModel):
    """How a model's tokens choose their experts.

    In a layer of locality g, the logit of an expert for a request's token t is

        g sigma_prompt b + g sigma_ar a[t] + n[t],    a[t] = rho a[t - 1] + sqrt(1 - rho^2) z[t]

    where b (drawn once a request), a[0], z and n are standard normal and independent for each expert. The token uses
    the k experts of the largest logits; its scores are the softmax over these.

    Each expert of a layer has a partner in the layer before, the same for all seeds. Its b, a[0], z and n have the
    correlation ``coupling`` with the partner's. So what a token uses in one layer tells what it will use in the next,
    while each layer by itself is as it would be without.

    Attributes:
        model: What it imitates.
        num_layers: L, layers with experts.
        num_experts: E, experts in each layer.
        top_k: k, experts that a token uses in each layer.
        sigma_prompt: Standard deviation of the bias that a request keeps.
        sigma_ar: Standard deviation of the state that wanders.
        rho: What is left of that state at the next token.
        first_layer: Locality g of the first layer; that of the layers in the middle is 1.
        last_layer: Locality g of the last layer.
        edge_layers: Layers in which the distance to 1 falls to 1/e.
        coupling: Correlation with the partner in the layer before.
        topics: How many there are; each request has one.
        topic_share: Share of the bias's variance that the requests of a topic have in common.
        recall: Of the k experts that a token will use in the next layer, the share among the k that are predicted,
            on average; None: nothing is predicted.
        recall_decay: For each further layer ahead, what is left of the recall above that of chance.
        prediction_distance: D, layers ahead for which experts are predicted.
        prediction_width: m, experts predicted for each; None: k.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "synthetic"
    num_layers: Annotated[int, Field(ge=1, le=10_000)]
    num_experts: Annotated[int, Field(ge=1, le=32_767)]
    top_k: Annotated[int, Field(ge=1, le=256)]
    sigma_prompt: _Deviation = 0.0
    sigma_ar: _Deviation = 0.0
    rho: _Fraction = 0.0
    first_layer: _Fraction = 1.0
    last_layer: _Fraction = 1.0
    edge_layers: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    coupling: _Fraction = 0.0
    topics: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1
    topic_share: _Fraction = 0.0
    recall: _Fraction | None = None
    recall_decay: _Fraction = 0.9
    prediction_distance: Annotated[int, Field(ge=1, le=64)] = 1
    prediction_width: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> RoutingLaw:
        for field in ("top_k", "prediction_width"):
            if (getattr(self, field) or 1) > self.num_experts:
                raise ValueError(
                    f"{field}: must be at most num_experts, {self.num_experts} (given: {getattr(self, field)})"
                )
        if self.recall is not None and self.recall < self.chance:
            raise ValueError(
                f"recall: must be at least that of chance, k / E = {self.chance:.3g} (given: {self.recall})"
            )
        return self

    @property
    def chance(self) -> float:
        """The recall of a prediction that knows nothing."""
        return self.top_k / self.num_experts

    @property
    def locality(self) -> FloatArray:
        """The g of each layer, float64 (L,)."""
        layer = np.arange(self.num_layers)
        from_first = 1.0 - (1.0 - self.first_layer) * np.exp(-layer / self.edge_layers)
        from_last = 1.0 - (1.0 - self.last_layer) * np.exp(-layer[::-1] / self.edge_layers)
        product: FloatArray = from_first * from_last
        return product

    @property
    def prediction_noise(self) -> FloatArray:
        """Standard deviation of what is added to a layer's logits to predict them, float64 (L, D); (L, 0) where not."""
        if self.recall is None:
            return np.empty((self.num_layers, 0))
        deviation = np.sqrt(1.0 + self.locality**2 * (self.sigma_prompt**2 + self.sigma_ar**2))
        above = (self.recall - self.chance) * self.recall_decay ** np.arange(self.prediction_distance)
        noise = [relative_noise(self.num_experts, self.top_k, self.chance + float(each)) for each in above]
        return np.outer(deviation, noise)

    @property
    def numbers(self) -> Records:
        """What kernels read of it, (1,) of `LAW`."""
        numbers = np.zeros(1, LAW)
        for name in LAW.names or ():
            numbers[name] = getattr(self, name)
        return numbers

    @property
    def partner(self) -> IntArray:
        """The partner of each expert in the layer before, int64 (L, E); the first layer's row means nothing."""
        return _partners(self.num_layers, self.num_experts)


LAW = np.dtype(
    [
        ("sigma_prompt", np.float64),
        ("sigma_ar", np.float64),
        ("rho", np.float64),
        ("coupling", np.float64),
        ("topics", np.int64),
        ("topic_share", np.float64),
    ],
    align=True,
)
"""The numbers of `RoutingLaw`."""


@lru_cache(maxsize=32)
def _partners(num_layers: int, num_experts: int) -> IntArray:
    keys = np.empty(num_layers * num_experts)
    _fill_normals(_PARTNERS, keys)
    partners = np.argsort(keys.reshape(num_layers, num_experts), axis=1, kind="stable")
    partners.flags.writeable = False
    return partners


@cache
def _fitted() -> dict[str, dict[str, float]]:
    content: dict[str, dict[str, float]] = read_yaml(_FITTED, "file of routing laws")
    return content


def routing_law(model: str, **settings: Any) -> RoutingLaw:
    """Returns the fitted law of a published model.

    Args:
        model: A name from `list_moe_models`.
        settings: Attributes of `RoutingLaw` that are to differ.

    Raises:
        HetgymError: If there is no such model, or a setting is out of its range.
    """
    shape = load_moe_model(model)
    fitted = _fitted().get(shape.name)
    if fitted is None:
        raise HetgymError(f"model {shape.name!r} has no fitted law of routing: give a RoutingLaw")
    known = {"num_layers": shape.moe_layers, "num_experts": shape.experts, "top_k": shape.top_k}
    return _law({"model": shape.name, **known, **fitted, **settings})


def _law(settings: dict[str, Any]) -> RoutingLaw:
    try:
        return RoutingLaw.model_validate(settings)
    except ValidationError as error:
        raise one_line(error, "law of routing") from error


def generate_trace(
    model: str | RoutingLaw,
    requests: int = 8,
    prompt_tokens: int | DrawnLength = 64,
    output_tokens: int | DrawnLength = 128,
    seed: int = 0,
    first_request: int = 0,
    **settings: Any,
) -> RoutingTrace:
    """Returns the routing of some requests. That of a request depends on the seed, its number and the law alone.

    Args:
        model: A name from `list_moe_models`, or a law.
        requests: How many.
        prompt_tokens: Tokens of each prompt.
        output_tokens: Tokens that are decoded for each; all lie on one line with the prompt's, whose state goes on.
        seed: Of all chance.
        first_request: Number of the first.
        settings: Attributes of `RoutingLaw` that are to differ.

    Raises:
        HetgymError: If an argument is out of its range, a request has no tokens, or the trace would have too many rows.
    """
    law = routing_law(model, **settings) if isinstance(model, str) else _law({**model.model_dump(), **settings})
    given = requests_from(
        "generate_trace",
        requests=requests,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        seed=seed,
        first_request=first_request,
    )
    num_layers, top_k, noise = law.num_layers, law.top_k, law.prediction_noise
    prompts, outputs = given.lengths(num_layers)
    rows = int((prompts + outputs).sum()) * num_layers
    width = (law.prediction_width or top_k) if noise.size else 0
    experts = np.empty((rows, top_k), np.int16)
    scores = np.empty((rows, top_k), np.float32)
    predicted = np.full((rows, noise.shape[1], width), -1, np.int16)
    shared = (law.numbers, law.locality, law.partner)
    room = _Room.empty(num_layers, law.num_experts)
    end = 0
    for request, tokens in zip(given.numbers, prompts + outputs, strict=True):
        begin, end = end, end + tokens * num_layers
        _draw_request(
            given.seed, request, *shared, noise, room,
            experts[begin:end].reshape(tokens, num_layers, top_k),
            scores[begin:end].reshape(tokens, num_layers, top_k),
            predicted[begin:end].reshape(tokens, num_layers, *predicted.shape[1:]),
        )  # fmt: skip
    return RoutingTrace(
        model=law.model,
        num_layers=num_layers,
        num_experts=law.num_experts,
        top_k=top_k,
        **given.columns(prompts, outputs, num_layers),
        experts=experts,
        scores=scores,
        predicted=predicted if width else None,
    )


def latent_logits(
    law: RoutingLaw, seed: int, request: int, tokens: int, layers: Sequence[int] | None = None, ahead: int = 0
) -> NDArray[np.float32]:
    """Returns what an oracle expects of the logits that sees bias and state, but neither fresh noise nor the future.

    Entry (t, i, e) is the mean of expert e's logit in layer ``layers[i]`` for token t + ``ahead``, given bias and state
    at token t: g (sigma_prompt b + rho^ahead sigma_ar a[t]). The logit is normal with this mean and the deviation
    that `latent_deviation` gives.

    Args:
        law: The trace's.
        seed: The trace's.
        request: Its number.
        tokens: Entries are for tokens 0 ... ``tokens`` - 1, those of the prompt first.
        layers: Which layers; all by default.
        ahead: Tokens ahead.

    Returns:
        float32 (tokens, layers, E).

    Raises:
        HetgymError: If there is no such layer, or a number is negative.
    """
    chosen = _chosen_layers(law, layers)
    for name, value in (("request", request), ("tokens", tokens), ("ahead", ahead)):
        if value < 0:
            raise HetgymError(f"latent_logits: {name} must not be negative (given: {value})")
    means = np.empty((tokens, len(chosen), law.num_experts), np.float32)
    room = _Room.empty(law.num_layers, law.num_experts)
    _draw_latent(seed, request, law.numbers, law.locality, law.partner, law.rho**ahead, chosen, room, means)
    return means


def latent_deviation(law: RoutingLaw, layers: Sequence[int] | None = None, ahead: int = 0) -> FloatArray:
    """Returns the standard deviation of logits around `latent_logits`, float64 (layers,).

    Args:
        law: The trace's.
        layers: Which layers; all by default.
        ahead: Tokens ahead.

    Raises:
        HetgymError: If there is no such layer, or `ahead` is negative.
    """
    if ahead < 0:
        raise HetgymError(f"latent_deviation: ahead must not be negative (given: {ahead})")
    wandering = law.locality[_chosen_layers(law, layers)] ** 2 * law.sigma_ar**2 * (1.0 - law.rho ** (2 * ahead))
    deviation: FloatArray = np.sqrt(1.0 + wandering)
    return deviation


def latent_uses(
    law: RoutingLaw,
    seed: int,
    request: int,
    tokens: int,
    layers: Sequence[int] | None = None,
    discount: float = 0.7,
) -> NDArray[np.float32]:
    """Returns what share of the tokens to come is expected to use each expert, given bias and state at a token.

    A token that is i ahead counts (1 - discount) discount^(i - 1). It is taken to use the experts whose logits, as
    `latent_logits` and `latent_deviation` describe them, are above what k of E exceed on average. (The k-th largest
    logit of a token is nearly constant where E is large.)

    To evict what is least expected closes, of the way from LFRU to Belady's hits, with a discount of 0: 29% on
    DeepSeek-V2-Lite (16 of 64 experts of each layer held) and 37% on Qwen3-30B-A3B (32 of 128); 0.5: 34% and 43%; 0.7:
    33% and 47%; 0.8: 31% and 48%; 0.9: 24% and 46%. (36 drawn episodes; the default has the largest mean.)

    Args:
        law: The trace's.
        seed: The trace's.
        request: Its number.
        tokens: Entries are for tokens 0 ... ``tokens`` - 1, those of the prompt first.
        layers: Which layers; all by default.
        discount: From 0, for the next token alone, to below 1.

    Returns:
        float32 (tokens, layers, E).

    Raises:
        HetgymError: If there is no such layer, or a number is out of its range.
    """
    from scipy.special import ndtr, ndtri

    if not 0 <= discount < 1:
        raise HetgymError(f"latent_uses: discount must be at least 0 and below 1 (given: {discount})")
    state = latent_logits(law, seed, request, tokens, layers)
    bias = np.empty_like(state)
    chosen, room = _chosen_layers(law, layers), _Room.empty(law.num_layers, law.num_experts)
    _draw_latent(seed, request, law.numbers, law.locality, law.partner, 0.0, chosen, room, bias)
    state -= bias
    deviation = np.sqrt(1.0 + law.locality[chosen] ** 2 * (law.sigma_prompt**2 + law.sigma_ar**2))
    bias -= (deviation * ndtri(1.0 - law.chance))[:, None].astype(np.float32)
    expected, weight_left, ahead = np.zeros_like(state), 1.0, 1
    while weight_left > 0.0:
        weight = (1.0 - discount) * weight_left if weight_left > _LEAST_WEIGHT else weight_left
        above = (bias + np.float32(law.rho**ahead) * state) / latent_deviation(law, layers, ahead)[:, None]
        expected += np.float32(weight) * ndtr(above.astype(np.float32))
        weight_left -= weight
        ahead += 1
    return expected


def _chosen_layers(law: RoutingLaw, layers: Sequence[int] | None) -> IntArray:
    chosen = np.array(range(law.num_layers) if layers is None else layers, np.int64)
    for layer in chosen:
        if not 0 <= layer < law.num_layers:
            raise HetgymError(f"layers: must be among 0 ... {law.num_layers - 1} (given: {layer})")
    return chosen


@lru_cache(maxsize=256)
def relative_noise(num_experts: int, top_k: int, recall: float) -> float:
    """Returns how noisy predicted logits have to be for a recall: noise over the standard deviation of the logits.

    The logits of a layer are independent normal numbers of one deviation (bias, state and fresh noise in one), whatever
    the law, so that the recall depends on E, k and this ratio alone. It falls as the ratio rises; the ratio is found
    by bisection on some thousand drawn tokens.

    Args:
        num_experts: E.
        top_k: k.
        recall: Wanted, above k / E; at k / E and below, the ratio is the greatest that is tried.
    """
    samples = max(_CALIBRATION_LOGITS // num_experts, 100)
    normals = np.empty(2 * samples * num_experts)
    _fill_normals(_CALIBRATION, normals)
    logits, noise = normals.reshape(2, samples, num_experts)
    used = _is_among_largest(logits, top_k)
    low, high = 0.0, 1.0e3
    if recall >= 1.0:
        return low
    for _ in range(60):
        middle = 0.5 * (low + high)
        found = float((used & _is_among_largest(logits + middle * noise, top_k)).sum()) / (samples * top_k)
        if abs(found - recall) < _RECALL_TOLERANCE:
            return middle
        low, high = (middle, high) if found > recall else (low, middle)
    return high


def _is_among_largest(logits: FloatArray, count: int) -> NDArray[np.bool_]:
    smallest = np.partition(logits, -count, axis=1)[:, -count]
    among: NDArray[np.bool_] = logits >= smallest[:, None]
    return among


@kernel
def _fill_normals(purpose: int, out: FloatArray) -> None:
    stream = random_stream(0, 0, purpose)
    for i in range(out.size):
        out[i] = random_normal(stream, 2 * i)


class _Room(NamedTuple):
    """Where kernels work. Of what is passed on from layer to layer, the two rows are for even and odd layers."""

    bias: FloatArray  # (L, E), what the request keeps
    state: FloatArray  # (L, E), what wanders
    steps: FloatArray  # (2, E), z
    noise: FloatArray  # (2, E), n
    logits: FloatArray  # (E,)
    guesses: FloatArray  # (E,), predicted logits
    values: FloatArray  # (E,), the largest logits

    @classmethod
    def empty(cls, num_layers: int, num_experts: int) -> _Room:
        of_layers, of_two = (num_layers, num_experts), (2, num_experts)
        shapes = (of_layers, of_layers, of_two, of_two, num_experts, num_experts, num_experts)
        return cls(*(np.empty(shape) for shape in shapes))


@inner
def _couple(coupling: float, partner: IntArray, before: FloatArray, own: FloatArray) -> None:
    """Mixes normal numbers of experts, (E,), with those of their partners in the layer before."""
    rest = np.sqrt(1.0 - coupling * coupling)
    for expert in range(own.size):
        own[expert] = coupling * before[partner[expert]] + rest * own[expert]


@inner
def _draw_bias(seed: int, request: int, law: Records, partner: IntArray, bias: FloatArray) -> None:
    """Writes b, (L, E)."""
    topic = random_integer(random_stream(seed, request, _TOPIC), 0, law[0].topics)
    share = law[0].topic_share
    for layer in range(bias.shape[0]):
        own = substream(random_stream(seed, request, _BIAS), layer)
        common = substream(random_stream(seed, topic, _TOPIC_BIAS), layer)
        for expert in range(bias.shape[1]):
            bias[layer, expert] = np.sqrt(1.0 - share) * random_normal(own, 2 * expert)
            if share > 0.0:
                bias[layer, expert] += np.sqrt(share) * random_normal(common, 2 * expert)
        if layer > 0 and law[0].coupling > 0.0:
            _couple(law[0].coupling, partner[layer], bias[layer - 1], bias[layer])


@inner
def _advance(stream: np.uint64, token: int, layer: int, law: Records, partner: IntArray, room: _Room) -> None:
    """Brings the state of a layer's experts from the token before to this one, and draws its fresh noise."""
    steps, noise, state = room.steps[layer % 2], room.noise[layer % 2], room.state[layer]
    for expert in range(state.size):
        steps[expert], noise[expert] = random_normals(stream, 2 * (token * state.size + expert))
    if layer > 0 and law[0].coupling > 0.0:
        _couple(law[0].coupling, partner[layer], room.steps[(layer - 1) % 2], steps)
        _couple(law[0].coupling, partner[layer], room.noise[(layer - 1) % 2], noise)
    kept = law[0].rho if token > 0 else 0.0
    fresh = np.sqrt(1.0 - kept * kept)
    for expert in range(state.size):
        before = kept * state[expert] if token > 0 else 0.0
        state[expert] = before + fresh * steps[expert]


@inner
def _take_largest(logits: FloatArray, values: FloatArray, experts: NDArray[np.int16]) -> None:
    """Writes the experts of the largest logits in descending order, ties by index, and these logits."""
    filled = 0
    for expert in range(logits.size):
        logit = logits[expert]
        if filled < experts.size:
            position = filled
            filled += 1
        elif logit > values[filled - 1]:
            position = filled - 1
        else:
            continue
        while position > 0 and logit > values[position - 1]:
            values[position] = values[position - 1]
            experts[position] = experts[position - 1]
            position -= 1
        values[position] = logit
        experts[position] = expert


@inner
def _softmax(logits: FloatArray, scores: NDArray[np.float32]) -> None:
    """Writes the scores of descending logits."""
    total = 0.0
    for i in range(scores.size):
        total += np.exp(logits[i] - logits[0])
    for i in range(scores.size):
        scores[i] = np.exp(logits[i] - logits[0]) / total


@kernel
def _draw_request(
    seed: int,
    request: int,
    law: Records,
    locality: FloatArray,
    partner: IntArray,
    prediction_noise: FloatArray,
    room: _Room,
    experts: NDArray[np.int16],
    scores: NDArray[np.float32],
    predicted: NDArray[np.int16],
) -> None:
    """Writes a request's routing.

    Args:
        seed: Of all chance.
        request: Its number.
        law: (1,) of `LAW`.
        locality: (L,).
        partner: (L, E).
        prediction_noise: (L, D).
        room: To work in.
        experts: (T, L, k); a result, as the next two.
        scores: (T, L, k).
        predicted: (T, L, D, m), where entries stay as they are for layers that there are not.
    """
    _draw_bias(seed, request, law, partner, room.bias)
    logits, guesses = room.logits, room.guesses
    tokens = random_stream(seed, request, _TOKENS)
    doubts = random_stream(seed, request, _PREDICTIONS)
    even = logits.size + logits.size % 2
    for token in range(experts.shape[0]):
        for layer in range(locality.size):
            _advance(substream(tokens, layer), token, layer, law, partner, room)
            kept, wandering = locality[layer] * law[0].sigma_prompt, locality[layer] * law[0].sigma_ar
            for expert in range(logits.size):
                latent = kept * room.bias[layer, expert] + wandering * room.state[layer, expert]
                logits[expert] = latent + room.noise[layer % 2, expert]
            _take_largest(logits, room.values, experts[token, layer])
            _softmax(room.values, scores[token, layer])
            for distance in range(1, min(prediction_noise.shape[1], layer) + 1):
                doubt = substream(substream(doubts, layer), distance)
                deviation = prediction_noise[layer, distance - 1]
                for expert in range(0, logits.size, 2):
                    one, other = random_normals(doubt, token * even + expert)
                    guesses[expert] = logits[expert] + deviation * one
                    if expert + 1 < logits.size:
                        guesses[expert + 1] = logits[expert + 1] + deviation * other
                _take_largest(guesses, room.values, predicted[token, layer - distance, distance - 1])


@kernel
def _draw_latent(
    seed: int,
    request: int,
    law: Records,
    locality: FloatArray,
    partner: IntArray,
    left: float,
    layers: IntArray,
    room: _Room,
    means: NDArray[np.float32],
) -> None:
    """Writes bias plus so much of the state as is left, (T, layers, E); the arguments are as in `_draw_request`."""
    _draw_bias(seed, request, law, partner, room.bias)
    tokens = random_stream(seed, request, _TOKENS)
    for token in range(means.shape[0]):
        for layer in range(locality.size):
            _advance(substream(tokens, layer), token, layer, law, partner, room)
        for i in range(layers.size):
            layer = layers[i]
            kept, wandering = locality[layer] * law[0].sigma_prompt, locality[layer] * law[0].sigma_ar * left
            for expert in range(means.shape[2]):
                latent = kept * room.bias[layer, expert] + wandering * room.state[layer, expert]
                means[token, i, expert] = latent
