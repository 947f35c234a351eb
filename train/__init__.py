"""Training loops, their settings and checkpoints."""

from .settings import TrainSettings
from .training import train

__all__ = ["TrainSettings", "train"]
