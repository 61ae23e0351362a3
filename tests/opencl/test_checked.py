"""The kernels under other implementations of OpenCL.

Oclgrind reports races and accesses out of bounds. Mesa's rusticl has a compiler of its own, which llvmpipe runs on the
processor.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys

import numpy as np
from hal import registry
from hal.backends.opencl import platforms
from hal.backends.opencl.codegen.kernel import Facts
from hal.backends.opencl.devices import runtime_of

if "refused" in sys.argv:
    platforms.lacking = lambda driver: None
backend = registry.backend("opencl")
(device,) = [d for d in backend.devices() if sys.argv[1] in d.facts["platform"]]
xp, runtime, rng = device.xp, runtime_of(device), np.random.default_rng(0)
a, b, c = (rng.standard_normal(shape).astype(np.float32) for shape in ((20, 9), (9, 18), (3, 33)))
# 80 columns are five panels, one less than two blocks have; their 5,120 bytes are a size that memory is given out in.
left, right = (rng.standard_normal(shape).astype(np.float32) for shape in ((20, 16), (16, 80)))
images, kernel = (rng.standard_normal(s).astype(np.float32) for s in ((2, 7, 7, 3), (3, 3, 3, 8)))
twice = np.array([1, 1], np.int64)
added = a.copy()
added[1] += a[0] + a[1]


def check(cpu):
    runtime.facts = Facts(cpu=cpu, units=2, local_size=64)
    x, y, z = (backend.from_host(host, device) for host in (a, b, c))
    indexed = (
        (xp.sort(x, axis=0), np.sort(a, axis=0)),
        (xp.index_put(x, (backend.from_host(twice, device),), x[:2, :], add=True), added),
    )
    for found, expected in (
        *(indexed if "indexed" in sys.argv else ()),
        (xp.tanh(x @ y + 1), np.tanh(a @ b + 1)),
        (backend.from_host(left, device) @ backend.from_host(right, device), left @ right),
        (xp.sum(x * x, axis=0), (a * a).sum(axis=0)),
        (xp.sum(z, axis=1), c.sum(axis=1)),
        (xp.softmax(z), np.exp(c) / np.exp(c).sum(axis=1, keepdims=True)),
        (xp.argmax(x, axis=0), a.argmax(axis=0)),
        (xp.cumulative_sum(x, axis=1), a.cumsum(axis=1)),
        (xp.concat([x, -x], axis=1), np.concatenate([a, -a], axis=1)),
        (xp.astype(xp.astype(x, xp.float16), xp.float32), a.astype(np.float16).astype(np.float32)),
    ):
        np.testing.assert_allclose(backend.to_host(found), expected, rtol=1e-5, atol=1e-5)
    x = backend.from_host(images, device)
    loss = lambda k: (xp.sum(xp.max_pool2d(xp.relu(xp.conv2d(x, k, strides=2))) ** 2), ())
    (_, _), gradient = backend.value_and_grad(loss)(backend.from_host(kernel, device))
    return backend.to_host(gradient)


first = check(cpu=True)
runtime._programs.clear()
np.testing.assert_allclose(check(cpu=False), first, rtol=1e-4, atol=1e-4)
print("all agree")
"""


@pytest.mark.skipif(shutil.which("oclgrind") is None, reason="oclgrind is not installed")
@pytest.mark.skipif(importlib.util.find_spec("pyopencl") is None, reason="pyopencl is not installed")
def test_no_race_and_nothing_out_of_bounds(tmp_path):
    log = tmp_path / "oclgrind.log"
    environment = {**os.environ, "HAL_OPENCL_CACHE": str(tmp_path / "cache")}
    command = ["oclgrind", "--data-races", "--log", str(log), sys.executable, "-c", PROGRAM, "Oclgrind", "indexed"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert "all agree" in done.stdout, done.stdout + done.stderr
    assert not log.exists() or log.read_text() == ""


RUSTICL = Path("/etc/OpenCL/vendors/rusticl.icd")


@pytest.mark.skipif(not RUSTICL.exists(), reason="Mesa's rusticl is not installed (Debian: mesa-opencl-icd)")
@pytest.mark.skipif(importlib.util.find_spec("pyopencl") is None, reason="pyopencl is not installed")
def test_another_compiler_agrees(tmp_path):
    """hal refuses this device: llvmpipe 22.3.6 finds indices that may be negative outside of an array.

    The kernels without such indices agree.
    """
    chosen = {"OCL_ICD_VENDORS": str(RUSTICL), "RUSTICL_ENABLE": "llvmpipe", "HAL_OPENCL_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", PROGRAM, "rusticl", "refused"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **chosen})
    assert "all agree" in done.stdout, done.stdout + done.stderr
