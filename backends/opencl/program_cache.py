"""Compiled programs on disk, by driver, options and source. What is damaged there is built again."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from hal.util.files import write_whole

__all__ = ["load_binary", "program_key", "save_binary"]

_VARIABLE = "HAL_OPENCL_CACHE"
_DIGEST = 32


def program_key(driver: str, options: str, source: str) -> str:
    """What a program is stored under."""
    return hashlib.sha256("\0".join((driver, options, source)).encode()).hexdigest()


def load_binary(key: str) -> bytes | None:
    """A stored program; None where there is none or the file is damaged."""
    try:
        content = (_folder() / f"{key}.bin").read_bytes()
    except OSError:
        return None
    digest, binary = content[:_DIGEST], content[_DIGEST:]
    return binary if hashlib.sha256(binary).digest() == digest else None


def save_binary(key: str, binary: bytes) -> None:
    """Store a program, where the folder can be written to."""
    with contextlib.suppress(OSError):
        _folder().mkdir(parents=True, exist_ok=True)
        write_whole(_folder() / f"{key}.bin", hashlib.sha256(binary).digest() + binary)


def _folder() -> Path:
    import platformdirs

    chosen = os.environ.get(_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("hal")) / "opencl"
