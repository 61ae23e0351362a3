"""hal's OpenCL backend beside PyTorch and tinygrad on one processor: training, a large product, and first steps.

python -m benchmarks.opencl
python -m benchmarks.opencl cnn lstm product --tinygrad /path/to/site --clock cpu
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from unittest.mock import patch

import typer
from rich.console import Console
from rich.table import Table

__all__ = ["first_step", "main"]

_MODELS = ("cnn", "lstm", "gan")
_ALL = (*_MODELS, "product", "first")
_SIZE = 1024
_THREADS = 2


def main(
    parts: Annotated[list[str] | None, typer.Argument(help=f"some of: {', '.join(_ALL)}; unset: all")] = None,
    seconds: Annotated[float, typer.Option(help="longest time for each candidate")] = 30.0,
    clock: Annotated[
        Literal["wall", "cpu"], typer.Option(help="wall: time that passes; cpu: processor time of all threads together")
    ] = "wall",
    tinygrad: Annotated[Path | None, typer.Option(help="folder that tinygrad was installed into with --target")] = None,
) -> None:
    """Time the same work in several frameworks on two threads of this processor, in turn, and print tables."""
    wanted = parts or list(_ALL)
    if unknown := [part for part in wanted if part not in _ALL]:
        raise typer.BadParameter(f"{', '.join(unknown)}: choose from {', '.join(_ALL)}", param_hint="parts")
    # Read by PoCL when it starts.
    os.environ["POCL_MAX_PTHREAD_COUNT"] = str(_THREADS)
    if tinygrad is not None:
        sys.path.append(str(tinygrad))
    import torch

    torch.set_num_threads(_THREADS)
    for part in wanted:
        if part in _MODELS:
            _train(part, seconds, clock, tinygrad is not None)
        elif part == "product":
            _multiply(seconds, clock)
        else:
            _first_steps()


def _train(model: Any, seconds: float, clock: str, tinygrad: bool) -> None:
    from benchmarks.peers import Peer, together
    from benchmarks.same import check
    from benchmarks.task import BATCH, Task
    from benchmarks.train import paired
    from hal.backends.opencl import compiling
    from hal.measure import Candidate

    task = Task(model, "fp32", "nchw", BATCH[model])
    names = ["torch-gan" if model == "gan" else "torch", "hal-opencl"]
    if tinygrad and model in ("cnn", "lstm"):
        names.append("tinygrad")
    if model != "gan":  # whose random numbers, and therefore losses, are each framework's own
        check(task, names)
    schedules, schedule = [], compiling.schedule

    def recorded(*args: Any, **keys: Any) -> Any:
        schedules.append(schedule(*args, **keys))
        return schedules[-1]

    def use(built: dict[str, Peer]) -> None:
        built["hal-opencl"].step()
        step = max(schedules, key=lambda each: len(each.launches))
        candidates = {name: Candidate(peer.step, peer.wait, task.batch) for name, peer in built.items()}
        versions = {key: value for peer in built.values() for key, value in peer.versions.items()}
        found = paired(candidates, seconds, clock, versions)
        _show(f"{model}, fp32, batch {task.batch}", found, names, clock)
        print(f"hal: {len(step.launches)} launches a step, which move {step.moved_bytes / 1e6:.0f} MB.")

    with patch.object(compiling, "schedule", recorded):
        together(task, names, use)


def _multiply(seconds: float, clock: str) -> None:
    import numpy as np
    import torch

    from benchmarks.peers.hal_peer import opencl_processor
    from benchmarks.train import paired
    from hal import registry
    from hal.contract.plan import Plan
    from hal.measure import Candidate

    backend, device = registry.backend("opencl"), opencl_processor()
    host = np.random.default_rng(0).standard_normal((_SIZE, _SIZE)).astype(np.float32)
    mine, theirs = backend.from_host(host, device), torch.from_numpy(host)
    run = backend.compile(lambda x: x @ x, Plan().resolve(device))
    np.testing.assert_allclose(backend.to_host(run(mine)), host @ host, rtol=1e-3, atol=1e-3)
    candidates = {
        "torch": Candidate(lambda: theirs @ theirs, lambda: None, 1),
        "hal-opencl": Candidate(lambda: run(mine), lambda: backend.synchronize(device), 1),
    }
    found = paired(candidates, seconds, clock, {"torch": torch.__version__, **backend.versions()})
    _show(f"product of {_SIZE} x {_SIZE} matrices, fp32", found, list(candidates), clock)


def _show(title: str, found: Any, names: Sequence[str], clock: str) -> None:
    from benchmarks.train import interval, over

    environment = next(iter(found.measurements.values())).environment
    table = Table("", "step, ms", "hal over it", title=f"{title}, {_THREADS} threads, {environment.cpu_model}")
    for name in names:
        ratio = "" if name == "hal-opencl" else interval(over(found, "hal-opencl", name), ".3f")
        table.add_row(name, interval(found.measurements[name].step_ms), ratio)
    Console(width=max(Console().width, 100)).print(table)
    kind = "processor time of all threads" if clock == "cpu" else "wall-clock time"
    print(f"Medians of {found.ratios[found.baseline].n} rounds with 95% intervals, {kind}; ratios within each round.")
    print(", ".join(f"{name} {version}" for name, version in environment.versions.items()))
    for note in found.notes():
        print(f"note: {note}")


def _first_steps() -> None:
    """The first step of the cnn in fresh processes: first with empty caches, then with those that it has filled."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "POCL_CACHE_DIR": folder, "HAL_OPENCL_CACHE": folder}
        for state in ("empty", "filled"):
            command = [sys.executable, "-c", "from benchmarks.opencl import first_step; first_step()"]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            print(f"first step of the cnn, caches {state}: {done.stdout.strip()}")


def first_step() -> None:
    """Print how long the first training step of the cnn takes in this process."""
    from benchmarks.peers import Peer, serve
    from benchmarks.task import Task

    def use(peer: Peer) -> None:
        start, used = time.perf_counter(), time.process_time()
        float(peer.step())
        print(f"{time.perf_counter() - start:.2f} s, {time.process_time() - used:.2f} s of processor time")

    serve("hal-opencl")(Task("cnn", samples=640), use)


if __name__ == "__main__":
    typer.run(main)
