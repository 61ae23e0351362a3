"""NVIDIA GPUs, through a CUDA build of PyTorch."""

from hal.backends.cuda.backend import CudaBackend

__all__ = ["CudaBackend"]
