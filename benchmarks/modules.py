"""hal on a user's own PyTorch module beside the user's own loop, in turn: a table with ratios.

python -m benchmarks.modules resnet18
python -m benchmarks.modules lstm --mode infer
python -m benchmarks.modules bert --precision bf16
python -m benchmarks.modules resnet18 --device cuda:0 --launch graph
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from torch import nn

from benchmarks.train import over, paired, wait_for_quiet
from hal.config import JobConfig, build
from hal.job.placing import put_batch
from hal.job.prepare import prepare
from hal.job.steps import host_batches, stepper
from hal.measure import Candidate

__all__ = ["main"]

_FOLDER = Path(__file__).parent / "own"


def main(
    model: Annotated[Literal["resnet18", "lstm", "bert"], typer.Argument(help="resnet18, lstm or bert")],
    mode: Annotated[Literal["train", "infer"], typer.Option(help="optimizer steps, or outputs alone")] = "train",
    precision: Annotated[Literal["fp32", "bf16"], typer.Option(help="bf16: under torch.autocast")] = "fp32",
    layout: Annotated[Literal["nchw", "nhwc"], typer.Option(help="nhwc: channels_last")] = "nchw",
    batch: Annotated[int, typer.Option(help="samples in a step")] = 32,
    device: Annotated[str, typer.Option(help="where, as hal devices names it")] = "cpu:0",
    launch: Annotated[str, typer.Option(help="hal's plan key, where the device offers it")] = "",
    compile_: Annotated[str, typer.Option("--compile", help="eager, default or max, for both")] = "eager",
    seconds: Annotated[float, typer.Option(help="longest time for each candidate")] = 30.0,
    clock: Annotated[
        Literal["wall", "cpu"], typer.Option(help="wall: time that passes; cpu: processor time of all threads together")
    ] = "wall",
    quiet: Annotated[float | None, typer.Option(help="wait (10 minutes at most) for this load average")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="file for all measurements")] = None,
) -> None:
    """Time the same steps by hal and by a plain loop, and print the ratio."""
    keys = {
        "model": f"{_FOLDER / model}.py:Net",
        "device": device,
        "batch": batch,
        "precision": precision,
        "layout": layout,
        "compile": compile_,
        "data": "synthetic",
        **({"launch": launch} if launch else {}),
    }
    job = prepare(build(JobConfig, keys), mode)
    with job.backend.settings(job.plan, job.device):
        batches = list(itertools.islice(host_batches(job, 0), 8))
        mine = stepper(job, 0)
        placed = itertools.cycle([put_batch(job, each) for each in batches])
        there = torch.device("cpu") if job.backend.name == "cpu" else torch.device("cuda", job.device.index)
        theirs = _loop(job.model, mode, precision, layout, compile_, there)
        tensors = itertools.cycle([_theirs(each, layout, there) for each in batches])
        if quiet is not None:
            wait_for_quiet(quiet, 10)

        def wait() -> None:
            job.backend.synchronize(job.device)

        candidates = {
            "loop": Candidate(lambda: theirs(next(tensors)), wait, batch),
            "hal": Candidate(lambda: mine(next(placed)), wait, batch),
        }
        found = paired(candidates, seconds, clock, job.backend.versions())
    plan = job.plan.model_dump(mode="json")
    print(f"{model}, {mode}, {job.device} {job.device.name}: {', '.join(f'{k}={v}' for k, v in plan.items())}")
    for name, measurement in found.measurements.items():
        print(f"{name}: {measurement.throughput}")
    ratio = over(found, "hal", "loop")
    print(f"hal over the loop: {ratio}")
    for note in found.notes():
        print(f"note: {note}")
    if out is not None:
        report = {
            "model": model,
            "mode": mode,
            "device": job.device.name,
            "plan": plan,
            "hal_over_loop": ratio.model_dump(),
        }
        out.write_text(json.dumps({**report, "comparison": found.model_dump(mode="json")}, indent=1) + "\n")


def _loop(
    model: Any, mode: str, precision: str, layout: str, compiled: str, device: torch.device
) -> Callable[[Any], Any]:
    """What a user would write."""
    net: nn.Module = model.code.build({}, 0).to(device)
    if layout == "nhwc":
        net = net.to(memory_format=torch.channels_last)
    called: Any = net
    if compiled != "eager":
        called = torch.compile(net, dynamic=False, mode="max-autotune-no-cudagraphs" if compiled == "max" else None)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)

    def cast() -> Any:
        return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()

    def outputs(inputs: Any, **more: Any) -> Any:
        return called(**inputs, **more) if isinstance(inputs, dict) else called(inputs)

    def train(batch: Any) -> Any:
        inputs, labels = batch
        optimizer.zero_grad()
        with cast():
            if isinstance(inputs, dict):
                loss = outputs(inputs, labels=labels).loss
            else:
                loss = nn.functional.cross_entropy(outputs(inputs), labels)
        loss.backward()
        optimizer.step()
        return loss

    @torch.no_grad()
    def infer(batch: Any) -> Any:
        with cast():
            return outputs(batch[0])

    net.train(mode == "train")
    return train if mode == "train" else infer


def _theirs(batch: Any, layout: str, device: torch.device) -> Any:
    def tensor(array: Any) -> Any:
        found = torch.from_numpy(array).to(device)
        return found.to(memory_format=torch.channels_last) if found.ndim == 4 and layout == "nhwc" else found

    inputs = batch["inputs"]
    found = {name: tensor(x) for name, x in inputs.items()} if isinstance(inputs, dict) else tensor(inputs)
    return found, tensor(batch["labels"]) if "labels" in batch else None


if __name__ == "__main__":
    typer.run(main)
