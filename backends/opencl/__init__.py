"""OpenCL devices, through kernels that hal writes itself."""

from hal.backends.opencl.backend import OpenclBackend

__all__ = ["OpenclBackend"]
