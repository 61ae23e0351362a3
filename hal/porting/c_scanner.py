"""Splits the text of a C or C++ file: code without comments and strings, directives, and functions with their side."""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass, field
from typing import Literal

from hal.porting.catalogue import vocabulary

__all__ = ["Directive", "Region", "Scanned", "scan_code"]

_TOKEN = re.compile(r"//|/\*|\bR\"|\"|'")
_RAW = re.compile(r'R"([^()\\\s"]{0,16})\(')
_DIRECTIVE = re.compile(
    r"^[ \t]*#[ \t]*(if|ifdef|ifndef|elif|else|endif|include|pragma|define)\b((?:[^\n\\]|\\\n|\\)*)", re.MULTILINE
)
_BRACE = re.compile(r"[{}]")
_NOT_LINES = re.compile(r"[^\n]")


@dataclass(frozen=True)
class Directive:
    """A line of the preprocessor: its word, what follows it, and where it begins in the text."""

    word: str
    rest: str
    start: int
    line: int


@dataclass(frozen=True)
class Region:
    """The body of a function for the device, with its braces."""

    start: int
    end: int
    kernel: bool


@dataclass
class Scanned:
    """A text and its parts.

    Attributes:
        text: as it was read.
        code: of the same length, with spaces for comments and for what strings contain.
        comments: where comments begin and end.
        directives: in their order.
        regions: the functions for devices, in their order.
    """

    text: str
    code: str
    comments: list[tuple[int, int]]
    directives: list[Directive] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    _line_starts: list[int] = field(default_factory=list)
    _region_starts: list[int] = field(default_factory=list)

    def line(self, offset: int) -> int:
        """The line of an offset, from 1."""
        return bisect.bisect_right(self._line_starts, offset)

    def column(self, offset: int) -> int:
        """The column of an offset, from 1."""
        return offset - self._line_starts[self.line(offset) - 1] + 1

    def side(self, offset: int) -> Literal["device", "host"]:
        """Whether code at an offset is in a function for devices."""
        return "host" if self.region(offset) is None else "device"

    def region(self, offset: int) -> Region | None:
        """The function for devices around an offset."""
        at = bisect.bisect_right(self._region_starts, offset) - 1
        return self.regions[at] if at >= 0 and offset < self.regions[at].end else None


def scan_code(text: str) -> Scanned:
    """Split a text. Any text at all can be split; what does not end goes to the end of the text."""
    code, comments = _blanked(text)
    scanned = Scanned(text, code, comments)
    scanned._line_starts = [0, *(match.end() for match in re.finditer(r"\n", text))]
    for found in _DIRECTIVE.finditer(code):
        start = found.start(1)
        rest = found[2]
        if found[1] == "include":  # whose name may look like a string
            rest = text[found.start(2) : found.end(2)]
        scanned.directives.append(Directive(found[1], rest.replace("\\\n", " ").strip(), start, scanned.line(start)))
    scanned.regions = _regions(code)
    scanned._region_starts = [each.start for each in scanned.regions]
    return scanned


def _blanked(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text with spaces for comments and the inside of strings, and the places of the comments."""
    parts: list[str] = []
    comments: list[tuple[int, int]] = []
    at, end = 0, len(text)
    while (found := _TOKEN.search(text, at)) is not None:
        start, token = found.start(), found[0]
        keep, inner_end, stop = start, end, end
        if token == "//":
            stop = inner_end = _end_of_line(text, start)
            comments.append((start, stop))
        elif token == "/*":
            close = text.find("*/", start + 2)
            stop = inner_end = end if close < 0 else close + 2
            comments.append((start, stop))
        elif token == 'R"' and (raw := _RAW.match(text, start)) is not None:
            keep = raw.end()
            close = text.find(f'){raw[1]}"', keep)
            inner_end = end if close < 0 else close
            stop = end if close < 0 else close + len(raw[1]) + 2
        else:
            quote = token[-1]
            if quote == "'" and start and text[start - 1].isalnum():  # a separator of digits, or u'x'
                parts.append(text[at : start + 1])
                at = start + 1
                continue
            keep = start + len(token)
            inner_end, stop = _end_of_string(text, keep, quote)
        parts.append(text[at:keep])
        parts.append(_NOT_LINES.sub(" ", text[keep:inner_end]))
        parts.append(text[inner_end:stop])
        at = stop
    parts.append(text[at:])
    return "".join(parts), comments


def _end_of_line(text: str, start: int) -> int:
    """The end of a line, which goes on where its last character is a backslash."""
    while True:
        end = text.find("\n", start)
        if end < 0:
            return len(text)
        if text[end - 1] != "\\":
            return end
        start = end + 1


_END_OF_STRING = {quote: re.compile(rf"(?:[^{quote}\\\n]|\\.|\\\n)*") for quote in "\"'"}


def _end_of_string(text: str, start: int, quote: str) -> tuple[int, int]:
    """Where a string ends, without and with its closing quote; a string ends with its line."""
    match = _END_OF_STRING[quote].match(text, start)
    end = match.end() if match is not None else start
    return end, (end + 1 if text[end : end + 1] == quote else end)


def _regions(code: str) -> list[Region]:
    words = vocabulary()
    marks = re.compile(rf"\b(?:{words.kernel_mark}|{words.device_mark})\b")
    found = list(marks.finditer(code))
    if not found:
        return []
    closing: dict[int, int] = {}
    stack: list[int] = []
    for brace in _BRACE.finditer(code):
        if brace[0] == "{":
            stack.append(brace.start())
        elif stack:
            closing[stack.pop()] = brace.end()
    regions: list[Region] = []
    for mark in found:
        if regions and mark.start() < regions[-1].end:
            continue
        start = _body(code, mark.end())
        if start is not None:
            kernel = re.fullmatch(words.kernel_mark, mark[0]) is not None
            regions.append(Region(start, closing.get(start, len(code)), kernel))
    return regions


_BODY = re.compile(r"[{};()]")
_HEADER = 2000
"""Characters that the head of a function may have."""


def _body(code: str, start: int) -> int | None:
    """Where the body of the function begins that is declared from here on; None: it has none here."""
    depth = 0
    for found in _BODY.finditer(code, start, start + _HEADER):
        sign = found[0]
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth <= 0 and sign in "{};":
            return found.start() if sign == "{" else None
    return None
