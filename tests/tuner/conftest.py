"""Makes the helpers here importable, also in the processes that the tests start; a database for those that need one."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL server; without one, tests are skipped, but not in CI."""
    from postgresql import binaries, server

    tools = binaries()
    missing = "no PostgreSQL server is installed: apt-get install postgresql" if tools is None else ""
    if importlib.util.find_spec("psycopg") is None:
        missing = "psycopg is not installed: pip install 'hal-tensor[postgresql]'"
    if missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    with server(tools) as running:
        yield running
