"""The MPS backend passes the suite where its hardware is."""

from typing import Any

import pytest

from hal.testing import BackendConformance


# torch.compile imports parts of PyTorch that warn about themselves.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
class TestMps(BackendConformance):
    backend_name = "mps"

    def settings(self) -> dict[str, Any]:
        import torch

        return {"threads": torch.get_num_threads(), "repeated warnings": torch.is_warn_always_enabled()}
