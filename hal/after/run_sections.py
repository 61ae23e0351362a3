"""What the page about a run says, section by section."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterator
from pathlib import Path

from hal.after import figures
from hal.after.held_out import HeldOut
from hal.after.mistakes import mistakes_of
from hal.after.words import command_of, moment
from hal.contract.text import bytes_text, counted, number, plan_line, seconds_text
from hal.page import Code, Number, Page, Picture, Plot, Section, Table
from hal.run import Epoch, Record
from hal.util.reading import read_regular

__all__ = ["page_of"]

_STATES = {
    "running": "is running",
    "done": "has finished",
    "interrupted": "was interrupted",
    "failed": "failed",
    "killed": "was killed",
}
_MOST_PICTURES = 12
_LARGEST_PICTURE_BYTES = 4 << 20


def page_of(record: Record, folder: Path, look: HeldOut | None, why: str) -> Page:
    """The page of a run.

    Args:
        record: what the run did.
        folder: where its files are.
        look: what its best model says about the held-out samples; None: that is not known.
        why: it is not known; empty: there is nothing to know.
    """
    headline, lead = _headline(record)
    made = (
        _curves(record),
        mistakes_of(look, why) if look is not None or why else None,
        _samples(record, folder),
        _pace(record),
        _use(record, folder),
        _doubts(record),
        _environment(record),
        _every_epoch(record),
    )
    return Page(
        title=f"{record.workload.model}: {headline}",
        subject=f"{record.workload.model} · training on {record.workload.data} · {record.device} {record.device.name}",
        headline=headline,
        lead=lead,
        numbers=tuple(_numbers(record)),
        sections=tuple(section for section in made if section is not None),
        footer=f"Written by hal {record.environment.hal_version} about a run that began {moment(record.started)}.",
    )


def _headline(record: Record) -> tuple[str, str]:
    """The result in a line, and the sentence under it."""
    done = counted(len(record.epochs), "epoch")
    model = f" The model has {record.parameters:,} parameters."
    state = f"The run {_STATES[record.status]} after {done} on {record.device.name}."
    if record.status == "failed" and record.error:
        state = f"The run failed after {done}: {record.error.rstrip('.')}."
    if record.stopped_early:
        state += " It stopped early, since its metric did not improve any more."
    state += model
    if record.best is None:
        return f"The run {_STATES[record.status]}", state
    high = "higher" if record.better == "max" else "lower"
    best = f"{_spaced(record.metric).capitalize()} {number(record.best)} in epoch {record.best_epoch or '?'}"
    return best, f"{state} A {high} {_spaced(record.metric)} is better."


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _numbers(record: Record) -> Iterator[Number]:
    last = record.epochs[-1] if record.epochs else None
    if record.best is not None and last is not None:
        at_end = last.validation.get(record.metric)
        details = (f"epoch {record.best_epoch}", "" if at_end is None else f"{number(at_end)} at the end")
        yield Number(f"Best {_spaced(record.metric)}", number(record.best), details)
    if last is not None and "loss" in last.validation and record.metric != "loss":
        yield Number("Validation loss", number(last.validation["loss"]), ("of the last epoch",))
    if record.epochs:
        rates = sorted(epoch.samples_per_s for epoch in record.epochs)
        spread = f"{number(rates[0])} to {number(rates[-1])} over the epochs" if len(rates) > 1 else ""
        yield Number("Throughput", f"{number(rates[len(rates) // 2])} samples/s", (spread,))
        yield Number("Training time", seconds_text(sum(epoch.seconds for epoch in record.epochs)))
    if record.samples:
        held = f"{record.samples.get('validation', 0):,} held out"
        yield Number("Training samples", f"{record.samples.get('train', 0):,}", (held,))
    if record.peak_memory_bytes is not None:
        yield Number("Peak memory", bytes_text(record.peak_memory_bytes))


def _curves(record: Record) -> Section:
    title, epochs = "How it learned", record.epochs
    if not epochs:
        return Section("curves", title, ("No epoch has been measured yet.",))
    names = list(dict.fromkeys(name for epoch in epochs for name in (*epoch.train, *epoch.validation)))
    names.sort(key=lambda name: (name != "loss", name != record.metric))
    plots = []
    for name in names:
        train = [epoch.train.get(name) for epoch in epochs]
        held = [epoch.validation.get(name) for epoch in epochs]
        best = record.best_epoch if name == record.metric else None
        only = not any(value is not None for value in held)
        figure = figures.curve(
            epochs,
            "",
            [] if not any(value is not None for value in train) else train,
            [] if only else held,
            best,
        )
        shown = [value for value in (train if only else held) if value is not None]
        alt = f"{name} of each epoch, from {number(shown[0])} to {number(shown[-1])}; the table of epochs has all."
        plots.append(Plot(f"curve-{name.replace(' ', '-')}", figure, alt, 280, _spaced(name)))
    held_out = record.samples.get("validation")
    text = "After every epoch the model was evaluated on samples that it was not trained on"
    text += f", {held_out:,} of them." if held_out else "."
    text += " Numbers of the training are means over the steps of the epoch, while the model was still changing."
    if record.best_epoch is not None:
        text += f" The diamond marks the best {_spaced(record.metric)}."
    return Section("curves", title, (text,), tuple(plots))


def _samples(record: Record, folder: Path) -> Section | None:
    """Pictures that the model drew, from the first to the last, and text that it wrote."""
    paths = [folder / Path(name).name for name in record.files if name.endswith(".png")]
    step = max(1, -(-len(paths) // _MOST_PICTURES))
    chosen = paths[step - 1 :: step]
    if paths and chosen[-1] != paths[-1]:
        chosen.append(paths[-1])
    pictures = []
    for path in chosen:
        try:
            content = read_regular(path, _LARGEST_PICTURE_BYTES)
        except OSError:
            continue  # it was removed; the others are shown
        source = "data:image/png;base64," + base64.b64encode(content).decode()
        pictures.append(Picture(source, f"pictures that the model drew: {path.stem}", (path.stem,), wide=True))
    codes = (Code("Text that the model wrote", record.text),) if record.text else ()
    if not pictures and not codes:
        return None
    text = "What the model made itself" + (", from an early epoch to the last one." if len(pictures) > 1 else ".")
    return Section("samples", "Samples", (text,), pictures=tuple(pictures), codes=codes)


def _pace(record: Record) -> Section | None:
    epochs = record.epochs
    if len(epochs) < 2:
        return None
    rates = [epoch.samples_per_s for epoch in epochs]
    alt = f"Throughput of each epoch, from {number(min(rates))} to {number(max(rates))} samples/s."
    plots = [Plot("throughput", figures.curve(epochs, "samples/s", [], rates, None), alt, 260, "Throughput")]
    lrs = [epoch.lr for epoch in epochs]
    known = [lr for lr in lrs if lr is not None]
    if known:
        alt = f"Learning rate at the end of each epoch, from {number(known[0])} to {number(known[-1])}."
        plots.append(Plot("lr", figures.curve(epochs, "", [], lrs, None), alt, 260, "Learning rate"))
    text = "Throughput is that of the training steps, with the data path and without the evaluation. "
    text += "The first epoch is often slower, since it compiles and fills caches."
    return Section("pace", "Speed and learning rate", (text,), tuple(plots))


def _use(record: Record, folder: Path) -> Section:
    more = 2 * max(len(record.epochs), 1)
    where = shlex.quote(str(folder))
    go_on = f"hal run {shlex.quote(f'resume={folder}')}" + (
        "" if record.status in ("interrupted", "killed") else f" epochs={more}"
    )
    codes = [
        Code("Use it on new inputs", f"hal predict {where} INPUTS..."),
        Code("Take it elsewhere", f"hal export {where} --to onnx"),
        Code("Train further" if record.status == "done" else "Continue", go_on),
        Code("Compare it with another run", f"hal runs {where} OTHER"),
        Code("Run it again from the start", command_of(record.config)),
    ]
    used = record.best_checkpoint or record.checkpoint
    text = "Predicting and exporting use the best checkpoint that was kept"
    text += f": {Path(used).name}." if used else "."
    return Section("use", "How to go on", (text,), codes=tuple(codes))


def _doubts(record: Record) -> Section | None:
    notes = list(record.environment.notes())
    last = record.epochs[-1] if record.epochs else None
    at_end = None if last is None else last.validation.get(record.metric)
    if record.best is not None and at_end is not None and last is not None and record.best_epoch != last.epoch:
        notes.append(
            f"{_spaced(record.metric)} was {number(at_end)} at the end and {number(record.best)} in epoch "
            f"{record.best_epoch}: later epochs did not help"
        )
    held_out = record.samples.get("validation")
    if held_out and record.metric == "accuracy" and record.best is not None:
        half = 1.96 * (record.best * (1 - record.best) / held_out) ** 0.5
        notes.append(
            f"{held_out:,} held-out samples leave an uncertainty of about {100 * half:.1f} percentage points in an "
            f"accuracy of {number(record.best)}; the best of several epochs also looks a little better than it is"
        )
    for part in record.earlier:
        notes.append(f"an earlier process began {moment(part.started)} and {_STATES[part.status]}")
    return Section("doubts", "Limits of these numbers", notes=tuple(notes)) if notes else None


def _environment(record: Record) -> Section:
    device, here = record.device, record.environment
    facts = {
        "plan": plan_line(record.plan),
        "device": f"{device} {device.name} ({device.arch}), {device.vendor}",
        "device memory": "" if device.memory_bytes is None else bytes_text(device.memory_bytes),
        **{key.replace("_", " "): str(value) for key, value in device.facts.items()},
        "processor": f"{here.cpu_model}, {here.cpu_threads} usable threads, {bytes_text(here.memory_bytes)}",
        "system": here.operating_system,
        "Python": here.python,
        "hal": here.hal_version,
        **here.versions,
        "data": record.workload.data,
        "input": "×".join(map(str, record.workload.input_shape)),
        "parameters": f"{record.parameters:,}",
        "began": moment(record.started),
        "ended": "" if record.ended is None else moment(record.ended),
        **{f"model.{key}": str(value) for key, value in record.workload.keys.items()},
    }
    table = Table("Environment", ("fact", "value"), tuple((key, value) for key, value in facts.items() if value))
    return Section("environment", "Plan, device and environment", tables=(table,))


def _every_epoch(record: Record) -> Section | None:
    if not record.epochs:
        return None
    train = list(dict.fromkeys(name for epoch in record.epochs for name in epoch.train))
    held = list(dict.fromkeys(name for epoch in record.epochs for name in epoch.validation))
    columns = ("epoch", *(f"{name}#" for name in train), *(f"validation {name}#" for name in held))

    def cells(epoch: Epoch) -> tuple[str, ...]:
        found = [epoch.train.get(name) for name in train] + [epoch.validation.get(name) for name in held]
        rate = "" if epoch.lr is None else number(epoch.lr)
        return (
            str(epoch.epoch),
            *("" if value is None else number(value) for value in found),
            rate,
            number(epoch.samples_per_s),
        )

    best = next((at for at, epoch in enumerate(record.epochs) if epoch.epoch == record.best_epoch), None)
    rows = tuple(cells(epoch) for epoch in record.epochs)
    table = Table("Every epoch", (*columns, "learning rate#", "samples/s#"), rows, best, folded=True)
    text = "The same numbers are in epochs.csv, beside record.json."
    return Section("epochs", "Every epoch", (text,), tables=(table,))
