"""Kernels in OpenCL C, generated from the graph."""

__all__: list[str] = []
