"""The cases of the conformance suite: their inputs follow from the op and the label alone."""

import numpy as np
import pytest

from hal.tensor import OPS
from hal.testing import BackendConformance
from hal.testing.case import Case, distinct, drawn, floats, leaves
from hal.testing.ops import CASES, ORACLE


def test_inputs_are_those_of_the_case_alone():
    """Whatever was drawn before: a case that is made again, after others and alone, has equal inputs."""
    first = Case("conv2d", "mine", (floats(2, 3), (distinct(4, 4), floats(5)), None, 2))
    Case("conv2d", "another", (floats(7), distinct(3)))
    again = Case("conv2d", "mine", (floats(2, 3), (distinct(4, 4), floats(5)), None, 2))
    for a, b in zip(leaves(first.args), leaves(again.args), strict=True):
        np.testing.assert_array_equal(a, b)


def test_inputs_are_the_same_in_every_process():
    """Numbers written down, since hash() would differ from process to process."""
    case = Case("relu", "pinned", (floats(3), distinct(4)))
    assert case.args[0].tolist() == [0.1875, 0.3125, -1.0625]
    assert case.args[1].tolist() == [-0.03125, -0.09375, 0.09375, 0.03125]


def test_inputs_differ_from_place_to_place_and_from_label_to_label():
    case, other = (Case("add", label, (floats(9), floats(9))) for label in ("one", "other"))
    arrays = [*case.args, *other.args]
    assert len({array.tobytes() for array in arrays}) == 4


def test_nothing_is_left_to_be_drawn():
    for case in BackendConformance.cases:
        assert all(isinstance(leaf, (np.ndarray, np.generic, int, float, str)) for leaf in leaves(case.args)), case


@pytest.mark.parametrize("given", [{"near": 1.0}, {"spread": 0.125}, {"positive": True}])
def test_values_are_exact_in_bf16(given):
    values = drawn(floats(64, **given), "x")
    assert values.dtype == np.float32
    assert (values.view(np.uint32) & 0xFFFF == 0).all()
    assert (values != 0).all()


# What has a check of its own in the suite instead of cases.
CHECKED = set("scan filled zeros_as positions cast fold_in split_key uniform normal dropout".split())


@pytest.mark.parametrize("name", sorted(set(OPS) - CHECKED))
def test_each_op_has_an_oracle_and_a_case(name):
    assert hasattr(type(ORACLE), name)
    assert name in {case.op for case in CASES}
