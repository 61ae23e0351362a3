"""The suite on the first OpenCL device that is here: a graphics card's, or PoCL on the processor.

A driver takes a third of a second or more to build the kernels of one check, and the suite has more than a thousand. By
default every twelfth case is computed; with HAL_OPENCL_CASES=all in the environment, all of them are.
"""

import os
from typing import ClassVar

from hal.testing import BackendConformance
from hal.testing.case import Case

_EACH = 1 if os.environ.get("HAL_OPENCL_CASES") == "all" else 12


class TestOpencl(BackendConformance):
    backend_name = "opencl"
    cases: ClassVar[tuple[Case, ...]] = BackendConformance.cases[::_EACH]
