"""Certificates of the devices of this machine, kept so that the next one can say what has changed."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from hal.cards.certificate import Certificate
from hal.contract.device import DeviceFacts
from hal.errors import UnsavedError
from hal.util.files import write_whole
from hal.util.paths import user_path
from hal.util.reading import read_regular

__all__ = ["changes", "folder", "keep", "last", "load"]

_LARGEST = 4 << 20
_KEPT = 50
_SPEED = 0.05


def folder() -> Path:
    """Where certificates are kept: ``HAL_STATE``, or the user's directory for state."""
    import platformdirs

    chosen = os.environ.get("HAL_STATE")
    return (user_path(chosen) if chosen else Path(platformdirs.user_state_dir("hal"))) / "cards"


def keep(found: Certificate) -> Path:
    """Keep a certificate; of one device the newest fifty stay.

    Raises:
        UnsavedError: it cannot be written; carries it.
    """
    stem = _stem(found.device)
    path = folder() / f"{stem}-{datetime.now():%Y%m%d-%H%M%S-%f}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, (found.model_dump_json(indent=1) + "\n").encode())
        for old in _files(found.device)[:-_KEPT]:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise UnsavedError(f"the certificate was not kept: {error.strerror} ({path})", found) from error
    return path


def last(device: DeviceFacts) -> Certificate | None:
    """The newest certificate of a device that can be read; None if there is none."""
    for path in reversed(_files(device)):
        found = load(path)
        if found is not None and found.device.name == device.name:
            return found
    return None


def load(path: Path) -> Certificate | None:
    """A certificate in a file; None if it cannot be read or holds something else."""
    try:
        return Certificate.model_validate_json(read_regular(path, _LARGEST))
    except (OSError, ValidationError):
        return None


def changes(earlier: Certificate, now: Certificate) -> tuple[str, ...]:
    """What is different from an earlier certificate, one sentence each."""
    when = f"{earlier.environment.timestamp:%d %B %Y}"
    found = []
    before, after = earlier.environment.versions, now.environment.versions
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            found.append(f"{name} was {before.get(name, 'absent')} on {when} and is {after.get(name, 'absent')}.")
    for name, unit in (("clock_max_mhz", "MHz"), ("power_limit_w", "W"), ("link_width", "lanes")):
        old, new = earlier.counters.get(name), now.counters.get(name)
        if isinstance(old, int | float) and isinstance(new, int | float) and old != new:
            found.append(f"{name} was {old:g} {unit} on {when} and is {new:g}.")
    if any(reason.kind == "busy" for reason in (*earlier.reasons, *now.reasons)):
        return tuple(found)  # measured beside other processes: what changed may be their load
    figures = {(figure.name, figure.precision): figure for figure in earlier.figures}
    for figure in now.figures:
        old_figure = figures.get((figure.name, figure.precision))
        if old_figure is None or figure.unit != old_figure.unit:
            continue
        if figure.loaded or old_figure.loaded:
            continue  # the same of one figure alone
        apart = figure.low > old_figure.high or figure.high < old_figure.low
        change = figure.median / old_figure.median - 1
        if apart and abs(change) > _SPEED:
            found.append(
                f"{figure.name} {figure.precision}: {figure.median:.4g} {figure.unit}, {change:+.0%} against {when}."
            )
    return tuple(found)


def _files(device: DeviceFacts) -> list[Path]:
    return sorted(folder().glob(f"{_stem(device)}-2*.json"))


def _stem(device: DeviceFacts) -> str:
    return re.sub(r"[^\w.]+", "_", f"{device}-{device.name}")[:100]
