"""The OpenCL backend on whatever device is here."""

import numpy as np
import pytest

from hal import registry
from hal.contract import Unavailable


@pytest.fixture(scope="module")
def backend():
    found = registry.backend("opencl")
    state = found.probe()
    if isinstance(state, Unavailable):
        pytest.skip(state.reason)
    return found


@pytest.fixture
def device(backend):
    return backend.devices()[0]


@pytest.fixture
def xp(backend, device):
    return backend.ops(device)


@pytest.fixture
def runtime(xp, device):
    from hal.backends.opencl.devices import runtime_of

    return runtime_of(device)


@pytest.fixture
def poisoned(runtime, monkeypatch):
    """Memory is filled with NaN whenever it is given back."""
    import pyopencl as cl

    take_back = runtime.take_back

    def poison(storage):
        cl.enqueue_fill_buffer(runtime.queue, storage.buffer, np.float32(np.nan), 0, storage.nbytes)
        take_back(storage)

    monkeypatch.setattr(runtime, "take_back", poison)
