"""The suite notices: each backend of broken_suites.py fails the checks of what is wrong with it, and those alone."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

SUITES = Path(__file__).with_name("broken_suites.py")
# What is run beside a few cases of values and gradients.
SELECTED = (
    "(test_values or test_gradients and fp32) and not reversed or test_dropout or test_optimizer and nhwc "
    "or test_optimizer_skips or test_settings or test_to_host or test_exclusions or test_probe"
)
EXPECTED = {
    "TestPadding": (r"test_values\[conv2d/same-stride2-even-fp32-.*",),
    "TestLinear": (r"test_values\[linear/matrix-fp32-.*",),
    "TestSoftmax": (r"test_values\[softmax/first-fp32-.*", r"test_gradients\[softmax/first-fp32-.*"),
    "TestNaiveSoftmax": (r"test_values\[softmax/hard-9984-fp32-.*",),
    "TestVariance": (r"test_values\[batch_norm/training-fp32-.*",),
    "TestDtype": (r"test_values\[relu/matrix-bf16-.*",),
    "TestDropoutKey": (r"test_dropout_follows_its_key",),
    "TestDropoutRows": (r"test_dropout_statistics",),
    "TestOneGradient": (r"test_gradients\[gelu/matrix-fp32-.*",),
    "TestGradients": (r"test_gradients\[relu/matrix-fp32-.*", r"test_dropout_gradient"),
    "TestBiasCorrection": (r"test_optimizer\[adam-default-.*", r"test_optimizer\[adamw-default-.*"),
    "TestSkip": (r"test_optimizer_skips\[.*",),
    "TestSettings": (r"test_settings_are_restored\[raises\]",),
    "TestAliases": (r"test_to_host_copies",),
    "TestDeadHardware": (r"test_values\[linear/matrix-fp32-.*", r"test_to_host_copies"),
    "TestExclusions": (r"test_exclusions", r"test_values\[relu/matrix-fp32-.*"),
}
# Which of the selected checks may fail besides, since the same fault shows in them.
MAY_FAIL = {
    "TestPadding": r"test_(values|gradients)\[conv2d/same-.*",
    "TestLinear": r"test_(values|gradients)\[linear/.*",
    "TestSoftmax": r"test_(values|gradients)\[softmax/(first|middle)-.*",
    "TestNaiveSoftmax": r"test_(values|gradients)\[softmax/hard-.*",
    "TestVariance": r"test_values\[batch_norm/training.*",
    "TestDtype": r"test_values\[relu/.*-(bf16|fp16)-.*",
    "TestDropoutRows": r"test_dropout_.*",
    "TestOneGradient": r"test_gradients\[gelu/.*",
    "TestGradients": r"test_gradients.*",
    "TestBiasCorrection": r"test_optimizer(_skips)?\[adamw?-?.*",
    "TestDeadHardware": r"test_.*",
}
Outcomes = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """For each suite, its tests and how they ended; in a process of its own, since the faults are in global tables."""
    report = tmp_path_factory.mktemp("broken") / "report.xml"
    command = [sys.executable, "-m", "pytest", str(SUITES), "-q", "-k", SELECTED, f"--junitxml={report}"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-n", "0"],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-3000:]
    found: Outcomes = {}
    for case in ET.parse(report).iter("testcase"):
        kind = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")
        found.setdefault(case.attrib["classname"].rpartition(".")[2], {})[case.attrib["name"]] = kind
    return found


@pytest.mark.parametrize("suite", EXPECTED)
def test_fault_is_noticed(outcomes: Outcomes, suite: str) -> None:
    failed = [name for name, kind in outcomes[suite].items() if kind in ("failure", "error")]
    for pattern in EXPECTED[suite]:
        assert any(re.fullmatch(pattern, name) for name in failed), f"{suite}: {pattern} is not among {failed}"
    allowed = "|".join((*EXPECTED[suite], MAY_FAIL.get(suite, "^$")))
    assert [name for name in failed if not re.fullmatch(allowed, name)] == []
    assert suite == "TestDeadHardware" or "passed" in outcomes[suite].values()


def test_absent_hardware_skips(outcomes: Outcomes) -> None:
    kinds = outcomes["TestAbsent"]
    assert {name for name, kind in kinds.items() if kind == "passed"} == {"test_probe", "test_exclusions"}
    assert set(kinds.values()) == {"passed", "skipped"}


def test_cannot_skips(outcomes: Outcomes) -> None:
    kinds = [kind for name, kind in outcomes["TestExclusions"].items() if name.startswith("test_values[linear/")]
    assert kinds
    assert set(kinds) == {"skipped"}


def test_every_suite_is_expected(outcomes: Outcomes) -> None:
    assert set(outcomes) == {*EXPECTED, "TestAbsent"}
