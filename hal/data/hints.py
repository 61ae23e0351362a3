"""What somebody probably meant who named a file or folder where a source of data is wanted."""

from __future__ import annotations

from pathlib import Path

from hal.data.pictures import SUFFIXES

__all__ = ["source_for"]

_SOURCES = {
    ".npz": "npz",
    ".txt": "text",
    ".md": "text",
    ".text": "text",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}


def source_for(path: str) -> str | None:
    """The source that reads a file or folder, as in ``images:photos``; None: there is no such path, or no such source.

    Args:
        path: as somebody wrote it, without a source before it.
    """
    try:
        found = Path(path)
        if path and found.is_dir():
            return f"{_of_folder(found)}:{path}"
        name = _SOURCES.get(found.suffix.lower()) if found.is_file() else None
    except (OSError, ValueError):  # the text is no path
        return None
    return None if name is None else f"{name}:{path}"


def _of_folder(folder: Path) -> str:
    if any(folder.glob("*-ubyte*")):
        return "mnist"
    suffixes = {path.suffix.lower() for path in folder.glob("*/*")}
    return "texts" if ".txt" in suffixes and not suffixes & SUFFIXES else "images"
