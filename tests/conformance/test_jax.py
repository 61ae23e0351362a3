"""The suite on every device of JAX that is here."""

from collections.abc import Mapping
from typing import Any, ClassVar

from hal.testing import BackendConformance


class TestJax(BackendConformance):
    backend_name: ClassVar = "jax"

    def settings(self) -> Mapping[str, Any]:
        import jax

        return {"x64": jax.config.jax_enable_x64, "products": jax.config.jax_default_matmul_precision}


class TestTpu(TestJax):
    backend_name: ClassVar = "tpu"
