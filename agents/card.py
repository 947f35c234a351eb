"""Cards of checkpoints: what a folder of tensors is, and where it lies. Nothing here needs torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import HetgymError, one_line, read_text
from .network_settings import NetworkSettings
from .policy import Algorithm

POLICY, TRAINING, CARD = "policy.safetensors", "training.safetensors", "card.json"


class Evaluation(BaseModel):
    """What a checkpoint and its siblings, trained with other seeds, did on fresh instances.

    Attributes:
        scenario: What was played.
        settings: Of the scenario, those that were changed.
        episodes: How many.
        seed: Of the first.
        metric: What was compared.
        reference: The policy that it was compared with.
        ratio: Of the checkpoint's mean to the reference's.
        low: Where the ratio's paired 95 % bootstrap interval begins.
        high: Where it ends.
        seeds: The ratio of each training seed.
        further_seed: Where the ratio of a further training seed lies with a probability of 95 % (Student's t).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scenario: str
    settings: dict[str, str] = {}
    episodes: int
    seed: int
    metric: str
    reference: str
    ratio: float
    low: float
    high: float
    seeds: dict[str, float]
    further_seed: tuple[float, float]


class Card(BaseModel):
    """What a checkpoint is.

    Attributes:
        format: Version of this layout.
        algorithm: How it was trained.
        family: The family it decides for.
        scenario: The scenario it was trained on, in full.
        seed: Of the training run.
        steps: Decisions it was trained for.
        command: What started the training.
        versions: Of the packages that matter.
        network: Settings of the network.
        features: Names of the features it reads, by array.
        results: Named numbers, such as those on held-out instances.
        settings: The training's settings.
        evaluation: What came of it, for checkpoints that come with hetgym.
        bad_at: Where it should not be used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    algorithm: Algorithm
    family: str
    scenario: dict[str, Any]
    seed: int
    steps: Annotated[int, Field(ge=0)]
    command: str
    versions: dict[str, str]
    network: NetworkSettings
    features: dict[str, list[str]]
    results: dict[str, float] = {}
    settings: dict[str, Any] = {}
    evaluation: Evaluation | None = None
    bad_at: str = ""


def previous_of(folder: Path) -> Path:
    """Returns where a checkpoint waits while its successor takes its name."""
    return folder.with_name(f".{folder.name}.previous")


def find_checkpoint(path: Path) -> Path:
    """Returns a checkpoint folder: the path itself, or the best one of a training run's folder.

    Raises:
        HetgymError: If there is none.
    """
    return _first_whole(path, [path, path / "best"])


def find_last(run: Path) -> Path:
    """Returns the last checkpoint of a training run's folder.

    Raises:
        HetgymError: If there is none.
    """
    return _first_whole(run, [run / "last"])


def _first_whole(path: Path, folders: list[Path]) -> Path:
    for folder in folders:
        for whole in (folder, previous_of(folder)):
            if (whole / CARD).is_file():
                return whole
    names = " or ".join(str(folder / CARD) for folder in folders)
    raise HetgymError(f"{path}: no checkpoint here: there is no {names}")


def load_card(folder: Path) -> Card:
    """Returns a checkpoint's card.

    Raises:
        HetgymError: If it cannot be read or is not a card.
    """
    try:
        return Card.model_validate(json.loads(read_text(folder / CARD, "checkpoint card")))
    except json.JSONDecodeError as error:
        raise HetgymError(f"{folder / CARD}: not valid JSON: {error}") from error
    except ValidationError as error:
        raise one_line(error, str(folder / CARD)) from error
