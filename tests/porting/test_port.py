"""``hal port`` as a whole: the report, its forms, changes, conversion, and what can be wrong with a request."""

import json
import os
import re
import stat
from pathlib import Path

import pytest
from project import commit, git, write_project
from typer.testing import CliRunner

import hal
import hal.porting.convert
from hal.cli.app import app
from hal.porting.baseline import Baseline
from hal.porting.config import PortConfig
from hal.porting.findings import Report
from hal.porting.scan import scan


def port(*words, status=None):
    result = CliRunner().invoke(app, ["port", *map(str, words)], env={"COLUMNS": "200"}, prog_name="hal")
    if status is not None:
        assert result.exit_code == status, result.output
    return result


def as_json(*words, status=None):
    return json.loads(port(*words, "--json", status=status).stdout)


def rules_in(report):
    return {found["rule"] for found in report["findings"]}


@pytest.fixture
def bad(tmp_path):
    (tmp_path / "a.py").write_text("import torch\nd = torch.device('rocm')\nprint(torch.version.cuda.split('.'))\n")
    return tmp_path


class TestProject:
    """A project goes from blocked to clean by the changes that hal offers, and runs."""

    def test_from_blocked_to_clean(self, tmp_path, monkeypatch):
        root = write_project(tmp_path / "blurs")
        before = as_json(root, status=1)
        assert before["verdict"]["counts"]["blocks"] >= 8
        assert before["verdict"]["sentence"].startswith("Not yet on an AMD card: ")
        changed = port(root, "--fix", status=1)
        assert "Changed 3 files" in changed.stdout
        commit(root)
        after = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and ".git" not in path.parts}
        assert "Changed" not in port(root, "--fix", status=1).stdout
        assert after == {path: path.read_bytes() for path in after}
        patch = port(root, "--diff", "--suggestions", status=1).stdout
        git(root, "apply", "-", text=patch)
        for path in root.rglob("*.py"):
            compile(path.read_text(), str(path), "exec")
        clean = as_json(root)
        assert rules_in(clean) == set()
        assert clean["verdict"]["runs"]
        assert clean["verdict"]["sentence"].startswith("Yes, as far as the source shows")
        converted = as_json(root, "--convert", tmp_path / "out", status=0)["conversion"]
        assert converted["left"] == converted["invented"] == converted["failed"] == []
        assert converted["converted"] == ["csrc/blur.cu"]
        (made,) = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
        assert "hipFuncSetAttribute" in made.read_text()
        monkeypatch.chdir(tmp_path)
        record = hal.train(model=f"{root / 'blurs' / 'net.py'}:Net", backend="cpu", steps=2, out="run")
        assert record is not None


class TestReport:
    def test_verdict_first_then_the_worst(self, bad):
        (bad / "b.py").write_text(
            "import os, torch\nos.environ['CUDA_LAUNCH_BLOCKING'] = '1'\n"
            "ok = torch.cuda.get_device_capability()[0] > 8\n"
            "x = torch.ones(2).cuda()\n"
        )
        lines = port(bad, status=1).stdout.splitlines()
        assert lines[0] == "Not yet on an AMD card: 2 things block, 1 can give wrong results."
        order = [line[:6] for line in lines if re.match(r"HAL\d", line)]
        assert order == ["HAL101", "HAL104", "HAL102", "HAL607"]
        text = "\n".join(lines)
        assert "a.py:2   d = torch.device('rocm')" in text
        assert text.index("What is fine") > text.index("HAL607")
        assert "hal verify" in lines[-2]

    def test_nothing_found(self, tmp_path):
        (tmp_path / "a.py").write_text("import torch\nx = torch.ones(2).cuda()\n")
        assert port(tmp_path, status=0).stdout.startswith("Yes, as far as the source shows: nothing in 1 file keeps it")

    def test_nothing_read(self, tmp_path):
        assert port(tmp_path, status=0).stdout.startswith("Nothing was read that could be judged")

    def test_one_finding_for_a_rule_and_file(self, tmp_path):
        (tmp_path / "a.py").write_text("import torch\n" + "d = torch.device('hip')\n" * 9)
        (found,) = as_json(tmp_path)["findings"]
        assert [place["line"] for place in found["places"]] == list(range(2, 11))
        assert "and 4 more places in 1 file" in port(tmp_path).stdout

    def test_what_was_not_read(self, tmp_path):
        (tmp_path / "old.py").write_text("print 'x'\n")
        (tmp_path / "big.cu").write_bytes(b"x" * 4_000_001)
        (tmp_path / "b.sh").write_bytes(b"\0\1")
        (tmp_path / "n.ipynb").write_text("{}")
        (tmp_path / "long.sh").write_text("echo\n" + "x" * 4001)
        (tmp_path / "gone.py").symlink_to("nothing")
        (tmp_path / "loop").symlink_to(tmp_path)
        os.mkfifo(tmp_path / "pipe.py")
        (tmp_path / "readme.rst").write_text("text")
        report = as_json(tmp_path, status=0)
        assert {each["path"]: each["reason"].partition(":")[0] for each in report["unread"]} == {
            "old.py": "it is not Python 3",
            "big.cu": "it is too large",
            "b.sh": "it is binary",
            "n.ipynb": "it is not a notebook",
            "long.sh": "1 line is longer than 4,000 characters and was not read",
            "gone.py": "it is a link to nothing",
            "pipe.py": "it cannot be read",
        }
        assert report["others"] == 1

    def test_files_for_the_target_are_left_alone(self, tmp_path):
        (tmp_path / "requirements").mkdir()
        (tmp_path / "requirements" / "cuda.txt").write_text("xformers\n")
        (tmp_path / "requirements" / "rocm.txt").write_text("torch\n")
        (tmp_path / "Dockerfile.nvidia").write_text("FROM nvidia/cuda:12\n")
        assert [found["path"] for found in as_json(tmp_path)["findings"]] == ["Dockerfile.nvidia"]

    def test_the_project_itself_is_no_requirement(self, tmp_path):
        (tmp_path / "apex").mkdir()
        (tmp_path / "apex" / "__init__.py").write_text("")
        (tmp_path / "a.py").write_text("from apex import amp\nimport tensorrt\n")
        assert rules_in(as_json(tmp_path)) == {"HAL504"}

    def test_a_single_file(self, bad):
        assert rules_in(as_json(bad / "a.py", status=1)) == {"HAL101", "HAL104"}


class TestChoice:
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (["--select", "HAL101"], {"HAL101"}),
            (["--ignore", "HAL10"], set()),
            (["--ignore", "torch-device-name"], {"HAL104"}),
            (["--to", "cpu"], {"HAL104"}),
            (["--from", "cuda"], {"HAL101", "HAL104"}),
            (["--exclude", "a.py"], set()),
            (["--min-severity", "slow"], {"HAL101", "HAL104"}),
        ],
    )
    def test_options(self, bad, words, expected):
        assert rules_in(as_json(bad, *words)) == expected

    def test_release_and_architecture(self, tmp_path):
        (tmp_path / "a.cu").write_text("__global__ void f(){ __syncwarp(); int l = threadIdx.x & 31; }\n")
        assert rules_in(as_json(tmp_path)) == {"HAL303"}
        assert rules_in(as_json(tmp_path, "--rocm", "6.4")) == {"HAL303", "HAL312"}
        assert rules_in(as_json(tmp_path, "--arch", "gfx1100")) == set()

    def test_settings_of_the_project(self, bad):
        (bad / "pyproject.toml").write_text('[tool.hal.port]\nignore = ["HAL104"]\nmin-severity = "blocks"\n')
        assert rules_in(as_json(bad)) == {"HAL101"}
        assert rules_in(as_json(bad, "--ignore", "HAL101")) == {"HAL104"}

    def test_comments(self, bad):
        (bad / "a.py").write_text(
            "import torch\nd = torch.device('rocm')  # hal: ignore[HAL101]\n# hal: ignore[HAL101, HAL104]\n"
            "d = torch.device('hip')\n"
        )
        report = as_json(bad, status=0)
        assert report["ignored"] == 2
        assert report["unused_ignores"] == ["a.py:3: hal: ignore[HAL104]"]

    def test_baseline(self, bad):
        (bad / "old.json").write_text(port(bad, "--json").stdout)
        (bad / "a.py").write_text("# moved\n" + (bad / "a.py").read_text() + "e = torch.device('hip')\n")
        report = as_json(bad, "--baseline", bad / "old.json", status=1)
        assert [place["line"] for found in report["findings"] for place in found["places"]] == [5]
        assert report["hidden"] == 2

    def test_a_place_of_the_baseline_covers_one(self, bad):
        report = scan(bad, PortConfig())
        (bad / "a.py").write_text((bad / "a.py").read_text() + "d = torch.device('rocm')\n")
        again = scan(bad, PortConfig(), Baseline(report.findings))
        assert [place.line for found in again.findings for place in found.places] == [4]


def fits(value, schema, path="$"):
    """Check a value against the few words of JSON Schema in sarif_schema.json; ``closed`` allows no other keys."""
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    if "type" in schema:
        assert isinstance(value, kinds[schema["type"]]), path
    if "enum" in schema:
        assert value in schema["enum"], path
    if "pattern" in schema:
        assert re.search(schema["pattern"], value), (path, value)
    if "minimum" in schema:
        assert value >= schema["minimum"], path
    if isinstance(value, dict):
        assert set(schema.get("required", ())) <= set(value), path
        assert not schema.get("closed") or set(value) <= set(schema["properties"]), (path, set(value))
        for key, held in value.items():
            fits(held, schema["properties"].get(key, {}), f"{path}.{key}")
    if isinstance(value, list):
        for at, held in enumerate(value):
            fits(held, schema.get("items", {}), f"{path}[{at}]")


class TestForms:
    def test_json_is_a_report(self, bad):
        assert Report.model_validate_json(port(bad, "--json").stdout).schema_version == 1

    def test_sarif(self, bad):
        (bad / "with space.py").write_text("import pynvml\n")
        (bad / "n.ipynb").write_text('{"cells": [{"cell_type": "code", "source": "import pynvml"}]}')
        (bad / "old.py").write_text("print 1\n")
        port(bad, "--sarif", bad / "out.sarif", status=1)
        held = json.loads((bad / "out.sarif").read_text())
        fits(held, json.loads(Path(__file__).with_name("sarif_schema.json").read_text()))
        (run,) = held["runs"]
        ids = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
        assert all(ids[result["ruleIndex"]] == result["ruleId"] for result in run["results"])
        places = [each["locations"][0]["physicalLocation"] for each in run["results"]]
        assert "with%20space.py" in {place["artifactLocation"]["uri"] for place in places}
        assert [place.get("region", {}).get("startLine") for place in places].count(None) == 1

    def test_files_left_alone_are_in_all_forms(self, bad):
        (bad / "csrc" / "xpu").mkdir(parents=True)
        (bad / "csrc" / "xpu" / "k.cpp").write_text("void f();\n")
        (bad / "requirements-rocm.txt").write_text("torch\n")
        port(bad, "--sarif", bad / "out.sarif", "--html", bad / "out.html", status=1)
        held = json.loads((bad / "out.sarif").read_text())
        fits(held, json.loads(Path(__file__).with_name("sarif_schema.json").read_text()))
        (invocation,) = held["runs"][0]["invocations"]
        told = {
            each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]: each["message"]["text"]
            for each in invocation["toolExecutionNotifications"]
        }
        assert told["csrc/xpu/k.cpp"].endswith("was left alone: it is for another device, or has a counterpart.")
        assert "written for AMD (ROCm) already" in told["requirements-rocm.txt"]
        page = (bad / "out.html").read_text()
        assert "What was left alone" in page
        assert "csrc/xpu/k.cpp" in page

    def test_annotations(self, bad):
        result = port(bad, "--github", status=1)
        assert "::error file=a.py,line=2,col=18,title=HAL101 blocks::PyTorch has no device type" in result.stdout
        assert "Not yet" not in result.stdout

    def test_page(self, bad):
        (bad / "a.py").write_text((bad / "a.py").read_text() + "torch.device('hip')  # <script>alert(1)</script>\n")
        port(bad, "--html", bad / "out.html", status=1)
        text = (bad / "out.html").read_text()
        assert "Not yet on an AMD card: 2 things block" in text
        assert "<script>alert" not in text

    def test_a_rule(self):
        text = port("--rules", "HAL302", status=0).stdout
        assert "warp-mask-32" in text
        assert "0xffffffffffffffffull" in text
        assert len(json.loads(port("--rules", "HAL3", "--json", status=0).stdout)) > 30
        assert len(port("--rules", status=0).stdout.splitlines()) > 100


class TestChanges:
    def test_line_endings_and_modes_stay(self, bad):
        path = bad / "a.py"
        path.write_bytes(b"import torch\r\nd = torch.device('rocm')\r\nx = '\xc3\xa9'")
        path.chmod(0o755)
        port(bad, "--fix", "--allow-dirty")
        assert path.read_bytes() == b"import torch\r\nd = torch.device('cuda')\r\nx = '\xc3\xa9'"
        assert stat.S_IMODE(path.stat().st_mode) == 0o755

    def test_only_utf8(self, bad):
        (bad / "a.py").write_bytes(b"# \xe9\nimport torch\nd = torch.device('rocm')\n")
        assert "it is not UTF-8" in port(bad, "--fix", "--allow-dirty", status=1).stdout

    def test_refuses_uncommitted_changes(self, bad):
        before = (bad / "a.py").read_text()
        assert "not under version control" in port(bad, "--fix", status=2).stderr
        git(bad, "init", "-q")
        assert "uncommitted changes: a.py" in port(bad, "--fix", status=2).stderr
        assert (bad / "a.py").read_text() == before
        commit(bad)
        port(bad, "--fix", status=1)
        assert "torch.device('cuda')" in (bad / "a.py").read_text()

    def test_a_patch_changes_nothing(self, bad):
        before = (bad / "a.py").read_text()
        assert "+d = torch.device('cuda')" in port(bad, "--diff", status=1).stdout
        assert (bad / "a.py").read_text() == before


class TestConversion:
    @pytest.fixture
    def source(self, tmp_path):
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "a.cu").write_text(
            "#include <cuda_runtime.h>\nvoid f(){ cudaFree(0); cudaGetDriverEntryPointByVersion(0,0,0,0,0); "
            "int e = cudaErrorApiFailureBase; }\n"
        )
        (tmp_path / "source" / "b.cpp").write_text("int g(){ return 1; }\n")
        return tmp_path / "source"

    def test_left_and_invented(self, source, tmp_path):
        done = as_json(source, "--convert", tmp_path / "out", status=1)["conversion"]
        assert done["converted"] == ["a.cu"]
        assert done["unchanged"] == ["b.cpp"]
        assert [name for name, _ in done["left"]] == ["cudaGetDriverEntryPointByVersion"]
        assert [old for _, old in done["invented"]] == ["cudaErrorApiFailureBase"]
        assert (tmp_path / "out" / "b.cpp").read_text() == "int g(){ return 1; }\n"
        assert sorted(path.name for path in source.iterdir()) == ["a.cu", "b.cpp"]

    @pytest.mark.parametrize(
        ("code", "said"),
        [
            ("import sys; print('garbage'); sys.exit(3)", "ended with status 3"),
            ("print('garbage')", "without saying what it did"),
            ("import sys; open(sys.argv[3], 'w').write('[1]')", "without saying what it did"),
            ("raise ValueError('no')", "ValueError: no"),
        ],
    )
    def test_a_converter_that_fails(self, source, tmp_path, monkeypatch, code, said):
        fake = tmp_path / "fake.py"
        fake.write_text(code)
        monkeypatch.setattr(hal.porting.convert, "_WORKER", (str(fake),))
        result = port(source, "--convert", tmp_path / "out", status=1)
        assert said in result.stderr
        assert sorted(path.name for path in tmp_path.iterdir()) == ["fake.py", "source"]

    def test_without_torch(self, source, tmp_path, monkeypatch):
        monkeypatch.setattr(hal.porting.convert.importlib.util, "find_spec", lambda name: None)
        assert "needs PyTorch" in port(source, "--convert", tmp_path / "out", status=3).stderr

    def test_nothing_to_convert(self, bad):
        assert "nothing was written" in port(bad, "--convert", bad / "out", status=1).stdout
        assert not (bad / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "there is no file or folder"),
        ([], "needs the path of a project"),
        (["note.txt"], "does not look into files such as note.txt"),
        ([".", "--select", "HAL999"], "there is no rule HAL999"),
        ([".", "--ignore", "torch-device-nam"], "did you mean torch-device-name"),
        (["HAL9", "--rules"], "there is no rule HAL9"),
        ([".", "--to", "moon"], "moon is not a target"),
        ([".", "--from", "rocm"], "no rules from rocm to rocm"),
        ([".", "--rocm", "seven"], "seven is not the number of a release"),
        ([".", "--min-severity", "bad"], "allowed are blocks"),
        ([".", "--fix", "--diff"], "exclude each other"),
        ([".", "--suggestions"], "add --diff or --fix"),
        ([".", "--baseline", "nowhere.json"], "cannot read the baseline"),
        ([".", "--convert", "a"], "already exists"),
        ([".", "--convert", "b", "--to", "cpu"], "no conversion of sources to cpu"),
        ([".", "--sarif", "/dev/null/x"], "cannot create the folder /dev/null"),
        (["a", "--json"], "hal port does not look"),
    ],
)
def test_requests_that_cannot_be(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_text("")
    (tmp_path / "note.txt").write_text("")
    result = port(*words, status=2)
    assert said in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "note.txt"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.hal.port]\nselct = []\n", "unknown key selct; did you mean select?"),
        ("[tool.hal]\nport = 3\n", "is no table"),
        ("[tool", "cannot read"),
        ("[tool.hal.port]\nselect = 3\n", "select=3 is not possible"),
    ],
)
def test_damaged_settings(tmp_path, text, said):
    (tmp_path / "pyproject.toml").write_text(text)
    assert said in port(tmp_path, status=2).stderr


def test_a_damaged_baseline(bad):
    (bad / "b.json").write_text("{}")
    assert "is not a report of hal port" in port(bad, "--baseline", bad / "b.json", status=2).stderr
