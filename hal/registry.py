"""Finds backends by entry points, loads each when it is first asked for, and resolves names to devices."""

from __future__ import annotations

import contextlib
import difflib
import functools
import re
from importlib.metadata import EntryPoint, entry_points

from hal.contract import Available, Backend, Unavailable
from hal.contract.device import Device
from hal.errors import ConfigError, UnavailableError
from hal.tensor.dispatch import register_backend
from hal.util.links import links_explained, not_installed

__all__ = ["GROUP", "backend", "device", "names", "require", "select"]

GROUP = "hal.backends"

_ANY_DEVICE = ("gpu", "gpus", "accelerator", "npu", "best", "any", "default")
"""Words for a device that are no name of a backend, and that the spelling of a name should not be guessed from."""


def names() -> tuple[str, ...]:
    """Names of all registered backends, in alphabetical order; loads none of them.

    Raises:
        UnavailableError: hal is not installed, so there are none.
    """
    return tuple(sorted(_points()))


def _points() -> dict[str, EntryPoint]:
    points = {point.name: point for point in entry_points(group=GROUP)}
    if not points:
        raise not_installed()
    return points


@functools.cache
def backend(name: str) -> Backend:
    """The backend of that name, the same object each time; it may be unavailable here.

    Raises:
        ConfigError: no backend is registered under that name, or what is registered is no backend.
        UnavailableError: its package cannot be imported, or hal is not installed.
    """
    points = _points()
    if name not in points:
        if name.lower() in _ANY_DEVICE:
            raise _no_name(name)
        near, meant = difflib.get_close_matches(name.lower(), points, n=1), _meant_by(name)
        raise ConfigError(
            f"backend={name} is not known" + (meant or (f"; did you mean {near[0]}?" if near else "")),
            fix=f"use one of: {', '.join(sorted(points))}",
        )
    try:
        with links_explained():
            cls = points[name].load()
    except UnavailableError:
        raise
    except Exception as error:  # somebody else's package: whatever it raises, the other backends go on
        raise UnavailableError(
            f"backend={name} cannot be loaded: {type(error).__name__}: {error}",
            fix=f"reinstall or remove the package that registers it: {points[name].value}",
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, Backend)):
        raise ConfigError(f"entry point {name} in {GROUP} is {cls!r}, not a subclass of hal.contract.Backend")
    loaded = cls()
    register_backend(name, loaded.ops)
    return loaded


def _no_name(word: str) -> ConfigError:
    return ConfigError(
        f"{word} is not the name of a backend or device{_meant_by(word)}",
        fix=f"write backend=auto for the best device here, or one of {', '.join(names())}; see: hal devices",
    )


def _meant_by(word: str) -> str:
    """A question after the backends that declare a word as one of their aliases; only after those that can run, if any.

    >>> _meant_by("vulkan")
    ''
    """
    found = [each for each in _loadable() if word.lower() in each.aliases]
    usable = [each for each in found if isinstance(each.probe(), Available)]
    asked = [f"backend={each.name}" for each in usable or found]
    if not asked:
        return ""
    return f"; did you mean {', '.join(asked[:-1])}{' or ' if asked[1:] else ''}{asked[-1]}?"


def _loadable() -> list[Backend]:
    """All backends but those whose packages cannot be imported, which `hal devices` tells of."""
    loaded = []
    for each in names():
        with contextlib.suppress(UnavailableError):
            loaded.append(backend(each))
    return loaded


def require(name: str) -> Backend:
    """The backend of that name, if it can run here.

    Raises:
        ConfigError: no backend is registered under that name.
        UnavailableError: it cannot run here; says why and what makes it available.
    """
    found = backend(name)
    state = found.probe()
    if isinstance(state, Unavailable):
        raise UnavailableError(f"backend={name} is not available: {state.reason}", fix=state.fix)
    return found


def select(name: str = "auto", index: int | None = None, kind: str | None = None) -> Device:
    """A device by backend name and position; ``auto`` takes the available backend of the highest priority.

    Args:
        name: of a backend, or ``auto``.
        index: position among the backend's devices, or among those of the kind; None: the first.
        kind: platform, for a backend that drives several; None: that of its first device.

    Raises:
        ConfigError: no such backend.
        UnavailableError: the backend cannot run here, or has no device of that index.
    """
    if name == "auto":
        candidates = sorted(_loadable(), key=lambda b: (-b.priority, b.name))
        for candidate in candidates:
            if candidate.priority >= 0 and isinstance(candidate.probe(), Available) and candidate.devices():
                return select(candidate.name, index, kind)
        raise UnavailableError(
            "no backend is available on this machine",
            fix="run hal devices, which says how to make each of them available",
        )
    chosen = require(name)
    found = chosen.devices()
    wanted = 0 if index is None else index
    kind = found[0].kind if kind is None and found else kind
    of_kind = [d for d in found if d.kind == kind]
    if not 0 <= wanted < len(of_kind):
        listed = ", ".join(str(d) for d in found) or "none"
        asked = ":".join([name, *([kind] if kind else []), str(wanted)])
        raise UnavailableError(
            f"device {asked} does not exist", fix=f"use one of: {listed}" if found else "run: hal devices"
        )
    chosen.ops(of_kind[wanted])  # from now on hal.ops serves its arrays, whatever is called first
    return of_kind[wanted]


def device(name: str = "auto") -> Device:
    """A device by name: ``cpu``, ``cuda:1``, ``backend:kind:0``, or ``auto`` for the best one here.

    Raises:
        ConfigError: the name is malformed or no backend has it.
        UnavailableError: the backend or the device is not here.
    """
    form = re.fullmatch(r"([^:]+)(?::([a-z]\w*))?(?::(\d+))?", name)
    if form is None:
        raise ConfigError(
            f"{name!r} does not name a device", fix="write for example cpu, cuda:1 or auto (see: hal devices)"
        )
    head, kind, index = form.groups()
    if head == "auto" and kind in _ANY_DEVICE:
        raise _no_name(kind)
    return select(head, None if index is None else int(index), kind)
