"""Checkpoints are whole or not there, however a save ends."""

import errno
import os
import re
import subprocess
import sys

import pytest
from run_helpers import Watching, assert_same_end, made, train

import hal
from hal.errors import RunError
from hal.run import read_record
from hal.run.checkpoint import latest, load, save

_SAVER = """
import os, random, signal, sys
from pathlib import Path
import numpy as np
import safetensors.numpy  # whose files are not those that are counted
from hal.run.checkpoint import Checkpoint, load, save

folder, rng = Path(sys.argv[1]), random.Random(7)

def loop(step, calls):
    def stop(event, args):
        nonlocal calls
        if event.startswith(("open", "os.", "shutil.")):
            calls -= 1
            if calls == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(stop)
    while True:
        carry = {"params": {str(i): np.full((50, 50), step, np.float32) for i in range(20)}}
        save(folder, Checkpoint(step, carry, {"words": ["x" * 100] * 50}))
        step += 1 if step % 3 else 0
        if not step % 3:  # again, as a resumed run does
            save(folder, Checkpoint(step, carry, {}))
            step += 1

leftovers = checked = last = 0
for _ in range(25):
    child = os.fork()
    if child == 0:
        loop(last + 1, rng.randrange(1, 80))
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    visible = sorted(folder.glob("step-*")) if folder.is_dir() else []
    leftovers += len(list(folder.glob(".step-*"))) if folder.is_dir() else 0
    for path in visible:
        found = load(path)
        assert path.name == f"step-{found.step:09d}"
        checked += 1
    numbers = [int(path.name[5:]) for path in visible]
    assert not numbers or numbers[-1] >= last, (numbers, last)
    last = numbers[-1] if numbers else last
save(folder, Checkpoint(last + 1, {"params": {"x": np.zeros(3)}}, {}))
print(checked, leftovers, last, *sorted(path.name for path in folder.iterdir()))
"""


def test_a_save_that_is_killed_leaves_whole_checkpoints(tmp_path):
    script = tmp_path / "saver.py"
    script.write_text(_SAVER)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "checkpoints")],
        capture_output=True,
        check=False,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    checked, leftovers, reached, *names = done.stdout.split()
    assert int(checked) >= 10
    assert int(reached) >= 3
    assert int(leftovers) > 0, "no kill came in the middle of a save: the test proves nothing"
    # The next save cleans up what the kills left.
    assert names == sorted(names)
    assert len(names) == 2
    assert all(re.fullmatch(r"step-\d{9}", name) for name in names)


_AT_EACH_CALL = """
import os, shutil, sys
from pathlib import Path
import numpy as np
from hal.run.checkpoint import Checkpoint, load, save

folder, step, calls = Path(sys.argv[1]), int(sys.argv[2]), 0
made = lambda step: Checkpoint(step, {"params": {"x": np.full(50, step, np.float32)}}, {})

def stop(event, args):
    global calls
    if event.startswith(("open", "os.", "shutil.")):
        calls -= 1
        if calls == 0:
            os.kill(os.getpid(), 9)

ended = 0
for last_call in range(1, 200):
    shutil.rmtree(folder, ignore_errors=True)
    for before in (3, 6, 9):
        save(folder, made(before))
    child = os.fork()
    if child == 0:
        calls = last_call
        sys.addaudithook(stop)
        save(folder, made(step))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    found = [load(path) for path in sorted(folder.glob("step-*"))]
    assert found, "there is always one"
    assert all(f.path.name == f"step-{f.step:09d}" for f in found)
    assert all(float(f.carry["params"]["x"][0]) == f.step for f in found)
    if status == 0:
        ended = last_call
        break
print(ended, *sorted(path.name for path in folder.iterdir()))
"""


@pytest.mark.parametrize(
    ("step", "left"), [(12, [9, 12]), (9, [6, 9]), (7, [6, 7])], ids=["onwards", "the same again", "back"]
)
def test_a_save_may_be_killed_before_each_of_its_system_calls(step, left, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(_AT_EACH_CALL)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "checkpoints"), str(step)],
        capture_output=True,
        check=False,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    calls, *names = done.stdout.split()
    assert int(calls) > 8
    assert names == [f"step-{number:09d}" for number in left]


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    earlier, real = save(tmp_path, made(1)), os.fsync

    def full(handle):
        if os.readlink(f"/proc/self/fd/{handle}").endswith("checkpoint.json"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        save(tmp_path, made(2))
    assert caught.value.filename == str(tmp_path / "step-000000002")
    assert os.listdir(tmp_path) == [earlier.name], "half a checkpoint would keep the disk full"
    assert load(earlier).step == 1


def test_leftovers_are_no_checkpoints(tmp_path):
    save(tmp_path / "checkpoints", made(1))
    part = tmp_path / "checkpoints" / f".step-000000007.{os.getpid() + 1}.part"
    part.mkdir()
    (part / "checkpoint.json").write_text("{}")
    assert latest(tmp_path).name == "step-000000001"
    save(tmp_path / "checkpoints", made(2))
    assert not part.exists()


def test_a_run_on_a_full_disk_says_so_and_goes_on_later(tmp_path, monkeypatch):
    real = os.fsync

    def full(handle):
        if os.readlink(f"/proc/self/fd/{handle}").endswith("arrays.safetensors"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    class Filling(Watching):
        def epoch(self, epoch):
            monkeypatch.setattr(os, "fsync", full)

    folder = tmp_path / "run"
    with pytest.raises(RunError, match=r"cannot read or write .*step-000000008: No space left on device"):
        train(folder, Filling(), epochs=2)
    monkeypatch.setattr(os, "fsync", real)
    assert read_record(folder).status == "failed"
    assert "step-000000008" in read_record(folder).error
    assert os.listdir(folder / "checkpoints") == ["step-000000004"]
    assert hal.train(resume=str(folder)).status == "done"
    train(tmp_path / "whole", epochs=2)
    assert_same_end(tmp_path / "whole", folder)
