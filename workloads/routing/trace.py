"""Routing traces: which experts of a mixture-of-experts model each token used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compilation import kernel
from ...errors import HetgymError

PREFILL, DECODE = 0, 1
"""Phases."""

MAX_COUNT = 2**15
"""Layers, and experts in each, that a trace can number."""


@kernel
def _first_repeat(experts: NDArray[np.int16], seen: NDArray[np.int64]) -> int:
    """Returns the first row of experts (R, k) that names one twice, or -1; ``seen`` is (E,) and holds -1."""
    for row in range(experts.shape[0]):
        for place in range(experts.shape[1]):
            expert = experts[row, place]
            if seen[expert] == row:
                return row
            seen[expert] = row
    return -1


@dataclass(frozen=True, eq=False)
class RoutingTrace:
    """The routing of some requests, one row for each (token, layer). Construction validates it.

    Rows are in ascending order of (request, phase, step, layer); each (request, phase, step) has one row for each
    of the L layers. So the R rows are those of T tokens, L of each. Arrays are not copied, where they have the right
    type; the trace's own are read-only.

    Attributes:
        model: Which model was recorded, or what the trace imitates.
        num_layers: L, layers with experts.
        num_experts: E, experts in each layer.
        top_k: k, experts that a token uses in each layer.
        request: int64 (R,).
        phase: int8 (R,), `PREFILL` or `DECODE`.
        step: int32 (R,), position of the token within its phase, from 0.
        layer: int16 (R,), from 0.
        experts: int16 (R, k), in descending order of score; no expert twice in a row.
        scores: float32 (R, k), router weights, or None where they are not known.
        predicted: int16 (R, D, m), what is predicted at this layer for the layers at distance 1 ... D, in descending
            order of likelihood, -1 where nothing is; or None.

    Raises:
        HetgymError: If shapes do not match, rows are missing or not in their order, an expert is not one of
            0 ... E - 1 or is twice in a row, or a score is not finite, negative or higher than the one before it.
    """

    model: str
    num_layers: int
    num_experts: int
    top_k: int
    request: NDArray[np.int64]
    phase: NDArray[np.int8]
    step: NDArray[np.int32]
    layer: NDArray[np.int16]
    experts: NDArray[np.int16]
    scores: NDArray[np.float32] | None = None
    predicted: NDArray[np.int16] | None = None

    def __post_init__(self) -> None:
        """Converts, validates and freezes the arrays."""
        if not isinstance(self.model, str) or not self.model:
            raise HetgymError(f"routing trace: model: must be a name (given: {self.model!r})")
        self._check_count("num_layers", MAX_COUNT)
        self._check_count("num_experts", MAX_COUNT)
        self._check_count("top_k", self.num_experts)
        self._convert("experts", np.int16, (None, self.top_k))
        rows = len(self.experts)
        if rows == 0:
            raise self._fail("experts: there are no rows")
        for field, dtype in (("request", np.int64), ("phase", np.int8), ("step", np.int32), ("layer", np.int16)):
            self._convert(field, dtype, (rows,))
        if self.scores is not None:
            self._convert("scores", np.float32, (rows, self.top_k))
        if self.predicted is not None:
            self._convert("predicted", np.int16, (rows, None, None))
        self._check_rows()
        self._check_tokens()
        self._check_experts()
        self._check_scores()

    @property
    def num_rows(self) -> int:
        """R, (token, layer) pairs."""
        return len(self.request)

    @property
    def num_tokens(self) -> int:
        """T, tokens."""
        return len(self.request) // self.num_layers

    @property
    def num_requests(self) -> int:
        """N, requests."""
        return len(self.first_token) - 1

    @cached_property
    def first_token(self) -> NDArray[np.int64]:
        """Where requests begin, int64 (N + 1,): request i has the tokens ``first_token[i] : first_token[i + 1]``."""
        request = self.request[:: self.num_layers]
        begins = np.flatnonzero(request[1:] != request[:-1]) + 1
        first_token = np.concatenate(([0], begins, [len(request)]))
        first_token.flags.writeable = False
        return first_token

    @property
    def request_ids(self) -> NDArray[np.int64]:
        """The number of each request, int64 (N,), ascending."""
        return self.request[self.first_token[:-1] * self.num_layers]

    def by_token(self, column: NDArray[Any]) -> NDArray[Any]:
        """Returns one of the trace's arrays, (R, ...), as (T, L, ...), not copied."""
        return column.reshape(self.num_tokens, self.num_layers, *column.shape[1:])

    def select(self, requests: Iterable[int]) -> RoutingTrace:
        """Returns the trace of some of the requests, in their order in this trace.

        Args:
            requests: Their numbers.

        Raises:
            HetgymError: If there is none, or one that is not in this trace.
        """
        wanted = np.unique(np.asarray(list(requests), np.int64))
        unknown = wanted[~np.isin(wanted, self.request_ids)]
        if len(unknown):
            raise self._fail(f"request: there is no request {unknown[0]}")
        if not len(wanted):
            raise self._fail("request: select at least one")
        return self._take(np.isin(self.request, wanted))

    def _take(self, rows: Any) -> RoutingTrace:
        return RoutingTrace(
            self.model,
            self.num_layers,
            self.num_experts,
            self.top_k,
            self.request[rows],
            self.phase[rows],
            self.step[rows],
            self.layer[rows],
            self.experts[rows],
            None if self.scores is None else self.scores[rows],
            None if self.predicted is None else self.predicted[rows],
        )

    def _fail(self, message: str) -> HetgymError:
        return HetgymError(f"routing trace {self.model!r}: {message}")

    def _check_count(self, field: str, highest: int) -> None:
        value = getattr(self, field)
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or not 1 <= value <= highest:
            raise self._fail(f"{field}: must be a whole number from 1 to {highest} (given: {value!r})")
        object.__setattr__(self, field, int(value))

    def _convert(self, field: str, dtype: type[np.generic], shape: tuple[int | None, ...]) -> None:
        """Replaces an array by a contiguous, read-only view or copy of the right type; None is any length."""
        array = np.asarray(getattr(self, field))
        allowed = "iu" if issubclass(dtype, np.integer) else "iuf"
        if array.dtype.kind not in allowed:
            kind = "integers" if allowed == "iu" else "numbers"
            raise self._fail(f"{field}: must be an array of {kind}, not of {array.dtype}")
        if array.ndim != len(shape) or any(
            size not in {None, actual} for size, actual in zip(shape, array.shape, strict=True)
        ):
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise self._fail(f"{field}: must have the shape ({wanted}), not {array.shape}")
        if issubclass(dtype, np.integer) and array.dtype != dtype and array.size:
            limits = np.iinfo(dtype)
            self._refuse(field, array, (array < limits.min) | (array > limits.max), f"must fit {dtype.__name__}")
        array = np.ascontiguousarray(array, dtype).view()
        array.flags.writeable = False
        object.__setattr__(self, field, array)

    def _refuse(self, field: str, array: NDArray[Any], wrong: NDArray[np.bool_], right: str, scale: int = 1) -> None:
        """Raises an error that names the first wrong value, if there is one; ``scale`` is rows per entry."""
        if wrong.any():
            first = np.unravel_index(int(wrong.argmax()), wrong.shape)
            raise self._fail(f"{field}: row {first[0] * scale} has {array[first]}: {right}")

    def _check_rows(self) -> None:
        """Checks that each token has one row for each layer, which agree on whose it is."""
        layers = self.num_layers
        expected = np.resize(np.arange(layers, dtype=np.int16), self.num_rows)
        right = f"each token has one row for each layer, 0 to {layers - 1} in this order"
        self._refuse("layer", self.layer, self.layer != expected, right)
        if self.num_rows % layers:
            raise self._fail(f"layer: the trace ends at row {self.num_rows - 1} with layer {self.layer[-1]}: {right}")
        for field in ("request", "phase", "step"):
            array = getattr(self, field)
            wrong = (self.by_token(array) != self.by_token(array)[:, :1]).reshape(-1)
            self._refuse(field, array, wrong, "must be the same in all rows of a token")

    def _check_tokens(self) -> None:
        """Checks that tokens are in their order, without gaps."""
        request, phase, step = (array[:: self.num_layers] for array in (self.request, self.phase, self.step))
        self._refuse(
            "phase", phase, (phase != PREFILL) & (phase != DECODE), "must be 0, prefill, or 1, decode", self.num_layers
        )
        same = np.zeros(self.num_tokens, np.bool_)
        same[1:] = request[1:] == request[:-1]
        falls = np.zeros_like(same)
        falls[1:] = request[1:] < request[:-1]
        self._refuse("request", request, falls, "requests must be in ascending order", self.num_layers)
        falls[1:] = same[1:] & (phase[1:] < phase[:-1])
        self._refuse("phase", phase, falls, "a request's prefill must come before its decode", self.num_layers)
        same[1:] &= phase[1:] == phase[:-1]
        wrong = step != 0
        wrong[1:] = np.where(same[1:], step[1:] != step[:-1].astype(np.int64) + 1, wrong[1:])
        right = "the steps of each phase of a request must be 0, 1, ... without gaps"
        self._refuse("step", step, wrong, right, self.num_layers)

    def _check_experts(self) -> None:
        right = f"experts are 0 to {self.num_experts - 1}"
        if self.experts.min() < 0 or self.experts.max() >= self.num_experts:
            self._refuse("experts", self.experts, (self.experts < 0) | (self.experts >= self.num_experts), right)
        row = _first_repeat(self.experts, np.full(self.num_experts, -1))
        if row >= 0:
            experts = self.experts[row].tolist()
            twice = next(expert for expert in experts if experts.count(expert) > 1)
            raise self._fail(f"experts: row {row} has {twice} twice: experts of a token must differ")
        predicted = self.predicted
        if predicted is None:
            return
        if predicted.size == 0:
            raise self._fail(f"predicted: must have the shape (rows, D, m) with D and m above 0, not {predicted.shape}")
        if predicted.min() < -1 or predicted.max() >= self.num_experts:
            wrong = (predicted < -1) | (predicted >= self.num_experts)
            self._refuse("predicted", predicted, wrong, f"{right}, and -1 is none")

    def _check_scores(self) -> None:
        scores = self.scores
        if scores is None:
            return
        if not (scores.min() >= 0 and scores.max() < np.inf):  # false where one is NaN
            self._refuse("scores", scores, ~((scores >= 0) & (scores < np.inf)), "must be finite and zero or more")
        for place in range(1, self.top_k):
            wrong = scores[:, place] > scores[:, place - 1]
            self._refuse("scores", scores[:, place], wrong, "must be in descending order within the row")
