"""A device as records and reports keep it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from hal.contract.device import Device

__all__ = ["DeviceFacts"]


class DeviceFacts(BaseModel):
    """A device as a record keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: str
    index: int
    vendor: str
    name: str
    arch: str
    memory_bytes: int | None
    compute_units: int | None
    facts: dict[str, str]
    kind: str = ""

    @classmethod
    def of(cls, device: Device) -> DeviceFacts:
        """The facts of a device, without its capabilities."""
        return cls(
            backend=device.backend,
            index=device.index,
            vendor=device.vendor,
            name=device.name,
            arch=device.arch,
            memory_bytes=device.memory_bytes,
            compute_units=device.compute_units,
            facts=dict(device.facts),
            kind=device.kind,
        )

    def __str__(self) -> str:
        return ":".join([self.backend, *([self.kind] if self.kind else []), str(self.index)])
