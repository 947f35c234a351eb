"""The networks of learned agents. No parameter's shape depends on how much there is to choose from."""

from .scorer import CandidateScorer, NetworkSettings

__all__ = ["CandidateScorer", "NetworkSettings"]
