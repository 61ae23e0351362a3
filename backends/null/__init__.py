"""The neutral API with shapes only: layer shapes, costs, a test double, and the skeleton that a new vendor copies.

>>> import hal
>>> from hal import registry
>>> xp = hal.device("null").xp
>>> with registry.backend("null").count() as cost:
...     y = xp.matmul(xp.empty((8, 16)), xp.empty((16, 4)))
>>> y.shape, cost.flops
((8, 4), 1024)
"""

from hal.backends.null.array import NullArray
from hal.backends.null.backend import NullBackend
from hal.backends.null.cost import Cost
from hal.backends.null.ops import NullOps

__all__ = ["Cost", "NullArray", "NullBackend", "NullOps"]
