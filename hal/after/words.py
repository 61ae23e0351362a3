"""Keys, times and states of runs, as pages and tables write them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

__all__ = ["command_of", "flat_keys", "moment"]


def moment(iso: str) -> str:
    """A time as people read it.

    >>> moment("2026-11-22T00:12:23+00:00")
    '2026-11-22 00:12 UTC'
    """
    return iso[:16].replace("T", " ") + " UTC"


def flat_keys(config: Mapping[str, Any]) -> dict[str, str]:
    """The keys of a run with their values, as a command line writes them.

    >>> flat_keys({"model": {"name": "cnn", "filters": [4, 8]}, "lr": 0.00123456789, "ema": None})
    {'model': 'cnn', 'model.filters': '[4,8]', 'lr': '0.00123456789', 'ema': 'null'}
    """
    found = {}
    for key, value in config.items():
        for inner, held in value.items() if isinstance(value, Mapping) else [("name", value)]:
            found[key if inner == "name" else f"{key}.{inner}"] = _word(held)
    return found


def _word(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_word, value))}]"
    return "null" if value is None else str(value)


def command_of(config: Mapping[str, Any]) -> str:
    """The command line of the keys of a run, without where it wrote and what it went on from.

    >>> command_of({"epochs": 3, "model": {"name": "cnn"}, "out": "runs/a b"})
    'hal run model=cnn epochs=3'
    """
    keys = {key: value for key, value in flat_keys(config).items() if key not in ("out", "resume", "accept")}
    words = [shlex.quote(f"{key}={value}") for key, value in keys.items()]
    return " ".join(["hal run", *sorted(words, key=lambda word: not word.startswith("model="))])
