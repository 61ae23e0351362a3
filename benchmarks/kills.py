"""Are runs and tunings lost when they are killed? Processes of hal are killed at random moments, resumed and compared.

Runs: each is killed by SIGKILL and resumed. Five of six moments are drawn over the time from the first checkpoint to
the end, the sixth over the time before. All arrays of the last checkpoint must then equal those of a run that nobody
killed, bit for bit, and the record must say so. Tunings: each is killed and resumed likewise, where the first result
stands for the first checkpoint. No trial that had a result may be lost or changed, and no plan may have two.
Ends: a run and a tuning are ended politely in each way that there is, and resumed.

    python -m benchmarks.kills                              60 runs, 20 tunings, each end once
    python -m benchmarks.kills --runs 5 --tunings 0         fewer
    python -m benchmarks.kills --jobs 2 --seed 7            two at once, other moments
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import optree

from hal import cli
from hal.run import read_record
from hal.run.checkpoint import latest, load
from hal.tuner import Tuning
from hal.tuner.space import key_of
from hal.tuner.trial_result import Trial

TASK = ["model=cnn", "model.filters=[4,4,4]", "model.dense=8", "model.size=20", "backend=cpu", "threads=1"]
RUN = ["run", *TASK, "data=synthetic:800", "batch=16", "epochs=5", "checkpoint=7"]
TUNE = ["tune", *TASK, "data=synthetic:320", "precision=fp32", "compile=eager", "parallel=none", "accumulate=1"]
TUNE += ["space.batch=[8,16,32,64]", "space.layout=[nhwc,nchw]", "seconds=0.2", "finalists=1", "budget=1h"]
ENDS = ("SIGHUP", "SIGTERM", "SIGINT", "SIGINT twice", "closed pipe")
RESUME = "resume=out"
INTERRUPTED = 130
EARLY = 6
"""One of so many kills falls before anything was saved."""


class Wrong(Exception):
    """What a test finds that should not be."""


def hal(folder: Path, words: Iterable[str], **options: object) -> subprocess.Popen[bytes]:
    """``hal`` in a folder, with a cache of its own there."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HAL_CACHE": str(folder / "cache")}
    log = (folder / "log.txt").open("ab")
    with log:
        given: dict[str, object] = {"stdout": log, "stderr": subprocess.STDOUT, **options}
        command = [sys.executable, "-m", "hal", *words]
        return subprocess.Popen(command, cwd=folder, env=environment, **given)  # type: ignore[call-overload, no-any-return]


FORKS = multiprocessing.get_context("forkserver")
"""Forks from a process that has imported everything, so that most of the time of a run is training."""


def forked(folder: Path, words: Iterable[str]) -> multiprocessing.process.BaseProcess:
    """``hal run`` in a folder, as a process that begins at once."""
    process = FORKS.Process(target=command, args=(folder, list(words)))
    process.start()
    return process


def command(folder: Path, words: list[str]) -> None:
    """The ``hal`` command as the body of a process."""
    os.chdir(folder)
    os.environ["OMP_NUM_THREADS"] = "1"
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = ["hal", *words]
    cli.main()


def finished(folder: Path, words: list[str]) -> None:
    """Run ``hal`` to its end."""
    if words[0] == "run":
        process = forked(folder, words)
        process.join()
        status = process.exitcode
    else:
        status = hal(folder, words).wait()
    if status:
        raise Wrong(f"status {status}: {(folder / 'log.txt').read_text()[-1000:]}")


@dataclass(frozen=True)
class Course:
    """How long a command takes that nobody kills.

    Attributes:
        first_s: seconds until it has saved something for the first time.
        rest_s: seconds from then to its end.
    """

    first_s: float
    rest_s: float

    def wait(self, number: int, seed: int, folder: Path) -> None:
        """Wait until the moment at which the kill of this number falls."""
        drawn = random.Random(f"{seed} {number}").random()
        if number % EARLY == 0:
            time.sleep(drawn * self.first_s)
            return
        until(lambda: saved(folder), 20 * self.first_s)
        time.sleep(drawn * self.rest_s)


def measured(folder: Path, words: list[str]) -> Course:
    """Run ``hal`` to its end, and measure its course."""
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        whole = pool.submit(finished, folder, words)
        until(lambda: saved(folder) or whole.done())
        first = time.monotonic()
        whole.result()
        return Course(first - began, time.monotonic() - first)


def until(condition: Callable[[], bool], most_s: float = math.inf) -> None:
    """Wait for something."""
    began = time.monotonic()
    while not condition() and time.monotonic() - began < most_s:
        time.sleep(0.01)


def saved(folder: Path) -> bool:
    """Whether a run has a checkpoint, or a tuning a result."""
    return bool(checkpoints(folder) or results(folder))


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints that a reader sees."""
    return sorted((folder / "out" / "checkpoints").glob("step-*"))


def same_end(folder: Path, whole: Path) -> None:
    """Compare the last checkpoints of two runs."""
    mine, other = (load(latest(each / "out")) for each in (folder, whole))
    pairs = [optree.tree_flatten(each.carry) for each in (mine, other)]  # type: ignore[arg-type]
    if mine.step != other.step or pairs[0][1] != pairs[1][1]:
        raise Wrong(f"the run ended at step {mine.step} with other arrays, and not at step {other.step}")
    if not all(np.array_equal(a, b) for a, b in zip(pairs[0][0], pairs[1][0], strict=True)):
        raise Wrong("arrays differ")
    if read_record(folder / "out").status != "done":
        raise Wrong(f"the record says {read_record(folder / 'out').status}")


def killed_run(folder: Path, whole: Path, wait: Callable[[Path], None]) -> str:
    """Kill a run when the wait is over, and resume it; gives what it was at."""
    process = forked(folder, [*RUN, "out=out"])
    wait(folder)
    process.kill()
    process.join()
    if process.exitcode == 0:
        same_end(folder, whole)
        return "had ended"
    for path in checkpoints(folder):
        load(path)
    if not checkpoints(folder):
        finished(folder, [*RUN, "out=again"])
        (folder / "out").rename(folder / "killed") if (folder / "out").exists() else None
        (folder / "again").rename(folder / "out")
        same_end(folder, whole)
        return "killed before its first checkpoint, begun again"
    found = read_record(folder / "out").status
    if found not in ("killed", "done"):  # done: everything was written, and the process was about to end
        raise Wrong(f"the record of the killed run says {found}")
    finished(folder, ["run", RESUME])
    same_end(folder, whole)
    if [part.status for part in read_record(folder / "out").earlier] != [found]:
        raise Wrong("the record of the resumed run does not say how the first part ended")
    return f"{found}, resumed"


def results(folder: Path) -> dict[int, Trial]:
    """Trials in ``trials.jsonl``; a torn last line does not count."""
    path = folder / "out" / "trials.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    trials = [Trial.model_validate_json(line) for line in lines if line.endswith(b"\n")]
    return {trial.number: trial for trial in trials}


def whole_tuning(folder: Path, before: dict[int, Trial], plans: int | None) -> int:
    """Check a tuning that has ended; gives how many plans it tried."""
    found = Tuning.model_validate_json((folder / "out" / "tuning.json").read_bytes())
    after = results(folder)
    if lost := [number for number, trial in before.items() if after.get(number) != trial]:
        raise Wrong(f"trials {lost} are lost or changed")
    if {trial.number: trial for trial in found.trials} != after:
        raise Wrong("tuning.json and trials.jsonl hold other trials")
    twice = [key for key, count in Counter(key_of(trial.plan) for trial in found.trials).items() if count > 1]
    if twice or (plans is not None and len(found.trials) != plans):
        raise Wrong(f"{len(found.trials)} trials for {plans} plans; twice: {twice}")
    return len(found.trials)


def killed_tuning(folder: Path, plans: int, wait: Callable[[Path], None]) -> str:
    """Kill a tuning when the wait is over, and resume it; gives what it was at."""
    process = hal(folder, [*TUNE, "out=out"])
    wait(folder)
    process.kill()
    status, before = process.wait(), results(folder)
    if status == 0:
        whole_tuning(folder, before, plans)
        return "had ended"
    begun = (folder / "out" / "config.json").exists()
    finished(folder, ["tune", RESUME] if begun else [*TUNE, "out=out"])
    whole_tuning(folder, before, plans)
    if not begun:
        return "killed before it began, begun again"
    return "killed, resumed" if before else "killed before its first result, resumed"


def ended(folder: Path, end: str, words: list[str], begun: Callable[[], bool]) -> None:
    """End a command in some way after it has begun to save, and check that it says so."""
    pipe = end == "closed pipe"
    process = hal(folder, [*words, "out=out"], **({"stdout": subprocess.PIPE} if pipe else {}))
    until(lambda: begun() or process.poll() is not None)
    if pipe:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
    else:
        name, *twice = end.split()
        for _ in (name, *twice):
            process.send_signal(signal.Signals[name])
            time.sleep(0.002)
    status, expected = process.wait(), 0 if pipe else INTERRUPTED
    if status != expected:
        raise Wrong(f"status {status}: {(folder / 'log.txt').read_text()[-1000:]}")


def ended_run(folder: Path, whole: Path, end: str) -> str:
    """End a run in some way, and resume it."""
    ended(folder, end, RUN, lambda: len(checkpoints(folder)) > 1)
    if end != "closed pipe":
        found = read_record(folder / "out").status
        if found != "interrupted":
            raise Wrong(f"the record says {found}")
        finished(folder, ["run", RESUME])
    same_end(folder, whole)
    return end


def ended_tuning(folder: Path, plans: int, end: str) -> str:
    """End a tuning in some way, and resume it."""
    ended(folder, end, TUNE, lambda: len(results(folder)) > 1)
    before = results(folder)
    if end != "closed pipe":
        if end != "SIGINT twice":
            whole_tuning(folder, before, None)
        finished(folder, ["tune", RESUME])
    whole_tuning(folder, before, plans)
    return end


def counted(name: str, each: Callable[[Path, int], str], count: int, top: Path, jobs: int) -> bool:
    """Do something a number of times, each in a folder of its own; print what became of them."""

    def one(number: int) -> tuple[str, str]:
        folder = top / f"{name.replace(' ', '-')}-{number}"
        folder.mkdir()
        try:
            return each(folder, number), ""
        except Exception as error:  # noqa: BLE001 - whatever it was, the others go on
            return "WRONG", f"{folder.name}: {type(error).__name__}: {error}"

    with ThreadPoolExecutor(jobs) as pool:
        found = list(pool.map(one, range(count)))
    print(f"{name}: {count}", flush=True)
    for what, times in Counter(what for what, _ in found).most_common():
        print(f"    {times:>3}  {what}")
    for said in filter(None, (said for _, said in found)):
        print(f"    {said}", flush=True)
    return all(what != "WRONG" for what, _ in found)


def main() -> int:
    """Kill, resume, compare; the status is 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--tunings", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1, help="how many at once")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--keep", type=Path, help="a new folder for all that is written")
    args = parser.parse_args()
    FORKS.set_forkserver_preload(["torch", "hal.cli", "hal.cli.commands._run_view", "hal.tuner", "hal.models.cnn"])
    for number in (signal.SIGINT, signal.SIGHUP):  # processes that are started do not ignore them, as nohup wishes
        signal.signal(number, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as temporary:
        top = args.keep or Path(temporary)
        whole, tuned = top / "whole-run", top / "whole-tuning"
        for folder in (whole, tuned):
            folder.mkdir(parents=True)
        finished(top, ["run", "--help"])  # starts the process that others are forked from
        run = measured(whole, [*RUN, "out=out"])
        tune = measured(tuned, [*TUNE, "out=out"])
        plans = whole_tuning(tuned, {}, None)
        print(f"a run saves after {run.first_s:.1f} s and ends {run.rest_s:.1f} s later", flush=True)
        print(
            f"a tuning of {plans} plans saves after {tune.first_s:.1f} s and ends {tune.rest_s:.1f} s later", flush=True
        )
        fine = [
            counted(
                "runs",
                lambda at, n: killed_run(at, whole, partial(run.wait, n, args.seed)),
                args.runs,
                top,
                args.jobs,
            ),
            counted(
                "tunings",
                lambda at, n: killed_tuning(at, plans, partial(tune.wait, n, args.seed)),
                args.tunings,
                top,
                args.jobs,
            ),
            counted("runs ended", lambda at, n: ended_run(at, whole, ENDS[n]), len(ENDS), top, args.jobs),
            counted("tunings ended", lambda at, n: ended_tuning(at, plans, ENDS[n]), len(ENDS), top, args.jobs),
        ]
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
