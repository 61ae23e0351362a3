"""The report in other forms: SARIF for code review, annotations for GitHub, a page for a browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hal import __version__
from hal.porting.catalogue import rules, target
from hal.porting.findings import Finding, Place, Report
from hal.porting.rule import Severity

__all__ = ["annotations_text", "html_text", "place_text", "sarif_text"]

_LEVELS: dict[Severity, str] = {"blocks": "error", "wrong results": "error", "slow": "warning", "cosmetic": "note"}
_GITHUB = {"error": "error", "warning": "warning", "note": "notice"}


def place_text(finding: Finding, place: Place) -> str:
    """For example ``a.py:3``, or ``a.ipynb, cell 2, line 3``."""
    if place.cell is not None:
        return f"{finding.path}, cell {place.cell}, line {place.line}"
    return f"{finding.path}:{place.line}"


def _left_alone(report: Report) -> list[tuple[str, str]]:
    """Files in which nothing was looked for on purpose, each with the reason."""
    title = target(report.target).title
    written = [(path, f"it is written for {title} already") for path in report.already]
    return written + [(path, "it is for another device, or has a counterpart") for path in report.elsewhere]


def sarif_text(report: Report) -> str:
    """The findings as SARIF 2.1.0: one result for each place, and one notification for each file without results."""
    ids = sorted({found.rule for found in report.findings})
    results: list[dict[str, Any]] = []
    for found in report.findings:
        rule = rules()[found.rule]
        for place in found.places:
            location: dict[str, Any] = {"artifactLocation": _artifact(found.path)}
            where = ""
            if place.cell is None:
                location["region"] = {"startLine": place.line, "startColumn": place.column}
            else:
                where = f" (cell {place.cell}, line {place.line})"
            results.append(
                {
                    "ruleId": found.rule,
                    "ruleIndex": ids.index(found.rule),
                    "level": _LEVELS[found.severity],
                    "message": {"text": f"{rule.statement}{where} {rule.why} {rule.fix}"},
                    "locations": [{"physicalLocation": location}],
                }
            )
    notes = [(each.path, f"was not read: {each.reason}") for each in report.unread]
    notes += [(path, f"was left alone: {reason}") for path, reason in _left_alone(report)]
    driver = {
        "name": "hal port",
        "semanticVersion": __version__,
        "rules": [_sarif_rule(each) for each in ids],
    }
    run: dict[str, Any] = {
        "tool": {"driver": driver},
        "invocations": [
            {
                "executionSuccessful": True,
                "toolExecutionNotifications": [_notification(path, text) for path, text in notes],
            }
        ],
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }
    return json.dumps(document, indent=1) + "\n"


def _artifact(path: str) -> dict[str, str]:
    return {"uri": quote(path), "uriBaseId": "SRCROOT"}


def _notification(path: str, text: str) -> dict[str, Any]:
    return {
        "level": "note",
        "message": {"text": f"{path} {text}."},
        "locations": [{"physicalLocation": {"artifactLocation": _artifact(path)}}],
    }


def _sarif_rule(rule_id: str) -> dict[str, Any]:
    rule = rules()[rule_id]
    held: dict[str, Any] = {
        "id": rule.id,
        "name": "".join(part.capitalize() for part in rule.name.split("-")),
        "shortDescription": {"text": rule.statement},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.fix},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {"severity": rule.severity, "confidence": rule.confidence},
    }
    if rule.sources:
        held["helpUri"] = rule.sources[0]
    return held


def annotations_text(report: Report) -> str:
    """The findings as commands of GitHub's workflows, which show them beside the lines."""
    lines: list[str] = []
    for found in report.findings:
        rule = rules()[found.rule]
        word = _GITHUB[_LEVELS[found.severity]]
        for place in found.places:
            line = f",line={place.line},col={place.column}" if place.cell is None else ""
            title = f"{found.rule} {found.severity}"
            lines.append(
                f"::{word} file={_property(found.path)}{line},title={_property(title)}::"
                f"{_data(f'{rule.statement} {rule.fix}')}\n"
            )
    return "".join(lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def html_text(report: Report) -> str:
    """The report as one page that needs nothing but a browser."""
    from hal.page import Number, Page, Section, Table, rendered

    goal = target(report.target)
    sections: list[Section] = []
    for rule_id in dict.fromkeys(each.rule for each in report.findings):
        rule = rules()[rule_id]
        held = [each for each in report.findings if each.rule == rule_id]
        rows = tuple((place_text(found, place), place.text) for found in held for place in found.places)
        source = (f"Source: {rule.sources[0]}",) if rule.sources else ()
        texts = (f"{_TITLES[rule.severity]}. {rule.why}", f"What to do: {rule.fix}", *source)
        table = Table(f"Places of {rule_id}", ("place", "line"), rows)
        sections.append(Section(rule_id, f"{rule_id}: {rule.statement}", texts=texts, tables=(table,)))
    if report.fine:
        sections.append(Section("fine", "What is fine, and need not be touched", notes=report.fine))
    if report.unread:
        rows = tuple((each.path, each.reason) for each in report.unread)
        sections.append(Section("unread", "What was not read", tables=(Table("not read", ("file", "reason"), rows),)))
    if left := _left_alone(report):
        sections.append(
            Section("left", "What was left alone", tables=(Table("left alone", ("file", "reason"), tuple(left)),))
        )
    steps = tuple(f"Then run: {step}" for step in report.next_steps)
    sections.append(Section("next", "The next step, on the device itself", notes=steps))
    counts = report.verdict.counts
    numbers = tuple(Number(_TITLES[each], str(counts[each])) for each in _LEVELS)
    return rendered(
        Page(
            title=f"hal port: {report.path}",
            subject=f"{Path(report.path).resolve().name}, to {goal.title}",
            headline=report.verdict.sentence,
            lead="What the source shows; whether the numbers are right shows only on the device itself.",
            numbers=numbers,
            sections=tuple(sections),
            footer=f"Written by hal port, hal {__version__}.",
        )
    )


_TITLES: dict[Severity, str] = {
    "blocks": "Blocks",
    "wrong results": "Can give wrong results",
    "slow": "Makes it slow",
    "cosmetic": "Has no effect, or only a warning",
}
