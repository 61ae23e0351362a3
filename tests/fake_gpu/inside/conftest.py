"""Tests of this folder run in processes that have the cards (``test_fake_gpu.py`` starts them)."""

import sys
from pathlib import Path

import fake_card
import pytest

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parents[1] / "run")]  # small_models and run_helpers


@pytest.fixture(autouse=True)
def cards():
    """The cards as they were, after a test that lost one or made them smaller."""
    yield
    wanted = fake_card.wanted()
    fake_card.configure(wanted.count, wanted.memory_bytes)


@pytest.fixture
def device():
    """The first card."""
    import hal

    found = [d for seen in hal.devices() if seen.backend in ("cuda", "rocm") for d in seen.devices]
    assert len(found) == fake_card.wanted().count
    return found[0]
