"""A backend on NumPy and autograd (github.com/HIPS/autograd), outside hal's own tree.

It writes what the contract demands and takes the rest from hal's defaults: convolutions, normalisation, recurrence,
attention, losses, randomness and optimizers.
"""

from hal_toy.backend import ToyBackend

__all__ = ["ToyBackend"]
