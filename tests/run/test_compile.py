"""``hal compile``: what it asks of a backend, what it makes of the answer, what it says; and real compilers."""

import importlib.util
import json
import threading

import pytest
from run_helpers import command

from hal import registry
from hal.contract.device import Capabilities, Device, Precision
from hal.contract.program import ArrayShape, DoesNotFitError, Program, ProgramCost, ProgramMemory, Target
from hal.errors import RunError, UnavailableError
from hal.targets.compile import Compilation

GIB = 2**30
SMALL = ("model.filters=[4]", "model.dense=8", "model.size=12")
needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")


class Made(Program):
    def __init__(self, total, lowered=False):
        self.seconds = 0.5
        self.memory = None if lowered else ProgramMemory(total, 0, 0, 0, 0, 0)

    usable_bytes = GIB

    @property
    def cost(self):
        return ProgramCost(2e9, 1e9, 1e-3, "roofline of a test", "a test")

    def artifacts(self):
        return {"program.stablehlo": "module @step {}"}


@pytest.fixture
def compiler(monkeypatch):
    """Hardware of the jax backend whose compiler is made up: a MiB a sample on 4 devices of a GiB."""
    backend = registry.backend("jax")
    asked = []
    device = Device(
        backend="jax",
        kind="t1000",
        index=0,
        vendor="Acme",
        name="Model T",
        arch="t1000",
        memory_bytes=GIB,
        compute_units=None,
        capabilities=Capabilities(
            {"fp32": Precision(True), "bf16": Precision(True)}, compile=("default",), parallel=("dp",)
        ),
    )

    def build(fn, arguments, target, plan, *, donate=()):
        asked.append((arguments, plan, donate))
        total = plan.batch * 2**20 // plan.spread().get("dp", 1)
        if total > GIB:
            raise DoesNotFitError(f"batch {plan.batch} is too large", total, GIB)
        return Made(total)

    monkeypatch.setattr(type(backend), "target", lambda self, name: Target(device, 4) if name == "t1000" else None)
    monkeypatch.setattr(type(backend), "targets", lambda self: ("t1000",))
    monkeypatch.setattr(backend, "build", build, raising=False)
    return backend, asked


def answer(*words, status=0):
    done = command("compile", "model=cnn", *SMALL, *words, "--json")
    assert done.exit_code == status, done.output
    return json.loads(done.stdout)


class TestAnswers:
    def test_it_fits(self, compiler):
        found = answer("target=t1000", "batch=8")
        assert (found["stage"], found["fits"], found["memory"]["total"]) == ("compiled", True, 8 * 2**20)
        assert found["largest"]["batch"] <= 1024 < found["largest"]["refused"] <= 1024 * 1.02
        assert found["plan"]["batch"] == 8

    def test_the_figures_have_these_names(self, compiler):
        found = answer("target=t1000", "batch=8")
        assert list(found["memory"]) == ["arguments", "outputs", "aliased", "temporaries", "code", "peak", "total"]
        assert list(found["cost"]) == ["flops", "bytes", "estimate_s", "source", "counted"]
        assert list(found["largest"]) == ["batch", "refused", "reason", "builds", "seconds", "stopped", "likely"]
        assert found["devices"] == 4
        assert Compilation.model_validate(found).model_dump(mode="json") == found

    def test_it_does_not_fit(self, compiler):
        found = answer("target=t1000", "batch=4096", status=4)
        assert (found["stage"], found["fits"]) == ("refused", False)
        assert found["needed_bytes"] == 4 * GIB
        assert found["largest"]["batch"] <= 1024
        done = command("compile", "model=cnn", *SMALL, "target=t1000", "batch=4096")
        assert f"Use batch={found['largest']['batch']} or less" in done.stdout
        assert "batch 4096 is too large" in done.stdout

    def test_a_compiler_that_takes_too_long(self, compiler, monkeypatch):
        """The answer comes in time, with both ends that were found till then."""
        quick, done = compiler[0].build, threading.Event()

        def build(fn, arguments, target, plan, **keys):
            if 100 < plan.batch <= 1024:
                done.wait()
            return quick(fn, arguments, target, plan, **keys)

        monkeypatch.setattr(compiler[0], "build", build)
        try:
            found = answer("target=t1000", "batch=8", "seconds=8")  # comes although that one still builds
        finally:
            done.set()
        largest = found["largest"]
        assert largest["batch"] <= 100
        assert largest["refused"] > 1024
        assert "took longer than seconds= allows" in largest["stopped"]

    def test_devices_share_the_batch(self, compiler):
        found = answer("target=t1000", "batch=8", "parallel=dp=4")
        assert found["largest"]["batch"] % 4 == 0
        assert found["largest"]["batch"] <= 4096 < found["largest"]["refused"]

    def test_what_is_built(self, compiler):
        answer("target=t1000", "batch=8", "largest=false")
        ((carry, batch, _, lr), plan, donate), *others = compiler[1]
        assert others == []
        assert donate == (0,)
        assert batch == {
            "inputs": ArrayShape((8, 12, 12, 1), "float32", True),
            "labels": ArrayShape((8,), "int64", True),
        }
        assert carry["params"]["body"]["conv2d"]["kernel"] == ArrayShape((3, 3, 1, 4), "float32")
        assert set(carry["optimizers"]["classify"]) == {"step", "mean", "square"}
        assert lr == pytest.approx(3e-3)
        assert plan.batch == 8

    def test_inference(self, compiler):
        answer("target=t1000", "batch=8", "mode=infer", "largest=false")
        ((params, state, inputs), _, donate), *_ = compiler[1]
        assert inputs == ArrayShape((8, 12, 12, 1), "float32", True)
        assert (donate, state) == ((), {})
        assert params["head"]["bias"] == ArrayShape((10,), "float32")

    def test_lowered_alone(self, compiler, monkeypatch):
        monkeypatch.setattr(compiler[0], "build", lambda *args, **keys: Made(0, lowered=True))
        found = answer("target=t1000")
        assert (found["stage"], found["fits"], found["largest"]) == ("lowered", None, None)
        assert "lowered to StableHLO" in command("compile", "model=cnn", *SMALL, "target=t1000").stdout

    def test_the_compiler_refuses_for_another_reason(self, compiler, monkeypatch):
        def refuse(*args, **keys):
            raise RunError("the compiler says: no such op")

        monkeypatch.setattr(compiler[0], "build", refuse)
        found = answer("target=t1000", status=1)
        assert (found["stage"], found["reason"]) == ("refused", "the compiler says: no such op")

    def test_artifacts_are_kept(self, compiler, tmp_path):
        found = answer("target=t1000", "largest=false", "--out", str(tmp_path / "kept"))
        assert (tmp_path / "kept" / "program.stablehlo").read_text() == "module @step {}"
        assert json.loads((tmp_path / "kept" / "compilation.json").read_text()) == found
        assert answer("target=t1000", "--out", str(tmp_path / "kept"), status=2)["error"]["type"] == "ConfigError"


class TestRequests:
    def test_a_batch_beyond_counting(self, compiler):
        assert (
            "less than or equal to 2147483647"
            in answer("target=t1000", "batch=200000000000", status=2)["error"]["message"]
        )

    @pytest.mark.parametrize(
        ("words", "status", "said"),
        [
            (["target=t2000"], 2, "target=t2000 is not known; did you mean t1000?"),
            ([], 2, "no target was given"),
            (["target=t1000", "precision=fp16"], 2, "precision=fp16 is not supported"),
            (["target=t1000", "parallel=dp=2"], 2, "which has 4 devices"),
            (["target=t1000", "parallel=dp=3", "batch=9"], 2, "which has 4 devices"),
            (["target=t1000", "bacth=3"], 2, "did you mean batch?"),
        ],
    )
    def test_wrong(self, compiler, words, status, said):
        done = command("compile", "model=cnn", *words)
        assert done.exit_code == status
        assert said in done.stderr.replace("\n", " ")

    def test_no_compiler_is_installed(self, compiler, monkeypatch):
        def missing(*args, **keys):
            raise UnavailableError("the compiler is not installed", fix="pip install it")

        monkeypatch.setattr(compiler[0], "build", missing)
        done = command("compile", "model=cnn", "target=t1000")
        assert done.exit_code == 3
        assert "pip install it" in done.stderr


@needs_libtpu
class TestTpu:
    def test_train_over_all_chips(self):
        found = answer("target=tpu-v2:2x2", "parallel=dp=8", "batch=64", "precision=bf16", "largest=false")
        assert (found["stage"], found["fits"], found["devices"]) == ("compiled", True, 8)
        assert found["cost"]["flops"] > 0
        assert found["memory"]["arguments"] > 0

    def test_a_batch_that_cannot_fit(self):
        found = answer("target=tpu-v5e:1x1", "batch=67108864", "mode=infer", "largest=false", status=4)
        assert found["fits"] is False
        assert "exceeds available HBM" in found["reason"]
        assert found["needed_bytes"] > found["usable_bytes"]


def test_rocm_is_lowered():
    found = answer("target=rocm:gfx942", "batch=4")
    assert (found["stage"], found["memory"]) == ("lowered", None)
    assert found["cost"]["flops"] > 0


@pytest.mark.skipif(
    importlib.util.find_spec("jax_plugins.xla_cuda12") is not None
    if importlib.util.find_spec("jax_plugins")
    else False,
    reason="the plugin is installed",
)
def test_cuda_without_its_compiler():
    done = command("compile", "model=cnn", "target=a100-80gb")
    assert done.exit_code == 3
    assert "pip install" in done.stderr
