"""Tables of architectures: what each computes in, and the nearest known one for a card that is newer than the table.

A vendor's table is the file ``architectures.toml`` in its folder: profiles with what a generation of hardware can do,
and architectures that name their profile and add or replace entries.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

from hal.contract.device import PRECISIONS, Capabilities, Precision, PrecisionName

__all__ = ["Architecture", "load", "nearest"]


@dataclass(frozen=True)
class Architecture:
    """One row of a table.

    Attributes:
        key: how the vendor names it.
        name: the generation, for people.
        cards: products that have it.
        precisions: one entry for each of :data:`hal.contract.device.PRECISIONS`.
        layouts: physical layouts of images, the default first.
        compile: values of the plan key ``compile``, the default first.
        algorithms: values of the plan keys that choose among algorithms, the default first.
        needs: what some of those values depend on; see :class:`hal.contract.device.Capabilities`.
        fp8: the 8-bit float format of its units; empty where it has none.
        extra: entries that only one vendor's table has.
    """

    key: str
    name: str
    cards: tuple[str, ...]
    precisions: Mapping[PrecisionName, Precision]
    layouts: tuple[str, ...]
    compile: tuple[str, ...]
    algorithms: Mapping[str, tuple[str, ...]]
    needs: Mapping[str, Mapping[str, tuple[str, ...]]]
    fp8: str
    extra: Mapping[str, Any]

    def noted(self, note: str) -> Architecture:
        """The same row with a note added to every precision."""
        return replace(
            self,
            precisions={
                name: replace(entry, note="; ".join(part for part in (entry.note, note) if part))
                for name, entry in self.precisions.items()
            },
        )

    def without_kernels(self, reason: str) -> Architecture:
        """The same row where nothing can run, for the reason given."""
        return replace(self, precisions={name: Precision(False, False, reason) for name in PRECISIONS})

    def capabilities(
        self,
        *,
        threads: bool = False,
        reserves_addresses: bool = False,
        parallel: tuple[str, ...] = ("dp", "fsdp"),
        spread: int = 1,
    ) -> Capabilities:
        """What a device of this architecture can do.

        Args:
            threads: whether the plan key ``threads`` has a meaning.
            reserves_addresses: whether the runtime reserves far more addresses than it uses memory.
            parallel: kinds of parallelism that PyTorch has for devices of this type.
            spread: how many processes a plan may spread over on this machine.
        """
        return Capabilities(
            precisions=dict(self.precisions),
            layouts=self.layouts,
            compile=self.compile,
            parallel=parallel,
            spread=spread,
            algorithms=self.algorithms,
            needs=self.needs,
            threads=threads,
            reserves_addresses=reserves_addresses,
        )


@functools.cache
def load(package: str) -> Mapping[str, Architecture]:
    """The table of the package, by key, in the order of the file."""
    data = tomllib.loads(resources.files(package).joinpath("architectures.toml").read_text("utf-8"))
    return {key: _row(key, {**data["profile"][row["profile"]], **row}) for key, row in data["arch"].items()}


def nearest(key: str, table: Mapping[str, Architecture], order: Callable[[str], tuple[int, ...]]) -> Architecture:
    """The row of a key; for an unknown one the nearest lower row, or the lowest, with a note that says so.

    Args:
        key: what the driver reports.
        table: what :func:`load` returned.
        order: numbers to compare keys by.
    """
    if key in table:
        return table[key]
    lower = [known for known in table if order(known) < order(key)]
    stand_in = max(lower, key=order) if lower else min(table, key=order)
    row = replace(table[stand_in], key=key, cards=())
    return row.noted(f"{key} is not in hal's table and is treated like {stand_in}")


def _row(key: str, row: Mapping[str, Any]) -> Architecture:
    own = {"profile", "name", "cards", "precisions", "layouts", "compile", "algorithms", "needs", "fp8"}
    algorithms = {"conv": ["direct"], "pool": ["window"], **row.get("algorithms", {})}
    return Architecture(
        key=key,
        name=row["name"],
        cards=tuple(row.get("cards", ())),
        precisions={name: Precision(**row["precisions"][name]) for name in PRECISIONS},
        layouts=tuple(row["layouts"]),
        compile=tuple(row["compile"]),
        algorithms={key: tuple(values) for key, values in algorithms.items()},
        needs={
            choice: {key: tuple(values) for key, values in needs.items()}
            for choice, needs in row.get("needs", {}).items()
        },
        fp8=row.get("fp8", ""),
        extra={name: value for name, value in row.items() if name not in own},
    )
