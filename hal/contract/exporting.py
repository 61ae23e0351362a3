"""What a backend implements if it can write a model to a file that other runtimes run."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hal.contract.backend import Backend

if TYPE_CHECKING:
    import numpy as np

    from hal.types import Array, Tree

__all__ = ["ExportedFunction", "ExportsPrograms"]


@dataclass(frozen=True)
class ExportedFunction:
    """A trained model as a function, and what its file is to say.

    Attributes:
        function: ``function(params, state, inputs)``; pure, with outputs (batch, ...) in fp32.
        params: nested dicts of arrays of the backend, which become part of the file.
        state: likewise.
        inputs: examples of the inputs by name, on the host, each (batch, ...) with a batch of at least 2.
        single: whether ``function`` takes the only input itself instead of a dict of inputs.
        any_batch: whether the file is to take batches of any size; else it is for that of the examples.
        metadata: texts by name that travel in the file, where the format has a place for them.
        opset: version of the format's set of operators; None: the exporter's own choice.
    """

    function: Callable[[Tree, Tree, Any], Array]
    params: Tree
    state: Tree
    inputs: Mapping[str, np.ndarray]
    single: bool
    any_batch: bool
    metadata: Mapping[str, str]
    opset: int | None = None


class ExportsPrograms(Backend):
    """A backend that can write a model to a file that other runtimes run, as ``hal export`` does."""

    export_formats: ClassVar[tuple[str, ...]]
    """The formats that this backend writes, as ``hal export --to`` names them."""

    @abc.abstractmethod
    def export_program(self, to: str, exported: ExportedFunction) -> dict[str, bytes]:
        """The files of a model in a format, by their names.

        Called by ``hal export`` within the settings of a plan.

        Args:
            to: one of :attr:`export_formats`.
            exported: the model.

        Raises:
            UnavailableError: a package that writes the format is not installed; says how to install it.
            UnsupportedError: the model cannot be written in this format; quotes the exporter.
        """

    @abc.abstractmethod
    def load_program(
        self, to: str, files: Mapping[str, bytes]
    ) -> Callable[[Mapping[str, np.ndarray]], np.ndarray] | None:
        """A function that runs what :meth:`export_program` wrote; None if another runtime is needed for that.

        Called by ``hal export`` to compare the files with the model that they were made of.

        Args:
            to: the format.
            files: the content of the files by their names.
        """
