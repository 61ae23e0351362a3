"""The documentation in the sources of Python's standard library, with the module of each text as its class."""

from __future__ import annotations

import ast
import functools
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hal.data.documents import Texts, split_documents
from hal.data.spec import Split, Wanted
from hal.errors import NotFoundError

__all__ = ["open_docstrings"]

_MODULES = {
    "asyncio": "asyncio",
    "decimal": "_pydecimal.py",
    "email": "email",
    "http": "http",
    "importlib": "importlib",
    "inspect": "inspect.py",
    "ipaddress": "ipaddress.py",
    "logging": "logging",
    "multiprocessing": "multiprocessing",
    "tarfile": "tarfile.py",
    "threading": "threading.py",
    "typing": "typing.py",
    "unittest": "unittest",
    "urllib": "urllib",
    "xml": "xml",
}
"""Classes and where their sources are: modules of all versions of Python that hal supports, with many texts each."""

_SHORTEST = 60
"""Characters; what is shorter says too little to be told apart, such as "Return the name"."""


def open_docstrings(source: str, argument: str, wanted: Wanted, share: float, seed: int) -> Split:
    """Documentation of modules, classes and functions, each text once; none that two modules share."""
    texts, labels = _docstrings()
    found = Texts(texts, np.asarray(labels, np.int64))
    return split_documents(source, found, None, tuple(_MODULES), wanted, share=share, seed=seed)


@functools.cache
def _docstrings() -> tuple[tuple[str, ...], tuple[int, ...]]:
    folder = Path(sysconfig.get_path("stdlib"))
    modules: dict[str, set[int]] = {}
    for number, name in enumerate(_MODULES.values()):
        texts = set(_of(folder / name))
        if not texts:
            raise NotFoundError(
                f"data=docstrings: {folder / name} has no sources with documentation, although it is part of Python's "
                "standard library",
                fix="install the complete standard library of Python, or use data=texts:DIR or data=csv:FILE",
            )
        for text in texts:
            modules.setdefault(text, set()).add(number)
    kept = sorted((min(of), text) for text, of in modules.items() if len(of) == 1)
    return tuple(text for _, text in kept), tuple(number for number, _ in kept)


def _of(path: Path) -> Iterator[str]:
    """The documentation in a file, or in the files of a folder."""
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.is_file() else []
    for file in files:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the library's own code
            tree = ast.parse(file.read_bytes())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text is not None and len(text) >= _SHORTEST:
                    yield text
