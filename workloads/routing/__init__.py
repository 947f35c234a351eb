"""Routing of mixture-of-experts models: traces, their files and statistics, and what makes them."""

from .files import load_trace, save_trace, stream_trace
from .generator import DrawnLength, RoutingLaw, generate_trace, latent_deviation, latent_logits, routing_law
from .trace import DECODE, PREFILL, RoutingTrace

__all__ = [
    "DECODE",
    "PREFILL",
    "DrawnLength",
    "RoutingLaw",
    "RoutingTrace",
    "generate_trace",
    "latent_deviation",
    "latent_logits",
    "load_trace",
    "routing_law",
    "save_trace",
    "stream_trace",
]
