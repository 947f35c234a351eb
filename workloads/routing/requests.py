"""Which requests there are, how long they are, and the columns of their traces."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...compilation import kernel
from ...errors import HetgymError, one_line
from ..counter_random import random_normal, random_stream
from ..task_graph import IntArray
from .trace import DECODE, PREFILL

MOST_ROWS = 100_000_000
"""Traces of more rows are not generated at once."""

_PROMPT_LENGTH, _OUTPUT_LENGTH = 206, 207

_Length = Annotated[int, Field(ge=0, le=10_000_000)]


class DrawnLength(BaseModel):
    """Lognormal lengths.

    Attributes:
        mean: Tokens on average, before rounding and the limits.
        sigma: Standard deviation of the logarithm.
        most: No length is greater; none is less than 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: Annotated[float, Field(ge=1, le=10_000_000, allow_inf_nan=False)]
    sigma: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
    most: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000_000


Length = _Length | DrawnLength
"""Tokens: always as many, or drawn for each request."""


class Requests(BaseModel):
    """Some requests in a row. What is drawn for one depends on the seed and its number alone.

    Attributes:
        requests: How many.
        prompt_tokens: Of each prompt.
        output_tokens: That are decoded for each.
        seed: Of all chance.
        first_request: Number of the first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests: Annotated[int, Field(ge=1, le=1_000_000_000)]
    prompt_tokens: Length
    output_tokens: Length
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] = 0
    first_request: Annotated[int, Field(ge=0, lt=2**62)] = 0

    @property
    def numbers(self) -> IntArray:
        """The number of each, int64 (requests,)."""
        return self.first_request + np.arange(self.requests)

    def lengths(self, num_layers: int) -> tuple[IntArray, IntArray]:
        """Returns the tokens of each prompt and each output, int64 (requests,).

        Args:
            num_layers: L of the trace.

        Raises:
            HetgymError: If a request has no tokens, or the trace would have more than `MOST_ROWS` rows.
        """
        self._check_rows(self.requests * num_layers)
        prompts = self._drawn(self.prompt_tokens, _PROMPT_LENGTH)
        outputs = self._drawn(self.output_tokens, _OUTPUT_LENGTH)
        if not (prompts + outputs).all():
            raise HetgymError("requests: prompt_tokens and output_tokens are both 0; a request needs a token")
        self._check_rows(int((prompts + outputs).sum()) * num_layers)
        return prompts, outputs

    def columns(self, prompts: IntArray, outputs: IntArray, num_layers: int) -> dict[str, NDArray[Any]]:
        """Returns request, phase, step and layer of a trace's rows, (R,) each.

        Args:
            prompts: Tokens of each prompt.
            outputs: Tokens of each output.
            num_layers: L.
        """
        # Requests alternate between the two phases.
        lengths = np.stack((prompts, outputs), axis=1).ravel()
        phase = np.repeat(np.tile(np.array((PREFILL, DECODE), np.int8), self.requests), lengths)
        step = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return {
            "request": np.repeat(np.repeat(self.numbers, prompts + outputs), num_layers),
            "phase": np.repeat(phase, num_layers),
            "step": np.repeat(step.astype(np.int32), num_layers),
            "layer": np.tile(np.arange(num_layers, dtype=np.int16), len(phase)),
        }

    def _check_rows(self, rows: int) -> None:
        if rows > MOST_ROWS:
            raise HetgymError(
                f"requests: their trace would have {rows:,} rows or more; at most {MOST_ROWS:,} are right"
            )

    def _drawn(self, length: Length, purpose: int) -> IntArray:
        if isinstance(length, int):
            return np.full(self.requests, length, np.int64)
        normals = np.empty(self.requests)
        _fill_normals(self.seed, self.first_request, purpose, normals)
        drawn = length.mean * np.exp(length.sigma * normals - 0.5 * length.sigma**2)
        return np.clip(np.rint(drawn), 1, length.most).astype(np.int64)


def requests_from(where: str, **arguments: Any) -> Requests:
    """Returns requests.

    Args:
        where: What the arguments are of, for the message.
        arguments: The attributes of `Requests`.

    Raises:
        HetgymError: If one is out of its range.
    """
    try:
        return Requests(**arguments)
    except ValidationError as error:
        raise one_line(error, where) from error


@kernel
def _fill_normals(seed: int, first: int, purpose: int, out: NDArray[np.float64]) -> None:
    """Writes a standard normal number for each request."""
    for i in range(out.size):
        out[i] = random_normal(random_stream(seed, first + i, purpose), 0)
