"""The rules, targets and tables that come with hal, read from their files once."""

from __future__ import annotations

import datetime
import difflib
import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from hal.errors import ConfigError
from hal.porting.rule import Rule, RuleFile

__all__ = [
    "DATA",
    "Symbols",
    "Target",
    "Vocabulary",
    "checked",
    "groups",
    "rules",
    "select",
    "table",
    "target",
    "vocabulary",
]

DATA = Path(__file__).parent
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Symbols(BaseModel):
    """What is known on a target about names in conditions; names are regular expressions that match as a whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    true: tuple[str, ...] = ()
    false: tuple[str, ...] = ()
    none: tuple[str, ...] = Field(default=(), description="Names whose value is None there.")
    own: tuple[str, ...] = Field(
        default=(), description="Names whose mention shows that the author thought of the target."
    )

    def value(self, name: str) -> bool | None:
        """The truth of a name; None: unknown."""
        if self.is_none(name) or _matches(self.false, name):
            return False
        return True if _matches(self.true, name) else None

    def is_none(self, name: str) -> bool:
        """Whether a name is known to be None."""
        return _matches(self.none, name)

    def mentions(self, name: str) -> bool:
        """Whether the name shows that the author thought of the target."""
        return _matches(self.own, name)


@functools.cache
def _one(patterns: tuple[str, ...]) -> re.Pattern[str]:
    parts = (f"(?i:{each[4:]})" if each.startswith("(?i)") else f"(?:{each})" for each in patterns)
    return re.compile("|".join(parts))


@functools.lru_cache(maxsize=65536)
def _matches(patterns: tuple[str, ...], name: str) -> bool:
    return bool(patterns) and _one(patterns).fullmatch(name) is not None


class Target(BaseModel):
    """Where code is to run.

    Attributes:
        title: as people know it.
        card: with its article, as in "does it run on ...".
        origins: what code may be written for that goes there; the first one unless another is named.
        python: what is known in Python's conditions.
        preprocessor: what is known in conditions of the preprocessor.
        next_steps: commands that prove it on the device; ``{model}`` stands for a model of the project.
        fine: what looks as if it had to be changed, and need not be: an expression and a sentence.
        converts: whether PyTorch's converter of C++ sources is for it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    title: str
    card: str
    origins: tuple[str, ...]
    python: Symbols = Symbols()
    preprocessor: Symbols = Symbols()
    next_steps: tuple[str, ...]
    fine: tuple[tuple[str, str], ...] = ()
    converts: bool = False
    release: str | None = Field(None, description="What --release gives the version of; None: there is no such thing.")
    written_for: str = Field("(?!)", description="An expression for paths of files that are written for this target.")
    other_devices: str = Field("(?!)", description="An expression for paths of files for devices of another kind.")
    sibling: tuple[str, str] = Field(("(?!)", ""), description="A word in a file's name, and that of its counterpart.")


class Vocabulary(BaseModel):
    """Words that the engines need and that name vendors."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: int
    targets: dict[str, Target]
    default_target: str
    origin_titles: dict[str, str]
    source_suffixes: tuple[str, ...] = Field(description="Endings of files in C, C++ and their relatives.")
    header_suffixes: tuple[str, ...] = Field(description="Endings of files that other files include.")
    device_suffixes: tuple[str, ...] = Field(description="Endings of files that hold device code.")
    device_signs: str = Field(description="An expression that code for devices matches.")
    kernel_mark: str
    device_mark: str
    host_mark: str
    build_modules: tuple[str, ...] = Field(description="Modules that files import which build packages.")
    module_class: str = Field(description="An expression for classes that hal takes as models; its group is the name.")
    model_without_class: str = Field(description="What is run where the project has no such class.")
    converter_module: str
    converted_suffixes: tuple[str, ...]
    converter_map: str = Field(description="The module with the converter's tables of names.")
    converter_maps: str = Field(description="The name of these tables.")
    unconvertible: str = Field(description="The table of names that do not exist on the converter's target.")
    unconverted: str = Field(description="An expression for names that a conversion should have replaced.")


@functools.cache
def vocabulary() -> Vocabulary:
    """Targets and words."""
    return Vocabulary.model_validate(_yaml(DATA / "vocabulary.yaml"))


def target(name: str) -> Target:
    """A target by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    known = vocabulary().targets
    if name not in known:
        raise ConfigError(f"{name} is not a target of hal port", fix=f"the targets are {', '.join(known)}")
    return known[name]


@functools.cache
def groups() -> tuple[RuleFile, ...]:
    """The files of rules, in the order of their rules."""
    files = [RuleFile.model_validate(_yaml(path)) for path in sorted((DATA / "rules").glob("*.yaml"))]
    return tuple(sorted(files, key=lambda file: file.rules[0].id))


@functools.cache
def rules() -> dict[str, Rule]:
    """All rules by their ids."""
    return {rule.id: rule for file in groups() for rule in file.rules}


def select(ids: Iterable[str]) -> tuple[str, ...]:
    """The ids of rules that some words name: an id, the beginning of ids such as HAL3, or a rule's name.

    Raises:
        ConfigError: a word names no rule.
    """
    found: list[str] = []
    for word in ids:
        upper = word.upper()
        named = [each for each in rules() if each == upper or rules()[each].name == word.lower()]
        if not named and re.fullmatch(r"HAL\d{0,2}", upper):
            named = [each for each in rules() if each.startswith(upper)]
        if not named:
            near = difflib.get_close_matches(upper, rules(), n=1) or difflib.get_close_matches(
                word.lower(), [rule.name for rule in rules().values()], n=1
            )
            hint = f"did you mean {near[0]}? " if near else ""
            raise ConfigError(f"there is no rule {word}", fix=f"{hint}hal port --rules lists all rules")
        found += named
    return tuple(dict.fromkeys(found))


@functools.cache
def checked() -> dict[str, datetime.date | None]:
    """Each source by its address, with the day on which the statements were last compared with it; None: never."""
    return dict(_yaml(DATA / "sources.yaml"))


@functools.cache
def table(name: str) -> dict[str, str]:
    """The names of a table, each with the name that the target has instead; empty: there is none."""
    lines = (DATA / "tables" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    parts = (line.partition(" ") for line in lines if line and not line.startswith("#"))
    return {name: instead for name, _, instead in parts}


def _yaml(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
