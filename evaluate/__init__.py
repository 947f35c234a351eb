"""Benchmarks policies on the same instances, says how sure one can be, and finds out what they are bad at."""

from .adversarial import find_worst_case
from .evaluation import evaluate, play
from .summary import summarise

__all__ = ["evaluate", "find_worst_case", "play", "summarise"]
