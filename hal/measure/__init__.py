"""Numbers with their uncertainty and the environment they were taken in.

:func:`measure` times one step function, :func:`compare` several in turn on the same machine; both return frozen models
that go into a record as they are. Nothing here knows a framework: a step is a callable, and so is the wait for it.

>>> print(Estimate.of([4.1, 4.0, 4.2, 4.1, 4.0, 4.1, 4.1, 4.3], unit="ms"))
4.10 ms [4.00, 4.20] (n=8)
"""

from hal.measure._blocks import BlockTimer, warm_up
from hal.measure.comparison import Candidate, Comparison, compare, paired_ratio
from hal.measure.environment import Environment, EnvironmentWatch, on_host
from hal.measure.estimate import Estimate, Percentile, bootstrap, effective_size
from hal.measure.measurement import Latency, Measurement, Settings
from hal.measure.telemetry import HardwareUse, Sampler
from hal.measure.timing import measure

__all__ = [
    "BlockTimer",
    "Candidate",
    "Comparison",
    "Environment",
    "EnvironmentWatch",
    "Estimate",
    "HardwareUse",
    "Latency",
    "Measurement",
    "Percentile",
    "Sampler",
    "Settings",
    "bootstrap",
    "compare",
    "effective_size",
    "measure",
    "on_host",
    "paired_ratio",
    "warm_up",
]
