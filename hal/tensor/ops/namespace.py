"""A namespace of the Array API standard, bound to a device: what the ops are added to."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

from hal.types import Array

__all__ = ["Namespace"]


class Namespace:
    """The functions of the standard; those that create arrays do so on the device."""

    fuses: ClassVar[bool] = False
    """Whether the runtime fuses elementwise ops with their neighbors, so that they cost no pass over memory."""

    CREATION: ClassVar[tuple[str, ...]] = ("arange", "asarray", "empty", "eye", "full", "linspace", "ones", "zeros")

    def __init__(self, standard: Any, device: Any = None) -> None:
        self.standard = standard
        self.device = device
        self.__name__ = f"hal.ops[{type(self).__name__}]"
        if device is not None:
            for name in self.CREATION:
                setattr(self, name, self._bound(getattr(standard, name)))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "standard":
            raise AttributeError(name)
        value = getattr(self.standard, name)
        setattr(self, name, value)
        return value

    def _bound(self, function: Callable[..., Array]) -> Callable[..., Array]:
        @functools.wraps(function)
        def create(*args: Any, **kwargs: Any) -> Array:
            if kwargs.get("device") is None:
                kwargs["device"] = self.device
            return function(*args, **kwargs)

        return create

    def _placed(self, like: Array) -> dict[str, Any]:
        """Keyword arguments with which a creation function puts an array beside ``like``."""
        return {}

    @property
    def __array_api_version__(self) -> str:
        return str(self.standard.__array_api_version__)

    def __array_namespace_info__(self) -> Any:
        return self.standard.__array_namespace_info__()
