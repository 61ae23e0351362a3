"""Seals: made and known by one user on one machine, for one text."""

import pytest

from hal.util.seal import seal, sealed


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("HAL_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def test_known_again():
    mark = seal("net.py:Net")
    assert sealed("net.py:Net", mark)
    assert seal("net.py:Net") == mark


@pytest.mark.parametrize("mark", ["", "0" * 64, None, 7, [], "é"])
def test_not_known(mark):
    seal("net.py:Net")
    assert not sealed("net.py:Net", mark)


def test_of_another_text():
    assert not sealed("evil.py:Net", seal("net.py:Net"))


def test_of_another_user_or_machine(tmp_path, monkeypatch):
    mark = seal("net.py:Net")
    monkeypatch.setenv("HAL_STATE", str(tmp_path / "other"))
    assert not sealed("net.py:Net", mark), "there is no key yet"
    seal("anything")
    assert not sealed("net.py:Net", mark)


def test_a_key_that_others_can_read_is_none(state):
    mark = seal("net.py:Net")
    assert (state / "seal.key").stat().st_mode & 0o777 == 0o600
    (state / "seal.key").chmod(0o644)
    assert seal("net.py:Net") == ""
    assert not sealed("net.py:Net", mark)


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_damaged_key(state, content):
    seal("x")
    (state / "seal.key").write_bytes(content)
    assert seal("x") == ""


def test_a_place_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HAL_STATE", str(tmp_path / "file"))
    assert seal("x") == ""
    assert not sealed("x", "")
