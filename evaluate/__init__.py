"""Benchmarks policies on the same instances, says how sure one can be, and finds out what they are bad at."""

from .adversarial import find_worst_case
from .evaluation import evaluate, play
from .suite import list_suites, load_suite, run_suite
from .summary import gap_closed, summarise
from .sweep import parse_sweep, summarise_sweep, sweep

__all__ = [
    "evaluate",
    "find_worst_case",
    "gap_closed",
    "list_suites",
    "load_suite",
    "parse_sweep",
    "play",
    "run_suite",
    "summarise",
    "summarise_sweep",
    "sweep",
]
