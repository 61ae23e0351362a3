"""``hal export``: files for other runtimes, each compared with the model when it is written."""

import json

import numpy as np
import pytest
import safetensors.numpy
import torch
from run_helpers import CNN, RNN_CLASSIFY, command, train

import hal
from hal.after.proof import ProofBatch, prove
from hal.errors import RunError

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

SMALL = {"backend": "cpu", "data": "synthetic:40", "batch": 8, "threads": 1}
MODELS = {
    "cnn": CNN,
    "rnn-simple": {**RNN_CLASSIFY, "model": {**RNN_CLASSIFY["model"], "cell": "simple"}},
    "rnn-lstm": RNN_CLASSIFY,
    "rnn-gru": {**RNN_CLASSIFY, "model": {**RNN_CLASSIFY["model"], "cell": "gru"}},
    "rnn-text": {**SMALL, "model": {"name": "rnn", "units": 8, "embedding": 4, "length": 6, "sample": 0}},
    "transformer": {
        **SMALL,
        "model": {"name": "transformer", "task": "classify", "layers": 1, "width": 8, "heads": 2, "length": 16},
    },
    "efficientnet_lite0": {**SMALL, "model": {"name": "transfer", "weights": "random", "size": 32, "blocks": 3}},
    "vgg16": {
        **SMALL,
        "model": {"name": "transfer", "backbone": "vgg16", "weights": "random", "size": 32, "blocks": 1},
    },
    "resnet50": {
        **SMALL,
        "model": {"name": "transfer", "backbone": "resnet50", "weights": "random", "size": 32, "blocks": 2},
    },
    "minilm": {
        **SMALL,
        "model": {"name": "transfer", "backbone": "minilm", "weights": "random", "length": 8, "blocks": 2},
    },
}

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * 8 * 8, 10)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.conv(x))).flatten(1))
"""

PAIRS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.out = nn.Linear(8, 20)

    def forward(self, ids, mask):
        return self.out((self.words(ids) * mask.unsqueeze(-1)).sum(1))

def example_inputs(batch):
    ids = torch.randint(0, 20, (batch, 5))
    return dict(ids=ids, mask=torch.ones(batch, 5), labels=ids[:, 0])
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a small cnn."""
    folder = tmp_path_factory.mktemp("export") / "run"
    train(folder, steps=4)
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The folder of a run of a module of a user."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "net.py").write_text(NET)
    hal.train(model=f"{folder / 'net.py'}:Net", backend="cpu", threads=1, steps=2, batch=8, out=str(folder / "run"))
    return folder / "run"


def session(folder):
    return onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])


def run_openvino(path, inputs):
    """Outputs of OpenVINO on the processor, in fp32; None where it is not installed."""
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    compiled = openvino.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(inputs)[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_as_onnx(name, tmp_path):
    train(tmp_path / "run", base=MODELS[name], steps=1)
    found = hal.export(tmp_path / "run", "onnx")
    proof = found.proof
    assert proof.samples >= 8
    assert proof.samples_of.startswith("held-out samples of data=synthetic")
    assert proof.same_top == 1
    assert proof.accuracy == proof.accuracy_before
    assert proof.largest_deviation <= 1e-4 * max(1, proof.largest_output)
    _same_by_openvino(tmp_path / "run")


@pytest.mark.slow
def test_a_generator_as_onnx(trained_gan):
    found = hal.export(trained_gan, "onnx", samples=16)
    assert (found.proof.samples, found.proof.same_top, found.proof.accuracy) == (16, None, None)
    assert found.proof.largest_deviation < 1e-5
    _same_by_openvino(trained_gan)


def _same_by_openvino(run):
    from hal.after.samples import RunSamples

    model = hal.load(run)
    inputs = next(RunSamples.of(model, None).held_out(5, 5, padded=False)).inputs
    found = run_openvino(run / "exports" / "onnx" / "model.onnx", {"inputs": inputs})
    wanted = model.outputs(inputs)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * max(1, np.abs(wanted).max()))


def test_what_an_onnx_file_says_of_itself(trained):
    found = hal.export(trained, "onnx")
    folder = trained / "exports" / "onnx"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "export.json", "model.onnx"]
    assert found.files == {"model.onnx": (folder / "model.onnx").stat().st_size}
    loaded = session(folder)
    assert [each.name for each in loaded.get_inputs()] == ["inputs"]
    assert loaded.get_inputs()[0].shape == ["batch", 20, 20, 1]
    said = loaded.get_modelmeta().custom_metadata_map
    inputs = json.loads(said["preprocessing"])
    assert (inputs["shape"], inputs["axes"], inputs["range"]) == ([20, 20, 1], "NHWC", [0, 1])
    assert json.loads(said["hal.json"])["model"] == "cnn"
    stored = json.loads((folder / "export.json").read_text())
    assert stored["export"]["proof"] == found.proof.model_dump(mode="json")
    assert "## Proof" in (folder / "README.md").read_text()
    for batch in (1, 5):
        assert loaded.run(None, {"inputs": np.zeros((batch, 20, 20, 1), np.float32)})[0].shape == (batch, 10)


def test_precisions_and_batches_of_onnx(trained, tmp_path):
    half = hal.export(trained, "onnx", precision="fp16", batch=3, out=str(tmp_path / "half"))
    assert half.proof.allowed == 3e-2
    assert session(tmp_path / "half").get_inputs()[0].shape == [3, 20, 20, 1]
    small = hal.export(trained, "onnx", precision="int8", calibration=16)
    assert small.proof.accuracy is not None
    assert small.proof.same_top > 0.5
    assert small.files["model.onnx"] < half.files["model.onnx"] * 2
    assert (trained / "exports" / "onnx-int8" / "model.onnx").exists()
    found = run_openvino(
        trained / "exports" / "onnx-int8" / "model.onnx", {"inputs": np.zeros((2, 20, 20, 1), np.float32)}
    )
    assert found.shape == (2, 10)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_torch_programs(trained, tmp_path, precision):
    found = hal.export(trained, "torch", precision=precision, out=str(tmp_path / "out"))
    extra = {"hal.json": ""}
    program = torch.export.load(tmp_path / "out" / "model.pt2", extra_files=extra)
    assert json.loads(extra["hal.json"])["precision"] == precision
    images = np.random.default_rng(0).random((2, 20, 20, 1), np.float32)
    outputs = program.module()(torch.from_numpy(images)).detach().numpy()
    wanted = hal.load(trained, precision="fp32")(images)
    np.testing.assert_allclose(outputs, wanted, atol=1e-6 if precision == "fp32" else 0.02)
    assert found.proof.runtime.startswith("torch")


def test_stablehlo(trained, tmp_path):
    pytest.importorskip("jax")
    from jax import export as jax_export

    found = hal.export(trained, "stablehlo", out=str(tmp_path / "out"))
    assert set(found.files) == {"model.mlirbc", "model.jax_export"}
    program = jax_export.deserialize(bytearray((tmp_path / "out" / "model.jax_export").read_bytes()))
    images = np.random.default_rng(0).random((3, 20, 20, 1), np.float32)
    outputs = program.call({"inputs": images})
    np.testing.assert_allclose(np.asarray(outputs), hal.load(trained)(images), atol=1e-5)
    assert {"cpu", "tpu"} <= set(program.platforms)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16)]
)
def test_safetensors(trained, tmp_path, precision, dtype):
    import safetensors.torch

    hal.export(trained, "safetensors", precision=precision, out=str(tmp_path / "out"))
    values = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    model = hal.load(trained)
    kept = torch.from_numpy(np.array(model.params["head"]["kernel"]))
    assert torch.equal(values["params.head.kernel"], kept.to(dtype))
    with safetensors.safe_open(tmp_path / "out" / "model.safetensors", "numpy") as opened:
        assert json.loads(opened.metadata()["class_names"]) == []


@pytest.mark.parametrize("to", ["onnx", "torch", "stablehlo", "safetensors"])
def test_modules_of_a_user(own, to):
    # What JAX traces for batches of any size, a translated module cannot be in general.
    found = hal.export(own, to, samples=64, **({"batch": 8} if to == "stablehlo" else {}))
    assert found.proof.same_top == 1
    assert found.proof.accuracy == found.proof.accuracy_before
    if to == "safetensors":
        values = safetensors.numpy.load_file(own / "exports" / to / "model.safetensors")
        assert {"conv.weight", "norm.running_mean", "head.bias"} <= set(values)


def test_a_module_in_fp16(own, tmp_path):
    """Its normalization stays in fp32 beside a convolution in fp16, and the file has the weights in fp16."""
    found = hal.export(own, "onnx", precision="fp16", samples=16, out=str(tmp_path / "half"))
    assert found.proof.same_top == 1
    onnx = pytest.importorskip("onnx")
    weights = onnx.load(str(tmp_path / "half" / "model.onnx")).graph.initializer
    half = {tuple(each.dims) for each in weights if each.data_type == onnx.TensorProto.FLOAT16}
    assert (4, 1, 3, 3) in half
    assert len({(10, 256), (256, 10)} & half) == 1


def test_a_module_with_several_inputs(tmp_path):
    (tmp_path / "net.py").write_text(PAIRS)
    hal.train(model=f"{tmp_path / 'net.py'}:Net", backend="cpu", threads=1, steps=1, batch=8, out=str(tmp_path / "run"))
    for to in ("onnx", "safetensors"):
        found = hal.export(tmp_path / "run", to, samples=32)
        assert found.proof.samples == 32
    names = {each.name for each in session(tmp_path / "run" / "exports" / "onnx").get_inputs()}
    assert names == {"ids", "mask"}


def test_without_the_data_of_the_run(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random((40, 20, 20, 1)), y=np.arange(40) % 4)
    train(tmp_path / "run", base={**CNN, "data": f"npz:{tmp_path / 'x.npz'}"}, steps=1)
    (tmp_path / "x.npz").unlink()
    found = hal.export(tmp_path / "run", "torch")
    assert found.proof.samples_of.startswith("random inputs, since the data of the run cannot be read")
    assert (found.proof.accuracy, found.notes != ()) == (None, True)
    refused = command("export", tmp_path / "run", "--to", "onnx", "precision=int8")
    assert refused.exit_code == 2
    assert "calibrated on the data of the run" in " ".join(refused.stderr.split())


def test_a_wrong_export_is_an_error_and_is_not_written(trained, tmp_path, monkeypatch):
    from hal.after import exporting

    def wrong(content, provider):
        run, runtime = exporting_runner(content, provider)
        return lambda inputs: run(inputs) + 1, runtime

    exporting_runner = exporting.onnx_runner
    monkeypatch.setattr(exporting, "onnx_runner", wrong)
    result = command("export", trained, "--to", "onnx", f"out={tmp_path / 'out'}")
    assert result.exit_code == 1
    assert "the export is wrong and was not written" in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("outputs", "precision", "said"),
    [
        ([[0.0, 1.0]], "fp32", None),
        ([[0.0, 1.0005]], "fp32", None),
        ([[0.0, 1.01]], "fp32", "up to 0.01"),
        ([[0.0, 1.01]], "fp16", None),
        ([[0.0, 1.3]], "bf16", "up to 0.3"),
        ([[0.0, 3.0]], "int8", None),
        ([[0.0, np.nan]], "int8", "up to inf"),
        ([[0.0, 1.0, 0.0]], "fp32", "outputs of shape"),
    ],
)
def test_what_counts_as_equal(outputs, precision, said):
    def compared():
        return prove(
            iter([ProofBatch(None, np.array([1]))]),
            "samples",
            lambda inputs: np.array([[0.0, 1.0]], np.float32),
            lambda inputs: np.array(outputs, np.float32),
            runtime="a test",
            precision=precision,
            decides=lambda shape: True,
        )

    if said is None:
        assert compared().accuracy == 1
    else:
        with pytest.raises(RunError, match=said):
            compared()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--to", "onxx"], 2, "is not a known format"),
        (["--to", "torch", "precision=int8"], 2, "possible only with --to onnx"),
        (["--to", "onnx", "precision=bf16"], 2, "onnxruntime has no bf16"),
        (["--to", "torch", "opset=18"], 2, "opset= is a key of --to onnx"),
        (["--to", "onnx", "opset=3"], 2, "writes the model with opset=18, not with opset=3"),
        (["--to", "safetensors", "batch=3"], 2, "batch= has no meaning"),
        (["--to", "onnx", "out=model.onnx"], 2, "names a file, but an export is a folder"),
        (["--to", "onnx", "provider=NoProvider"], 2, "none of the execution providers"),
        (["--to", "onnx", "precision=int4"], 2, "precision=int4"),
        ([], 2, "--to"),
    ],
)
def test_bad_requests(trained, words, status, said):
    result = command("export", trained, *words)
    assert result.exit_code == status, result.stderr
    assert said in " ".join(result.stderr.split())


def test_the_command(trained, tmp_path):
    result = command("export", trained, "--to", "safetensors", f"out={tmp_path / 'out'}")
    assert result.exit_code == 0, result.stderr
    for part in ("model.safetensors", "Largest deviation from the model", "held-out samples", "Accuracy"):
        assert part in result.stdout
    again = command("export", trained, "--to", "safetensors", f"out={tmp_path / 'out'}")
    assert again.exit_code == 2
    assert "already exists and is not overwritten" in again.stderr
    as_json = command("export", trained, "--to", "safetensors", "--json")
    assert json.loads(as_json.stdout)["to"] == "safetensors"


def test_packages_that_are_not_installed(trained, monkeypatch):
    import importlib.util

    from hal import registry
    from hal.contract import Unavailable

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if "onnx" in name else real(name, *more))
    missing = command("export", trained, "--to", "onnx")
    assert missing.exit_code == 3
    assert "pip install 'hal-tensor[onnx]'" in " ".join(missing.stderr.split())
    monkeypatch.setattr(type(registry.backend("jax")), "probe", lambda self: Unavailable("it is not here", "get it"))
    missing = command("export", trained, "--to", "stablehlo")
    assert missing.exit_code == 3
    assert "--to stablehlo is not available: it is not here" in " ".join(missing.stderr.split())
