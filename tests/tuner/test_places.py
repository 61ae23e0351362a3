"""Where results go is tried first, results are written first, and a folder from elsewhere is data."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tuner_helpers import FAKE, UNHURRIED, Seen, environment, fake_tune

from hal.errors import ConfigError, NotFoundError, RunError, UnsavedError
from hal.job.stored_plans import stored
from hal.tuner import Tuning, engine, resumed, tune
from hal.tuner.files import write_config
from hal.tuner.process import NotStartedError, WorkerProcess
from hal.util.lock import LOCK
from hal.util.seal import seal

DRIVE = str(Path(__file__).parent / "drive.py")
FIXED = {"precision": "fp32", "compile": "eager", "threads": 1, "space": {"batch": [32, 64]}, "accumulate": 1}


@pytest.fixture(autouse=True)
def _own_state(monkeypatch, tmp_path):
    monkeypatch.setenv("HAL_STATE", str(tmp_path / "state"))


def full(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "report.html")


# Results first


@pytest.mark.parametrize(
    ("out", "said"),
    [("file/t", "cannot create the folder"), ("/dev/null/t", "cannot create the folder"), ("/proc", "cannot write")],
)
def test_a_place_that_cannot_be_written_to_is_found_first(monkeypatch, tmp_path, out, said):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotFoundError, match=said):
        fake_tune(monkeypatch, tmp_path, out=str(tmp_path / out))
    assert not (tmp_path / "fake" / "log.txt").exists(), "nothing was tried"


def test_plans_that_cannot_be_stored_are_a_note(monkeypatch, tmp_path):
    seen = Seen()
    for name, value in {**environment(tmp_path / "fake"), "HAL_CACHE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    from tuner_helpers import config

    found = tune(config(**FIXED, trials=2, out=str(tmp_path / "out")), seen, command=FAKE)
    assert found.winner is not None
    assert not found.remembered
    notes = [note for note in seen.notes if "plan=tuned" in note]
    assert "cannot be stored" in notes[0]
    assert "/dev/null/plans" in notes[0]
    assert Tuning.model_validate_json((tmp_path / "out" / "tuning.json").read_text()) == found
    assert (tmp_path / "out" / "best.yaml").is_file()


@pytest.mark.parametrize("error", [full, lambda *_: 1 / 0], ids=["disk", "fault"])
def test_a_report_that_cannot_be_written_is_a_note(monkeypatch, tmp_path, error):
    monkeypatch.setattr(engine, "write_report", error)
    seen = Seen()
    found = fake_tune(monkeypatch, tmp_path, observer=seen, trials=2, **FIXED)
    assert found.remembered
    assert [plan.plan for plan in stored()] == [found.winner]
    assert any(note.startswith("the report could not be written: ") for note in seen.notes)
    assert Tuning.model_validate_json((tmp_path / "out" / "tuning.json").read_text()) == found


def test_a_result_that_cannot_be_written_is_shown_and_carried(monkeypatch, tmp_path):
    monkeypatch.setattr(Tuning, "write", full)

    class Ended(Seen):
        def ended(self, tuning, folder):
            self.tuning = tuning

    seen = Ended()
    with pytest.raises(UnsavedError, match="No space left on device") as caught:
        fake_tune(monkeypatch, tmp_path, observer=seen, trials=2, **FIXED)
    assert caught.value.result == seen.tuning
    assert seen.tuning.winner is not None
    assert (tmp_path / "out" / "best.yaml").is_file(), "what can be written is"


def test_a_full_disk_does_not_end_the_trials(monkeypatch, tmp_path):
    """The study has them; trials.jsonl holds whole lines alone and is completed later."""
    real, calls = os.fsync, []

    def sometimes(handle):
        path = os.readlink(f"/proc/self/fd/{handle}")
        if path.endswith("trials.jsonl") and len(calls) < 1:
            calls.append(path)
            full()
        real(handle)

    monkeypatch.setattr(os, "fsync", sometimes)
    seen = Seen()
    found = fake_tune(monkeypatch, tmp_path, observer=seen, trials=2, **FIXED)
    assert len([note for note in seen.notes if "trials.jsonl: No space left" in note]) == 1
    lines = (tmp_path / "out" / "trials.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["number"] for line in lines) == [t.number for t in found.trials]


class Broken(Seen):
    """Cannot write, as on a terminal that was closed."""

    def refuse(self, *_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    started = trying = trial = control = finals = ended = refuse


def test_an_observer_that_cannot_write_ends_no_tuning(monkeypatch, tmp_path):
    broken = Broken()
    found = fake_tune(monkeypatch, tmp_path, observer=broken, trials=2, **FIXED)
    assert broken.notes == ["what happens cannot be shown any more: Input/output error"]
    assert Tuning.model_validate_json((tmp_path / "out" / "tuning.json").read_text()) == found
    broken.note = broken.refuse
    assert fake_tune(monkeypatch, tmp_path, observer=broken, trials=2, out=str(tmp_path / "b"), **FIXED).finalists


@pytest.mark.parametrize("stream", ["pipe", "/dev/full"])
def test_a_tuning_goes_on_when_its_output_breaks(tmp_path, stream):
    """The command itself, whose first line is read; real trials of a small model."""
    keys = "model=cnn model.filters=[4] model.dense=8 model.size=12 backend=cpu data=synthetic:64 batch=16 seconds=0.1"
    keys += " precision=fp32 compile=eager threads=1 conv=direct pool=window trials=1 finalists=1 out=out"
    words = [sys.executable, "-m", "hal", "tune", *keys.split()]
    out = subprocess.PIPE if stream == "pipe" else open(stream, "wb")  # noqa: SIM115 - closed with the process
    process = subprocess.Popen(words, cwd=tmp_path, stdout=out, stderr=subprocess.PIPE)
    if stream == "pipe":
        assert b"cnn" in process.stdout.readline()
        process.stdout.close()
    else:
        out.close()
    said = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait() == 0, said
    assert said == ("" if stream == "pipe" else "some of the output was not printed: No space left on device\n")
    assert {"tuning.json", "best.yaml", "report.html"} <= set(os.listdir(tmp_path / "out"))


# One process in a folder


def test_four_processes_on_one_folder(tmp_path):
    """One tries its first plan until the three others have ended, and then goes on."""
    keys = {"model": {"name": "cnn"}, "backend": "cpu", "out": str(tmp_path / "out"), **UNHURRIED, **FIXED}
    env = {**os.environ, **environment(tmp_path / "fake"), "OMP_NUM_THREADS": "1", "FAKE_GATE": str(tmp_path / "gate")}
    words = [sys.executable, DRIVE, json.dumps({**keys, "trials": 1, "finalists": 1})]
    four = [subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    while sum(process.poll() is not None for process in four) < 3:
        time.sleep(0.05)
    (tmp_path / "gate").touch()
    ended = [(process.communicate(timeout=300)[1].decode(), process.returncode) for process in four]
    assert sorted(status for _, status in ended) == [0, 1, 1, 1], ended
    (pid,) = [process.pid for process in four if process.returncode == 0]
    refused = [stderr for stderr, status in ended if status]
    assert all("InUseError" in said and f"is in use by process {pid} on " in said for said in refused), refused
    assert not (tmp_path / "out" / LOCK).exists()
    assert Tuning.model_validate_json((tmp_path / "out" / "tuning.json").read_text()).winner is not None


# A folder from elsewhere


def saved(folder, **keys):
    folder.mkdir()
    write_config(folder, {"model": {"name": "cnn"}, "backend": "cpu", **keys})
    return folder


def without_seal(folder):
    held = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**held, "seal": ""}))


NAMED = [
    ({"python": "/evil/python"}, "python=/evil/python"),
    ({"model": {"name": "evil.py:M"}}, "model=evil.py:M"),
    ({"storage": "journal:/home/me/.profile"}, "storage=journal:/home/me/.profile"),
]


@pytest.mark.parametrize(("keys", "said"), NAMED)
def test_what_a_folder_names_is_not_run(tmp_path, keys, said):
    folder = saved(tmp_path / "out", **keys)
    assert resumed({"resume": str(folder)}).resume, "this user wrote it here"
    without_seal(folder)
    with pytest.raises(ConfigError, match="was not written by this user") as caught:
        resumed({"resume": str(folder)})
    assert said in caught.value.fix
    key, _, value = said.partition("=")
    given = {"name": value} if key == "model" else value
    assert resumed({"resume": str(folder), key: given}).resume, "the command line names it"


@pytest.mark.parametrize(("keys", "said"), NAMED)
def test_a_seal_holds_for_what_it_was_made_for(tmp_path, keys, said):
    folder = saved(tmp_path / "out", python="/usr/bin/python3")
    held = json.loads((folder / "config.json").read_text())
    assert held["seal"]
    held["keys"].update(keys)
    (folder / "config.json").write_text(json.dumps(held))
    with pytest.raises(ConfigError, match="names what hal would run"):
        resumed({"resume": str(folder)})


def test_a_relative_path_means_the_same_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = saved(tmp_path / "out", model={"name": "net.py:M"})
    assert resumed({"resume": str(folder)}).resume
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"model=net\.py:M"):
        resumed({"resume": str(folder)})


def test_a_folder_that_names_no_code_needs_no_seal(tmp_path):
    folder = saved(tmp_path / "out")
    without_seal(folder)
    assert resumed({"resume": str(folder)}).model.name == "cnn"


def test_a_seal_of_another_user(tmp_path, monkeypatch):
    folder = saved(tmp_path / "out", python="/evil/python")
    monkeypatch.setenv("HAL_STATE", str(tmp_path / "mine"))
    seal("anything")
    with pytest.raises(ConfigError, match="python=/evil/python"):
        resumed({"resume": str(folder)})


def test_a_tuning_is_sealed_when_it_begins(monkeypatch, tmp_path):
    fake_tune(monkeypatch, tmp_path, trials=1, python="/some/python", **FIXED)
    config = resumed({"resume": str(tmp_path / "out"), "trials": 2})
    assert config.python == "/some/python"


# Workers that cannot be started


@pytest.mark.parametrize(
    ("number", "said"), [(errno.EAGAIN, "ulimit -u"), (errno.EMFILE, "ulimit -n"), (errno.ENOMEM, "Cannot allocate")]
)
def test_no_process_can_be_started(monkeypatch, tmp_path, number, said):
    def refuses(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("hal.tuner.process.subprocess.Popen", refuses)
    with pytest.raises(RunError, match=said) as caught:
        fake_tune(monkeypatch, tmp_path)
    assert "\n" not in caught.value.message
    assert not (tmp_path / "out").exists()


def test_no_pipe_can_be_opened(monkeypatch, tmp_path):
    real, opened = os.pipe, []

    def once():
        if opened:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        opened.extend(real())
        return tuple(opened)

    monkeypatch.setattr(os, "pipe", once)
    with pytest.raises(NotStartedError, match="cannot start python"):
        WorkerProcess(("python",), tmp_path / "log")
    for fd in opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_a_log_that_cannot_be_written(tmp_path):
    (tmp_path / "log").mkdir()
    with pytest.raises(NotStartedError, match=r"cannot write .*log: Is a directory"):
        WorkerProcess(("python",), tmp_path / "log")


def test_a_later_worker_that_cannot_be_started_is_no_fault_of_the_plan(monkeypatch, tmp_path):
    started = WorkerProcess.__init__
    count = []

    def later(self, *arguments):
        count.append(1)
        if len(count) > 1:
            raise NotStartedError("crash", "cannot start python: Resource temporarily unavailable", {})
        started(self, *arguments)

    monkeypatch.setattr(WorkerProcess, "__init__", later)
    fault = {"batch=64": "exit"}
    with pytest.raises(RunError, match="temporarily unavailable") as caught:
        fake_tune(monkeypatch, tmp_path, fault, **FIXED)
    assert f"resume={tmp_path / 'out'}" in caught.value.fix
    monkeypatch.setattr(WorkerProcess, "__init__", started)
    found = fake_tune(monkeypatch, tmp_path, fault, resume=str(tmp_path / "out"), out=None, **FIXED)
    assert {t.plan.batch: t.outcome.value for t in found.trials} == {64: "crash", 32: "ok"}
