"""What cannot be told does not end what happens."""

import errno
import os

import pytest

from hal.util.telling import Teller, lasting_note


def refuse(*_):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_it_is_noted_once():
    notes = []
    teller = Teller(notes.append)
    for _ in range(3):
        teller.tell(refuse)
    teller.tell(notes.append, "heard")
    assert notes == ["what happens cannot be shown any more: Input/output error", "heard"]


def test_the_note_may_be_what_cannot_be_written():
    Teller(refuse).tell(refuse)
    lasting_note(refuse)("a sentence")


def test_other_errors_are_raised():
    with pytest.raises(ZeroDivisionError):
        Teller(refuse).tell(lambda: 1 / 0)
