"""``report.html``: a run as one page that needs nothing but a browser."""

from __future__ import annotations

from pathlib import Path

from hal.after.held_out import HeldOut, look_at_held_out
from hal.after.run_sections import page_of
from hal.errors import HalError
from hal.page import rendered
from hal.run import read_record
from hal.util.files import write_text

__all__ = ["report_of_run"]


def report_of_run(folder: Path, path: Path | None = None) -> Path:
    """Write the page of the run in a folder, from its files and its held-out samples.

    Args:
        folder: that ``hal run`` wrote to; the run may still be at work.
        path: where the page goes; None: ``report.html`` in the folder.

    Returns:
        Where the page is.

    Raises:
        NotFoundError: there is no run, or the page cannot be written.
        DataError: the record is damaged.
    """
    record = read_record(folder)
    look: HeldOut | None = None
    why = ""
    if record.epochs:
        try:
            look = look_at_held_out(folder)
        except HalError as error:  # the page says so; the rest of it needs no data
            why = f"The held-out samples could not be looked at: {error.message}."
    page = page_of(record, folder, look, why)
    path = path or folder / "report.html"
    write_text(path, rendered(page), fix="choose another --out")
    return path
