"""One process at a time in a folder, whatever becomes of the others."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from hal.errors import InUseError
from hal.util.lock import LOCK, in_use, locked, require_free

HOLD = """
import sys, time
from pathlib import Path
from hal.util.lock import locked
with locked(Path(sys.argv[1]), "wait"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def take(folder):
    with locked(folder, "wait for it"):
        return (folder / LOCK).exists()


def test_the_holder_is_named(holder, tmp_path):
    with pytest.raises(InUseError, match=f"in use by process {holder.pid} on ") as caught:
        take(tmp_path)
    assert caught.value.fix == "wait for it"


def test_a_killed_holder_leaves_no_lock(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert take(tmp_path)
    assert os.listdir(tmp_path) == []


def test_whether_a_folder_is_in_use(holder, tmp_path):
    assert in_use(tmp_path)
    with pytest.raises(InUseError, match=f"in use by process {holder.pid} on "):
        require_free(tmp_path, "wait")
    holder.kill()
    holder.wait()
    assert (tmp_path / LOCK).exists(), "it could not remove it"
    assert not in_use(tmp_path)
    require_free(tmp_path, "wait")
    require_free(tmp_path / "nowhere", "wait")
    assert not in_use(tmp_path / "nowhere")


def test_a_file_system_without_locks_cannot_tell(tmp_path, monkeypatch):
    def refuse(handle, kind):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("hal.util.lock.fcntl.flock", refuse)
    (tmp_path / LOCK).touch()
    assert in_use(tmp_path), "it may be"
    require_free(tmp_path, "wait")
    assert take(tmp_path)


def test_one_that_only_asks_keeps_nobody_out(tmp_path, monkeypatch):
    """A reader holds the lock for a moment; whoever wants the folder then tries again."""
    (tmp_path / LOCK).touch()
    with (tmp_path / LOCK).open() as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        monkeypatch.setattr("hal.util.lock.time.sleep", lambda _: fcntl.flock(reader, fcntl.LOCK_UN))
        assert take(tmp_path)


def test_one_after_the_other(tmp_path):
    assert take(tmp_path)
    assert take(tmp_path)
    assert os.listdir(tmp_path) == []


def test_given_back_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path, ""):
        raise ZeroDivisionError
    assert take(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff"])
def test_a_lock_that_says_nothing(holder, tmp_path, content):
    (tmp_path / LOCK).write_bytes(content)
    with pytest.raises(InUseError, match="another process"):
        take(tmp_path)


def test_leftovers_are_removed(tmp_path):
    (tmp_path / ".record.json.1.part").write_text("half")
    (tmp_path / "record.json").write_text("whole")
    assert take(tmp_path)
    assert os.listdir(tmp_path) == ["record.json"]
