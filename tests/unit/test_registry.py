"""The registry: entry points to backends, names to devices."""

import dataclasses
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pytest

from hal import api, registry
from hal.contract import Available, Backend, Unavailable
from hal.contract.device import PRECISIONS, Capabilities, Device, Precision
from hal.errors import ConfigError, UnavailableError

CAN = Capabilities({name: Precision(supported=name == "fp32") for name in PRECISIONS})


def make(name: str, priority: int = 0, devices: int = 1, reason: str = "") -> type[Backend]:
    """A backend with so many devices, or unavailable for a reason."""

    class Fake(Backend):
        def probe(self) -> Available | Unavailable:
            return Unavailable(reason, "buy one") if reason else Available("fake")

        def devices(self) -> list[Device]:
            return [
                Device(
                    backend=name,
                    index=i,
                    vendor="vendor",
                    name=f"card {i}",
                    arch="arch",
                    memory_bytes=None,
                    compute_units=None,
                    capabilities=CAN,
                )
                for i in range(devices)
            ]

        def ops(self, device: Device) -> Any:
            return ("ops", device)

        def from_host(self, array: Any, device: Device, *, axes: str = "", layout: str = "nhwc") -> Any:
            return array

        def to_host(self, array: Any) -> Any:
            return array

        def value_and_grad(self, fn: Any, plan: Any = None) -> Any:
            return fn

        def classify(self, error: BaseException) -> None:
            return None

    Fake.name, Fake.priority = name, priority
    return Fake


class Point:
    """An entry point that counts how often it is loaded."""

    def __init__(self, name: str, value: Any) -> None:
        self.name, self.value, self.loads = name, value, 0

    def load(self) -> Any:
        self.loads += 1
        return self.value


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replace what is installed by the given backends."""

    def put(*points: Point) -> None:
        registry.backend.cache_clear()
        monkeypatch.setattr(registry, "entry_points", lambda group: list(points) if group == "hal.backends" else [])

    yield put
    registry.backend.cache_clear()


def test_in_tree_backends_are_entry_points() -> None:
    points = {point.name: point for point in entry_points(group=registry.GROUP)}
    assert {"cpu", "cuda", "rocm", "mps", "xpu", "null"} <= set(points)
    assert {"cpu", "cuda", "rocm", "mps", "xpu", "null"} <= set(registry.names())
    assert all(isinstance(point, EntryPoint) for point in points.values())


@pytest.mark.parametrize("name", ["cpu", "cuda", "rocm", "mps", "xpu", "null"])
def test_in_tree_backends_load(name: str) -> None:
    found = registry.backend(name)
    assert isinstance(found, Backend)
    assert found.name == name
    assert registry.backend(name) is found


def test_names_load_nothing(install: Any) -> None:
    points = [Point("b", make("b")), Point("a", make("a"))]
    install(*points)
    assert registry.names() == ("a", "b")
    assert [point.loads for point in points] == [0, 0]
    registry.backend("a")
    registry.backend("a")
    assert [point.loads for point in points] == [0, 1]


@pytest.mark.parametrize(("asked", "near"), [("cudda", "did you mean cuda?"), ("vulkan", "")])
def test_unknown_backend(asked: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"backend={asked} is not known") as caught:
        registry.backend(asked)
    assert near in caught.value.message
    assert ("did you mean" in caught.value.message) == bool(near)
    assert "use one of: " in (caught.value.fix or "")
    assert "null" in (caught.value.fix or "")


@pytest.mark.parametrize(
    ("asked", "meant"), [("nvidia", "cuda"), ("AMD", "rocm"), ("Intel", "xpu"), ("apple", "mps"), ("metal", "mps")]
)
def test_words_of_vendors_get_the_name_of_the_backend(asked: str, meant: str) -> None:
    for ask in (registry.backend, registry.device):
        with pytest.raises(ConfigError, match=f"backend={asked} is not known; did you mean backend={meant}\\?"):
            ask(asked)


def test_a_word_for_several_backends_gets_those_that_run(install: Any) -> None:
    there, gone, other = make("there", 1), make("gone", 2, reason="no card"), make("other")
    there.aliases = gone.aliases = ("gpu", "card")
    install(Point("there", there), Point("gone", gone), Point("other", other))
    for word in ("gpu", "card", "GPU"):
        with pytest.raises(ConfigError, match=r"did you mean backend=there\?"):
            registry.select(word)
    install(Point("gone", gone), Point("also", make("also", 1, reason="none")), Point("other", other))
    also = registry.backend("also")
    type(also).aliases = ("gpu",)
    with pytest.raises(ConfigError, match=r"did you mean backend=also or backend=gone\?") as caught:
        registry.device("auto:gpu")
    assert "backend=auto" in str(caught.value.fix)


def test_aliases_are_no_names() -> None:
    loaded = [registry.backend(name) for name in registry.names()]
    words = [(word, each.name) for each in loaded for word in each.aliases]
    assert {word for word, _ in words}.isdisjoint(registry.names())
    assert all(word == word.lower() for word, _ in words)
    assert {name for word, name in words if word == "gpu"} == {"cuda", "rocm", "mps", "xpu"}


@pytest.mark.parametrize("value", [object, lambda: None, 3])
def test_entry_point_that_is_no_backend(install: Any, value: Any) -> None:
    install(Point("bad", value))
    with pytest.raises(ConfigError, match=r"entry point bad in hal.backends is .*, not a subclass of"):
        registry.backend("bad")


def test_require_says_why_and_what_to_do(install: Any) -> None:
    install(Point("gone", make("gone", reason="no card")))
    with pytest.raises(UnavailableError, match="backend=gone is not available: no card") as caught:
        registry.require("gone")
    assert caught.value.fix == "buy one"
    assert caught.value.exit_status == 3


def test_device_by_name() -> None:
    device = registry.device("cpu")
    assert (device.backend, device.index) == ("cpu", 0)
    assert registry.device("cpu:0") == device
    assert device.xp is registry.backend("cpu").ops(device)


@pytest.mark.parametrize("name", ["cpu:7", "null:1", "cpu:gpu:0"])
def test_device_that_does_not_exist(name: str) -> None:
    with pytest.raises(UnavailableError, match=f"device {name} does not exist") as caught:
        registry.device(name)
    assert caught.value.fix == f"use one of: {name.partition(':')[0]}:0"


@pytest.mark.parametrize("name", ["", "cpu:", "cpu:X", "cpu:-1", ":0", "cpu:a:b"])
def test_malformed_device(name: str) -> None:
    with pytest.raises(ConfigError, match="does not name a device"):
        registry.device(name)


def test_devices_of_a_kind(install: Any) -> None:
    mixed = make("mixed", 20, devices=2)
    first, second = mixed().devices()
    kinds = [dataclasses.replace(first, kind="fast", index=0), dataclasses.replace(second, kind="slow", index=0)]
    install(Point("mixed", type("Mixed", (mixed,), {"devices": lambda self: kinds})))
    assert [str(registry.device(name)) for name in ("mixed", "mixed:0", "mixed:slow", "mixed:slow:0")] == [
        "mixed:fast:0",
        "mixed:fast:0",
        "mixed:slow:0",
        "mixed:slow:0",
    ]
    assert str(registry.device("auto")) == "mixed:fast:0"
    with pytest.raises(UnavailableError, match="device mixed:slow:1 does not exist"):
        registry.device("mixed:slow:1")


def test_negative_index() -> None:
    with pytest.raises(UnavailableError, match="does not exist"):
        registry.select("cpu", -1)


def test_auto_takes_the_highest_priority_that_runs(install: Any) -> None:
    install(
        Point("absent", make("absent", 30, reason="no card")),
        Point("empty", make("empty", 20, devices=0)),
        Point("fast", make("fast", 10, devices=2)),
        Point("slow", make("slow", 0)),
    )
    assert str(registry.select()) == "fast:0"
    assert str(registry.device("auto")) == "fast:0"
    assert str(registry.device("auto:1")) == "fast:1"
    with pytest.raises(UnavailableError, match="device fast:2 does not exist"):
        registry.select("auto", 2)


def test_auto_breaks_ties_by_name(install: Any) -> None:
    install(Point("b", make("b")), Point("a", make("a")))
    assert str(registry.select()) == "a:0"


def test_auto_never_takes_a_negative_priority(install: Any) -> None:
    install(Point("null", make("null", -1)))
    with pytest.raises(UnavailableError, match="no backend is available on this machine"):
        registry.select()
    assert str(registry.select("null")) == "null:0"


def test_null_is_taken_by_name_alone() -> None:
    assert registry.backend("null").priority < 0
    assert registry.select().backend != "null"


def test_a_backend_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("broken", "hal_of_nobody:Backend", registry.GROUP)
    real = entry_points(group=registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [*real, broken])
    with pytest.raises(UnavailableError, match="cannot be loaded: ModuleNotFoundError") as caught:
        registry.backend("broken")
    assert "hal_of_nobody" in str(caught.value.fix)
    assert registry.select("auto").backend != "broken", "the others go on"
    seen = {entry.backend: entry for entry in api.devices()}
    assert isinstance(seen["broken"].state, Unavailable)
    assert "cannot be loaded" in seen["broken"].state.reason
    assert seen["cpu"].devices
