"""What a backend implements if ``hal card`` is to learn more of its devices than the neutral API shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hal.contract.backend import Backend
from hal.contract.counters import Load
from hal.errors import UnsupportedError

if TYPE_CHECKING:
    from hal.contract.device import Device

__all__ = ["MeasuresDevices"]


class MeasuresDevices(Backend):
    """A backend that knows the peaks of its devices, or can load them or cap their power in ways of its own."""

    def limit_power(self, device: Device, watts: float) -> None:
        """Cap the power of a device.

        Called by ``hal card power_limits=``, which restores the cap that it found, also if its process is killed.

        By default this raises UnsupportedError.

        Raises:
            UnsupportedError: this backend cannot, or the process has not the rights; says which.
        """
        raise UnsupportedError(
            f"backend {self.name} cannot cap the power of {device}", fix="leave power_limits= out of the command"
        )

    def peaks(self, device: Device) -> Mapping[str, float]:
        """Peak FLOP/s by precision, and bytes/s as ``memory``, as far as they follow from units and clock here.

        Called by ``hal card`` for a device that the catalogue does not have, such as the host's processor.

        By default this is empty.
        """
        return {}

    def loads(self, device: Device) -> tuple[Load, ...]:
        """Work that the neutral API has no words for: products in 8 bits, copies of page-locked memory.

        Called by ``hal card``, which measures each as it measures its own.

        By default this is empty.
        """
        return ()
