"""Accelerators and processors through JAX and XLA: TPUs, GPUs, CPUs, here or absent."""

from hal.backends.jax.backend import JaxBackend, TpuBackend

__all__ = ["JaxBackend", "TpuBackend"]
