"""The names of cache policies: rules for victims, published systems, and combinations of rules."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ....errors import unknown_name
from ...policy import Policy
from .evictors import EVICTORS
from .policy import CachePolicy
from .prefetchers import PREFETCHERS
from .ways import SERVERS

VICTIMS = {
    "lru": ("recency", "Evicts the least recently used expert."),
    "lfu": ("frequency", "Evicts the expert that this prompt used least often."),
    "lfu-tokens": ("token-frequency", "LFU that counts the tokens of a prompt one by one, not its events."),
    "lfru": ("lfru", "Evicts the least of uses in this prompt / steps since the last (arXiv:2608.07911)."),
    "least-stale": ("least-stale", "Evicts what this pass through the model has not touched, the oldest first."),
    "fifo": ("fifo", "Evicts the expert that was loaded first."),
    "clock": ("clock", "FIFO with a second chance for what was used (Corbato 1968)."),
    "sieve": ("sieve", "FIFO with a hand that passes over what was used (NSDI 2024)."),
    "s3-fifo": ("s3-fifo", "Three FIFO queues (SOSP 2023, doi:10.1145/3600006.3613147)."),
    "2q": ("2q", "A queue for new experts, a list for those that came back (VLDB 1994)."),
    "slru": ("slru", "LRU in two segments (doi:10.1109/2.268884)."),
    "arc": ("arc", "Balances recency and frequency by what it regrets (FAST 2003)."),
    "lfu-loaded": ("lfu", "Evicts the expert used least often since it was loaded (doi:10.1109/INFCOM.1999.749260)."),
    "lfu-da": ("lfu-da", "LFU with ageing (doi:10.1145/346000.346003)."),
    "lecar": ("lecar", "Learns whether to follow LRU or LFU (HotStorage 2018)."),
    "random-victim": ("random", "Evicts any expert, each with the same probability."),
    "mrs": ("mrs", "Evicts the least recent router score (HybriMoE, arXiv:2504.05897)."),
    "static": ("hottest", "Keeps the experts that the whole trace uses most: a profile that knows the future."),
    "load-on-demand": ("nothing", "Evicts nothing: what finds no room is loaded whenever it is used, and not kept."),
    "latent": ("latent", "A ceiling for causal rules: sees the state of generated routers, not their noise."),
    "belady": ("belady", "Evicts the expert that is used again last, without bypass; it knows the future."),
    "belady-bypass": ("belady-bypass", "The most hits that evictions of equal sizes can have; it knows the future."),
}
"""Rules for victims, by name: the rule's own name, and what it does. Nothing is fetched early, misses are loaded."""

SYSTEMS = {
    "mixtral-offloading": ("recency", "gate", "load", "LRU and the next router's guess (arXiv:2312.17238)."),
    "fiddler": ("hottest", "none", "cpu-if-sooner", "A static choice, the CPU for the rest (arXiv:2402.07033)."),
    "ktransformers": ("nothing", "none", "cpu", "What is there at the start, the CPU for the rest (SOSP 2025)."),
    "hybrimoe": ("mrs", "gate", "cpu-if-sooner", "Scores, prefetching, CPU or load (arXiv:2504.05897)."),
    "hobbit": ("hobbit", "gate", "thresholds", "Weighted scores, precision by importance (arXiv:2411.01433)."),
    "fate": ("fate", "gate", "load", "ARC that favours shallow layers, cross-layer gates (arXiv:2502.12224)."),
    "moe-infinity": ("moe-infinity", "nearest-map", "load", "Activation-aware, the nearest pass (arXiv:2401.14361)."),
    "finemoe": ("finemoe", "nearest-map", "load", "Probability x frequency, maps of passes (arXiv:2502.05370)."),
    "expertflow": ("recency", "path", "load", "LRU, and a predictor of the path (arXiv:2410.17954)."),
    "edgemoe": ("frequency", "transition", "widths", "A width for each expert (arXiv:2308.14352)."),
    "read-me": ("recency", "pre-gated", "load", "The whole path is known in advance (arXiv:2410.19123)."),
}
"""Published systems, by name: rules for victims, prefetches and misses, and what they are."""


def named_policies() -> dict[str, Callable[..., Policy]]:
    """Returns what makes each policy of the family, by name."""
    makers: dict[str, Callable[..., Policy]] = {}
    for name, (evict, description) in VICTIMS.items():
        makers[name] = _maker(name, (evict, "none", "load"), description)
    for name, (evict, prefetch, miss, description) in SYSTEMS.items():
        makers[name] = _maker(name, (evict, prefetch, miss), description)
    return makers


def _maker(name: str, rules: tuple[str, str, str], description: str) -> Callable[..., Policy]:
    maker = partial(CachePolicy, name, *rules)
    maker.__doc__ = description
    return maker


def combined_policy(name: str) -> Policy:
    """Returns a policy that is named by its rules: ``VICTIM+PREFETCH``, ``VICTIM+WAY`` or ``VICTIM+PREFETCH+WAY``.

    Args:
        name: A name of `VICTIMS` (or of `EVICTORS`), then one of `PREFETCHERS`, one of `SERVERS`, or both.

    Raises:
        HetgymError: If there is no such rule.
    """
    evict, *others = name.split("+")
    victim = VICTIMS[evict][0] if evict in VICTIMS else evict
    if victim not in EVICTORS:
        raise unknown_name("rule for victims", evict, sorted({*VICTIMS, *EVICTORS}))
    rules = {"prefetch": "none", "miss": "load"}
    for word in others:
        if word not in PREFETCHERS and word not in SERVERS:
            raise unknown_name("rule for prefetches or misses", word, [*PREFETCHERS, *SERVERS])
        rules["prefetch" if word in PREFETCHERS else "miss"] = word
    return CachePolicy(name, victim, **rules)
