"""Writes docs/port/, a page for each group of the rules of ``hal port``, from the rules themselves.

Run ``python docs/generate_rules.py`` after changing a rule; a test fails until it is done.
"""

from __future__ import annotations

from pathlib import Path

from hal.porting.catalogue import checked, groups, target
from hal.porting.rule import Rule, RuleFile

FOLDER = Path(__file__).with_name("port")

_FENCES = {".py": "python", ".cu": "cpp", ".txt": "text", ".sh": "sh", ".yml": "yaml", ".yaml": "yaml"}


def pages() -> dict[str, str]:
    """The text of each page by the name of its file."""
    return {f"{group.group}.md": _page(group) for group in groups()} | {"README.md": _index()}


def _index() -> str:
    parts = [
        "# The rules of hal port\n",
        "`docs/generate_rules.py` writes these pages from `hal/porting/rules/`. "
        "[docs/port.md](../port.md) explains the command.\n",
    ]
    for group in groups():
        parts.append(f"## [{group.title}]({group.group}.md)\n\n{group.about}\n")
        rows = [
            f"| [{rule.id}]({group.group}.md#{rule.id.lower()}) | {rule.severity} | {_cell(rule.statement)} |"
            for rule in group.rules
        ]
        parts.append("\n".join(["| rule | severity | what is found |", "| --- | --- | --- |", *rows]) + "\n")
    return "\n".join(parts)


def _page(group: RuleFile) -> str:
    head = f"# {group.title}\n\n{group.about} [All rules](README.md).\n"
    return "\n".join([head, *(_rule(rule) for rule in group.rules)])


def _rule(rule: Rule) -> str:
    lines = [f"## {rule.id}", f"**{rule.statement}** ({rule.name})", rule.why, f"What to do: {rule.fix}"]
    facts = [f"Severity: {rule.severity}", f"confidence: {rule.confidence}"]
    facts.append(f"to: {', '.join(target(each).title for each in rule.targets)}")
    if rule.since is not None:
        facts.append(f"from release {rule.since}")
    if rule.until is not None:
        facts.append(f"before release {rule.until}")
    if rule.architectures:
        facts.append(f"on {', '.join(rule.architectures)}")
    lines.append("; ".join(facts) + ".")
    lines += [f"Source: <{url}> ({_day(url)})" for url in rule.sources]
    for title, examples in (("Found", rule.flag), ("Left alone", rule.passes)):
        for example in examples:
            fence = _FENCES.get(Path(example.file).suffix, "text")
            lines.append(f"{title}, in `{example.file}`:\n\n```{fence}\n{example.text.rstrip()}\n```")
    return "\n\n".join(lines) + "\n"


def _day(url: str) -> str:
    day = checked()[url]
    return "not compared by us" if day is None else f"compared on {day}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
