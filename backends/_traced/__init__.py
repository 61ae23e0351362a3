"""What backends with array classes of their own share: data types, shapes, results of the standard's functions.

The null backend computes shapes alone, and the OpenCL backend records a graph.
"""

__all__: list[str] = []
