"""hal predict on many small pictures beside the model alone: does reading files keep up, and what does it cost?

python -m benchmarks.files
python -m benchmarks.files --files 2000 --size 224 --rounds 3
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

import hal
from benchmarks.train import wait_for_quiet
from hal.after.inputs import batches_of, files_of
from hal.after.predicting import predict_inputs
from hal.after.trained import Trained

__all__ = ["main"]


def main(
    files: Annotated[int, typer.Option(help="how many pictures")] = 10_000,
    size: Annotated[int, typer.Option(help="height and width of each, and of what the model takes")] = 28,
    rounds: Annotated[int, typer.Option(help="how often all is measured, in turn")] = 7,
    quiet: Annotated[float | None, typer.Option(help="wait (10 minutes at most) for this load average")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="file for all measurements")] = None,
) -> None:
    """Predict the pictures, read them alone, and compute the same batches alone, in turn."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pictures"
        _write(folder, files, size)
        run = Path(scratch) / "run"
        hal.train(model={"name": "cnn", "size": size}, epochs=1, out=str(run))
        trained = hal.load(run)
        if quiet is not None:
            wait_for_quiet(quiet)
        _round(trained, folder)  # what is loaded or prepared once
        rows = [_round(trained, folder) for _ in range(rounds)]
    found = {name: [row[name] for row in rows] for name in rows[0]}
    # Reading is subtracted round by round, so that what slows the whole machine for a while cancels out.
    rest = [row["predict"] - row["read in it"] for row in rows]
    found["of the model alone"] = [row["compute"] / left for row, left in zip(rows, rest, strict=True)]
    for name, values in found.items():
        low, high = min(values), max(values)
        unit = "" if name == "of the model alone" else f" s, {files / statistics.median(values):,.0f} pictures/s"
        typer.echo(f"{name:20} {statistics.median(values):.3f} [{low:.3f}, {high:.3f}]{unit}")
    if out is not None:
        out.write_text(json.dumps(found, indent=1) + "\n")


def _write(folder: Path, files: int, size: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(files):
        Image.fromarray(rng.integers(0, 256, (size, size), dtype=np.uint8)).save(folder / f"{number:06d}.png")


def _round(trained: Trained, folder: Path) -> dict[str, float]:
    outcome = predict_inputs(trained, files_of([str(folder)], trained), 3, lambda rows: None)
    start = time.perf_counter()
    batches = [batch.inputs for batch in batches_of(files_of([str(folder)], trained), trained)]
    read = time.perf_counter()
    with trained.ready():
        for _ in trained.stream(batches):
            pass
    done = time.perf_counter()
    return {
        "predict": outcome.seconds,
        "read in it": outcome.reading_seconds,
        "read alone": read - start,
        "compute": done - read,
    }


if __name__ == "__main__":
    typer.run(main)
