"""Keys from the command line and from files: what is understood, what is refused, and in which words."""

import os
import re
from pathlib import Path

import pytest
from config_helpers import config, fails

import hal
from hal.config import plan_keys
from hal.config.yaml_text import parse_file
from hal.errors import ConfigError, NotFoundError
from hal.parity.config import VerifyConfig
from hal.run.config import BenchConfig, RunConfig
from hal.tuner.config import TuneConfig
from hal.util.paths import user_path
from hal.workload import BUILT_IN, configure, model_class

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
        ("out=007", "out", "007"),
        ("out=1e3", "out", "1e3"),
        ("out=a #b", "out", "a #b"),
        ("out=null", "out", "null"),
        ("out=[1", "out", "[1"),
        ("out={a", "out", "{a"),
        ("out=${seed}", "out", "${seed}"),
        ("out='q'", "out", "'q'"),
        ("resume=010", "resume", "010"),
        ("plan=2026-11-22", "plan", "2026-11-22"),
        ("backend=null", "backend", "null"),
        ("parallel=none", "parallel", "none"),
        ("seed=0x10", "seed", 16),
        ("batch=null", "batch", None),
        ("precision='bf16'", "precision", "bf16"),
    ],
)
def test_text_stands_as_it_was_typed_and_other_values_are_yaml(pair, key, value):
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
        ("schedule=linear", "schedule=linear: input should be 'constant', 'cosine', 'step' or 'onecycle'"),
        ("seed=-1", "seed=-1: input should be greater than or equal to 0"),
        ("optimizer=lion", "optimizer=lion: input should be 'sgd', 'adam', 'adamw' or 'rmsprop'"),
        ("data.validation=1", "data.validation=1: input should be less than 1"),
        (
            "data.augment=flop",
            "flop: input should be 'flip', 'crop', 'brightness', 'rotate', 'scale' or 'color'",
        ),
        ("model.size=20", "model is missing"),
        ("lr=[1]", "lr=[1]: input should be a valid number"),
        ("compile=yes", "compile=yes: input should be 'auto', 'eager', 'default' or 'max'; did you mean default?"),
        ("compile=off", "compile=off: input should be 'auto', 'eager', 'default' or 'max'; did you mean eager?"),
        ("precision=no", "precision=no: input should be 'fp32', 'tf32', 'bf16' or 'fp16'; did you mean fp32?"),
        ("precision=bfloat16", "did you mean bf16?"),
        ("layout=NHWC", "layout=NHWC: input should be 'auto', 'nhwc' or 'nchw'; did you mean nhwc?"),
        ("layout=no", "layout=no: input should be"),
        ("optimizer=on", "optimizer=on: input should be"),
        ("data.augment=no", "data.augment=no: input should be"),
        ("seed=yes", "seed=yes: input should be a valid integer"),
        ("seed=null", "seed=null: input should be a valid integer"),
        ("lr=on", "lr=on: input should be a valid number"),
        ("threads=True", "threads=True: input should be a valid integer"),
    ],
)
def test_wrong_values_are_named(pair, said):
    assert said in fails(pair)


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("objective=no", "objective=no: input should be 'throughput'"),
        ("objective=null", "objective=null: input should be 'throughput'"),
        ("space.compile=yes", "space.compile=yes: input should be 'eager', 'default' or 'max'; did you mean default?"),
        ("space.batch=[8,no]", "space.batch.1=no: input should be a valid integer"),
        ("budget=off", "budget=off: write a number"),
    ],
)
def test_wrong_values_of_a_tuning_are_named_as_they_were_typed(pair, said):
    assert said in fails(pair, cls=TuneConfig)


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


NESTED = "[" * 1000 + "]" * 1000
BOMB = "a: &a [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(20)
)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[1", "did not find expected"),
        ("{a", "did not find expected"),
        (NESTED, "nested more than 32 levels deep (line 1)"),
        ("!!int foo", "the tag !!int, and keys need none (line 1)"),
        ("!!python/object/apply:os.system [ls]", "the tag"),
        ("!mine 3", "the tag !mine"),
        ("9" * 5000, "integer"),
        ("1" + "0" * 30, "does not fit in 64 bits"),
        ("a\0b", "not allowed"),
        ("\x1b[31m", "not allowed"),
        ("{a: 1, a: 2}", "the key a is given twice"),
        ("{1: 2}", "keys should be strings"),
        ("{[a]: 2}", "keys should be strings"),
        ("&a [*a]", "an alias refers to a value that contains it"),
        ("*nothing", "undefined alias"),
        ("\udcff", "surrogates not allowed"),
        ("1\n---\n2", "more than one document"),
    ],
)
def test_values_that_are_no_yaml(value, said):
    for key in ("lr", "data.validation"):
        found = fails(f"{key}={value}")
        assert "is not YAML that hal reads: " in found
        assert said in found.replace("control characters are not allowed", "not allowed")
        assert len(found.splitlines()[0]) < len(value) + 300


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("seed: ${nope}", "seed contains ${nope}, and there is no key nope"),
        ("model: ${nope}", "contains ${nope}, and there is no key nope"),
        ("model: ${oc.env:HOME}", "hal reads no environment variables or other sources into keys"),
        ("out: a/${oc.env:TOKEN,x}", "out contains ${oc.env:TOKEN,x}"),
        ("out: ${plan}\nplan: ${out}", "lead in a circle"),
        ("out: ${out}", "lead in a circle"),
        ("out: ${seed", "the reference that ${ begins has no closing }"),
        ("out: ${${seed}}\nseed: 1", "the reference that ${ begins has no closing }"),
        ("out: ${data}\ndata: {name: digits}", "data is not a single value"),
        ("".join(f"k{n}: ${{k{n + 1}}}${{k{n + 1}}}\n" for n in range(30)) + "k30: xxxxxxxx", "too long"),
        (f"data: {NESTED}", "nested more than 32 levels deep"),
        (BOMB, "more than 10,000 values"),
        ("seed: !!int foo", "the tag !!int"),
        ("seed: 1\nseed: 2", "the key seed is given twice (line 2)"),
        ("data:\n  name: a\n  name: b", "the key name is given twice (line 3)"),
        ("null: 3", "keys should be strings"),
        ("x: 1\n---\nx: 2", "more than one document"),
    ],
)
def test_files_with_a_value_that_is_refused(tmp_path, content, said):
    file = tmp_path / "keys.yaml"
    file.write_text(content)
    assert said in fails(file=file)
    with pytest.raises(ConfigError, match=re.escape(said)):
        plan_keys(str(file))


def test_references_to_other_keys(tmp_path):
    file = tmp_path / "keys.yaml"
    file.write_text("model: {name: cnn, size: '${batch}'}\nbatch: 32\nout: runs/${model.name}-${seed}\n")
    found = config("seed=5", "plan=${seed}", file=file)
    assert (found.model.keys(), found.out, found.plan) == ({"size": 32}, "runs/cnn-5", "${seed}")


def test_aliases_and_numbers_in_files(tmp_path):
    file = tmp_path / "keys.yaml"
    file.write_text(
        "a: &usual {batch: 32, precision: bf16}\nversus: {<<: *usual, batch: 8}\nx: [1e-3, 2026-11-22, 1_0]\n"
    )
    found = parse_file(file, lambda place, plain: False)
    assert found["versus"] == {"batch": 8, "precision": "bf16"}
    assert found["x"] == [0.001, "2026-11-22", 10]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_file_of_another_encoding(tmp_path, encoding):
    file = tmp_path / "keys.yaml"
    file.write_text("out: größe\n", encoding=encoding)
    assert "is not text in UTF-8" in fails(file=file)
    file.write_text("out: größe\n", encoding="utf-8-sig")
    assert config(file=file).out == "größe"


def test_what_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large.yaml").write_text("#" * (1 << 20) + "\nseed: 1")
    for path, kind in (
        (tmp_path / "pipe", NotFoundError),
        (Path("/dev/zero"), NotFoundError),
        (tmp_path, NotFoundError),
        (tmp_path / "large.yaml", ConfigError),
    ):
        assert str(path) in fails(file=path, kind=kind)
        with pytest.raises(kind):
            config(f"plan={path}").base_plan(8)


@pytest.mark.parametrize("path", ["~nosuchuser/x", "a\0b"])
def test_paths_that_nothing_can_have(path, tmp_path):
    """In every key that is a path; each ends before anything runs."""
    with pytest.raises(NotFoundError):
        user_path(path)
    tiny = {"model": {"name": "cnn", "size": 20}, "data": {"name": "synthetic:80"}, "backend": "cpu", "batch": 16}
    calls = [
        lambda: config(file=path),
        lambda: config(f"plan={path}").base_plan(8),
        *(lambda key=key: hal.train(**tiny, steps=1, **{key: path}) for key in ("out", "resume", "plan")),
        lambda: hal.train(**{**tiny, "data": {"name": f"images:{path}"}}),
        lambda: hal.train(**{**tiny, "model": {"name": f"{path}.py:Net"}}),
        lambda: hal.bench(**tiny, out=path),
        *(lambda key=key: hal.verify(**tiny, **{key: path}) for key in ("record", "against")),
        lambda: hal.verify(**tiny, backends=["cpu", "null"], out=path),
        *(lambda key=key: hal.tune(**tiny, **{key: path}) for key in ("out", "resume")),
    ]
    for call in calls:
        with pytest.raises(NotFoundError):
            call()


def test_expanduser_is_called_in_one_place():
    root = Path(hal.__file__).parent
    callers = {path.name for path in root.rglob("*.py") if ".expanduser()" in path.read_text()}
    assert callers == {"paths.py"}


@pytest.mark.parametrize(
    ("pair", "cls"),
    [
        *((f"{key}={value}", RunConfig) for key in ("batch", "threads", "accumulate", "epochs", "steps", "seed",
          "checkpoint") for value in (2**63, 10**30, -(10**30), -1)),
        *((f"{key}={value}", RunConfig) for key in ("lr", "clip") for value in (".inf", ".nan", "-1", "-.inf")),
        *((f"{key}={value}", TuneConfig) for key in ("trials", "finalists", "budget", "limit", "seconds",
          "memory_limit", "space.threads", "space.batch") for value in (2**70, "9" * 400, -1)),
        *((f"seconds={value}", BenchConfig) for value in ("1e300", ".inf", ".nan")),
        ("threads=1025", RunConfig),
        ("batch=2147483648", RunConfig),
        ("seed=4294967296", RunConfig),
        ("steps=9999999999", VerifyConfig),
        ("constraint.memory=9e400", TuneConfig),
    ],
)  # fmt: skip
def test_numbers_out_of_range(pair, cls):
    said = fails(pair, cls=cls)
    assert len(said.splitlines()) <= 2
    assert pair.split("=")[0] in said


def test_a_plan_that_has_no_form():
    with pytest.raises(ConfigError, match=r"parallel=two: write none, dp=N or fsdp=N, for example dp=2"):
        config("parallel=two").base_plan(8)
