"""``hal run``: train a model."""

from __future__ import annotations

from hal.cli.command import Command, ConfigFile, Json, Keys, Panel
from hal.cli.guard import INTERRUPTED, guard
from hal.cli.terminal import print_json

__all__ = ["COMMAND"]


def run(keys: Keys = None, config: ConfigFile = None, json_output: Json = False) -> None:
    """Train a model."""

    def work() -> int:
        from hal.cli.commands._run_view import RunView
        from hal.config import read
        from hal.processes.rendezvous import leads
        from hal.run import resumed
        from hal.run import run as train
        from hal.run.config import RunConfig

        view = RunView(to_stderr=json_output)
        try:
            record = train(resumed(read(RunConfig, keys or [], config)), view)
        finally:
            view.close()
        if json_output and leads():
            print_json(record.model_dump(mode="json"))
        return INTERRUPTED if record.status == "interrupted" else 0

    guard(
        work,
        json_output,
        interrupted="Stopped without saving. If the run had written a checkpoint, that checkpoint is complete; "
        "continue from it with: hal run resume=FOLDER",
    )


COMMAND = Command(
    run,
    help="Train a model, evaluate it after every epoch and save it.\n\n"
    "The checkpoints and a record of the run are written to a new folder. Ctrl-C saves a checkpoint and stops; "
    "resume=FOLDER continues from it.",
    panel=Panel.MODELS,
    examples=(
        "hal run model=cnn",
        "hal run model=rnn model.cell=gru data=text:book.txt epochs=10 lr=1e-3",
        "hal run model=path/to/mine.py:MyModel data=images:photos backend=cpu",
        "hal run resume=runs/cnn-cpu-20261122-001223 epochs=40",
    ),
    config_path="hal.run.config:RunConfig",
)
