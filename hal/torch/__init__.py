"""Modules of a user's own PyTorch on every backend: captured, and computed by hal's neutral ops.

What is here is for those who have ops of their own. The rest is loaded when a model is a ``torch.nn.Module``.
"""

from hal.torch.table.entries import translate

__all__ = ["translate"]
