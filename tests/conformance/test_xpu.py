"""The XPU backend passes the suite where its hardware is."""

from typing import Any, ClassVar

import pytest

from hal.testing import BackendConformance


# torch.compile imports parts of PyTorch that warn about themselves.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
class TestXpu(BackendConformance):
    backend_name = "xpu"
    cannot: ClassVar = {"test_ids_outside_the_table": "the kernel's assertion ends the process"}

    def settings(self) -> dict[str, Any]:
        import torch

        onednn: Any = torch.backends.mkldnn
        return {
            "threads": torch.get_num_threads(),
            "tf32": onednn.allow_tf32,
            "older switches": (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32),
            "repeated warnings": torch.is_warn_always_enabled(),
            "device": torch.accelerator.current_device_index(),
        }
