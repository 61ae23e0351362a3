"""The null backend passes the suite: the same cases, with shapes and dtypes in place of numbers."""

from hal.testing import BackendConformance


class TestNull(BackendConformance):
    backend_name = "null"
    values = False
