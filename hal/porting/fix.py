"""Changes files as the rules say: whole files, only lines with findings, and Python stays valid Python."""

from __future__ import annotations

import difflib
import re
import subprocess
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hal.contract.text import counted
from hal.errors import ConfigError, NotFoundError
from hal.porting.catalogue import rules
from hal.porting.findings import Report
from hal.porting.rule import Rewrite
from hal.util.files import write_whole
from hal.util.reading import read_regular

__all__ = ["Change", "changes", "check_committed", "patch_of", "write_changes"]


@dataclass(frozen=True)
class Change:
    """A file before and after."""

    path: str
    before: bytes
    after: bytes


def changes(root: Path, report: Report, *, suggestions: bool) -> tuple[list[Change], tuple[tuple[str, str], ...]]:
    """The changes that the rules offer for what was found.

    Args:
        root: the folder that the paths of the report are relative to.
        report: what was found.
        suggestions: also changes that change what the code does on the vendor that it was written for.

    Returns:
        The changes, and the files that are left alone because a change would damage them, with the reason.

    Raises:
        NotFoundError: a file cannot be read any more.
    """
    wanted: dict[str, dict[int, list[Rewrite]]] = defaultdict(lambda: defaultdict(list))
    for finding in report.findings:
        for place in finding.places:
            for rewrite in rules()[finding.rule].rewrites:
                if place.cell is None and finding.path.endswith(rewrite.files) and (rewrite.safe or suggestions):
                    wanted[finding.path][place.line].append(rewrite)
    made: list[Change] = []
    refused: list[tuple[str, str]] = []
    for path in sorted(wanted):
        try:
            before = read_regular(root / path)
        except OSError as error:
            raise NotFoundError(f"cannot read {root / path}: {error.strerror}", fix="run hal port again") from error
        try:
            after = _changed(before.decode("utf-8"), wanted[path])
        except UnicodeDecodeError:
            refused.append((path, "it is not UTF-8"))
            continue
        if path.endswith(".py") and not _compiles(after):
            refused.append((path, "the change would not be valid Python"))
        elif after.encode() != before:
            made.append(Change(path, before, after.encode()))
    return made, tuple(refused)


def _changed(text: str, wanted: dict[int, list[Rewrite]]) -> str:
    lines = text.split("\n")
    for number, rewrites in wanted.items():
        if number <= len(lines):
            ending = "\r" if lines[number - 1].endswith("\r") else ""
            line = lines[number - 1].removesuffix("\r")
            for rewrite in rewrites:
                line = re.sub(rewrite.find, rewrite.replace, line)
            lines[number - 1] = line + ending
    return "\n".join(lines)


def _compiles(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text.removeprefix("\ufeff"), "changed", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def patch_of(made: Sequence[Change]) -> str:
    """The changes as a patch that ``git apply`` and ``patch -p1`` take."""
    parts: list[str] = []
    for change in made:
        before, after = (_lines(text) for text in (change.before, change.after))
        parts += difflib.unified_diff(before, after, f"a/{change.path}", f"b/{change.path}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in parts)


def _lines(content: bytes) -> list[str]:
    """Lines with their endings; only a line feed ends a line."""
    return re.findall(r"[^\n]*\n|[^\n]+$", content.decode("utf-8"))


def check_committed(root: Path, paths: Sequence[str]) -> None:
    """Refuse to change files that Git would not give back.

    Raises:
        ConfigError: a file has uncommitted changes, or is not under version control.
    """
    if not paths:
        return
    command = ["git", "-C", str(root), "status", "--porcelain", "--ignored", "-z", "--", *paths]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=60)
    except (OSError, subprocess.SubprocessError):
        done = None
    if done is None or done.returncode != 0:
        raise ConfigError(
            f"{root} is not under version control with Git, so changes could not be taken back",
            fix="see the changes with --diff, or add --allow-dirty to make them nevertheless",
        )
    dirty = [entry[3:] for entry in done.stdout.split("\0") if entry]
    if dirty:
        raise ConfigError(
            f"{counted(len(dirty), 'file')} to be changed {'has' if len(dirty) == 1 else 'have'} uncommitted changes: "
            f"{', '.join(dirty[:5])}",
            fix="commit them first, or add --allow-dirty",
        )


def write_changes(root: Path, made: Sequence[Change]) -> None:
    """Write the changed files, each one whole.

    Raises:
        NotFoundError: a file cannot be written; those before it are changed, and it is as it was.
    """
    for done, change in enumerate(made):
        path = (root / change.path).resolve()
        try:
            mode = path.stat().st_mode
            write_whole(path, change.after)
            path.chmod(mode)
        except OSError as error:
            raise NotFoundError(
                f"cannot write {path}: {error.strerror}; {counted(done, 'file')} of {len(made)} changed before",
                fix="make the file writable, and run the command again",
            ) from error
