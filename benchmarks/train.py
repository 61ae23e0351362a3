"""Training steps of hal beside hand-written PyTorch and JAX, Lightning and Keras 3: a table with ratios.

python -m benchmarks.train cnn --precision fp32 --layout nchw
python -m benchmarks.train lstm --batch 32
python -m benchmarks.train cnn --layout nhwc --peers jax,hal-jax,jax-naive,keras-jax
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.peers import DEFAULT, PEERS, Peer, together
from benchmarks.same import STEPS, check
from benchmarks.task import BATCH, Task
from hal.measure import Candidate, Comparison, Estimate, Settings, compare

__all__ = ["interval", "main", "over", "paired", "wait_for_quiet"]


def choose(wanted: str) -> list[str]:
    """Names of candidates from a list with commas; those whose package is not installed are left out, with a word."""
    names = wanted.split(",")
    unknown = [name for name in names if name not in PEERS]
    if unknown or len(names) < 2:
        raise typer.BadParameter(f"two or more of: {', '.join(PEERS)}", param_hint="--peers")
    missing = [name for name in names if importlib.util.find_spec(PEERS[name][2]) is None]
    for name in missing:
        print(f"{name} is left out: the package {PEERS[name][2]} is not installed", file=sys.stderr)
    return [name for name in names if name not in missing]


def over(found: Comparison, name: str, other: str) -> Estimate:
    """Throughput of one candidate over another's, paired round by round."""
    mine, theirs = found.measurements[name], found.measurements[other]
    step_ms = [np.asarray(m.block_ms) / m.steps_per_block for m in (mine, theirs)]
    return Estimate.of(step_ms[1] / step_ms[0], unit="x", in_time_order=True)


def paired(
    candidates: Mapping[str, Candidate],
    seconds: float,
    clock: str,
    versions: dict[str, str],
    block_ms: float = 300,
    width: float = 0.01,
) -> Comparison:
    """Measure candidates in turn, with the first one as the baseline.

    Args:
        candidates: what to time, by name.
        seconds: longest time for each.
        clock: ``wall``, or ``cpu`` for the processor time of all threads together.
        versions: of what is measured.
        block_ms: least time of a candidate's turn in a round.
        width: half width of the ratios' intervals at which to stop.
    """
    settings = Settings(
        min_seconds=min(2.0, seconds),
        warmup_max_seconds=max(5.0, seconds / 2),
        max_seconds=seconds,
        min_block_ms=block_ms,
        min_blocks=12,
        target_relative_width=width,
    )
    ticks = time.perf_counter if clock == "wall" else time.process_time
    return compare(candidates, baseline=next(iter(candidates)), settings=settings, versions=versions, clock=ticks)


def wait_for_quiet(load: float, minutes: float) -> None:
    """Wait until the load average of the last minute is below a number, but not for ever."""
    end = time.monotonic() + 60 * minutes
    while os.getloadavg()[0] > load and time.monotonic() < end:
        time.sleep(5)


def main(
    model: Annotated[Literal["cnn", "lstm", "lstm-classify"], typer.Argument(help="cnn, lstm or lstm-classify")],
    precision: Annotated[Literal["fp32", "bf16"], typer.Option(help="what layers compute in")] = "fp32",
    layout: Annotated[Literal["nchw", "nhwc"], typer.Option(help="physical order of images")] = "nchw",
    batch: Annotated[int | None, typer.Option(help="samples in a step; unset: 128, for lstm 32")] = None,
    samples: Annotated[int, typer.Option(help="samples to train on")] = 2560,
    threads: Annotated[int | None, typer.Option(help="threads of PyTorch; unset: its choice")] = None,
    peers: Annotated[str, typer.Option(help="candidates; the first one is what ratios refer to")] = ",".join(DEFAULT),
    seconds: Annotated[float, typer.Option(help="longest time for each candidate")] = 30.0,
    block_ms: Annotated[float, typer.Option(help="least time of a candidate's turn in a round")] = 200.0,
    clock: Annotated[
        Literal["wall", "cpu"], typer.Option(help="wall: time that passes; cpu: processor time of all threads together")
    ] = "wall",
    width: Annotated[float, typer.Option(help="half width of the ratios' intervals at which to stop")] = 0.01,
    quiet: Annotated[float | None, typer.Option(help="wait (10 minutes at most) for this load average")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="file for all measurements")] = None,
) -> None:
    """Time the same training in several frameworks, in turn, and print a table."""
    import torch

    names = choose(peers)
    if threads is not None:
        torch.set_num_threads(threads)
    task = Task(model, precision, layout, batch or BATCH[model], samples)
    losses = check(task, names)
    if quiet is not None:
        wait_for_quiet(quiet, 10)
    box: list[tuple[Comparison, dict[str, Peer]]] = []

    def use(built: dict[str, Peer]) -> None:
        candidates = {name: Candidate(peer.step, peer.wait, task.batch) for name, peer in built.items()}
        versions = {key: value for peer in built.values() for key, value in peer.versions.items()}
        found = paired(candidates, seconds, clock, versions, block_ms=block_ms, width=width)
        box.append((found, built))

    together(task, names, use)
    (found, built) = box[0]
    mine = next((name for name in names if name.startswith("hal")), None)
    ratios = {name: over(found, mine, name) for name in names if mine is not None and name != mine}
    _show(task, found, ratios, built[names[0]].parameters, torch.get_num_threads())
    if out is not None:
        report = {
            "task": vars(task),
            "threads": torch.get_num_threads(),
            "losses": losses,
            "hal_over": {name: ratio.model_dump() for name, ratio in ratios.items()},
            "comparison": found.model_dump(mode="json"),
        }
        out.write_text(json.dumps(report, indent=1) + "\n")


def _show(task: Task, found: Comparison, ratios: dict[str, Estimate], parameters: int, threads: int) -> None:
    layout = f", {task.layout}" if task.model == "cnn" else ""
    environment = next(iter(found.measurements.values())).environment
    title = f"{task.model}, {task.precision}{layout}, batch {task.batch}, {threads} threads, {environment.cpu_model}"
    table = Table("", "samples/s", "step, ms", f"over {found.baseline}", "hal over it", "first call, s", title=title)
    for name, measurement in found.measurements.items():
        table.add_row(
            name,
            interval(measurement.throughput),
            interval(measurement.step_ms),
            "1" if name == found.baseline else interval(found.ratios[name], ".3f"),
            interval(ratios[name], ".3f") if name in ratios else "",
            f"{measurement.first_call_s:.2f}",
        )
    console = Console(width=max(Console().width, 118))
    console.print(table)
    rounds = found.ratios[found.baseline].n
    print(f"{parameters} parameters; the losses of the first {STEPS} steps are the same for all.")
    print(f"Medians of {rounds} rounds with 95% intervals, in brackets; ratios are paired within each round.")
    print("first call: the first step after the check, which has loaded every kernel before.")
    print(", ".join(f"{name} {version}" for name, version in environment.versions.items()), f"; {environment.python}")
    for note in found.notes():
        print(f"note: {note}")


def interval(estimate: Estimate, spec: str = "") -> str:
    """A median with its interval, for a table whose head names the unit."""
    text = format(estimate, spec).partition(" (n=")[0]
    return text.replace(f" {estimate.unit} ", " ").replace("x ", " ", 1) if estimate.unit != "x" else text


if __name__ == "__main__":
    typer.run(main)
