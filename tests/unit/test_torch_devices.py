"""What the backends on PyTorch ask of ``torch.accelerator``, with one that records it; needs no device."""

import contextlib
import os
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hal import registry
from hal.backends._torch.build import Build, Properties
from hal.backends._torch.compiling import seeded
from hal.backends._torch.copies import CopyStream, copying_ahead
from hal.backends._torch.meeting import leave, meet
from hal.backends.cuda import CudaBackend
from hal.backends.cuda.decisions import describe
from hal.backends.cuda.host import Host
from hal.contract import MemoryUse
from hal.contract.plan import Plan
from hal.errors import ConfigError
from hal.torch.randomness import drawing
from hal.tuner.worker import limit_memory

CARDS = (Properties("card", 9, 0, 2**33, 132),) * 2
DEVICES = describe(Build("2.13.0+cu130", cuda="13.0", devices=CARDS), Host())


class Accelerator:
    """Two devices with counters, whose current one is each thread's own."""

    def __init__(self):
        self.log = []
        self._thread = threading.local()

    @property
    def current(self):
        return getattr(self._thread, "index", 0)

    @contextlib.contextmanager
    def device_index(self, index):
        before = self.current
        self._thread.index = index
        yield
        self._thread.index = before

    def current_stream(self, device):
        return SimpleNamespace(name="compute", wait_event=lambda event: self.log.append(("waits for", event)))

    def noted(self, name, result=None):
        return lambda *given: self.log.append((name, *given)) or result


@pytest.fixture
def accelerator(monkeypatch):
    made = Accelerator()
    monkeypatch.setattr(torch.accelerator, "device_index", made.device_index)
    monkeypatch.setattr(torch.accelerator, "current_stream", made.current_stream)
    for name, result in [("memory_allocated", 3), ("max_memory_allocated", 5), ("max_memory_reserved", 8)]:
        monkeypatch.setattr(torch.accelerator.memory, name, made.noted(name, result))
    for name in ("empty_cache", "empty_host_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.accelerator.memory, name, made.noted(name), raising=False)
    return made


class Stream:
    """Of copies."""

    def __init__(self, device):
        self.device, self.entered = device, False

    def __enter__(self):
        self.entered = True

    def __exit__(self, *_):
        self.entered = False

    def record_event(self):
        assert self.entered
        return "copied"


class There(torch.Tensor):
    """A tensor that says it is on the second device."""

    device = torch.device("cuda", 1)

    def record_stream(self, stream):
        self.kept_for = stream.name


def test_code_that_names_no_device_uses_that_of_the_plan(accelerator):
    plan = Plan().resolve(DEVICES[1])
    with CudaBackend().settings(plan, DEVICES[1]):
        assert accelerator.current == 1
        with CudaBackend().settings(plan, DEVICES[0]):
            assert accelerator.current == 0
        assert accelerator.current == 1
    assert accelerator.current == 0


def test_a_reader_copies_to_the_device_on_a_stream_of_its_own(accelerator, monkeypatch):
    """Its batches may hold what stayed on the host."""
    monkeypatch.setattr(torch, "Stream", Stream)
    seen = []

    def put(batch):
        seen.append((accelerator.current, copying_ahead(), threading.current_thread().name))
        return {"image": torch.zeros(2).as_subclass(There), "labels": torch.zeros(2), "names": np.zeros(2)}

    feed = CudaBackend().prefetch([{}, {}], put, DEVICES[1])
    trees = list(feed)
    assert seen == [(1, True, "hal-prefetch")] * 2
    assert (accelerator.current, copying_ahead()) == (0, False)
    assert accelerator.log == [("waits for", "copied")] * 2
    assert [tree["image"].kept_for for tree in trees] == ["compute"] * 2


def test_batches_alone_are_pinned(accelerator, monkeypatch):
    real, pinned = torch.empty, []

    def empty(*shape, pin_memory=False, **more):
        pinned.append(pin_memory)
        return real(*shape, **more)

    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch, "Stream", Stream)
    cpu, device = registry.backend("cpu"), registry.select("cpu")
    cpu.from_host(np.zeros(3, np.float32), device)
    CopyStream(torch.device("cuda", 1)).run(lambda batch: cpu.from_host(batch, device), np.zeros(3, np.float32))
    assert pinned == [False, True]


@pytest.mark.parametrize("seed", [seeded, drawing])
def test_generators_of_a_device_without_a_list_of_them_are_seeded_and_put_back(monkeypatch, seed):
    """As ``torch.mps``, which has one generator and no ``default_generators``."""
    device, log = torch.device("mps", 0), []
    kind = SimpleNamespace(
        get_rng_state=lambda where: ("before", where), set_rng_state=lambda state, where: log.append((state, where))
    )
    made = SimpleNamespace(manual_seed=lambda number: SimpleNamespace(get_state=lambda: number))
    monkeypatch.setattr(torch, "get_device_module", lambda where: kind)
    monkeypatch.setattr(torch, "Generator", lambda where: made)
    before = torch.get_rng_state()
    with seed(7, [device]):
        assert log == [(7, device)]
        assert not torch.equal(torch.get_rng_state(), before)
    assert log[1:] == [(("before", device), device)]
    assert torch.equal(torch.get_rng_state(), before)


def test_the_peak_is_what_was_reserved(accelerator):
    backend = CudaBackend()
    assert backend.memory(DEVICES[1]) == MemoryUse(3, 8)
    assert accelerator.log == [("memory_allocated", 1), ("max_memory_reserved", 1)]
    accelerator.log.clear()
    backend.reset_peak_memory(DEVICES[1])
    assert accelerator.log == [("empty_cache",), ("reset_peak_memory_stats", 1)]


def test_caches_of_both_memories_are_given_back(accelerator):
    CudaBackend().clear_caches(DEVICES[0])
    assert accelerator.log == [("empty_cache",), ("empty_host_cache",)]


@pytest.mark.parametrize("own", [None, "1"])
def test_processes_join_with_their_device(accelerator, monkeypatch, tmp_path, own):
    name, seen = "TORCH_NCCL_ASYNC_ERROR_HANDLING", []
    monkeypatch.delenv(name, raising=False)
    for variable, value in {
        "RANK": 1,
        "WORLD_SIZE": 2,
        "HAL_RENDEZVOUS": tmp_path,
        **({name: own} if own else {}),
    }.items():
        monkeypatch.setenv(variable, str(value))

    @contextlib.contextmanager
    def current(index):
        accelerator.log.append(("current", index))
        yield
        accelerator.log.append(("current", "before"))

    monkeypatch.setattr(torch.accelerator, "device_index", current)
    monkeypatch.setattr(
        torch.distributed,
        "init_process_group",
        lambda libraries, **more: seen.append((libraries, more["device_id"], os.environ[name])),
    )
    meet(torch.device("cuda", 1))
    leave()
    assert seen == [("cpu:gloo,cuda:nccl", torch.device("cuda", 1), own or "2")]
    assert accelerator.log == [("current", 1), ("current", "before")]
    assert os.environ.get(name) == own


def test_a_limit_of_addresses_is_refused_where_the_runtime_reserves_them(monkeypatch):
    set_to = []
    monkeypatch.setattr("resource.setrlimit", lambda kind, limit: set_to.append(limit))
    with pytest.raises(ConfigError, match=r"memory_limit=8000000000 .* cuda:0") as raised:
        limit_memory(8_000_000_000, DEVICES[0])
    assert "memory_limit=" in raised.value.fix
    assert set_to == []
    limit_memory(8_000_000_000, registry.select("cpu"))
    assert set_to == [(8_000_000_000, 8_000_000_000)]
