"""Intel GPUs, through an XPU build of PyTorch."""

from hal.backends.xpu.backend import XpuBackend

__all__ = ["XpuBackend"]
