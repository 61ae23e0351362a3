"""The toy backend passes hal's suite; run where hal-toy is installed."""

from collections.abc import Mapping
from typing import ClassVar

import pytest

from hal.testing import BackendConformance


# NumPy warns where others compute inf and nan in silence, and autograd where a gradient is zero everywhere.
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:Output seems independent of input:UserWarning")
class TestToy(BackendConformance):
    backend_name = "toy"
    # At points where a derivative is a matter of convention, or where autograd divides by zero.
    cannot: ClassVar[Mapping[str, str]] = {
        **{
            f"test_derivatives_at_kinks[{op}]": "autograd has a convention of its own, or no derivative"
            for op in ("clip*", "prod", "cumulative_prod", "atan2", "hypot", "copysign", "std")
        },
        "test_the_first_of_equal_values_in_a_window": "autograd gives all equal values a share",
        "test_ids_outside_the_table": "NumPy takes -1 for the last row",
    }
