"""The source of a program: what stands before its kernels, the helpers that they call, and the kernels."""

from __future__ import annotations

from collections.abc import Sequence

from hal.backends.opencl.codegen.expressions import helpers
from hal.backends.opencl.codegen.kernel import Facts

__all__ = ["program_source"]

# A product and a sum are rounded one after the other on every driver; only bodies of products fuse them.
_PRELUDE = """
#pragma OPENCL FP_CONTRACT OFF
#ifdef cl_khr_fp64
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif
"""
_PROCESSOR_PRELUDE = """
typedef float hal_float8 __attribute__((ext_vector_type(8), aligned(4)));
typedef float hal_float16 __attribute__((ext_vector_type(16), aligned(4)));
#ifdef cl_khr_fp64
typedef double hal_double8 __attribute__((ext_vector_type(8), aligned(8)));
typedef double hal_double16 __attribute__((ext_vector_type(16), aligned(8)));
#endif
#define HAL_VECTORIZE _Pragma("clang loop vectorize(assume_safety)")
"""
_OTHER_PRELUDE = "#define HAL_VECTORIZE\n"


def program_source(kernels: Sequence[str], facts: Facts) -> str:
    """OpenCL C of a program that holds some kernels.

    Args:
        kernels: their sources.
        facts: of the device.
    """
    prelude = _PRELUDE + (_PROCESSOR_PRELUDE if facts.cpu else _OTHER_PRELUDE)
    return prelude + helpers(kernels, cpu=facts.cpu) + "\n".join(kernels) + "\n"
