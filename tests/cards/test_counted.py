"""What a user's own model was counted to cost is kept while everything that was read for it stays the same."""

import importlib
import json
import os
import subprocess
import sys

import pytest

from hal.cards import counted
from hal.cards.choose import choose
from hal.cards.choose_config import ChooseConfig
from hal.cards.counted import Counted
from hal.config import DataSection, ModelSection, build
from hal.util import opened
from hal.util.opened import digest, foreign_code, installed_stamp, opened_files

NET = """
from pathlib import Path

from torch import nn

import widths


class Net(nn.Sequential):
    def __init__(self, layers=int((Path(__file__).parent / "layers.txt").read_text())):
        wide = [nn.Linear(widths.WIDE, widths.WIDE) for _ in range(layers)]
        super().__init__(nn.Flatten(), nn.Linear(64, widths.WIDE), *wide, nn.Linear(widths.WIDE, 10))
"""
CHOOSE = """
import sys
from hal.cards.choose import choose
from hal.cards.choose_config import ChooseConfig
from hal.config import build
found = choose(build(ChooseConfig, {"model": "net.py:Net"}))
print(found.parameters, "torch" in sys.modules)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HAL_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "mine"
    place.mkdir()
    (place / "net.py").write_text(NET)
    (place / "widths.py").write_text("WIDE = 16\n")
    (place / "layers.txt").write_text("1")
    return place


def chosen(folder):
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\n{CHOOSE}"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return tuple(done.stdout.split())


def parameters(wide, layers):
    return str(65 * wide + layers * (wide + 1) * wide + (wide + 1) * 10)


def test_a_second_choice_needs_no_framework_until_a_file_changes(folder):
    assert chosen(folder) == (parameters(16, 1), "True")
    assert chosen(folder) == (parameters(16, 1), "False")
    (folder / "layers.txt").write_text("2")
    assert chosen(folder) == (parameters(16, 2), "True")


def made(monkeypatch, cost_of):
    """A workload of a user's own code, without the code."""
    monkeypatch.setattr(counted, "subject", lambda *given: type("S", (), {"default_batch": 4, "samples": 9})())
    monkeypatch.setattr(counted, "count", cost_of)
    monkeypatch.setattr(counted, "foreign_code", lambda: False)
    return Counted(ModelSection(name="net.py:Net"), DataSection.model_validate({}), "train")


def test_what_cannot_be_read_or_written_is_counted_again(folder, monkeypatch):
    counts = []

    def cost_of(found, batch, precision):
        counts.append((precision, batch))
        return counted.Cost(batch, precision, "train", (("product", 1.0, 2.0),), 8.0, 3)

    def ask():
        found = made(monkeypatch, cost_of)
        cost = found.of("fp32", 4)
        found.keep()
        return cost

    first = ask()
    assert ask() == first
    assert counts == [("fp32", 4)]
    (kept,) = (folder.parent / "cache" / "counts").glob("*.json")
    for wrong in (b"", b"{}", b"\xff", json.dumps({"files": {}, "costs": 3}).encode()):
        kept.write_bytes(wrong)
        assert ask() == first
    assert len(counts) == 5
    (folder.parent / "cache").rename(folder.parent / "moved")
    (folder.parent / "cache").write_text("no folder")
    assert ask() == first
    assert len(counts) == 6


def test_nothing_is_kept_where_code_of_a_user_was_imported_before(folder, monkeypatch):
    """Whose files are not opened again."""
    assert foreign_code()  # this module
    found = made(monkeypatch, lambda found, batch, precision: counted.Cost(batch, precision, "train", (), 8.0, 3))
    monkeypatch.setattr(counted, "foreign_code", lambda: True)
    found = Counted(ModelSection(name="net.py:Net"), DataSection.model_validate({}), "train")
    found.of("fp32", 4)
    found.keep()
    assert not (folder.parent / "cache").exists()
    alone = "import hal.cards.counted, numpy; from hal.util.opened import foreign_code; assert not foreign_code()"
    subprocess.run([sys.executable, "-c", alone], cwd=folder, check=True)


def test_built_in_models_are_not_kept(folder):
    choose(build(ChooseConfig, {"model": "cnn"}))
    assert not (folder.parent / "cache").exists()


def test_the_files_that_are_read(tmp_path):
    read, written = tmp_path / "read", tmp_path / "written"
    read.write_text("x")
    with opened_files() as outer:
        with opened_files() as inner:
            read.read_bytes()
        written.write_text(json.__file__)
        open(json.__file__).close()  # Python's own
        assert list(tmp_path.iterdir())
    assert inner == {read.resolve()}
    assert outer == {read.resolve(), tmp_path.resolve()}
    read.read_bytes()
    assert inner == {read.resolve()}


def test_digests_change_with_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(opened, "_HASHED", 3)
    file = tmp_path / "file"
    seen = set()
    for content in ("abc", "abd", "abcd", "abce"):
        file.write_text(content)
        os.utime(file, ns=(len(seen), len(seen)))
        seen.add(digest(file))
    before = digest(tmp_path)
    (tmp_path / "new").touch()
    assert len({*seen, before, digest(tmp_path)}) == 6
    with pytest.raises(OSError, match="gone"):
        digest(tmp_path / "gone")


def test_of_a_compiled_module_the_source_is_told(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    for _ in range(2):  # the second time from what was compiled the first time
        with opened_files() as files:
            importlib.import_module("widths")
        del sys.modules["widths"]
        assert (folder / "widths.py").resolve() in files


def test_an_installation_changes_the_stamp(tmp_path, monkeypatch):
    packages = tmp_path / "site-packages"
    packages.mkdir()
    monkeypatch.syspath_prepend(str(packages))
    before = installed_stamp()
    (packages / "new-1.0.dist-info").mkdir()
    assert installed_stamp() != before
