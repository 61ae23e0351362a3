"""One process at a time in a folder, whatever becomes of the others."""

import os
import signal
import subprocess
import sys

import pytest

from hal.errors import InUseError
from hal.util.lock import LOCK, locked

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
