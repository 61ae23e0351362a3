"""Settings of all tests."""

import os

from hypothesis import settings

# New examples on a developer's machine, the same ones in CI; a busy machine is no failure.
settings.register_profile("hal", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("hal")
