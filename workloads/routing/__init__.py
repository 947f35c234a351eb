"""Routing of mixture-of-experts models: traces, their files and statistics, and what makes them."""

from .files import check_trace_path, load_trace, save_trace, stream_trace
from .generator import RoutingLaw, generate_trace, latent_deviation, latent_logits, latent_uses, routing_law
from .requests import DrawnLength
from .statistics import (
    next_layer_recall,
    segment_cache_best_hit_rate,
    segment_routing_best_performance,
    summarise_trace,
    trace_statistics,
    uniform_floor,
)
from .tiny import tiny_trace
from .trace import DECODE, PREFILL, RoutingTrace

__all__ = [
    "DECODE",
    "PREFILL",
    "DrawnLength",
    "RoutingLaw",
    "RoutingTrace",
    "check_trace_path",
    "generate_trace",
    "latent_deviation",
    "latent_logits",
    "latent_uses",
    "load_trace",
    "next_layer_recall",
    "routing_law",
    "save_trace",
    "segment_cache_best_hit_rate",
    "segment_routing_best_performance",
    "stream_trace",
    "summarise_trace",
    "tiny_trace",
    "trace_statistics",
    "uniform_floor",
]
