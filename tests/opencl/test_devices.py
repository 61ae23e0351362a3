"""What the OpenCL backend says of devices, from recorded reports of drivers, and of drivers that are missing."""

import dataclasses
import sys
import types

import pytest

from hal.backends.opencl import platforms
from hal.backends.opencl.backend import OpenclBackend
from hal.backends.opencl.decisions import Driver, describe, facts_of, keeps_programs, lacking

POLARIS = Driver(
    kind="gpu",
    vendor="AMD",
    vendor_id=0x1002,
    name="AMD Radeon RX 580 Series (radeonsi, polaris10, LLVM 15.0.6, DRM 3.49)",
    board="",
    platform="rusticl",
    platform_version="OpenCL 3.0",
    version="OpenCL 3.0",
    driver_version="22.3.6",
    extensions=frozenset({"cl_khr_fp64", "cl_khr_byte_addressable_store"}),
    memory_bytes=8 << 30,
    largest_bytes=2 << 30,
    units=36,
    local_bytes=32768,
    local_size=1024,
    vector_floats=1,
    compiler=True,
    available=True,
    little_endian=True,
)


def changed(**facts):
    return dataclasses.replace(POLARIS, **facts)


@pytest.mark.parametrize(("floats", "vector"), [(0, 8), (4, 8), (8, 8), (16, 16), (32, 16)])
def test_vectors_are_as_long_as_registers(floats, vector):
    assert facts_of(changed(kind="cpu", vector_floats=floats)).vector == vector


class TestDescriptions:
    def test_a_card(self):
        device = describe(POLARIS, 1)
        assert str(device) == "opencl:gpu:1"
        assert (device.vendor, device.arch, device.compute_units) == ("AMD", "gfx803", 36)
        assert device.capabilities.supported_precisions() == ("fp32", "fp16")
        assert device.facts["platform"] == "rusticl OpenCL 3.0"

    def test_drivers_that_keep_programs(self):
        assert keeps_programs(changed(platform="Portable Computing Language"))
        assert not keeps_programs(POLARIS)

    @pytest.mark.parametrize(
        ("name", "board", "arch"),
        [
            ("gfx1030", "AMD Radeon RX 6800", "gfx1030"),
            ("gfx90a:sramecc+:xnack-", "", "gfx90a"),
            ("Ellesmere", "Radeon RX 470", "gfx803"),
            ("AMD Radeon RX 5700 XT (navi10, LLVM 15)", "", "gfx1010"),
            ("AMD Radeon RX 6600 (radeonsi, navi23)", "", "gfx1032"),
            ("Intel(R) UHD Graphics 620", "", "unknown"),
        ],
    )
    def test_architectures(self, name, board, arch):
        assert describe(changed(name=name, board=board), 0).arch == arch

    def test_the_processor(self):
        device = describe(changed(kind="cpu", name="pthread-haswell-AMD EPYC", vendor_id=0x1022), 0)
        assert (str(device), device.arch, device.vendor) == ("opencl:cpu:0", "haswell", "AMD")

    def test_an_unknown_vendor_keeps_its_own_word(self):
        assert describe(changed(vendor_id=0x4242, vendor="Somebody"), 0).vendor == "Somebody"


class TestRefusals:
    @pytest.mark.parametrize(
        ("facts", "reason"),
        [
            ({"compiler": False}, "no compiler"),
            ({"available": False}, "not available"),
            ({"version": "OpenCL 1.1 Mesa"}, "OpenCL 1.2 or later"),
            ({"little_endian": False}, "highest byte"),
            ({"platform": "Clover"}, "Clover"),
            ({"kind": "cpu", "name": "llvmpipe (LLVM 15.0.6, 256 bits)"}, "llvmpipe"),
        ],
    )
    def test_what_a_device_lacks(self, facts, reason):
        problem = lacking(changed(**facts))
        assert problem is not None
        assert reason in problem[0]
        assert problem[1]

    def test_a_whole_device(self):
        assert lacking(POLARIS) is None


class Error(Exception):
    def __init__(self, code=0):
        super().__init__(f"code {code}")
        self.code = code


@pytest.fixture
def installed(monkeypatch):
    """Replaces pyopencl; each call of the returned function says what its platforms are."""

    def install(get_platforms):
        module = types.ModuleType("pyopencl")
        module.Error, module.get_platforms = Error, get_platforms
        monkeypatch.setitem(sys.modules, "pyopencl", module)
        return platforms.find.__wrapped__()

    return install


def fails(error):
    def get_platforms():
        raise error

    return get_platforms


class TestFinding:
    def test_no_pyopencl(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pyopencl", None)
        found = platforms.find.__wrapped__()
        assert "not installed" in found.problem
        assert "pip install" in found.fix

    def test_no_driver(self, installed):
        for found in (installed(fails(Error(-1001))), installed(lambda: [])):
            assert found.problem == "no OpenCL driver is installed"
            assert "pocl-opencl-icd" in found.fix

    def test_a_loader_that_fails(self, installed):
        assert "OpenCL failed: code -30" in installed(fails(Error(-30))).problem

    def test_a_platform_without_devices(self, installed):
        platform = types.SimpleNamespace(name="Empty", get_devices=fails(Error(-1)))
        assert "(Empty) find no device" in installed(lambda: [platform]).problem

    def test_unavailable(self, monkeypatch):
        """Without pyopencl the backend still says what is missing, and lists no device."""
        monkeypatch.setattr("hal.backends.opencl.backend.find", lambda: platforms.Found(problem="none", fix="install"))
        backend = OpenclBackend()
        assert backend.probe().fix == "install"
        assert backend.devices() == []
