"""What each elementwise op returns, costs and keeps for its backward step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hal.backends.null.dtypes import DType, bool_, floating, real_of
from hal.errors import UnsupportedError

__all__ = ["RULES", "Rule"]

Result = Literal["same", "floating", "real", "bool", "bits"]
Saved = Literal["nothing", "inputs", "others", "output", "first", "divisor"]


@dataclass(frozen=True)
class Rule:
    """An elementwise op.

    Attributes:
        returns: type of the result: that of the operands, that made floating, its real part, booleans, or that of the
            operands, which must be integers or booleans.
        flops: operations for each element of the result.
        saves: what the backward step reads; ``first``: the first operand alone; ``divisor``: the second, and
            the first where the second needs a gradient.
        passes: how many of the first operands get the result's gradient as it is.
        differentiable: false where the gradient is zero everywhere.
        typed: the first operand that takes part in the type of the result.
    """

    returns: Result = "same"
    flops: int = 1
    saves: Saved = "inputs"
    passes: int = 0
    differentiable: bool = True
    typed: int = 0

    def result(self, name: str, dtype: DType) -> DType:
        """Type of the result.

        Raises:
            UnsupportedError: the op does not take this type.
        """
        if self.returns == "bits" and dtype.kind not in "biu":
            raise UnsupportedError(f"{name} was given {dtype}", fix="it takes integers and booleans")
        if self.returns == "floating":
            return floating(dtype)
        if self.returns == "real":
            return real_of(dtype)
        return bool_ if self.returns == "bool" else dtype


def _rules(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: dict[str, Rule] = {
    "add": Rule(saves="nothing", passes=2),
    "subtract": Rule(saves="nothing", passes=1),
    "multiply": Rule(saves="others"),
    "divide": Rule("floating", saves="divisor"),
    "where": Rule(saves="first", typed=1),
    "abs": Rule("real"),
    **_rules("negative", Rule(saves="nothing")),
    **_rules("positive conj", Rule(flops=0, saves="nothing", passes=1)),
    **_rules("real imag", Rule("real", flops=0, saves="nothing")),
    **_rules("ceil floor floor_divide round sign trunc", Rule(differentiable=False)),
    **_rules("copysign maximum minimum nextafter pow remainder square clip", Rule()),
    **_rules("exp expm1 reciprocal sqrt tanh", Rule("floating", saves="output")),
    **_rules(
        "acos acosh asin asinh atan atan2 atanh cos cosh hypot log log10 log1p log2 logaddexp sin sinh tan",
        Rule("floating"),
    ),
    **_rules(
        "equal greater greater_equal isfinite isinf isnan less less_equal logical_and logical_not logical_or "
        "logical_xor not_equal signbit",
        Rule("bool", differentiable=False),
    ),
    **_rules(
        "bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor",
        Rule("bits", differentiable=False),
    ),
    # Activations, each as one fused op.
    "relu": Rule(saves="output"),
    "leaky_relu": Rule(flops=2),
    "elu": Rule("floating", flops=3),
    "erf": Rule("floating"),
    "gelu": Rule("floating", flops=9),
    "sigmoid": Rule("floating", saves="output"),
    "silu": Rule("floating", flops=2),
    "softplus": Rule("floating", flops=5),
}
