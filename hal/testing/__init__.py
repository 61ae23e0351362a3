"""What the author of a backend tests with: one suite that every backend passes. Needs pytest and hypothesis.

Importing this module loads no framework.
"""

from hal.testing.suite import BackendConformance
from hal.testing.tolerances import TOLERANCES, Tolerance

__all__ = ["TOLERANCES", "BackendConformance", "Tolerance"]
