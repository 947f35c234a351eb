"""Routing of mixture-of-experts models: traces, their files and statistics, and what makes them."""

from .files import load_trace, save_trace, stream_trace
from .trace import DECODE, PREFILL, RoutingTrace

__all__ = ["DECODE", "PREFILL", "RoutingTrace", "load_trace", "save_trace", "stream_trace"]
