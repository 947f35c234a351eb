"""Where the routing of episodes comes from, told apart by ``kind``."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from ...hardware_models import Platform
from ..model_zoo import CompositionOfExperts, LoraAdapters
from ..moe_models import ServingCosts, load_moe_model, serving_costs
from .files import load_trace
from .generator import RoutingLaw, generate_trace, routing_law
from .requests import Length
from .trace import RoutingTrace

_Count = Annotated[int, Field(ge=1, le=1_000_000)]


class _Source(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str

    def costs(self, platform: Platform, high: str, low: str, **prices: Any) -> ServingCosts:
        """Returns what the model's experts and the rest of it cost on a platform (`serving_costs`)."""
        return serving_costs(load_moe_model(self.model), platform, high, low, **prices)


class GeneratedRouting(_Source):
    """Routing drawn by the law that was fitted to a model; every episode has requests of its own.

    Attributes:
        kind: ``generated``.
        model: A name from `hetgym.workloads.moe_models.list_moe_models`.
        requests: In an episode.
        prompt_tokens: Of each request.
        output_tokens: Of each request.
        recall: As in `RoutingLaw`.
        prediction_distance: As in `RoutingLaw`.
        prediction_width: As in `RoutingLaw`.
        topics: As in `RoutingLaw`.
        topic_share: As in `RoutingLaw`.
    """

    kind: Literal["generated"] = "generated"
    requests: _Count = 1
    prompt_tokens: Length = 16
    output_tokens: Length = 128
    recall: float | None = None
    prediction_distance: Annotated[int, Field(ge=1)] = 1
    prediction_width: Annotated[int, Field(ge=1)] | None = None
    topics: Annotated[int, Field(ge=1)] = 1
    topic_share: Annotated[float, Field(ge=0, le=1)] = 0.0

    @property
    def varies(self) -> bool:
        """Every episode has routing of its own."""
        return True

    @cached_property
    def law(self) -> RoutingLaw:
        """How tokens choose their experts."""
        settings = ("recall", "prediction_distance", "prediction_width", "topics", "topic_share")
        return routing_law(self.model, **{name: getattr(self, name) for name in settings})

    @property
    def shape(self) -> tuple[int, int, int]:
        """Layers, experts in each, and experts that a token uses."""
        return self.law.num_layers, self.law.num_experts, self.law.top_k

    def trace(self, seed: int, episode: int) -> RoutingTrace:
        """Returns the routing of an episode."""
        return generate_trace(
            self.law, self.requests, self.prompt_tokens, self.output_tokens, seed, episode * self.requests
        )


class RecordedRouting(_Source):
    """A recorded trace; every episode plays some of its batches, chosen by its seed and number.

    Attributes:
        kind: ``recorded``.
        path: The trace; ``tiny`` is that of the tiny model, which comes with hetgym.
        model: Whose experts' sizes count; a name or path for `hetgym.workloads.moe_models.load_moe_model`.
        batches: In an episode; None for all.
    """

    kind: Literal["recorded"] = "recorded"
    path: Path
    batches: _Count | None = None

    @field_validator("path")
    @classmethod
    def _beside_scenario(cls, path: Path, info: ValidationInfo) -> Path:
        return info.context["folder"] / path if info.context and str(path) != "tiny" else path

    @property
    def varies(self) -> bool:
        """Episodes share one recording."""
        return False

    @cached_property
    def recording(self) -> RoutingTrace:
        """The trace."""
        if str(self.path) == "tiny":
            from .tiny import tiny_trace

            return tiny_trace()
        return load_trace(self.path)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Layers, experts in each, and experts that a token uses."""
        return self.recording.num_layers, self.recording.num_experts, self.recording.top_k

    def trace(self, seed: int, episode: int) -> RoutingTrace:
        """Returns the recording."""
        return self.recording


AnyRouting = Annotated[
    GeneratedRouting | RecordedRouting | CompositionOfExperts | LoraAdapters, Field(discriminator="kind")
]
