"""The cards made of the processor, for subprocesses: no test has them in its own process."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE / "card")]

from building import CannotBuildError, build, compiler  # noqa: E402
from fake_card import Wanted  # noqa: E402

collect_ignore = ["card", "inside"]  # for the processes that have the cards

CARDS = {"cuda": "h100_sxm5_80gb", "rocm": "mi300x"}
"""What each backend sees."""


class Machine:
    """A machine with cards, for one test."""

    def __init__(self, wanted, folder):
        self.wanted, self.folder = wanted, folder

    def run(self, *words, env=None, **changes):
        """Run Python with words after it; changes are those of ``fake_card.Wanted``."""
        wanted = replace(self.wanted, report=str(self.folder), **changes)
        return subprocess.run(
            [sys.executable, *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            cwd=HERE.parents[1],
            env={**os.environ, **wanted.environment(), "OMP_NUM_THREADS": "1", **(env or {})},
        )

    def counters(self):
        """What each process of the test did on the cards, by its own count when it ended."""
        return [json.loads(path.read_text()) for path in self.folder.glob("*.json")]


@pytest.fixture(scope="session")
def library(request):
    cache = getattr(request.config, "cache", None)
    folder = cache.mkdir("fake_gpu") if cache else HERE
    try:
        return build(folder)
    except CannotBuildError as error:
        if os.environ.get("CI") and compiler() is None:
            raise
        pytest.skip(str(error))


@pytest.fixture
def machine(library, tmp_path):
    folder = tmp_path / "counters"
    folder.mkdir()
    return Machine(Wanted(str(library), CARDS["cuda"]), folder)
