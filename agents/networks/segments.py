"""Sums, means and softmax over segments: rows that belong to the same situation."""

from __future__ import annotations

import torch
from torch import Tensor


def segment_sum(rows: Tensor, segment: Tensor, num_segments: int) -> Tensor:
    """Returns the sum of each segment's rows, (num_segments, ...).

    Args:
        rows: (any number, ...).
        segment: int64 (rows,), whose each row is.
        num_segments: How many segments there are.
    """
    return rows.new_zeros(num_segments, *rows.shape[1:]).index_add(0, segment, rows)


def segment_mean(rows: Tensor, segment: Tensor, num_segments: int) -> Tensor:
    """Returns the mean of each segment's rows, zero where there are none, (num_segments, columns).

    Args:
        rows: (any number, columns).
        segment: int64 (rows,), whose each row is.
        num_segments: How many segments there are.
    """
    counts = torch.bincount(segment, minlength=num_segments).clamp(min=1)
    return segment_sum(rows, segment, num_segments) / counts.unsqueeze(1)


def segment_log_softmax(scores: Tensor, segment: Tensor, num_segments: int) -> Tensor:
    """Returns the logarithms of each segment's softmax, float32 (rows,).

    Args:
        scores: float32 (rows,).
        segment: int64 (rows,), whose each row is.
        num_segments: How many segments there are.
    """
    shifted = scores - _largest(scores.detach(), segment, num_segments)
    return shifted - segment_sum(shifted.exp(), segment, num_segments).log().index_select(0, segment)


def segment_argmax(scores: Tensor, segment: Tensor, num_segments: int) -> Tensor:
    """Returns the row of each segment's largest score, the first of equals, int64 (num_segments,).

    Args:
        scores: float32 (rows,).
        segment: int64 (rows,), whose each row is; none is empty.
        num_segments: How many segments there are.
    """
    rows = (scores == _largest(scores, segment, num_segments)).nonzero().squeeze(1)
    first = rows.new_full((num_segments,), len(scores))
    return first.scatter_reduce(0, segment[rows], rows, "amin")


def _largest(scores: Tensor, segment: Tensor, num_segments: int) -> Tensor:
    """Returns the largest score in each row's segment, float32 (rows,)."""
    largest = scores.new_full((num_segments,), -torch.inf).scatter_reduce(0, segment, scores, "amax")
    return largest.index_select(0, segment)
