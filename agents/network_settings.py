"""The form and the size of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

Encoder = Literal["mean", "gin", "gat"]
Pooling = Literal["value", "scores", "nodes"]


@dataclass(frozen=True)
class NetworkSettings:
    """The form and the size of a `CandidateScorer`.

    Attributes:
        hidden: Width of all layers.
        rounds: Rounds of message passing along edges.
        outputs: Numbers for each candidate, such as quantiles of what it returns; their mean is its score.
        encoder: How nodes hear each other, one of `ROUNDS` in `hetgym.agents.networks.encoder`.
        pooling: What a score depends on beside the candidate: on nothing (``value``: pooled candidates reach the value
            alone), on all candidates (``scores``), or on those that speak of the same nodes (``nodes``; in families
            without nodes on nothing). With 0 rounds and no pooling by nodes the graph is left out.
        hierarchy: Whether nodes are summed up by job, and jobs by situation, for candidates and the value to read.
    """

    hidden: Annotated[int, Field(ge=1, le=4096)] = 64
    rounds: Annotated[int, Field(ge=0, le=64)] = 2
    outputs: Annotated[int, Field(ge=1, le=1024)] = 1
    encoder: Encoder = "mean"
    pooling: Pooling = "nodes"
    hierarchy: bool = False

    @property
    def reads_graph(self) -> bool:
        """Whether nodes are read, in families that have some."""
        return self.rounds > 0 or self.pooling == "nodes"
