"""hal on GPUs made of the processor: what needs a card, in processes that have one."""

import importlib.util
import xml.etree.ElementTree as xml
from importlib.metadata import version
from pathlib import Path

import pytest

CARDS = {"cuda": "h100_sxm5_80gb", "rocm": "mi300x"}
"""What each backend sees."""
INSIDE = Path(__file__).parent / "inside"
# The cards' kernels are those of the processor, so that one model stands for all on the second card, where neither a
# user's own module nor a recorded step differs.
ONE_MODEL = ("-k", "(cnn or not (rnn or text or gan or trans)) and not (module or recorded)")


def outcomes(machine, *words, **changes):
    """Run pytest in a process that has the cards: the outcome of each test by its name, and what pytest printed."""
    report = machine.folder.parent / "report.xml"
    done = machine.run("-m", "pytest", "-q", *words, f"--junitxml={report}", "-p", "no:cacheprovider", **changes)
    assert report.exists(), done.stdout + done.stderr
    found = {}
    for case in xml.parse(report).iter("testcase"):
        bad = {child.tag for child in case} & {"failure", "error", "skipped"}
        found[case.get("name")] = bad.pop() if bad else "passed"
    return found, done.stdout[-8000:]


def assert_nothing_freed_in_use(machine):
    counters = machine.counters()
    assert counters, "each process says what it did"
    assert all(each["freed_in_use"] == 0 for each in counters)


@pytest.mark.slow
@pytest.mark.parametrize("backend", CARDS)
def test_the_tests_for_devices(machine, backend, record_property):
    """Tests/gpu, unchanged: all of them as NVIDIA, those of one model as AMD; wrong-stream use raises in them."""
    found, said = outcomes(machine, "tests/gpu", *(ONE_MODEL if backend == "rocm" else ()), card=CARDS[backend])
    mine = {name: outcome for name, outcome in found.items() if f"{backend}:0" in name}
    assert len(mine) >= {"cuda": 90, "rocm": 40}[backend]
    assert set(mine.values()) == {"passed"}, said
    assert {found[name] for name in found.keys() - mine} == {"skipped"}, "other backends have no card here"
    record_property("passed", sum(outcome == "passed" for outcome in found.values()))
    record_property("skipped", sum(outcome == "skipped" for outcome in found.values()))
    assert_nothing_freed_in_use(machine)


@pytest.mark.parametrize(
    "names",
    [("test_commands.py",), ("test_faults.py", "test_graphs.py", "test_launches.py", "test_refusals.py")],
    ids=" ".join,
)
def test_inside(machine, names):
    """The tests of files that need cards, of which there are two."""
    found, said = outcomes(machine, *(INSIDE / name for name in names), count=2)
    assert found
    assert set(found.values()) == {"passed"}, said


@pytest.mark.slow
def test_commands_on_amd(machine):
    """One model stands for all, as above."""
    words = ("-k", "test_run_bench_and_verify and cnn")
    found, said = outcomes(machine, INSIDE / "test_commands.py", *words, count=2, card=CARDS["rocm"])
    assert len(found) == 1
    assert set(found.values()) == {"passed"}, said


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed: pip install triton")
@pytest.mark.skipif(not version("torch").startswith("2.13."), reason="parts of TorchInductor 2.13 are replaced")
@pytest.mark.parametrize("card", ["rtx_2080_ti", "h100_sxm5_80gb", "mi300x", "rx_7900_xtx"])
def test_generated_code(machine, card, record_property, tmp_path):
    """Triton compiles what TorchInductor generates for each plan of a card, for the architecture of the card."""
    caches = {name: str(tmp_path / name) for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")}
    found, said = outcomes(machine, INSIDE / "test_generated_code.py", card=card, env=caches)
    assert set(found.values()) <= {"passed", "skipped"}, said
    assert sum(outcome == "passed" for outcome in found.values()) >= 3
    for each in xml.parse(machine.folder.parent / "report.xml").iter("property"):
        record_property(each.get("name"), each.get("value"))
