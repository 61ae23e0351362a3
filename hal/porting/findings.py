"""What was found: findings with their places, what was not read, and the whole as a report."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hal.porting.rule import SEVERITIES, Severity

__all__ = ["Conversion", "Finding", "Fixable", "Place", "Report", "Unread", "Verdict"]


Fixable = Literal["safe", "suggestion", "by hand"]
"""How a finding can be mended."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Place(_Frozen):
    """A line.

    Attributes:
        line: from 1; in a notebook, of the cell.
        column: from 1.
        cell: of a notebook, from 1 among its code cells.
        text: the line, cut where it is very long.
        what: the name or text that the rule is about.
    """

    line: int
    column: int
    cell: int | None = None
    text: str = ""
    what: str = ""


class Finding(_Frozen):
    """A rule in a file, with all its places."""

    rule: str
    severity: Severity
    path: str
    places: tuple[Place, ...] = Field(min_length=1)
    fixable: Fixable = "by hand"


class Unread(_Frozen):
    """A file that was not read, and why."""

    path: str
    reason: str


class Verdict(_Frozen):
    """The answer to the question whether the project runs on the target.

    Attributes:
        runs: whether nothing was found that blocks or gives wrong results.
        sentence: the answer in words.
        counts: how many rules of each severity were broken.
        device_files: how many files hold device code.
        converted: how many of them convert by themselves: nothing in them blocks.
    """

    runs: bool
    sentence: str
    counts: dict[Severity, int]
    device_files: int
    converted: int


class Conversion(_Frozen):
    """What a conversion did.

    Attributes:
        out: the folder with the result.
        converted: files that were changed.
        unchanged: files that needed no change.
        failed: files that the converter gave up.
        left: names that should have been replaced, with their places.
        invented: names that do not exist on the target, and what they were before.
    """

    out: str
    converted: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    left: tuple[tuple[str, str], ...] = ()
    invented: tuple[tuple[str, str], ...] = ()


class Report(_Frozen):
    """All that ``hal port`` found."""

    schema_version: Literal[1] = 1
    path: str
    origin: str
    target: str
    release: str | None = None
    architecture: str | None = None
    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    fine: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()
    files: dict[str, int] = {}
    already: tuple[str, ...] = Field((), description="Files that are written for the target.")
    elsewhere: tuple[str, ...] = Field(
        (), description="Files for other kinds of devices, and those of which there is one for the target."
    )
    unread: tuple[Unread, ...] = ()
    folders: tuple[str, ...] = Field((), description="Folders that were not entered.")
    others: int = Field(0, description="Files of kinds in which nothing is looked for.")
    hidden: int = Field(0, description="Places that the baseline contains.")
    ignored: int = Field(0, description="Places with a comment that silences the rule.")
    unused_ignores: tuple[str, ...] = ()
    conversion: Conversion | None = None

    def worst_first(self) -> list[Finding]:
        """The findings, the worst first, then by rule and path."""
        return sorted(self.findings, key=lambda each: (SEVERITIES.index(each.severity), each.rule, each.path))
