"""An op is added to a copy of hal by the steps of CONTRIBUTING.md, which names every file that this touches."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COPIED = ("hal", "backends", "models", "tuner", "tests/unit/test_laws.py", "CHANGELOG.md", "pyproject.toml")

OP = '''
    def mish(self, x: Array) -> Array:
        """``x * tanh(softplus(x))``, elementwise (Misra, arXiv 1908.08681)."""
        return self._mish(x)

    def _mish(self, x: Array) -> Array:
        return x * self.standard.tanh(self.softplus(x))
'''
ORACLE = """
    def mish(self, x: F64) -> F64:
        return x * np.tanh(np.log1p(np.exp(x)))
"""
SUITE = """
from hal import ops, registry
from hal.testing import BackendConformance

MINE = tuple(case for case in BackendConformance.cases if case.op == "mish")



class TestCpu(BackendConformance):
    backend_name = "cpu"
    cases = MINE


class TestNull(BackendConformance):
    backend_name = "null"
    values = False
    cases = MINE



def test_it_is_an_op():
    assert "mish" in ops.__all__
    assert "Misra" in ops.mish.__doc__


def test_it_has_a_cost():
    x = registry.device("null").xp.ones((8, 4))
    with registry.backend("null").count() as cost:
        assert ops.mish(x).shape == (8, 4)
    assert cost.flops >= 3 * x.size
"""


def steps():
    """The files that CONTRIBUTING.md names, step by step."""
    section = (ROOT / "CONTRIBUTING.md").read_text().partition("## Add an op\n")[2].partition("\n## ")[0]
    numbered = re.findall(r"^\d\. `([^`]+)`", section, re.MULTILINE)
    return [path.replace("<family>", "activations") for path in numbered]


@pytest.fixture
def copy(tmp_path):
    for name in COPIED:
        source, target = ROOT / name, tmp_path / name
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return tmp_path


def write(path, before, added):
    """Add text in front of a place in a file."""
    text = path.read_text()
    assert text.count(before) == 1, f"{path} has {before!r} {text.count(before)} times"
    path.write_text(text.replace(before, added + before))


def changed(copy):
    """Files of the copy that the original does not have, or has otherwise."""
    found = (path.relative_to(copy) for name in COPIED for path in _files(copy / name))
    return {str(path) for path in found if not _same(copy / path, ROOT / path)}


def _files(path):
    if not path.is_dir():
        return [path]
    return [file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts]


def _same(path, original):
    return original.exists() and path.read_bytes() == original.read_bytes()


def test_the_steps_are_all_there_is(copy):
    op, oracle, laws, changelog = (copy / step for step in steps())
    write(op, "\n    def softplus(", OP)
    write(oracle, "\n    def softplus(", ORACLE)
    write(oracle, '        ("softplus", {}),\n', '        ("mish", {}),\n')
    write(laws, "minimum moveaxis", "mish ")
    write(changelog, "### Added\n", "")
    changelog.write_text(changelog.read_text().replace("### Added\n", "### Added\n\n- `hal.ops.mish`.\n", 1))
    assert changed(copy) == set(steps())

    (copy / "suite.py").write_text(SUITE)
    selected = "test_values or test_gradients or test_it or test_exclusions or (test_pinned and ops)"
    done = subprocess.run(
        [
            sys.executable,
            *"-m pytest -q -p no:cacheprovider -n 0 suite.py tests/unit/test_laws.py -k".split(),
            selected,
        ],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 12
