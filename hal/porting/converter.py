"""Runs PyTorch's converter of C++ sources; in a process of its own, since it prints, exits and imports a framework.

Run by :mod:`hal.porting.convert` as ``python -m hal.porting.converter FOLDER OUT RESULT``: it converts the files of a
folder into another one, and writes what it did to the file RESULT as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from hal.porting.catalogue import table, vocabulary

__all__ = ["main"]


def main(folder: str, out: str, result: str) -> None:
    """Convert a folder.

    Args:
        folder: with the sources.
        out: a folder that does not exist yet.
        result: the file for the result: of each file its new path and its state, and the names that the converter
            replaces by names that do not exist.
    """
    words = vocabulary()
    converter = importlib.import_module(words.converter_module)
    done = converter.hipify(
        project_directory=folder,
        output_directory=out,
        includes=("*",),
        is_pytorch_extension=True,
        show_detailed=False,
        show_progress=False,
    )
    names: dict[str, str] = {}
    missing = table(words.unconvertible)
    for held in getattr(importlib.import_module(words.converter_map), words.converter_maps):
        for old, new in held.items():
            if old in missing:
                names.setdefault(old, new if isinstance(new, str) else new[0])
    files = {
        path: [each.hipified_path, str(getattr(each, "status", ""))] for path, each in done.items() if each is not None
    }
    Path(result).write_text(json.dumps({"files": files, "names": names}), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:4])
