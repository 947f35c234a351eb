"""Requests to be offloaded: from whom, and how large they are, as functions of (seed, episode, request)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..compilation import inner
from ..errors import HetgymError
from .counter_random import random_integer, random_normal, random_stream, random_uniform
from .task_graph import FloatArray

LAWS = ("constant", "uniform", "exponential", "lognormal", "recorded")
"""In the order of their codes."""

_CONSTANT, _UNIFORM, _EXPONENTIAL, _LOGNORMAL, _RECORDED = range(5)

QUANTITY = np.dtype(
    [
        ("law", np.int64),  # place in LAWS
        ("mean", np.float64),
        ("low", np.float64),
        ("high", np.float64),
        ("sigma", np.float64),
        ("column", np.int64),  # of the recorded numbers
    ],
    align=True,
)
"""The law of a number."""

REQUEST_KIND = np.dtype(
    [("share", np.float64), ("size", QUANTITY), ("work", QUANTITY), ("deadline", QUANTITY)], align=True
)
"""A kind of request; ``share`` is of those of this kind or one before it."""

_USERS, _KINDS, _NUMBERS = 120, 121, 122


class Quantity(BaseModel):
    """The law of a number that is drawn for each request; in YAML a bare number is constant.

    Attributes:
        law: ``constant``, ``uniform``, ``exponential``, ``lognormal``, or ``recorded`` beside the arrivals.
        mean: Of a constant, exponential or lognormal number, before it is clipped.
        low: The least, of all laws.
        high: The greatest.
        sigma: Standard deviation of a lognormal number's logarithm.
        column: Of the table of recorded arrivals.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    law: Literal["constant", "uniform", "exponential", "lognormal", "recorded"] = "constant"
    mean: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    low: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    high: Annotated[float, Field(ge=0)] = np.inf
    sigma: Annotated[float, Field(ge=0, le=5)] = 1.0
    column: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare_number(cls, given: Any) -> Any:
        return {"mean": given} if isinstance(given, int | float) and not isinstance(given, bool) else given

    @model_validator(mode="after")
    def _check(self) -> Quantity:
        if not self.low <= self.high:
            raise ValueError(f"low must not be above high (given: {self.low:g} and {self.high:g})")
        if self.law == "uniform" and not np.isfinite(self.high):
            raise ValueError("a uniform number needs low and high")
        if self.law in ("constant", "exponential", "lognormal") and self.mean is None:
            raise ValueError(f"a number of law {self.law} needs a mean")
        if self.law == "recorded" and self.column is None:
            raise ValueError("a recorded number needs the column of the table of arrivals")
        return self

    @property
    def typical(self) -> float:
        """A usual value of a number that is not recorded: the mean, before a drawn number is clipped."""
        if self.law == "uniform":
            return (self.low + self.high) / 2
        return float(min(max(self.mean or 0.0, self.low), self.high))

    def record(self, column: int) -> tuple[int, float, float, float, float, int]:
        """Returns it as kernels read it, a `QUANTITY`.

        Args:
            column: Place of its column among those that are recorded.
        """
        return LAWS.index(self.law), self.mean or 0.0, self.low, self.high, self.sigma, column


def read_columns(path: Path, columns: list[str]) -> FloatArray:
    """Returns numbers that a table holds beside the arrivals, float64 (rows, columns).

    Args:
        path: A CSV file.
        columns: Their names.

    Raises:
        HetgymError: If there is no such file or column, or a number is negative or not finite.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise HetgymError(f"{path}: cannot read requests: {' '.join(str(error).split())}") from error
    for column in columns:
        if column not in table:
            raise HetgymError(f"{path}: there is no column {column!r}; there are {', '.join(table.columns)}")
    numbers: FloatArray = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    wrong = np.argwhere(~(np.isfinite(numbers) & (numbers >= 0)))
    if wrong.size:
        row, place = wrong[0]
        raise HetgymError(
            f"{path}: {columns[place]}: row {row} must be a finite number that is not negative "
            f"(given: {str(table[columns[place]].iloc[row])!r})"
        )
    # Of one layout, or kernels would be compiled anew for it.
    return np.ascontiguousarray(numbers)


@inner
def draw_quantity(quantity: Any, recorded: FloatArray, stream: np.uint64, request: int, place: int) -> float:
    """Returns a number of a request.

    Args:
        quantity: A `QUANTITY`.
        recorded: float64 (rows, columns); request r has row r, which go round.
        stream: Of the episode.
        request: Its index.
        place: Which of its numbers, from 0, below 4.
    """
    law, index = quantity.law, 8 * request + 2 * place
    if law == _CONSTANT:
        value = quantity.mean
    elif law == _UNIFORM:
        value = quantity.low + (quantity.high - quantity.low) * random_uniform(stream, index)
    elif law == _EXPONENTIAL:
        value = -quantity.mean * np.log(random_uniform(stream, index))
    elif law == _LOGNORMAL:
        value = quantity.mean * np.exp(quantity.sigma * random_normal(stream, index) - 0.5 * quantity.sigma**2)
    else:
        value = recorded[request % recorded.shape[0], quantity.column]
    return float(min(max(value, quantity.low), quantity.high))


@inner
def draw_request(
    kinds: NDArray[Any],
    recorded: FloatArray,
    num_users: int,
    in_turn: bool,
    seed: int,
    episode: int,
    index: int,
    request: Any,
) -> None:
    """Writes all about a request but its arrival.

    Args:
        kinds: (kinds,) of `REQUEST_KIND`.
        recorded: float64 (rows, columns).
        num_users: K.
        in_turn: Whether they ask in turn; else each is as likely.
        seed: Of the environment.
        episode: Its number.
        index: Of the request.
        request: A record with ``user``, ``kind``, ``size``, ``work`` and ``deadline``.
    """
    request.user = index % num_users
    if num_users > 1 and not in_turn:
        request.user = random_integer(random_stream(seed, episode, _USERS), index, num_users)
    kind = 0
    if kinds.size > 1:
        u = random_uniform(random_stream(seed, episode, _KINDS), index)
        while kind < kinds.size - 1 and u > kinds[kind].share:
            kind += 1
    request.kind = kind
    numbers = random_stream(seed, episode, _NUMBERS)
    request.size = draw_quantity(kinds[kind].size, recorded, numbers, index, 0)
    request.work = draw_quantity(kinds[kind].work, recorded, numbers, index, 1)
    request.deadline = draw_quantity(kinds[kind].deadline, recorded, numbers, index, 2)
