"""Routing of mixture-of-experts models: traces, their statistics, and what makes them."""

from .trace import DECODE, PREFILL, RoutingTrace

__all__ = ["DECODE", "PREFILL", "RoutingTrace"]
