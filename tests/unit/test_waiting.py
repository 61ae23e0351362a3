"""Waiting for a compiler, and knowing that one still runs that nobody waits for."""

import os
import signal
import threading
import time

import pytest

from hal.targets.waiting import still_compiling, wait_for


def assert_ends():
    until = time.monotonic() + 5
    while still_compiling() and time.monotonic() < until:
        time.sleep(0.01)
    assert not still_compiling()


def test_what_the_compiler_gives_or_raises():
    assert wait_for(lambda: 3, None, "late") == 3

    def broken():
        raise KeyError("x")

    with pytest.raises(KeyError):
        wait_for(broken, None, "late")


def test_one_that_is_late_goes_on():
    end = threading.Event()
    with pytest.raises(TimeoutError, match="late"):
        wait_for(end.wait, time.monotonic() + 0.01, "late")
    assert still_compiling()
    end.set()
    assert_ends()


def test_an_interrupted_wait_leaves_the_compiler_behind():
    end = threading.Event()
    threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        wait_for(end.wait, None, "late")
    assert still_compiling()
    end.set()
    assert_ends()


def test_other_threads_do_not_count():
    end = threading.Event()
    other = threading.Thread(target=end.wait, name="hal-compile")
    other.start()
    assert wait_for(lambda: still_compiling(), None, "late") is False
    end.set()
    other.join()
