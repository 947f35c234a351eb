"""Training loops, their settings and checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .settings import TrainSettings

if TYPE_CHECKING:
    from .training import train

__all__ = ["TrainSettings", "train"]


def __getattr__(name: str) -> Any:
    """Imports torch when something is to be trained: all other commands start without it."""
    if name == "train":
        from .training import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
