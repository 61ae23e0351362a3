"""Each rule: its examples are found and left alone, its sources have a date or none, its words are sentences."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from hal.porting.catalogue import DATA, checked, rules, select, table, target, vocabulary
from hal.porting.config import PortConfig, chosen_rules
from hal.porting.files import SourceFile, kind_of
from hal.porting.rule import ListedName
from hal.porting.scan import Scanner

RULES = rules()
SCANNERS = {}


def scanner(goal, origin, rule):
    """One that looks for all rules of a target, with a release in which the rule holds."""
    release = None if rule.until is None else "6.0"
    key = (goal, origin, release)
    if key not in SCANNERS:
        SCANNERS[key] = Scanner(PortConfig.model_validate({"to": goal, "from": origin, "release": release}))
    return SCANNERS[key]


def found(rule, example):
    """The ids of the rules that are found in an example, for the first target of the rule."""
    goal = rule.targets[0]
    origin = next(each for each in target(goal).origins if each in rule.origins)
    kind = kind_of(example.file)
    assert kind is not None, f"{rule.id}: nothing is looked for in {example.file}"
    held = scanner(goal, origin, rule).matches(SourceFile(example.file, kind, example.text.encode()))
    return {match.rule for match, _ in held}


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_examples(rule):
    for example in rule.flag:
        assert rule.id in found(rule, example), example.text
    for example in rule.passes:
        assert rule.id not in found(rule, example), example.text


def test_targets_and_origins_exist():
    for rule in RULES.values():
        for goal in rule.targets:
            assert set(target(goal).origins) & set(rule.origins), rule.id


def test_each_holds_somewhere():
    for rule in RULES.values():
        goal = rule.targets[0]
        origin = next(each for each in target(goal).origins if each in rule.origins)
        release = None if rule.until is None else "1.0"
        config = PortConfig.model_validate({"to": goal, "from": origin, "release": release})
        assert rule.id in {each.id for each in chosen_rules(config)}


def test_words():
    for rule in RULES.values():
        for text in (rule.statement, rule.why, rule.fix):
            assert "  " not in text, rule.id
            assert len(text) < 300, rule.id


def test_tables_exist():
    for rule in RULES.values():
        for detection in rule.detect:
            if isinstance(detection, ListedName):
                assert len(table(detection.table)) > 100


def test_rewrites_change_an_example():
    for rule in RULES.values():
        for rewrite in rule.rewrites:
            texts = [example.text for example in rule.flag if example.file.endswith(rewrite.files)]
            lines = [line for text in texts for line in text.split("\n")]
            changed = [re.sub(rewrite.find, rewrite.replace, line) for line in lines]
            assert changed != lines or len(rule.rewrites) > 1, f"{rewrite.find} changes no example"


def test_ids_and_names_are_unique():
    assert len({rule.name for rule in RULES.values()}) == len(RULES)
    assert list(RULES) == sorted(RULES)


def test_no_source_is_left_over():
    assert set(checked()) == {url for rule in RULES.values() for url in rule.sources}


@pytest.mark.parametrize("path", sorted(DATA.glob("**/*.yaml")), ids=lambda path: path.name)
def test_both_readers_of_yaml_agree(path):
    """Where PyYAML comes without libyaml, the reader in Python takes its place, and it is stricter."""
    text = path.read_text(encoding="utf-8")
    assert yaml.load(text, yaml.SafeLoader) == yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def test_a_target_has_rules():
    for name in vocabulary().targets:
        assert len(chosen_rules(PortConfig(to=name))) >= 5


def test_select():
    assert select(["hal101", "triton-tma", "HAL32"])[:3] == ("HAL101", "HAL205", "HAL320")


def test_pages_are_up_to_date():
    path = Path(__file__).parents[2] / "docs" / "generate_rules.py"
    spec = importlib.util.spec_from_file_location("generate_rules", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    held = {page.name: page.read_text() for page in module.FOLDER.iterdir()}
    assert held == module.pages(), "run: python docs/generate_rules.py"
