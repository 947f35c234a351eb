"""What decides: heuristics, oracles and learned agents."""

from .policy import Policy
from .registry import list_policies, make_policy

__all__ = ["Policy", "list_policies", "make_policy"]
