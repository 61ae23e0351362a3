"""Runs commands of hal in this process as on another system: ``python on_other_systems.py darwin|win32 JSON FOLDER``.

What only Linux has is gone: its files in ``/proc`` and ``/sys`` for code of hal, its functions in ``os`` and
``select``, and those of its C library. What is imported before looks at the real system, as a build for the other one
would.

JSON is a list of commands, each a list of words; their exit statuses are the last line of stdout, as a list.
"""

import ctypes
import errno
import importlib
import json
import os
import platform
import runpy
import select
import sys
import sysconfig
from pathlib import Path

LINUX_FILES = ("/proc", "/sys", "/dev/kfd", "/dev/dri")
LINUX_FUNCTIONS = (
    "copy_file_range eventfd getrandom memfd_create pidfd_open posix_fadvise posix_fallocate sched_getaffinity "
    "sched_setaffinity sched_getscheduler setns splice unshare"
).split()
LINUX_C = ("prctl", "mallopt", "malloc_trim", "gnu_get_libc_version", "sched_getaffinity")
UNIX_MODULES = ("fcntl", "grp", "pwd", "resource", "termios")
LIBRARY = sysconfig.get_paths()["stdlib"]


def of_hal():
    """Whether code of hal is the first on the stack that belongs neither to Python's library nor to this file."""
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((LIBRARY, "<")) and file != __file__:
            return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "hal"
        frame = frame.f_back
    return False


def hide(path):
    if isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(LINUX_FILES) and of_hal():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def without_linux_files():
    sys.addaudithook(lambda event, args: hide(args[0]) if event in ("open", "os.listdir", "os.scandir") else None)
    for name in ("stat", "lstat", "readlink", "access"):
        real = getattr(os, name)

        def hiding(path, *more, real=real, **named):
            hide(path)
            return real(path, *more, **named)

        setattr(os, name, hiding)


class MacLibrary(ctypes.CDLL):
    def __getattr__(self, name):
        if name in LINUX_C:
            raise AttributeError(name)
        return super().__getattr__(name)


def as_macos(folder):
    for name in (
        "psutil",
        "torch",
        "jax",
        "optax",
        "sklearn.datasets",
        "sklearn.linear_model",
        "threadpoolctl",
        "optuna",
    ):
        importlib.import_module(name)
    import psutil
    import torch

    sysctl = folder / "sysctl"
    sysctl.write_text('#!/bin/sh\n[ "$1 $2" = "-n machdep.cpu.brand_string" ] && echo "Apple M1 Pro"\n')
    sysctl.chmod(0o755)
    sys.platform = "darwin"
    platform.system, platform.machine, platform.processor = (lambda: "Darwin"), (lambda: "arm64"), (lambda: "arm")
    platform.mac_ver = lambda: ("15.1", ("", "", ""), "arm64")
    platform.platform = lambda: "macOS-15.1-arm64-arm-64bit"
    for name in LINUX_FUNCTIONS:
        if hasattr(os, name):
            delattr(os, name)
    del select.epoll, psutil.sensors_temperatures
    ctypes.CDLL = MacLibrary
    mps = torch.backends.mps
    mps.is_built, mps.is_available = (lambda: True), (lambda: True)
    mps.get_name, mps.get_core_count = (lambda: "Apple M1 Pro"), (lambda: 16)
    torch.mps.recommended_max_memory = lambda: 11_453_246_122
    without_linux_files()

    from hal.util import systems

    systems._SYSCTL = str(sysctl)


def as_windows():
    for name in ("typer", "rich.console", "pydantic"):
        importlib.import_module(name)
    for name in UNIX_MODULES:
        sys.modules[name] = None
    sys.platform = "win32"


def status_of(words):
    sys.argv = ["hal", *words]
    try:
        runpy.run_module("hal", run_name="__main__")
    except SystemExit as ended:
        return ended.code or 0
    return 0


def main(system, commands, folder):
    as_macos(Path(folder)) if system == "darwin" else as_windows()
    statuses = [status_of(words) for words in json.loads(commands)]
    sys.stdout.write(f"{json.dumps(statuses)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
