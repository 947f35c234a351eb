"""Mixture-of-experts models: their published shapes, and what follows from them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import one_line, read_yaml, unknown_name

_PUBLISHED = Path(__file__).parent / "moe-models.yaml"

_Size = Annotated[int, Field(ge=1, le=10_000_000)]
_Count = Annotated[int, Field(ge=0, le=10_000_000)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Attention(_Frozen):
    """The shape of a model's attention: grouped queries, or a latent (multi-head latent attention).

    Attributes:
        heads: Query heads.
        head_size: Numbers of a head's keys and values; with a latent, less the part that is rotated.
        kv_heads: Key and value heads; None with a latent.
        kv_latent: Numbers of the latent from which keys and values are made, which is all that is kept of a token
            besides the rotated part.
        query_latent: Numbers of the latent from which queries are made; None: they are made directly.
        rope_size: Further numbers of a head's queries, and of the one key that all heads share, which are rotated.
    """

    heads: _Size
    head_size: _Size
    kv_heads: _Size | None = None
    kv_latent: _Size | None = None
    query_latent: _Size | None = None
    rope_size: _Count = 0

    @model_validator(mode="after")
    def _one_kind(self) -> Attention:
        if (self.kv_heads is None) == (self.kv_latent is None):
            raise ValueError("give either kv_heads or kv_latent")
        if self.kv_latent is None and (self.query_latent is not None or self.rope_size):
            raise ValueError("query_latent and rope_size go with kv_latent")
        return self


class MoEModel(_Frozen):
    """A decoder whose feed-forward networks are experts, each of three matrices of ``hidden`` x ``intermediate``.

    Attributes:
        name: Lower-case with hyphens.
        source: Where the numbers come from.
        parameters: The published total, in billions; None where there is none.
        layers: All of them.
        dense_layers: The first of them, which have a plain feed-forward network in the place of experts.
        dense_intermediate: Inner width of that network.
        experts: E, routed experts in each of the other layers.
        top_k: k, routed experts that a token uses in each.
        hidden: Width of a token.
        intermediate: Inner width of a routed expert.
        shared_experts: Experts in each layer that every token uses.
        shared_intermediate: Inner width of each of these.
        attention: Its shape.
        vocabulary: Tokens that there are.
    """

    name: Annotated[str, Field(min_length=1)]
    source: str = ""
    parameters: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    layers: Annotated[int, Field(ge=1, le=10_000)]
    dense_layers: _Count = 0
    dense_intermediate: _Count = 0
    experts: Annotated[int, Field(ge=1, le=32_767)]
    top_k: Annotated[int, Field(ge=1, le=256)]
    hidden: _Size
    intermediate: _Size
    shared_experts: _Count = 0
    shared_intermediate: _Count = 0
    attention: Attention
    vocabulary: _Size

    @model_validator(mode="after")
    def _consistent(self) -> MoEModel:
        if self.top_k > self.experts:
            raise ValueError(f"top_k: must be at most experts, {self.experts} (given: {self.top_k})")
        if self.dense_layers >= self.layers:
            raise ValueError(f"dense_layers: must be fewer than layers, {self.layers} (given: {self.dense_layers})")
        for count, width in (("dense_layers", "dense_intermediate"), ("shared_experts", "shared_intermediate")):
            if (getattr(self, count) == 0) != (getattr(self, width) == 0):
                raise ValueError(f"{count} and {width}: either both are 0 or neither")
        return self

    @property
    def moe_layers(self) -> int:
        """L, layers with experts."""
        return self.layers - self.dense_layers


@cache
def _published() -> dict[str, dict[str, Any]]:
    content: dict[str, dict[str, Any]] = read_yaml(_PUBLISHED, "file of models")
    return content


def list_moe_models() -> list[str]:
    """Returns the names of the published models."""
    return sorted(_published())


def load_moe_model(name_or_path: str | Path) -> MoEModel:
    """Returns a published model by its name, or a model from a YAML file.

    Args:
        name_or_path: A name from `list_moe_models`, or a path that ends in ``.yaml`` or ``.yml``.

    Raises:
        HetgymError: If there is no such model or file, or the file does not describe a model.
    """
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"}:
        content = read_yaml(path, "model")
    elif str(name_or_path) in _published():
        content = {"name": str(name_or_path), **_published()[str(name_or_path)]}
    else:
        raise unknown_name(
            "mixture-of-experts model", str(name_or_path), [*list_moe_models(), "a path to a .yaml file"]
        )
    try:
        return MoEModel.model_validate(content)
    except ValidationError as error:
        raise one_line(error, str(path)) from error
