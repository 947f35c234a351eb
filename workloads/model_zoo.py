"""Caches of things other than experts of one model: whole models, and adapters of one model, each request using one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..compilation import kernel
from ..hardware_models import Device, Platform, memory_hierarchy, operation_time
from .counter_random import random_stream, random_uniform
from .routing.requests import Length, requests_from
from .routing.trace import RoutingTrace
from .serving import ACTIVATION_BYTES, item_seconds, memory_costs, quality_prices, sixteen_bits, two_precisions
from .task_graph import FloatArray, IntArray

_RUN, _CHOICE, _RANKING, _SIZES = range(210, 214)

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1, le=1_000_000)]
_Shares = Annotated[tuple[_Positive, ...], Field(min_length=1)]


@dataclass(frozen=True, eq=False)
class ItemCosts:
    """What items of unlike sizes cost on a platform: as `hetgym.workloads.moe_models.ServingCosts`, item by item.

    An item with n tokens takes ``max(floor, n * slope)``; the floor is the reading of its weights.

    Attributes:
        high_bytes: Bytes of each item at high precision, float64 (N,).
        low_bytes: Bytes of each item at low precision, float64 (N,).
        device_floor_high: Least time on the accelerator at high precision, s, float64 (N,).
        device_floor_low: Least time on the accelerator at low precision, s, float64 (N,).
        device_slope: Time per token on the accelerator where there are many, s, float64 (N,).
        cpu_floor: Least time on the processor at high precision, s, float64 (N,); inf where there is none.
        cpu_slope: Time per token there where there are many, s, float64 (N,); inf where there is none.
        link_bandwidth: From the slow memory to the fast one, byte/s.
        link_latency: Of a load from there, s.
        ssd_bandwidth: From storage to the slow memory, byte/s; inf where there is no storage.
        ssd_latency: Of a load from there, s; 0 where there is no storage.
        device_memory: Bytes of the fast memory.
        dense_bytes: Bytes of the weights that always stay in it.
        low_price: Lost quality where an item is computed at low precision.
        skip_price: Lost quality where it is left out.
        base: What every step computes besides, if anything.
        device: The accelerator.
    """

    high_bytes: FloatArray
    low_bytes: FloatArray
    device_floor_high: FloatArray
    device_floor_low: FloatArray
    device_slope: FloatArray
    cpu_floor: FloatArray
    cpu_slope: FloatArray
    link_bandwidth: float
    link_latency: float
    ssd_bandwidth: float
    ssd_latency: float
    device_memory: float
    dense_bytes: float
    low_price: float
    skip_price: float
    base: BaseModelShape | None
    device: Device

    def dense_seconds(self, tokens: ArrayLike, context: ArrayLike, pairs: ArrayLike | None = None) -> FloatArray:
        """Returns the time of what every step computes besides its items, s, float64, of the arguments' shape.

        Args:
            tokens: That the step processes.
            context: Positions whose keys and values are read, over all requests.
            pairs: A token with a position that it looks at, how many; by default ``context``.
        """
        tokens, context = np.asarray(tokens, np.float64), np.asarray(context, np.float64)
        looks = context if pairs is None else np.asarray(pairs, np.float64)
        if self.base is None:
            return np.zeros(np.broadcast_shapes(tokens.shape, context.shape))
        precision, base = sixteen_bits(self.device), self.base
        products = operation_time(
            self.device, "matmul", precision, 2.0 * base.parameters * tokens,
            np.full_like(tokens, ACTIVATION_BYTES * base.parameters),
        )  # fmt: skip
        attention = operation_time(
            self.device, "attention", precision, 4.0 * base.layers * base.hidden * looks,
            2.0 * ACTIVATION_BYTES * base.layers * base.hidden * context,
        )  # fmt: skip
        return products + attention


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BaseModelShape(_Frozen):
    """A model without experts, to which adapters are added. The default is Llama-7B (arXiv:2302.13971).

    Attributes:
        parameters: In all.
        layers: How many.
        hidden: Width of a token, of keys and of values.
    """

    parameters: _Positive = 6.74e9
    layers: _Count = 32
    hidden: _Count = 4096


class ItemRequests(_Frozen, ABC):
    """Requests each of which uses one item, as a source of routing: one layer, whose tokens use one "expert".

    Which item a request uses is a function of the seed and its number. With probability 1 - 1 / ``mean_run`` it is that
    of the request before; else it is drawn, the share of the item of rank i in proportion to 1 / i^``popularity``.
    Ranks have nothing to do with sizes.

    Attributes:
        items: N, how many there are.
        requests: In an episode.
        prompt_tokens: Of each request.
        output_tokens: Of each request.
        popularity: Exponent of the power law; 0: all items are equally popular.
        mean_run: Successive requests that stay with an item, on average.
    """

    varies: ClassVar[bool] = True

    items: Annotated[int, Field(ge=1, le=32_767)]
    requests: _Count = 64
    prompt_tokens: Length = 256
    output_tokens: Length = 20
    popularity: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 1.0
    mean_run: Annotated[float, Field(ge=1, le=10_000, allow_inf_nan=False)] = 1.0

    @property
    @abstractmethod
    def model(self) -> str:
        """What the trace is called after."""

    @property
    @abstractmethod
    def item_parameters(self) -> FloatArray:
        """Weights of each item on one device, float64 (N,)."""

    @property
    def base(self) -> BaseModelShape | None:
        """The model that every step computes besides, if any."""
        return None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Layers, items, and items that a token uses."""
        return 1, self.items, 1

    @property
    def shares(self) -> FloatArray:
        """The popularity of each item, float64 (N,); they sum to 1."""
        share = np.arange(1, self.items + 1, dtype=np.float64) ** -self.popularity
        shares = np.empty(self.items)
        shares[_shuffled(self.items, _RANKING)] = share / share.sum()
        return shares

    def trace(self, seed: int, episode: int) -> RoutingTrace:
        """Returns the routing of an episode.

        Args:
            seed: Of all chance.
            episode: Its number; its requests follow those of the one before.

        Raises:
            HetgymError: If the trace would be too long.
        """
        given = requests_from(
            self.model,
            requests=self.requests,
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
            seed=seed,
            first_request=episode * self.requests,
        )
        prompts, outputs = given.lengths(1)
        chosen = np.empty(self.requests, np.int64)
        _choose(seed, given.first_request, 1.0 / self.mean_run, np.cumsum(self.shares), chosen)
        used = np.repeat(chosen, prompts + outputs).astype(np.int16)[:, None]
        return RoutingTrace(
            model=self.model,
            num_layers=1,
            num_experts=self.items,
            top_k=1,
            **given.columns(prompts, outputs, 1),
            experts=used,
            scores=np.ones(used.shape, np.float32),
        )

    def costs(
        self,
        platform: Platform,
        high: str = "fp16",
        low: str = "int4",
        *,
        low_price: float | None = None,
        skip_price: float = 1.0,
    ) -> ItemCosts:
        """Returns what the items cost on a platform, by the roofline model.

        Args:
            platform: Where; `hetgym.hardware_models.memory_hierarchy` says which of its parts serve.
            high: Precision of items: a key of `hetgym.workloads.serving.PARAMETER_BYTES`.
            low: The other precision at which they may be loaded.
            low_price: As in `hetgym.workloads.moe_models.serving_costs`.
            skip_price: As there.

        Raises:
            HetgymError: If there is no such precision, ``low`` takes more bytes than ``high``, a price is negative, or
                the platform cannot serve a model.
        """
        high_each, low_each = two_precisions(high, low)
        low_price, skip_price = quality_prices(high, low, low_price, skip_price)
        parts, count = memory_hierarchy(platform), self.item_parameters
        return ItemCosts(
            high_bytes=high_each * count,
            low_bytes=low_each * count,
            **item_seconds(parts, 2.0 * count, high_each * count, low_each * count),
            **memory_costs(parts),
            dense_bytes=ACTIVATION_BYTES * self.base.parameters if self.base else 0.0,
            low_price=low_price,
            skip_price=skip_price,
            base=self.base,
            device=parts.accelerator,
        )


class CompositionOfExperts(ItemRequests):
    """Whole models side by side, of which a router chooses one for each prompt.

    After SambaNova's composition of experts (Prabhakar et al. 2024, arXiv:2405.07518), which has 150 of 7 billion
    parameters each; that is ``parameters=(7e9,)``, and its node, where each model is cut over eight sockets,
    ``tensor_parallel=8`` on the platform ``sn40l-node``. (The paper compares it with a DGX whose host link is one of 32
    or 64 GB/s: ``tensor_parallel=1`` there.) The default sizes are those of Llama 2 (arXiv:2307.09288), and
    their shares an assumption. What depends on the context, reading keys and values, is left out.

    Attributes:
        kind: ``composition``.
        parameters: The sizes that there are.
        size_shares: How frequent they are, in proportion.
        tensor_parallel: Devices over which each model is cut; each does its part, and one stands for all.
    """

    kind: Literal["composition"] = "composition"
    items: Annotated[int, Field(ge=1, le=32_767)] = 150
    parameters: _Shares = (7e9, 13e9, 70e9)
    size_shares: _Shares = (0.7, 0.2, 0.1)
    tensor_parallel: Annotated[int, Field(ge=1, le=10_000)] = 1

    @model_validator(mode="after")
    def _check_sizes(self) -> CompositionOfExperts:
        if len(self.parameters) == 1 and "size_shares" not in self.model_fields_set:
            return self
        _check_shares("parameters", self.parameters, self.size_shares)
        return self

    @property
    def model(self) -> str:
        """What the trace is called after."""
        return f"composition-{self.items}"

    @property
    def item_parameters(self) -> FloatArray:
        """Weights of each model on one device, float64 (N,)."""
        size = _assigned(self.items, self.parameters, self.size_shares)
        return size / self.tensor_parallel


class LoraAdapters(ItemRequests):
    """Adapters of one model, of which each request uses one, as S-LoRA serves them.

    An adapter of rank r has, for each of ``matrices`` square matrices of each layer, two of ``hidden`` x r. The base
    model stays in memory and computes every step; the adapters come on top.

    Source: Sheng et al. 2023, S-LoRA, arXiv:2311.03285, whose requests go to adapters by a power law, and whose setting
    S2 has ranks 8, 16, 32 and 64 on Llama-7B, for the projections of queries, keys, values and outputs.

    Attributes:
        kind: ``lora-adapters``.
        ranks: That there are.
        rank_shares: How frequent they are, in proportion; by default equally.
        matrices: Of each layer that are adapted.
        base_model: To which the adapters belong.
    """

    kind: Literal["lora-adapters"] = "lora-adapters"
    items: Annotated[int, Field(ge=1, le=32_767)] = 2000
    output_tokens: Length = 128
    ranks: Annotated[tuple[_Count, ...], Field(min_length=1)] = (8, 16, 32, 64)
    rank_shares: _Shares | None = None
    matrices: _Count = 4
    base_model: BaseModelShape = BaseModelShape()

    @model_validator(mode="after")
    def _check_ranks(self) -> LoraAdapters:
        if self.rank_shares is not None:
            _check_shares("ranks", self.ranks, self.rank_shares)
        return self

    @property
    def model(self) -> str:
        """What the trace is called after."""
        return f"lora-adapters-{self.items}"

    @property
    def base(self) -> BaseModelShape:
        """The model that every step computes besides."""
        return self.base_model

    @property
    def item_parameters(self) -> FloatArray:
        """Weights of each adapter, float64 (N,)."""
        rank = _assigned(self.items, self.ranks, self.rank_shares or (1.0,) * len(self.ranks))
        return 2.0 * self.base_model.layers * self.matrices * self.base_model.hidden * rank


def _check_shares(name: str, sizes: tuple[Any, ...], shares: tuple[float, ...]) -> None:
    if len(sizes) != len(shares):
        raise ValueError(f"{name}: there are {len(sizes)} of them, and {len(shares)} shares")


def _assigned(count: int, sizes: tuple[float, ...], shares: tuple[float, ...]) -> FloatArray:
    """Returns the size of each item, float64 (N,): each size as often as its share says, to rounding."""
    ends = np.cumsum(shares[: len(sizes)]) / np.sum(shares[: len(sizes)])
    position = (np.arange(count) + 0.5) / count
    assigned = np.empty(count)
    assigned[_shuffled(count, _SIZES)] = np.asarray(sizes, np.float64)[np.searchsorted(ends[:-1], position)]
    return assigned


def _shuffled(count: int, purpose: int) -> IntArray:
    """Returns 0 ... count - 1 in an order that is always the same, int64 (N,)."""
    keys = np.empty(count)
    _fill_uniforms(purpose, keys)
    return np.argsort(keys, kind="stable")


@kernel
def _fill_uniforms(purpose: int, out: FloatArray) -> None:
    stream = random_stream(0, 0, purpose)
    for i in range(out.size):
        out[i] = random_uniform(stream, i)


@kernel
def _choose(seed: int, first: int, renewal: float, ends: FloatArray, chosen: IntArray) -> None:
    """Writes the item of each request from the first on.

    Args:
        seed: Of all chance.
        first: Number of the first request.
        renewal: Probability that a request does not stay with the item of the one before.
        ends: (N,), popularity summed up.
        chosen: (requests,); the result.
    """
    for i in range(chosen.size):
        drawn = first + i
        while drawn > 0 and random_uniform(random_stream(seed, drawn, _RUN), 0) > renewal:
            drawn -= 1
        sought = random_uniform(random_stream(seed, drawn, _CHOICE), 0) * ends[-1]
        low, high = 0, ends.size - 1
        while low < high:
            middle = (low + high) // 2
            if ends[middle] < sought:
                low = middle + 1
            else:
                high = middle
        chosen[i] = low
