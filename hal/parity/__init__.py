"""Numerical parity: whether a model computes the same on another device, and which op is the first that does not."""

from hal.parity.check import Comparison, Finding, LossFinding, OpFinding
from hal.parity.deviation import Deviation, Limit, Tolerance
from hal.parity.verify import Verification, verify

__all__ = [
    "Comparison",
    "Deviation",
    "Finding",
    "Limit",
    "LossFinding",
    "OpFinding",
    "Tolerance",
    "Verification",
    "verify",
]
