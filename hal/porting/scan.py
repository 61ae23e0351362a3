"""Reads a project with the engines, and makes the report."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from hal.contract.text import counted
from hal.porting.baseline import Baseline
from hal.porting.c_engine import CEngine
from hal.porting.catalogue import Target, target, vocabulary
from hal.porting.config import PortConfig, chosen_rules
from hal.porting.elsewhere import Elsewhere
from hal.porting.files import SourceFile, Tree, read_tree
from hal.porting.findings import Finding, Fixable, Place, Report, Unread, Verdict
from hal.porting.ignores import ignores_in
from hal.porting.notebooks import NotebookError, code_cells
from hal.porting.places import Match, excerpt
from hal.porting.python_engine import PythonEngine, PythonSyntaxError
from hal.porting.requirements import Requirement, required_lines
from hal.porting.rule import SEVERITIES, Imported, Required, Rule, Severity
from hal.porting.text_engine import LONGEST_LINE, TextEngine

__all__ = ["Scanner", "scan"]

_FINE = 12
_WHOLE = frozenset(["python", "c", "notebook"])
"""Kinds of files that are not read line by line."""


@dataclass
class _Collected:
    """What the files gave so far."""

    findings: list[Finding] = field(default_factory=list)
    files: Counter[str] = field(default_factory=Counter)
    already: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    fine: set[str] = field(default_factory=set)
    device: list[str] = field(default_factory=list)
    ignored: int = 0
    hidden: int = 0
    model: str = ""
    unused: list[str] = field(default_factory=list)


class Scanner:
    """Looks for the chosen rules in files.

    Args:
        config: what was asked.
    """

    def __init__(self, config: PortConfig) -> None:
        self.config = config
        self.rules = {rule.id: rule for rule in chosen_rules(config)}
        self.target: Target = target(config.to)
        held = list(self.rules.values())
        self._python = PythonEngine(held, self.target.python)
        self._c = CEngine(held, self.target.preprocessor)
        self._text = TextEngine(held, self.target.preprocessor, self.target.sibling[0])
        self._written_for = re.compile(self.target.written_for)
        self.elsewhere = Elsewhere(self.target)
        self._fine = [(re.compile(pattern), sentence) for pattern, sentence in self.target.fine]
        self._module = re.compile(vocabulary().module_class, re.MULTILINE)
        self._device_signs = re.compile(vocabulary().device_signs)

    def matches(self, file: SourceFile) -> list[tuple[Match, int | None]]:
        """What is wrong in a file: places, each with the number of its cell in a notebook.

        Raises:
            PythonSyntaxError: it cannot be read as Python.
            NotebookError: it is no notebook.
        """
        if file.kind == "notebook":
            found = self._in_notebook(file)
        elif file.kind == "python":
            matches = self._python.find(file.text, file.path)
            if file.path.rpartition("/")[2] == "setup.py":
                matches += self._text.find(required_lines(file.text), "setup")
            found = [(match, None) for match in matches]
        elif file.kind == "c":
            found = [(match, None) for match in self._c.find(file.text, file.path)]
        else:
            found = [(match, None) for match in self._text.find(file.text, file.kind)]
        handled = {rule for rule in {match.rule for match, _ in found} if self._names_counterpart(rule, file.text)}
        return [(match, cell) for match, cell in found if match.rule not in handled]

    def _names_counterpart(self, rule: str, text: str) -> bool:
        """Whether a file names what the target has instead of what a rule is about."""
        counterpart = self.rules[rule].counterpart
        return counterpart is not None and re.search(counterpart, text) is not None

    def _in_notebook(self, file: SourceFile) -> list[tuple[Match, int | None]]:
        found: list[tuple[Match, int | None]] = []
        cells = code_cells(file.text)
        starts: list[int] = []
        line = 1
        for cell in cells:
            starts.append(line)
            line += cell.source.count("\n") + 1
            found += [
                (match, cell.number) for kind in ("notebook", "shell") for match in self._text.find(cell.shell, kind)
            ]
        whole = "\n".join(cell.python for cell in cells)
        try:
            matches = self._python.find(whole, file.path)
        except PythonSyntaxError:
            matches = []
            for cell in cells:
                try:
                    found += [(match, cell.number) for match in self._python.find(cell.python, file.path)]
                except PythonSyntaxError as error:
                    raise PythonSyntaxError(f"cell {cell.number}, {error}") from error
        for match in matches:
            at = max(index for index, start in enumerate(starts) if start <= match.line)
            moved = Match(match.line - starts[at] + 1, match.column, match.rule, match.what)
            found.append((moved, cells[at].number))
        return found

    def read(self, tree: Tree, file: SourceFile, collected: _Collected, baseline: Baseline) -> None:
        """Look into a file, and note what is found."""
        text = file.text
        if self._written_for.search(file.path) or self._written_for.match(text[:200]):
            collected.already.append(file.path)
            return
        if self.elsewhere.matches(file.path, tree.root):
            collected.elsewhere.append(file.path)
            return
        collected.files[file.kind] += 1
        if not collected.model and file.kind == "python" and (found := self._module.search(text)):
            collected.model = f"{tree.root / file.path}:{found[1]}"
        collected.fine |= {sentence for pattern, sentence in self._fine if pattern.search(text)}
        if file.kind == "c" and (
            file.path.endswith(vocabulary().device_suffixes) or self._device_signs.search(text) is not None
        ):
            collected.device.append(file.path)
        try:
            matches = self.matches(file)
        except PythonSyntaxError as error:
            tree.unread.append((file.path, f"it is not Python 3: {error}"))
            return
        except NotebookError as error:
            tree.unread.append((file.path, f"it is not a notebook: {error}"))
            return
        long = sum(len(line) > LONGEST_LINE for line in text.split("\n")) if file.kind not in _WHOLE else 0
        if long:
            verbs = ("is", "was") if long == 1 else ("are", "were")
            said = f"{counted(long, 'line')} {verbs[0]} longer than {LONGEST_LINE:,} characters and {verbs[1]} not read"
            tree.unread.append((file.path, said))
        self._note(tree, file, text, matches, collected, baseline)

    def _note(
        self,
        tree: Tree,
        file: SourceFile,
        text: str,
        matches: Iterable[tuple[Match, int | None]],
        collected: _Collected,
        baseline: Baseline,
    ) -> None:
        cells = {cell.number: cell.source.split("\n") for cell in code_cells(text)} if file.kind == "notebook" else {}
        lines = text.split("\n")
        ignores = {(each.line, each.rule): each for each in ignores_in(text)} if not cells else {}
        used = set()
        places: dict[str, dict[tuple[int | None, int], Place]] = defaultdict(dict)
        for match, cell in matches:
            rule = self.rules[match.rule]
            if self._is_own(rule, match.what, tree):
                continue
            if (match.line, match.rule) in ignores:
                used.add(ignores[match.line, match.rule])
                collected.ignored += 1
                continue
            shown = excerpt(cells[cell] if cell is not None else lines, match.line)
            if baseline.covers(match.rule, file.path, shown):
                collected.hidden += 1
                continue
            place = Place(line=match.line, column=match.column, cell=cell, text=shown, what=match.what)
            places[match.rule].setdefault((cell, match.line), place)
        for ignore in sorted(set(ignores.values()) - used, key=lambda each: each.at):
            if ignore.rule in self.rules or not re.fullmatch(r"HAL\d{3}", ignore.rule):
                collected.unused.append(f"{file.path}:{ignore.at}: hal: ignore[{ignore.rule}]")
        for rule_id, found in places.items():
            ordered = tuple(found[key] for key in sorted(found, key=lambda key: (key[0] or 0, key[1])))
            rule = self.rules[rule_id]
            collected.findings.append(
                Finding(
                    rule=rule_id,
                    severity=rule.severity,
                    path=file.path,
                    places=ordered,
                    fixable=_fixable(rule, file, ordered),
                )
            )

    @staticmethod
    def _is_own(rule: Rule, what: str, tree: Tree) -> bool:
        """Whether a package that is required or imported is the project itself."""
        if not tree.names or not any(isinstance(each, Imported | Required) for each in rule.detect):
            return False
        own = Requirement(what.partition(".")[0].lower().replace("_", "-"), "", "").name
        return what.partition(".")[0] in tree.names or own in tree.names


def _fixable(rule: Rule, file: SourceFile, places: Iterable[Place]) -> Fixable:
    """How a finding can be mended: ``safe`` where a safe rewrite changes each of its lines."""
    if file.kind == "notebook":
        return "by hand"
    rewrites = [each for each in rule.rewrites if file.path.endswith(each.files)]
    found: Fixable = "safe"
    for place in places:
        fitting = [each.safe for each in rewrites if re.search(each.find, place.text)]
        if not fitting:
            return "by hand"
        if not fitting[0]:
            found = "suggestion"
    return found


def scan(
    path: Path, config: PortConfig, baseline: Baseline | None = None, tell: Callable[[str], None] | None = None
) -> Report:
    """Read a project, and say what keeps it from running on the target.

    Args:
        path: a folder or a file.
        config: what is asked.
        baseline: findings that are known already.
        tell: is told what is being done.

    Raises:
        NotFoundError: there is nothing at the path, or it cannot be read.
        ConfigError: the rules that are asked for do not exist.
    """
    scanner = Scanner(config)
    tree, files = read_tree(path, config.exclude)
    collected = _Collected()
    known = baseline or Baseline(())
    sibling, _ = scanner.target.sibling
    waiting: list[SourceFile] = []
    for file in files:
        if tell is not None and sum(collected.files.values()) % 500 == 499:
            tell(f"read {counted(sum(collected.files.values()), 'file')}")
        name = file.path.rpartition("/")[2]
        if file.kind not in _WHOLE and re.search(sibling, name):
            waiting.append(file)  # until it is known whether it has a counterpart
        else:
            scanner.read(tree, file, collected, known)
    for file in waiting:
        if scanner.elsewhere.has_counterpart(file.path, collected.already):
            collected.elsewhere.append(file.path)
        else:
            scanner.read(tree, file, collected, known)
    return _report(path, scanner, tree, collected)


def _report(path: Path, scanner: Scanner, tree: Tree, collected: _Collected) -> Report:
    goal = scanner.target
    origin = scanner.config.origin or goal.origins[0]
    report = Report(
        path=str(path),
        origin=origin,
        target=scanner.config.to,
        release=scanner.config.release,
        architecture=scanner.config.arch,
        verdict=_verdict(scanner, tree, collected),
        findings=tuple(collected.findings),
        fine=tuple(sentence for _, sentence in goal.fine if sentence in collected.fine)[:_FINE],
        next_steps=tuple(
            each.replace("{model}", collected.model or vocabulary().model_without_class) for each in goal.next_steps
        ),
        files=dict(sorted(collected.files.items())),
        already=tuple(sorted(collected.already)),
        elsewhere=tuple(sorted(collected.elsewhere)),
        unread=tuple(Unread(path=each, reason=reason) for each, reason in sorted(tree.unread)),
        folders=tuple(tree.folders),
        others=tree.others,
        hidden=collected.hidden,
        ignored=collected.ignored,
        unused_ignores=tuple(collected.unused),
    )
    return report.model_copy(update={"findings": tuple(report.worst_first())})


def _verdict(scanner: Scanner, tree: Tree, collected: _Collected) -> Verdict:
    counts: dict[Severity, int] = {
        each: len({found.rule for found in collected.findings if found.severity == each}) for each in SEVERITIES
    }
    blocked = {found.path for found in collected.findings if found.severity == "blocks"}
    free = [path for path in collected.device if path not in blocked]
    read, card = sum(collected.files.values()), scanner.target.card
    runs = not counts["blocks"] and not counts["wrong results"]
    parts: list[str] = []
    if counts["blocks"]:
        parts.append(f"{counted(counts['blocks'], 'thing')} block{'s' if counts['blocks'] == 1 else ''}")
    if counts["wrong results"]:
        parts.append(f"{counts['wrong results']} can give wrong results")
    if not read:
        sentence = f"Nothing was read that could be judged, so it is not known whether this runs on {card}."
    elif not runs:
        sentence = f"Not yet on {card}: {', '.join(parts)}"
    elif tree.unread:
        sentence = f"Probably on {card}, as far as {counted(read, 'file')} could be read: nothing in them blocks"
    else:
        sentence = f"Yes, as far as the source shows: nothing in {counted(read, 'file')} keeps it from {card}"
    if scanner.target.converts and collected.device:
        verb = "converts" if len(collected.device) == 1 else "convert"
        sentence += (
            f"; {len(free)} of {counted(len(collected.device), 'device source')} {verb} without a change by hand"
        )
    return Verdict(
        runs=runs,
        sentence=sentence.rstrip(".") + ".",
        counts=counts,
        device_files=len(collected.device),
        converted=len(free),
    )
