"""Routing traces: which experts of a mixture-of-experts model each token used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PREFILL, DECODE = 0, 1
"""Phases."""


@dataclass(frozen=True, eq=False)
class RoutingTrace:
    """The routing of some requests, one row for each (token, layer).

    Rows are in ascending order of (request, phase, step, layer); each (request, phase, step) has one row for each
    of the L layers.

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

    @property
    def num_rows(self) -> int:
        """R, (token, layer) pairs."""
        return len(self.request)
