"""Carries out what ``hal port`` is asked for: a report, perhaps with changes or a conversion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hal.errors import ConfigError
from hal.porting.baseline import read_baseline
from hal.porting.config import PortConfig
from hal.porting.convert import convert
from hal.porting.findings import Report
from hal.porting.fix import Change, changes, check_committed, patch_of, write_changes
from hal.porting.scan import scan

__all__ = ["Answer", "Request", "carry_out"]


@dataclass(frozen=True)
class Request:
    """What is asked beside the report.

    Attributes:
        diff: the changes are shown as a patch.
        fix: they are made.
        suggestions: also those that change what the code does on the vendor that it was written for.
        allow_dirty: files with uncommitted changes are changed too.
        convert: the folder to which converted sources go.
    """

    diff: bool = False
    fix: bool = False
    suggestions: bool = False
    allow_dirty: bool = False
    convert: Path | None = None


@dataclass(frozen=True)
class Answer:
    """The report, and what was done.

    Attributes:
        report: what is found now, after changes were made.
        patch: the changes as a patch; empty: none.
        changed: paths of the files that were changed.
        refused: files that a change would have damaged, with the reason.
    """

    report: Report
    patch: str = ""
    changed: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()


def carry_out(path: Path, config: PortConfig, request: Request, tell: Callable[[str], None] | None = None) -> Answer:
    """Read a project, and do with it what is asked.

    Args:
        path: the project.
        config: the settings.
        request: what is asked beside the report.
        tell: is told what is being done.

    Raises:
        ConfigError: options that contradict each other, or files with uncommitted changes.
        NotFoundError: something cannot be read or written.
        UnavailableError: a conversion needs PyTorch.
        RunError: the conversion failed.
    """
    if request.fix and request.diff:
        raise ConfigError("--fix and --diff exclude each other", fix="see the patch with --diff, then use --fix")
    if request.suggestions and not (request.fix or request.diff):
        raise ConfigError("--suggestions changes what --diff and --fix do", fix="add --diff or --fix")
    if request.convert is not None and (request.fix or request.diff):
        raise ConfigError("--convert does not go with --fix or --diff", fix="use --fix first, then --convert")
    baseline = None if config.baseline is None else read_baseline(config.baseline)
    report = scan(path, config, baseline, tell)
    if request.convert is not None:
        conversion = convert(path, config, request.convert, tell)
        return Answer(report.model_copy(update={"conversion": conversion}))
    if not (request.fix or request.diff):
        return Answer(report)
    root = path if path.is_dir() else path.parent
    made, refused = changes(root, report, suggestions=request.suggestions)
    if request.diff:
        return Answer(report, patch_of(made), refused=refused)
    if not request.allow_dirty:
        check_committed(root, [each.path for each in made])
    write_changes(root, made)
    if made:
        report = scan(path, config, None if config.baseline is None else read_baseline(config.baseline))
    return Answer(report, changed=_paths(made), refused=refused)


def _paths(made: list[Change]) -> tuple[str, ...]:
    return tuple(each.path for each in made)
