"""The table that commands print: columns without lines, so that it can be copied, and folded where it is too wide."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from hal.cli.styled import escaped

__all__ = ["table"]


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    styles: Sequence[str] = (),
    folded: Sequence[str] | None = None,
) -> Table:
    """A table of plain text.

    Args:
        columns: their heads; that of a column of numbers ends in ``#``, which is not shown, as on hal's pages.
        rows: the cells.
        styles: of each row; empty: plain.
        folded: the columns that become narrower where the table is too wide; None: all.
    """
    made = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for column in columns:
        name = column.removesuffix("#")
        made.add_column(
            escaped(name),
            justify="right" if name != column else "left",
            overflow="fold",
            no_wrap=folded is not None and column not in folded,
        )
    for at, row in enumerate(rows):
        made.add_row(*map(escaped, row), style=styles[at] if styles else None)
    return made
