"""Signals: a polite one saves and can be gone on from; a rude one loses at most the steps since the last checkpoint."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from run_helpers import CNN, SignalAt, Watching, assert_same_end, content, last, pairs, train

import hal
from hal.errors import DataError, NotFoundError, NumericsError, RunError
from hal.run import read_record
from hal.run.checkpoint import load
from hal.run.interrupt import Interrupt

KEYS = {**CNN, "data": {"name": "synthetic:160"}, "epochs": 12, "checkpoint": 5}
"""8 steps an epoch, 96 in all."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(folder, base=KEYS)
    return folder


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def checkpoints(folder):
    return sorted((Path(folder) / "checkpoints").glob("step-*"))


def record(folder):
    return json.loads((Path(folder) / "record.json").read_text())


# Processes of their own


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_polite_signal_saves(whole, tmp_path, number):
    hal_command = Path(sys.executable).with_name("hal")
    started = subprocess.Popen(
        [hal_command, "run", *pairs(KEYS), "out=run"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: checkpoints(tmp_path / "run"))
    started.send_signal(number)
    out, err = started.communicate(timeout=300)
    assert started.returncode == 130, err
    assert "Stopped and saved" in out
    assert "Continue with: hal run resume=run" in " ".join(out.split())
    assert "Traceback" not in err
    found = record(tmp_path / "run")
    assert found["status"] == "interrupted"
    at = last(tmp_path / "run")
    assert 5 <= at.step < 96
    assert Path(found["checkpoint"]).name == at.path.name
    assert hal.train(resume=str(tmp_path / "run")).status == "done"
    assert_same_end(whole, tmp_path / "run")
    assert record(tmp_path / "run")["status"] == "done"


class KilledAt(Watching):
    """Kills this process when it has trained a step, before that can be saved."""

    def __init__(self, step):
        super().__init__()
        self.at = step

    def started(self, job, folder, epochs, resumed_step):
        self.at -= resumed_step or 0

    def step(self, epoch, step, steps, samples, loss):
        super().step(epoch, step, steps, samples, loss)
        if self.steps == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def train_killed(keys, step):
    hal.train(KilledAt(step), **keys)


def test_a_kill_loses_at_most_the_steps_since_the_last_checkpoint(whole, tmp_path):
    # Processes forked from one that has imported everything, so that each begins at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "hal.run", "hal.models.cnn", "test_interrupt"])
    folder, keys = tmp_path / "run", {**KEYS, "out": str(tmp_path / "run")}
    for count, (step, saved) in enumerate([(7, 5), (9, 8), (10, 8), (26, 25), (49, 48), (96, 95)], 1):
        process = context.Process(target=train_killed, args=(keys, step))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        for path in checkpoints(folder):
            load(path)
        assert last(folder).step == saved, "each fifth step and each end of an epoch is saved"
        assert record(folder)["status"] == "running", "it could not say more"
        found = read_record(folder)
        assert (found.status, found.ended) == ("killed", None)
        assert [part.status for part in found.earlier] == ["killed"] * (count - 1)
        keys = {"resume": str(folder)}
    watching = Watching()
    done = hal.train(watching, resume=str(folder))
    assert done.status == "done"
    assert [part.status for part in done.parts()] == ["killed"] * 6 + ["done"]
    assert all(part.ended is None for part in done.earlier)
    assert "was killed or crashed" in watching.notes[0]
    assert_same_end(whole, folder)
    assert not list((folder / "checkpoints").glob(".*")), "what the kills left is cleaned up"


def test_the_record_of_a_run_at_work(tmp_path):
    """One process of its own asks while this one trains; afterwards nothing is left to doubt."""
    code = "import sys, pathlib, hal.run; print(hal.run.read_record(pathlib.Path(sys.argv[1])).status, end='')"

    class Asking(Watching):
        def epoch(self, epoch):
            words = [sys.executable, "-c", code]
            self.said = subprocess.run([*words, self.folder], capture_output=True, text=True, check=True).stdout

    asking = Asking()
    done = train(tmp_path / "run", asking, epochs=1)
    assert asking.said == "running"
    assert read_record(tmp_path / "run") == done


@pytest.mark.parametrize(("content", "error"), [(None, NotFoundError), ("{}", DataError), ("\udcff", DataError)])
def test_a_record_that_says_nothing(tmp_path, content, error):
    if content is not None:
        (tmp_path / "record.json").write_text(content, errors="surrogateescape")
    with pytest.raises(error, match=str(tmp_path)):
        read_record(tmp_path)


def test_a_run_that_ended_in_other_ways_says_so_when_it_is_resumed(tmp_path):
    train(tmp_path / "run", SignalAt(2), epochs=2)
    with pytest.raises(NumericsError):
        hal.train(resume=str(tmp_path / "run"), lr=1e9)
    done = hal.train(resume=str(tmp_path / "run"), out=str(tmp_path / "other"))
    assert [part.status for part in done.parts()] == ["interrupted", "failed", "done"]
    assert all(part.started <= part.ended for part in done.parts())
    assert read_record(tmp_path / "run").status == "failed", "it stays as it was"


# In this process


class Twice(SignalAt):
    """The second signal comes before the run could save."""

    def step(self, epoch, step, steps, samples, loss):
        super().step(epoch, step, steps, samples, loss)
        if self.done in self.steps:
            signal.raise_signal(signal.SIGTERM)


def test_a_second_signal_stops_at_once(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", Twice(7), base=KEYS)
    found = record(tmp_path / "run")
    assert found["status"] == "interrupted"
    assert found["checkpoint"] == str(tmp_path / "run" / "checkpoints" / "step-000000005")
    assert last(tmp_path / "run").step == 5


def test_a_signal_after_the_last_step_is_too_late(tmp_path):
    done = train(tmp_path / "run", SignalAt(4), steps=4)
    assert done.status == "done"
    assert [epoch.step for epoch in done.epochs] == [4]


def test_an_interrupted_run_says_where_it_is(tmp_path):
    watching = Watching()
    stopped = train(tmp_path / "run", SignalAt(6), epochs=3)
    assert [epoch.step for epoch in stopped.epochs] == [4]
    assert stopped.checkpoint == str(tmp_path / "run" / "checkpoints" / "step-000000006")
    hal.train(watching, resume=str(tmp_path / "run"))
    assert watching.resumed == 6
    assert watching.steps == 6
    assert watching.epochs[0].step == 8


def test_handlers_are_put_back():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with Interrupt() as interrupt:
        assert signal.getsignal(signal.SIGINT) != before[signal.SIGINT]
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert {number: signal.getsignal(number) for number in before} == before


def test_no_reader_is_left_behind(tmp_path):
    before = set(threading.enumerate())
    assert train(tmp_path / "run", SignalAt(2), epochs=3).status == "interrupted"
    assert set(threading.enumerate()) <= before


def test_a_thread_cannot_take_signals_and_trains_without(tmp_path):
    found = []
    thread = threading.Thread(target=lambda: found.append(train(tmp_path / "run", steps=2)))
    thread.start()
    thread.join()
    assert found[0].status == "done"
    assert content(tmp_path / "run")


def test_what_is_ignored_stays_ignored(tmp_path):
    """A run that nohup started goes on when its terminal is closed."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert train(tmp_path / "run", SignalAt(1, number=signal.SIGHUP), steps=2).status == "done"
    finally:
        signal.signal(signal.SIGHUP, before)


class Broken(Watching):
    """Cannot write, as on a terminal that was closed; ``told`` counts what it was told."""

    told = 0

    def refuse(self, *_):
        self.told += 1
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    started = step = epoch = ended = refuse


def test_an_observer_that_cannot_write_ends_no_run(whole, tmp_path):
    broken = Broken()
    assert train(tmp_path / "run", broken, base=KEYS).status == "done"
    assert_same_end(whole, tmp_path / "run")
    assert broken.told == 1 + 96 + 12 + 1
    assert broken.notes == ["what happens cannot be shown any more: Input/output error"]
    broken.note = broken.refuse
    assert train(tmp_path / "other", broken, steps=1).status == "done"


def test_an_observer_that_is_wrong_is_no_terminal(tmp_path):
    class Wrong(Watching):
        def step(self, *_):
            raise ZeroDivisionError

    with pytest.raises(RunError, match=r"the observer of the run failed in Wrong\.step: ZeroDivisionError") as caught:
        train(tmp_path / "run", Wrong(), steps=2)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert read_record(tmp_path / "run").status == "failed"
