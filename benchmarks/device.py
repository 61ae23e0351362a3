"""The first hour of a device that hal has not met, in ten minutes: one JSON and one page to bring home.

python -m benchmarks.device --device cuda:0
python -m benchmarks.device --device rocm:0 --parts tests,steps --out first-hour

Parts, in this order: ``tests`` (tests/gpu and the conformance suite), ``verify`` (each model in each precision against
the processor, op by op), ``steps`` (modules beside a loop of plain PyTorch), ``bench`` (hal's models: throughput, power
and energy), ``tune`` (a search of a minute). Each is written as soon as it has ended. Nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter

import hal
from benchmarks import modules
from hal import registry
from hal.contract import Device
from hal.contract.device import DeviceFacts
from hal.measure import Environment
from hal.page import Number, Page, Section, Table, rendered
from hal.util.files import write_whole

__all__ = ["main"]

MODELS = ("cnn", "rnn", "gan", "transfer", "transformer")
STEPS: tuple[tuple[Any, dict[str, Any]], ...] = (
    ("resnet18", {"batch": 128, "layout": "nhwc", "precision": "bf16"}),
    ("bert", {"batch": 32, "precision": "bf16"}),
    ("lstm", {"batch": 32, "precision": "fp32"}),
)
USUAL: dict[str, Any] = {
    "mode": "train",
    "layout": "nchw",
    "compile_": "eager",
    "seconds": 5.0,
    "clock": "wall",
    "quiet": None,
}
KEYS = {"transfer": ("model.weights=random",)}
"""What a model needs so that nothing is looked for outside."""

ROOT = Path(__file__).parents[1]


class Hour:
    """What is found on one device; ``deadline`` is when the last part must have ended (time.monotonic)."""

    def __init__(self, device: Device, deadline: float) -> None:
        self.device, self.deadline = device, deadline

    def run(self, *words: str, at_most: float = 600.0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python with words after it; status 124 where the time ended."""
        left = max(1.0, min(at_most, self.deadline - time.monotonic()))
        command = [sys.executable, *words]
        try:
            return subprocess.run(
                command,
                capture_output=True,
                text=True,
                cwd=ROOT,
                timeout=left,
                check=False,
                env={**os.environ, **environment},
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 124, "", f"stopped after {left:.0f} s")

    def asked(self, *words: str, at_most: float = 600.0) -> dict[str, Any]:
        """What a command of hal answers as JSON; with what it said where it failed."""
        done = self.run("-m", "hal", *words, "--json", at_most=at_most)
        said = _error(done.stderr) if done.returncode else ""
        return {"status": done.returncode, "said": said, "answer": json.loads(done.stdout or "null")}

    # Parts

    def tests(self) -> dict[str, Any]:
        """Counts of outcomes, and the first line of each failure."""
        name = self.device.backend
        found: dict[str, Any] = {}
        for part, words in {
            "tests/gpu": ("tests/gpu", "-k", f"{name}:{self.device.index}" if name == "jax" else name),
            "conformance": (f"tests/conformance/test_{name}.py",),
        }.items():
            with tempfile.TemporaryDirectory() as folder:
                report = Path(folder) / "report.xml"
                beside = ("-n", str(max(1, (os.cpu_count() or 2) - 2)), "--dist", "worksteal")
                other = {} if name == "jax" else {"JAX_PLATFORMS": "cpu"}
                more = ("-p", "no:cacheprovider", f"--junitxml={report}", *beside)
                done = self.run("-m", "pytest", "-q", *words, *more, **other, XLA_PYTHON_CLIENT_PREALLOCATE="false")
                found[part] = (
                    _outcomes(report) if report.exists() else {"status": done.returncode, "said": done.stdout[-500:]}
                )
        return found

    def verify(self) -> dict[str, Any]:
        """For each model and precision: the status of ``hal verify``, and what it said where that is not 0."""
        precisions = self.device.capabilities.supported_precisions()
        asked = [(model, precision) for model in MODELS for precision in precisions]

        def verified(what: tuple[str, str]) -> dict[str, Any]:
            model, precision = what
            keys = [f"model={model}", f"backends=cpu,{self.device}", f"precision={precision}", *KEYS.get(model, ())]
            found = self.asked("verify", *keys)
            return {"status": found["status"], "said": found["said"]}

        with ThreadPoolExecutor(max(1, min(8, (os.cpu_count() or 2) // 2))) as pool:
            answers = list(pool.map(verified, asked))
        return {f"{model} {precision}": answer for (model, precision), answer in zip(asked, answers, strict=True)}

    def steps(self) -> dict[str, Any]:
        """Training steps of modules: hal over the loop, for each value of ``launch``."""
        found: dict[str, Any] = {}
        for model, keys in STEPS:
            for launch in self.device.capabilities.algorithms.get("launch", ("",)):
                if time.monotonic() > self.deadline:
                    break
                with tempfile.TemporaryDirectory() as folder:
                    out = Path(folder) / "out.json"
                    try:
                        modules.main(model, **{**USUAL, **keys}, device=str(self.device), launch=launch, out=out)
                        found[f"{model} {launch}".strip()] = json.loads(out.read_text())
                    except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
                        found[f"{model} {launch}".strip()] = {"said": f"{type(error).__name__}: {error}"}
        return found

    def bench(self) -> dict[str, Any]:
        """Each of hal's models under its default plan."""
        return {
            model: self.asked("bench", f"model={model}", f"device={self.device}", "seconds=4", *KEYS.get(model, ()))
            for model in MODELS
        }

    def tune(self) -> dict[str, Any]:
        """What a search of a minute finds for the cnn."""
        out = tempfile.mkdtemp(prefix="hal-tuning-")
        return self.asked("tune", "model=cnn", f"device={self.device}", "budget=60s", f"out={out}/tuning")


def main(
    device: Annotated[str, typer.Option(help="as hal devices names it")] = "auto",
    parts: Annotated[str, typer.Option(help="some of the parts, with commas")] = "tests,verify,steps,bench,tune",
    minutes: Annotated[float, typer.Option(help="longest time for all parts")] = 10.0,
    out: Annotated[Path, typer.Option(help="the files' name, without .json and .html")] = Path("first-hour"),
) -> None:
    """Try a device and write what was found."""
    found = hal.device(device)
    hour = Hour(found, time.monotonic() + 60 * minutes)
    every: Mapping[str, Callable[[], dict[str, Any]]] = {
        "tests": hour.tests,
        "verify": hour.verify,
        "steps": hour.steps,
        "bench": hour.bench,
        "tune": hour.tune,
    }
    unknown = [name for name in parts.split(",") if name not in every]
    if unknown:
        raise typer.BadParameter(f"some of: {', '.join(every)}", param_hint="--parts")
    report: dict[str, Any] = {
        "device": TypeAdapter(DeviceFacts).dump_python(DeviceFacts.of(found), mode="json"),
        "environment": Environment.read().model_dump(mode="json"),
        "versions": registry.backend(found.backend).versions(),
        "parts": {},
        "seconds": {},
    }
    for name in (name for name in every if name in parts.split(",")):
        start = time.monotonic()
        report["parts"][name] = every[name]()
        report["seconds"][name] = round(time.monotonic() - start, 1)
        write_whole(out.with_suffix(".json"), (json.dumps(report, indent=1) + "\n").encode())
        write_whole(out.with_suffix(".html"), rendered(_page(found, report)).encode())
        print(f"{name}: {report['seconds'][name]:.0f} s", flush=True)
        for table in _tables(report["parts"], name):
            for row in table.rows:
                print("   " + "  ".join(row))
    print(f"{out.with_suffix('.json')}, {out.with_suffix('.html')}")


def _error(said: str) -> str:
    """The line that says what went wrong."""
    lines = said.strip().splitlines() or [""]
    return next((line for line in lines if line.lower().startswith("error")), lines[-1])


def _outcomes(report: Path) -> dict[str, Any]:
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failures = {}
    for case in xml.parse(report).iter("testcase"):
        bad = {child.tag: child for child in case if child.tag in ("failure", "error", "skipped")}
        kind = "skipped" if "skipped" in bad else "failed" if bad else "passed"
        counts[kind] += 1
        if kind == "failed":
            failures[str(case.get("name"))] = str(next(iter(bad.values())).get("message")).splitlines()[0]
    return {**counts, "failures": failures}


def _page(device: Device, report: Mapping[str, Any]) -> Page:
    sections = [
        Section(name=name, title=name.capitalize(), tables=tuple(_tables(report["parts"], name)))
        for name in report["parts"]
    ]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return Page(
        title=f"{device.name}: the first hour",
        subject=str(device),
        headline=device.name,
        lead=f"{device.arch}, {versions}, on {report['environment']['cpu_model']}",
        numbers=tuple(_numbers(report["parts"])),
        sections=tuple(sections),
        footer="Ratios are medians of paired rounds with 95% bootstrap intervals.",
    )


def _numbers(parts: Mapping[str, Any]) -> Iterator[Number]:
    counts = [each for each in parts.get("tests", {}).values() if "passed" in each]
    if counts:
        failed = sum(each["failed"] for each in counts)
        yield Number("tests passed", str(sum(each["passed"] for each in counts)), (f"{failed} failed",))
    if "verify" in parts:
        agree = sum(each["status"] == 0 for each in parts["verify"].values())
        yield Number("models and precisions that agree", f"{agree} of {len(parts['verify'])}")


def _tables(parts: Mapping[str, Any], name: str) -> Iterator[Table]:
    found = parts[name]
    if name == "tests":
        rows = [
            (part, *(str(each.get(kind, "")) for kind in ("passed", "failed", "skipped")))
            for part, each in found.items()
        ]
        yield Table("Outcomes", ("", "passed#", "failed#", "skipped#"), tuple(rows))
        failures = [pair for each in found.values() for pair in each.get("failures", {}).items()]
        if failures:
            yield Table("Failures", ("test", "what it said"), tuple(failures))
    elif name == "verify":
        rows = [(what, "agrees" if each["status"] == 0 else each["said"]) for what, each in found.items()]
        yield Table("Against the processor, op by op", ("model and precision", "verdict"), tuple(rows))
    elif name == "steps":
        yield Table("Training steps", ("module and launch", "hal over the loop#"), tuple(map(_step, found.items())))
    else:
        answers = found if name == "bench" else {"cnn": found}
        rows = [(model, *_speed(each)) for model, each in answers.items()]
        yield Table("Training", ("model", "result", "power#"), tuple(rows))


def _step(item: tuple[str, Any]) -> tuple[str, str]:
    what, found = item
    if "hal_over_loop" not in found:
        return what, found["said"]
    ratio = found["hal_over_loop"]
    return what, f"{ratio['median']:.3g} [{ratio['low']:.3g}, {ratio['high']:.3g}]"


def _speed(found: Mapping[str, Any]) -> tuple[str, str]:
    answer = found["answer"]
    if not answer:
        return found["said"], ""
    if "winner" in answer:
        ratio, plan = answer["over_default"] or {"median": 1.0}, answer["winner"] or {}
        return f"{ratio['median']:.3g} times the default plan: " + ", ".join(f"{k}={v}" for k, v in plan.items()), ""
    rate, power = answer["measurement"]["throughput"], answer["measurement"]["power_w"]
    return f"{rate['median']:,.0f} samples/s", "" if power is None else f"{power:.0f} W"


if __name__ == "__main__":
    typer.run(main)
