"""Does the tuner find what brute force finds, and in what share of its time?

For each workload and seed, the same space is tried whole and searched, each in a fresh folder; then the plan that each
found are measured in turn, in fresh processes. The quality is the ratio of the search's plan to brute force's.

    python -m benchmarks.tune                                   cnn train, rnn train, cnn infer; five seeds
    python -m benchmarks.tune --workloads cnn --seeds 1 --space batch=64,128 --space compile=eager
    python -m benchmarks.tune --keep runs/search                go on: what is in the folder is not run again
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from hal.contract.plan import Plan
from hal.measure import Estimate
from hal.tuner import TuneObserver, Tuning, TuningProgress, resumed, tune
from hal.tuner.interleaved import Entrant, measure_interleaved
from hal.tuner.pool import Pool
from hal.tuner.process import command_of
from hal.tuner.trial_result import Trial

WORKLOADS: dict[str, dict[str, Any]] = {
    "cnn": {"model": {"name": "cnn"}},
    "rnn": {"model": {"name": "rnn"}},
    "cnn-infer": {"model": {"name": "cnn"}, "mode": "infer", "batch": 1, "objective": ["latency"]},
}
HOUR = 3600.0


class Lines(TuneObserver):
    """A line a trial."""

    def __init__(self, head: str) -> None:
        self.head = head

    def trial(self, trial: Trial, progress: TuningProgress) -> None:
        """Print it."""
        values = " ".join(f"{name} {value:.4g}" for name, value in trial.values.items())
        print(f"  {self.head} {progress.done:>3} {progress.elapsed_s:7.1f} s  {trial.outcome} {values}", flush=True)


def found_by(name: str, seed: int, budget: float | None, space: dict[str, Any], args: argparse.Namespace) -> Tuning:
    """One tuning; without a budget all plans are tried."""
    what = f"{name} seed {seed} {'search' if budget else 'all'}"
    with contextlib.ExitStack() as stack:
        kept: Path = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = kept / what.replace(" ", "-")
        if (folder / "tuning.json").exists():
            before = Tuning.model_validate_json((folder / "tuning.json").read_bytes())
            if before.status != "interrupted":
                return before
        keys: dict[str, Any] = {
            "backend": args.backend,
            "seconds": args.seconds,
            "limit": args.limit,
            **WORKLOADS[name],
            "space": space,
            "seed": seed,
            # A budget that all plans fit into makes the tuner try them all.
            "budget": budget or 24 * HOUR,
        }
        # Nothing that was found or compiled before may help.
        for variable in ("HAL_CACHE", "TORCHINDUCTOR_CACHE_DIR"):
            os.environ[variable] = stack.enter_context(tempfile.TemporaryDirectory())
        keys["resume" if (folder / "config.json").exists() else "out"] = str(folder)
        found = tune(resumed(keys), Lines(what))
        if found.status == "interrupted":
            raise SystemExit(130)
        return found


def in_turn(name: str, plans: list[Plan], args: argparse.Namespace, seed: int) -> Estimate | None:
    """Throughput of the second plan over the first's."""
    keys = {"backend": args.backend, "model": WORKLOADS[name]["model"]}
    with tempfile.TemporaryDirectory() as folder:
        pool = Pool(command_of(), keys, WORKLOADS[name].get("mode", "train"), Path(folder))
        entrants = [Entrant(number, plan) for number, plan in enumerate(plans)]
        found = measure_interleaved(
            pool,
            entrants,
            default=0,
            baseline=None,
            seconds=10.0,
            limit_s=args.limit,
            until=time.monotonic() + HOUR,
            seed=seed,
            stop=lambda: False,
            latency=WORKLOADS[name].get("mode") == "infer",
        )
    return found[1].over_default


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--backend", default="cpu")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--limit", type=float, default=300.0)
    parser.add_argument("--share", type=float, default=0.25, help="of brute force's time that the search may take")
    parser.add_argument("--space", action="append", default=[], metavar="KEY=A,B", help="values that are tried")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="of the tunings; those in it are not run again")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    args = parser.parse_args()
    space = {key: values.split(",") for key, values in (pair.split("=") for pair in args.space)}
    rows: list[dict[str, Any]] = []
    for name in args.workloads.split(","):
        whole = found_by(name, 0, None, space, args)
        for seed in range(args.seeds):
            some = found_by(name, seed, args.share * whole.seconds, space, args)
            same = some.winner == whole.winner
            assert whole.winner is not None
            assert some.winner is not None
            ratio = None if same else in_turn(name, [whole.winner, some.winner], args, seed)
            assert same or ratio is not None, "the two plans could not be measured in turn"
            rows.append(
                {
                    "workload": name,
                    "seed": seed,
                    "plans": whole.searched.plans,
                    "tried": some.searched.tried,
                    "time": some.seconds / whole.seconds,
                    "same": same,
                    "quality": 1.0 if ratio is None else ratio.median,
                    "interval": None if ratio is None else [ratio.low, ratio.high],
                    "status": some.status,
                    "over_default": some.over_default.median if some.over_default else None,
                    "brute_s": whole.seconds,
                    "search_s": some.seconds,
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    print(
        f"\n{'workload':<12}{'plans':>6}{'tried':>7}{'time of brute force':>21}{'of its optimum':>16}   median of seeds"
    )
    for name in args.workloads.split(","):
        mine = [row for row in rows if row["workload"] == name]
        middle = {key: statistics.median(row[key] for row in mine) for key in ("plans", "tried", "time", "quality")}
        print(
            f"{name:<12}{middle['plans']:>6.0f}{middle['tried']:>7.0f}{middle['time']:>20.1%}{middle['quality']:>16.1%}"
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
