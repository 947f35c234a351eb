"""Classical cache algorithms as compiled automata."""

from .automata import ALGORITHMS
from .replay import replay_accesses

__all__ = ["ALGORITHMS", "replay_accesses"]
