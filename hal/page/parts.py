"""What a page is made of. The template knows these and nothing of what the page is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Code", "Kind", "Number", "Page", "Picture", "Plot", "Section", "Table"]

Kind = Literal["measured", "estimated"]
"""Where numbers come from; the page marks what was not measured."""


@dataclass(frozen=True)
class Number:
    """One of the few numbers at the top, with its unit; under it its interval and what it is compared with."""

    label: str
    value: str
    details: tuple[str, ...] = ()
    kind: Kind = "measured"


@dataclass(frozen=True)
class Table:
    """Rows of text. The head of a column of numbers ends in ``#``, which is not shown; ``best`` is a row's index.

    A ``wide`` table may be wider than the text around it.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: int | None = None
    folded: bool = False
    wide: bool = False


@dataclass(frozen=True)
class Plot:
    """A figure of Plotly (``data`` and ``layout``) under a name of its own; ``alt`` says it in words."""

    name: str
    figure: dict[str, Any]
    alt: str
    height: int = 360
    title: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, with a line or two under it; ``alt`` says it in words. Wide ones take a whole row."""

    source: str
    alt: str
    lines: tuple[str, ...] = ()
    wide: bool = False


@dataclass(frozen=True)
class Code:
    """Lines to copy."""

    title: str
    text: str


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading: paragraphs, a list of sentences, plots, pictures, tables, lines to copy."""

    name: str
    title: str
    texts: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()
    codes: tuple[Code, ...] = ()
    notes: tuple[str, ...] = ()
    kind: Kind = "measured"
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Page:
    """A whole page: its subject, the result in a line and in a sentence, the numbers, the sections."""

    title: str
    subject: str
    headline: str
    lead: str
    numbers: tuple[Number, ...]
    sections: tuple[Section, ...]
    footer: str
    kind: Kind = "measured"
