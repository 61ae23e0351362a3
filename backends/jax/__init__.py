"""JAX: what compiles programs for hardware that is not here."""

__all__: list[str] = []
