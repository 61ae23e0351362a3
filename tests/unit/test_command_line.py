"""What people type: hints for what hal does not have, and no traceback whatever the words are."""

import os
import random
import re

import fuzzing
import pytest
from typer.testing import CliRunner

import hal.parity
import hal.run
import hal.targets.compile
import hal.tuner
from hal.cli.app import COMMANDS, app
from hal.errors import UnavailableError

SEEDS = range(int(os.environ.get("HAL_FUZZ", "200")))
"""Command lines that are made up; ``HAL_FUZZ=5000 pytest tests/unit/test_command_line.py`` looks longer."""

NET = """
import hal
raise SystemExit("it ran")
class NetConfig(hal.nn.ModelConfig): ...
class ResNet(hal.nn.Model): ...
class Net(hal.nn.Classifier): ...
class Helper: ...
"""


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"}, prog_name="hal")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "arrays.npz").write_bytes(b"")
    (tmp_path / "book.txt").write_text("text")
    (tmp_path / "table.csv").write_text("text,label")
    (tmp_path / "letters" / "formal").mkdir(parents=True)
    (tmp_path / "letters" / "formal" / "1.txt").write_text("text")
    (tmp_path / "digits-of-mine").mkdir()
    (tmp_path / "digits-of-mine" / "train-images-idx3-ubyte.gz").write_bytes(b"")
    return tmp_path


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("line", "said", "fix"),
    [
        ("run --epochs 3", "no option --epochs", "write epochs=3"),
        ("run model=cnn --batch=64", "no option --batch", "write batch=64"),
        ("run --batch-size 64 model=cnn", "no option --batch-size", "write batch=64"),
        ("run --learning-rate model=cnn", "no option --learning-rate", "write lr=VALUE"),
        ("run --data.validation 0.5", "no option --data.validation", "write data.validation=0.5"),
        ("run --config keys.yaml --n_epochs=3", "no option --n_epochs", "write epochs=3"),
        ("run -epochs 3", "no option -epochs", "write epochs=3"),
        ("run -lr=3", "no option -lr", "write lr=3"),
        ("run model=cnn epochs 3", "'epochs' is not of the form key=value", "write epochs=VALUE, without spaces"),
        ("run cnn", "'cnn' is not of the form key=value", "write for example model=cnn"),
        ("run model=CNN", "model=CNN is not known; did you mean cnn?", "use one of"),
        ("run model=cnn backend=CPU", "backend=CPU is not known; did you mean cpu?", "use one of"),
        ("compile model=cnn target=a100", "did you mean a100-40gb or a100-80gb?", "use one of"),
        ("tune --n-trials 5", "no option --n-trials", "write trials=5"),
        ("bench --dtype bf16", "no option --dtype", "write precision=bf16"),
        ("run model=cnn learning_rate=1", "unknown key learning_rate; did you mean lr?", ""),
        ("run model=cnn lr_schedule=cosine", "unknown key lr_schedule; did you mean schedule?", ""),
        ("run model=cnn batch_size=1", "unknown key batch_size; did you mean batch?", ""),
        ("run model=cnn n_epochs=1", "unknown key n_epochs; did you mean epochs?", ""),
        ("run model=cnn momentum=0.5", "unknown key momentum; did you mean optimizer.momentum?", ""),
        ("run model=cnn device=gpu", "gpu is not the name of a backend or device", "write backend=auto"),
        ("run model=cnn backend=gpu", "gpu is not the name of a backend or device", "write backend=auto"),
        ("run model=cnn backend=cpu data=photos", "names a path, but not how to read it", "write data=images:photos"),
        ("run model=cnn backend=cpu data=digits-of-mine", "names a path", "write data=mnist:digits-of-mine"),
        ("run model=cnn backend=cpu data=arrays.npz", "names a path", "write data=npz:arrays.npz"),
        ("run model=rnn backend=cpu data=book.txt", "names a path", "write data=text:book.txt"),
        ("run model=transformer backend=cpu data=table.csv", "names a path", "write data=csv:table.csv"),
        ("run model=transformer backend=cpu data=letters", "names a path", "write data=texts:letters"),
        ("run model=net.py", "does not name a class", "write model=net.py:ResNet or model=net.py:Net"),
        ("run model=Net", "does not name a class", "write model=net.py:Net"),
        ("run model=net", "does not name a class", "write model=net.py:ResNet or model=net.py:Net"),
        ("train model=cnn", "hal has no command train; did you mean run?", "write: hal run"),
        ("benchmark", "hal has no command benchmark; did you mean bench?", "write: hal bench"),
        ("resume", "hal has no command resume; did you mean run?", "write: hal run resume=FOLDER"),
        ("tunee", "hal has no command tunee; did you mean tune?", "write: hal tune"),
        ("qqqqqq", "hal has no command qqqqqq", "the commands are export, predict, run, "),
        ("model=cnn", "model=cnn is a key", "write for example: hal run model=cnn"),
        ("compile model=cnn target=mi300x", "named by its architecture, gfx942", "write target=rocm:gfx942"),
        ("devices storage=x://u:hush@h", "hal devices takes no keys: storage=x://u@h", "see: hal devices --help"),
    ],
)
def test_hints(line, said, fix):
    result = invoke(*line.split())
    assert result.exit_code == 2, result.output
    first, *rest = result.stderr.splitlines()
    assert said in first
    assert len(rest) == (1 if fix else 0)
    assert fix in "".join(rest)


def test_the_class_that_is_meant(here):
    (here / "net.py").write_text(NET.replace("raise SystemExit", "str"))
    result = invoke("run", "model=net.py:Resnet")
    assert result.exit_code == 2
    assert "net.py defines no Resnet; did you mean ResNet?\n→ write model=net.py:ResNet\n" in result.stderr


def test_a_hint_as_json():
    result = invoke("run", "--epochs", "3", "--json")
    assert result.exit_code == 2
    assert '"fix": "write epochs=3"' in result.stdout


KEYS = [
    *("model", "model.size", "model.filters", "data", "data.validation", "data.augment", "backend", "device", "batch"),
    *("precision", "threads", "parallel", "accumulate", "plan", "seed", "out", "resume", "epochs", "steps", "lr"),
    *("optimizer", "optimizer.beta1", "versus.batch", "mode", "seconds", "backends", "record", "against", "target"),
    *(
        "space.batch",
        "constraint.memory",
        "budget",
        "trials",
        "storage",
        "python",
        "memory_limit",
        "objective",
        "limit",
    ),
    *("", ".", "a.b.c", "model.name.x", "seed.x", "bacth", "[red]", ":dog:", "\x1b[31m", "é", "a b"),
]
VALUES = [
    *(
        "",
        "null",
        "~",
        "cnn",
        "rnn",
        "cpu",
        "auto",
        "gpu",
        "1",
        "-1",
        "0",
        "1e400",
        ".nan",
        "-.inf",
        "9" * 5000,
        "1" * 30,
    ),
    *(
        "[" * 1000,
        "{" * 1000,
        "[" * 500 + "]" * 500,
        "{a: 1, a: 2}",
        "[1, [2, {x: 3}]]",
        "!!int foo",
        "!!python/name:os",
    ),
    *(
        "&a [*a]",
        "*a",
        "${nope}",
        "${oc.env:HOME}",
        "${seed}",
        "${",
        "\0",
        "a\0b",
        "\x1b[2J",
        "[/red]",
        ":smile:",
        "\udcff",
    ),
    *(
        "~nosuchuser/x",
        "/dev/zero",
        "/",
        ".",
        "x" * 300,
        "images:/dev/null",
        "npz:~nosuchuser",
        "text:\0",
        "synthetic:-1",
    ),
    *(
        "net.py",
        "net.py:Net",
        "net.py:\0",
        "~nosuchuser.py:A",
        "2**63",
        "true",
        "'",
        '"',
        "- a",
        "a: b: c",
        "# x",
        "|",
        ">",
    ),
    *("x://u:p@h", "postgresql://", "sqlite:////nowhere/x", "dp=0", "dp=99999999999", "5m", "9" * 400 + "GB", "1.2.3"),
]
OPTIONS = [
    *(
        "--json",
        "--config",
        "--epochs",
        "--batch=3",
        "--",
        "-x",
        "--out",
        "--help",
        "--config=/dev/zero",
        "---",
        "-",
        "==",
    ),
    *("--config=net.py", "--config=photos", "--config=keys.yaml", "--import", "--export=/nowhere/x", "--version", ""),
]


@pytest.fixture
def idle(here, monkeypatch):
    """The work of every command is to say that it was asked for; what comes before it is real."""

    def work(*args, **kwargs):
        raise UnavailableError("this is a test", fix="nothing")

    monkeypatch.setattr(hal.run, "run", work)
    monkeypatch.setattr(hal.run, "bench", work)
    monkeypatch.setattr(hal.tuner, "tune", work)
    monkeypatch.setattr(hal.parity, "verify", work)
    monkeypatch.setattr(hal.targets.compile, "compile_for_target", work)
    monkeypatch.setattr("hal.cards.certify.certify", work)
    monkeypatch.setattr("hal.cards.choose.choose", work)
    monkeypatch.setattr("hal.api.devices", lambda: ())
    return here


def yaml_text(rng):
    lines = []
    for _ in range(rng.randint(0, 6)):
        indent = "  " * rng.choice([0, 0, 0, 1, 2])
        lines.append(
            f"{indent}{rng.choice(KEYS)}{rng.choice([': ', ':', ' = ', ': &a ', ': *a ', ''])}{rng.choice(VALUES)}"
        )
    content = "\n".join(lines).encode("utf-8", "surrogateescape")
    if rng.random() < 0.2:
        content = content[: rng.randrange(len(content) + 1)] + rng.randbytes(rng.randint(1, 20))
    return content


def survives(words, about):
    """The command ends with a message and its status, whatever the words are."""
    results = []
    fuzzing.survives(lambda: results.append(invoke(*words)), about)
    (result,) = results
    counts = fuzzing.COUNTS[about.partition(", seed")[0]]
    counts["refused"] += result.exit_code != 0
    counts["traceback"] += result.exit_code not in (0, 2, 3)
    assert result.exit_code in (0, 2, 3), f"{about}: {result.exit_code} {result.output} {result.exception!r}"
    assert "Traceback" not in result.output, about
    assert result.exception is None or isinstance(result.exception, SystemExit), about
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", result.stderr), about


@pytest.mark.parametrize("part", range(10))
def test_words_that_are_made_up(idle, part):
    for seed in SEEDS[part::10]:
        rng = random.Random(f"words {seed}")
        (idle / "keys.yaml").write_bytes(yaml_text(rng))
        words = [rng.choice([*COMMANDS, *COMMANDS, "train", "\x1b[31m", "", "--json", ":dog:"])]
        for _ in range(rng.randint(0, 5)):
            pair = f"{rng.choice(KEYS)}{rng.choice(['=', '=', '=', '', '=='])}{rng.choice(VALUES)}"
            words.append(rng.choice([pair, pair, pair, rng.choice(OPTIONS)]))
        survives(words, f"command line, seed {seed}: {words!r:.2000}")


@pytest.mark.parametrize("part", range(5))
@pytest.mark.parametrize("command", ["run", "tune"])
def test_files_that_are_made_up(idle, command, part):
    for seed in SEEDS[part::10]:
        content = yaml_text(random.Random(f"file {seed}"))
        (idle / "keys.yaml").write_bytes(content)
        survives((command, "--config", "keys.yaml"), f"file of keys, seed {seed}: {content!r:.2000}")
