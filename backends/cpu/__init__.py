"""The host's processor, through any build of PyTorch."""

from hal.backends.cpu.backend import CpuBackend

__all__ = ["CpuBackend"]
