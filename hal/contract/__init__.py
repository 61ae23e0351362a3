"""What hal and its backends agree on: devices, plans, what a backend must do and what it may.

This package holds types alone; it imports no framework.
"""

from hal.contract.availability import Available, Unavailable
from hal.contract.backend import Backend
from hal.contract.costs import CountsCosts
from hal.contract.counters import Load, MemoryUse, Telemetry
from hal.contract.device import PRECISIONS, Capabilities, Device, Precision, PrecisionName
from hal.contract.exporting import ExportedFunction, ExportsPrograms
from hal.contract.group import Group, SpreadsOver
from hal.contract.measuring import MeasuresDevices
from hal.contract.plan import Plan
from hal.contract.target import BuildsTargets

__all__ = [
    "PRECISIONS",
    "Available",
    "Backend",
    "BuildsTargets",
    "Capabilities",
    "CountsCosts",
    "Device",
    "ExportedFunction",
    "ExportsPrograms",
    "Group",
    "Load",
    "MeasuresDevices",
    "MemoryUse",
    "Plan",
    "Precision",
    "PrecisionName",
    "SpreadsOver",
    "Telemetry",
    "Unavailable",
]
