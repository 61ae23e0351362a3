"""One process at a time in the folder of a run; the others say which."""

import os
import subprocess
import sys

import pytest
from run_helpers import CNN, SignalAt, Watching, assert_same_end, last, pairs, train

import hal
from hal.errors import InUseError
from hal.run import session


def test_all_others_are_refused_while_a_run_is_at_work(tmp_path):
    """Three resumes and a second run with the same out=, each a process of its own."""
    folder = tmp_path / "run"
    words = [["run", f"resume={folder}"]] * 3 + [["run", *pairs({**CNN, "epochs": 2}), f"out={folder}"]]

    class Busy(Watching):
        def step(self, *args):
            super().step(*args)
            if self.steps == 6:
                pipe = subprocess.PIPE
                others = [subprocess.Popen([sys.executable, "-m", "hal", *each], stderr=pipe) for each in words]
                self.refused = [(each.communicate()[1].decode(), each.returncode) for each in others]

    busy = Busy()
    assert train(folder, busy, epochs=2, checkpoint=1).status == "done"
    for said, status in busy.refused:
        assert status == 2, said
        assert f"is in use by process {os.getpid()} on " in " ".join(said.split())
    train(tmp_path / "alone", epochs=2, checkpoint=1)
    assert_same_end(tmp_path / "alone", folder)


def before_the_lock(monkeypatch, work):
    """Do something in between what a run reads at first and its lock."""
    real = session.prepare

    def prepare(config):
        monkeypatch.setattr(session, "prepare", real)
        work()
        return real(config)

    monkeypatch.setattr(session, "prepare", prepare)


def test_a_run_that_another_has_continued_meanwhile(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    train(folder, SignalAt(3), epochs=2)
    before_the_lock(monkeypatch, lambda: hal.train(resume=str(folder)))
    with pytest.raises(InUseError, match=r"another process has continued the run in .* meanwhile"):
        hal.train(resume=str(folder))
    assert last(folder).step == 8
    assert hal.train(resume=str(folder)).status == "done", "the same command again"


def test_a_folder_in_which_another_has_run_meanwhile(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    before_the_lock(monkeypatch, lambda: train(folder, steps=2))
    with pytest.raises(hal.errors.ConfigError, match="already holds a run"):
        train(folder, steps=3)
    assert last(folder).step == 2


def test_a_checkpoint_that_is_removed_while_it_is_read(tmp_path, monkeypatch):
    """By a run at work, which has written newer ones: those count."""
    from hal.run import resuming

    folder, real = tmp_path / "run", resuming.load
    train(folder, SignalAt(3), epochs=2)

    def load(path):
        monkeypatch.setattr(resuming, "load", real)
        hal.train(resume=str(folder))
        return real(path)

    monkeypatch.setattr(resuming, "load", load)
    assert resuming.find_resume_point(str(folder)).checkpoint.step == 8
