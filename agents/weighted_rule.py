"""Checkpoints of trained dispatching rules; `hetgym.agents.heuristics.weighted_rule` describes and plays them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import HetgymError
from .card import CARD, POLICY, load_card
from .checkpoint import load_tensors
from .heuristics.weighted_rule import DEVICE_FEATURES, TASK_FEATURES, RuleWeights, WeightedRule

ALGORITHM: Literal["weighted-rule"] = "weighted-rule"


def rule_features() -> dict[str, list[str]]:
    """Returns the names of the features that a rule reads, as cards have them."""
    return {
        "task": [feature.name for feature in TASK_FEATURES],
        "device": [feature.name for feature in DEVICE_FEATURES],
    }


def rule_tensors(weights: RuleWeights) -> dict[str, Tensor]:
    """Returns a rule as tensors, by name."""
    return {name: torch.from_numpy(array.copy()) for name, array in weights._asdict().items()}


def load_weighted_rule(name: str, folder: Path) -> WeightedRule:
    """Returns the policy of a trained rule.

    Args:
        name: What the policy is called.
        folder: The checkpoint.

    Raises:
        HetgymError: If it is not the checkpoint of such a rule.
    """
    card, path = load_card(folder), folder / POLICY
    if card.algorithm != ALGORITHM:
        raise HetgymError(f"{folder / CARD}: algorithm: must be {ALGORITHM} (given: {card.algorithm})")
    tensors, wanted = load_tensors(path), rule_tensors(RuleWeights.least_work())
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    if card.features != rule_features() or shapes != {key: tuple(tensor.shape) for key, tensor in wanted.items()}:
        raise HetgymError(
            f"{path}: not a rule of this version of hetgym; train anew, or use the version that trained it "
            f"({card.versions.get('hetgym')})"
        )
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise HetgymError(f"{path}: holds numbers that are not finite")
    weights = {key: tensor.numpy().astype(np.float64) for key, tensor in tensors.items()}
    return WeightedRule(name, RuleWeights(**weights))
