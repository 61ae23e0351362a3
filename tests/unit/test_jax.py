"""What the JAX backend decides and says, with devices and machines made up here; the last class runs on JAX's CPU."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hal
from hal import ops, registry
from hal.backends._host import Host
from hal.backends.jax import JaxBackend, TpuBackend, runtime
from hal.backends.jax.algorithms import translated_by_products
from hal.backends.jax.decisions import capabilities, describe_accelerator, describe_processor
from hal.backends.jax.ops import JaxOps
from hal.backends.jax.runtime import accelerators
from hal.contract import Available, Unavailable
from hal.contract.plan import Plan
from hal.errors import ConfigError, DeviceLostError, OutOfMemoryError, UnavailableError, UnsupportedError


def accelerated(*args):
    return {name for name, entry in capabilities(*args).precisions.items() if entry.accelerated}


def supported(*args):
    return set(capabilities(*args).supported_precisions())


class TestDecisions:
    @pytest.mark.parametrize(
        ("platform", "compute_capability", "can", "fast"),
        [
            ("cpu", "", {"fp32", "bf16", "fp16"}, {"fp32"}),
            ("tpu", "", {"fp32", "bf16", "fp16"}, {"bf16"}),
            ("gpu", "9.0", {"fp32", "tf32", "bf16", "fp16"}, {"fp32", "tf32", "bf16", "fp16"}),
            ("gpu", "7.5", {"fp32", "bf16", "fp16"}, {"fp32", "fp16"}),
            ("gpu", "6.1", {"fp32", "bf16", "fp16"}, {"fp32"}),
            ("gpu", "gfx942", {"fp32", "bf16", "fp16"}, {"fp32", "fp16"}),
        ],
    )
    def test_precisions(self, platform, compute_capability, can, fast):
        assert supported(platform, compute_capability) == can
        assert accelerated(platform, compute_capability) == fast

    def test_algorithms(self):
        assert capabilities("cpu").algorithms["pool"] == ("reshape", "window")
        assert capabilities("tpu").algorithms == {
            "conv": ("direct", "patches"),
            "pool": ("window", "reshape"),
            "crop": ("products", "gather"),
        }
        assert capabilities("gpu").algorithms["crop"] == ("gather", "products")

    @pytest.mark.parametrize(
        ("platform", "compute_capability", "vendor", "arch"),
        [
            ("tpu", "", "Google", "TPU v5 lite"),
            ("gpu", "9.0", "NVIDIA", "sm_90"),
            ("gpu", "gfx942", "AMD", "gfx942"),
            ("gpu", "", "unknown", "TPU v5 lite"),
        ],
    )
    def test_accelerators(self, platform, compute_capability, vendor, arch):
        device = describe_accelerator(
            "jax", platform, 1, platform=platform, name="TPU v5 lite", compute_capability=compute_capability
        )
        assert (str(device), device.vendor, device.arch) == (f"jax:{platform}:1", vendor, arch)

    def test_processor(self):
        host = Host("AuthenticAMD", "EPYC", cores=4, memory_bytes=2**30)
        device = describe_processor("jax", 0, host, "x86_64", "jax 1.2")
        assert (str(device), device.name, device.compute_units, device.memory_bytes) == ("jax:cpu:0", "EPYC", 4, 2**30)

    @pytest.mark.parametrize(("nodes", "found"), [((), False), (("accel0",), True), (("nvidia0",), True)])
    def test_nodes_of_accelerators(self, tmp_path, nodes, found):
        for name in ("null", "nvidiactl", *nodes):
            (tmp_path / name).touch()
        assert accelerators(tmp_path) is found


class TestTargets:
    @pytest.mark.parametrize(
        ("name", "vendor", "devices", "fast"),
        [
            ("tpu-v5e:2x2", "Google", 4, {"bf16"}),
            ("h100", "NVIDIA", 1, {"fp32", "tf32", "bf16", "fp16"}),
            ("v100", "NVIDIA", 1, {"fp32", "fp16"}),
            ("rocm:gfx942", "AMD", 1, {"fp32", "fp16"}),
        ],
    )
    def test_a_target_is_a_device(self, name, vendor, devices, fast):
        target = JaxBackend().target(name)
        device = target.device
        assert (device.kind, device.vendor, target.devices) == (name, vendor, devices)
        assert {n for n, entry in device.capabilities.precisions.items() if entry.accelerated} == fast

    @pytest.mark.parametrize("name", ["cpu", "", "tpu", "h1000"])
    def test_names_of_others(self, name):
        assert JaxBackend().target(name) is None

    def test_malformed(self):
        with pytest.raises(ConfigError, match="no such topology"):
            JaxBackend().target("tpu-v5e:3x3")


class TestAvailability:
    @pytest.fixture(autouse=True)
    def _fresh(self):
        runtime.start.cache_clear()
        yield
        runtime.start.cache_clear()

    def test_not_installed(self, monkeypatch):
        monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: None)
        state = JaxBackend().probe()
        assert state == Unavailable("jax is not installed", "pip install 'hal-tensor[jax]'")
        assert JaxBackend().devices() == []

    def test_it_does_not_start(self, monkeypatch):
        monkeypatch.setattr(jax, "devices", lambda: (_ for _ in ()).throw(RuntimeError("no platform\nmore")))
        state = JaxBackend().probe()
        assert isinstance(state, Unavailable)
        assert state.reason == "jax is installed but cannot be started: no platform"

    @pytest.mark.parametrize(("where", "joins"), [({"HAL_RENDEZVOUS": "/some/folder"}, 0), ({"MASTER_ADDR": "a"}, 1)])
    def test_only_processes_of_a_launcher_join(self, monkeypatch, where, joins):
        """JAX's coordinator listens on a port, and hal starts no process that would need it."""
        joined = []
        monkeypatch.setattr(jax.distributed, "is_initialized", lambda: False)
        monkeypatch.setattr(jax.distributed, "initialize", lambda **keys: joined.append(keys))
        monkeypatch.delenv("MASTER_ADDR", raising=False)
        for name, value in {"WORLD_SIZE": "2", "RANK": "1", "MASTER_PORT": "1", **where}.items():
            monkeypatch.setenv(name, value)
        runtime._join(jax)
        assert len(joined) == joins

    def test_no_tpu(self):
        state = TpuBackend().probe()
        assert isinstance(state, Unavailable)
        assert "finds no TPU" in state.reason
        assert "hal compile" in state.fix


def run(code, **env):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **env}
    )
    assert done.returncode == 0, done.stderr
    return done


class TestProcess:
    """What only a fresh process shows."""

    def test_quiet_and_restored(self):
        code = """
import json, os, hal
before = dict(os.environ)
device = hal.device("jax")
device.xp.ones(3) + 1
print(json.dumps([str(device), dict(os.environ) == before]))
"""
        done = run(code)
        assert json.loads(done.stdout) == ["jax:cpu:0", True]
        assert done.stderr == ""

    def test_several_devices(self):
        code = "import hal; print([str(d) for s in hal.devices() if s.backend == 'jax' for d in s.devices])"
        assert run(code, JAX_NUM_CPU_DEVICES="2").stdout.split("\n")[0] == "['jax:cpu:0', 'jax:cpu:1']"


class TestHere:
    backend = registry.backend("jax")
    device = hal.device("jax:cpu")

    def test_available(self):
        assert isinstance(self.backend.probe(), Available)
        assert hal.device("jax:cpu:0") == self.device

    def test_more_devices_than_there_are(self):
        with pytest.raises(
            UnavailableError, match=r"parallel=dp=64 needs 64 devices like jax:cpu:0, but there are only \d+"
        ) as e:
            self.backend.group(self.device, Plan(parallel="dp=64"))
        assert e.value.fix == "start hal with JAX_NUM_CPU_DEVICES=64"

    @pytest.mark.parametrize(("key", "values"), [("conv", ("direct", "patches")), ("pool", ("window", "reshape"))])
    def test_plans_choose_algorithms(self, key, values):
        """The algorithm of a plan is in what is compiled, whichever plan is applied when it is traced."""
        x, kernel = np.ones((1, 6, 6, 2), np.float32), np.ones((3, 3, 2, 2), np.float32)

        def step(x, kernel):
            return ops.max_pool2d(ops.conv2d(x, kernel))

        texts = []
        for value in values:
            plan = Plan(**{key: value}).resolve(self.device)
            given = [self.backend.from_host(a, self.device) for a in (x, kernel)]
            texts.append(self.backend.compile(step, plan).lower(*given).as_text())
        operation = {"conv": "stablehlo.convolution", "pool": "stablehlo.reduce_window"}[key]
        assert [operation in text for text in texts] == [True, False]

    @pytest.mark.parametrize(
        ("error", "named"),
        [
            (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes."), OutOfMemoryError),
            (jax.errors.JaxRuntimeError("UNIMPLEMENTED: no such op"), UnsupportedError),
            (jax.errors.JaxRuntimeError("UNAVAILABLE: gone"), DeviceLostError),
            (MemoryError(), OutOfMemoryError),
        ],
    )
    def test_errors_are_named_by_their_code(self, error, named):
        assert type(self.backend.classify(error)) is named

    @pytest.mark.parametrize("error", [ValueError("RESOURCE_EXHAUSTED"), jax.errors.JaxRuntimeError("INTERNAL: bug")])
    def test_other_errors_are_not(self, error):
        assert self.backend.classify(error) is None

    def test_a_plan_of_fp32_computes_in_fp32(self):
        for precision, products in (("fp32", "highest"), ("bf16", "default")):
            plan = Plan(precision=precision).resolve(self.device)
            with self.backend.settings(plan, self.device):
                assert jax.config.jax_default_matmul_precision == products
                assert jax.config.jax_enable_x64
        assert not jax.config.jax_enable_x64


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_images_move_by_products_as_by_a_gather(dtype):
    """TPUs take the products; here both run, and the numbers are the same to the last bit."""
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(6, 5, 7, 3)), dtype)
    rows, columns = (jnp.asarray(random.integers(-6, 7, 6)) for _ in range(2))
    weights = jnp.asarray(random.normal(size=x.shape), dtype)
    results = []
    for translate in (translated_by_products, JaxOps().translate2d):
        moved, back = jax.vjp(lambda x, translate=translate: translate(x, rows, columns), x)
        results.append((moved, *back(weights)))
    for found, wanted in zip(*results, strict=True):
        np.testing.assert_array_equal(np.asarray(found, np.float32), np.asarray(wanted, np.float32))
