"""Folders with the files of one class each, and folders of parts around them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hal.data.files import entries, is_folder, unreadable
from hal.data.parts import find_parts
from hal.errors import DataError

__all__ = ["ClassFolders", "FileKind", "find_class_folders"]


@dataclass(frozen=True)
class FileKind:
    """What kind of files is looked for.

    Attributes:
        one: what a file holds, with its article: "an image".
        many: in the plural: "images".
        suffixes: ends of the names of such files, in small letters.
    """

    one: str
    many: str
    suffixes: frozenset[str]


@dataclass(frozen=True)
class ClassFolders:
    """Files of each class.

    Attributes:
        names: of the classes, in alphabetical order.
        paths: of the files to train on.
        labels: the number of the class of each, (paths,).
        held_paths: those to validate with; None: a share of the former is to be held back.
        held_labels: likewise.
        notes: what was left out, and what is odd, in sentences.
        inner: names of the folders inside the only class, if there is only one.
        folder: where the classes are.
    """

    names: tuple[str, ...]
    paths: list[Path]
    labels: np.ndarray
    held_paths: list[Path] | None
    held_labels: np.ndarray
    notes: tuple[str, ...]
    inner: tuple[str, ...]
    folder: Path

    def hint(self, source: str) -> str:
        """What to do where a folder has one class alone: perhaps the classes lie one folder further down."""
        if not self.inner:
            return ""
        return (
            f"use data={source}:{self.folder / self.names[0]}, which contains the folders {', '.join(self.inner[:5])}"
        )


def find_class_folders(root: Path, kind: FileKind) -> ClassFolders:
    """The files in a folder for each class, or in such folders inside folders of parts; see :mod:`hal.data.parts`.

    Raises:
        NotFoundError: a folder does not exist or cannot be read.
        DataError: there is no class, one without files, or one to validate with alone.
    """
    train_folder, held_folder, unused = _layout(root)
    search = _Search(kind)
    search.begin(root)
    classes = search.classes(train_folder)
    names = sorted(classes)
    held: dict[str, list[Path]] = {}
    if held_folder is not None:
        held = search.classes(held_folder)
        if unknown := sorted(set(held) - set(names)):
            raise DataError(
                f"{held_folder} has the class {unknown[0]}, which {train_folder} does not have",
                fix=f"use only the classes of the training set: {', '.join(names)}",
            )
    notes = tuple(search.notes())
    if unused:
        folders = "the folder" if len(unused) == 1 else "the folders"
        notes += (f"left out: {folders} {', '.join(path.name for path in unused)} next to {train_folder.name}",)
    notes += tuple(_odd(train_folder, names, kind))
    paths, labels = _flat(classes, names)
    held_paths, held_labels = _flat(held, names)
    inner = tuple(_inner(train_folder / names[0])) if len(names) == 1 else ()
    there = None if held_folder is None else held_paths
    return ClassFolders(tuple(names), paths, labels, there, held_labels, notes, inner, train_folder)


@dataclass
class _Search:
    """Finds the files of a kind below a folder, each once, and remembers what it left out.

    Attributes:
        kind: what is looked for.
        other: other files, by the end of their names.
        linked: links to folders or files that were found before.
    """

    kind: FileKind
    other: Counter[str] = field(default_factory=Counter)
    linked: list[Path] = field(default_factory=list)
    _seen: set[tuple[int, int]] = field(default_factory=set)

    def begin(self, path: Path) -> bool:
        """Note a file or folder; false if it was met before, by this name or another."""
        try:
            found = path.stat()
        except OSError as error:
            raise unreadable(path, error) from error
        key = (found.st_dev, found.st_ino)
        known = key in self._seen
        self._seen.add(key)
        return not known

    def new(self, path: Path) -> bool:
        """As :meth:`begin`, and what was met before counts as left out."""
        found = self.begin(path)
        if not found:
            self.linked.append(path)
        return found

    def leave_out(self, path: Path) -> None:
        """Note a file that belongs to no class."""
        kind = path.suffix.lower() or "without a suffix"
        self.other[kind if path.exists() else "of a broken link"] += 1

    def files(self, folder: Path) -> list[Path]:
        """All files of the kind in a folder and the folders inside it."""
        found: list[Path] = []
        for path in entries(folder):
            if is_folder(path):
                found += self.files(path) if self.new(path) else []
            elif path.suffix.lower() not in self.kind.suffixes:
                self.leave_out(path)
            elif self.new(path):
                found.append(path)
        return found

    def classes(self, folder: Path) -> dict[str, list[Path]]:
        """The files of each class in a folder.

        Raises:
            DataError: there is no class, or one without files.
        """
        self.begin(folder)
        inside = entries(folder)
        found = {path.name: self.files(path) for path in inside if is_folder(path) and self.new(path)}
        if not found:
            raise DataError(
                f"{folder} contains no folders, but needs one for each class",
                fix=f"put the {self.kind.many} of each class into a folder of its own",
            )
        for name, paths in found.items():
            if not paths:
                raise DataError(
                    f"{folder / name} contains no {self.kind.many} ({', '.join(sorted(self.kind.suffixes))})",
                    fix=f"add {self.kind.many} to the folder, or remove it",
                )
        for path in inside:
            if not is_folder(path):
                self.leave_out(path)
        return found

    def notes(self) -> Iterator[str]:
        """What was left out, in sentences."""
        total, one, many = self.other.total(), self.kind.one, self.kind.many
        if self.other:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.other.most_common(5))
            more = ", ..." if len(self.other) > 5 else ""
            files = f"1 file that is not {one}" if total == 1 else f"{total:,} files that are not {many}"
            yield f"left out: {files} in a class folder: {kinds}{more}"
        if self.linked:
            links = f"1 link to {one} or folder that is"
            if len(self.linked) > 1:
                links = f"{len(self.linked):,} links to {many} or folders that are"
            yield f"left out: {links} included already: {self.linked[0]}{', ...' if len(self.linked) > 1 else ''}"


def _layout(folder: Path) -> tuple[Path, Path | None, tuple[Path, ...]]:
    """Where the classes are: to train on, to validate with (None: hold back a share of the former), and left over."""
    folders = [path for path in entries(folder) if is_folder(path)]
    return find_parts(folders, lambda path: bool(_inner(path))) or (folder, None, ())


def _inner(folder: Path) -> list[str]:
    """Names of the folders in a folder."""
    return [path.name for path in entries(folder) if is_folder(path)]


def _odd(folder: Path, names: Sequence[str], kind: FileKind) -> Iterator[str]:
    """What is odd about the folders of the classes, in sentences."""
    spelled: dict[str, list[str]] = {}
    for name in names:
        spelled.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(name)
    for alike in spelled.values():
        if len(alike) > 1:
            yield f"{' and '.join(alike)} are different classes, although their names differ only in their spelling"
    inner = {name: found for name in names if (found := _inner(folder / name))}
    if not inner:
        return
    first, *others = inner
    more = f" and {len(others):,} other class folder{'s' * (len(others) > 1)}" if others else ""
    shared = set.intersection(*map(set, inner.values())) if others else set()
    meant = "; if they are parts of a data set, name them train and val" if len(shared) > 1 else ""
    yield (
        f"the class folder {first}{more} contain{'' if others else 's'} folders ({', '.join(inner[first][:5])}), whose "
        f"{kind.many} count as {kind.many} of the class{meant}"
    )


def _flat(classes: dict[str, list[Path]], names: list[str]) -> tuple[list[Path], np.ndarray]:
    paths = [path for name in names for path in classes.get(name, [])]
    return paths, np.repeat(np.arange(len(names)), [len(classes.get(name, [])) for name in names])
