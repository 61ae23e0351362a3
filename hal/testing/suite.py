"""The suite that every backend passes."""

from __future__ import annotations

from hal.testing.check_contract import ContractChecks
from hal.testing.check_edges import EdgeChecks
from hal.testing.check_ops import OpsChecks
from hal.testing.check_properties import PropertyChecks
from hal.testing.check_random import RandomChecks
from hal.testing.check_training import TrainingChecks

__all__ = ["BackendConformance"]


class BackendConformance(OpsChecks, EdgeChecks, PropertyChecks, RandomChecks, TrainingChecks, ContractChecks):
    """Checks of one backend against the contract and a float64 oracle.

    A test module runs it by subclassing::

        from hal.testing import BackendConformance

        class TestToy(BackendConformance):
            backend_name = "toy"
            cannot = {"test_from_dlpack": "its arrays are not in memory that another framework could read"}
            not_yet = {"test_values[conv2d/groups-*]": "grouped convolutions are computed as one"}

    Where ``probe`` says that the backend is unavailable, the suite skips with its reason; a backend that says it is
    available and then fails, fails.
    """

    def test_exclusions(self) -> None:
        """Each exclusion has a reason, is in one of the two lists, and names a test or an op that there is."""
        tests = {name for name in dir(self) if name.startswith("test_")}
        known = tests | {case.op for case in self.cases}
        for key, reason in (*self.cannot.items(), *self.not_yet.items()):
            assert reason, f"{key} has no reason"
            assert "*" in key.partition("[")[0] or key.partition("[")[0] in known, f"{key} names no test and no op"
        assert not set(self.cannot) & set(self.not_yet)
