"""The networks of learned agents. No parameter's shape depends on how much there is to choose from."""

from ..network_settings import NetworkSettings
from .batch import CandidateBatch
from .categorical import CandidateCategorical
from .scorer import CandidateScorer

__all__ = ["CandidateBatch", "CandidateCategorical", "CandidateScorer", "NetworkSettings"]
