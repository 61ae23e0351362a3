"""What TorchInductor generates for the card's plans compiles for its architecture, and fits in its registers."""

import pytest
from fake_card.generating import compiled, generating

import hal

FACTS = {
    "sm_75": {"warp_size": 32, "max_threads_per_multi_processor": 1024},
    "sm_90": {"warp_size": 32, "max_threads_per_multi_processor": 2048},
    "gfx942": {"warp_size": 64, "max_threads_per_multi_processor": 2048},
    "gfx1100": {"warp_size": 32, "max_threads_per_multi_processor": 2048},
}
"""What the recorded descriptions lack."""
LIMITS = {"sm_75": (255, 64 << 10), "sm_90": (255, 227 << 10), "gfx942": (512, 64 << 10), "gfx1100": (256, 64 << 10)}
"""Registers of a work-item, and shared memory of a work-group (CUDA C++ programming guide; LLVM's AMDGPU guide)."""
CNN = {"name": "cnn", "filters": [4], "dense": 8, "size": 12}
MLP = {"name": "mlp", "hidden": [64]}
# tf32 differs from fp32 in products alone, which are the library's where nothing is searched.
PLANS = [*((CNN, precision, "default") for precision in ("fp32", "bf16", "fp16")), (MLP, "fp16", "max")]


def name(value):
    return value["name"] if isinstance(value, dict) else value


# torch.compile imports parts of PyTorch that warn about themselves; TorchInductor advises every user of float32.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION is unset")
@pytest.mark.parametrize(("model", "precision", "mode"), PLANS, ids=name)
def test_it_compiles(device, model, precision, mode, tmp_path, record_testsuite_property):
    can = device.capabilities
    allowed = can.needs.get(f"compile={mode}", {}).get("precision", can.supported_precisions())
    if precision not in allowed or precision not in can.supported_precisions():
        pytest.skip(f"hal compiles no {precision} for {device.arch}")
    keys = {"model": model, "data": "synthetic:32", "batch": 16, "steps": 1, "backend": device.backend}
    facts = {**FACTS[device.arch], "regs_per_multiprocessor": 1 << 16}
    with generating(facts) as sources:
        hal.train(**keys, precision=precision, compile=mode, launch="kernels", out=str(tmp_path / "run"))
        kernels = [kernel for entry in sources.items() for kernel in compiled(*entry)]
    registers, shared_bytes = LIMITS[device.arch]
    assert len(kernels) >= 8
    assert {kernel.name for kernel in kernels if kernel.spilled_bytes} == set()
    assert max(kernel.registers for kernel in kernels) <= registers
    assert max(kernel.shared_bytes for kernel in kernels) <= shared_bytes
    templates = [kernel for kernel in kernels if "tem_" in kernel.name]
    assert bool(templates) == (mode == "max"), "a search has kernels for products"
    used = max(kernel.registers for kernel in kernels), max(kernel.shared_bytes for kernel in kernels)
    said = "{} compilations, at most {} registers and {} bytes of shared memory".format(len(kernels), *used)
    record_testsuite_property(f"{device.arch} {name(model)} {precision} {mode}", said)
