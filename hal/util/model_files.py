"""Which models a Python file defines, read without running it."""

from __future__ import annotations

import ast
from pathlib import Path

from hal.util.reading import read_regular

__all__ = ["files_with", "models_in"]

_LARGEST_BYTES = 1 << 20
_MOST_FILES = 100


def models_in(path: Path) -> list[str]:
    """Names of the classes in a Python file that may be models: those with a base class that is no config.

    Args:
        path: of the file; one that cannot be read or parsed defines none.
    """
    try:
        tree = ast.parse(read_regular(path, _LARGEST_BYTES))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and any(not ast.unparse(base).endswith(("Config", "BaseModel", "Exception", "Enum")) for base in node.bases)
    ]


def files_with(name: str) -> list[Path]:
    """Python files in the current folder that define a model of some name.

    Args:
        name: of a class, or of the file itself without its suffix.
    """
    found = sorted(Path().glob("*.py"))[:_MOST_FILES]
    return [path for path in found if name in models_in(path) or (path.stem == name and models_in(path))]
