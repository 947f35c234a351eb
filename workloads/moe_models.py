"""Mixture-of-experts models: their published shapes, and what it costs to serve them on a platform."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import one_line, read_yaml, unknown_name
from ..hardware_models import Device, Platform, memory_hierarchy, operation_time
from .serving import (
    ACTIVATION_BYTES,
    item_seconds,
    memory_costs,
    quality_prices,
    sixteen_bits,
    two_precisions,
    weight_bytes,
)
from .task_graph import FloatArray

_PUBLISHED = Path(__file__).parent / "moe-models.yaml"

_Size = Annotated[int, Field(ge=1, le=10_000_000)]
_Count = Annotated[int, Field(ge=0, le=10_000_000)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Attention(_Frozen):
    """The shape of a model's attention: grouped queries, or a latent (multi-head latent attention).

    Attributes:
        heads: Query heads.
        head_size: Numbers of a head's keys and values; with a latent, less the part that is rotated.
        kv_heads: Key and value heads; None with a latent.
        kv_latent: Numbers of the latent from which keys and values are made, which is all that is kept of a token
            besides the rotated part.
        query_latent: Numbers of the latent from which queries are made; None: they are made directly.
        rope_size: Further numbers of a head's queries, and of the one key that all heads share, which are rotated.
    """

    heads: _Size
    head_size: _Size
    kv_heads: _Size | None = None
    kv_latent: _Size | None = None
    query_latent: _Size | None = None
    rope_size: _Count = 0

    @model_validator(mode="after")
    def _one_kind(self) -> Attention:
        if (self.kv_heads is None) == (self.kv_latent is None):
            raise ValueError("give either kv_heads or kv_latent")
        if self.kv_latent is None and (self.query_latent is not None or self.rope_size):
            raise ValueError("query_latent and rope_size go with kv_latent")
        return self


class MoEModel(_Frozen):
    """A decoder whose feed-forward networks are experts, each of three matrices of ``hidden`` x ``intermediate``.

    Attributes:
        name: Lower-case with hyphens.
        source: Where the numbers come from.
        parameters: The published total, in billions; None where there is none.
        layers: All of them.
        dense_layers: The first of them, which have a plain feed-forward network in the place of experts.
        dense_intermediate: Inner width of that network.
        experts: E, routed experts in each of the other layers.
        top_k: k, routed experts that a token uses in each.
        hidden: Width of a token.
        intermediate: Inner width of a routed expert.
        shared_experts: Experts in each layer that every token uses.
        shared_intermediate: Inner width of each of these.
        attention: Its shape.
        vocabulary: Tokens that there are.
    """

    name: Annotated[str, Field(min_length=1)]
    source: str = ""
    parameters: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    layers: Annotated[int, Field(ge=1, le=10_000)]
    dense_layers: _Count = 0
    dense_intermediate: _Count = 0
    experts: Annotated[int, Field(ge=1, le=32_767)]
    top_k: Annotated[int, Field(ge=1, le=256)]
    hidden: _Size
    intermediate: _Size
    shared_experts: _Count = 0
    shared_intermediate: _Count = 0
    attention: Attention
    vocabulary: _Size

    @model_validator(mode="after")
    def _consistent(self) -> MoEModel:
        if self.top_k > self.experts:
            raise ValueError(f"top_k: must be at most experts, {self.experts} (given: {self.top_k})")
        if self.dense_layers >= self.layers:
            raise ValueError(f"dense_layers: must be fewer than layers, {self.layers} (given: {self.dense_layers})")
        for count, width in (("dense_layers", "dense_intermediate"), ("shared_experts", "shared_intermediate")):
            if (getattr(self, count) == 0) != (getattr(self, width) == 0):
                raise ValueError(f"{count} and {width}: either both are 0 or neither")
        return self

    @property
    def moe_layers(self) -> int:
        """L, layers with experts."""
        return self.layers - self.dense_layers

    @property
    def expert_parameters(self) -> int:
        """Of one routed expert: 3 h i."""
        return 3 * self.hidden * self.intermediate

    @property
    def attention_parameters(self) -> int:
        """Of a layer's attention, without norms and biases, which count nowhere here."""
        shape, hidden = self.attention, self.hidden
        output = shape.heads * shape.head_size * hidden
        if shape.kv_heads is not None:
            return (shape.heads + 2 * shape.kv_heads) * shape.head_size * hidden + output
        queries = shape.heads * (shape.head_size + shape.rope_size)
        width = shape.query_latent or 0
        query = hidden * width + width * queries if width else hidden * queries
        latent = shape.kv_latent or 0
        return query + hidden * (latent + shape.rope_size) + 2 * latent * shape.heads * shape.head_size + output

    @property
    def router_parameters(self) -> int:
        """Of a layer's router: h E."""
        return self.hidden * self.experts

    @property
    def shared_parameters(self) -> int:
        """Of a layer's shared experts."""
        return 3 * self.hidden * self.shared_intermediate * self.shared_experts

    @property
    def dense_ffn_parameters(self) -> int:
        """Of the feed-forward network of a layer without experts."""
        return 3 * self.hidden * self.dense_intermediate

    @property
    def output_parameters(self) -> int:
        """Of the output layer, and as many again of the embedding."""
        return self.vocabulary * self.hidden

    @property
    def dense_parameters(self) -> int:
        """Of everything that is not a routed expert."""
        return (
            self.layers * self.attention_parameters
            + self.moe_layers * (self.router_parameters + self.shared_parameters)
            + self.dense_layers * self.dense_ffn_parameters
            + 2 * self.output_parameters
        )

    @property
    def total_parameters(self) -> int:
        """Of the whole model."""
        return self.dense_parameters + self.moe_layers * self.experts * self.expert_parameters

    @property
    def active_parameters(self) -> int:
        """That a token uses, the embedding's included."""
        return self.dense_parameters + self.moe_layers * self.top_k * self.expert_parameters

    @property
    def kept_numbers(self) -> int:
        """Numbers that a layer's attention keeps of a token: keys and values, or the latent and the rotated part."""
        shape = self.attention
        if shape.kv_heads is not None:
            return 2 * shape.kv_heads * shape.head_size
        return (shape.kv_latent or 0) + shape.rope_size

    @property
    def pair_flop(self) -> int:
        """FLOP of a layer's attention for a token and a position that it looks at: two products.

        With a latent the heads work on what is kept, as the matrices that would expand it are applied to the token's
        queries and result instead (DeepSeek-AI 2024, arXiv:2405.04434, section 2.1.2).
        """
        shape = self.attention
        if shape.kv_heads is not None:
            return 4 * shape.heads * shape.head_size
        latent = shape.kv_latent or 0
        return 2 * shape.heads * (2 * latent + shape.rope_size)

    def expert_bytes(self, precision: str = "fp16", scale_group: int | None = None) -> float:
        """Returns the bytes of one routed expert.

        Args:
            precision: A key of `hetgym.workloads.serving.PARAMETER_BYTES`.
            scale_group: So many weights share a scale of 2 bytes; None: scales are not counted.

        Raises:
            HetgymError: If there is no such precision, or the group is not positive.
        """
        return self.expert_parameters * weight_bytes(precision, scale_group)


@cache
def _published() -> dict[str, dict[str, Any]]:
    content: dict[str, dict[str, Any]] = read_yaml(_PUBLISHED, "file of models")
    return content


def list_moe_models() -> list[str]:
    """Returns the names of the published models."""
    return sorted(_published())


def load_moe_model(name_or_path: str | Path) -> MoEModel:
    """Returns a published model by its name, or a model from a YAML file.

    Args:
        name_or_path: A name from `list_moe_models`, or a path that ends in ``.yaml`` or ``.yml``.

    Raises:
        HetgymError: If there is no such model or file, or the file does not describe a model.
    """
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"}:
        content = read_yaml(path, "model")
    elif str(name_or_path) in _published():
        content = {"name": str(name_or_path), **_published()[str(name_or_path)]}
    else:
        raise unknown_name(
            "mixture-of-experts model", str(name_or_path), [*list_moe_models(), "a path to a .yaml file"]
        )
    try:
        return MoEModel.model_validate(content)
    except ValidationError as error:
        raise one_line(error, str(path)) from error


@dataclass(frozen=True)
class ServingCosts:
    """What a model's experts and the rest of it cost on a platform.

    An expert with n tokens takes ``max(floor, n * slope)`` on the accelerator; the floor is the reading of its weights.

    Attributes:
        model: Which.
        device: The accelerator.
        precision: At which it computes.
        high_bytes: Bytes of an expert at high precision.
        low_bytes: Bytes of an expert at low precision.
        device_floor_high: Least time of an expert of high precision on the accelerator, s.
        device_floor_low: Least time of an expert of low precision on the accelerator, s.
        device_slope: Its time per token where there are many, s.
        cpu_floor: Least time of an expert of high precision on the processor, s; inf where there is none.
        cpu_slope: Its time per token there where there are many, s; inf where there is none.
        link_bandwidth: From the slow memory to the fast one, byte/s.
        link_latency: Of a load from there, s.
        ssd_bandwidth: From storage to the slow memory, byte/s; inf where there is no storage.
        ssd_latency: Of a load from there, s; 0 where there is no storage.
        device_memory: Bytes of the fast memory.
        dense_bytes: Bytes of the weights that always stay in it: all but the routed experts, at 16 bits.
        low_price: Lost quality where a token's expert of score 1 is computed at low precision.
        skip_price: Lost quality where it is left out.
    """

    model: MoEModel
    device: Device
    precision: str
    high_bytes: float
    low_bytes: float
    device_floor_high: float
    device_floor_low: float
    device_slope: float
    cpu_floor: float
    cpu_slope: float
    link_bandwidth: float
    link_latency: float
    ssd_bandwidth: float
    ssd_latency: float
    device_memory: float
    dense_bytes: float
    low_price: float
    skip_price: float

    def dense_seconds(self, tokens: ArrayLike, context: ArrayLike, pairs: ArrayLike | None = None) -> FloatArray:
        """Returns the time of what is not a routed expert in a layer of a step, s, float64, of the arguments' shape.

        That is attention, router and shared experts of a layer with experts, and an equal share, 1 / L, of all that a
        step does besides: the layers without experts, and the output layer, which a request's last token alone
        passes, so that it takes the reading of its weights.

        Args:
            tokens: That the step processes.
            context: Positions whose keys and values are read, over all requests.
            pairs: A token with a position that it looks at, how many; by default ``context``, which is right where
                each request has one token in the step. A prompt of n tokens has n (n + 1) / 2.

        Raises:
            HetgymError: If a number is negative.
        """
        model = self.model
        tokens, context = np.asarray(tokens, np.float64), np.asarray(context, np.float64)
        looks = context if pairs is None else np.asarray(pairs, np.float64)
        layers_each = model.layers / model.moe_layers
        with_experts = self._products(
            model.attention_parameters + model.router_parameters + model.shared_parameters, tokens
        )
        without = self._products(model.attention_parameters + model.dense_ffn_parameters, tokens)
        attention = operation_time(
            self.device, "attention", self.precision, model.pair_flop * looks,
            ACTIVATION_BYTES * model.kept_numbers * context,
        )  # fmt: skip
        output = self._products(model.output_parameters, np.zeros_like(tokens))
        rest = model.dense_layers * without + output
        return with_experts + layers_each * attention + rest / model.moe_layers

    def _products(self, parameters: int, tokens: FloatArray) -> FloatArray:
        """Returns the time of products of tokens with weights at 16 bits, s."""
        num_bytes = np.full_like(tokens, ACTIVATION_BYTES * parameters)
        return operation_time(self.device, "matmul", self.precision, 2.0 * parameters * tokens, num_bytes)


def serving_costs(
    model: MoEModel,
    platform: Platform,
    high: str = "fp16",
    low: str = "int4",
    *,
    scale_group: int | None = None,
    low_price: float | None = None,
    skip_price: float = 1.0,
) -> ServingCosts:
    """Returns what a model costs on a platform, by the roofline model.

    `memory_hierarchy` says which device, memories and links serve it, and `item_seconds` how they compute.

    Prices are in units of the environment's reward: the ideal time of a token's pass. There is no measured exchange
    rate between lost quality and lost time, so the defaults are a convention: that leaving out an expert of score 1
    weighs as much as the time of one token, and that low precision costs that in proportion to the relative error of
    the expert's weights (`WEIGHT_ERROR`), which is 1 where it is left out.

    Args:
        model: Which.
        platform: Where.
        high: Precision of experts: a key of `hetgym.workloads.serving.PARAMETER_BYTES`.
        low: The other precision at which they may be loaded.
        scale_group: As in `MoEModel.expert_bytes`, for integer weights.
        low_price: As in `ServingCosts`; by default as said above.
        skip_price: As in `ServingCosts`.

    Raises:
        HetgymError: If there is no such precision, ``low`` takes more bytes than ``high``, a price is negative, or the
            platform cannot serve a model.
    """
    high_each, low_each = two_precisions(high, low, scale_group)
    low_price, skip_price = quality_prices(high, low, low_price, skip_price)
    parts, count = memory_hierarchy(platform), model.expert_parameters
    seconds = item_seconds(parts, 2.0 * count, high_each * count, low_each * count)
    return ServingCosts(
        model=model,
        device=parts.accelerator,
        precision=sixteen_bits(parts.accelerator),
        high_bytes=high_each * count,
        low_bytes=low_each * count,
        device_floor_high=float(seconds["device_floor_high"][0]),
        device_floor_low=float(seconds["device_floor_low"][0]),
        device_slope=float(seconds["device_slope"][0]),
        cpu_floor=float(seconds["cpu_floor"][0]),
        cpu_slope=float(seconds["cpu_slope"][0]),
        **memory_costs(parts),
        dense_bytes=ACTIVATION_BYTES * model.dense_parameters,
        low_price=low_price,
        skip_price=skip_price,
    )
