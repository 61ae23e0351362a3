"""What ``hal predict`` prints: a line an input as soon as it is predicted, and on stderr what was used."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeRemainingColumn

from hal.after.config import PredictConfig
from hal.after.inputs import FoundInputs, files_of
from hal.after.predicting import Outcome, predict_inputs, write_samples
from hal.after.predictions import Prediction
from hal.after.trained import Trained, load
from hal.cli.styled import PlainColumn, console, escaped, note
from hal.cli.terminal import print_json, visible, write
from hal.contract.text import counted, number, seconds_text
from hal.data.files import read_bytes
from hal.data.texts import decoded
from hal.errors import ConfigError
from hal.util.files import check_new, new_folder, write_text
from hal.util.paths import user_path
from hal.workload import short_name

__all__ = ["show_predictions"]

_NAME_WIDTH = 50
"""Columns for the name of an input; a longer one is written whole and moves what is behind it."""

_KEYS_OF = {
    "samples": ("samples", "seed"),
    "text": ("length", "temperature", "seed"),
    "classes": ("top", "column", "format"),
}
"""Keys that mean something for one kind of model alone."""

_DOES = {"samples": "make samples", "text": "write text", "classes": "take inputs"}
_DOES_SO = {"samples": "makes samples", "text": "writes text", "classes": "takes inputs"}

_VALUES_SHOWN = 8
_BETWEEN_TAGS = ";"
_LONG = 1000
"""From so many inputs on, a bar on stderr shows how far the work is."""


def show_predictions(run: str, words: Sequence[str], config: PredictConfig, *, as_json: bool) -> int:
    """Predict and print; returns the exit status: 1 where an input could not be read."""
    out = None if config.out is None else user_path(config.out)
    if out is not None:
        check_new(out)
    trained = load(run, **config.where())
    note(trained.describe())
    _require_own_keys(trained, config)
    if trained.draws:
        return _samples(trained, words, config, out, as_json=as_json)
    if trained.writes:
        return _text(trained, words, config, out, as_json=as_json)
    if config.text is not None and trained.kind != "document":
        raise ConfigError(
            f"text= is for models of texts, but model={trained.setup.workload.model} takes "
            f"{trained.kind or 'its own'} data",
            fix="leave text= out, and give files",
        )
    if not words and config.text is None:
        raise ConfigError("no input was given", fix="add files, folders, patterns, or - for stdin")
    found = files_of(words, trained, config.column)
    for line in found.notes:
        note(line)
    if config.text is not None:
        from hal.after.parts import TextPart

        found = FoundInputs((*found.parts, TextPart(["text"], [lambda: config.text or ""])), found.notes)
    return _classes(trained, found, config, out, as_json=as_json)


def _require_own_keys(trained: Trained, config: PredictConfig) -> None:
    """Refuse keys that mean nothing for what this model gives."""
    gives = "samples" if trained.draws else "text" if trained.writes else "classes"
    for key in sorted(config.model_fields_set):
        of = [kind for kind, keys in _KEYS_OF.items() if key in keys]
        if of and gives not in of:
            raise ConfigError(
                f"{key}= is for models that {' or '.join(_DOES[kind] for kind in of)}, but "
                f"model={trained.setup.workload.model} {_DOES_SO[gives]}",
                fix=f"leave {key}= out",
            )


def _samples(trained: Trained, words: Sequence[str], config: PredictConfig, out: Path | None, *, as_json: bool) -> int:
    _refuse(trained, words, config, "makes samples from noise and takes no inputs", "samples=16 seed=0")
    folder = out or new_folder("samples", short_name(trained.setup.workload.model))
    paths = write_samples(trained, config.samples, config.seed, folder)
    if as_json:
        print_json({**_about(trained), "seed": config.seed, "files": [str(path) for path in paths]})
    else:
        write(f"{visible(folder)}: {counted(config.samples, 'sample')}, all of them in {paths[0].name}\n")
    return 0


def _refuse(trained: Trained, words: Sequence[str], config: PredictConfig, why: str, example: str) -> None:
    if words or config.text is not None:
        raise ConfigError(f"model={trained.setup.workload.model} {why}", fix=f"leave the inputs out: {example}")


def _text(trained: Trained, words: Sequence[str], config: PredictConfig, out: Path | None, *, as_json: bool) -> int:
    """Continue each prompt; on a terminal the characters appear as they are drawn."""
    prompts = [("text", config.text)] if config.text is not None else []
    for word in words:
        content = sys.stdin.buffer.read() if word == "-" else read_bytes(user_path(word))
        prompts.append((word, decoded(word, content)))
    if not prompts:
        raise ConfigError(
            "there is nothing to continue", fix="give the beginning of a text: text='The ', a file, or - for stdin"
        )
    written = []
    for name, prompt in prompts:
        direct = not as_json and out is None
        if direct:
            write(visible(prompt, lines=True))
        characters = []
        for each in trained.write(prompt or "", config.length, config.temperature, config.seed):
            characters.append(each)
            if direct:
                write(visible(each, lines=True))
        if direct:
            write("\n")
        written.append({"input": name, "prompt": prompt, "text": "".join(characters)})
    if as_json:
        print_json({**_about(trained), "seed": config.seed, "temperature": config.temperature, "texts": written})
    if out is not None:
        write_text(out, "".join(f"{each['prompt']}{each['text']}\n" for each in written))
        note(f"written to {out}")
    return 0


def _classes(trained: Trained, found: FoundInputs, config: PredictConfig, out: Path | None, *, as_json: bool) -> int:
    """One line for each input, in the form that was asked for."""
    kept: list[Prediction] = []
    content = io.StringIO()
    put: Callable[[str], object] = content.write if out is not None else write
    form = _FORMS[config.format](put, found, config.top)
    bar = _Bar(found.count, shown=out is not None or as_json or not sys.stdout.isatty())

    def tell(some: list[Prediction]) -> None:
        bar.advance(len(some))
        if as_json:
            kept.extend(some)
        if out is not None or not as_json:
            form.rows(some)
        for each in some:
            if each.error:
                said = each.error if each.input in each.error else f"{each.input}: {each.error}"
                bar.stop()
                console(to_stderr=True).print(f"[bold red]error:[/] {escaped(said)}", soft_wrap=True)

    try:
        outcome = predict_inputs(trained, found, config.top, tell)
    finally:
        bar.stop()
    if as_json:
        _print_all(trained, kept, outcome)
    if out is not None:
        write_text(out, content.getvalue())
        note(f"written to {out}")
    note(_summary(outcome))
    return 1 if outcome.failed else 0


def _print_all(trained: Trained, kept: Sequence[Prediction], outcome: Outcome) -> None:
    print_json(
        {
            **_about(trained),
            "class_names": list(trained.class_names),
            "predictions": [each.as_json() for each in kept if not each.error],
            "failed": [each.as_json() for each in kept if each.error],
            "seconds": outcome.seconds,
            "reading_seconds": outcome.reading_seconds,
        }
    )


def _about(trained: Trained) -> dict[str, Any]:
    return {
        "run": trained.run,
        "checkpoint": str(trained.chosen.checkpoint.path),
        "model": trained.setup.workload.model,
        "device": str(trained.job.device),
    }


def _summary(outcome: Outcome) -> str:
    total = outcome.done + outcome.failed
    rate = f", {number(outcome.done / outcome.seconds)} inputs/s" if outcome.seconds and outcome.done else ""
    lost = f"; {counted(outcome.failed, 'input')} could not be read" if outcome.failed else ""
    reading = f"; reading took {seconds_text(outcome.reading_seconds)}, partly at the same time"
    return f"{counted(total, 'input')} in {seconds_text(outcome.seconds)}{rate}{reading if total > 1 else ''}{lost}"


class _Bar:
    """How far long work is, on stderr where that is a terminal and the predictions go elsewhere."""

    def __init__(self, total: int | None, *, shown: bool) -> None:
        where = console(to_stderr=True)
        self._progress: Progress | None = None
        self._task = TaskID(0)
        if shown and where.is_terminal and (total is None or total >= _LONG):
            self._progress = Progress(
                PlainColumn("inputs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=where
            )
            self._task = self._progress.add_task("inputs", total=total)
            self._progress.start()

    def advance(self, count: int) -> None:
        if self._progress is not None:
            self._progress.advance(self._task, count)

    def stop(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class _Table:
    """Aligned columns for people."""

    def __init__(self, put: Callable[[str], object], found: FoundInputs, top: int) -> None:
        self._put, self._width = put, 0

    def rows(self, some: Sequence[Prediction]) -> None:
        lines = []
        for each in some:
            if not each.error:
                name = visible(each.input)
                self._width = max(self._width, min(len(name), _NAME_WIDTH))
                lines.append(f"{name:<{self._width}}  {_cells(each)}\n")
        if lines:
            self._put("".join(lines))


def _cells(each: Prediction) -> str:
    if each.top:
        scores = "  ".join(f"{visible(score.label)} {score.probability:.4f}" for score in each.top)
        if each.tags is None:
            return scores
        return f"{', '.join(map(visible, each.tags)) or 'no tags'}  ({scores})"
    values = each.values if isinstance(each.values, list) else [each.values]
    flat = values if not any(isinstance(value, list) for value in values) else []
    if not flat:
        return f"an array of {len(values)} rows; format=jsonl shows its values"
    more = f" ... ({len(flat)} values)" if len(flat) > _VALUES_SHOWN else ""
    if each.names:
        named = zip(each.names, map(number, flat[:_VALUES_SHOWN]), strict=False)
        return "  ".join(f"{visible(name)} {value}" for name, value in named) + more
    return " ".join(number(value) for value in flat[:_VALUES_SHOWN]) + more


class _Csv:
    """Comma-separated values as RFC 4180 has them: the classes with their probabilities, or the values."""

    def __init__(self, put: Callable[[str], object], found: FoundInputs, top: int) -> None:
        self._put, self._top, self._begun = put, top, False

    def rows(self, some: Sequence[Prediction]) -> None:
        text = io.StringIO()
        lines = csv.writer(text)
        for each in some:
            if each.error:
                continue
            cells: list[Any] = []
            head = ["input"]
            if each.tags is not None:
                head.append("tags")
                cells.append(_BETWEEN_TAGS.join(each.tags))
            if each.top:
                for at, score in enumerate(each.top, 1):
                    head += ["label", "probability"] if at == 1 else [f"label_{at}", f"probability_{at}"]
                    cells += [score.label, f"{score.probability:.6g}"]
            else:
                values = each.values if isinstance(each.values, list) else [each.values]
                head += each.names or [f"value_{at}" for at in range(1, len(values) + 1)]
                cells = [json.dumps(value) for value in values]
            if not self._begun:
                lines.writerow(head)
                self._begun = True
            lines.writerow([each.input, *cells])
        if text.tell():
            self._put(text.getvalue())


class _JsonLines:
    """A JSON object a line; inputs that could not be read have ``error``."""

    def __init__(self, put: Callable[[str], object], found: FoundInputs, top: int) -> None:
        self._put = put

    def rows(self, some: Sequence[Prediction]) -> None:
        if some:
            self._put("".join(json.dumps(each.as_json()) + "\n" for each in some))


_FORMS: dict[str, type[_Table] | type[_Csv] | type[_JsonLines]] = {"table": _Table, "csv": _Csv, "jsonl": _JsonLines}
