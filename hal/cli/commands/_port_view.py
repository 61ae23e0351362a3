"""What ``hal port`` prints: the verdict, the rules worst first, what is fine, the next step."""

from __future__ import annotations

import textwrap
from itertools import groupby
from typing import Any

from rich.console import Console

from hal.cli.styled import console, escaped
from hal.cli.terminal import print_json
from hal.contract.text import counted
from hal.errors import ConfigError
from hal.porting.catalogue import checked, groups, rules, select, target, vocabulary
from hal.porting.findings import Conversion, Finding, Place, Report
from hal.porting.reports import place_text
from hal.porting.request import Answer
from hal.porting.rule import SEVERITIES, Rule, Severity

__all__ = ["show_report", "show_rules"]

_PLACES = 5
_WIDTH = 90
_LISTED = 8
_STYLES: dict[Severity, str] = {"blocks": "bold red", "wrong results": "red", "slow": "yellow", "cosmetic": "dim"}
_MEANS: dict[Severity, str] = {
    "blocks": "blocks",
    "wrong results": "can give wrong results",
    "slow": "makes it slow",
    "cosmetic": "has no effect, or only a warning",
}


def show_report(answer: Answer, *, to_stderr: bool) -> None:
    """Print a report for people."""
    report, out = answer.report, console(to_stderr=to_stderr)
    style = "bold green" if report.verdict.runs and report.files else "bold red"
    out.print(f"[{style}]{escaped(report.verdict.sentence)}[/]", soft_wrap=True)
    out.print(f"[dim]{escaped(_asked(report))}[/]", soft_wrap=True)
    for rule_id, held in groupby(report.findings, key=lambda each: each.rule):
        _rule(out, rules()[rule_id], list(held))
    if answer.changed:
        _listed(out, f"Changed {counted(len(answer.changed), 'file')}:", answer.changed)
    if answer.refused:
        _listed(out, "Left alone, and to be changed by hand:", [f"{path}: {why}" for path, why in answer.refused])
    if report.conversion is not None:
        _conversion(out, report.conversion)
    if report.fine:
        _listed(out, "What is fine, and need not be touched:", report.fine)
    if report.already:
        which = f"{counted(len(report.already), 'file')} written for {target(report.target).title} already:"
        _listed(out, which, report.already)
    if report.elsewhere:
        which = f"{counted(len(report.elsewhere), 'file')} for other devices, or with a counterpart, left alone:"
        _listed(out, which, report.elsewhere)
    if report.unread:
        _listed(out, "What was not read:", [f"{each.path}: {each.reason}" for each in report.unread])
    if report.unused_ignores:
        _listed(out, "Comments that silence nothing, and can go:", report.unused_ignores)
    _footer(out, report)


def _asked(report: Report) -> str:
    goal = target(report.target)
    words = [f"{report.path}: from {vocabulary().origin_titles[report.origin]} to {goal.title}"]
    if report.release is not None:
        words.append(f"release {report.release}")
    if report.architecture is not None:
        words.append(f"architecture {report.architecture}")
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.files.items())
    return f"{', '.join(words)}. Read {counted(sum(report.files.values()), 'file')}{f' ({kinds})' if kinds else ''}."


def _rule(out: Console, rule: Rule, held: list[Finding]) -> None:
    style = _STYLES[rule.severity]
    doubt = ", unverified" if rule.confidence == "unverified" else ""
    fixes = {each.fixable for each in held}
    how = " (hal port --fix changes it)" if fixes == {"safe"} else ""
    how = how or (" (--diff --suggestions shows a change)" if "by hand" not in fixes else "")
    out.print()
    out.print(f"[{style}]{rule.id}  {_MEANS[rule.severity]}{doubt}[/]")
    out.print(f"  [bold]{escaped(rule.statement)}[/]", soft_wrap=True)
    places = [(found, place) for found in held for place in found.places]
    for found, place in places[:_PLACES]:
        out.print(f"    {escaped(place_text(found, place))}   [dim]{escaped(_around(place))}[/]", soft_wrap=True)
    if len(places) > _PLACES:
        more = len(places) - _PLACES
        out.print(f"    [dim]and {counted(more, 'more place')} in {counted(len(held), 'file')} (--json lists all)[/]")
    _said(out, "  why:    ", rule.why)
    _said(out, "  fix:    ", rule.fix + how)
    if rule.sources:
        out.print(f"  source: {escaped(rule.sources[0])}", soft_wrap=True)


def _said(out: Console, head: str, text: str) -> None:
    """Print a text after its head, with all its lines below each other."""
    width = max(40, min(out.width, 110) - len(head))
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    for at, line in enumerate(lines or [""]):
        out.print(f"{head if at == 0 else ' ' * len(head)}{escaped(line)}", soft_wrap=True)


def _around(place: Place) -> str:
    """The text of a line near its place."""
    start = max(0, place.text.find(place.what) - 40) if place.what and len(place.text) > _WIDTH else 0
    cut = place.text[start : start + _WIDTH]
    return f"{'...' if start else ''}{cut}{'...' if len(place.text) > start + _WIDTH else ''}"


def _listed(out: Console, title: str, lines: Any) -> None:
    out.print()
    out.print(f"[bold]{escaped(title)}[/]")
    for line in lines[:_LISTED]:
        out.print(f"  {escaped(line)}", soft_wrap=True)
    if len(lines) > _LISTED:
        out.print(f"  [dim]and {len(lines) - _LISTED} more (--json lists all)[/]")


def _conversion(out: Console, done: Conversion) -> None:
    total = len(done.converted) + len(done.unchanged) + len(done.failed)
    if total == 0:
        _listed(out, "Conversion: there are no C++ sources, so nothing was written.", ())
        return
    title = f"Conversion: {len(done.converted)} of {counted(total, 'file')} changed, all written to {done.out}"
    lines = [f"{name} stayed as it was at {where}" for name, where in done.left]
    lines += [f"{old} became {new}, which does not exist" for new, old in done.invented]
    lines += [f"{path} was given up by the converter" for path in done.failed]
    _listed(out, title, lines or ["Nothing was left unconverted, as far as names show."])


def _footer(out: Console, report: Report) -> None:
    out.print()
    notes = []
    if report.hidden:
        notes.append(f"{counted(report.hidden, 'place')} of the baseline not shown.")
    if report.ignored:
        notes.append(f"{counted(report.ignored, 'place')} silenced by comments.")
    if report.files.get("notebook"):
        notes.append("Of notebooks, the code was read and the outputs were not.")
    if report.folders:
        notes.append(f"{counted(len(report.folders), 'folder')} not entered, such as {report.folders[0]}.")
    for note in notes:
        out.print(f"[dim]{escaped(note)}[/]")
    safe = sum(each.fixable == "safe" for each in report.findings)
    if safe:
        out.print(f"hal port {escaped(report.path)} --fix makes the safe changes ({counted(safe, 'finding')}).")
    out.print("Most of a port shows only on the device. There, run:")
    for step in report.next_steps:
        out.print(f"  {escaped(step)}", soft_wrap=True)


def show_rules(named: str | None, *, as_json: bool) -> None:
    """Print rules: those that a word names in full, or a list of all.

    Raises:
        ConfigError: the word names no rule.
    """
    chosen = [rules()[each] for each in (select(named.split(",")) if named else rules())]
    if not chosen:
        raise ConfigError("no rule is named", fix="hal port --rules lists all rules")
    if as_json:
        print_json([each.model_dump(mode="json") for each in chosen])
        return
    out = console()
    if named and len(chosen) <= _LISTED:
        for rule in chosen:
            _in_full(out, rule)
        return
    for group in groups():
        held = [rule for rule in group.rules if rule in chosen]
        if held:
            out.print(f"\n[bold]{escaped(group.title)}[/]")
        for rule in held:
            out.print(f"  {rule.id}  {rule.severity:13}  {escaped(rule.statement)}", soft_wrap=True)


def _in_full(out: Console, rule: Rule) -> None:
    out.print(f"[bold]{rule.id} {rule.name}: {escaped(rule.statement)}[/]")
    out.print(f"  severity: {rule.severity} (one of {', '.join(SEVERITIES)}); confidence: {rule.confidence}")
    out.print(f"  to:       {', '.join(target(each).title for each in rule.targets)}")
    if rule.since or rule.until or rule.architectures:
        limits = [f"from release {rule.since}" if rule.since else "", f"before {rule.until}" if rule.until else ""]
        limits.append(f"on {', '.join(rule.architectures)}" if rule.architectures else "")
        out.print(f"  holds:    {', '.join(each for each in limits if each)}")
    _said(out, "  why:      ", rule.why)
    _said(out, "  fix:      ", rule.fix)
    for url in rule.sources:
        day = checked()[url]
        out.print(
            f"  source:   {escaped(url)} ({f'compared on {day}' if day else 'not compared by us'})", soft_wrap=True
        )
    for title, examples in (("is found", rule.flag), ("is left alone", rule.passes)):
        for example in examples:
            out.print(f"  {title} in {example.file}:")
            out.print(textwrap.indent(escaped(example.text.rstrip(), lines=True), "      "), soft_wrap=True)
    out.print()
