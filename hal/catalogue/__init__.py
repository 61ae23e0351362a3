"""The catalogue: what is known of accelerators as products, each number with its sources.

It stands below the backends, because those take their peaks from it. Which device is in this machine, how fast it is
and which one to get is for :mod:`hal.cards`.

>>> round(devices()["h100-sxm"].rate("bf16") / 1e12)
989
"""

from hal.catalogue.lookup import achievable, devices, find, match, multiply_adds, served_by, sources, unknown
from hal.catalogue.model import RATES, CatalogueDevice, Figure, Rates, Serves, Source

__all__ = [
    "RATES",
    "CatalogueDevice",
    "Figure",
    "Rates",
    "Serves",
    "Source",
    "achievable",
    "devices",
    "find",
    "match",
    "multiply_adds",
    "served_by",
    "sources",
    "unknown",
]
