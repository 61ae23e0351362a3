"""Peak memory of training, and the time to the first step: each candidate in a process of its own, several times.

python -m benchmarks.memory cnn --precision fp32 --layout nchw
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.peers import PEERS, Peer, serve
from benchmarks.task import BATCH, Task

__all__ = ["main"]

_MIB = 2**20


def peak_bytes() -> int:
    """The most memory that this process ever had resident. macOS counts in bytes, Linux in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def child(name: str, task: Task, steps: int, threads: int | None) -> None:
    """Train one candidate and print what it took as JSON; the baseline is what its imports needed."""
    began = time.perf_counter()
    run = serve(name)
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    imported, baseline = time.perf_counter(), peak_bytes()
    found: dict[str, float] = {}

    def use(peer: Peer) -> None:
        float(peer.step())
        found["first_step_s"] = time.perf_counter() - imported
        for _ in range(steps - 1):
            peer.step()

    run(task, use)
    found |= {"imports_s": imported - began, "training_bytes": peak_bytes() - baseline, "total_bytes": peak_bytes()}
    print(json.dumps(found))


def one_run(name: str, task: Task, steps: int, threads: int | None) -> dict[str, float]:
    """:func:`child` in a fresh process."""
    request = json.dumps({"name": name, "task": asdict(task), "steps": steps, "threads": threads})
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "--child", request], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(
    model: Annotated[Literal["cnn", "lstm", "lstm-classify"], typer.Argument(help="cnn, lstm or lstm-classify")],
    precision: Annotated[Literal["fp32", "bf16"], typer.Option(help="what layers compute in")] = "fp32",
    layout: Annotated[Literal["nchw", "nhwc"], typer.Option(help="physical order of images")] = "nchw",
    batch: Annotated[int | None, typer.Option(help="samples in a step; unset: 128, for lstm 32")] = None,
    samples: Annotated[int, typer.Option(help="samples to train on")] = 2560,
    threads: Annotated[int | None, typer.Option(help="threads of PyTorch; unset: its choice")] = None,
    peers: Annotated[str, typer.Option(help="candidates; the first one is what ratios refer to")] = ",".join(PEERS),
    steps: Annotated[int, typer.Option(help="steps to train")] = 20,
    runs: Annotated[int, typer.Option(help="processes for each candidate, in turn")] = 5,
    out: Annotated[Path | None, typer.Option("--json", help="file for all numbers")] = None,
) -> None:
    """Measure peak memory and the time to the first step in fresh processes, in turn, and print a table."""
    names = peers.split(",")
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        task = Task(model, precision, layout, batch or BATCH[model], samples)
        task = task.save(Path(folder) / "task.npz")
        for _ in range(runs):
            for name in names:
                rows[name].append(one_run(name, task, steps, threads))
    title = f"{model}, {precision}, batch {task.batch}, {steps} steps: {runs} fresh processes each"
    table = Table("", "training, MiB", "in all, MiB", f"training over {names[0]}", "first step, s", title=title)
    table.add_column("imports, s")
    for name in names:
        ratios = _column(rows[name], "training_bytes") / _column(rows[names[0]], "training_bytes")
        table.add_row(
            name,
            _spread(_column(rows[name], "training_bytes") / _MIB, ".1f"),
            _spread(_column(rows[name], "total_bytes") / _MIB, ".0f"),
            "1" if name == names[0] else _spread(ratios, ".3f"),
            _spread(_column(rows[name], "first_step_s"), ".2f"),
            _spread(_column(rows[name], "imports_s"), ".2f"),
        )
    Console(width=max(Console().width, 118)).print(table)
    print("Medians, and the least and the most in brackets; ratios are paired run by run.")
    print("training: the peak of the resident memory above what it was after the imports; the data set is in it.")
    if out is not None:
        out.write_text(json.dumps({"task": asdict(task), "steps": steps, "runs": rows}, indent=1) + "\n")


def _column(rows: Sequence[Mapping[str, float]], key: str) -> Any:
    return np.array([row[key] for row in rows])


def _spread(values: Any, spec: str) -> str:
    return f"{np.median(values):{spec}} [{values.min():{spec}}, {values.max():{spec}}]"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        asked = json.loads(sys.argv[2])
        child(asked["name"], Task(**asked["task"]), asked["steps"], asked["threads"])
    else:
        typer.run(main)
