"""``report.html``: a tuning as one page that needs nothing but a browser."""

from __future__ import annotations

import contextlib
from pathlib import Path

from pydantic import ValidationError

from hal.contract.text import counted
from hal.errors import DataError, NotFoundError
from hal.page import rendered
from hal.tuner.report.sections import page_of
from hal.tuner.result import Tuning
from hal.util.files import write_whole
from hal.util.lock import require_free
from hal.util.reading import read_regular

__all__ = ["REPORT", "report_of", "write_report"]

REPORT = "report.html"
"""Name of the page in the folder of a tuning."""

_MOST_KEYS_BYTES = 1 << 20


def write_report(tuning: Tuning, folder: Path, path: Path | None = None, notes: tuple[str, ...] = ()) -> Path:
    """Write the page of a tuning.

    Args:
        tuning: what was found.
        folder: of the tuning; its ``best.yaml`` is shown if there is one.
        path: where the page goes; None: ``report.html`` in the folder.
        notes: sentences that belong among the doubts.

    Returns:
        Where the page is.

    Raises:
        NotFoundError: it cannot be written there.
    """
    text = ""
    with contextlib.suppress(OSError):
        text = read_regular(folder / "best.yaml", _MOST_KEYS_BYTES).decode(errors="replace")
    page = page_of(tuning, text, notes)
    path = path or folder / REPORT
    try:
        write_whole(path, rendered(page).encode())
    except OSError as error:
        raise NotFoundError(f"cannot write {path}: {error.strerror}", fix="choose another --out") from error
    return path


def report_of(folder: Path, path: Path | None = None) -> Path:
    """Write the page of the tuning in a folder, from its files.

    Args:
        folder: that ``hal tune`` wrote to.
        path: where the page goes; None: ``report.html`` in the folder.

    Returns:
        Where the page is.

    Raises:
        NotFoundError: there is no tuning that has ended, or the page cannot be written.
        InUseError: the tuning has not ended; says which process is at work.
        DataError: ``tuning.json`` is damaged, or of another version of hal.
    """
    source = folder / "tuning.json"
    try:
        tuning = Tuning.model_validate_json(read_regular(source))
    except OSError as error:
        require_free(folder, "wait until the tuning ends")
        begun = (folder / "config.json").exists()
        raise NotFoundError(
            f"{folder} contains no tuning" + (" that has ended" if begun else ""),
            fix=f"continue with: hal tune resume={folder}" if begun else "give the folder that hal tune wrote",
        ) from error
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]["msg"].removeprefix("Value error, ")
        raise _damaged(folder, f"{counted(error.error_count(), 'field')} wrong, the first because: {wrong}") from error
    journal = folder / "trials.jsonl"
    later = 0
    with contextlib.suppress(OSError):
        later = read_regular(journal).count(b"\n") - len(tuning.trials)
    note = f"{counted(later, 'later trial')} of a session that has not ended: not part of this report"
    try:
        return write_report(tuning, folder, path, (note,) if later > 0 else ())
    except ArithmeticError as error:
        raise _damaged(folder, f"a number in it is beyond all bounds: {error}") from error


def _damaged(folder: Path, said: str) -> DataError:
    return DataError(
        f"{folder / 'tuning.json'} is damaged, or was written by another version of hal: {said}",
        fix=f"its trials are stored separately; continue from them: hal tune resume={folder}",
    )
