"""The CPU backend passes the suite."""

from typing import Any

import pytest

from hal.testing import BackendConformance


# torch.compile imports parts of PyTorch that warn about themselves.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
class TestCpu(BackendConformance):
    backend_name = "cpu"

    def settings(self) -> dict[str, Any]:
        import torch

        return {"threads": torch.get_num_threads(), "matmul": torch.get_float32_matmul_precision()}
