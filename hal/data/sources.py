"""The sources that a user can name, and how a name becomes data sets."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hal.data.digits import open_digits
from hal.data.docstrings import open_docstrings
from hal.data.folder import open_images
from hal.data.hints import source_for
from hal.data.hub import open_hub
from hal.data.idx import open_mnist
from hal.data.npz import open_npz
from hal.data.parquet import open_parquet
from hal.data.spec import Kind, Split, Wanted
from hal.data.synthetic import open_synthetic
from hal.data.table import open_csv
from hal.data.text import open_text, open_topics
from hal.data.texts import open_texts
from hal.data.user_source import is_user_source, open_function
from hal.errors import ConfigError

__all__ = ["SOURCES", "Source", "load"]


@dataclass(frozen=True)
class Source:
    """A source of data.

    Attributes:
        usage: how a user writes it; brackets mark what may be left out.
        kinds: what it can give.
        help: what it gives, in one line for people.
        open: ``open(source, argument, wanted, share, seed)``, with what follows the colon as the argument, and with the
            options that were given.
        options: keys of the data that only this source knows.
    """

    usage: str
    kinds: tuple[Kind, ...]
    help: str
    open: Callable[..., Split]
    options: tuple[str, ...] = ()


_OF_TABLES = ("label", "features", "task", "skip_bad")

SOURCES: dict[str, Source] = {
    "csv": Source(
        "csv:FILE",
        ("vector", "sequence", "document"),
        "columns of numbers, or of texts and their classes, in a file",
        open_csv,
        ("text", *_OF_TABLES),
    ),
    "digits": Source(
        "digits",
        ("image", "sequence", "vector"),
        "1797 handwritten digits of 8 by 8 pixels, from scikit-learn",
        open_digits,
    ),
    "docstrings": Source(
        "docstrings",
        ("document",),
        "the documentation in Python's standard library, by module",
        open_docstrings,
    ),
    "hf": Source(
        "hf:NAME_OR_DIR",
        ("image", "vector", "sequence", "document"),
        "a data set of the package datasets that is on this machine",
        open_hub,
        ("text", *_OF_TABLES),
    ),
    "images": Source(
        "images:DIR", ("image", "sequence"), "images in one folder for each class", open_images, ("skip_bad",)
    ),
    "mnist": Source(
        "mnist:DIR", ("image", "sequence"), "MNIST or another data set in IDX files, compressed or not", open_mnist
    ),
    "npz": Source(
        "npz:FILE",
        ("image", "sequence", "vector"),
        "NumPy arrays named x and y, or x_train, y_train, x_test and y_test",
        open_npz,
        ("task",),
    ),
    "parquet": Source("parquet:FILE", ("vector", "sequence"), "columns of numbers in a file", open_parquet, _OF_TABLES),
    "synthetic": Source(
        "synthetic[:N]",
        ("image", "sequence", "vector", "text", "document"),
        "N random samples",
        open_synthetic,
    ),
    "text": Source("text:FILE", ("text",), "the characters of a file in UTF-8", open_text),
    "texts": Source("texts:DIR", ("document",), "text files in one folder for each class", open_texts),
    "topics": Source("topics", ("text",), "the characters of the manual that comes with Python", open_topics),
}


def load(
    source: str,
    wanted: Wanted,
    *,
    validation: float = 0.2,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Split:
    """Data sets by the name of their source.

    Args:
        source: one of :data:`SOURCES` as its usage says, for example ``digits`` or ``images:~/pictures``.
        wanted: what the model asks for; the data are converted to it.
        validation: the share to validate with, in (0, 1), where the source does not say which samples those are.
        seed: decides which samples those are, and what ``synthetic`` is made of.
        options: values of keys that only some sources know, such as ``text`` of ``csv``.

    Raises:
        ConfigError: no such source, one that cannot give what is wanted, or a share or seed out of range.
        NotFoundError: a file or folder is not there or cannot be read.
        DataError: the data are damaged, or too few for a split.

    >>> split = load("digits", Wanted("image", (8, 8, 1)))
    >>> len(split.train), len(split.validation), split.train.classes
    (1438, 359, 10)
    """
    name, colon, argument = source.partition(":")
    listed = f"use one of: {', '.join(entry.usage for entry in SOURCES.values())}, FILE.py:function"
    if name not in SOURCES and is_user_source(source):
        return _from_function(source, wanted, validation, seed, dict(options or {}))
    if name not in SOURCES:
        if (meant := source_for(source)) is not None:
            raise ConfigError(f"data={source} names a path, but not how to read it", fix=f"write data={meant}")
        near = difflib.get_close_matches(name, SOURCES, n=1)
        raise ConfigError(
            f"data={source} is not a known source" + (f"; did you mean {near[0]}?" if near else ""), fix=listed
        )
    entry = SOURCES[name]
    takes, needs = ":" in entry.usage, entry.usage.endswith((":DIR", ":FILE", ":NAME_OR_DIR"))
    if (colon and not takes) or (needs and not argument):
        problem = "needs a path after a colon" if needs else "takes no argument after a colon"
        raise ConfigError(f"data={source}: {name} {problem}", fix=f"write data={entry.usage}")
    given = dict(options or {})
    if unknown := sorted(set(given) - set(entry.options)):
        able = ", ".join(other.usage for other in SOURCES.values() if unknown[0] in other.options)
        raise ConfigError(
            f"data.{unknown[0]}= does not apply to data={source}",
            fix=f"leave it out, or use a source that has it: {able}",
        )
    if wanted.kind not in entry.kinds:
        able = ", ".join(other.usage for other in SOURCES.values() if wanted.kind in other.kinds)
        keys = next((wanted.instead[kind] for kind in entry.kinds if kind in wanted.instead), None)
        raise ConfigError(
            f"data={source} gives {' or '.join(entry.kinds)} data, but the model takes {wanted.kind} data",
            fix=f"use {wanted.kind} data: {able}" + (f"; or add {keys}" if keys else ""),
        )
    _check_numbers(validation, seed)
    return entry.open(source, argument, wanted, validation, seed, **given)


def _from_function(source: str, wanted: Wanted, validation: float, seed: int, given: dict[str, Any]) -> Split:
    if unknown := sorted(set(given) - {"task"}):
        raise ConfigError(
            f"data.{unknown[0]}= does not apply to data={source}", fix="leave it out, and do it in the function"
        )
    _check_numbers(validation, seed)
    return open_function(source, wanted, validation, seed, **given)


def _check_numbers(validation: float, seed: int) -> None:
    if not 0 < validation < 1:
        raise ConfigError(
            f"data.validation={validation} is out of range: the fraction of samples for validation must be above 0 and "
            "below 1",
            fix="write for example data.validation=0.2",
        )
    if seed < 0:
        raise ConfigError(f"seed={seed} is negative", fix="use 0 or more")
