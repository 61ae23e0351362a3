"""Each kind of text that cannot be used gets its own error, which says what was found and what to do."""

import sys

from data_helpers import TEXT, fails

from hal.errors import DataError, NotFoundError


def test_text_that_is_too_short(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("abc" * 20)
    fails(DataError, str(path), "too short", "60 characters", "windows of 16", source=f"text:{path}", wanted=TEXT)
    path.write_text("")
    fails(DataError, "too short", "0 characters", source=f"text:{path}", wanted=TEXT)


def test_text_of_one_character(tmp_path):
    path = tmp_path / "dull.txt"
    path.write_text("a" * 1000)
    fails(DataError, str(path), "1 character", source=f"text:{path}", wanted=TEXT)


def test_text_that_is_not_utf8(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"abc\xff" * 100)
    fails(DataError, str(path), "byte 3 is 0xff", "UTF-8", source=f"text:{path}", wanted=TEXT)


def test_python_without_its_manual(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data", None)
    fails(NotFoundError, "pydoc_data", "text:FILE", source="topics", wanted=TEXT)
