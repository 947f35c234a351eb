"""Checkpoints: a folder with tensors as safetensors and a card as JSON, never a pickle.

``policy.safetensors`` holds the network, ``training.safetensors`` (optional) what training needs to go on, and
``card.json`` says what it is. A folder appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..envs import ObservationSchema
from ..errors import HetgymError, one_line, read_text
from .networks import CandidateScorer, NetworkSettings
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


def package_versions() -> dict[str, str]:
    """Returns the versions that a result depends on."""
    packages = "hetgym", "torch", "stable-baselines3", "sb3-contrib", "torch-geometric", "cmaes", "numpy", "numba"
    return {"python": sys.version.split()[0], **{package: version(package) for package in packages}}


def save_checkpoint(
    folder: Path, card: Card, policy: Mapping[str, Tensor], training: Mapping[str, Tensor] | None = None
) -> None:
    """Writes a checkpoint, atomically: into a temporary folder that is then renamed.

    Args:
        folder: Where; what is there is replaced.
        card: What it is.
        policy: The network's tensors.
        training: What training needs to go on.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file({name: tensor.detach().contiguous() for name, tensor in policy.items()}, partial / POLICY)
    if training is not None:
        save_file(dict(training), partial / TRAINING)
    (partial / CARD).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
    previous = _previous(folder)
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        os.replace(folder, previous)
    os.replace(partial, folder)
    shutil.rmtree(previous, ignore_errors=True)


def _previous(folder: Path) -> Path:
    """Where a checkpoint waits while its successor takes its name."""
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
        for whole in (folder, _previous(folder)):
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


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a safetensors file.

    Raises:
        HetgymError: If it cannot be read.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise HetgymError(f"{path}: cannot read these tensors: {error}") from error


def load_network(folder: Path, schema: ObservationSchema) -> CandidateScorer:
    """Returns the network of a checkpoint, ready to decide.

    Args:
        folder: The checkpoint.
        schema: What the environment shows.

    Raises:
        HetgymError: If the checkpoint was trained on other features, or its tensors do not fit its card.
    """
    card = load_card(folder)
    check_features(folder, card, schema)
    network = CandidateScorer(schema, card.network)
    load_weights(network, folder)
    return network.eval()


def check_features(folder: Path, card: Card, schema: ObservationSchema) -> None:
    """Checks that a checkpoint's network reads what an environment shows.

    Args:
        folder: The checkpoint.
        card: What it is.
        schema: What the environment shows.

    Raises:
        HetgymError: If it was trained on other features.
    """
    for array, names in schema.names().items():
        if card.features.get(array) != names:
            raise HetgymError(
                f"{folder / CARD}: features: trained on {array} {card.features.get(array)}, but this environment "
                f"shows {names}; train anew, or use the hetgym version that trained it ({card.versions.get('hetgym')})"
            )


def load_weights(network: nn.Module, folder: Path) -> None:
    """Takes over a checkpoint's tensors.

    Args:
        network: Of the size that the checkpoint's card says.
        folder: The checkpoint.

    Raises:
        HetgymError: If they do not fit the network, or are not finite.
    """
    try:
        network.load_state_dict(load_tensors(folder / POLICY))
    except RuntimeError as error:
        raise HetgymError(
            f"{folder / POLICY}: does not fit the network of its card: {' '.join(str(error).split())}"
        ) from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in network.state_dict().values()):
        raise HetgymError(f"{folder / POLICY}: holds numbers that are not finite")
