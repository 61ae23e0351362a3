"""The CUDA backend passes the suite where its hardware is."""

from typing import Any, ClassVar

import pytest

from hal.testing import BackendConformance


# torch.compile imports parts of PyTorch that warn about themselves.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
class TestCuda(BackendConformance):
    backend_name = "cuda"
    cannot: ClassVar = {"test_ids_outside_the_table": "the kernel stops the device, and all that follows fails"}

    # cuDNN approximates tanh and the sigmoid. Measured on an H100: values are off by up to 8e-6 of the largest one, and
    # gradients, which chain several, by up to 4e-5.
    coarser: ClassVar = {"rnn": 8, "lstm": 8, "gru": 8}

    def settings(self) -> dict[str, Any]:
        import torch

        kernels = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
        return {
            "threads": torch.get_num_threads(),
            "tf32": [kernel.fp32_precision for kernel in kernels],
            "older switches": (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32),
            "search": torch.backends.cudnn.benchmark,
            "device": torch.accelerator.current_device_index(),
        }
