"""Which checkpoint of a run is used after the training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hal.errors import NotFoundError
from hal.run.checkpoint import Checkpoint, best, latest, require_kept
from hal.run.resuming import find_resume_point
from hal.util.paths import user_path

__all__ = ["Chosen", "chosen"]


@dataclass(frozen=True)
class Chosen:
    """A checkpoint, and why it is the one.

    Attributes:
        checkpoint: what was read.
        why: a few words for people, such as ``the last checkpoint``.
    """

    checkpoint: Checkpoint
    why: str


def chosen(run: str | Path) -> Chosen:
    """The checkpoint of a run that is used: the best that the run kept, otherwise the last one.

    Args:
        run: the folder of a run, or of one checkpoint, which is then the one.

    Raises:
        NotFoundError: there is no such folder, or it is not that of a run.
        CheckpointError: the checkpoint is damaged.
    """
    folder = user_path(run)
    if not folder.is_dir():
        require_kept(folder)
        what = "is a file, not the folder of a run" if folder.exists() else "does not exist"
        raise NotFoundError(f"{run} {what}", fix="give the folder that hal run wrote, for example runs/...")
    try:
        found = find_resume_point(str(run), best).checkpoint
    except NotFoundError as error:
        if (folder / "record.json").exists():
            raise NotFoundError(
                f"the run in {run} has no checkpoint yet", fix="wait until its first epoch is over, or run it again"
            ) from error
        raise NotFoundError(
            f"{run} is not the folder of a run: it has no checkpoints",
            fix="give the folder that hal run wrote, for example runs/...",
        ) from error
    if found.path == folder:
        return Chosen(found, "the checkpoint that was named")
    return Chosen(found, "the last checkpoint" if found.path == latest(folder) else "the best checkpoint")
