"""The table that commands print: columns without lines, so that it can be copied, and made to fit the terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.cells import cell_len
from rich.table import Table

from hal.cli.styled import escaped

__all__ = ["shortened_text", "table", "without_shared"]

_GAP = 2
"""Spaces between two columns."""

_LEAST = 12
"""Characters that remain of a name that is shortened."""

_LEAST_FOLDED = 24
"""Characters to which a folded column may become narrow before names are shortened; and what is left of a word."""


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    styles: Sequence[str] = (),
    folded: Collection[str] | None = None,
    shortened: Sequence[Collection[str]] = (),
    width: int | None = None,
) -> Table:
    """A table of plain text.

    Args:
        columns: their heads; that of a column of numbers ends in ``#``, which is not shown, as on hal's pages.
        rows: the cells.
        styles: of each row; empty: plain.
        folded: the columns that become narrower where the table is too wide, between words; None: all.
        shortened: columns of names of which the middle is left out where the table is too wide, in groups: those of
            the second only if the first is not enough.
        width: of the terminal, in characters; None: nothing is shortened.
    """
    made = Table(box=None, header_style="dim", padding=(0, _GAP, 0, 0), pad_edge=False)
    folds = columns if folded is None else folded
    wide = _widths(columns, rows, folds)
    for group in shortened:
        _shrink(wide, [at for at, column in enumerate(columns) if column in group], width)
    names = {name for group in shortened for name in group}
    for at, column in enumerate(columns):
        name = column.removesuffix("#")
        made.add_column(
            escaped(name),
            justify="right" if name != column else "left",
            overflow="fold" if column in folds else "ellipsis",
            no_wrap=column not in folds,
            min_width=_longest_word([name, *(row[at] for row in rows)]) if column in folds else None,
        )
    for at, row in enumerate(rows):
        cells = [
            shortened_text(cell, wide[place]) if columns[place] in names else cell for place, cell in enumerate(row)
        ]
        made.add_row(*map(escaped, cells), style=styles[at] if styles else None)
    return made


def without_shared(
    columns: Sequence[str], rows: Sequence[Sequence[str]], shared: Collection[str], width: int
) -> tuple[list[str], list[list[str]], str]:
    """A table that is too wide, without some of its columns that are equal in all rows.

    Args:
        columns: see :func:`table`.
        rows: the cells, one row at least.
        shared: the columns that may be left out.
        width: of the terminal, in characters.

    Returns:
        Columns and rows, and a line for those that were left out; empty: none was, since the table is narrow enough.
    """
    wide = _widths(columns, rows, ())
    fits = sum(wide) + _GAP * (len(wide) - 1) <= width
    alike = {
        at for at, name in enumerate(columns) if name in shared and not fits and len({row[at] for row in rows}) == 1
    }
    kept = [at for at in range(len(columns)) if at not in alike]
    said = "  ".join(f"{columns[at].removesuffix('#')}: {rows[0][at]}" for at in sorted(alike) if rows[0][at])
    return [columns[at] for at in kept], [[row[at] for at in kept] for row in rows], said


def shortened_text(text: str, width: int) -> str:
    """A name without its middle; its end, which mostly says more, keeps twice as much as its beginning.

    >>> shortened_text("/home/ann/project/net.py:Net", 16), shortened_text("cnn", 16)
    ('/home…net.py:Net', 'cnn')
    """
    if len(text) <= width:
        return text
    begin = (width - 1) // 3
    return f"{text[:begin]}…{text[len(text) - (width - 1 - begin) :]}"


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]], folded: Collection[str]) -> list[int]:
    """How wide each column wants to be; one that is folded, how wide it must be."""
    found = []
    for at, column in enumerate(columns):
        wide = max(map(cell_len, [column.removesuffix("#"), *(row[at] for row in rows)]))
        found.append(min(_LEAST_FOLDED, wide) if column in folded else wide)
    return found


def _longest_word(cells: Sequence[str]) -> int:
    return min(_LEAST_FOLDED, max((cell_len(word) for cell in cells for word in cell.split()), default=0))


def _shrink(wide: list[int], which: Sequence[int], width: int | None) -> None:
    """Make the widest of some columns narrower, in place, until the table fits or nothing is left to take."""
    while width is not None and sum(wide) + _GAP * (len(wide) - 1) > width:
        widest = max(which, key=lambda at: wide[at], default=None)
        if widest is None or wide[widest] <= _LEAST:
            return
        wide[widest] -= 1
