"""Settings that words of a command line change."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from ...errors import HetgymError


class _Loader(yaml.SafeLoader):
    """Reads 8e9 as a number, as YAML 1.2 does; in YAML 1.1 it is a word."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def parse_changes(changes: Sequence[str]) -> dict[str, Any]:
    """Returns the settings that ``NAME=VALUE`` words change; values are read as YAML.

    Raises:
        HetgymError: If a word has no ``=``, or its value is not YAML.
    """
    return {name: read_value(value, f"set: the value of {name}") for name, value in map(split_change, changes)}


def split_change(change: str, option: str = "set", form: str = "NAME=VALUE") -> tuple[str, str]:
    """Returns the name of a setting, with underscores, and the text of its value.

    Args:
        change: The word.
        option: Whose word it is, for the message.
        form: What it should look like, for the message.

    Raises:
        HetgymError: If the word has no name or no ``=``.
    """
    name, separator, value = change.partition("=")
    if not name or not separator:
        raise HetgymError(f"{option}: {change!r} is not of the form {form}")
    return name.replace("-", "_"), value


def read_value(text: str, what: str) -> Any:
    """Returns what a text means as YAML.

    Args:
        text: One value.
        what: What it is, for the message.

    Raises:
        HetgymError: If it is not YAML.
    """
    try:
        # SafeLoader's constructor makes nothing but plain values.
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise HetgymError(f"{what} is not valid YAML (given: {text!r})") from error
    except RecursionError as error:
        raise HetgymError(f"{what} is nested too deeply") from error
