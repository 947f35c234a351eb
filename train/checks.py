"""Checks that settings of training have in common."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from ..errors import HetgymError

if TYPE_CHECKING:
    from ..agents.card import Card


def check_least(settings: Any, **least: float) -> None:
    """Checks that numbers are not too small.

    Args:
        settings: Whose.
        least: The least that each may be, by name.

    Raises:
        HetgymError: If one is less.
    """
    for name, bound in least.items():
        if not getattr(settings, name) >= bound:
            raise HetgymError(f"{name}: must be at least {bound} (given: {getattr(settings, name)})")


def check_most(settings: Any, **most: float) -> None:
    """Checks that numbers are not too large.

    Args:
        settings: Whose.
        most: The most that each may be, by name.

    Raises:
        HetgymError: If one is more.
    """
    for name, bound in most.items():
        if not getattr(settings, name) <= bound:
            raise HetgymError(f"{name}: must be at most {bound} (given: {getattr(settings, name)})")


def check_shares(settings: Any, *names: str) -> None:
    """Checks that numbers are above 0 and at most 1.

    Raises:
        HetgymError: If one is not.
    """
    for name in names:
        if not 0 < getattr(settings, name) <= 1:
            raise HetgymError(f"{name}: must be above 0 and at most 1 (given: {getattr(settings, name)})")


def check_parts(settings: Any, *names: str) -> None:
    """Checks that numbers are from 0 to 1.

    Raises:
        HetgymError: If one is not.
    """
    for name in names:
        if not 0 <= getattr(settings, name) <= 1:
            raise HetgymError(f"{name}: must be from 0 to 1 (given: {getattr(settings, name)})")


def check_unchanged(folder: Path, card: Card, settings: Any, free: Collection[str]) -> None:
    """Checks that a run goes on with the settings that it was started with.

    Args:
        folder: The checkpoint that it goes on from.
        card: The checkpoint's.
        settings: A dataclass.
        free: Names of those that may be others.

    Raises:
        HetgymError: If another differs.
    """
    for name, value in to_jsonable_python(asdict(settings)).items():
        if name not in free and card.settings.get(name) != value:
            raise HetgymError(
                f"{folder}: cannot resume with {name} = {value!r}: the run was started with {card.settings.get(name)!r}"
            )
