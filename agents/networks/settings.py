"""The form and the size of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

Encoder = Literal["mean", "gin", "gat"]
Pooling = Literal["value", "scores"]


@dataclass(frozen=True)
class NetworkSettings:
    """The form and the size of a `CandidateScorer`.

    Attributes:
        hidden: Width of all layers.
        rounds: Rounds of message passing over the graph; 0 leaves the graph out.
        outputs: Numbers for each candidate, such as quantiles of what it returns; their mean is its score.
        encoder: How nodes hear each other, one of `ROUNDS` in `hetgym.agents.networks.encoder`.
        pooling: Whether the pooled candidates reach the value alone, or every candidate's score as well.
        hierarchy: Whether nodes are summed up by job, and jobs by situation, for candidates and the value to read.
    """

    hidden: Annotated[int, Field(ge=1, le=4096)] = 64
    rounds: Annotated[int, Field(ge=0, le=64)] = 2
    outputs: Annotated[int, Field(ge=1, le=1024)] = 1
    encoder: Encoder = "mean"
    pooling: Pooling = "value"
    hierarchy: bool = False
