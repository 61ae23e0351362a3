"""What each elementwise op costs and keeps for its backward step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["RULES", "Rule"]

Saved = Literal["nothing", "inputs", "others", "output", "first", "divisor"]


@dataclass(frozen=True)
class Rule:
    """An elementwise op.

    Attributes:
        flops: operations for each element of the result.
        saves: what the backward step reads; ``first``: the first operand alone; ``divisor``: the second, and
            the first where the second needs a gradient.
        passes: how many of the first operands get the result's gradient as it is.
        differentiable: false where the gradient is zero everywhere.
    """

    flops: int = 1
    saves: Saved = "inputs"
    passes: int = 0
    differentiable: bool = True


def _rules(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: dict[str, Rule] = {
    "add": Rule(saves="nothing", passes=2),
    "subtract": Rule(saves="nothing", passes=1),
    "multiply": Rule(saves="others"),
    "divide": Rule(saves="divisor"),
    "where": Rule(saves="first"),
    "abs": Rule(),
    **_rules("negative", Rule(saves="nothing")),
    **_rules("positive conj", Rule(flops=0, saves="nothing", passes=1)),
    **_rules("real imag", Rule(flops=0, saves="nothing")),
    **_rules("ceil floor floor_divide round sign trunc", Rule(differentiable=False)),
    **_rules("copysign maximum minimum nextafter pow remainder square clip", Rule()),
    **_rules("exp expm1 reciprocal sqrt tanh", Rule(saves="output")),
    **_rules(
        "acos acosh asin asinh atan atan2 atanh cos cosh hypot log log10 log1p log2 logaddexp sin sinh tan",
        Rule(),
    ),
    **_rules(
        "equal greater greater_equal isfinite isinf isnan less less_equal logical_and logical_not logical_or "
        "logical_xor not_equal signbit",
        Rule(differentiable=False),
    ),
    **_rules(
        "bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor",
        Rule(differentiable=False),
    ),
    # Activations, each as one fused op.
    "relu": Rule(saves="output"),
    "leaky_relu": Rule(flops=2),
    "elu": Rule(flops=3),
    "erf": Rule(),
    "gelu": Rule(flops=9),
    "sigmoid": Rule(saves="output"),
    "silu": Rule(flops=2),
    "softplus": Rule(flops=5),
}
