"""The errors that hetgym raises for bad input."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The compiled loader, where PyYAML was built with it, is several times faster."""


class HetgymError(ValueError):
    """Bad input: the message says where, what was given and what would be right."""


def read_text(path: Path, what: str) -> str:
    """Returns the text of a file.

    Args:
        path: The file.
        what: What the file should be, for the message ("platform", "workflow", ...).

    Raises:
        HetgymError: If the file cannot be read, or is not UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise HetgymError(f"{path}: cannot read this {what}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise HetgymError(f"{path}: this {what} is not UTF-8 text") from error
    except ValueError as error:  # a NUL character in the path
        raise HetgymError(f"{str(path)!r}: cannot read this {what}: {error}") from error


@contextmanager
def replacing(path: Path, what: str) -> Iterator[Path]:
    """Gives a path to write to, in a folder that is made if need be; the file then replaces another atomically.

    Args:
        path: The file to replace.
        what: What the file is, for the message.

    Raises:
        HetgymError: If the file cannot be written.
    """
    partial = Path(f"{path}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise HetgymError(f"{path}: cannot write this {what}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL character in the path
        raise HetgymError(f"{str(path)!r}: cannot write this {what}: {error}") from error
    finally:
        with suppress(OSError, ValueError):
            partial.unlink()


def write_text(path: Path, text: str, what: str) -> None:
    """Writes a file as UTF-8 text, in a folder that is made if need be. It is replaced atomically.

    Args:
        path: The file.
        text: Its content.
        what: What the file is, for the message.

    Raises:
        HetgymError: If the file cannot be written.
    """
    with replacing(path, what) as partial:
        partial.write_text(text, encoding="utf-8")


def read_yaml(path: Path, what: str) -> Any:
    """Returns the content of a YAML file.

    Args:
        path: The file.
        what: What the file should be, for the message.

    Raises:
        HetgymError: If the file cannot be read, or is not YAML.
    """
    text = read_text(path, what)
    try:
        return yaml.load(text, Loader=_LOADER)
    except (yaml.YAMLError, ValueError) as error:
        raise HetgymError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise HetgymError(f"{path}: not valid YAML: nested too deeply") from error


def one_line(error: ValidationError, where: str) -> HetgymError:
    """Turns pydantic's report into one line that names the file, the field and the value.

    Args:
        error: What pydantic raised.
        where: The file or object that was validated.
    """
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "content"
    message = first["msg"].removeprefix("Value error, ")
    given = reprlib.repr(first["input"])
    shown = "" if isinstance(first["input"], dict | list) or first["type"] == "json_invalid" else f" (given: {given})"
    more = f"; and {error.error_count() - 1} more" if error.error_count() > 1 else ""
    return HetgymError(" ".join(f"{where}: {field}: {message}{shown}{more}".split()))


def unknown_name(what: str, name: str, known: list[str]) -> HetgymError:
    """Returns the error for a name that is not in a list of names."""
    return HetgymError(f"unknown {what} {name!r}: choose one of {', '.join(known)}")
