"""The one device: it claims every capability that costs nothing to claim, and accelerates none."""

from hal.contract.device import PRECISIONS, Capabilities, Device, Precision

__all__ = ["DEVICE"]

DEVICE = Device(
    backend="null",
    index=0,
    vendor="none",
    name="shapes only",
    arch="none",
    memory_bytes=None,
    compute_units=None,
    capabilities=Capabilities(
        precisions={name: Precision(supported=True, note="only shapes and costs are computed") for name in PRECISIONS},
        layouts=("nhwc", "nchw"),
        compile=("eager", "default", "max"),
        algorithms={"conv": ("direct", "patches"), "pool": ("window", "reshape")},
        threads=True,
        values=False,
    ),
)
