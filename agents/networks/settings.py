"""The size of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True)
class NetworkSettings:
    """The size of a `CandidateScorer`.

    Attributes:
        hidden: Width of all layers.
        rounds: Rounds of message passing over the graph; 0 leaves the graph out.
        outputs: Numbers for each candidate, such as quantiles of what it returns; their mean is its score.
    """

    hidden: Annotated[int, Field(ge=1, le=4096)] = 64
    rounds: Annotated[int, Field(ge=0, le=64)] = 2
    outputs: Annotated[int, Field(ge=1, le=1024)] = 1
