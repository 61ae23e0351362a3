"""A user's list of prices."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from hal import catalogue
from hal.errors import ConfigError, NotFoundError
from hal.util.reading import read_regular

__all__ = ["Price", "read_prices"]

_COLUMNS = ("device", "price", "per_hour")
_LARGEST = 1 << 20


@dataclass(frozen=True)
class Price:
    """What a device costs, in whatever unit the list has; None: the list does not say."""

    price: float | None = None
    per_hour: float | None = None


def read_prices(path: Path) -> dict[str, Price]:
    """Prices by the names of the catalogue.

    Raises:
        NotFoundError: the file cannot be read.
        ConfigError: it has another column, a device that the catalogue does not have, or something that is no number.
    """
    try:
        text = read_regular(path, _LARGEST).decode("utf-8-sig")
    except OSError as error:
        raise NotFoundError(f"prices={path} cannot be read: {error.strerror}", fix="correct the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"prices={path} is no text in UTF-8", fix="save it as CSV in UTF-8") from error
    rows = list(csv.DictReader(io.StringIO(text)))
    columns = tuple(rows[0]) if rows else ()
    wrong = [str(each) for each in columns if each not in _COLUMNS]
    if wrong or "device" not in columns or len(columns) < 2:
        said = f"has the column {wrong[0]}" if wrong else "lacks a column"
        raise ConfigError(
            f"prices={path} {said}",
            fix="give it a first line with device and price, per_hour or both, for example: device,price,per_hour",
        )
    found = {}
    for line, row in enumerate(rows, start=2):
        try:
            device = catalogue.find(row["device"] or "")
        except ConfigError as error:
            raise ConfigError(f"prices={path}, line {line}: {error.message}", fix=error.fix) from None
        found[device.id] = Price(*(_number(path, line, row.get(column)) for column in ("price", "per_hour")))
    return found


def _number(path: Path, line: int, text: str | None) -> float | None:
    if text is None or not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e12:
        raise ConfigError(f"prices={path}, line {line}: {text} is no price", fix="write a positive number")
    return value
