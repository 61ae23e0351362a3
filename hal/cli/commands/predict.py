"""``hal predict``: a trained model on new inputs."""

from __future__ import annotations

from typing import Annotated

import typer

from hal.cli.command import Command, ConfigFile, Json, Panel, complete_keys
from hal.cli.guard import guard

__all__ = ["COMMAND"]


def predict(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The folder that hal run wrote.", show_default=False)],
    keys: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUTS... KEY=VALUE",
            autocompletion=complete_keys,
            help="Files, folders, patterns such as 'photos/*.jpg', or - for stdin; and keys of this command.",
        ),
    ] = None,
    config: ConfigFile = None,
    json_output: Json = False,
) -> None:
    """Use a trained model."""

    def work() -> int:
        from hal.after.config import PredictConfig
        from hal.cli.commands._predict_view import show_predictions
        from hal.config import build, read
        from hal.config.reading import split_words

        words, pairs = split_words(PredictConfig, keys or [])
        settings = build(PredictConfig, read(PredictConfig, pairs, config))
        return show_predictions(run, words, settings, as_json=json_output)

    guard(work, json_output)


COMMAND = Command(
    predict,
    help="Use a trained model on new files: classes with their probabilities, text, or samples.\n\n"
    "Inputs are read and converted as for the training of the run, whose folder is all that is needed. An input that "
    "is damaged is named, and the others go on; the exit status is 1 then.",
    panel=Panel.MODELS,
    examples=(
        "hal predict runs/cnn-cpu-20261122-001223 photos/ holiday.jpg",
        "hal predict runs/cnn-cpu-20261122-001223 'photos/*.png' top=1 format=csv out=classes.csv",
        "hal predict runs/transfer-cpu-20261122-001223 text='The bank raised its rates.'",
        "hal predict runs/rnn-cpu-20261122-001223 text='The ' length=200 temperature=0.5",
        "hal predict runs/gan-cpu-20261122-001223 samples=64 seed=7",
    ),
    config_path="hal.after.config:PredictConfig",
)
