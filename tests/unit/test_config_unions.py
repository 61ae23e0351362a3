"""Keys of several types: what is wrong with a value is told in one line, in words."""

import re
from typing import Literal

import pytest
from config_helpers import config
from pydantic import BaseModel

from hal.config import build
from hal.errors import ConfigError


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("keep=0", "keep=0: use best, last, all, or a whole number of at least 1"),
        ("keep=bst", "keep=bst: use best, last, all, or a whole number of at least 1; did you mean best?"),
        (
            "keep=4294967296",
            "keep=4294967296: use best, last, all, or a whole number of at least 1 and of at most 2147483647",
        ),
        ("class_weights=1,-1", "class_weights=1,-1: use balanced, or numbers above 0, separated by commas"),
        ("device={a: 1}", "device={'a': 1}: use a whole number, or text"),
    ],
)
def test_a_key_of_several_types_says_in_one_line_what_it_takes(pair, said):
    with pytest.raises(ConfigError) as caught:
        config(pair)
    assert caught.value.message == said


def test_every_key_of_several_types_is_explained_in_words():
    class Keys(BaseModel):
        size: int | tuple[int, int] | None = None
        rate: float | Literal["auto"] = "auto"
        flag: bool | str = True
        other: dict[str, int] | list[float] = []

    for key in Keys.model_fields:
        with pytest.raises(ConfigError) as caught:
            build(Keys, {key: object()})
        assert caught.value.message.count("\n") == 0
        assert not re.search(r"literal|int\b|tuple|float|str\b", caught.value.message.partition(": use ")[2])
