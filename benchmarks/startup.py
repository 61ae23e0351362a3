"""How long things take to start: importing hal and asking it for help, beside importing the frameworks.

python -m benchmarks.startup
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

__all__ = ["main"]

_COMMANDS: dict[str, tuple[str, list[str]]] = {
    "python -c pass": ("", ["-c", "pass"]),
    "import hal": ("", ["-c", "import hal"]),
    "hal --help": ("", ["-m", "hal", "--help"]),
    "hal devices": ("", ["-m", "hal", "devices"]),
    "import torch": ("torch", ["-c", "import torch"]),
    "import lightning": ("lightning", ["-c", "import lightning"]),
    "import keras (torch)": ("keras", ["-c", "import keras"]),
}
"""What to start, the package that it needs, and the arguments of the interpreter."""


def once(arguments: list[str]) -> tuple[float, float]:
    """Seconds that pass and seconds of processor time of one process."""
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)
    wall, after = time.perf_counter() - began, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, used


def main(
    runs: Annotated[int, typer.Option(help="processes for each, in turn")] = 9,
    out: Annotated[Path | None, typer.Option("--json", help="file for all numbers")] = None,
) -> None:
    """Start each several times in fresh processes, in turn, and print a table."""
    commands = {
        name: arguments
        for name, (needs, arguments) in _COMMANDS.items()
        if not needs or importlib.util.find_spec(needs) is not None
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for arguments in commands.values():
        once(arguments)  # files come from the disk and bytecode is written the first time
    for _ in range(runs):
        for name, arguments in commands.items():
            times[name].append(once(arguments))
    table = Table("", "time, s", "processor time, s", title=f"start-up: {runs} fresh processes each")
    for name, pairs in times.items():
        table.add_row(name, *(_spread([pair[i] for pair in pairs]) for i in (0, 1)))
    Console().print(table)
    print("Medians, and the least and the most in brackets; files are in the page cache.")
    if out is not None:
        out.write_text(json.dumps(times, indent=1) + "\n")


def _spread(values: list[float]) -> str:
    return f"{np.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


if __name__ == "__main__":
    typer.run(main)
