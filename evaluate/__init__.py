"""Benchmarks policies on the same instances, and says how sure one can be."""

from .evaluation import evaluate, play
from .summary import summarise

__all__ = ["evaluate", "play", "summarise"]
