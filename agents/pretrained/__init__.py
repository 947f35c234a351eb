"""Checkpoints that come with hetgym: a folder each, with tensors and the card that says how they were made."""

from __future__ import annotations

from pathlib import Path

from ...errors import HetgymError, unknown_name
from ..card import CARD, load_card

FOLDER = Path(__file__).parent


def list_pretrained() -> dict[str, Path]:
    """Returns the folder of every checkpoint that comes with hetgym, by name."""
    return {path.parent.name: path.parent for path in sorted(FOLDER.glob(f"*/{CARD}"))}


def find_pretrained(name: str) -> Path:
    """Returns the folder of a checkpoint that comes with hetgym.

    Raises:
        HetgymError: If there is none of this name.
    """
    known = list_pretrained()
    if name not in known:
        raise unknown_name("pretrained checkpoint", name, list(known))
    return known[name]


def pretrained_for(scenario: str, family: str) -> str:
    """Returns the name of the checkpoint that was trained on a scenario.

    Args:
        scenario: The scenario's name.
        family: Its family.

    Raises:
        HetgymError: If there is none.
    """
    cards = {name: load_card(folder) for name, folder in list_pretrained().items()}
    for name, card in cards.items():
        if card.scenario["name"] == scenario:
            return name
    near = ", ".join(f"pretrained:{name}" for name, card in cards.items() if card.family == family)
    raise HetgymError(
        f"policy 'pretrained': no checkpoint for scenario {scenario!r} comes with hetgym; "
        f"there are of its family: {near or 'none'}"
    )
