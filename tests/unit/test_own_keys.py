"""A model's own keys: each value has the type that the model declares, and text stands as it was typed."""

import re
from typing import Any, Literal

import pytest
from config_helpers import config
from pydantic import PositiveInt

from hal.errors import ConfigError
from hal.models.cnn import CNN
from hal.nn import ModelConfig
from hal.run.config import RunConfig
from hal.workload import configure


class OwnConfig(ModelConfig):
    tag: str = ""
    tags: tuple[str, ...] = ()
    kind: Literal["1", "yes"] = "1"
    maybe: str | None = "x"
    size: int = 0
    most: int | None = 0
    sizes: tuple[PositiveInt, ...] = ()
    rate: float = 0.0
    flag: bool = False
    other: Any = None
    rates: dict[str, float] = {}  # noqa: RUF012 - pydantic copies it


class Own(CNN):
    Config = OwnConfig


OWN = [
    ("tag", "007", "007"),
    ("tag", "7", "7"),
    ("tag", "1e3", "1e3"),
    ("tag", "1.10", "1.10"),
    ("tag", "yes", "yes"),
    ("tag", "2024-01-01", "2024-01-01"),
    ("tag", '"1e3"', "1e3"),
    ("tags", "[007, 1e3, 7, yes, on]", ("007", "1e3", "7", "yes", "on")),
    ("kind", "1", "1"),
    ("kind", "yes", "yes"),
    ("maybe", "no", "no"),
    ("maybe", "null", None),
    ("size", "1e2", 100),
    ("size", "0x20", 32),
    ("size", "007", 7),
    ("most", "null", None),
    ("most", "1_000", 1000),
    ("sizes", "[8, 1e1]", (8, 10)),
    ("rate", "1e-3", 0.001),
    ("flag", "off", False),
    ("flag", "yes", True),
    ("other", "1e-3", 0.001),
    ("other", "off", False),
    ("other", "word", "word"),
    ("rates", "{a: 1e-3}", {"a": 0.001}),
]


@pytest.mark.parametrize(("key", "written", "value"), OWN)
@pytest.mark.parametrize("place", ["line", "file"])
def test_keys_of_a_model_are_of_the_types_that_it_declares(tmp_path, place, key, written, value):
    file = tmp_path / "keys.yaml"
    file.write_text(f"model:\n  name: mine.py:Own\n  {key}: {written}\n")
    found = config(file=file) if place == "file" else config("model=mine.py:Own", f"model.{key}={written}")
    sent = RunConfig.model_validate_json(found.model_dump_json())  # as a worker gets it
    for each in (found, sent):
        held = getattr(configure(Own, each.model.keys()), key)
        assert (held, type(held)) == (value, type(value))


@pytest.mark.parametrize(
    ("pair", "key", "value"),
    [("tag=", "tag", ""), ("tag=a #b", "tag", "a #b"), ("tag=a: b", "tag", "a: b"), ("most=", "most", None)],
)
def test_text_of_a_model_stands_as_it_was_typed(pair, key, value):
    assert getattr(configure(Own, config("model=mine.py:Own", f"model.{pair}").model.keys()), key) == value


@pytest.mark.parametrize("pair", ["size=yes", "size=a #b", "sizes=on", "size=", "flag=[1]"])
def test_wrong_values_of_a_model_are_named_as_they_were_typed(pair):
    with pytest.raises(ConfigError, match=re.escape(f"model.{pair}: input should be") if pair != "size=" else "size="):
        configure(Own, config("model=mine.py:Own", f"model.{pair}").model.keys())
