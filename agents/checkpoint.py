"""Checkpoints: a folder with tensors as safetensors and a card as JSON, never a pickle.

``policy.safetensors`` holds the network, ``training.safetensors`` (optional) what training needs to go on, and
``card.json`` says what it is. A folder appears whole or not at all.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..envs import ObservationSchema
from ..errors import HetgymError
from .card import CARD, POLICY, TRAINING, Card, load_card, previous_of
from .networks import CandidateScorer


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
    previous = previous_of(folder)
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        os.replace(folder, previous)
    os.replace(partial, folder)
    shutil.rmtree(previous, ignore_errors=True)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a safetensors file.

    Raises:
        HetgymError: If it cannot be read.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise HetgymError(f"{path}: cannot read these tensors: {error}") from error


@contextmanager
def saved_training(folder: Path) -> Iterator[dict[str, Tensor]]:
    """Gives what training needs to go on; where that cannot be taken over, the file is to blame.

    Args:
        folder: The checkpoint.

    Raises:
        HetgymError: If it cannot be read, or is not of such a run.
    """
    state = load_tensors(folder / TRAINING)
    try:
        yield state
    except HetgymError:  # says itself what is wrong
        raise
    except (LookupError, RuntimeError, TypeError, ValueError) as error:
        raise HetgymError(
            f"{folder / TRAINING}: not of a run with these settings ({' '.join(str(error).split())}); begin anew"
        ) from error


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
