"""The choice among each situation's candidates, without the masked ones."""

from __future__ import annotations

import torch
from torch import Tensor

from .batch import CandidateBatch
from .segments import segment_argmax, segment_log_softmax, segment_sum


class CandidateCategorical:
    """A categorical distribution over the candidates of each situation of a batch.

    Attributes:
        log_probability: float32 (C,), of each candidate in its situation.
    """

    def __init__(self, scores: Tensor, batch: CandidateBatch) -> None:
        """Takes the softmax of scores, float32 (C,), within each situation."""
        self._batch = batch
        self.log_probability = segment_log_softmax(scores, batch.situation, len(batch.num_candidates))

    def mean(self, numbers: Tensor) -> Tensor:
        """Returns each situation's expectation of numbers of the candidates, float32 (C,), as float32 (B,)."""
        terms = self.log_probability.exp() * numbers
        return segment_sum(terms, self._batch.situation, len(self._batch.num_candidates))

    def entropy(self) -> Tensor:
        """Returns each situation's entropy in nats, float32 (B,)."""
        return -self.mean(self.log_probability)

    def sample(self) -> Tensor:
        """Returns a row of the candidates for each situation, drawn at random, int64 (B,)."""
        # The situations' probabilities lie on a line, one after another; a dart is thrown at each one's part of it.
        ends = self.log_probability.double().exp().cumsum(0)
        last = self._batch.num_candidates.cumsum(0) - 1
        first = last - self._batch.num_candidates + 1
        lower, upper = torch.cat([ends.new_zeros(1), ends])[first], ends[last]
        darts = lower + (upper - lower) * torch.rand_like(lower)
        return torch.searchsorted(ends, darts, right=True).clamp(first, last)

    def mode(self) -> Tensor:
        """Returns the row of each situation's likeliest candidate, the first of equals, int64 (B,)."""
        return segment_argmax(self.log_probability, self._batch.situation, len(self._batch.num_candidates))
