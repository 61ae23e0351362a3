"""``report.html``: a tuning as one page that needs nothing but a browser."""

from __future__ import annotations

import functools
from pathlib import Path

from pydantic import ValidationError

from hal.errors import DataError, NotFoundError
from hal.tuner.report.parts import Page
from hal.tuner.report.sections import page_of
from hal.tuner.result import Tuning
from hal.util.files import write_whole

__all__ = ["REPORT", "rendered", "report_of", "write_report"]

REPORT = "report.html"
"""Name of the page in the folder of a tuning."""


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
    best = folder / "best.yaml"
    page = page_of(tuning, best.read_text(encoding="utf-8") if best.is_file() else "", notes)
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
        DataError: ``tuning.json`` is damaged, or of another version of hal.
    """
    source = folder / "tuning.json"
    try:
        tuning = Tuning.model_validate_json(source.read_bytes())
    except OSError as error:
        begun = (folder / "config.json").exists()
        raise NotFoundError(
            f"{folder} holds no tuning" + (" that has ended" if begun else ""),
            fix=f"go on with it: hal tune resume={folder}" if begun else "give the folder that hal tune wrote to",
        ) from error
    except ValidationError as error:
        raise DataError(
            f"{source} is damaged, or of another version of hal: {error.error_count()} fields do not fit",
            fix="its trials are safe in the study: hal tune resume=" + str(folder),
        ) from error
    journal = folder / "trials.jsonl"
    later = journal.read_bytes().count(b"\n") - len(tuning.trials) if journal.is_file() else 0
    note = f"{later} later trials, of a sitting that has not ended, are not in this report"
    return write_report(tuning, folder, path, (note,) if later > 0 else ())


def rendered(page: Page) -> str:
    """A page as HTML. All its text is escaped, also inside the figures."""
    # Only who writes a page pays for loading these.
    import jinja2
    from markupsafe import Markup
    from plotly.io import to_json
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
    )
    figures = {
        plot.name: Markup(to_json(plot.figure, validate=False, engine="json"))  # which escapes <, > and /
        for section in page.sections
        for plot in section.plots
    }
    return environment.get_template("page.html").render(
        page=page,
        figures=figures,
        style=Markup(_file("style.css")),
        script=Markup(_file("page.js")),
        plotly=Markup(get_plotlyjs()),
    )


@functools.cache
def _file(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
