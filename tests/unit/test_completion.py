"""What the shell offers after hal has been asked to complete a word."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from hal.cli.app import app

# A backend or a model that loads a framework would make every press of the key take seconds.
CODE = """
import atexit, sys
frameworks = {"torch", "jax", "tensorflow"}
atexit.register(lambda: sys.stderr.write(str(sorted(frameworks & set(sys.modules)))))
from hal.cli import main
main()
"""


def asked(shell, line):
    """What a shell tells hal when it asks for completions of a line."""
    if shell == "bash":  # bash makes words of its own from key=value
        words = line.replace("=", " = ").split(" ")
        words = [word for word in words[:-1] if word] + ([] if line.endswith("=") else words[-1:])
        given = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    else:
        given = {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    return {"_HAL_COMPLETE": f"complete_{shell}", **given}


def offers(output):
    return {line.partition("\t")[0] for line in output.split("\n") if line}


def complete(shell, line):
    return offers(CliRunner().invoke(app, [], prog_name="hal", env=asked(shell, line)).stdout)


@pytest.mark.parametrize("shell", ["bash", "fish"])
@pytest.mark.parametrize(
    ("line", "key", "offered"),
    [
        ("hal be", "", {"bench"}),
        ("hal run ba", "", {"batch=", "backend="}),
        ("hal run model=rnn model.c", "", {"model.cell="}),
        ("hal run model=mine.py:Net model.", "", set()),
        ("hal run model=rnn model.cell=g", "model.cell=", {"gru"}),
        ("hal run optimizer.be", "", {"optimizer.beta1=", "optimizer.beta2="}),
        ("hal run optimizer=ad", "optimizer=", {"adam", "adamw"}),
        ("hal run precision=b", "precision=", {"bf16"}),
        ("hal bench layout=n", "layout=", {"nhwc", "nchw"}),
        ("hal bench versus.lay", "", {"versus.layout="}),
        ("hal run backend=c", "backend=", {"cpu", "cuda"}),
        ("hal run model=t", "model=", {"transfer", "transformer"}),
        ("hal run model=transformer model.po", "", {"model.pooling=", "model.positions="}),
        ("hal run model=transformer model.norm=", "model.norm=", {"pre", "post"}),
        (
            "hal run data=",
            "data=",
            {
                *("csv:", "digits", "docstrings", "images:", "mnist:", "npz:", "synthetic", "text:", "texts:"),
                *("topics", "hf:", "parquet:"),
            },
        ),
        ("hal run data=csv:a.csv data.l", "", {"data.label="}),
        ("hal compile largest=t", "largest=", {"true"}),
        ("hal tune objective=th", "objective=", {"throughput"}),
        ("hal run qqq=", "qqq=", set()),
        ("hal devices x", "", set()),
    ],
)
def test_words(shell, line, key, offered):
    prefix = "" if shell == "bash" else key
    assert complete(shell, line) == {f"{prefix}{each}" for each in offered}


def test_a_file_that_is_named_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("raise SystemExit('it ran')")
    assert complete("fish", "hal run model=mine.py:Net model.") == set()


@pytest.mark.parametrize("line", ["hal ru", "hal run model=cnn model.s", "hal run backend="])
def test_no_framework_is_loaded(line):
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, **asked("fish", line)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert offers(done.stdout)
    assert done.stderr == "[]"


def test_the_script_for_a_shell():
    done = subprocess.run(
        [sys.executable, "-m", "hal", "--show-completion", "bash"],
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},  # which looks at the parents
        capture_output=True,
        text=True,
        check=False,
    )
    assert "complete -o default -F _hal_completion hal" in done.stdout
