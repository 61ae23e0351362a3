"""hal on GPUs made of the processor: what needs a card, in processes that have one."""

import xml.etree.ElementTree as xml

import pytest
from conftest import CARDS  # noqa: F401
