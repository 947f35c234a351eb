"""Benchmarks policies on the same instances, says how sure one can be, and finds out what they are bad at."""

from .adversarial import find_worst_case
from .evaluation import evaluate, play
from .summary import summarise
from .sweep import parse_sweep, summarise_sweep, sweep

__all__ = ["evaluate", "find_worst_case", "parse_sweep", "play", "summarise", "summarise_sweep", "sweep"]
