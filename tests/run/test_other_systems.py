"""macOS, of which Linux shows what it can, and Windows, which is refused in one sentence."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import hal
from hal.backends._host import memory
from hal.backends._host.host import read_host
from hal.errors import ConfigError, RequestError
from hal.tuner.worker import limit_memory
from hal.util import systems

SCRIPT = Path(__file__).parent / "on_other_systems.py"


def run(system, folder, *commands):
    """Exit statuses of the commands, and what they wrote to stdout and stderr."""
    words = json.dumps([command.split() for command in commands])
    done = subprocess.run(
        [sys.executable, str(SCRIPT), system, words, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *printed, statuses = done.stdout.splitlines()
    return json.loads(statuses), "\n".join(printed), done.stderr


def objects(text):
    """The JSON objects in a text."""
    decoder, found = json.JSONDecoder(), []
    while "{" in text:
        value, end = decoder.raw_decode(text[text.index("{") :])
        found.append(value)
        text = text[text.index("{") + end :]
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="it takes from Linux what a Mac does not have")
def test_a_mac(tmp_path):
    """Devices, a training on both frameworks and a benchmark, without anything that only Linux has."""
    pytest.importorskip("jax")
    statuses, printed, _ = run(
        "darwin",
        tmp_path,
        "devices",
        "devices --json",
        f"run model=mlp backend=cpu steps=3 out={tmp_path / 'cpu'} --json",
        f"run model=mlp backend=jax steps=2 out={tmp_path / 'jax'} --json",
        "bench model=mlp backend=cpu seconds=0.2 --json",
    )
    assert statuses == [0, 0, 0, 0, 0]
    assert "mps:0 lacks 64-bit floating point" in " ".join(printed.split())
    listed, on_cpu, on_jax, bench = objects(printed)
    found = {entry["backend"]: entry for entry in listed["backends"]}
    for name in ("cpu", "jax", "mps"):
        (device,) = found[name]["devices"]
        expected = "Apple M1 Pro GPU" if name == "mps" else "Apple M1 Pro"
        assert (device["name"], device["vendor"]) == (expected, "Apple")
    assert found["mps"]["runtime"].endswith("Metal on macOS 15.1")
    assert found["mps"]["devices"][0]["memory_bytes"] == 11_453_246_122
    for record in (on_cpu, on_jax):
        assert record["status"] == "done"
        assert record["device"]["name"] == "Apple M1 Pro"
    assert bench["measurement"]["environment"]["cpu_model"] == "Apple M1 Pro"
    assert bench["measurement"]["throughput"]["median"] > 0


def test_windows(tmp_path):
    statuses, printed, errors = run(
        "win32", tmp_path, "run model=cnn", "devices --json", "tune model=cnn budget=1s", "--version"
    )
    assert statuses == [2, 2, 2, 0]
    for text in (errors.splitlines()[0], objects(printed)[0]["error"]["message"]):
        assert "on Windows it runs within WSL2" in text
    assert "wsl --install" in errors
    assert "Traceback" not in errors
    assert hal.__version__ in printed


@pytest.mark.parametrize("name", ["train", "bench", "tune", "devices", "device"])
def test_windows_in_python(monkeypatch, name):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(RequestError, match="WSL2"):
        hal.__getattr__(name)


class TestMac:
    @pytest.fixture(autouse=True)
    def mac(self, monkeypatch, tmp_path):
        monkeypatch.setattr(sys, "platform", "darwin")
        systems.processor_name.cache_clear()
        yield
        systems.processor_name.cache_clear()

    @pytest.mark.parametrize(
        ("name", "vendor"), [("Apple M4 Max", "Apple"), ("Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz", "Intel")]
    )
    def test_the_processor(self, monkeypatch, tmp_path, name, vendor):
        asked = []

        def sysctl(words, **_):
            asked.append(words)
            return SimpleNamespace(returncode=0, stdout=f"{name}\n")

        monkeypatch.setattr(systems.subprocess, "run", sysctl)
        host = read_host(cpuinfo=tmp_path / "absent", own_cgroups=tmp_path / "absent")
        assert (host.name, host.vendor) == (name, vendor)
        assert asked == [["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]]

    def test_a_system_that_does_not_tell(self, monkeypatch, tmp_path):
        monkeypatch.setattr(systems, "_SYSCTL", str(tmp_path / "absent"))
        host = read_host(cpuinfo=tmp_path / "absent", own_cgroups=tmp_path / "absent")
        assert host.name
        assert host.vendor

    def test_the_peak_counts_from_the_last_reset(self, monkeypatch):
        """The system counts from the start of the process, in bytes; what was there before says nothing."""
        peak = SimpleNamespace(ru_maxrss=7_000_000)
        monkeypatch.setattr(memory.resource, "getrusage", lambda who: peak)
        monkeypatch.setattr(memory, "_mac_peak", memory._MacPeak())
        assert memory.resident_memory().peak_bytes == 7_000_000
        memory.forget_peak()
        assert memory.resident_memory().peak_bytes is None
        peak.ru_maxrss = 9_000_000
        assert memory.resident_memory().peak_bytes == 9_000_000
        assert memory.resident_memory().allocated_bytes > 1_000_000

    def test_a_limit_of_addresses_is_refused(self):
        device = SimpleNamespace(capabilities=SimpleNamespace(reserves_addresses=False))
        with pytest.raises(ConfigError, match="macOS does not limit") as caught:
            limit_memory(8_000_000_000, device)
        assert "memory_limit=" in caught.value.fix
