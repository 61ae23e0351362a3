"""What the CPU backend decides about processors, limits and builds; the last class runs on this machine's processor."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hal.backends._host.host import Host, read_host
from hal.backends._host.memory import forget_peak, resident_memory
from hal.backends._torch.architectures import load
from hal.backends._torch.build import Build
from hal.backends.cpu import CpuBackend
from hal.backends.cpu.decisions import architecture, availability, describe
from hal.backends.cpu.heap import can_keep
from hal.contract import Available, Backend, MemoryUse, Telemetry, Unavailable
from hal.contract.device import PRECISIONS
from hal.contract.plan import Plan
from hal.errors import UnsupportedError

AVX512 = "avx512f avx512dq avx512cd avx512bw avx512vl"
# Flags of each processor as far as the decisions read them; only the first is read off a machine.
PROCESSORS = {
    "EPYC Turin": (f"sse2 avx2 fma {AVX512} avx512_bf16 avx512_vnni", "avx512_bf16", True, False),
    "Xeon Sapphire Rapids": (
        f"sse2 avx2 fma {AVX512} avx512_bf16 avx512_fp16 amx_bf16 amx_tile amx_int8",
        "amx_bf16",
        True,
        True,
    ),
    "Xeon Skylake": (f"sse2 avx2 fma {AVX512}", "avx512", False, False),
    "Ryzen 5000": ("sse2 avx avx2 fma", "avx2", False, False),
    "Graviton 3": ("fp asimd fphp asimdhp sve svebf16 bf16 i8mm", "sve_bf16", True, True),
    "Ampere One": ("fp asimd fphp asimdhp bf16 i8mm", "neon_bf16", True, True),
    "A64FX": ("fp asimd fphp asimdhp sve", "sve", False, True),
    "Graviton 2": ("fp asimd fphp asimdhp", "neon", False, True),
    "Raspberry Pi 4": ("fp asimd", "neon", False, False),
    "old": ("sse2", "generic", False, False),
}


def processor(name):
    return Host("vendor", name, frozenset(PROCESSORS[name][0].split()), cores=8, memory_bytes=2**34)


@pytest.mark.parametrize("name", PROCESSORS)
class TestProcessors:
    def test_device(self, name):
        (device,) = describe(processor(name), "DEFAULT")
        assert (str(device), device.name, device.vendor, device.arch) == ("cpu:0", name, "vendor", PROCESSORS[name][1])
        assert (device.memory_bytes, device.compute_units) == (2**34, 8)
        assert device.facts["torch_capability"] == "DEFAULT"
        assert device.capabilities.threads
        assert device.capabilities.compile == ("eager", "default", "max")

    def test_precisions(self, name):
        (device,) = describe(processor(name), "DEFAULT")
        entries = device.capabilities.precisions
        assert device.capabilities.supported_precisions() == ("fp32", "bf16", "fp16")
        assert entries["fp32"].accelerated
        assert (entries["bf16"].accelerated, entries["fp16"].accelerated) == PROCESSORS[name][2:]
        assert entries["bf16"].accelerated or "conversion to fp32" in entries["bf16"].note
        assert entries["fp16"].accelerated or "slower than fp32" in entries["fp16"].note

    def test_plans(self, name):
        (device,) = describe(processor(name), "DEFAULT")
        for precision in ("fp32", "bf16", "fp16"):
            assert Plan(precision=precision, threads=2).resolve(device).layout == "nhwc"
        assert Plan(layout="nhwc", precision="bf16").resolve(device).layout == "nhwc"
        with pytest.raises(UnsupportedError, match="precision=tf32 is not supported on cpu:0") as raised:
            Plan(precision="tf32").resolve(device)
        assert "only GPUs support it" in str(raised.value)


@pytest.mark.parametrize("name", PROCESSORS)
def test_pooling_follows_from_the_processor(name):
    (device,) = describe(processor(name), "DEFAULT")
    arch = PROCESSORS[name][1]
    assert Plan(layout="nchw").resolve(device).pool == ("blocked" if arch.startswith(("avx512", "amx")) else "window")
    for keys in ({"layout": "nhwc"}, {"layout": "nchw", "compile": "default"}, {"layout": "nchw", "precision": "fp16"}):
        assert Plan(**keys).resolve(device).pool == "window"
        with pytest.raises(UnsupportedError, match="pool=blocked"):
            Plan(**keys, pool="blocked").resolve(device)
    if arch == "avx2":
        assert Plan(layout="nchw", pool="blocked").resolve(device).pool == "blocked"


def test_what_the_build_and_the_c_library_lack_is_not_offered():
    (device,) = describe(processor("EPYC Turin"), "DEFAULT", onednn=False, heap=False)
    assert device.capabilities.algorithms == {"conv": ("direct",), "pool": ("window",), "heap": ("trim",)}
    assert device.capabilities.needs == {}
    assert Plan(layout="nchw").resolve(device).pool == "window"


@pytest.mark.parametrize(
    ("capability", "arch"),
    [("AVX512", "avx512"), ("AVX2", "avx2"), ("NEON", "neon"), ("SVE256", "sve"), ("DEFAULT", "generic")],
)
def test_without_flags_the_framework_says(capability, arch):
    assert architecture(Host("Apple", "M4"), capability).key == arch


def test_the_table_is_complete():
    for row in load("hal.backends.cpu").values():
        assert tuple(row.precisions) == PRECISIONS
        assert "flags" in row.extra


def test_quota_is_a_fact():
    (device,) = describe(Host("vendor", "name", quota_cores=1.5), "DEFAULT")
    assert device.facts["quota_cores"] == "1.5"


def test_availability():
    assert availability(Build("2.13.0+cu130", cuda="13.0")) == Available("torch 2.13.0+cu130")
    missing, broken = availability(None), availability(Build("2.13.0", broken="libtorch.so: file too short"))
    assert isinstance(missing, Unavailable)
    assert missing.reason == "torch is not installed"
    assert isinstance(broken, Unavailable)
    assert "libtorch.so: file too short" in broken.reason


X86 = """processor\t: {number}
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC 9555
physical id\t: {package}
core id\t\t: {core}
flags\t\t: fpu avx2 fma
"""
ARM = """processor\t: {number}
BogoMIPS\t: 2100.00
Features\t: fp asimd bf16
CPU implementer\t: 0x41
"""


class TestHost:
    def host(self, tmp_path, text, allowed):
        (tmp_path / "cpuinfo").write_text(text)
        return read_host(tmp_path / "cpuinfo", tmp_path / "cgroup", tmp_path / "self", frozenset(allowed))

    def threads(self):
        """Two packages of two cores of two threads each."""
        places = [(package, core) for _thread in range(2) for package in range(2) for core in range(2)]
        return "\n".join(X86.format(number=n, package=p, core=c) for n, (p, c) in enumerate(places))

    @pytest.mark.parametrize(("allowed", "cores"), [(range(8), 4), ({0, 4}, 1), ({0, 1}, 2), ({0, 2}, 2), ({0}, 1)])
    def test_x86(self, tmp_path, allowed, cores):
        host = self.host(tmp_path, self.threads(), allowed)
        assert (host.vendor, host.name, host.flags) == ("AuthenticAMD", "AMD EPYC 9555", {"fpu", "avx2", "fma"})
        assert host.cores == cores

    def test_arm(self, tmp_path):
        host = self.host(tmp_path, "\n".join(ARM.format(number=n) for n in range(4)), {0})
        assert (host.vendor, host.flags, host.cores) == ("0x41", {"fp", "asimd", "bf16"}, 1)
        assert host.name

    def test_no_description(self, tmp_path):
        host = read_host(tmp_path / "none", tmp_path / "none", tmp_path / "none")
        assert host.flags == frozenset()
        assert host.name
        assert host.cores
        assert host.memory_bytes
        assert host.quota_cores is None

    def group(self, tmp_path, own, files):
        (tmp_path / "self").write_text(own)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        return self.host(tmp_path, X86.format(number=0, package=0, core=0), {0})

    def test_control_group_version_2(self, tmp_path):
        files = {
            "a/b/memory.max": "max",
            "a/memory.max": "1000000",
            "memory.max": "2000000",
            "a/b/cpu.max": "150000 100000",
            "a/cpu.max": "max 100000",
        }
        host = self.group(tmp_path, "0::/a/b\n", files)
        assert (host.memory_bytes, host.quota_cores) == (1000000, 1.5)

    def test_control_group_version_1(self, tmp_path):
        files = {
            "memory/job/memory.limit_in_bytes": "3000000",
            "memory/memory.limit_in_bytes": "9223372036854771712",
            "cpu,cpuacct/job/cpu.cfs_quota_us": "50000",
            "cpu,cpuacct/job/cpu.cfs_period_us": "100000",
            "cpu,cpuacct/cpu.cfs_quota_us": "-1",
            "pids/job/memory.max": "1",
        }
        host = self.group(tmp_path, "4:memory:/job\n3:pids:/job\n2:cpu,cpuacct:/job\n0::/\n", files)
        assert (host.memory_bytes, host.quota_cores) == (3000000, 0.5)

    def test_a_limit_above_the_memory_is_none(self, tmp_path):
        free = self.group(tmp_path, "", {})
        assert self.group(tmp_path, "0::/\n", {"memory.max": str(2**62)}).memory_bytes == free.memory_bytes


class TestThisMachine:
    backend = CpuBackend()

    def test_class(self):
        assert issubclass(CpuBackend, Backend)
        assert (CpuBackend.name, CpuBackend.priority, CpuBackend.device_type) == ("cpu", 0, "cpu")

    def test_available(self):
        state = self.backend.probe()
        assert isinstance(state, Available)
        assert state.detail.startswith("torch ")

    def test_device(self):
        (device,) = self.backend.devices()
        assert device.arch in load("hal.backends.cpu")
        assert device.memory_bytes
        assert device.memory_bytes > 2**28
        assert device.compute_units
        assert device.compute_units >= 1
        assert device.facts["torch_capability"]

    def test_memory_is_that_of_the_process(self):
        (device,) = self.backend.devices()
        before = self.backend.memory(device)
        held = np.ones(2**24)  # 128 MiB, touched
        after = self.backend.memory(device)
        assert after.allocated_bytes - before.allocated_bytes > 0.9 * held.nbytes
        assert after.peak_bytes >= after.allocated_bytes

    def test_memory_is_unknown_rather_than_zero(self, tmp_path):
        assert resident_memory(tmp_path) == MemoryUse(None, None)
        forget_peak(tmp_path / "absent")
        (tmp_path / "status").write_text("Name: x\nVmRSS: 12 kB\n")
        assert resident_memory(tmp_path) == MemoryUse(12 * 1024, None)

    @pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -np.inf])
    def test_pooling_algorithms_agree(self, value):
        (device,) = self.backend.devices()
        offered = device.capabilities.algorithms["pool"]
        image = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype(np.float32)
        image[0, :2, :2, 0] = value
        found = {}
        for pool in offered:
            plan = Plan(layout="nchw", compile="eager", pool=pool).resolve(device)
            with self.backend.settings(plan, device):
                stored = self.backend.from_host(image, device, axes="NHWC", layout="nchw").requires_grad_()
                pooled = self.backend.ops(device).max_pool2d(stored, 2)
                pooled.square().sum().backward()
                found[pool] = pooled.detach().numpy(), stored.grad.numpy()
        for pool in offered[1:]:
            np.testing.assert_array_equal(found[pool][0], found[offered[0]][0])
            np.testing.assert_array_equal(found[pool][1], found[offered[0]][1])

    def test_telemetry(self):
        (device,) = self.backend.devices()
        counters = self.backend.telemetry(device)
        assert isinstance(counters, Telemetry)
        assert counters.memory_used_bytes
        for value in (counters.power_w, counters.temperature_c, counters.clock_mhz):
            assert value is None or value > 0

    @pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
    def test_supported_precisions_compute_forward_and_backward(self, precision):
        import torch

        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2, 4, 8, 8, generator=generator)
        kernel = torch.randn(4, 4, 3, 3, generator=generator) / 6
        weight = torch.randn(64, 8, generator=generator) / 8

        def gradients(kind):
            leaves = [tensor.to(kind, copy=True).requires_grad_() for tensor in (x, kernel, weight)]
            hidden = torch.nn.functional.conv2d(leaves[0], leaves[1], padding=1).mean(1).flatten(1) @ leaves[2]
            hidden.square().sum().backward()
            return [leaf.grad.to(torch.float64) for leaf in leaves]

        for found, reference in zip(gradients(dtype), gradients(torch.float64), strict=True):
            torch.testing.assert_close(found, reference, rtol=0.1, atol=0.05)


def test_importing_the_backend_imports_no_framework():
    code = "import sys, hal.backends.cpu; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0


@pytest.mark.parametrize("model", ["{'name': 'mlp', 'hidden': [4]}", "{'name': 'rnn', 'units': 4, 'task': 'classify'}"])
def test_a_run_that_compiles_nothing_loads_no_compiler(model):
    """PyTorch's own takes as long to load as the rest of PyTorch."""
    keys = f"model={model}, data='synthetic:32', batch=16, compile='eager', seconds=0.01"
    code = f"import sys, hal; hal.bench({keys}, backend='cpu'); sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


_FAULTS = """
import ctypes, resource, sys
from hal.backends.cpu.heap import kept_heap

library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
library.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]


def faults(size):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = library.malloc(size)
    library.memset(block, 1, size)
    library.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def second(size):
    faults(size)
    return faults(size)


size = int(sys.argv[1])
with kept_heap():
    print(second(size))
print(second(size))
"""


@pytest.mark.skipif(not can_keep(), reason="the C library is not glibc, or its heap was tuned")
@pytest.mark.parametrize("mebibytes", [8, 72])
def test_a_kept_heap_keeps_blocks_of_any_size(mebibytes):
    """72 MiB: above the highest threshold that glibc takes; oneDNN asks for as much in a convolution's backward."""
    size = mebibytes << 20
    found = subprocess.run([sys.executable, "-c", _FAULTS, str(size)], capture_output=True, text=True, check=True)
    within, after = map(int, found.stdout.split())
    pages = size // os.sysconf("SC_PAGESIZE")
    assert within < pages / 100
    assert (after > pages / 2) == (mebibytes > 32)


@pytest.mark.skipif(not can_keep(), reason="the C library is not glibc, or its heap was tuned")
@pytest.mark.parametrize("name", ["TRIM_THRESHOLD", "MMAP_THRESHOLD", "MMAP_MAX", "TOP_PAD"])
def test_a_heap_that_the_user_tuned_is_left_alone(name):
    """Each setting of mallopt(3) that keeping the heap would change has a variable by which users set it."""
    command = [sys.executable, "-c", "from hal.backends.cpu.heap import can_keep; print(can_keep())"]
    environment = {**os.environ, f"MALLOC_{name}_": "100000"}
    assert subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout == "False\n"
