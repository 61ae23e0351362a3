"""Every error that hal raises on purpose, as one tree, each with the exit status that the command line gives it.

::

    HalError                        1
    ├── RequestError                2   what was asked cannot be: fix the command
    │   ├── ConfigError                 a key or value of the configuration is wrong
    │   ├── PlanError                   a plan that contradicts itself or the workload
    │   ├── UnsupportedError            the device or backend cannot do what the plan asks
    │   ├── ShapeError                  shapes that do not fit an op or a layer
    │   │   ├── AxisError                   an axis or a position that does not exist
    │   │   ├── SizeError                   an axis of the wrong size
    │   │   └── InputError                  inputs of a shape, type or range that a trained model does not take
    │   ├── InUseError                  another process is using the folder
    │   └── NotFoundError               a file, folder or name that is not there or cannot be read
    ├── UnavailableError            3   the backend or device is not here; says which step makes it available
    ├── OutOfMemoryError            4   the device ran out of memory
    └── RunError                    1   a valid request failed while it ran
        ├── DataError                   data that is damaged or not what it claims to be
        ├── CheckpointError             a checkpoint that is damaged or of another model
        ├── UnsavedError                a result that is there, but could not be written
        ├── NumericsError               the loss is not finite any more
        └── DeviceLostError             the device stopped answering

A message says what was asked, what is allowed and what to do next. Errors of a framework are mapped by their backend
(:meth:`hal.contract.Backend.classify`) and raised ``from`` the original.
"""

from typing import ClassVar

__all__ = [
    "AxisError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DeviceLostError",
    "HalError",
    "InUseError",
    "InputError",
    "NotFoundError",
    "NumericsError",
    "OutOfMemoryError",
    "PlanError",
    "RequestError",
    "RunError",
    "ShapeError",
    "SizeError",
    "UnavailableError",
    "UnsavedError",
    "UnsupportedError",
]


class HalError(Exception):
    """Root of the tree. ``fix`` is the step that would help, shown under the message."""

    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return self.message if self.fix is None else f"{self.message}\n{self.fix}"


class RequestError(HalError):
    """What was asked cannot be; nothing was run."""

    exit_status = 2


class ConfigError(RequestError):
    """A key or value of the configuration is wrong."""


class PlanError(RequestError):
    """A plan that contradicts itself or the workload."""


class UnsupportedError(RequestError):
    """The device or backend cannot do what was asked of it."""


class ShapeError(RequestError):
    """Shapes that do not fit an op or a layer."""


class AxisError(ShapeError, IndexError):
    """An axis or a position that does not exist, which is an IndexError in the Array API standard."""


class SizeError(ShapeError, ValueError):
    """An axis of the wrong size, which is a ValueError in the Array API standard."""


class InputError(ShapeError):
    """Inputs of a shape, type or range that a trained model does not take."""


class InUseError(RequestError):
    """Another process is using the folder."""


class NotFoundError(RequestError):
    """A file, folder or name that is not there or cannot be read."""


class UnavailableError(HalError):
    """The backend or device is not here."""

    exit_status = 3


class OutOfMemoryError(HalError):
    """The device ran out of memory."""

    exit_status = 4


class RunError(HalError):
    """A valid request failed while it ran."""


class DataError(RunError):
    """Data that is damaged or not what it claims to be."""


class CheckpointError(RunError):
    """A checkpoint that is damaged, or of another model."""


class UnsavedError(RunError):
    """A result that is there, but could not be written.

    Attributes:
        result: what was found; its type is what the function that raised this returns.
    """

    def __init__(self, message: str, result: object = None, *, fix: str | None = None) -> None:
        super().__init__(message, fix=fix)
        self.result = result


class NumericsError(RunError):
    """The loss is not finite any more."""


class DeviceLostError(RunError):
    """The device stopped answering."""


def error_from_name(kind: object, message: str, fix: str | None = None) -> HalError:
    """The error that another process told by the name of its class; RunError where that is none of hal's."""
    cls = globals().get(str(kind))
    return (cls if isinstance(cls, type) and issubclass(cls, HalError) else RunError)(message, fix=fix)
