"""Paths as users write them."""

from __future__ import annotations

from pathlib import Path

from hal.errors import NotFoundError

__all__ = ["user_path"]

_LONGEST_NAME, _LONGEST_PATH = 255, 4096
_SHOWN = 60


def user_path(text: str | Path) -> Path:
    """A path as a user writes it; ``~`` is the home folder.

    Raises:
        NotFoundError: the path names the home of a user that does not exist, or no operating system can have it.
    """
    if "\0" in str(text):
        raise NotFoundError(
            f"the path {str(text)!r} contains a null character, which no file name can have", fix="correct the path"
        )
    names = [len(name) for name in str(text).encode("utf-8", "surrogatepass").split(b"/")]
    if max(names) > _LONGEST_NAME or sum(names) + len(names) > _LONGEST_PATH:
        raise NotFoundError(
            f"the path {str(text)[:_SHOWN]}... is too long: a name may have {_LONGEST_NAME} bytes, and a path "
            f"{_LONGEST_PATH}",
            fix="correct the path",
        )
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise NotFoundError(
            f"the path {text} cannot be resolved, because there is no home folder for {Path(text).parts[0]}",
            fix="write the whole path, without ~; for a file whose name begins with ~, write ./~",
        ) from error
