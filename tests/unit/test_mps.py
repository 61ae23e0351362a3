"""What the MPS backend decides about recorded Macs, and what it asks of PyTorch; needs no Mac."""

import dataclasses
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hal import catalogue, registry
from hal.backends._torch.build import Build
from hal.backends.mps import MpsBackend
from hal.backends.mps.decisions import availability, describe
from hal.backends.mps.host import Gpu, Host, read_gpu
from hal.backends.mps.optimizers import FusedUnlessSkipped
from hal.contract import Available, MemoryUse, Telemetry, Unavailable
from hal.contract.plan import Plan
from hal.errors import DeviceLostError, OutOfMemoryError, UnsupportedError
from hal.tensor.optimizers import neutral_optimizer

BUILD = Build("2.13.0")
MAC = Host("Darwin", "arm64", "15.1")
GIB = 2**30
# Written from public specifications. Metal recommends two thirds of the shared memory up to 36 GB, then three quarters.
MACS = {
    "Apple M1": Gpu(True, True, "Apple M1", 8, 8 * GIB * 2 // 3),
    "Apple M1 Pro": Gpu(True, True, "Apple M1 Pro", 16, 16 * GIB * 2 // 3),
    "Apple M2 Max": Gpu(True, True, "Apple M2 Max", 38, 96 * GIB * 3 // 4),
    "Apple M3 Pro": Gpu(True, True, "Apple M3 Pro", 18, 18 * GIB * 2 // 3),
    "Apple M4": Gpu(True, True, "Apple M4", 10, 16 * GIB * 2 // 3),
    "Apple M4 Max": Gpu(True, True, "Apple M4 Max", 40, 128 * GIB * 3 // 4),
}


def plan_for(device, **keys):
    return Plan(batch=8, **keys).resolve(device)


class TestRecordedMacs:
    @pytest.mark.parametrize("name", MACS)
    def test_identity(self, name):
        device = describe(MAC, MACS[name])
        assert (str(device), device.vendor, device.name) == ("mps:0", "Apple", f"{name} GPU")
        assert device.arch == "apple-" + name.split()[1].lower()
        assert (device.compute_units, device.memory_bytes) == (MACS[name].cores, MACS[name].memory_bytes)
        assert device.facts["runtime"] == "Metal on macOS 15.1"
        assert catalogue.match(device.name).id == name.lower().replace(" ", "-")
        assert catalogue.match(name) is None, "which is the processor's name"
        for absent in ("64-bit floating point", "peak memory", "power", "dp and fsdp"):
            assert absent in device.facts["lacks"]

    @pytest.mark.parametrize("name", MACS)
    def test_precisions(self, name):
        can = describe(MAC, MACS[name]).capabilities
        assert can.supported_precisions() == ("fp32", "bf16", "fp16")
        native = name.split()[1] in ("M3", "M4")
        assert can.precisions["bf16"].accelerated is native
        assert native or "conversion to fp32" in can.precisions["bf16"].note
        assert can.precisions["fp16"].accelerated

    def test_bf16_needs_a_system_that_has_it(self):
        device = describe(Host("Darwin", "arm64", "13.6"), MACS["Apple M1"])
        with pytest.raises(UnsupportedError, match=r"needs macOS 14; this is macOS 13\.6"):
            plan_for(device, precision="bf16")
        assert plan_for(device, precision="fp16").layout == "nchw"

    @pytest.mark.parametrize(
        ("keys", "said"),
        [
            ({"parallel": "dp=2"}, "use one of: none"),
            ({"parallel": "fsdp=2"}, "use one of: none"),
            ({"compile": "max"}, "use one of: eager, default"),
            ({"launch": "graph"}, "leave launch= out"),
            ({"precision": "tf32"}, "Apple GPUs do not have it"),
            ({"threads": 2}, "leave threads= out"),
        ],
    )
    def test_what_they_cannot_do_is_refused_before_anything_runs(self, keys, said):
        with pytest.raises(UnsupportedError) as caught:
            plan_for(describe(MAC, MACS["Apple M4"]), **keys)
        assert said in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "like"), [("Apple M9 Max", "apple-m5"), ("Apple Paravirtual device", "apple-m1"), ("", "apple-m1")]
    )
    def test_a_chip_that_the_table_does_not_have(self, name, like):
        device = describe(MAC, Gpu(True, True, name))
        assert f"treated like {like}" in device.capabilities.precisions["fp32"].note
        assert device.name

    def test_an_older_torch_that_does_not_name_the_gpu(self):
        device = describe(Host("Darwin", "arm64", "15.1", "Apple M2 Pro"), Gpu(True, True, memory_bytes=GIB))
        assert (device.name, device.arch, device.compute_units) == ("Apple M2 Pro GPU", "apple-m2", None)


class TestAvailability:
    def test_here(self):
        state = availability(BUILD, MAC, MACS["Apple M1"], {"PYTORCH_ENABLE_MPS_FALLBACK": "0"})
        assert state == Available("torch 2.13.0, Metal on macOS 15.1")

    @pytest.mark.parametrize(
        ("changes", "reason", "fix"),
        [
            ({"host": Host("Linux", "x86_64")}, "only macOS has", "on a Mac with an Apple chip"),
            ({"host": Host("Darwin", "x86_64", "14.2")}, "built for x86_64", "for arm64"),
            ({"build": None}, "torch is not installed", "install torch"),
            ({"build": Build("2.13.0", broken="no symbol")}, "cannot be imported: no symbol", "reinstall torch"),
            ({"gpu": Gpu()}, "built without Metal", "install torch"),
            ({"gpu": Gpu(built=True)}, "macOS 15.1 gives it no device", "virtual machine"),
            ({"gpu": Gpu(failure="Metal broke")}, "its message: Metal broke", "update macOS"),
            (
                {"environ": {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}},
                "PYTORCH_ENABLE_MPS_FALLBACK=1 lets PyTorch compute on the processor",
                "unset PYTORCH_ENABLE_MPS_FALLBACK",
            ),
        ],
    )
    def test_not_here(self, changes, reason, fix):
        given = {"build": BUILD, "host": MAC, "gpu": MACS["Apple M1"], "environ": {}, **changes}
        state = availability(**given)
        assert isinstance(state, Unavailable)
        assert reason in state.reason
        assert fix in state.fix


class TestReading:
    def torch(self, available=True, **backends):
        mps = SimpleNamespace(is_built=lambda: True, is_available=lambda: available, **backends)
        recommended = SimpleNamespace(recommended_max_memory=lambda: 5_726_623_061)
        return SimpleNamespace(backends=SimpleNamespace(mps=mps), mps=recommended)

    def test_a_mac(self):
        said = {"get_name": lambda: "Apple M1", "get_core_count": lambda: 8}
        assert read_gpu(self.torch(**said)) == Gpu(True, True, "Apple M1", 8, 5_726_623_061)

    def test_an_older_torch(self):
        assert read_gpu(self.torch()) == Gpu(True, True, "", None, 5_726_623_061)

    def test_no_device(self):
        assert read_gpu(self.torch(available=False)) == Gpu(built=True)

    def test_it_never_raises(self):
        assert read_gpu(SimpleNamespace()).failure
        assert read_gpu(torch) == Gpu(built=torch.backends.mps.is_built()) or torch.backends.mps.is_available()


@pytest.fixture
def mac(monkeypatch):
    """The backend on a recorded Mac; what is asked of ``torch.mps`` is noted."""
    backend, log = MpsBackend(), []
    monkeypatch.setitem(vars(backend), "_host", MAC)
    monkeypatch.setitem(vars(backend), "_gpu", MACS["Apple M1"])
    monkeypatch.setitem(vars(backend), "_build", BUILD)
    monkeypatch.delenv("PYTORCH_ENABLE_MPS_FALLBACK", raising=False)
    for name, result in {"current_allocated_memory": 3, "empty_cache": None, "synchronize": None}.items():
        monkeypatch.setattr(torch.mps, name, lambda name=name, result=result: log.append(name) or result)
    for name in ("synchronize", "device_index", "current_stream"):
        monkeypatch.setattr(torch.accelerator, name, None)
    backend.log = log
    return backend


class TestBackend:
    def test_it_is_registered(self):
        assert type(registry.backend("mps")) is MpsBackend

    def test_its_device(self, mac):
        assert isinstance(mac.probe(), Available)
        (device,) = mac.devices()
        assert device.name == "Apple M1 GPU"
        assert mac.telemetry(device) == Telemetry()
        assert mac.loads(device) == ()
        assert mac.versions()["macos"] == "15.1"

    def test_memory_has_no_peak(self, mac):
        (device,) = mac.devices()
        mac.reset_peak_memory(device)
        assert mac.memory(device) == MemoryUse(3, None)
        mac.clear_caches(device)
        mac.synchronize(device)
        assert mac.log == ["current_allocated_memory", "empty_cache", "synchronize"]

    def test_it_copies_without_streams_and_waits(self, mac, monkeypatch):
        (device,) = mac.devices()
        waits = []
        real = torch.Tensor.to

        def to(tensor, where, *, non_blocking):
            assert where == torch.device("mps", 0)
            waits.append(not non_blocking)
            return real(tensor, "cpu")

        monkeypatch.setattr(torch.Tensor, "to", to)
        monkeypatch.setattr(torch, "Stream", None)
        batches = [{"x": np.full(3, index, np.float32)} for index in range(3)]
        put = lambda batch: mac.from_host(batch["x"], device)  # noqa: E731
        assert [x.tolist() for x in mac.prefetch(iter(batches), put, device)] == [[i] * 3 for i in range(3)]
        assert waits == [True] * 3

    @pytest.mark.parametrize("dtype", [np.float64, np.complex128])
    def test_wide_floats_are_refused(self, mac, dtype):
        (device,) = mac.devices()
        with pytest.raises(UnsupportedError, match=r"mps:0 \(Apple M1 GPU\) has no 64-bit floating point") as caught:
            mac.from_host(np.ones(3, dtype), device)
        assert "float32" in caught.value.fix

    def test_a_type_that_pytorch_does_not_take_there_is_refused(self, mac, monkeypatch):
        def to(tensor, where, *, non_blocking):
            raise TypeError("Trying to convert UInt64 to the MPS backend but it does not have support for that dtype.")

        monkeypatch.setattr(torch.Tensor, "to", to)
        with pytest.raises(UnsupportedError, match="do not have the type UInt64"):
            mac.from_host(np.ones(3, np.uint64), mac.devices()[0])

    def test_an_operation_that_falls_back_raises_each_time(self, mac):
        (device,) = mac.devices()
        plan, before = plan_for(device), torch.is_warn_always_enabled()
        words = (
            "The operator 'aten::col2im' is not currently supported on the MPS backend and will fall back to run on "
            "the CPU. This may have performance implications."
        )
        with mac.settings(plan, device):
            assert torch.is_warn_always_enabled(), "or PyTorch would say it once in a process"
            for _ in range(2):
                with pytest.raises(UserWarning) as caught:
                    warnings.warn(words, stacklevel=1)
        error = mac.classify(caught.value)
        assert isinstance(error, UnsupportedError)
        assert "cannot compute aten::col2im on Apple GPUs" in error.message
        assert "use backend=cpu" in error.fix
        assert torch.is_warn_always_enabled() is before

    def test_settings_set_no_switch_of_other_devices(self, mac):
        (device,) = mac.devices()
        before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        with mac.settings(plan_for(device), device):
            assert before == (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "kind", "said"),
        [
            (
                RuntimeError("MPS backend out of memory (MPS allocated: 7.64 GiB, max allowed: 9.07 GiB)."),
                OutOfMemoryError,
                "mps ran out of memory",
            ),
            (RuntimeError("Invalid buffer size: 32.00 GiB"), OutOfMemoryError, "mps ran out of memory"),
            (
                NotImplementedError("The operator 'aten::x' is not currently implemented for the MPS device. If you"),
                UnsupportedError,
                "cannot compute aten::x on Apple GPUs",
            ),
            (
                TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."),
                UnsupportedError,
                "do not have the type float64",
            ),
            (
                TypeError("Trying to convert ComplexDouble to the MPS backend but it does not have support for that"),
                UnsupportedError,
                "do not have the type ComplexDouble",
            ),
        ],
    )
    def test_known(self, error, kind, said):
        found = MpsBackend().classify(error)
        assert type(found) is kind
        assert said in found.message
        assert found.fix

    def test_others_keep_their_name(self):
        for error in (
            TypeError("Cannot convert 3 to x"),
            NotImplementedError("later"),
            ValueError("MPS"),
            KeyError("a"),
        ):
            assert MpsBackend().classify(error) is None

    def test_an_accelerator_that_fails_is_lost(self):
        assert isinstance(MpsBackend().classify(torch.AcceleratorError("gone")), DeviceLostError)


class TestOptimizers:
    """Apple's fused kernels take steps that should be left out."""

    def parameters(self):
        return {"a": torch.arange(4.0), "b": {"c": torch.ones(2, 3)}}

    def wrong(self, optimizer):
        """A fused optimizer that does not look at what should be skipped."""

        @dataclasses.dataclass(frozen=True)
        class Careless(type(optimizer)):
            def update(self, grads, state, params, lr, *, skip=None):
                return super().update(grads, state, params, lr)

        return Careless(**{each.name: getattr(optimizer, each.name) for each in dataclasses.fields(optimizer)})

    @pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
    def test_a_step_that_is_left_out_changes_nothing(self, name):
        fused = registry.backend("cpu").optimizer(name, {})
        optimizer = FusedUnlessSkipped(self.wrong(fused), neutral_optimizer(name, {}))
        params, expected = self.parameters(), self.parameters()
        state, plain_state = optimizer.init(params), fused.init(expected)
        for step, skip in enumerate([None, False, True, False, None]):
            grads = {"a": torch.full((4,), 0.5 + step), "b": {"c": torch.full((2, 3), -1.0)}}
            given = None if skip is None else torch.tensor(skip)
            params, state = optimizer.update(grads, state, params, 0.1, skip=given)
            expected, plain_state = fused.update(grads, plain_state, expected, 0.1, skip=given)
        torch.testing.assert_close(params, expected)
        torch.testing.assert_close(state, plain_state)
        assert float(state["step"]) == 4

    def test_the_backend_has_it(self, mac):
        assert isinstance(mac.optimizer("adam", {}), FusedUnlessSkipped)
