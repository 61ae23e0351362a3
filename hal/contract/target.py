"""What a backend implements if it can compile for hardware that is not present."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hal.contract.availability import Available, Unavailable
from hal.contract.backend import Backend

if TYPE_CHECKING:
    from hal.contract.device import Device
    from hal.contract.plan import Plan
    from hal.contract.program import Program, Target

__all__ = ["BuildsTargets"]


class BuildsTargets(Backend):
    """A backend that can compile for hardware that is not present, as ``hal compile`` and ``hal tune target=`` do."""

    @abc.abstractmethod
    def targets(self) -> tuple[str, ...]:
        """Names of the hardware that this backend can compile for; loads no framework.

        Called when no backend knows the target that was asked for, to list all targets.

        Example:
            >>> from hal import registry
            >>> "tpu-v5e" in registry.backend("jax").targets()
            True
        """

    @abc.abstractmethod
    def target(self, name: str) -> Target | None:
        """The hardware of that name; None if this backend does not know the name.

        Called on each backend in turn, with the value of the key ``target``, until a backend knows it.

        Raises:
            ConfigError: the name belongs to this backend but is malformed.

        Example:
            >>> from hal import registry
            >>> registry.backend("jax").target("tpu-v5e:2x2").devices
            4
            >>> registry.backend("jax").target("abacus") is None
            True
        """

    def probe_targets(self) -> Available | Unavailable:
        """Whether this backend can compile for hardware that is not present; never raises.

        Called by ``hal compile`` and ``hal tune target=`` with a target of this backend, before its step is traced.

        By default as :meth:`probe`, for backends that need what runs their devices.
        """
        return self.probe()

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
        """Compile a pure function for hardware that is not present, for as many devices as the plan spreads over.

        Called by ``hal compile`` for each batch size that it tries, and by ``hal tune target=`` for each plan.

        Args:
            fn: see :meth:`Backend.compile`.
            arguments: trees whose leaves are :class:`hal.contract.program.ArrayShape`,
                or values of which only the type matters.
            target: the device of what :meth:`target` returned.
            plan: how to compile.
            donate: positions of arguments whose memory the result may take over.

        Raises:
            DoesNotFitError: it needs more memory than a device has.
            UnavailableError: the target's compiler is not installed; says how to install it.
            UnsupportedError: the target cannot do what the function asks; quotes the compiler.
            RunError: the compiler failed; quotes the compiler.
        """
