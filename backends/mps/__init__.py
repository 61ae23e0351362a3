"""Apple GPUs, through PyTorch on macOS."""

from hal.backends.mps.backend import MpsBackend

__all__ = ["MpsBackend"]
