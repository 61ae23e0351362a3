"""What somebody probably meant who named a file or folder where a source of data is wanted."""

from __future__ import annotations

from pathlib import Path

__all__ = ["source_for"]

_SUFFIXES = {".npz": "npz", ".txt": "text", ".md": "text", ".csv": "text", ".text": "text"}


def source_for(path: str) -> str | None:
    """The source that reads a file or folder, as in ``images:photos``; None: there is no such path, or no such source.

    Args:
        path: as somebody wrote it, without a source before it.
    """
    try:
        found = Path(path)
        if path and found.is_dir():
            return f"{'mnist' if any(found.glob('*-ubyte*')) else 'images'}:{path}"
        name = _SUFFIXES.get(found.suffix.lower()) if found.is_file() else None
    except (OSError, ValueError):  # the text is no path
        return None
    return None if name is None else f"{name}:{path}"
