"""Configuration from files, plans in files, and the help that lists every key."""

import re

import pytest
from config_helpers import config, fails
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
from hal.workload import BUILT_IN, model_class

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
        (b"model: [cnn", "is not YAML"),
        (b"\xff\xfe\x00", "is not YAML"),
        (b"- model\n- cnn\n", "should contain one key with its value"),
        (b"just words\n", "should contain one key with its value"),
        (b"3\n", "should contain one key with its value"),
        (b"modle: cnn\n", "did you mean model?"),
        (b"1: 2\n", "keys should be strings"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, content, said):
    file = tmp_path / "keys.yaml"
    file.write_bytes(content)
    assert said in fails(file=file)


@pytest.mark.parametrize(
    "written", ["007", "1e3", "2024-01-01", "on", "yes", "0x10", "1:30", "1.10", "True", ".nan", "1_000", '"007"']
)
@pytest.mark.parametrize("key", ["out", "data", "plan"])
def test_text_stands_as_it_is_written(tmp_path, key, written):
    file = tmp_path / "keys.yaml"
    for content in (f"{key}: {written}", f"seed: 1\n<<: {{{key}: {written}}}", f"{key}: &a {written}\n"):
        file.write_text(f"model: cnn\n{content}\n")
        held = getattr(config(file=file), key)
        assert (held.name if key == "data" else held) == written.strip('"')


def test_an_alias_is_read_by_the_key_it_stands_at(tmp_path):
    file = tmp_path / "keys.yaml"
    file.write_text("model: cnn\nsteps: &a 1_000\nout: *a\ndata: {name: 1e3, validation: 1e-1}\nresume: null\n")
    held = config(file=file)
    assert (held.steps, held.out, held.data.name, held.data.validation) == (1000, "1_000", "1e3", 0.1)
    assert held.resume is None


def test_numbers_are_decimal(tmp_path):
    file = tmp_path / "keys.yaml"
    file.write_text("model: cnn\nsteps: 010\n")
    assert config(file=file).steps == 10
    file.write_text("model: cnn\nlr: 1:30\n")
    assert "lr=1:30" in fails(file=file)


def test_texts_in_lists(tmp_path):
    file = tmp_path / "keys.yaml"
    file.write_text("backends: [cpu, null, 007]\n")
    assert build(VerifyConfig, read(VerifyConfig, [], file)).backends == ("cpu", "null", "007")


WRONG = "model: {name: cnn, size: 12}\nbacth: 3\ncompile: yes\noptimizer: {beta1: 2}\n"


def test_what_is_wrong_in_a_file_is_said_with_its_name(tmp_path):
    file = tmp_path / "keys.yaml"
    file.write_text(WRONG)
    lines = fails("lr=-1", file=file).splitlines()
    assert [line.partition(f"{file}: ")[2].partition(";")[0] for line in lines] == [
        "compile=yes: input should be 'auto', 'eager', 'default' or 'max'",
        "optimizer.beta1=2: input should be less than 1",
        "unknown key bacth",
    ]
    file.write_text(WRONG.replace("bacth", "batch"))
    assert fails("lr=-1", "compile=max", "optimizer.beta1=0", file=file).startswith("lr=-1: ")
    assert config("compile=max", "optimizer.beta1=0", file=file).compile == "max"


def test_keys_of_a_file_are_checked_without_what_is_not_given(tmp_path):
    file = tmp_path / "keys.yaml"
    file.write_text("model.size: 20\n")
    assert fails(file=file) == "model is missing; add model=VALUE"


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
    assert str(file) in str(caught.value)


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
