"""``hal bench``: measure one plan, or two in turn."""

from __future__ import annotations

from hal.cli.command import Command, ConfigFile, Json, Keys, Panel
from hal.cli.guard import guard, shown_though_unsaved
from hal.cli.terminal import print_json

__all__ = ["COMMAND"]


def bench(keys: Keys = None, config: ConfigFile = None, json_output: Json = False) -> None:
    """Measure a plan."""

    def work() -> int:
        from hal.cli.commands._bench_view import show_bench
        from hal.config import build, read
        from hal.run import Bench
        from hal.run import bench as measure
        from hal.run.config import BenchConfig

        def show(found: Bench) -> None:
            if json_output:
                print_json(found.model_dump(mode="json"))
            else:
                show_bench(found)

        with shown_though_unsaved(show):
            found = measure(build(BenchConfig, read(BenchConfig, keys or [], config)))
        if found is not None:  # of several processes one speaks
            show(found)
        return 0

    guard(work, json_output)


COMMAND = Command(
    bench,
    help="Measure the throughput and latency of a plan, with confidence intervals.\n\n"
    "With versus.<key>=VALUE, a second plan is measured in turn with the first, and both are compared.",
    panel=Panel.SPEED,
    examples=(
        "hal bench model=cnn batch=128",
        "hal bench model=cnn batch=128 versus.precision=bf16 versus.layout=nhwc",
        "hal bench model=rnn mode=infer seconds=30 out=rnn.json",
    ),
    config_path="hal.run.config:BenchConfig",
    keys_note="versus.<key> takes every key of the plan, for the second plan.",
)
