"""Texts of several kinds that every Python brings along: those that the tiny model reads."""

from __future__ import annotations

import ast
import dis
import json
import re
import sysconfig
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

from ...errors import HetgymError, read_text

_HELD_OUT = 8
"""One document of so many is kept from training."""
_LETTERS = 0x3000
"""Unicode characters that have records, from 0."""
_LETTERS_A_DOCUMENT = 64

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Texts:
    """The texts of one kind, as UTF-8, document after document."""

    training: bytes
    held_out: tuple[bytes, ...]


def standard_library_texts() -> dict[str, Texts]:
    """Returns texts made from this Python's standard library, by kind; another version's differ.

    The kinds are `code` (sources of packages), `documentation` (docstrings of modules), `bytecode` (listings of what
    the code compiles to), `tables` (of character encodings) and `records` (of Unicode's characters, as JSON).

    Raises:
        HetgymError: If this Python came without the sources.
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    sources = _read(library, "asyncio/*.py", "email/*.py", "http/*.py", "importlib/*.py", "json/*.py")
    documents = {
        "code": sources,
        "documentation": [_docstrings(source) for source in _read(library, "*.py")],
        "bytecode": [_listing(source) for source in sources],
        "tables": _read(library, "encodings/cp*.py"),
        "records": [_records(first) for first in range(0, _LETTERS, _LETTERS_A_DOCUMENT)],
    }
    return {kind: _split([text.encode() for text in texts if text]) for kind, texts in documents.items()}


def _split(documents: list[bytes]) -> Texts:
    held_out = tuple(documents[_HELD_OUT - 1 :: _HELD_OUT])
    training = b"".join(text for number, text in enumerate(documents, start=1) if number % _HELD_OUT)
    return Texts(training, held_out)


def _read(library: Path, *patterns: str) -> list[str]:
    paths = [path for pattern in patterns for path in sorted(library.glob(pattern))]
    if len(paths) < _HELD_OUT:
        raise HetgymError(f"{library}: this Python's standard library has no sources in {', '.join(patterns)}")
    return [read_text(path, "module") for path in paths]


def _docstrings(source: str) -> str:
    return "".join(f"{text}\n\n" for text in map(ast.get_docstring, _documented(ast.parse(source))) if text)


def _documented(node: _Documented) -> Iterator[_Documented]:
    """Gives a module, class or function and those right below it."""
    yield node
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _documented(child)


def _listing(source: str) -> str:
    """Returns what a module compiles to, without addresses and the order of sets, which change from run to run."""
    lines = []
    for code in _codes(compile(source, "", "exec")):
        lines.append(f"{code.co_qualname}:")
        lines += [f"{at.offset:6} {at.opname:20} {at.argrepr}".rstrip() for at in dis.get_instructions(code)]
    return re.sub(r" at 0x[0-9a-fA-F]+|\(\{.*\}\)", "", "\n".join(lines)) + "\n"


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _records(first: int) -> str:
    characters = (chr(code) for code in range(first, first + _LETTERS_A_DOCUMENT))
    records = (
        {
            "code": f"U+{ord(character):04X}",
            "name": unicodedata.name(character),
            "category": unicodedata.category(character),
            "lower": f"U+{ord(character.lower()[0]):04X}",
            "bytes": list(character.encode()),
        }
        for character in characters
        if unicodedata.name(character, "")
    )
    return "".join(f"{json.dumps(record)}\n" for record in records)
