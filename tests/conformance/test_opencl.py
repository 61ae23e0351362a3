"""The suite on the first OpenCL device that is here: a GPU's, or PoCL on the processor."""

from typing import ClassVar

from hal.testing import BackendConformance


class TestOpencl(BackendConformance):
    backend_name = "opencl"
    not_yet: ClassVar = {}
