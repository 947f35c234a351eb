"""The rules of expert caching as kernels read them; `docs/expert-cache.md` says what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Decision = Literal["evict", "prefetch", "miss"]
Way = Literal["load", "load-low", "cpu", "skip"]
Serve = Literal["ascending", "hottest"]

WAYS: tuple[Way, ...] = ("load", "load-low", "cpu", "skip")
"""How a miss can be served, in the order of their candidates."""

LOAD, LOAD_LOW, CPU, SKIP = range(len(WAYS))

LAW = np.dtype(
    [
        ("num_items", np.int64),
        ("num_layers", np.int64),  # L
        ("num_experts", np.int64),  # in each layer
        ("num_pools", np.int64),
        ("top_k", np.int64),
        ("decides_evict", np.bool_),
        ("decides_prefetch", np.bool_),
        ("decides_miss", np.bool_),
        ("may_low", np.bool_),  # ways to serve a miss
        ("may_cpu", np.bool_),
        ("may_skip", np.bool_),
        ("counts_by_prompt", np.bool_),  # whether a batch begins a new count of uses
        ("early_router", np.bool_),
        ("is_warm", np.bool_),
        ("is_single_layer", np.bool_),  # an episode plays one layer
        ("chunk", np.int64),  # bytes; 0 for loads in one piece
        ("prefetch_depth", np.int64),
        ("prefetch_distance", np.int64),
        ("decision_time", np.float64),  # seconds
        ("event_time", np.float64),  # seconds
        ("low_price", np.float64),
        ("skip_price", np.float64),
        ("discount_per_token", np.float64),
        ("host_capacity", np.int64),  # bytes; negative where it holds everything
        ("logs", np.bool_),  # whether the timeline is written down
    ],
    align=True,
)
"""The numbers of the rules."""

KIND = np.dtype(
    [
        ("high_bytes", np.int64),
        ("low_bytes", np.int64),
        ("load_high", np.float64),  # seconds, from the host
        ("load_low", np.float64),
        ("ssd_high", np.float64),  # seconds, from the SSD
        ("ssd_low", np.float64),
        ("floor_high", np.float64),  # seconds on the device: max(floor, tokens * slope)
        ("floor_low", np.float64),
        ("slope", np.float64),
        ("cpu_floor", np.float64),  # seconds on the CPU
        ("cpu_slope", np.float64),
    ],
    align=True,
)
"""What items of one size cost."""


@dataclass(frozen=True, eq=False)
class Items:
    """What can be held in memory.

    Attributes:
        num_layers: L.
        num_experts: Items in each layer; item = layer * num_experts + expert.
        kinds: (C,) of `KIND`.
        kind: int32 (N,), the kind of each item.
        capacity: int64 (pools,), bytes: one pool for all layers, or one a layer.
    """

    num_layers: int
    num_experts: int
    kinds: NDArray[np.void]
    kind: NDArray[np.int32]
    capacity: NDArray[np.int64]

    @property
    def num_items(self) -> int:
        """N."""
        return self.num_layers * self.num_experts

    def equals(self, other: Items) -> bool:
        """Whether other items are the same."""
        return (self.num_layers, self.num_experts) == (other.num_layers, other.num_experts) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in ("kinds", "kind", "capacity")
        )

    @property
    def largest(self) -> NDArray[np.int64]:
        """Bytes at high precision of the largest item of each pool, int64 (pools,)."""
        size = self.kinds["high_bytes"][self.kind].reshape(self.num_layers, -1)
        return size.max(axis=1) if len(self.capacity) > 1 else np.array([size.max()])


@dataclass(frozen=True)
class Rules:
    """How an episode is played.

    Attributes:
        decisions: What is decided; the rest is done as `docs/expert-cache.md` says.
        ways: How misses may be served, where that is decided.
        pool: Whether an episode plays the whole ``model`` or one ``layer``.
        start: Whether it begins with empty pools (``cold``) or with filled ones (``warm``).
        staging: Staging buffers.
        queue_limit: Prefetches that may stand in the queue.
        chunk: Bytes of a piece of a prefetch that demands wait for; 0 for whole loads.
        prefetch_depth: Prefetches that may be decided in an event.
        prefetch_distance: How many layers ahead.
        frequencies: Whether uses are counted ``per-prompt`` or ``overall``.
        early_router: Whether routing is known before attention.
        decision_time: Cost of a decision, seconds.
        event_time: Cost of an event, seconds.
        low_price: Of a computation at low precision, for an entry of weight 1.
        skip_price: Of leaving one out.
        discount_per_token: Of what follows a token.
        host_capacity: Bytes; None where the host holds everything.
        shown: Victims, and targets of prefetches, that agents see.
    """

    decisions: tuple[Decision, ...] = ("evict",)
    ways: tuple[Way, ...] = WAYS
    pool: Literal["model", "layer"] = "model"
    start: Literal["cold", "warm"] = "cold"
    staging: int = 1
    queue_limit: int = 32
    chunk: int = 0
    prefetch_depth: int = 4
    prefetch_distance: int = 1
    frequencies: Literal["per-prompt", "overall"] = "per-prompt"
    early_router: bool = False
    decision_time: float = 0.0
    event_time: float = 0.0
    low_price: float = 0.0
    skip_price: float = 0.0
    discount_per_token: float = 1.0
    host_capacity: int | None = None
    shown: int = 32

    def law(self, items: Items, top_k: int) -> NDArray[np.void]:
        """Returns the rules as kernels read them, (1,) of `LAW`."""
        law = np.zeros(1, LAW)
        law["num_items"], law["num_layers"], law["num_experts"] = items.num_items, items.num_layers, items.num_experts
        law["num_pools"], law["top_k"] = len(items.capacity), top_k
        for decision in self.decisions:
            law[f"decides_{decision}"] = True
        law["may_low"], law["may_cpu"], law["may_skip"] = (way in self.ways for way in WAYS[1:])
        law["counts_by_prompt"] = self.frequencies == "per-prompt"
        law["is_warm"], law["is_single_layer"] = self.start == "warm", self.pool == "layer"
        law["host_capacity"] = -1 if self.host_capacity is None else self.host_capacity
        for name in (
            "chunk", "prefetch_depth", "prefetch_distance", "early_router", "decision_time", "event_time", "low_price",
            "skip_price", "discount_per_token",
        ):  # fmt: skip
            law[name] = getattr(self, name)
        return law
