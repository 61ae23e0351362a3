"""What ``hal port`` says at its end: the next steps on the device, and files that it left alone."""

import re

from typer.testing import CliRunner

from hal.cli.app import app
from hal.porting.catalogue import target, vocabulary
from hal.porting.config import PortConfig
from hal.porting.scan import scan


def test_next_steps_are_commands_with_keys_that_exist():
    for name in vocabulary().targets:
        for step in target(name).next_steps:
            _, command, *keys = step.split()
            result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}, prog_name="hal")
            assert result.exit_code == 0, step
            for key in keys:
                assert re.search(rf"^{key.partition('=')[0]} ", result.output, re.MULTILINE), step


def test_next_steps_name_a_module_of_the_project(tmp_path):
    (tmp_path / "net.py").write_text("from torch import nn\n\nclass Net(nn.Module):\n    pass\n")
    steps = scan(tmp_path, PortConfig()).next_steps
    assert f"hal verify model={tmp_path}/net.py:Net backends=cpu,rocm" in steps
    assert "hal card" in steps
    (tmp_path / "net.py").unlink()
    (tmp_path / "a.py").write_text("import torch\n")
    assert "hal verify model=cnn backends=cpu,rocm" in scan(tmp_path, PortConfig()).next_steps


def test_files_for_other_devices_are_left_alone_and_listed(tmp_path):
    for name in ("codegen/cuda/build.py", "codegen/rocm/build.py", "codegen/xpu/build.py", "codegen/build.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("import torch\nv = torch.version.cuda.split('.')\n")
    (tmp_path / "codegen/rocm/__init__.py").write_text("")
    (tmp_path / "requirements-cuda.txt").write_text("nvidia-cublas-cu12\n")
    (tmp_path / "requirements-rocm.txt").write_text("torch\n")
    report = scan(tmp_path, PortConfig())
    assert {found.path for found in report.findings} == {"codegen/build.py"}
    assert report.elsewhere == ("codegen/cuda/build.py", "codegen/xpu/build.py", "requirements-cuda.txt")
    assert "codegen/rocm/build.py" in report.already
    assert (
        "codegen/xpu/build.py"
        in CliRunner().invoke(app, ["port", str(tmp_path)], env={"COLUMNS": "200"}, prog_name="hal").output
    )
