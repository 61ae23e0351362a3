"""Which gradients the conformance suite takes in bf16, and which in fp16."""

from hal.testing.base import Variant
from hal.testing.check_ops import OpsChecks, _narrow_by_turns

NARROW = {"bf16", "fp16"}


def test_no_op_and_no_case_loses_its_narrow_gradients():
    cases = [case for case in OpsChecks.cases if case.gradient and case.differentiable()]
    variants = [Variant(case, precision, "nhwc") for case in cases for precision in case.precisions]
    kept = _narrow_by_turns(variants)
    assert len(kept) < len(variants)
    assert [v for v in kept if v.precision not in NARROW] == [v for v in variants if v.precision not in NARROW]

    def precisions(of, which):
        found = {}
        for variant in which:
            found.setdefault(of(variant.case), set()).update({variant.precision} & NARROW)
        return found

    assert precisions(lambda case: case.op, kept) == precisions(lambda case: case.op, variants)
    by_case = precisions(str, kept)
    assert all(by_case[name] for name, had in precisions(str, variants).items() if had)
    assert by_case["softmax/hard-80"] == NARROW, "fp16 may overflow where bf16 does not"
    assert by_case["linear/matrix"] != NARROW


def test_one_of_the_two_alone_is_kept():
    cases = [case for case in OpsChecks.cases if case.op == "linear"]
    variants = [Variant(case, "fp16", "nhwc") for case in cases]
    assert _narrow_by_turns(variants) == variants
