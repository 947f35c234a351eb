"""Benchmarks policies on the same instances, says how sure one can be, and finds out what they are bad at."""

from .adversarial import find_worst_case
from .evaluation import evaluate, play
from .fronts import (
    cardinality,
    coverage,
    equally_spaced_weights,
    expected_utility,
    hypervolume,
    maximum_utility_loss,
    non_dominated,
)
from .multi_objective import evaluate_front, front_points, summarise_front
from .suite import list_suites, load_suite, run_suite
from .summary import gap_closed, summarise
from .sweep import parse_sweep, summarise_sweep, sweep

__all__ = [
    "cardinality",
    "coverage",
    "equally_spaced_weights",
    "evaluate",
    "evaluate_front",
    "expected_utility",
    "find_worst_case",
    "front_points",
    "gap_closed",
    "hypervolume",
    "list_suites",
    "load_suite",
    "maximum_utility_loss",
    "non_dominated",
    "parse_sweep",
    "play",
    "run_suite",
    "summarise",
    "summarise_front",
    "summarise_sweep",
    "sweep",
]
