"""Figures in the page's style, as Plotly reads them. Colors are names in the style sheet: ``@accent``."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Figure", "axis", "error_bars", "figure", "log_axis", "row_axis", "scatter", "text_lines"]

Figure = dict[str, Any]

_LEAST_TICKS = 4
_DIGITS = ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 8))
"""Where ticks of a logarithmic axis may lie in a decade, from coarse to fine."""

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"


def scatter(name: str, x: Sequence[Any], y: Sequence[Any], texts: Sequence[str] = (), **more: Any) -> Figure:
    """A trace of points, or of lines with ``mode="lines"``; ``texts`` are shown for each under the pointer."""
    hover = {"hoverinfo": "text", "hovertext": list(texts)} if texts else {"hoverinfo": "skip"}
    same = {"type": "scatter", "mode": "markers", "cliponaxis": False}
    return {**same, "name": name, "x": list(x), "y": list(y), **hover, **more}


def error_bars(
    held: Iterable[tuple[float, tuple[float, float] | None]], marker: dict[str, Any], thickness: int
) -> Figure:
    """Error bars for values with the ends of their intervals."""
    pairs = [(value, *(ends or (value, value))) for value, ends in held]
    arrays = {
        "array": [high - value for value, _, high in pairs],
        "arrayminus": [value - low for value, low, _ in pairs],
    }
    return {"type": "data", "symmetric": False, **arrays, "color": marker["color"], "thickness": thickness, "width": 0}


def text_lines(*lines: str) -> str:
    """Short lines of text. Plotly reads tags in texts, so they are escaped."""
    short = (part for line in lines for part in textwrap.wrap(line, 48, max_lines=8, placeholder=" …"))
    return "<br>".join(html.escape(part, quote=False) for part in short)


def row_axis(names: Sequence[str]) -> Figure:
    """An axis of categories from the top down, with half a row on either side."""
    order: Figure = {"type": "category", "categoryorder": "array", "categoryarray": list(names)}
    return axis(range=[len(names) - 0.4, -0.6], dtick=1, showgrid=False, fixedrange=True, **order)


def axis(title: str = "", **more: Any) -> Figure:
    """An axis in the page's style."""
    quiet = {"size": 12, "color": "@muted"}
    heading = {"text": title, "standoff": 12, "font": quiet}
    looks = {"gridcolor": "@line", "zeroline": False, "tickfont": quiet, "automargin": True, "ticklabelstandoff": 6}
    return {"title": heading, **looks, "separatethousands": True, "exponentformat": "none", **more}


def log_axis(title: str, low: float, high: float) -> Figure:
    """A logarithmic axis whose ticks all have whole numbers, where Plotly writes the digits 2 and 5 alone.

    Args:
        title: of the axis.
        low: the lowest value, above 0.
        high: the highest value.
    """
    bottom, top = low / 1.1, high * 1.1
    decades = range(math.floor(math.log10(bottom)), math.ceil(math.log10(top)) + 1)
    for digits in _DIGITS:
        ticks = [digit * 10.0**power for power in decades for digit in digits if bottom <= digit * 10.0**power <= top]
        if len(ticks) >= _LEAST_TICKS:
            break
    texts = [f"{tick:,.0f}" if tick >= 1 else f"{tick:g}" for tick in ticks]
    return axis(title, type="log", range=[math.log10(bottom), math.log10(top)], tickvals=ticks, ticktext=texts)


def figure(data: Sequence[Figure], **layout: Any) -> Figure:
    """A figure in the page's style; traces without points are left out."""
    base = {
        "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": _FONT, "size": 13, "color": "@ink"},
        "hoverlabel": {
            "bgcolor": "@surface",
            "bordercolor": "@line",
            "align": "left",
            "font": {"family": _FONT, "color": "@ink", "size": 12},
        },
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 12, "color": "@muted"}},
        "showlegend": False,
        "hovermode": "closest",
    }
    return {"data": [each for each in data if each["x"]], "layout": {**base, **layout}}
