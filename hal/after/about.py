"""What an exported file says of itself: the model, how its inputs are made, what its outputs mean, and a model card."""

from __future__ import annotations

import json
from typing import Any

from hal import __version__, nn
from hal.after.proof import Proof
from hal.after.trained import Trained
from hal.contract.text import number
from hal.data.spec import Columns

__all__ = ["about", "card", "metadata_of"]

_SCALED = "(value - mean) / scale, of each column"
_NAMES = {"classify": "Classes", "regress": "Numbers", "tags": "Tags"}
_RESIZE = "bilinear with antialiasing, without keeping the proportions"


def about(trained: Trained, precision: str, to: str) -> dict[str, Any]:
    """Everything that somebody needs to use a file without hal, as JSON can hold it."""
    facts, setup = trained.setup.data, trained.setup
    return {
        "schema_version": 1,
        "hal": __version__,
        "model": setup.workload.model,
        "keys": setup.workload.keys,
        "format": to,
        "precision": precision,
        "data": facts.source,
        "checkpoint": {"step": trained.saved.step, "epochs": len(trained.saved.epochs), "which": trained.chosen.why},
        "validation": dict(trained.saved.epochs[-1].validation) if trained.saved.epochs else {},
        "inputs": _inputs(trained),
        "outputs": _outputs(trained, to),
        "class_names": list(facts.class_names),
    }


def _inputs(trained: Trained) -> dict[str, Any]:
    """How an input is made."""
    facts, kind = trained.setup.data, trained.kind
    shape = list(trained.input_shape)
    if trained.draws:
        noise = trained.model.draw_inputs(1, 0)
        assert noise is not None
        return {"kind": "noise", "shape": list(noise.shape[1:]), "dtype": "float32", "distribution": "standard normal"}
    if kind is None:
        parts = {name: {"shape": list(s), "dtype": d} for name, (s, d) in facts.input_parts.items()}
        single = {"shape": shape, "dtype": facts.input_dtype}
        return {"kind": "own", **({"parts": parts} if parts else single)}
    found = {"kind": kind, "shape": shape, "dtype": facts.input_dtype}
    if kind == "image":
        gray = shape[2] == 1
        color = "gray, with the weights of ITU-R BT.601 for red, green and blue" if gray else "RGB"
        return {
            **found,
            "axes": "NHWC",
            "range": [0, 1],
            "color": color,
            "resize": _RESIZE,
            "orientation": "as EXIF says",
        }
    if kind in ("sequence", "vector"):
        axes = "NTC" if kind == "sequence" else "NC"
        columns = {} if facts.columns is None else _columns(facts.columns)
        return {**found, "axes": axes, "trained_range": list(facts.value_range or ()), **columns}
    if kind == "document":
        return {**found, "tokens": facts.tokens, "padding": 0}
    return {**found, "vocabulary": facts.vocabulary}


def _columns(columns: Columns) -> dict[str, Any]:
    """The columns of a table, and how a model's numbers are made of theirs."""
    names, means, scales = list(columns.names), list(columns.means), list(columns.scales)
    return {"columns": names, "means": means, "scales": scales, "scaling": _SCALED}


def _outputs(trained: Trained, to: str) -> dict[str, Any]:
    facts = trained.setup.data
    if trained.draws:
        return {"kind": "samples", "range": [0, 1]}
    if trained.writes:
        return {"kind": "logits of the next character at each place", "softmax": "over the last axis"}
    if facts.task == "tags":
        return {"kind": "logits of the tags", "sigmoid": "of each, whatever the others are"}
    if facts.task == "regress" and facts.targets is not None:
        # The programs of hal's own models scale back; weights are of the layers alone.
        if to != "safetensors" and isinstance(trained.model, nn.Classifier):
            return {"kind": "numbers", "columns": list(facts.targets.names), "scaling": "none: as the data have them"}
        return {"kind": "numbers", **_columns(facts.targets)}
    if facts.classes is not None:
        return {"kind": "logits of the classes", "softmax": "over the last axis"}
    return {"kind": "as the model gives them"}


def metadata_of(found: dict[str, Any]) -> dict[str, str]:
    """The same as texts by name, for formats that hold texts."""
    return {
        "hal.json": json.dumps(found),
        "class_names": json.dumps(found["class_names"]),
        "preprocessing": json.dumps(found["inputs"]),
    }


def card(trained: Trained, found: dict[str, Any], proof: Proof, files: list[str]) -> str:
    """A model card, in the form that model hubs read."""
    model = found["model"]
    metrics = "\n".join(f"| {name} | {number(value)} |" for name, value in found["validation"].items())
    same = "" if proof.same_top is None else f" The most probable class is the same for {proof.same_top:.2%} of them."
    measured = proof.measured_text()
    facts = trained.setup.data
    named = facts.targets.names if facts.targets is not None else found["class_names"]
    return f"""---
library_name: hal
tags: [{found["inputs"]["kind"]}]
---

# {model}

A model that was trained by hal {found["hal"]} on data={found["data"]}.
Format: {found["format"]}. Precision: {found["precision"]}. Files: {", ".join(files)}.

| metric on the validation samples | value |
| --- | --- |
{metrics}

## Inputs and outputs

Inputs: `{json.dumps(found["inputs"])}`

Outputs: `{json.dumps(found["outputs"])}`

{_NAMES[facts.task]}: {", ".join(named) or "none with names"}

## Proof

Run by {proof.runtime} on {proof.samples:,} samples ({proof.samples_of}).
Outputs differ from those of the model by up to {proof.largest_deviation:.3g}, where the largest output is
{proof.largest_output:.3g}.{same}{measured and f" {measured}"}
"""
