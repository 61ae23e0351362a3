"""A rule as data: what is wrong in code for one vendor, why, how to mend it, and how the code is recognised."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

__all__ = [
    "SEVERITIES",
    "Argument",
    "Assigned",
    "Called",
    "Code",
    "Compared",
    "Detection",
    "Directive",
    "Example",
    "Imported",
    "Included",
    "KernelLaunchesKernel",
    "KeywordArgument",
    "Line",
    "ListedName",
    "Required",
    "Rewrite",
    "Rule",
    "RuleFile",
    "Severity",
    "StringConstant",
    "TakenApart",
    "Used",
]

Severity = Literal["blocks", "wrong results", "slow", "cosmetic"]
SEVERITIES: tuple[Severity, ...] = ("blocks", "wrong results", "slow", "cosmetic")
"""From the worst to the mildest."""


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]
Name = Annotated[str, StringConstraints(pattern=r"^(?:[A-Za-z_]|\*[.*]*\w)[\w.*]*$")]
"""A dotted name such as ``torch.device``; ``*`` stands for any characters, and never for all of them."""
Word = Annotated[str, StringConstraints(min_length=1)]
Sentence = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"(?s)^\S.*[.!?]$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Argument(_Frozen):
    """A condition on one argument of a call."""

    position: int | None = Field(None, description="Position of the argument, from 0.")
    name: str | None = Field(None, description="Name of the argument, where it is given by name.")
    matches: Pattern | None = Field(None, description="A string constant in it matches this expression as a whole.")
    above: int | None = Field(None, description="It is a whole number above this.")
    missing: bool = Field(False, description="It is not given at all.")


class Imported(_Frozen):
    """Python: a module is imported."""

    imports: tuple[Name, ...]
    needed: bool = Field(True, description="Only where the file does not handle that the module is missing.")


class Used(_Frozen):
    """Python: a name is read, called or assigned."""

    uses: tuple[Name, ...]
    assigned: Pattern | None = Field(None, description="Only where a value is assigned whose source matches this.")
    listed: bool = Field(True, description="Also in lists, tables and comparisons, which merely know the name.")


class Called(_Frozen):
    """Python: a function is called, perhaps with certain arguments."""

    calls: tuple[Name, ...]
    argument: Argument | None = None


class KeywordArgument(_Frozen):
    """Python: any call has an argument of this name with a number or a string of some kind."""

    keyword: Word
    above: int | None = None
    matches: Pattern | None = None
    where_imported: tuple[Name, ...] = ()


class Compared(_Frozen):
    """Python: a value that comes from one of these names is compared."""

    compares: tuple[Name, ...]
    against: Literal["number", "string", "none"]
    matches: Pattern | None = Field(None, description="The string matches this expression as a whole.")
    at_least: float | None = Field(
        None, description="Only where the number is this or more, counted as 8.9 for (8, 9) and 89, or may be anything."
    )
    below: float | None = Field(
        None, description="Only where it is asked whether the value is above a number below this."
    )
    enforced: bool = Field(False, description="Only where the file asserts it, or raises.")


class TakenApart(_Frozen):
    """Python: a value that may be None is used as if it never were: an attribute, an index, an argument of a parser."""

    takes_apart: tuple[Name, ...]


class Assigned(_Frozen):
    """Python: a variable whose name matches gets a value whose source matches."""

    assigns: Pattern
    value: Pattern
    words: tuple[Word, ...] = Field(min_length=1, description="The line contains one of these; found fast.")


class StringConstant(_Frozen):
    """Python: a string constant matches as a whole."""

    string: Pattern
    words: tuple[Word, ...] = Field((), description="The line contains one of these; found fast.")
    inside: tuple[Name, ...] = Field((), description="Only in the arguments of calls of these functions.")
    outside: tuple[Name, ...] = Field((), description="Not in the arguments of calls of these, which only ask.")
    where: Literal["any", "build"] = Field("any", description="build: only in files that build a package.")
    listed: bool = Field(True, description="Also in lists, sets and comparisons, which merely know the name.")
    in_try: bool = Field(False, description="Only where a failure is caught, so that something else is done then.")

    @model_validator(mode="after")
    def _found_fast(self) -> StringConstant:
        if not self.words and self.where == "any":
            raise ValueError("a string that is looked for in all files needs words by which it is found fast")
        return self


class Code(_Frozen):
    """C and C++: code, without comments and the text of strings, matches.

    Where the pattern has a group ``name``, the name must occur a second time, unless the file is a header.
    """

    code: Pattern
    words: tuple[Word, ...] = Field(min_length=1, description="The file contains one of these; found fast.")
    side: Literal["any", "device", "host"] = "any"
    raw: Pattern | None = Field(None, description="The original text from the match on matches this, too.")
    only_in: Pattern | None = Field(None, description="The file contains this, too.")


class Directive(_Frozen):
    """C and C++: the condition of a preprocessor directive, or a pragma, matches."""

    directive: Pattern
    kinds: tuple[str, ...] = ("if", "ifdef", "ifndef", "elif")
    has_else: bool | None = Field(None, description="Only where the conditions end with an #else, or do not.")
    harmless_as: dict[str, int] = Field(
        default={}, description="Silent where the condition comes out as it does with these values."
    )


class Included(_Frozen):
    """C and C++: a header is included whose name matches as a whole."""

    include: Pattern


class ListedName(_Frozen):
    """C and C++: a name that stands in a table of names."""

    table: str
    but: Pattern | None = Field(None, description="Names that another rule explains better.")


class KernelLaunchesKernel(_Frozen):
    """C and C++: a kernel launches a kernel."""

    kernel_launches_kernel: Literal[True]


class Line(_Frozen):
    """Text: a line of a file of one of these kinds matches somewhere."""

    line: Pattern
    kinds: tuple[str, ...] = Field(min_length=1)
    only_in: Pattern | None = Field(None, description="The file contains this, too.")
    not_in: Pattern | None = Field(None, description="The file does not contain this.")


class Required(_Frozen):
    """A package is required, in whatever file says so."""

    requires: tuple[Pattern, ...]
    below: str | None = Field(None, description="Only where a version below this is allowed.")
    extra: Pattern | None = Field(None, description="Only with an extra that matches.")
    pinned: bool = Field(False, description="Only where the version is fixed, or limited upwards.")


_KINDS: dict[str, type[BaseModel]] = {
    "imports": Imported,
    "uses": Used,
    "calls": Called,
    "keyword": KeywordArgument,
    "compares": Compared,
    "takes_apart": TakenApart,
    "assigns": Assigned,
    "string": StringConstant,
    "code": Code,
    "directive": Directive,
    "include": Included,
    "table": ListedName,
    "kernel_launches_kernel": KernelLaunchesKernel,
    "line": Line,
    "requires": Required,
}
"""Kinds of detections by the field that each of them has alone."""


def _kind(data: Any) -> str | None:
    if isinstance(data, dict):
        return next((key for key in _KINDS if key in data), None)
    return next((key for key, cls in _KINDS.items() if isinstance(data, cls)), None)


Detection = Annotated[
    Annotated[Imported, Tag("imports")]
    | Annotated[Used, Tag("uses")]
    | Annotated[Called, Tag("calls")]
    | Annotated[KeywordArgument, Tag("keyword")]
    | Annotated[Compared, Tag("compares")]
    | Annotated[TakenApart, Tag("takes_apart")]
    | Annotated[Assigned, Tag("assigns")]
    | Annotated[StringConstant, Tag("string")]
    | Annotated[Code, Tag("code")]
    | Annotated[Directive, Tag("directive")]
    | Annotated[Included, Tag("include")]
    | Annotated[ListedName, Tag("table")]
    | Annotated[KernelLaunchesKernel, Tag("kernel_launches_kernel")]
    | Annotated[Line, Tag("line")]
    | Annotated[Required, Tag("requires")],
    Discriminator(_kind),
]


class Rewrite(_Frozen):
    """A change of a line that a rule found.

    Attributes:
        find: what is replaced.
        replace: by what, as in :func:`re.sub`.
        safe: whether the code means the same as before on the vendor that it was written for.
        files: the ending of the names of files that this is for; empty: all.
    """

    find: Pattern
    replace: str
    safe: bool
    files: str = ""


class Example(_Frozen):
    """A file with a name and a text."""

    file: str = "a.py"
    text: str


class Rule(_Frozen):
    """One thing that keeps code from another vendor's devices."""

    id: Annotated[str, StringConstraints(pattern=r"^HAL[1-8]\d\d$")]
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    severity: Severity
    confidence: Literal["certain", "likely", "unverified"] = "likely"
    origins: tuple[str, ...] = Field(min_length=1, description="What code was written for that has this.")
    targets: tuple[str, ...] = Field(min_length=1)
    statement: Sentence
    why: Sentence
    fix: Sentence
    sources: tuple[Annotated[str, StringConstraints(pattern=r"^https://")], ...] = ()
    since: str | None = Field(None, description="First release of the target's software for which this holds.")
    until: str | None = Field(None, description="First release of the target's software for which it does not.")
    architectures: tuple[str, ...] = Field((), description="Beginnings of architectures; empty: all.")
    detect: tuple[Detection, ...] = Field(min_length=1)
    counterpart: Pattern | None = Field(
        None, description="Silent in a file that contains this: it names what the target has instead."
    )
    guarded_by_try: bool = Field(False, description="Silent where an exception is caught around the code.")
    rewrites: tuple[Rewrite, ...] = ()
    flag: tuple[Example, ...] = Field(min_length=1)
    passes: tuple[Example, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _short_examples(cls, data: Any) -> Any:
        """Examples that are mere texts: of a file named by ``file``."""
        if not isinstance(data, dict):
            return data
        rest = dict(data)
        name = rest.pop("file", "a.py")
        for key in ("flag", "passes"):
            if isinstance(rest.get(key), list):
                rest[key] = [{"file": name, "text": each} if isinstance(each, str) else each for each in rest[key]]
        return rest

    @model_validator(mode="after")
    def _supported(self) -> Rule:
        if not self.sources and self.confidence != "unverified":
            raise ValueError(f"{self.id} has no source, so its confidence is unverified")
        return self


class RuleFile(_Frozen):
    """A file of rules."""

    schema_version: Literal[1]
    group: str
    title: str
    about: Sentence
    origins: tuple[str, ...] = Field((), description="Of all rules that name none.")
    rules: tuple[Rule, ...]

    @model_validator(mode="before")
    @classmethod
    def _common_origins(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("rules"), list):
            return data
        common = {"origins": data.get("origins", ())}
        return {**data, "rules": [common | each if isinstance(each, dict) else each for each in data["rules"]]}
