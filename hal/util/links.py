"""Says what is wrong where hal is used in place from a source tree that lacks the links to three of its packages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from hal.errors import UnavailableError

__all__ = ["links_explained", "not_installed"]

_PACKAGE = Path(__file__).parents[1]
_LINKED = ("backends", "models", "tuner")
"""Folders at the top of the source tree, which links in ``hal/`` make packages of hal."""


@contextlib.contextmanager
def links_explained() -> Iterator[None]:
    """Around an import of ``hal.backends``, ``hal.models`` or ``hal.tuner``: say why they are not there.

    Raises:
        UnavailableError: this is a source tree without links; says how to get them.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = next((name for name in _LINKED if error.name == f"hal.{name}"), None)
        if missing is None or not (_PACKAGE.parent / missing / "__init__.py").is_file():
            raise
        raise _without_links(missing) from error


def not_installed() -> UnavailableError:
    """The error where no backend is registered, not even hal's own."""
    for name in _LINKED:
        if not (_PACKAGE / name).is_dir():
            return _without_links(name)
    tree = _PACKAGE.parent
    return UnavailableError(
        f"hal is imported from {tree}, but the package is not installed, so no backend is registered",
        fix=f"run: pip install -e {tree}",
    )


def _without_links(name: str) -> UnavailableError:
    tree = _PACKAGE.parent
    if (tree / ".git").exists():
        found = "is a text file" if (_PACKAGE / name).is_file() else "is missing"
        return UnavailableError(
            f"hal is imported from {tree}, a checkout without symbolic links: hal/{name} {found}, and should be a link "
            f"to the folder {name}",
            fix=f"in {tree}, run: git config core.symlinks true && git checkout -- hal/backends hal/models hal/tuner\n"
            f"or, to use hal without changing it, run: pip install {tree}",
        )
    return UnavailableError(
        f"hal is imported from {tree}, an unpacked source distribution that is used in place: hal/{name} is made when "
        "it is installed",
        fix=f"run: pip install {tree} (without -e), and start Python in another folder",
    )
