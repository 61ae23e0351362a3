"""A roofline picture (Williams, Waterman and Patterson, 2009): what bounds an op, by its operations per byte."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hal.page import Plot
from hal.page.figures import axis, figure

__all__ = ["Point", "Roof", "roofline"]

_LOWEST, _HIGHEST = 0.05, 4000.0


@dataclass(frozen=True)
class Roof:
    """What a device can do at most.

    Attributes:
        name: where the figures come from.
        flops: FLOP/s.
        bandwidth: bytes/s.
    """

    name: str
    flops: float
    bandwidth: float

    def at(self, intensity: float) -> float:
        """The most FLOP/s at so many FLOP per byte."""
        return min(self.flops, intensity * self.bandwidth)


@dataclass(frozen=True)
class Point:
    """Something that has an intensity: it lies under the roof, or on it where its speed was not measured."""

    name: str
    intensity: float
    flops_per_s: float | None = None


def roofline(name: str, roofs: Iterable[Roof], points: Iterable[Point], alt: str) -> Plot:
    """The picture, with both axes logarithmic."""
    roofs, points = list(roofs), list(points)
    data: list[dict[str, Any]] = []
    for index, roof in enumerate(roofs):
        knee = roof.flops / roof.bandwidth
        xs = sorted({_LOWEST, min(max(knee, _LOWEST), _HIGHEST), _HIGHEST})
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": roof.name,
                "x": xs,
                "y": [roof.at(x) / 1e12 for x in xs],
                "line": {"color": "@accent" if index == 0 else "@dot", "dash": "solid" if index == 0 else "dot"},
            }
        )
    for measured, colour in ((True, "@accent"), (False, "@muted")):
        held = [point for point in points if (point.flops_per_s is not None) is measured]
        if held and roofs:
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": "measured" if measured else "on the roof, not measured",
                    "x": [point.intensity for point in held],
                    "y": [(point.flops_per_s or roofs[0].at(point.intensity)) / 1e12 for point in held],
                    "text": [point.name for point in held],
                    "hovertemplate": "%{text}<br>%{x:.3g} FLOP/B<br>%{y:.3g} TFLOP/s<extra></extra>",
                    "marker": {"color": colour, "size": 8, "symbol": "circle" if measured else "circle-open"},
                }
            )
    across = axis("FLOP per byte", type="log", range=[math.log10(_LOWEST), math.log10(_HIGHEST)], dtick=1)
    shape = figure(data, xaxis=across, yaxis=axis("TFLOP/s", type="log", dtick=1), showlegend=True)
    return Plot(name, shape, alt, height=420)
