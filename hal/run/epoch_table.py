"""``epochs.csv``: what a run measured after each epoch, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from hal.run.record import Epoch
from hal.util.files import write_whole

__all__ = ["EPOCHS_CSV", "epoch_table", "write_epoch_table"]

EPOCHS_CSV = "epochs.csv"


def epoch_table(epochs: Sequence[Epoch]) -> str:
    """A line for each epoch under a line of names; a metric that an epoch does not have is empty."""
    train = sorted({name for epoch in epochs for name in epoch.train})
    held = sorted({name for epoch in epochs for name in epoch.validation})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    fixed = ("epoch", "phase", "step", "lr", "seconds", "samples_per_s")
    writer.writerow([*fixed, *(f"train_{name}" for name in train), *(f"validation_{name}" for name in held)])
    for epoch in epochs:
        row = [getattr(epoch, name) for name in fixed]
        row += [epoch.train.get(name, "") for name in train] + [epoch.validation.get(name, "") for name in held]
        writer.writerow(["" if cell is None else cell for cell in row])
    return out.getvalue()


def write_epoch_table(epochs: Sequence[Epoch], folder: Path) -> Path:
    """Write the table of a run whole into its folder.

    Raises:
        OSError: it cannot be written.
    """
    path = folder / EPOCHS_CSV
    write_whole(path, epoch_table(epochs).encode())
    return path
