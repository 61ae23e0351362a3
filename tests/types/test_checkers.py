"""Both type checkers find nothing to say, and see every module: three folders of the package are links."""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for name in ("hal", "backends", "models", "tuner") for path in (ROOT / name).glob("**/*.py"))
"""``glob`` does not follow links, so each module counts once."""


def checked(*command):
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)


def test_mypy():
    done = checked("mypy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"in (\d+) source files", done.stdout)[1]) == len(MODULES)


def test_pyright():
    done = checked("pyright", "--outputjson")
    report = json.loads(done.stdout)
    found = [
        f"{each['file']}:{each['range']['start']['line'] + 1}: {each['message']}"
        for each in report["generalDiagnostics"]
    ]
    assert found == []
    assert done.returncode == 0, done.stderr
    assert report["summary"]["filesAnalyzed"] == len(MODULES)
