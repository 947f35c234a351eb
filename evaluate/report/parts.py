"""What a report is made of: sections of text, tables and charts, which its templates write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Its header.
        meaning: What it says, in a sentence.
        is_text: Whether it holds words.
    """

    name: str
    meaning: str = ""
    is_text: bool = False


@dataclass(frozen=True)
class Cell:
    """An entry of a table.

    Attributes:
        text: What is shown.
        key: What rows are sorted by; NaN comes last.
        interval: What is shown below it, smaller: mostly an interval.
        tone: ``better``, ``worse``, ``same`` or ``reference`` for a verdict, ``best`` for what stands out; else empty.
    """

    text: str
    key: float | str
    interval: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """A table; its rows can be sorted.

    Attributes:
        title: Above it.
        columns: C of them.
        rows: C cells each.
        notes: Sentences below it.
    """

    kind: ClassVar[str] = "table"

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chart:
    """A chart for plotly.js.

    Attributes:
        title: Above it.
        data: The traces, as plotly.js takes them.
        layout: The layout, likewise, without colours of what is not data; the page knows whether it is dark.
        note: A sentence below it.
        wide: Whether it takes the whole width of the page.
    """

    kind: ClassVar[str] = "chart"

    title: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    note: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """A part of a report under a heading.

    Attributes:
        title: The heading.
        text: Sentences below it.
        parts: Tables and charts, in order.
    """

    title: str
    text: str = ""
    parts: tuple[Table | Chart, ...] = ()
