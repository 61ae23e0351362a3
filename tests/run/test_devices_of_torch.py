"""Runs on the backends mps and xpu with the processor in place of their devices: all of their code but the kernels."""

import contextlib

import pytest
import torch

import hal
from hal import registry
from hal.backends._torch.build import Build
from hal.backends.mps.host import Gpu
from hal.backends.mps.host import Host as Mac
from hal.backends.xpu.host import Host
from hal.backends.xpu.runtime import Properties, Runtime
from hal.errors import OutOfMemoryError, UnsupportedError

KEYS = {"model": {"name": "mlp", "hidden": [8]}, "data": "digits", "batch": 64, "seed": 1}


@pytest.fixture(params=["mps", "xpu"])
def backend(request, monkeypatch):
    found = registry.backend(request.param)
    facts = {
        "mps": {"_host": Mac("Darwin", "arm64", "15.1"), "_gpu": Gpu(True, True, "Apple M1", 8, 5_726_623_061)},
        "xpu": {"_host": Host(1, "open"), "_runtime": Runtime("1", (Properties("Arc", architecture=21479031808),))},
    }[request.param]
    replaced = {"_build": Build("2.13.0"), "_torch_device": lambda device: torch.device("cpu"), "copies_ahead": False}
    for name, value in {**facts, **replaced}.items():
        monkeypatch.setitem(vars(found), name, value)
    monkeypatch.delenv("PYTORCH_ENABLE_MPS_FALLBACK", raising=False)
    onednn = torch.backends.mkldnn.__class__.__dict__["allow_tf32"]
    monkeypatch.setattr(onednn, "setter", lambda value: None)  # which warns in builds for other devices
    for name in ("synchronize", "empty_cache"):
        monkeypatch.setattr(torch.mps, name, lambda: None)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 7)
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda index: None)
    monkeypatch.setattr(torch.accelerator, "device_index", lambda index: contextlib.nullcontext())
    for name, result in {"memory_allocated": 7, "max_memory_reserved": 9, "reset_peak_memory_stats": None}.items():
        monkeypatch.setattr(torch.accelerator.memory, name, lambda index, result=result: result)
    for name in ("empty_cache", "empty_host_cache"):
        monkeypatch.setattr(torch.accelerator.memory, name, lambda: None, raising=False)
    return found


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_they_train_as_the_processor_does(backend, precision, tmp_path):
    """In fp16 steps that overflow are left out, by another optimizer on one of them."""
    more = {"precision": precision, "steps": 6, "clip": 1.0, "layout": "nchw", "schedule": "constant"}
    there = hal.train(**KEYS, **more, backend=backend.name, out=str(tmp_path / "there"))
    here = hal.train(**KEYS, **more, backend="cpu", out=str(tmp_path / "here"))
    assert there.device.backend == backend.name
    wanted = pytest.approx(here.epochs[0].train["loss"], rel=1e-3 if precision == "fp16" else 1e-6)
    assert there.epochs[0].train["loss"] == wanted
    assert there.results["loss"] == pytest.approx(here.results["loss"], rel=1e-3)


def test_they_measure(backend):
    found = hal.bench(**KEYS, backend=backend.name, seconds=0.1)
    assert found.measurement.throughput.median > 0
    assert found.measurement.peak_memory_bytes == {"mps": None, "xpu": 9}[backend.name]


ERRORS = {
    "mps": {
        UnsupportedError: NotImplementedError(
            "The operator 'aten::relu' is not currently implemented for the MPS device."
        ),
        OutOfMemoryError: RuntimeError("MPS backend out of memory (MPS allocated: 7.64 GiB)"),
    },
    "xpu": {
        UnsupportedError: RuntimeError("Required aspect fp64 is not supported on the device"),
        OutOfMemoryError: RuntimeError("Native API failed. 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
    },
}


@pytest.mark.parametrize("kind", [UnsupportedError, OutOfMemoryError])
def test_what_a_kernel_raises_has_a_name(backend, kind, monkeypatch, tmp_path):
    def raises(x):
        raise ERRORS[backend.name][kind]

    monkeypatch.setattr(torch, "relu", raises)
    with pytest.raises(kind) as caught:
        hal.train(**KEYS, steps=1, backend=backend.name, out=str(tmp_path / "run"))
    assert caught.value.fix
