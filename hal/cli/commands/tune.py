"""``hal tune``: search for the best plan."""

from __future__ import annotations

from hal.cli.command import Command, ConfigFile, Json, Keys, Panel
from hal.cli.guard import INTERRUPTED, guard, shown_though_unsaved
from hal.cli.terminal import print_json

__all__ = ["COMMAND"]


def tune(keys: Keys = None, config: ConfigFile = None, json_output: Json = False) -> None:
    """Search plans."""

    def work() -> int:
        from hal.cli.commands._tune_view import TuneView
        from hal.config import read
        from hal.tuner import Tuning, resumed
        from hal.tuner import tune as search
        from hal.tuner.config import TuneConfig

        view = TuneView(to_stderr=json_output)

        def show(found: Tuning) -> None:
            if json_output:
                print_json(found.model_dump(mode="json"))

        try:
            with shown_though_unsaved(show):
                found = search(resumed(read(TuneConfig, keys or [], config)), view)
        finally:
            view.close()
        show(found)
        if found.status == "interrupted":
            return INTERRUPTED
        return 0 if found.winner is not None else 1

    guard(
        work,
        json_output,
        interrupted="Stopped. The trials that had finished are saved; continue with: hal tune resume=FOLDER",
    )


COMMAND = Command(
    tune,
    help="Search for the fastest correct plan for a model on a device.\n\n"
    "A plan says how to run: batch size, precision, layout and so on. The best plan is stored, so that other commands "
    "use it with plan=tuned, and a report is written. Objectives other than speed are possible.",
    panel=Panel.SPEED,
    examples=(
        "hal tune model=cnn",
        "hal tune model=cnn backend=cpu budget=5m space.batch=[64,128,256] objective=throughput",
        "hal tune model=cnn objective=throughput,memory constraint.latency_ms=50",
        "hal tune resume=runs/tune-cnn-cpu-20261122-001223 budget=10m",
    ),
    config_path="hal.tuner.config:TuneConfig",
)
