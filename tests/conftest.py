"""Settings of all tests."""

import os
import signal
import sys
import tempfile
from pathlib import Path

from hypothesis import settings

# New examples on a developer's machine, the same ones in CI; a busy machine is no failure.
settings.register_profile("hal", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("hal")

# A shell that starts the tests in the background lets them, and what they start, ignore Ctrl-C; nohup a hang-up.
for _name, _usual in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    if hasattr(signal, _name) and signal.getsignal(getattr(signal, _name)) is signal.SIG_IGN:
        signal.signal(getattr(signal, _name), _usual)

# Processes that run tests side by side share the cores; more threads than cores would mostly wait for each other.
if _workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _workers)))

# Tests see no plan that somebody's tuning has stored, and store none there.
os.environ["HAL_CACHE"] = tempfile.mkdtemp(prefix="hal-tests-")
os.environ["HAL_STATE"] = tempfile.mkdtemp(prefix="hal-tests-")

sys.path.append(str(Path(__file__).parent))  # helpers that tests of several folders share


def pytest_terminal_summary(terminalreporter):
    """After a long search for inputs that readers cannot answer: what came of them."""
    import fuzzing

    if "HAL_FUZZ" in os.environ and fuzzing.COUNTS:
        terminalreporter.section("inputs that were made up")
        for line in fuzzing.table():
            terminalreporter.write_line(line)
