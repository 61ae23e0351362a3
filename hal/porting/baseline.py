"""Findings that are known already: an earlier report, whose places are not shown again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from hal.errors import ConfigError, NotFoundError
from hal.porting.findings import Finding, Report
from hal.util.reading import read_regular

__all__ = ["Baseline", "read_baseline"]


class Baseline:
    """Places that are known. A place is told by its rule, its file and the text of its line, so lines may move.

    Args:
        findings: of an earlier report.
    """

    def __init__(self, findings: Iterable[Finding]) -> None:
        self._known = Counter((found.rule, found.path, place.text) for found in findings for place in found.places)

    def covers(self, rule: str, path: str, text: str) -> bool:
        """Whether a place is known. Each known place covers one."""
        key = (rule, path, text)
        if self._known[key] == 0:
            return False
        self._known[key] -= 1
        return True


def read_baseline(path: Path) -> Baseline:
    """The baseline in a file that ``hal port --json`` wrote.

    Raises:
        NotFoundError: it cannot be read.
        ConfigError: it holds no report.
    """
    try:
        return Baseline(Report.model_validate_json(read_regular(path)).findings)
    except OSError as error:
        raise NotFoundError(
            f"cannot read the baseline {path}: {error.strerror}", fix=f"write it with: hal port PATH --json > {path}"
        ) from error
    except ValidationError as error:
        raise ConfigError(
            f"{path} is not a report of hal port, or of another version of hal",
            fix=f"write it again with: hal port PATH --json > {path}",
        ) from error
