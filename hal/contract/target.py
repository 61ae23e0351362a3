"""What a backend does that can compile for hardware that is not here."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hal.contract.backend import Backend

if TYPE_CHECKING:
    from hal.contract.device import Device
    from hal.contract.plan import Plan
    from hal.contract.program import Program, Target

__all__ = ["BuildsTargets"]


class BuildsTargets(Backend):
    """A backend that can compile for hardware that is not here; ``hal compile`` and ``hal tune target=`` ask for it."""

    @abc.abstractmethod
    def targets(self) -> tuple[str, ...]:
        """Names of the hardware that this backend can build for; loads no framework.

        Called when a target is named that no backend knows, to list what there is.

        Example:
            >>> from hal import registry
            >>> "tpu-v5e" in registry.backend("jax").targets()
            True
        """

    @abc.abstractmethod
    def target(self, name: str) -> Target | None:
        """Hardware that is not here; None: the name is none of this backend's.

        Called on each backend in turn, with the value of the key ``target``, until one knows it.

        Raises:
            ConfigError: it is one of this backend's, but malformed.

        Example:
            >>> from hal import registry
            >>> registry.backend("jax").target("tpu-v5e:2x2").devices
            4
            >>> registry.backend("jax").target("abacus") is None
            True
        """

    @abc.abstractmethod
    def build(
        self,
        fn: Callable[..., Any],
        arguments: Sequence[Any],
        target: Device,
        plan: Plan,
        *,
        donate: tuple[int, ...] = (),
    ) -> Program:
        """Compile a pure function for hardware that is not here, over as many devices as the plan spreads over.

        Called by ``hal compile`` for each batch size that it tries, and by ``hal tune target=`` for each plan.

        Args:
            fn: as of :meth:`Backend.compile`.
            arguments: trees whose leaves are :class:`hal.contract.program.ArrayShape`,
                or values of which the type alone counts.
            target: the device of what :meth:`target` gave.
            plan: how.
            donate: positions of arguments whose memory the result may take over.

        Raises:
            DoesNotFitError: it needs more memory than a device has.
            UnavailableError: the target's compiler is not installed; says how to install it.
            UnsupportedError: the target cannot do what the function asks, with the compiler's words.
            RunError: the compiler failed, with its words.
        """
