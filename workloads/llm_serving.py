"""How long a language model takes to read prompts and to write answers: measured servers, and devices by roofline."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import HetgymError, one_line, read_yaml, unknown_name
from ..hardware_models import Device, operation_time
from .architectures import DecoderModel
from .serving import ACTIVATION_BYTES, sixteen_bits, weight_bytes
from .task_graph import FloatArray

_PUBLISHED = Path(__file__).parent / "llm-serving.yaml"

_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PrefillTimes(_Frozen):
    """Of a prompt of n tokens: ``fixed + per_token n + per_token_squared n^2``, s.

    Attributes:
        fixed: Seconds. A fit to long prompts may be negative here.
        per_token: Seconds.
        per_token_squared: Seconds.
    """

    fixed: Annotated[float, Field(allow_inf_nan=False)]
    per_token: _Seconds
    per_token_squared: _Seconds = 0.0


class DecodeTimes(_Frozen):
    """Of a step that gives each request of a batch one token: ``fixed + per_request batch + per_token tokens``, s.

    Attributes:
        fixed: Seconds, such as for reading the weights.
        per_request: Seconds.
        per_token: Seconds for each token whose keys and values are read, over all requests.
    """

    fixed: _Seconds
    per_request: _Seconds
    per_token: _Seconds = 0.0


class SharedRate(NamedTuple):
    """What a token of an answer takes while n requests are served at once: ``fixed + per_job n``, s."""

    fixed: float
    per_job: float


class LlmTimes(_Frozen):
    """How long a server takes for a language model.

    The form is that of DistServe's simulator (Zhong et al. 2024, OSDI, arXiv:2401.09670), for one prompt at a time.

    Attributes:
        name: Lower-case with hyphens.
        source: Where the numbers come from.
        accelerators: Of the server.
        prefill: Of a prompt.
        decode: Of a step, in small batches.
        decode_large: Of a step in large ones; None: as in small ones.
        large_batch: The least large batch, where there is ``decode_large``.
    """

    name: Annotated[str, Field(min_length=1)]
    source: str = ""
    accelerators: Annotated[int, Field(ge=1)] = 1
    prefill: PrefillTimes
    decode: DecodeTimes
    decode_large: DecodeTimes | None = None
    large_batch: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _both_or_neither(self) -> LlmTimes:
        if (self.decode_large is None) != (self.large_batch is None):
            raise ValueError("decode_large and large_batch: give both or neither")
        return self

    def prefill_polynomial(self) -> FloatArray:
        """Returns c0, c1, c2 of a prompt's seconds ``c0 + c1 n + c2 n^2``, float64 (3,).

        A negative c0 of a fit becomes 0, so that no prompt takes negative time. Every prompt then takes longer than
        the fit says, by what c0 was below 0.
        """
        prefill = self.prefill
        return np.array([max(prefill.fixed, 0.0), prefill.per_token, prefill.per_token_squared])

    def shared_rate(self, context: float, batch: int = 1) -> SharedRate:
        """Returns what a token of an answer takes, as a function of how many requests are served at once.

        Args:
            context: Tokens whose keys and values a request reads, as a mean over requests and their answers.
            batch: A usual number of requests, which chooses between small and large batches.

        Raises:
            HetgymError: If an argument is out of its range.
        """
        if not 0 <= context < math.inf:
            raise HetgymError(f"{self.name}: context: must be finite and not negative (given: {context})")
        if batch < 1:
            raise HetgymError(f"{self.name}: batch: must be at least 1 (given: {batch})")
        is_large = self.large_batch is not None and batch >= self.large_batch
        decode = self.decode_large if is_large and self.decode_large else self.decode
        return SharedRate(decode.fixed, decode.per_request + decode.per_token * context)


@cache
def _published() -> dict[str, dict[str, Any]]:
    content: dict[str, dict[str, Any]] = read_yaml(_PUBLISHED, "file of times")
    return content


def list_llm_times() -> list[str]:
    """Returns the names of the measured servers."""
    return sorted(_published())


def load_llm_times(name_or_path: str | Path) -> LlmTimes:
    """Returns the times of a measured server by its name, or times from a YAML file.

    Args:
        name_or_path: A name from `list_llm_times`, or a path that ends in ``.yaml`` or ``.yml``.

    Raises:
        HetgymError: If there is no such server or file, or the file does not describe times.
    """
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"}:
        content = read_yaml(path, "file of times")
    elif str(name_or_path) in _published():
        content = {"name": str(name_or_path), **_published()[str(name_or_path)]}
    else:
        raise unknown_name(
            "server of a language model", str(name_or_path), [*list_llm_times(), "a path to a .yaml file"]
        )
    try:
        return LlmTimes.model_validate(content)
    except ValidationError as error:
        raise one_line(error, str(path)) from error


def device_llm_times(
    model: DecoderModel, device: Device, weight_precision: str = "fp16", precision: str | None = None
) -> LlmTimes:
    """Returns how long a device takes for a language model, by the roofline model.

    Reading the weights and computing with them overlap, so that the longer of the two counts. Here they are added
    instead, as in the form that was fitted to servers: at most twice too long, where both take the same time, and right
    where either dominates, as arithmetic does in long prompts, and on accelerators reading in answers. Keys and values
    have 16 bits.

    Args:
        model: Which.
        device: Where.
        weight_precision: In which the weights are kept: a key of `hetgym.workloads.serving.PARAMETER_BYTES`.
        precision: In which the device computes: a key of `Device.peak_flops`; by default the faster of those of 16
            bits, or fp32.

    Raises:
        HetgymError: If there is no such precision, or the device lacks it or a memory bandwidth.
    """
    precision = precision or sixteen_bits(device)

    def seconds(operation: str, flop: float = 0.0, num_bytes: float = 0.0) -> float:
        return float(operation_time(device, operation, precision, flop, num_bytes))

    layers, output = model.layers * model.layer_parameters, model.output_parameters
    reading = seconds("matmul", num_bytes=weight_bytes(weight_precision) * (layers + output))
    each_layer, each_output = seconds("matmul", 2.0 * layers), seconds("matmul", 2.0 * output)
    pair_flop = float(model.layers * model.pair_flop)
    pair = seconds("attention", pair_flop)
    # A prompt's n (n + 1) / 2 pairs of tokens are n^2 / 2 and n / 2; its last token alone passes the output layer.
    prefill = PrefillTimes(fixed=reading + each_output, per_token=each_layer + pair / 2, per_token_squared=pair / 2)
    kept = seconds("attention", pair_flop, ACTIVATION_BYTES * model.layers * model.kept_numbers)
    return LlmTimes(
        name=f"{model.name}-{device.name}",
        source="roofline model",
        prefill=prefill,
        decode=DecodeTimes(fixed=reading, per_request=each_layer + each_output, per_token=kept),
    )
