"""Evidence about devices that do not exist."""

from hal import catalogue
from hal.cards.certificate import Figure, Steady
from hal.cards.correct import Check
from hal.cards.reasons import Evidence
from hal.contract import Telemetry

H100 = catalogue.find("h100-sxm")

WELL = Telemetry(
    power_w=690.0,
    temperature_c=63.0,
    clock_mhz=1755.0,
    clock_max_mhz=1980.0,
    memory_clock_mhz=2619.0,
    memory_clock_max_mhz=2619.0,
    throttle=("power cap",),
    power_limit_w=700.0,
    power_limit_default_w=700.0,
    link_generation=5,
    link_width=16,
    link_max_generation=5,
    link_max_width=16,
    ecc=True,
    ecc_errors=0,
    busy_percent=0.0,
    others=0,
    is_slice=False,
)


def figure(name="bf16", median=780.0, group="product", **given):
    values = {
        "precision": name if group == "product" else "fp32",
        "unit": "TFLOP/s" if group == "product" else "GB/s",
        "low": 0.99 * median,
        "high": 1.01 * median,
        "sheet": 989.0 if group == "product" else 3350.0,
        "achievable": 794.5 if group == "product" else 3000.0,
    }
    return Figure(name=name, group=group, median=median, **{**values, **given})


def check(op="matmul", precision="fp32", agrees=True):
    return Check(op=op, precision=precision, worst=0.1 if agrees else 300.0, agrees=agrees)


def evidence(load=WELL, **given):
    """A healthy H100, but for what is given; ``load`` may be a dict of counters that differ."""
    if isinstance(load, dict):
        load = Telemetry(**{**vars(WELL), **load})
    values = {
        "checks": (check(), check(precision="bf16")),
        "figures": (figure(), figure("copy", 2990.0, "memory")),
        "steady": Steady(seconds=30, first=780.0, last=775.0),
        "load": load,
        "before": Telemetry(busy_percent=0.0, others=0),
        "memory_bytes": 85_029_027_840,
        "product": H100,
    }
    return Evidence(**{**values, **given})


SLOW = (figure(median=400.0), figure("copy", 2990.0, "memory"))
