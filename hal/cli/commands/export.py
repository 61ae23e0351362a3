"""``hal export``: a trained model as files for other runtimes, proved equal."""

from __future__ import annotations

from typing import Annotated

import typer

from hal.cli.command import Command, ConfigFile, Json, Keys, Panel
from hal.cli.guard import guard
from hal.cli.terminal import print_json

__all__ = ["COMMAND"]


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The folder that hal run wrote.", show_default=False)],
    to: Annotated[
        str,
        typer.Option("--to", metavar="FORMAT", help="onnx, torch, stablehlo or safetensors.", show_default=False),
    ],
    keys: Keys = None,
    config: ConfigFile = None,
    json_output: Json = False,
) -> None:
    """Export a trained model."""

    def work() -> int:
        from hal.after.config import ExportConfig
        from hal.after.exporting import export as export_trained
        from hal.cli.commands._export_view import show_export
        from hal.config import build, read

        found = export_trained(run, to, build(ExportConfig, read(ExportConfig, keys or [], config)))
        if json_output:
            print_json(found.model_dump(mode="json"))
        else:
            show_export(found)
        return 0

    guard(work, json_output)


COMMAND = Command(
    export,
    help="Write a trained model to files for other runtimes, and prove that they compute the same.\n\n"
    "onnx is for onnxruntime, TensorRT, OpenVINO and MIGraphX; torch for torch.export; stablehlo for TPUs and IREE; "
    "safetensors holds plain weights. Each export is run at once on the held-out samples of the run and compared with "
    "the model; one that differs is an error.",
    panel=Panel.MODELS,
    examples=(
        "hal export runs/cnn-cpu-20261122-001223 --to onnx",
        "hal export runs/cnn-cpu-20261122-001223 --to onnx precision=int8 out=edge",
        "hal export runs/cnn-cpu-20261122-001223 --to stablehlo batch=1",
    ),
    config_path="hal.after.config:ExportConfig",
)
