"""Configs from pairs, and what is said of wrong ones."""

import pytest

from hal.config import build, read
from hal.errors import ConfigError
from hal.run.config import RunConfig


def config(*pairs, cls=RunConfig, file=None):
    return build(cls, read(cls, pairs, file))


def fails(*pairs, cls=RunConfig, file=None, kind=ConfigError):
    with pytest.raises(kind) as caught:
        config(*pairs, cls=cls, file=file)
    return str(caught.value)
