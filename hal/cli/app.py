"""Commands, their options and exit statuses. Heavy imports wait until a command runs."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from hal import __version__
from hal.errors import HalError

__all__ = ["INTERRUPTED", "main"]

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 plus the signal's number."""

app = typer.Typer(
    name="hal",
    help="One model definition on any vendor's accelerator, and the fastest correct way to run it there.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    epilog="Start with:  hal run model=cnn",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Keys = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="for example model=cnn backend=cpu")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE.yaml", help="Keys from a file; those on the line win.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout; everything for people on stderr.")]


def _keys_help(name: str) -> Callable[[typer.Context, bool], None]:
    def show(context: typer.Context, value: bool) -> None:
        if value:
            from hal.cli.help import print_help

            print_help(name, context.get_help())
            raise typer.Exit

    return show


def _help_option(name: str) -> Any:
    return typer.Option(
        "-h", "--help", is_eager=True, callback=_keys_help(name), help="Show this message with every key, and exit."
    )


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        sys.stdout.write(f"hal {__version__}\n")
        raise typer.Exit


@app.command(help="What each backend sees, or why it sees nothing and what fixes that.")
def devices(json_output: Json = False) -> None:
    """List backends and devices."""

    def work() -> int:
        from hal import api
        from hal.cli.show import device_json, show_devices

        seen = api.devices()
        if json_output:
            _print_json(device_json(seen))
        else:
            show_devices(seen)
        return 0

    _guard(work, json_output)


@app.command(
    help="Train on real data, evaluate, save a checkpoint and a record.", context_settings={"help_option_names": []}
)
def run(
    keys: Keys = None,
    config: ConfigFile = None,
    json_output: Json = False,
    help_: Annotated[bool, _help_option("run")] = False,
) -> None:
    """Train a model."""

    def work() -> int:
        from hal.cli.show import Live
        from hal.config import read
        from hal.run import resumed
        from hal.run import run as train

        live = Live(to_stderr=json_output)
        try:
            record = train(resumed(read(keys or [], config)), live)
        finally:
            live.close()
        if json_output and live.told:  # of several processes one speaks
            _print_json(record.model_dump(mode="json"))
        return INTERRUPTED if record.status == "interrupted" else 0

    _guard(work, json_output)


@app.command(
    help="Throughput and latency of one plan, with confidence intervals; of two plans in turn with versus.<key>=.",
    context_settings={"help_option_names": []},
)
def bench(
    keys: Keys = None,
    config: ConfigFile = None,
    json_output: Json = False,
    help_: Annotated[bool, _help_option("bench")] = False,
) -> None:
    """Measure a plan."""

    def work() -> int:
        from hal.cli.show import show_bench
        from hal.config import build, read
        from hal.run import bench as measure
        from hal.run.config import BenchConfig

        found = measure(build(BenchConfig, read(keys or [], config)))
        if found is None:  # of several processes one speaks
            return 0
        if json_output:
            _print_json(found.model_dump(mode="json"))
        else:
            show_bench(found)
        return 0

    _guard(work, json_output)


@app.command(
    name="compile",
    help="Compile for a device that is not here: does it build, does it fit, how fast.",
    context_settings={"help_option_names": []},
)
def compile_(
    keys: Keys = None,
    config: ConfigFile = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Keep StableHLO, optimised HLO, memory and cost there.")
    ] = None,
    json_output: Json = False,
    help_: Annotated[bool, _help_option("compile")] = False,
) -> None:
    """Build for absent hardware."""

    def work() -> int:
        from hal.cli.show_compilation import Compiling, show_compilation
        from hal.config import build, read
        from hal.targets.compile import compile_for_target
        from hal.targets.config import CompileConfig

        given = {**read(keys or [], config), **({} if out is None else {"out": out})}
        with Compiling(to_stderr=json_output) as watch:
            found = compile_for_target(build(CompileConfig, given), watch)
        if json_output:
            _print_json(found.model_dump(mode="json"))
        else:
            show_compilation(found)
        return found.exit_status

    _guard(work, json_output)


@app.command(
    help="Does a model compute the same on another device? Op by op: backends=A,B, or record=DIR and against=DIR.",
    context_settings={"help_option_names": []},
)
def verify(
    keys: Keys = None,
    config: ConfigFile = None,
    json_output: Json = False,
    help_: Annotated[bool, _help_option("verify")] = False,
) -> None:
    """Compare devices."""

    def work() -> int:
        from hal.cli.show import note
        from hal.cli.show_verify import show_verification
        from hal.config import build, read
        from hal.parity import verify as compare
        from hal.parity.config import VerifyConfig

        found = compare(build(VerifyConfig, read(keys or [], config)), note)
        show_verification(found, to_stderr=json_output)
        if json_output:
            _print_json(found.model_dump(mode="json"))
        return 0 if found.agrees else 1

    _guard(work, json_output)


@app.command(
    help="Find the fastest correct plan for this device, remember it, and say how good it is.",
    context_settings={"help_option_names": []},
)
def tune(
    keys: Keys = None,
    config: ConfigFile = None,
    json_output: Json = False,
    help_: Annotated[bool, _help_option("tune")] = False,
) -> None:
    """Search plans."""

    def work() -> int:
        from hal.cli.tune import TuneLive
        from hal.config import read
        from hal.tuner import resumed
        from hal.tuner import tune as search

        live = TuneLive(to_stderr=json_output)
        try:
            found = search(resumed(read(keys or [], config)), live)
        finally:
            live.close()
        if json_output:
            _print_json(found.model_dump(mode="json"))
        if found.status == "interrupted":
            return INTERRUPTED
        return 0 if found.winner is not None else 1

    _guard(work, json_output)


@app.command(help="Write the report of a tuning again: one HTML page that needs nothing but a browser.")
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="that hal tune wrote to", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.html", help="Where it goes; otherwise report.html in DIR.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Write a page."""

    def work() -> int:
        from hal.tuner.report import report_of

        path = report_of(folder, out)
        if json_output:
            _print_json({"report": str(path)})
        else:
            sys.stdout.write(f"{path}\n")
        return 0

    _guard(work, json_output)


@app.command(help="List the plans that hal tune has stored; write them to a file, or read them from one.")
def plans(
    export: Annotated[Path | None, typer.Option("--export", metavar="FILE.json", help="Write them to share.")] = None,
    import_: Annotated[Path | None, typer.Option("--import", metavar="FILE.json", help="Take over others'.")] = None,
    json_output: Json = False,
) -> None:
    """List, export, import."""

    def work() -> int:
        from hal.cli.tune import show_plans
        from hal.job.stored_plans import export_plans, import_plans, stored

        if import_ is not None:
            taken = import_plans(import_)
            sys.stderr.write(f"took over {len(taken)} plans\n")
        found = stored()
        if export is not None:
            export_plans(export, found)
            sys.stderr.write(f"wrote {len(found)} plan{'s' * (len(found) != 1)} to {export}\n")
        if json_output:
            _print_json([each.model_dump(mode="json") for each in found])
        elif export is None:
            show_plans(found)
        return 0

    _guard(work, json_output)


def _guard(work: Callable[[], int], json_output: bool) -> None:
    """Run a command; turn an error of hal into a message and its exit status."""
    try:
        with _only_json_on_stdout() if json_output else contextlib.nullcontext():
            status = work()
    except HalError as error:
        from hal.cli.show import show_error

        if json_output:
            about = {"type": type(error).__name__, "message": error.message, "fix": error.fix}
            _print_json({"error": about, "exit_status": error.exit_status})
        show_error(error)
        status = error.exit_status
    except KeyboardInterrupt:
        sys.stderr.write("stopped at once; the last checkpoint, if there is one, is whole: hal run resume=FOLDER\n")
        status = INTERRUPTED
    except Exception as error:
        if json_output:  # whoever reads the JSON gets some; the author of a model gets the traceback too
            about = {"type": type(error).__name__, "message": str(error), "fix": None}
            _print_json({"error": about, "exit_status": 1})
        raise
    raise typer.Exit(status)


@contextlib.contextmanager
def _only_json_on_stdout() -> Iterator[None]:
    """Send to stderr what native libraries print on file descriptor 1."""
    try:
        real = sys.stdout.fileno() == 1
    except (OSError, ValueError):  # stdout is no file
        real = False
    if not real:
        yield
        return
    sys.stdout.flush()
    saved, ours = os.dup(1), sys.stdout
    os.dup2(2, 1)
    sys.stdout = os.fdopen(os.dup(saved), "w", encoding="utf-8")
    try:
        yield
    finally:
        sys.stdout.close()
        sys.stdout = ours
        os.dup2(saved, 1)
        os.close(saved)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


def main() -> None:
    """Entry point of the ``hal`` command."""
    try:
        app()
    except SystemExit as ended:
        from hal.targets.waiting import still_compiling

        if still_compiling():  # it cannot be told to stop
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(ended.code if isinstance(ended.code, int) else 1)
        raise
