"""The toy backend passes hal's suite; run where hal-toy is installed."""

import pytest

from hal.testing import BackendConformance


# NumPy warns where others compute inf and nan in silence, and autograd where a gradient is zero everywhere.
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:Output seems independent of input:UserWarning")
class TestToy(BackendConformance):
    backend_name = "toy"
