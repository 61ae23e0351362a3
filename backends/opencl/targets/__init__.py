"""Cards that are not here: what programs for them need, by the compilers of their architectures."""

__all__: list[str] = []
