"""The lines that the engine for Python skips hold nothing that it would find."""

import pytest
from project import FILES
from pydantic import ValidationError

from hal.porting.catalogue import rules, target, vocabulary
from hal.porting.config import PortConfig, chosen_rules
from hal.porting.python_engine import PythonEngine
from hal.porting.python_lines import Lines
from hal.porting.rule import Imported, KeywordArgument, StringConstant

TRICKY = {
    "a body on the last line of its head": "import torch\ndef f(x,\n      t=torch.float8_e4m3fn): return x\n",
    "a name that is known later": """\
import subprocess, torch
def helper():
    subprocess.check_output(["nvcc", "-V"])
def early(ok):
    x = helper() if ok else None
def late():
    ok = torch.version.cuda is not None
""",
    "two strings on a line": 'home = "/usr/local/cu" "da"\n',
    "two strings on two lines": 'home = ("/usr/local/cu"  # a "path"\n        r"da")\n',
    "two strings in a head": 'def f(x, home="/usr/local/cu"\n      f"da/{x}"): return home\n',
    "a string over two lines": 'home = "/usr/local/cu\\\nda"\n',
    "an escaped character": 'home = "/usr/local/\\x63uda"\n',
}


@pytest.fixture(scope="module")
def engines():
    """An engine for each target and each vendor that code was written for."""
    return [
        PythonEngine(chosen_rules(PortConfig.model_validate({"to": goal, "from": origin})), target(goal).python)
        for goal in vocabulary().targets
        for origin in target(goal).origins
    ]


def found(engines, text, path="a.py"):
    return [engine.find(text, path) for engine in engines]


@pytest.mark.parametrize("text", TRICKY.values(), ids=TRICKY)
def test_tricky_lines_are_looked_into(engines, text):
    assert any(found(engines, text))


def test_skipping_lines_loses_nothing(engines, monkeypatch):
    examples = [
        (each.text, each.file)
        for rule in rules().values()
        for each in rule.flag + rule.passes
        if each.file[-3:] == ".py"
    ]
    files = [(text, path) for path, text in FILES.items() if path.endswith(".py")]
    texts = [*examples, *files, *((text, "a.py") for text in TRICKY.values())]
    skipping = [found(engines, *each) for each in texts]
    monkeypatch.setattr(Lines, "between", lambda self, first, last: True)
    for each, held in zip(texts, skipping, strict=True):
        assert held == found(engines, *each), each


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (StringConstant, {"string": "a", "words": [""]}),
        (KeywordArgument, {"keyword": ""}),
        (Imported, {"imports": ["*"]}),
        (Imported, {"imports": ["*.*"]}),
    ],
)
def test_words_that_stand_everywhere_are_refused(kind, fields):
    with pytest.raises(ValidationError):
        kind.model_validate(fields)
