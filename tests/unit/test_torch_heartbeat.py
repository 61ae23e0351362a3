"""A process that no longer counts is noticed, one that leaves is not missed, on a store as PyTorch has it."""

import threading
from datetime import timedelta

import pytest
from torch.distributed import TCPStore

from hal.backends._torch.heartbeat import Heartbeat

FAST = {"interval_s": 0.02, "limit_s": 2.0}


@pytest.fixture
def port():
    """Of a store that holds as long as the test."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60))
    yield store.port
    del store


class Process:
    """Its heart, and what it was told."""

    def __init__(self, port, rank, size=2, **more):
        self.said, self.told = [], threading.Event()

        def connect():
            return TCPStore("127.0.0.1", port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=60))

        self.heart = Heartbeat(more.pop("connect", connect), rank, size, self.lost, **{**FAST, **more})

    def lost(self, what):
        self.said.append(what)
        self.told.set()


def test_a_process_that_stops_counting_is_named(port):
    process = Process(port, rank=1, size=3)
    assert process.told.wait(60)
    assert process.said == ["rank 2 has not answered for 2 s"]
    process.heart.stop()


def test_a_process_that_leaves_is_not_missed(port):
    first, second = Process(port, 0), Process(port, 1)
    second.heart.stop()
    assert not first.told.wait(2 * FAST["limit_s"])
    first.heart.stop()
    assert first.heart.wait_stopped(0)
    assert first.said == second.said == []


def test_a_store_that_does_not_answer_is_told_apart():
    silent = threading.Event()

    def unanswered():
        silent.wait()
        raise RuntimeError("the host is back")

    process = Process(0, rank=1, connect=unanswered)
    assert process.told.wait(60)
    assert process.said == ["the host where the processes met has not answered for 2 s"]
    silent.set()


def test_a_store_whose_process_has_ended_is_left_to_the_exchanges():
    def refused():
        raise RuntimeError("connection reset by peer")

    process = Process(0, rank=1, connect=refused)
    assert process.heart.wait_stopped(60)
    assert process.said == []
