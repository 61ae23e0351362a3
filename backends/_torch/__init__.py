"""What the backends on PyTorch share; they differ in devices, capabilities and telemetry alone."""

from hal.backends._torch.backend import TorchBackend

__all__ = ["TorchBackend"]
