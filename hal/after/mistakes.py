"""The section about what a model gets wrong: the confusion matrix, figures for each class, the worst mistakes."""

from __future__ import annotations

import numpy as np

from hal.after import figures
from hal.after.held_out import HeldOut
from hal.contract.text import counted, number
from hal.page import Picture, Plot, Section, Table

__all__ = ["mistakes_of"]

_MOST_PAIRS = 20
_MOST_NUMBERS = 6


def mistakes_of(look: HeldOut | None, why: str) -> Section:
    """What the best model of a run says about the held-out samples.

    Args:
        look: what it says; None: that is not known.
        why: it is not known.
    """
    title = "What it gets wrong"
    if look is None:
        return Section("mistakes", title, (why,))
    if look.task == "regress":
        return _numbers(look, title)
    if look.task == "tags":
        return _tags(look, title)
    return _classes(look, title)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _f1(precision: float, recall: float) -> float:
    return _ratio(2 * precision * recall, precision + recall)


def _classes(look: HeldOut, title: str) -> Section:
    counts, names = look.confusion, look.names
    right, total = int(np.trace(counts)), int(counts.sum())
    text = (
        f"The best model (step {look.step:,}) puts {right:,} of {total:,} held-out samples into the right class. Each "
        "row of the matrix is a class, each column what its samples were taken for; colors are shares of the row."
    )
    side = min(720, 120 + 30 * max(len(names), 4)) if len(names) <= figures.MOST_CELLS else 560
    wrong = [(int(counts[a, b]), a, b) for a in range(len(names)) for b in range(len(names)) if a != b and counts[a, b]]
    wrong.sort(key=lambda each: (-each[0], each[1], each[2]))
    most = "; ".join(f"{count} times {names[a]} for {names[b]}" for count, a, b in wrong[:3]) or "none"
    plot = Plot("confusion", figures.confusion(counts, names), f"Confusion matrix. The most common: {most}.", side)
    pairs = tuple(
        (names[a], names[b], f"{count:,}", _percent(_ratio(count, counts[a].sum())))
        for count, a, b in wrong[:_MOST_PAIRS]
    )
    tables = [_each_class(look)]
    if pairs:
        columns = ("class", "taken for", "samples#", "of the class#")
        tables.append(Table("The most common mistakes", columns, pairs, folded=True))
    pictures = tuple(
        Picture(
            each.picture,
            f"held-out sample {each.index}: {each.wanted}, taken for {each.said}",
            (f"{each.wanted}, taken for {each.said}", f"{_percent(each.share or 0)} sure, sample {each.index}"),
        )
        for each in look.mistakes
        if each.picture
    )
    if look.mistakes and not pictures:
        columns = ("sample", "class", "taken for", "probability#")
        rows = tuple((str(m.index), m.wanted, m.said, _percent(m.share or 0)) for m in look.mistakes)
        tables.append(Table("The worst mistakes", columns, rows, folded=True))
    if pictures:
        text += f" Below it are {counted(len(pictures), 'mistake')}, beginning with those that the model is surest of."
    return Section("mistakes", title, (text,), (plot,), tuple(tables), pictures=pictures)


def _each_class(look: HeldOut) -> Table:
    rows = []
    for at, name in enumerate(look.names):
        hit, wanted, said = look.confusion[at, at], look.confusion[at].sum(), look.confusion[:, at].sum()
        precision, recall = _ratio(hit, said), _ratio(hit, wanted)
        cells = [_percent(precision) if said else "", _percent(recall) if wanted else ""]
        rows.append((name, f"{int(wanted):,}", *cells, number(_f1(precision, recall)) if said or wanted else ""))
    return Table(
        "Each class", ("class", "samples#", "precision#", "recall#", "F1#"), tuple(rows), folded=len(look.names) > 12
    )


def _tags(look: HeldOut, title: str) -> Section:
    rows = []
    for name, (both, found_alone, wanted_alone) in zip(look.names, look.counts, strict=True):
        precision, recall = _ratio(both, both + found_alone), _ratio(both, both + wanted_alone)
        cells = (_percent(precision), _percent(recall), number(_f1(precision, recall)))
        rows.append((name, f"{int(both + wanted_alone):,}", f"{int(both + found_alone):,}", *cells))
    columns = ("tag", "samples#", "found#", "precision#", "recall#", "F1#")
    text = f"What the best model (step {look.step:,}) finds among the held-out samples, tag by tag."
    return Section("mistakes", title, (text,), tables=(Table("Each tag", columns, tuple(rows)),))


def _numbers(look: HeldOut, title: str) -> Section:
    plots, rows = [], []
    for at, name in enumerate(look.names):
        wanted, found = look.wanted[:, at], look.found[:, at]
        errors = found - wanted
        spread = float(np.square(wanted - wanted.mean()).mean())
        r2 = number(1 - float(np.square(errors).mean()) / spread) if spread else ""
        rows.append((name, number(float(np.abs(errors).mean())), number(float(np.sqrt(np.square(errors).mean()))), r2))
        if at < _MOST_NUMBERS:
            alt = f"{name}: what the model says over what is right, {len(wanted):,} samples, R2 {r2}."
            plots.append(Plot(f"numbers-{at}", figures.numbers(wanted, found, name), alt, 420, name))
    text = f"What the best model (step {look.step:,}) says about the held-out samples, over what is right."
    columns = ("number", "mean absolute error#", "root of the mean squared error#", "R2#")
    tables = [Table("Each number", columns, tuple(rows))]
    if look.mistakes:
        worst = tuple((str(m.index), m.wanted, m.said) for m in look.mistakes)
        tables.append(Table("The worst mistakes", ("sample", "in the data#", "by the model#"), worst, folded=True))
    return Section("mistakes", title, (text,), tuple(plots), tables=tuple(tables))
