"""AMD GPUs, through a ROCm build of PyTorch."""

from hal.backends.rocm.backend import RocmBackend

__all__ = ["RocmBackend"]
