"""Which files do not concern the target: they are for other devices, or stand beside one for the target."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from hal.porting.catalogue import Target

__all__ = ["Elsewhere"]


class Elsewhere:
    """Recognises such files by their paths.

    Args:
        goal: the target.
    """

    def __init__(self, goal: Target) -> None:
        self._sibling = goal.sibling
        self._other_devices = re.compile(goal.other_devices)
        self._folders: dict[Path, bool] = {}

    def matches(self, path: str, root: Path) -> bool:
        """Whether a file is for another kind of device, or in a folder beside one for the target.

        Args:
            path: of the file, in the project.
            root: of the project.
        """
        if self._other_devices.search(path):
            return True
        folders = path.split("/")[:-1]
        return any(
            re.fullmatch(self._sibling[0], name) is not None and self._stands_beside(root.joinpath(*folders[: at + 1]))
            for at, name in enumerate(folders)
        )

    def _stands_beside(self, folder: Path) -> bool:
        """Whether a folder for the target, which no converter has written, stands beside this one."""
        if folder not in self._folders:
            try:
                beside = [
                    each
                    for each in folder.parent.iterdir()
                    if re.fullmatch(self._sibling[1], each.name, re.IGNORECASE) and (each / "__init__.py").is_file()
                ]
            except OSError:
                beside = []
            self._folders[folder] = bool(beside)
        return self._folders[folder]

    def has_counterpart(self, path: str, already: Iterable[str]) -> bool:
        """Whether the project has the same file for the target, such as requirements/b.txt for requirements/a.txt.

        Args:
            path: of the file.
            already: the files for the target.
        """
        folder, _, name = path.rpartition("/")
        pattern = re.sub(self._sibling[0], "\0", re.escape(name)).replace("\0", self._sibling[1])
        full = re.compile(re.escape(folder + "/" if folder else "") + pattern, re.IGNORECASE)
        return any(full.fullmatch(each) for each in already)
