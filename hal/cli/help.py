"""Help that lists every key of a command with its default and meaning, read off the config models."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hal.config import PlanKeys, section_of
from hal.parity.config import VerifyConfig
from hal.run.config import BenchConfig, RunConfig
from hal.targets.config import CompileConfig
from hal.tuner.config import TuneConfig
from hal.workload import BUILT_IN, model_class

__all__ = ["print_help"]

_CONFIGS: dict[str, type[BaseModel]] = {
    "run": RunConfig,
    "bench": BenchConfig,
    "tune": TuneConfig,
    "compile": CompileConfig,
    "verify": VerifyConfig,
}


def print_help(command: str, usage: str) -> None:
    """Print a command's usage, its keys and the keys of the built-in models."""
    console = Console(highlight=False)
    if usage:
        sys.stdout.write(usage.rstrip() + "\n\n")
    config = _CONFIGS[command]
    console.print(_table("Keys", list(_rows(config, "", skip=("model", "versus", *PlanKeys.model_fields)))))
    console.print(_table("Keys of the plan", list(_rows(PlanKeys, ""))))
    for name in BUILT_IN:
        console.print(_table(f"Keys of model={name}", list(_rows(model_class(name).Config, "model."))))
    if "versus" in config.model_fields:
        console.print("[bold]versus.<key>[/] takes every key of the plan, for the second plan.\n")
    console.print("Example: " + _EXAMPLES[command], markup=False)


_EXAMPLES = {
    "run": "hal run model=rnn model.cell=gru data=text:book.txt epochs=10 lr=1e-3",
    "bench": "hal bench model=cnn batch=128 versus.precision=bf16 versus.layout=nhwc",
    "compile": "hal compile model=cnn target=a100-80gb precision=bf16 batch=1024",
    "verify": "hal verify model=cnn backends=cpu,auto precision=bf16",
    "tune": "hal tune model=cnn backend=cpu budget=5m space.batch=[64,128,256] objective=throughput",
}


def _table(title: str, rows: list[tuple[str, str, str]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    table.add_column("key", style="cyan", no_wrap=True)
    table.add_column("default", style="green", overflow="fold", max_width=16)
    table.add_column("meaning", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def _rows(config: type[BaseModel], prefix: str, skip: tuple[str, ...] = ()) -> Iterator[tuple[str, str, str]]:
    if config in _CONFIGS.values():
        yield "model", "", "cnn, rnn, gan, transfer, or your own: path/to/file.py:ClassName"
    for name, field in config.model_fields.items():
        if name in skip:
            continue
        section = section_of(field.annotation)
        if section is None:
            yield prefix + name, _default(field.get_default(call_default_factory=True)), field.description or ""
            continue
        given = field.get_default(call_default_factory=True)
        for inner, inner_field in section.model_fields.items():
            key = f"{prefix}{name}" if inner == "name" else f"{prefix}{name}.{inner}"
            value = getattr(given, inner) if given is not None else inner_field.default
            yield key, _default(value), inner_field.description or ""


def _default(value: Any) -> str:
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, tuple):
        return "[" + ",".join(str(v) for v in value) + "]"
    return str(value) if not get_args(value) else ""
