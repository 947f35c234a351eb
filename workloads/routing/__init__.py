"""Routing of mixture-of-experts models: traces, their statistics, and what makes them."""

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
    "routing_law",
]
