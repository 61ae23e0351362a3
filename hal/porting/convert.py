"""Converts the C++ sources of a project with PyTorch's converter, and says what it left or got wrong.

The converter cannot report a failure, so what comes out is read again.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hal.contract.text import counted
from hal.errors import ConfigError, NotFoundError, RunError, UnavailableError
from hal.porting.c_guards import Compiled, compiled_lines
from hal.porting.c_scanner import scan_code
from hal.porting.catalogue import target, vocabulary
from hal.porting.config import PortConfig
from hal.porting.files import decoded, read_tree
from hal.porting.findings import Conversion
from hal.util.files import check_writable

__all__ = ["convert"]

_LONGEST_S = 600
_WORKER = ("-m", "hal.porting.converter")
_IDENTIFIER = re.compile(r"\b[A-Za-z_]\w*")


def convert(path: Path, config: PortConfig, out: Path, tell: Callable[[str], None] | None = None) -> Conversion:
    """Convert the sources of a project into a new folder. The project itself stays as it is.

    Args:
        path: the project.
        config: the settings; files that they exclude are not converted.
        out: the folder; it is made, and must not exist.
        tell: is told what is being done.

    Raises:
        ConfigError: there is no conversion to the target, or the folder exists.
        NotFoundError: the folder cannot be written.
        UnavailableError: PyTorch is not installed.
        RunError: the converter failed; nothing is written.
    """
    words = vocabulary()
    if not target(config.to).converts:
        able = [name for name in words.targets if target(name).converts]
        raise ConfigError(
            f"there is no conversion of sources to {config.to}", fix=f"sources can be converted to {', '.join(able)}"
        )
    if os.path.lexists(out):
        raise ConfigError(f"--convert {out} already exists and is not overwritten", fix="choose another folder")
    check_writable(out, "choose another folder for --convert")
    if importlib.util.find_spec(words.converter_module.partition(".")[0]) is None:
        raise UnavailableError("the conversion needs PyTorch, which is not installed", fix="run: pip install torch")
    _, files = read_tree(path, config.exclude)
    with tempfile.TemporaryDirectory(prefix="hal-port-") as held:
        work = Path(held).resolve()
        source, made = work / "source", work / "made"
        source.mkdir()
        count = 0
        for file in files:
            if file.kind == "c" and file.path.endswith(words.converted_suffixes):
                copy = source / file.path
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.text.encode())
                count += 1
        if count == 0:
            return Conversion(out=str(out))
        if tell is not None:
            tell(f"converting {counted(count, 'file')} with PyTorch's converter")
        result = _run(source, made, work / "result.json")
        conversion, parts = _judged(source, made, out, result, config)
        _publish(parts, out)
    return conversion


def _run(source: Path, made: Path, result: Path) -> dict[str, Any]:
    """Run the converter.

    Raises:
        RunError: it ended with an error, took too long, or said nothing that makes sense.
    """
    command = [sys.executable, *_WORKER, str(source), str(made), str(result)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    fix = "run it again without --convert: the report does not need the converter"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=environment, check=False, timeout=_LONGEST_S
        )
    except subprocess.TimeoutExpired as error:
        raise RunError(f"PyTorch's converter did not end within {_LONGEST_S} s", fix=fix) from error
    except OSError as error:
        raise RunError(f"PyTorch's converter could not be started: {error}", fix=fix) from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RunError(f"PyTorch's converter ended with status {done.returncode}: {last}", fix=fix)
    try:
        held = json.loads(result.read_text(encoding="utf-8"))
        files, names = dict(held["files"]), dict(held["names"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError("PyTorch's converter ended without saying what it did", fix=fix) from error
    return {"files": files, "names": names}


def _judged(
    source: Path, made: Path, out: Path, result: dict[str, Any], config: PortConfig
) -> tuple[Conversion, dict[str, bytes]]:
    """What the conversion did, and the files that it gave by their paths."""
    converted: list[str] = []
    unchanged: list[str] = []
    failed: list[str] = []
    left: list[tuple[str, str]] = []
    invented: dict[tuple[str, str], None] = {}
    parts: dict[str, bytes] = {}
    by_path = {os.path.relpath(path, made): state for path, state in result["files"].items()}
    for file in sorted(each for each in source.rglob("*") if each.is_file()):
        name = file.relative_to(source).as_posix()
        new = _new_path(made, by_path.get(name))
        before = decoded(file.read_bytes())
        for old in sorted(set(_IDENTIFIER.findall(scan_code(before).code)) & set(result["names"])):
            invented[result["names"][old], old] = None
        if new is None and name not in by_path:
            failed.append(name)
            parts[name] = file.read_bytes()
            continue
        if new is None or new == name:
            parts[name] = (made / name).read_bytes() if (made / name).is_file() else file.read_bytes()
            (unchanged if decoded(parts[name]) == before else converted).append(name)
        else:
            parts[new] = (made / new).read_bytes()
            converted.append(name)
        left += _left(decoded(parts[new or name]), new or name, config)
    conversion = Conversion(
        out=str(out),
        converted=tuple(converted),
        unchanged=tuple(unchanged),
        failed=tuple(failed),
        left=tuple(left),
        invented=tuple(invented),
    )
    return conversion, parts


def _new_path(made: Path, state: Any) -> str | None:
    """Where the converter put a file, relative to its output; None: nowhere."""
    if not isinstance(state, list) or not state or not isinstance(state[0], str):
        return None
    path = Path(state[0])
    return path.relative_to(made).as_posix() if path.is_relative_to(made) and path.is_file() else None


def _left(text: str, name: str, config: PortConfig) -> Iterator[tuple[str, str]]:
    """Names in a converted file that should have been replaced, each once, with its first place."""
    scanned = scan_code(text)
    states = compiled_lines(scanned.directives, target(config.to).preprocessor, text.count("\n") + 1)
    seen: set[str] = set()
    for found in re.finditer(vocabulary().unconverted, scanned.code):
        line = scanned.line(found.start())
        if found[0] not in seen and states[line] is Compiled.YES:
            seen.add(found[0])
            yield found[0], f"{name}:{line}"


def _publish(parts: dict[str, bytes], out: Path) -> None:
    """Write all files, or none: into a hidden folder first, which is renamed.

    Raises:
        NotFoundError: they cannot be written.
    """
    hidden = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        for name, content in parts.items():
            path = hidden / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        hidden.rename(out)
    except OSError as error:
        shutil.rmtree(hidden, ignore_errors=True)
        raise NotFoundError(
            f"cannot write the folder {out}: {error.strerror}", fix="choose another folder for --convert"
        ) from error
