"""Which files of a project are read, of what kind each one is, and what was not read and why."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from hal.errors import NotFoundError
from hal.porting.catalogue import vocabulary
from hal.util.reading import open_regular
from hal.util.sizes import bytes_text

__all__ = ["LARGEST_BYTES", "SourceFile", "Tree", "decoded", "kind_of", "read_tree"]

LARGEST_BYTES = 4_000_000
"""Larger files are not read; they are generated, or data."""

_SKIPPED = frozenset(
    ".git .hg .svn .tox .nox .venv venv .eggs .mypy_cache .ruff_cache .pytest_cache .hypothesis .idea .vscode "
    "node_modules __pycache__ site-packages".split()
)
_HIDDEN = frozenset(".github .gitlab .circleci .ci .devcontainer .buildkite .jenkins".split())
_NAMES = (
    (r"requirements.*\.(?:txt|in)|constraints.*\.txt|.*requirements\.(?:txt|in)", "requirements"),
    (r"(?:.*[._-])?(?:environment|env|conda)(?:[._-].*)?\.ya?ml|conda.*\.ya?ml|env.*\.ya?ml", "environment"),
    (r"pyproject\.toml|setup\.cfg|Pipfile|pixi\.toml", "project"),
    (r"(?i:(?:.*\.)?(?:docker|container)file(?:\..*)?)|.*\.def|Singularity.*", "docker"),
    (r"(?:docker-)?compose.*\.ya?ml|devcontainer\.json", "compose"),
    (r"\.gitlab-ci\.ya?ml|azure-pipelines.*\.ya?ml|Jenkinsfile.*|cog\.ya?ml", "ci"),
    (r".*\.(?:sh|bash|zsh|slurm|sbatch)", "shell"),
    (r"CMakeLists\.txt|.*\.cmake", "cmake"),
    (r"(?:GNU)?[Mm]akefile.*|.*\.mk", "make"),
    (r"BUILD(?:\.bazel)?|.*\.bzl|WORKSPACE(?:\.bazel)?|MODULE\.bazel", "bazel"),
    (r"\.gitmodules", "gitmodules"),
    (r".*\.ya?ml", "yaml"),
)
_BY_NAME = tuple((re.compile(pattern), kind) for pattern, kind in _NAMES)


@dataclass(frozen=True)
class SourceFile:
    """A file that was read.

    Attributes:
        path: relative to the project, with ``/``.
        kind: python, c, notebook, or a kind of text file.
        content: as it is on the disk.
    """

    path: str
    kind: str
    content: bytes

    @property
    def text(self) -> str:
        """The content as text; bytes that are no UTF-8 are replaced."""
        return decoded(self.content)


@dataclass
class Tree:
    """What a project consists of.

    Attributes:
        root: the folder that paths are relative to.
        unread: files that should have been read, with the reason.
        others: how many files are of kinds in which nothing is looked for.
        folders: folders that were not entered, because they hold no source of the project.
        names: the packages of the project itself.
    """

    root: Path
    unread: list[tuple[str, str]] = field(default_factory=list)
    others: int = 0
    folders: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)


def kind_of(path: str) -> str | None:
    """The kind of a file, from its path; None: nothing is looked for in it."""
    pure = PurePosixPath(path)
    suffix = pure.suffix.lower()
    if suffix in (".py", ".pyi", ".pyx"):
        return "python" if suffix == ".py" else None
    if suffix == ".ipynb":
        return "notebook"
    if suffix in vocabulary().source_suffixes:
        return "c"
    parts = pure.parts
    if parts[:2] in ((".github", "workflows"), (".circleci",)) or (parts[0] in _HIDDEN and suffix in (".yml", ".yaml")):
        return "ci"
    if len(parts) > 1 and parts[-2].startswith("requirements") and suffix in (".txt", ".in"):
        return "requirements"
    return next((kind for pattern, kind in _BY_NAME if pattern.fullmatch(pure.name)), None)


def read_tree(path: Path, exclude: Sequence[str] = ()) -> tuple[Tree, Iterator[SourceFile]]:
    """The files of a project, one after another.

    Args:
        path: a folder, or a single file.
        exclude: patterns of paths that are left out, as in ``.gitignore`` without its exceptions.

    Raises:
        NotFoundError: there is nothing, or it cannot be read.
    """
    if path.is_dir():
        try:
            os.listdir(path)
        except OSError as error:
            raise NotFoundError(f"cannot read the folder {path}: {error.strerror}", fix="give another path") from error
        tree = Tree(path)
        tree.names = _own_names(path)
        return tree, _files(tree, exclude)
    if not path.exists():
        raise NotFoundError(f"there is no file or folder {path}", fix="give the folder of the project: hal port PATH")
    tree = Tree(path.parent)
    try:
        with open_regular(path):
            pass
    except OSError as error:
        raise NotFoundError(f"cannot read {path}: {error.strerror}", fix="give another path") from error
    if kind_of(path.name) is None:
        raise NotFoundError(
            f"hal port does not look into files such as {path.name}",
            fix="give Python, C++, CUDA or HIP sources, notebooks, build files, or the folder of the project",
        )
    one = _read(tree, path, path.name)
    return tree, iter([one] if one is not None else [])


def _files(tree: Tree, exclude: Sequence[str]) -> Iterator[SourceFile]:
    for folder, folders, names in os.walk(tree.root, onerror=lambda error: _not_entered(tree, error)):
        relative = Path(folder).relative_to(tree.root)
        keep = []
        for name in sorted(folders):
            inner = (relative / name).as_posix()
            hidden = name.startswith(".") and name not in _HIDDEN
            if name in _SKIPPED or hidden or _excluded(inner, exclude) or (Path(folder) / name / "pyvenv.cfg").exists():
                tree.folders.append(inner)
            elif not (Path(folder) / name).is_symlink():
                keep.append(name)
        folders[:] = keep
        for name in sorted(names):
            path = (relative / name).as_posix()
            if _excluded(path, exclude):
                continue
            if kind_of(path) is None:
                tree.others += 1
            elif (found := _read(tree, Path(folder) / name, path)) is not None:
                yield found


def _not_entered(tree: Tree, error: OSError) -> None:
    path = Path(str(error.filename))
    inside = path.relative_to(tree.root).as_posix() if path.is_relative_to(tree.root) else str(path)
    tree.unread.append((inside, f"the folder cannot be read: {error.strerror}"))


def _read(tree: Tree, path: Path, name: str) -> SourceFile | None:
    kind = kind_of(name)
    assert kind is not None
    if path.is_symlink() and not path.exists():
        tree.unread.append((name, "it is a link to nothing"))
        return None
    try:
        with open_regular(path) as file:
            content = file.read(LARGEST_BYTES + 1)
            size = path.stat().st_size
    except OSError as error:
        tree.unread.append((name, f"it cannot be read: {error.strerror or error}"))
        return None
    if len(content) > LARGEST_BYTES:
        limit = bytes_text(LARGEST_BYTES)
        tree.unread.append((name, f"it is too large: {bytes_text(size)}, and at most {limit} are read"))
        return None
    if b"\0" in content:
        tree.unread.append((name, "it is binary: it contains null bytes"))
        return None
    return SourceFile(name, kind, content)


def decoded(content: bytes) -> str:
    """Bytes as text: UTF-8, without the mark at its beginning; what is no UTF-8 is replaced."""
    return content.decode("utf-8-sig", errors="replace")


def _excluded(path: str, patterns: Sequence[str]) -> bool:
    pure = PurePosixPath(path)
    for pattern in patterns:
        plain = pattern.rstrip("/")
        if pure.match(plain) or path == plain or path.startswith(plain + "/"):
            return True
    return False


_NAME = re.compile(r"""^\s*(?:name\s*=\s*|setup\(\s*name\s*=\s*)["']([\w.-]+)["']""", re.MULTILINE)


def _own_names(root: Path) -> set[str]:
    """Names of the packages that the project consists of: of its folders, and the one under which it is published."""
    found: set[str] = {root.resolve().name} if (root / "__init__.py").exists() else set()
    for folder in (root, root / "src", root / "python"):
        try:
            entries = sorted(folder.iterdir()) if folder.is_dir() else []
        except OSError:
            continue
        found |= {entry.name for entry in entries if (entry / "__init__.py").exists()}
        found |= {entry.stem for entry in entries if entry.suffix == ".py"}
    for name in ("pyproject.toml", "setup.py", "setup.cfg"):
        path = root / name
        try:
            with open_regular(path) as file:
                text = decoded(file.read(LARGEST_BYTES))
        except OSError:
            continue
        found |= {re.sub(r"[-_.]+", "-", each).lower() for each in _NAME.findall(text)}
    return found | {re.sub(r"[-_.]+", "-", each).lower() for each in found}
