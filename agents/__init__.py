"""What decides: heuristics, oracles and learned agents."""

from .policy import Policy
from .registry import describe_policies, list_policies, make_policy

__all__ = ["Policy", "describe_policies", "list_policies", "make_policy"]
