"""Whatever a project, its settings or a baseline hold, hal port answers with a report or one error; it runs nothing."""

import json
import random

import pytest
from fuzzing import MARK, PROGRAMS, SEEDS, STRANGE, damaged, mutated, nested, survives
from project import write_project

from hal.errors import ConfigError
from hal.porting import reports
from hal.porting.config import settings
from hal.porting.request import Request, carry_out

HEADERS = ["[tool.hal.port]", "[tool.hal]", "[[tool.hal.port]]", "[tool]", "[project]"]
OPTIONS = ["to", "from", "release", "arch", "select", "ignore", "min-severity", "exclude", "baseline", "", "x.y"]
WORDS = ["rocm", "cuda", "7.0", "gfx942", "HAL302", "blocks", "*", "[", "a/../..", "/dev/zero", "\x1b[31m", "9" * 400]


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    write_project(folder)
    return folder


def judged(folder, **given):
    """All that hal port makes of a project."""
    answer = carry_out(folder, settings(folder, **given), Request(diff=True, suggestions=True))
    json.loads(reports.sarif_text(answer.report))
    for text in (reports.annotations_text(answer.report), answer.patch):
        assert "\0" not in text
    reports.html_text(answer.report)
    return answer.report


def toml_text(rng):
    lines = [rng.choice(HEADERS)]
    for _ in range(rng.randint(0, 4)):
        value = json.dumps(rng.choice([*WORDS, *WORDS, [rng.choice(WORDS)], *STRANGE]), default=str)
        lines.append(f"{json.dumps(rng.choice(OPTIONS))} = {value}")
    content = "\n".join(lines).encode("utf-8", "surrogateescape")
    return damaged(content, rng) if rng.random() < 0.3 else content


@pytest.mark.parametrize("seed", SEEDS)
def test_settings(tmp_path, seed):
    (tmp_path / "a.py").write_text("import torch\ntorch.cuda.synchronize()\n")
    (tmp_path / "pyproject.toml").write_bytes(toml_text(random.Random(f"toml {seed}")))
    survives(lambda: judged(tmp_path), f"settings of a project, seed {seed}")


@pytest.mark.parametrize("seed", SEEDS)
def test_baselines(tmp_path, seed):
    (tmp_path / "a.py").write_text("from triton.language.extra.cuda import libdevice\n")
    path = tmp_path / "known.json"
    path.write_text(judged(tmp_path).model_dump_json())
    path.write_bytes(mutated(path.read_bytes(), random.Random(f"baseline {seed}")))
    survives(lambda: judged(tmp_path, baseline=path), f"baseline, seed {seed}")


@pytest.mark.parametrize("seed", SEEDS)
def test_projects(project, seed):
    """Each of its files is damaged at once; comments that ignore rules are among them."""
    rng = random.Random(f"project {seed}")
    for path in sorted(project.rglob("*")):
        if not path.is_file() or ".git" in path.parts:
            continue
        content = path.read_bytes()
        if rng.random() < 0.3:
            said = rng.choice(["hal: ignore", "hal: ignore[", "hal: ignore[HAL]", f"hal: ignore[{'H,' * 999}]", "hal:"])
            content = content.replace(b"\n", f"  # {said}\n".encode(), 3)
        path.write_bytes(mutated(content, rng))
    survives(lambda: judged(project), f"project, seed {seed}")


DEEP = {
    "a.py": "x = " + nested(50_000),
    "b.py": "x = " + "-" * 50_000 + "1",
    "c.py": "if a:\n" + "".join(f"{' ' * n}if a:\n" for n in range(1, 3000)),
    "d.cu": "{" * 50_000 + "#if (" * 2000,
    "e.cu": "#if defined(A)\n" * 20_000,
    "f.ipynb": nested(50_000),
    "g.yml": nested(50_000),
    "h.json": nested(50_000, "{}"),
    "CMakeLists.txt": "(" * 50_000,
    "requirements.txt": "torch" + "[" * 50_000 + "\n" + "torch==" + "9" * 50_000,
    "i.py": "x = " + "9" * 50_000,
    "j.py": "torch" + ".cuda" * 20_000,
    "k.py": "x = " + " + ".join(["'a'"] * 20_000),
    "l.cu": '"' + "\\" * 50_000 + "/*" * 50_000,
    "m.py": f"{PROGRAMS['yaml'].decode()}\nimport os; os.system('touch {MARK}')\n",
    "n.py": "\ufeff# -*- coding: nothing -*-\nimport torch\n",
}


@pytest.mark.parametrize("name", DEEP)
def test_a_file_that_is_deep_or_long(tmp_path, name):
    (tmp_path / name).write_text(DEEP[name])
    (tmp_path / "good.py").write_text("from triton.language.extra.cuda import libdevice\n")
    reports_of = []
    survives(lambda: reports_of.append(judged(tmp_path)), "deep or long file")
    assert any(found.path == "good.py" for found in reports_of[0].findings), "the other files are judged"


@pytest.mark.parametrize(("key", "value"), [("min-severity", "bad"), ("select", 3), ("release", 7.0), ("mode", "x")])
def test_a_wrong_setting_is_told_with_its_file(tmp_path, key, value):
    (tmp_path / "pyproject.toml").write_text(f"[tool.hal.port]\n{key} = {json.dumps(value)}\n")
    with pytest.raises(ConfigError, match=r"pyproject\.toml") as caught:
        settings(tmp_path)
    assert key in caught.value.message


def test_a_wrong_option_is_not_told_with_a_file(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.hal.port]\narch = 'gfx942'\n")
    with pytest.raises(ConfigError, match=r"min-severity='bad' is not possible") as caught:
        settings(tmp_path, min_severity="bad")
    assert "pyproject" not in caught.value.message
