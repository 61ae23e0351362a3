"""Numerical parity: whether a model computes the same on another device, and which op is the first that does not."""

from hal.parity.check import DeviceComparison, Finding, LossFinding, OpFinding
from hal.parity.deviation import Deviation, Limit, PrecisionLimits
from hal.parity.verify import Verification, verify

__all__ = [
    "Deviation",
    "DeviceComparison",
    "Finding",
    "Limit",
    "LossFinding",
    "OpFinding",
    "PrecisionLimits",
    "Verification",
    "verify",
]
