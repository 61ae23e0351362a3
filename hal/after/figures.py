"""The figures of the page about a run."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from hal.contract.text import number
from hal.page.figures import Figure, axis, figure, scatter, text_lines
from hal.run import Epoch

__all__ = ["MOST_CELLS", "confusion", "curve", "numbers"]

MOST_CELLS = 20
"""A confusion matrix of more classes has no numbers in its cells, since there is no room for them."""

_TRAIN = {"color": "@dot", "width": 2}
_HELD = {"color": "@accent", "width": 2}


def curve(
    epochs: Sequence[Epoch], title: str, train: Sequence[float | None], held: Sequence[float | None], best: int | None
) -> Figure:
    """A number after each epoch.

    Args:
        epochs: that were measured.
        title: of the axis.
        train: over the training samples, for each epoch; empty: there is none.
        held: over the validation samples, or of the run itself.
        best: the epoch to mark; None: none.
    """
    data = []
    both = bool(train) and bool(held)
    for name, values, line in (("training", train, _TRAIN), ("validation", held, _HELD)):
        known = [(each.epoch, value) for each, value in zip(epochs, values, strict=False) if value is not None]
        texts = [f"epoch {epoch}: {number(value)}{f' ({name})' if both else ''}" for epoch, value in known]
        mode = "lines+markers" if len(known) < 30 else "lines"
        looks = {"mode": mode, "line": line, "marker": {"size": 6, "color": line["color"]}}
        data.append(scatter(name, [epoch for epoch, _ in known], [value for _, value in known], texts, **looks))
    marked = [(each.epoch, value) for each, value in zip(epochs, held, strict=False) if each.epoch == best]
    diamond = {"symbol": "diamond", "color": "@accent", "size": 13, "line": {"color": "@surface", "width": 2}}
    if marked and marked[0][1] is not None:
        text = f"epoch {best}: {number(marked[0][1])}, the best"
        data.append(scatter("best epoch", [marked[0][0]], [marked[0][1]], [text], marker=diamond))
    last = epochs[-1].epoch
    every = max(1, round(last / 8))
    ticks = {
        "tickformat": "d",
        "range": [1 - 0.04 * last, 1.04 * last],
        "dtick": every,
        "tick0": int(every == 1),
    }
    return figure(data, xaxis=axis("epoch", **ticks), yaxis=axis(title, nticks=6), showlegend=both)


def confusion(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """How many samples of each class (row) the model took for each (column); colors are shares of the row."""
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares = counts / totals
    written = len(names) <= MOST_CELLS
    texts = [
        [text_lines(f"{row_name} taken for {name}: {counts[row, at]:,}") for at, name in enumerate(names)]
        for row, row_name in enumerate(names)
    ]
    heat: Figure = {
        "type": "heatmap",
        "x": list(range(len(names))),
        "y": list(range(len(names))),
        "z": shares.tolist(),
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, "@raised"], [0.02, "@ramp0"], [0.35, "@ramp2"], [0.7, "@ramp3"], [1, "@ramp4"]],
        "showscale": False,
        "hoverinfo": "text",
        "hovertext": texts,
        "xgap": 2 if written else 0,
        "ygap": 2 if written else 0,
    }
    if written:
        heat |= {"text": [[f"{n:,}" if n else "" for n in row] for row in counts.tolist()], "texttemplate": "%{text}"}
        heat |= {"textfont": {"size": 11 if len(names) > 12 else 12}}
    step = max(1, -(-len(names) // 25))
    ticks = list(range(0, len(names), step))
    short = [html.escape(name if len(name) <= 14 else name[:13] + "…", quote=False) for name in names]
    labels: Figure = {"tickvals": ticks, "ticktext": [short[at] for at in ticks], "showgrid": False, "fixedrange": True}
    return figure(
        [heat],
        xaxis=axis("taken for", side="bottom", range=[-0.5, len(names) - 0.5], **labels),
        yaxis=axis("class", range=[len(names) - 0.5, -0.5], **labels),
    )


def numbers(wanted: np.ndarray, found: np.ndarray, name: str) -> Figure:
    """What the model says over what is right, a dot for each sample; on the line they are equal."""
    texts = [text_lines(f"{name}: {number(a)}, the model says {number(b)}") for a, b in zip(wanted, found, strict=True)]
    low, high = float(min(wanted.min(), found.min())), float(max(wanted.max(), found.max()))
    line = {"color": "@muted", "width": 1.5, "dash": "dot"}
    dots = {"size": 6, "color": "@accent", "opacity": 0.55}
    return figure(
        [
            scatter("equal", [low, high], [low, high], mode="lines", line=line),
            scatter("samples", wanted.tolist(), found.tolist(), texts, marker=dots),
        ],
        xaxis=axis("in the data"),
        yaxis=axis("by the model"),
    )
