"""What reaches a terminal: nothing that acts on it, in any encoding, and no noise where nobody reads on."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hal
from hal.cli.app import app
from hal.cli.styled import console, escaped
from hal.cli.terminal import visible

CLI = Path(hal.__file__).parent / "cli"
TINY = "model=cnn model.size=20 model.dense=8 backend=cpu data=synthetic:80 batch=16 threads=1 steps=2".split()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本 → 🐶", "plain é 日本 → 🐶"),
        ("\x1b[31mred\x07\x9b\x7f\r\t", r"\x1b[31mred\x07\x9b\x7f\r\t"),
        ("two\nlines\u2028x", r"two\nlines\u2028x"),
        ("a\u202eb\u2066c", r"a\u202eb\u2066c"),
        ("\udcff\0", r"\udcff\x00"),
    ],
)
def test_what_acts_on_a_terminal_is_shown(text, shown):
    assert visible(text) == shown
    assert visible("a\n" + text, lines=True).startswith("a\n")


@pytest.mark.parametrize(
    "text", [":dog:", "[red]x[/red]", "[/]", "[bold", "x\\", "[link=file:///x]y[/link]", "\x1b[31m"]
)
def test_markup_in_foreign_text_stays_text(text, capsys):
    console().print(f"[dim]{escaped(text)}[/]")
    assert capsys.readouterr().out == f"{visible(text)}\n"


def test_foreign_text_has_one_way_to_the_terminal():
    for path in CLI.rglob("*.py"):
        text = path.read_text()
        if path.name != "styled.py":
            assert "rich.markup" not in text, f"{path}: use escaped of hal.cli.styled"
            assert "Console(" not in text, f"{path}: use console() of hal.cli.styled"
            assert "TextColumn(" not in text, f"{path}: use PlainColumn of hal.cli.styled"
        if path.name not in ("terminal.py", "streams.py"):
            assert not re.search(r"sys\.std(out|err)\.write", text), f"{path}: use write of hal.cli.terminal"


@pytest.mark.parametrize("name", ["dog:cat:dog", "[red]x[/nothing]", "a\x1b[31mb", "a\nb"])
def test_a_folder_of_any_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["run", *TINY, f"out={name}"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert f"Writing to {visible(name)}\n" in result.stdout
    assert "\x1b" not in result.stdout
    assert (tmp_path / name / "record.json").exists()
    again = CliRunner().invoke(app, ["run", *TINY, f"out={name}"], env={"COLUMNS": "200"})
    assert again.exit_code == 2
    assert f"out={visible(name) if name != 'a' else name}".partition("\\n")[0] in again.stderr
    assert "\x1b" not in again.stderr


def shell(line, tmp_path, **environment):
    """A line of bash with ``hal`` in it; its status is that of hal."""
    script = f"hal() {{ '{sys.executable}' -m hal \"$@\"; }}; {line}; exit ${{PIPESTATUS[0]}}"
    return subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, **environment},
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("words", ["", "--json"])
def test_a_run_goes_on_when_nobody_reads(words, tmp_path):
    done = shell(f"hal run {' '.join(TINY)} out=run {words} 2>&1 | head -1", tmp_path)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == b""
    assert json.loads((tmp_path / "run" / "record.json").read_bytes())["status"] == "done"


def test_a_failure_is_told_when_nobody_reads(tmp_path):
    done = shell(f"hal run {' '.join(TINY)} lr=1e9 steps=4 out=run 2>&1 | true", tmp_path)
    assert (done.returncode, done.stderr) == (1, b"")
    done = shell("hal run model=nothing 2>&1 | true", tmp_path)
    assert (done.returncode, done.stderr) == (2, b"")


def test_a_disk_that_is_full_behind_the_output_is_a_note(tmp_path):
    done = shell(f"hal run {' '.join(TINY)} out=run > /dev/full", tmp_path)
    assert done.returncode == 0
    assert done.stderr == b"some of the output was not printed: No space left on device\n"
    assert json.loads((tmp_path / "run" / "record.json").read_bytes())["status"] == "done"


def test_json_that_is_lost_is_an_error(tmp_path):
    done = shell(f"hal run {' '.join(TINY)} out=run --json > /dev/full", tmp_path)
    assert done.returncode == 1
    assert "the JSON was not written to stdout: No space left on device" in done.stderr.decode()
    assert json.loads((tmp_path / "run" / "record.json").read_bytes())["status"] == "done"


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(closed, tmp_path):
    done = shell(f"hal run {' '.join(TINY)} out=run {closed}", tmp_path)
    assert (done.returncode, b"Done" in done.stdout) == (0, closed == "2>&-")
    assert json.loads((tmp_path / "run" / "record.json").read_bytes())["status"] == "done"


def test_a_terminal_that_is_closed_while_it_is_written_to(tmp_path):
    """The run goes on without it. The bar is moved all the time."""
    ours, terminal = os.openpty()
    words = [sys.executable, "-m", "hal", "run", *TINY, "steps=400", "out=run"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=terminal, stderr=terminal, stdin=terminal)
    os.close(terminal)
    shown = b""
    while b"/1" not in shown:
        shown += os.read(ours, 4096)
    os.close(ours)
    assert process.wait(timeout=300) == 0
    assert json.loads((tmp_path / "run" / "record.json").read_bytes())["status"] == "done"


def test_a_handler_of_a_signal_prints_while_something_is_printed():
    code = """
import signal, sys
from hal.cli.streams import prepare_streams
from hal.cli.styled import note
signal.signal(signal.SIGALRM, lambda *_: note("from the handler " * 100))
with prepare_streams():
    for round in range(300):
        signal.setitimer(signal.ITIMER_REAL, 1e-6 + 1e-6 * round)  # one signal a round, at another moment of it
        note("x" * 300)
    signal.setitimer(signal.ITIMER_REAL, 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-1000:]
    assert b"from the handler" in done.stderr


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("", 2),
        ("--help", 0),
        ("run --help", 0),
        ("--version", 0),
        ("--show-completion bash", 0),
        ("devices", 0),
        ("devices --json", 0),
        ("plans --json", 0),
        ("run --jsn", 2),
        ("run model=nothing --json", 2),
    ],
)
def test_a_closed_pipe_changes_nothing(words, status, tmp_path):
    done = shell(f"hal {words} 2>&1 | true", tmp_path, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert (done.returncode, done.stderr) == (status, b"")


@pytest.mark.parametrize(("words", "status"), [("--version", 0), ("run --help", 0), ("plans --json", 0), ("rum", 2)])
def test_closed_streams_change_nothing(words, status, tmp_path):
    assert shell(f"hal {words} >&- 2>&-", tmp_path).returncode == status


def test_a_closed_pipe_of_a_completion(tmp_path):
    asked = {
        "_HAL_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_ARGS": "hal ",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = shell("hal | true", tmp_path, **asked)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_model_may_print_though_nobody_reads(tmp_path):
    code = (
        "from hal.models.cnn import CNN\n"
        "class Mine(CNN):\n"
        "    def params(self):\n"
        "        print('x' * 100_000, flush=True)\n"
        "        return super().params()\n"
    )
    (tmp_path / "mine.py").write_text(code)
    words = " ".join(["model=mine.py:Mine", *TINY[1:]])
    done = shell(f"hal run {words} out=run 2>&1 | true", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads((tmp_path / "run" / "record.json").read_bytes())["status"] == "done"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_other_encodings(encoding, tmp_path):
    name = "größe→\U0001f436"
    done = shell(f"hal run {' '.join(TINY)} out='{name}'", tmp_path, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode(encoding)
    assert "->\\U0001f436" in shown
    assert "Done" in shown
    assert (tmp_path / name / "record.json").exists()
    done = shell("hal run model=é→", tmp_path, PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert "-> use one of: cnn" in done.stderr.decode(encoding)


def test_the_locale_c(tmp_path):
    plain = {"LANG": "C", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""}
    done = shell("hal run model=nothing", tmp_path, **plain)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"-> use one of: cnn" in done.stderr
