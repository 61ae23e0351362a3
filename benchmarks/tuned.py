"""The cnn under the plan that ``hal tune`` found, beside what PyTorch and Keras 3 do when nobody says anything.

    hal tune model=cnn backend=cpu parallel=none out=runs/tuned
    python -m benchmarks.tuned runs/tuned/best.yaml

PyTorch runs eagerly in fp32 on NCHW, Keras with the defaults of ``compile`` in fp32 on NHWC. All are in one process and
run in turn; samples per second count, since the plan has its own batch size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.peers import Peer, serve
from benchmarks.task import Task
from benchmarks.train import choose
from hal.config import read
from hal.measure import Candidate, Comparison, Settings, compare

__all__ = ["main"]

_OWN = ("batch", "precision", "layout")
_OTHER = ("compile", "conv", "pool", "threads")


def main(
    best: Annotated[Path, typer.Argument(help="best.yaml of a tuning of the cnn on the CPU, in one process")],
    batch: Annotated[int, typer.Option(help="samples in a step of the others")] = 64,
    samples: Annotated[int, typer.Option(help="samples to train on")] = 2560,
    seconds: Annotated[float, typer.Option(help="longest time for each candidate")] = 30.0,
    peers: Annotated[str, typer.Option(help="candidates; the first one is what ratios refer to")] = "hal,torch,keras",
    out: Annotated[Path | None, typer.Option("--json", help="file for all measurements")] = None,
) -> None:
    """Time the plan beside the defaults of others, in turn."""
    keys = read([], best)
    if keys.get("parallel", "none") != "none":
        raise typer.BadParameter("its plan spreads over processes; tune with parallel=none", param_hint="best.yaml")
    own = {name: keys[name] for name in _OWN if name in keys}
    plan = {name: keys[name] for name in _OTHER if keys.get(name) is not None}
    tasks = {
        "hal": Task("cnn", samples=samples, plan=plan, **own),
        "torch": Task("cnn", "fp32", "nchw", batch, samples),
        "keras": Task("cnn", "fp32", "nhwc", batch, samples),
    }
    names = choose(peers)
    box: list[Comparison] = []

    def build(rest: list[str], built: dict[str, Peer]) -> None:
        if rest:
            serve(rest[0])(tasks[rest[0]], lambda peer: build(rest[1:], {**built, rest[0]: peer}))
            return
        candidates = {name: Candidate(peer.step, peer.wait, tasks[name].batch) for name, peer in built.items()}
        versions: dict[str, Any] = {key: value for peer in built.values() for key, value in peer.versions.items()}
        settings = Settings(max_seconds=seconds, min_seconds=2.0, min_block_ms=200.0, min_blocks=12)
        box.append(compare(candidates, baseline=names[0], settings=settings, versions=versions))

    build(names, {})
    (found,) = box
    print(f"hal's plan: {', '.join(f'{name} {value}' for name, value in {**own, **plan}.items())}")
    for name, measurement in found.measurements.items():
        ratio = "" if name == names[0] else f"   over {names[0]} {found.ratios[name]}"
        print(f"{name:<8}{measurement.throughput}{ratio}")
    for note in found.notes():
        print(f"note: {note}")
    if out is not None:
        out.write_text(json.dumps(found.model_dump(mode="json"), indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
