"""Keys from the command line and from files: what is understood, what is refused, and in which words."""

import re

import pytest
from pydantic import model_validator
from typer.testing import CliRunner

from hal.cli.app import app
from hal.config import PlanKeys, build, read, section_of
from hal.contract.plan import Plan
from hal.errors import ConfigError, HalError, NotFoundError, UnavailableError
from hal.nn import ModelConfig
from hal.parity.config import VerifyConfig
from hal.run.config import BenchConfig, RunConfig
from hal.tuner.config import TuneConfig
from hal.workload import BUILT_IN, configure, model_class


def config(*pairs, cls=RunConfig, file=None):
    return build(cls, read(pairs, file))


def fails(*pairs, cls=RunConfig, file=None, kind=ConfigError):
    with pytest.raises(kind) as caught:
        config(*pairs, cls=cls, file=file)
    return str(caught.value)


# What is understood


def test_sections_take_a_name_and_keys():
    found = config("model=cnn", "model.size=20", "optimizer=sgd", "optimizer.momentum=0.5", "data=digits")
    assert found.model.name == "cnn"
    assert found.model.keys() == {"size": 20}
    assert (found.optimizer.name, found.optimizer.hyper()) == ("sgd", {"momentum": 0.5})
    assert found.data.name == "digits"


@pytest.mark.parametrize(
    ("pair", "key", "value"),
    [
        ("lr=1e-3", "lr", 0.001),
        ("lr=1", "lr", 1.0),
        ("steps=7", "steps", 7),
        ("device=1", "device", 1),
        ("device=cuda:1", "device", "cuda:1"),
        ("parallel=dp=2", "parallel", "dp=2"),
        ("out=runs/a=b", "out", "runs/a=b"),
        ("out=2026", "out", "2026"),
        ("out=", "out", None),
        ("batch=null", "batch", None),
    ],
)
def test_values_are_yaml(pair, key, value):
    found = getattr(config(pair), key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("flip,crop", ("flip", "crop")), ("none", ()), ("[flip]", ("flip",)), ("flip, crop", ("flip", "crop"))],
)
def test_augmentations(written, meant):
    assert config(f"data.augment={written}").data.augment == meant
    assert config().data.augment is None


def test_the_line_wins_over_the_file(tmp_path):
    file = tmp_path / "keys.yaml"
    file.write_text("model: {name: cnn, size: 24, dense: 8}\nbatch: 32\nseed: 3\n")
    found = config("model.size=20", "batch=64", file=file)
    assert found.model.keys() == {"size": 20, "dense": 8}
    assert (found.batch, found.seed) == (64, 3)


def test_a_file_may_name_a_section_short(tmp_path):
    file = tmp_path / "keys.yaml"
    file.write_text("model: cnn\ndata: digits\noptimizer: sgd\n")
    found = config("model.size=20", "data.validation=0.5", file=file)
    assert (found.model.name, found.model.keys()) == ("cnn", {"size": 20})
    assert (found.data.name, found.data.validation, found.optimizer.name) == ("digits", 0.5, "sgd")


def test_an_empty_file_says_nothing(tmp_path):
    file = tmp_path / "keys.yaml"
    file.write_text("")
    assert config("model=cnn", file=file) == config("model=cnn")


def test_configs_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        config("model=cnn").seed = 3


def test_bench_runs_on_synthetic_data_unless_another_is_named():
    assert config(cls=BenchConfig).data.name == "synthetic"
    assert config("data.validation=0.5", cls=BenchConfig).data.name == "synthetic"
    assert config("data=digits", cls=BenchConfig).data.name == "digits"


# What is refused


@pytest.mark.parametrize(
    ("pair", "cls", "said"),
    [
        ("modle=cnn", RunConfig, "unknown key modle; did you mean model?"),
        ("bacth=3", RunConfig, "unknown key bacth; did you mean batch?"),
        ("data.augmnt=none", RunConfig, "unknown key data.augmnt; did you mean data.augment?"),
        ("optimizer.betaa1=0.5", RunConfig, "unknown key optimizer.betaa1; did you mean optimizer.beta1?"),
        ("versus.precison=bf16", BenchConfig, "unknown key versus.precison; did you mean versus.precision?"),
        ("secnds=3", BenchConfig, "unknown key secnds; did you mean seconds?"),
        ("epochs=3", BenchConfig, "unknown key epochs"),
    ],
)
def test_unknown_keys_get_the_nearest_known(pair, cls, said):
    assert said in fails(pair, cls=cls)


def test_a_key_like_no_other_gets_the_list():
    said = fails("qqqqqq=1")
    assert "unknown key qqqqqq; the keys are: " in said
    for key in ("model", "batch", "data.augment", "optimizer.beta1", "resume"):
        assert re.search(rf"\b{re.escape(key)}\b", said)


@pytest.mark.parametrize("name", BUILT_IN)
def test_unknown_keys_of_models_get_the_nearest_known(name):
    cls = model_class(name)
    key = next(iter(cls.Config.model_fields))
    wrong = key[:-1] + key[-1] * 2
    with pytest.raises(ConfigError, match=f"unknown key model.{wrong}; did you mean model.{key}"):
        configure(cls, {wrong: 1})


def test_wrong_values_of_models_are_named():
    with pytest.raises(ConfigError, match=r"model.size=3: input should be greater than or equal to 10"):
        configure(model_class("cnn"), {"size": 3})
    with pytest.raises(ConfigError, match=r"model.cell=lstn: input should be 'simple', 'lstm' or 'gru'"):
        configure(model_class("rnn"), {"cell": "lstn"})
    with pytest.raises(ConfigError, match=r"model.size=30: should be a multiple of 4"):
        configure(model_class("gan"), {"size": 30})


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("batch=0", "batch=0: input should be greater than or equal to 1"),
        ("batch=ten", "batch=ten: input should be a valid integer"),
        ("batch=1.5", "batch=1.5: input should be a valid integer"),
        ("precision=fp8", "precision=fp8: input should be 'fp32', 'tf32', 'bf16' or 'fp16'"),
        ("layout=chw", "layout=chw: input should be 'auto', 'nhwc' or 'nchw'"),
        ("lr=-1", "lr=-1: input should be greater than 0"),
        ("schedule=linear", "schedule=linear: input should be 'constant' or 'cosine'"),
        ("seed=-1", "seed=-1: input should be greater than or equal to 0"),
        ("optimizer=lion", "optimizer.name=lion: input should be 'sgd', 'adam', 'adamw' or 'rmsprop'"),
        ("data.validation=1", "data.validation=1: input should be less than 1"),
        ("data.augment=flop", "flop: input should be 'flip', 'crop' or 'brightness'"),
        ("model.size=20", "model is missing"),
        ("out=[a]", "out=['a']: input should be a valid string"),
    ],
)
def test_wrong_values_are_named(pair, said):
    assert said in fails(pair)


def test_every_mistake_gets_a_line():
    lines = fails("modle=cnn", "batch=0", "data.augmnt=none").splitlines()
    assert len(lines) == 3
    assert {line.split("=")[0].split(";")[0] for line in lines} == {
        "unknown key modle",
        "batch",
        "unknown key data.augmnt",
    }


@pytest.mark.parametrize("pair", ["model", "=3", ""])
def test_a_pair_needs_an_equals_sign(pair):
    assert f"{pair!r} is not of the form key=value" in fails(pair)


@pytest.mark.parametrize("pair", ["out=[1", "out=${nothing}", "out={a"])
def test_values_that_are_no_yaml(pair):
    said = fails(pair)
    assert said.startswith(f"cannot understand {pair}")
    assert len(said.splitlines()) == 1


def test_a_plan_that_has_no_form():
    with pytest.raises(ConfigError, match=r"parallel=two: write none, dp=N or fsdp=N, for example dp=2"):
        config("parallel=two").base_plan(8)


# Files


def test_a_file_that_is_not_there(tmp_path):
    said = fails(file=tmp_path / "none.yaml", kind=NotFoundError)
    assert "none.yaml" in said
    assert "No such file" in said


def test_a_folder_is_no_file(tmp_path):
    assert "Is a directory" in fails(file=tmp_path, kind=NotFoundError)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"model: [cnn", "is not valid YAML"),
        (b"\xff\xfe\x00", "is not valid YAML"),
        (b"- model\n- cnn\n", "does not contain keys and values"),
        (b"just words\n", "unknown key just words"),
        (b"3\n", "does not contain keys and values"),
        (b"modle: cnn\n", "did you mean model?"),
        (b"1: 2\n", "keys should be strings"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, content, said):
    file = tmp_path / "keys.yaml"
    file.write_bytes(content)
    assert said in fails(file=file)


# The plan


def test_plan_keys_win_over_the_file(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text("batch: 32\nprecision: bf16\nthreads: 2\n")
    plan = config(f"plan={file}", "precision=fp16").base_plan(8)
    assert plan == Plan(batch=32, precision="fp16", threads=2)


def test_the_model_says_the_batch():
    assert config().base_plan(24) == Plan(batch=24)
    assert config("batch=3").base_plan(24).batch == 3


def test_a_tuned_plan_has_to_be_stored():
    with pytest.raises(UnavailableError, match="no tuned plan") as caught:
        config("plan=tuned").base_plan(8)
    assert "plan=default" in caught.value.fix


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (None, NotFoundError, "No such file"),
        ("model: cnn\n", ConfigError, "contains other keys"),
        ("precison: bf16\n", ConfigError, "did you mean precision?"),
        ("batch: 0\n", ConfigError, "batch=0"),
        ("parallel: two\n", ConfigError, "parallel=two"),
    ],
)
def test_wrong_plan_files(tmp_path, content, kind, said):
    file = tmp_path / "plan.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(kind) as caught:
        config(f"plan={file}").base_plan(8)
    assert said in str(caught.value)


# Help


def _keys(cls, prefix=""):
    for name, field in cls.model_fields.items():
        section = section_of(field.annotation)
        if section is None:
            yield prefix + name
        else:
            yield from (prefix + name if k == "name" else f"{prefix}{name}.{k}" for k in section.model_fields)


@pytest.mark.parametrize(("command", "cls"), [("run", RunConfig), ("bench", BenchConfig), ("verify", VerifyConfig)])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_lists_every_key(command, cls, option):
    result = CliRunner().invoke(app, [command, option], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    listed = {line.split()[0] for line in result.stdout.splitlines() if line.strip()}
    wanted = {key for key in _keys(cls) if not key.startswith("versus.")}
    assert wanted - listed == set()
    assert {f"model.{key}" for name in BUILT_IN for key in model_class(name).Config.model_fields} - listed == set()
    for name in BUILT_IN:
        assert f"Keys of model={name}" in result.stdout
    assert ("versus.<key>" in result.stdout) == (cls is BenchConfig)
    for each in ("--config", "--json", "--help"):
        assert each in result.stdout


@pytest.mark.parametrize(
    "cls", [RunConfig, BenchConfig, VerifyConfig, PlanKeys, *(model_class(name).Config for name in BUILT_IN)]
)
def test_every_key_says_what_it_means(cls):
    for name, field in cls.model_fields.items():
        section = section_of(field.annotation)
        for key, inner in {name: field}.items() if section is None else section.model_fields.items():
            assert inner.description, f"{cls.__name__}.{name}.{key} has no description"


@pytest.mark.parametrize("keys", [{"objective": "sped"}, {"space": {"precision": ["fp31"]}}])
def test_what_is_wrong_in_a_list_is_said_once(keys):
    with pytest.raises(ConfigError) as caught:
        build(TuneConfig, keys)
    key, word = ("objective", "sped") if "objective" in keys else ("space.precision", "fp31")
    assert caught.value.message.startswith(f"{key}={word}: input should be")
    assert len(caught.value.message.splitlines()) == 1


def test_what_keys_together_break_is_said():
    class Config(ModelConfig):
        hidden: int = 8
        heads: int = 3

        @model_validator(mode="after")
        def _divides(self):
            if self.hidden % self.heads:
                raise ValueError("hidden must be a multiple of heads")
            return self

    with pytest.raises(ConfigError, match="hidden must be a multiple of heads"):
        build(Config, {})


def test_errors_are_of_hal():
    assert issubclass(ConfigError, HalError)
    assert (ConfigError.exit_status, UnavailableError.exit_status) == (2, 3)


@pytest.mark.parametrize(
    ("plan", "said", "fix"),
    [("tunned", "did you mean tuned?", "plan=tuned"), ("best.yaml", "contains other keys", "--config best.yaml")],
)
def test_plan_files_that_are_none(plan, said, fix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.yaml").write_text("model: cnn\nbackend: cpu\nbatch: 8\n")
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        build(RunConfig, {"plan": plan}).base_plan(8)
    assert fix in caught.value.fix
