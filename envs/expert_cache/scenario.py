"""The settings of the expert-cache family."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator, model_validator

from ...errors import HetgymError, unknown_name
from ...hardware_models import Platform, load_platform
from ...workloads.model_zoo import ItemCosts
from ...workloads.moe_models import ServingCosts
from ...workloads.routing import RoutingTrace
from ...workloads.routing.sources import AnyRouting, GeneratedRouting
from ..core.scenario import Scenario, register_family
from .instance import Instance, IntArray, build_instance
from .latent import expected_uses
from .reward import REWARDS
from .rules import KIND, WAYS, Decision, Items, Rules, Serve, Way
from .simulator import ExpertCacheSimulator

_NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Fraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1, le=1_000_000)]

DEFAULT_FRACTION = 0.25
_WINDOW = 110
"""Purpose of the random numbers that choose an episode's batches."""


class ExpertCacheScenario(Scenario):
    """What is routed, what it runs on, and how the cache is played; `docs/expert-cache.md` has the rules.

    Attributes:
        workload: Where the routing comes from, and of which model.
        platform: A name or path for `load_platform`.
        high: Precision of experts: ``fp16``, ``int8``, ``int4``.
        low: The other precision at which they may be loaded.
        cache_fraction: Share of all experts' bytes that the device holds; 0.25 if none of the three is given.
        cache_slots: Experts of each layer that the device holds, on average.
        cache_bytes: Bytes that the device holds.
        budget: A pool for each layer (``per-layer``), one for all (``global``), or slots of each layer.
        link: Bandwidth of the link, byte/s; by default the platform's.
        link_latency: Of a load, seconds; by default the platform's.
        host_capacity: Bytes that the host holds; by default everything.
        batch: Requests that run together.
        prefill_chunk: Tokens of a prompt that are prefilled at once; 0 for all.
        serve: In which order the misses of an event are served.
        decisions: What is decided: ``evict``, ``prefetch``, ``miss``.
        ways: How misses may be served where that is decided.
        pool: Whether an episode plays the whole ``model`` or one ``layer``.
        start: Whether it begins with empty pools (``cold``) or with filled ones (``warm``).
        staging: Staging buffers.
        queue_limit: Prefetches that may stand in the queue.
        chunk: Bytes of a piece of a prefetch that demands wait for; 0 for whole loads.
        prefetch_depth: Prefetches that may be decided in an event.
        prefetch_distance: How many layers ahead.
        frequencies: Whether uses are counted ``per-prompt`` or ``overall``: a prompt says which experts it likes, but
            nothing of the whole model that another asks for.
        early_router: Whether routing is known before attention.
        decision_time: Fixed cost of a decision, seconds.
        event_time: Fixed cost of a policy per event, seconds.
        low_price: Price of a computation at low precision, for an entry of weight 1.
        skip_price: Price of leaving one out.
        discount_per_token: Of what follows a token, for agents that learn.
        shown: Victims, and targets of prefetches, that agents see.
        drawn: Traces that each environment draws before they come round again.
    """

    family: Literal["expert-cache"] = "expert-cache"
    workload: AnyRouting
    platform: str = "desktop-rtx4090"
    high: str = "fp16"
    low: str = "int4"
    cache_fraction: _Fraction | None = None
    cache_slots: _Positive | None = None
    cache_bytes: _Positive | None = None
    budget: Literal["per-layer", "global"] | tuple[_Count, ...] = "per-layer"
    link: _Positive | None = None
    link_latency: _NonNegative | None = None
    host_capacity: _Positive | None = None
    batch: _Count = 1
    prefill_chunk: Annotated[int, Field(ge=0)] = 0
    serve: Serve = "ascending"
    decisions: tuple[Decision, ...] = ("evict",)
    ways: tuple[Way, ...] = WAYS
    pool: Literal["model", "layer"] = "model"
    start: Literal["cold", "warm"] = "cold"
    staging: Annotated[int, Field(ge=1, le=1024)] = 1
    queue_limit: Annotated[int, Field(ge=1, le=1024)] = 32
    chunk: Annotated[int, Field(ge=0)] = 1 << 20
    prefetch_depth: Annotated[int, Field(ge=0, le=1024)] = 4
    prefetch_distance: Annotated[int, Field(ge=1)] = 1
    frequencies: Literal["per-prompt", "overall"] = "per-prompt"
    early_router: bool = False
    decision_time: _NonNegative = 0.0
    event_time: _NonNegative = 0.0
    low_price: _NonNegative | None = None
    skip_price: _NonNegative | None = None
    discount_per_token: _Fraction = 1.0
    shown: Annotated[int, Field(ge=1, le=4096)] = 32
    drawn: _Count = 4

    @field_validator("platform")
    @classmethod
    def _beside_scenario(cls, platform: str, info: ValidationInfo) -> str:
        return str(info.context["folder"] / platform) if info.context and Path(platform).suffix else platform

    @field_validator("decisions", "ways", mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        return tuple(word.strip() for word in given.split(",")) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _check_cache(self) -> ExpertCacheScenario:
        sizes = [name for name in ("cache_fraction", "cache_slots", "cache_bytes") if getattr(self, name) is not None]
        if len(sizes) > 1:
            raise ValueError(f"{' and '.join(sizes)}: give one of them")
        if isinstance(self.budget, tuple) and sizes:
            raise ValueError(f"{sizes[0]} and a list of slots as budget: give one of them")
        if len(set(self.decisions)) < len(self.decisions) or len(set(self.ways)) < len(self.ways):
            raise ValueError("decisions and ways: each can be named once")
        return self

    def sections(self) -> tuple[tuple[str, ...], ...]:
        """Returns the workload: its settings can be overridden by their own names."""
        return (("workload",),)

    @property
    def baselines(self) -> tuple[str, ...]:
        """Classical and published policies, and what is best with hindsight."""
        others: tuple[str, ...] = ("mrs", "lfu-da", "arc", "sieve", "s3-fifo", "fifo")
        if "prefetch" in self.decisions or "miss" in self.decisions:
            others = ("mixtral-offloading", "fate", "moe-infinity", "finemoe", "read-me")
        if "miss" in self.decisions:
            others = ("hybrimoe", "fiddler", "hobbit", "edgemoe", *others)
        return ("lru", "lfru", "lfu", "lfu-tokens", *others, "random", "belady", "belady-bypass")

    @property
    def metric(self) -> str:
        """What policies are compared by."""
        return "stall"

    @property
    def more_is_better(self) -> frozenset[str]:
        """Of hits and of speed."""
        return frozenset({"hit_rate", "tokens_per_second", "prefetch_precision"})

    @cached_property
    def devices(self) -> Platform:
        """The platform, loaded."""
        return load_platform(self.platform)

    @cached_property
    def costs(self) -> ServingCosts | ItemCosts:
        """What items, and the rest of the model, cost on the platform."""
        prices = {name: getattr(self, name) for name in ("low_price", "skip_price") if getattr(self, name) is not None}
        return self.workload.costs(self.devices, self.high, self.low, **prices)

    @cached_property
    def items(self) -> Items:
        """What can be held, and the pools."""
        layers, experts, top_k = self.workload.shape
        each = self._cost_of_each(layers * experts)
        kinds, kind = np.unique(each, return_inverse=True)
        size = kinds["high_bytes"][kind].reshape(layers, experts)
        items = Items(layers, experts, kinds, kind.astype(np.int32), self._capacity(size))
        self._check_capacity(items, top_k)
        return items

    def _cost_of_each(self, num_items: int) -> NDArray[np.void]:
        """Returns what each item costs, (N,) of `KIND`."""
        costs, each = self.costs, np.zeros(num_items, KIND)
        bandwidth = self.link or costs.link_bandwidth
        latency = costs.link_latency if self.link_latency is None else self.link_latency
        slower = min(bandwidth, costs.ssd_bandwidth)
        for precision in ("high", "low"):
            size = np.rint(getattr(costs, f"{precision}_bytes"))
            each[f"{precision}_bytes"] = size
            each[f"load_{precision}"] = latency + size / bandwidth
            each[f"ssd_{precision}"] = costs.ssd_latency + size / slower + latency
            each[f"floor_{precision}"] = getattr(costs, f"device_floor_{precision}")
        each["slope"], each["cpu_floor"], each["cpu_slope"] = costs.device_slope, costs.cpu_floor, costs.cpu_slope
        return each

    def _capacity(self, size: IntArray) -> IntArray:
        """Returns the bytes of each pool, for items of so many bytes, (L, E)."""
        if isinstance(self.budget, tuple):
            if len(self.budget) != len(size):
                raise HetgymError(
                    f"scenario {self.name!r}: budget: must have one number for each of the {len(size)} layers "
                    f"(given: {len(self.budget)})"
                )
            slots: IntArray = np.array(self.budget, np.int64) * size.max(axis=1)
            return slots
        if self.cache_slots is not None:
            layers = self.cache_slots * size.max(axis=1)
        elif self.cache_bytes is not None:
            layers = np.full(len(size), self.cache_bytes / len(size))
        else:
            # Rounded, for 0.3 x 10 is less than 3.
            layers = np.round((self.cache_fraction or DEFAULT_FRACTION) * size.sum(axis=1), 6)
        return (layers if self.budget == "per-layer" else np.array([layers.sum()])).astype(np.int64)

    def _check_capacity(self, items: Items, top_k: int) -> None:
        least = top_k * items.largest
        small = np.flatnonzero(items.capacity < least)
        if small.size:
            pool = int(small[0])
            where = f"layer {pool}" if len(items.capacity) > 1 else "the device"
            raise HetgymError(
                f"scenario {self.name!r}: the cache of {where} holds {items.capacity[pool]:,} bytes, less than the "
                f"{top_k} experts of a token ({least[pool]:,} bytes); raise cache_fraction, cache_slots or cache_bytes"
            )

    @property
    def rules(self) -> Rules:
        """How episodes are played."""
        same = (
            "decisions", "pool", "start", "staging", "queue_limit", "chunk", "prefetch_depth", "prefetch_distance",
            "frequencies", "early_router", "decision_time", "event_time", "discount_per_token", "shown",
        )  # fmt: skip
        return Rules(
            **{name: getattr(self, name) for name in same},
            ways=tuple(way for way in self.ways if self._has_way(way)),
            low_price=self.costs.low_price,
            skip_price=self.costs.skip_price,
            host_capacity=None if self.host_capacity is None else int(self.host_capacity),
        )

    def _has_way(self, way: Way) -> bool:
        """Whether the platform and the precisions have a way to serve a miss."""
        if way == "cpu":
            return bool(np.isfinite(self.costs.cpu_floor).all())
        return way != "load-low" or self.low != self.high

    @property
    def varies(self) -> bool:
        """Whether every episode has routing of its own."""
        return self.workload.varies

    @property
    def top_k(self) -> int:
        """Experts that a token uses."""
        return self.workload.shape[2]

    def instance(self, seed: int, episode: int) -> Instance:
        """Returns the instance of an episode, or of which it plays some batches."""
        return self.build(self.workload.trace(seed, episode), self.layer_of(seed, episode))

    def window(self, instance: Instance, seed: int, episode: int) -> tuple[int, int]:
        """Returns the first event of an episode in an instance, and the end of its events."""
        available, wanted = len(instance.batches) - 1, getattr(self.workload, "batches", None)
        if wanted is None or wanted >= available:
            return 0, instance.num_events
        first = int(np.random.default_rng((seed, episode, _WINDOW)).integers(available - wanted + 1))
        return int(instance.batches[first]), int(instance.batches[first + wanted])

    def latent(self, instance: Instance, seed: int) -> NDArray[np.float32]:
        """Returns what the state of the routers tells of uses to come, float32 (steps, N): `latent.expected_uses`.

        Args:
            instance: One that `instance` gave.
            seed: Of it.

        Raises:
            HetgymError: If the routing is not generated.
        """
        if not isinstance(self.workload, GeneratedRouting):
            raise HetgymError(
                f"scenario {self.name!r}: workload: what routers are likely to choose is known of kind generated alone "
                f"(given: {self.workload.kind})"
            )
        return expected_uses(instance, self.workload.law, seed, self.batch, self.prefill_chunk)

    def accept(self, problem: Any) -> Instance:
        """Returns a given trace or instance as an instance.

        Raises:
            HetgymError: If it is neither, or not of the workload's model.
        """
        if isinstance(problem, RoutingTrace):
            return self.build(problem, 0 if self.pool == "layer" else None)
        if not isinstance(problem, Instance):
            raise HetgymError(
                f"instance: must be a hetgym RoutingTrace or Instance, not {type(problem).__name__} ({problem!r})"
            )
        if problem.items is not self.items and not problem.items.equals(self.items):
            raise HetgymError("instance: its items are not those of the scenario")
        return problem

    def layer_of(self, seed: int, episode: int) -> int | None:
        """Returns the layer that an episode plays; None for all."""
        return (seed + episode) % self.workload.shape[0] if self.pool == "layer" else None

    def build(self, trace: RoutingTrace, layer: int | None = None) -> Instance:
        """Returns a trace as an instance.

        Args:
            trace: Of the workload's model.
            layer: The one that is played; None for all.

        Raises:
            HetgymError: If its layers or experts are not those of the model.
        """
        return build_instance(
            trace, self.items, self.costs.dense_seconds, self.batch, self.prefill_chunk, self.serve, layer
        )

    def simulator(self, num_envs: int, reward: str | None = None) -> ExpertCacheSimulator:
        """Returns a simulator of so many episodes side by side.

        Args:
            num_envs: B.
            reward: ``stall``, the only one.

        Raises:
            HetgymError: If there is no such reward, or a trace, model or platform is not right.
        """
        if reward not in (None, *REWARDS):
            raise unknown_name("reward", str(reward), list(REWARDS))
        return ExpertCacheSimulator(self, self.items, self.rules, num_envs, self.drawn)

    def for_single_episodes(self) -> ExpertCacheScenario:
        """Returns the scenario with room for one trace an environment."""
        return self.model_copy(update={"drawn": 1})


register_family("expert-cache", ExpertCacheScenario, {})
