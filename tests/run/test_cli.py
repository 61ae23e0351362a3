"""The command line: what goes to stdout, what to stderr, and with which status."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from run_helpers import CNN, RNN_CLASSIFY, SignalAt, command, content, pairs
from typer.testing import CliRunner

import hal
from hal import registry
from hal.cli.app import COMMANDS, app
from hal.config import build, read
from hal.run import Bench, Record

TINY = [*pairs(CNN), "steps=2"]


def one_object(text):
    """The single JSON object that a text is, and nothing else; strict: no NaN."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    found, end = json.JSONDecoder(parse_constant=refuse).raw_decode(text)
    assert isinstance(found, dict)
    assert text[end:].strip() == ""
    return found


# Real processes


def shell(*words, **options):
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, **options)


def test_version_from_the_command_and_the_module():
    for words in ([Path(sys.executable).with_name("hal")], [sys.executable, "-m", "hal"]):
        done = shell(*words, "--version")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"hal {hal.__version__}\n", "")


def test_a_run_in_a_process_of_its_own(tmp_path):
    done = shell(sys.executable, "-m", "hal", "run", *TINY, "out=run", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = Record.model_validate(one_object(done.stdout))
    assert record.status == "done"
    assert "Writing to run" in done.stderr
    assert Record.model_validate_json((tmp_path / "run" / "record.json").read_text()) == record


def test_an_error_in_a_process_of_its_own(tmp_path):
    done = shell(sys.executable, "-m", "hal", "run", "model=cnn", "modle.size=3", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown key modle" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


# hal


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_lists_the_commands(words):
    result = command(*words)
    for name in ("devices", "run", "bench"):
        assert name in result.output


def test_every_command_is_found():
    files = {path.stem for path in (Path(hal.__file__).parent / "cli" / "commands").glob("[!_]*.py")}
    assert set(COMMANDS) == files >= {"bench", "compile", "devices", "plans", "report", "run", "tune", "verify"}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_fits_in_a_terminal(name):
    result = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    shown, _, examples = result.stdout.partition("\nExample")
    assert COMMANDS[name].help.partition("\n")[0] in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 80
    assert all(f"  {example}\n" in examples for example in COMMANDS[name].examples)


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_valid(name):
    assert COMMANDS[name].examples
    for example in COMMANDS[name].examples:
        program, command_name, *words = shlex.split(example)
        assert (program, command_name) == ("hal", name)
        if (cls := COMMANDS[name].config) is not None:
            build(cls, read(cls, [word for word in words if "=" in word]))


@pytest.mark.parametrize("words", [("rum",), ("run", "--jsn"), ("run", "--config"), ("devices", "cpu")])
def test_words_that_are_no_command(words):
    result = command(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr


# hal devices


def test_devices():
    result = command("devices")
    assert result.exit_code == 0
    assert "cpu:0" in result.stdout
    for seen in hal.devices():
        if not seen.devices:
            assert f"{seen.backend} finds no device" in " ".join(result.stdout.split())
            assert seen.state.fix.split(":")[0] in " ".join(result.stdout.split())


def test_devices_as_json():
    result = command("devices", "--json")
    assert result.exit_code == 0
    found = {entry["backend"]: entry for entry in one_object(result.stdout)["backends"]}
    assert set(found) == set(registry.names())
    for entry in found.values():
        if entry["available"]:
            assert entry["runtime"]
            for device in entry["devices"]:
                assert device["device"].startswith(entry["backend"] + ":")
                assert device["precisions"]["fp32"]["supported"] is True
                assert device["layouts"]
        else:
            assert entry["reason"]
            assert entry["fix"]
    assert found["cpu"]["devices"][0]["device"] == "cpu:0"


# hal run


def test_a_run_says_what_it_does(tmp_path):
    result = command("run", *TINY, f"out={tmp_path / 'run'}")
    assert result.exit_code == 0
    assert result.stderr == ""
    for part in ("cnn on cpu:0", "64 training samples", "batch 16", "epoch 1/1", "val accuracy", "Done", "checkpoint"):
        assert part in result.stdout, part
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["config"]["steps"] == 2
    assert record["plan"]["batch"] == 16
    assert record["workload"]["keys"]["size"] == 20
    assert Path(record["checkpoint"]).is_dir()


def test_json_is_alone_on_stdout(tmp_path):
    result = command("run", *TINY, f"out={tmp_path / 'run'}", "--json")
    assert result.exit_code == 0
    record = Record.model_validate(one_object(result.stdout))
    assert Record.model_validate_json((tmp_path / "run" / "record.json").read_text()) == record
    assert "Done" in result.stderr


@pytest.mark.parametrize(
    ("words", "status", "kind"),
    [
        (["run"], 2, "ConfigError"),
        (["run", "model=cnn", "batch=0"], 2, "ConfigError"),
        (["run", "model=cnn", "precision=tf32", "backend=cpu"], 2, "UnsupportedError"),
        (["run", "--config", "/nowhere/keys.yaml"], 2, "NotFoundError"),
        (["run", "model=cnn", "plan=tuned"], 3, "UnavailableError"),
        (["bench", "model=cnn", "versus.precison=bf16"], 2, "ConfigError"),
    ],
)
def test_errors_as_json(words, status, kind):
    result = command(*words, "--json")
    assert result.exit_code == status
    found = one_object(result.stdout)
    assert found["exit_status"] == status
    assert found["error"]["type"] == kind
    assert found["error"]["message"].splitlines()[0] in " ".join(result.stderr.split()) or "\n" in result.stderr
    assert result.stderr.startswith("error:")


def test_an_error_of_a_run_as_json(tmp_path):
    result = command("run", *TINY, "lr=1e9", "steps=4", f"out={tmp_path / 'run'}", "--json")
    assert result.exit_code == 1
    assert one_object(result.stdout)["error"]["type"] == "NumericsError"


def test_an_interrupted_run_as_json(tmp_path, monkeypatch):
    monkeypatch.setattr("hal.cli.commands._run_view.RunView.step", SignalAt(1).step)
    result = command("run", *TINY, f"out={tmp_path / 'run'}", "--json")
    assert result.exit_code == 130
    assert one_object(result.stdout)["status"] == "interrupted"
    assert f"Continue with: hal run resume={tmp_path / 'run'}" in result.stderr


def test_a_second_signal_says_that_nothing_was_saved(tmp_path, monkeypatch):
    def twice(self, *args):
        for _ in range(2):
            SignalAt(1).step(*args)

    monkeypatch.setattr("hal.cli.commands._run_view.RunView.step", twice)
    result = command("run", *TINY, f"out={tmp_path / 'run'}")
    assert result.exit_code == 130
    assert "Stopped without saving. If the run had written a checkpoint, that checkpoint is complete" in result.stderr


def test_keys_from_a_file_and_the_line(tmp_path):
    file = tmp_path / "keys.yaml"
    file.write_text(
        "model: {name: cnn, filters: [4, 4, 4], dense: 8, size: 24}\n"
        "backend: cpu\ndata: synthetic:80\nbatch: 16\nthreads: 1\nsteps: 9\n"
    )
    result = command("run", "--config", file, "model.size=20", "steps=1", f"out={tmp_path / 'run'}", "--json")
    record = one_object(result.stdout)
    assert record["workload"]["input_shape"] == [20, 20, 1]
    assert record["epochs"][-1]["step"] == 1


def test_a_plan_from_a_file(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text("batch: 8\nprecision: bf16\nlayout: nhwc\naccumulate: 2\n")
    words = [word for word in TINY if not word.startswith("batch=")]
    result = command("run", *words, f"plan={file}", "layout=nchw", f"out={tmp_path / 'run'}", "--json")
    plan = one_object(result.stdout)["plan"]
    assert (plan["batch"], plan["precision"], plan["layout"], plan["accumulate"]) == (8, "bf16", "nchw", 2)


def test_a_run_without_a_folder_gets_a_new_one_each_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for count in (1, 2, 3):
        assert command("run", *TINY, "steps=1").exit_code == 0
        folders = sorted(path.name for path in (tmp_path / "runs").iterdir())
        assert len(folders) == count
    assert all(re.fullmatch(r"cnn-cpu-\d{8}-\d{6}(-\d)?", name) for name in folders)


def test_a_folder_may_have_a_number_for_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("run", *TINY, "out=2026").exit_code == 0
    assert command("run", "resume=2026", "steps=3").exit_code == 0
    assert (tmp_path / "2026" / "checkpoints" / "step-000000003").is_dir()


def test_a_folder_may_be_there_but_be_empty(tmp_path):
    (tmp_path / "run").mkdir()
    assert command("run", *TINY, f"out={tmp_path / 'run'}").exit_code == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    refused = command("run", *TINY, f"out={tmp_path / 'mine'}")
    assert refused.exit_code == 2
    assert "other files" in refused.stderr
    assert content(tmp_path / "mine") == {"notes.txt": b"mine"}


@pytest.mark.parametrize("device", ["0", "cpu:0", "cpu"])
def test_ways_to_name_a_device(device, tmp_path):
    words = pairs({**RNN_CLASSIFY, "steps": 1})
    result = command("run", *words, f"device={device}", f"out={tmp_path / 'run'}", "--json")
    assert result.exit_code == 0, result.stderr
    assert one_object(result.stdout)["device"]["backend"] == "cpu"


# hal bench


def test_bench_shows_a_table():
    result = command("bench", *pairs(CNN), "seconds=0.1")
    assert result.exit_code == 0
    assert result.stderr == ""
    for part in ("cnn (train) on cpu:0", "throughput", "batch 16", "95%"):
        assert part in result.stdout, part


def test_bench_as_json():
    result = command("bench", *pairs(CNN), "seconds=0.1", "versus.batch=8", "--json")
    assert result.exit_code == 0
    found = Bench.model_validate(one_object(result.stdout))
    assert (found.plan.batch, found.versus.batch) == (16, 8)


def test_bench_shows_two_plans_and_their_ratio():
    result = command("bench", *pairs(CNN), "seconds=0.1", "versus.batch=8")
    assert result.exit_code == 0
    assert "versus / plan" in result.stdout
    assert "batch 16" in result.stdout
    assert "batch 8" in result.stdout
