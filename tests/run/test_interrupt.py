"""Signals: a polite one saves and can be gone on from; a rude one loses at most the steps since the last checkpoint."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from run_helpers import CNN, SignalAt, Watching, assert_same_end, content, hal_process, last, pairs, train

import hal
from hal.run.checkpoint import load
from hal.run.interrupt import Interrupt

KEYS = {**CNN, "data": {"name": "synthetic:160"}, "epochs": 12, "checkpoint": 5}
"""8 steps an epoch, 96 in all."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(folder, base=KEYS)
    return folder


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def checkpoints(folder):
    return sorted((Path(folder) / "checkpoints").glob("step-*"))


def record(folder):
    return json.loads((Path(folder) / "record.json").read_text())


# Processes of their own


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
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
    out, err = started.communicate(timeout=60)
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


def test_a_kill_loses_at_most_the_steps_since_the_last_checkpoint(whole, tmp_path):
    # Processes forked from one that has imported everything: they begin at once, so that kills come while they train.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "hal.run", "hal.cli.app", "hal.cli.commands._run_view", "hal.models.cnn"])
    chance, folder, kills, before = random.Random(3), tmp_path / "run", 0, 0
    words = [*pairs(KEYS), f"out={folder}"]
    while kills < 6:
        process = context.Process(target=hal_process, args=("run", *words))
        process.start()
        wait_for(lambda: not process.is_alive() or any(int(path.name[5:]) > before for path in checkpoints(folder)))  # noqa: B023
        time.sleep(chance.uniform(0.0, 0.03))
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        kills += 1
        for path in checkpoints(folder):
            load(path)
        at = last(folder)
        assert at.step > before
        assert at.step % 5 == 0 or at.step % 8 == 0, "each fifth step and each end of an epoch is saved"
        assert record(folder)["status"] == "running"
        before, words = at.step, [f"resume={folder}"]
    assert kills >= 5
    assert hal.train(resume=str(folder)).status == "done"
    assert_same_end(whole, folder)
    assert not list((folder / "checkpoints").glob(".*")), "what the kills left is cleaned up"


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
