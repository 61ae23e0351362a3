"""What is built from the tree, and that it works where it is installed."""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

import hal

ROOT = Path(__file__).parents[2]
FOLDERS = ("backends", "models", "tuner")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PIP = "pip install --quiet --no-deps --no-build-isolation --no-index --disable-pip-version-check".split()


def run(*arguments, cwd=ROOT, path=""):
    """What a fresh interpreter prints; ``path`` is a folder that it finds modules in before all others."""
    command = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def build(source, out, *what):
    for module in ("build", "hatchling"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    run("-m", "build", "--no-isolation", *what, "--outdir", out, source)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The folder with the wheel and the sdist, both built from the tree."""
    out = tmp_path_factory.mktemp("packages")
    build(ROOT, out, "--wheel", "--sdist")
    return out


@pytest.fixture(scope="module")
def wheel(packages):
    (path,) = packages.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def sdist(packages, tmp_path_factory):
    """The folder that the sdist unpacks to."""
    (path,) = packages.glob("*.tar.gz")
    out = tmp_path_factory.mktemp("sdist")
    with tarfile.open(path) as archive:
        archive.extractall(out, filter="data")
    (folder,) = out.iterdir()
    return folder


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder that holds the installed wheel and nothing else."""
    out = tmp_path_factory.mktemp("installed")
    run("-m", *PIP, "--target", out, wheel)
    return out


def files_of(folder):
    """Files of a folder by their path in it, without what Python writes beside them."""
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in paths}


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def test_wheel_holds_hal_alone(wheel):
    top = {name.partition("/")[0] for name in contents(wheel)}
    assert top == {"hal", f"hal_tensor-{hal.__version__}.dist-info"}


def test_wheel_holds_every_file(wheel):
    linked = {f"hal/{folder}/{name}" for folder in FOLDERS for name in files_of(ROOT / folder)}
    own = {f"hal/{name}" for name in files_of(ROOT / "hal") if name.partition("/")[0] not in FOLDERS}
    assert {name for name in contents(wheel) if name.startswith("hal/")} == own | linked
    needed = {"hal/py.typed", "hal/backends/cpu/architectures.toml", "hal/models/cnn.py", "hal/page/page.html"}
    assert needed <= own | linked


def test_entry_points(wheel):
    parser = ConfigParser()
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
        parser.read_string(archive.read(name).decode())
    assert dict(parser["console_scripts"]) == PROJECT["scripts"] == {"hal": "hal.cli:main"}
    assert dict(parser["hal.backends"]) == PROJECT["entry-points"]["hal.backends"]


def test_every_backend_is_registered():
    folders = {path.parent.name for path in (ROOT / "backends").glob("[!_]*/__init__.py")}
    points = PROJECT["entry-points"]["hal.backends"]
    assert {value.partition(":")[0].rpartition(".")[2] for value in points.values()} == folders
    assert folders <= set(points)


def test_version():
    assert PROJECT["version"] == hal.__version__


def test_sdist_builds_the_same_wheel(sdist, wheel, tmp_path):
    build(sdist, tmp_path, "--wheel")
    assert contents(tmp_path / wheel.name) == contents(wheel)


def test_sdist_holds_what_a_packager_needs(sdist):
    assert {"README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "tox.ini", "constraints.txt"} <= files_of(sdist)
    assert (sdist / "tests" / "packaging" / Path(__file__).name).is_file()


LOAD = """
import importlib.metadata, sys
import hal, hal.backends.cpu, hal.models.cnn, hal.tuner
(found,) = importlib.metadata.distributions(name="hal-tensor", path=sys.argv[1:])
for point in found.entry_points:
    point.load()
for module in (hal, hal.backends, hal.backends.cpu, hal.models.cnn, hal.tuner):
    assert module.__file__.startswith(sys.argv[1]), module
print(hal.device("cpu").xp.ones(3).sum().item())
"""


def test_installed_wheel_works(installed, tmp_path):
    """Away from the tree; -P keeps the working directory off the path."""
    assert run("-P", "-c", LOAD, installed, cwd=tmp_path, path=installed) == "3.0"


def test_installed_command(installed, tmp_path):
    shown = run(installed / "bin" / "hal", "devices", "--help", cwd=tmp_path, path=installed)
    assert shown.startswith("Usage: hal devices")


USE = """
import contextlib, io, json, sys
from importlib.metadata import EntryPoint
import hal
from hal import registry
from hal.cli.app import main
from hal.errors import UnavailableError
from hal.workload import model_class

def command(*words):
    said = io.StringIO()
    sys.argv = ["hal", *words]
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main()
    return json.loads(said.getvalue())["error"]

def fails(call):
    try:
        call()
    except UnavailableError as error:
        return {"message": error.message, "fix": error.fix}

registry.entry_points = lambda group: [EntryPoint("cpu", "hal.backends.cpu:CpuBackend", group)]
found = {
    "backends": fails(lambda: hal.device("cpu")),
    "models": fails(lambda: model_class("cnn")),
    "tuner": fails(lambda: hal.tune(model="cnn")),
    "command": command("tune", "model=cnn", "--json"),
}
registry.entry_points = lambda group: []
found["nothing registered"] = fails(lambda: hal.device("cpu"))
found["devices"] = command("devices", "--json")
print(json.dumps(found))
"""


@pytest.fixture
def checkout(tmp_path_factory):
    """A clone without symbolic links, as Git makes it where they are not allowed: links are files of text."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    tree = tmp_path_factory.mktemp("checkout")
    for folder in (*FOLDERS, "hal"):
        shutil.copytree(ROOT / folder, tree / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for folder in FOLDERS:
        (tree / "hal" / folder).unlink(missing_ok=True)
        (tree / "hal" / folder).symlink_to(f"../{folder}")
    git(tree, "init", "--quiet")
    git(tree, "add", ".")
    git(tree, "-c", "user.name=x", "-c", "user.email=x", "commit", "--quiet", "-m", "all")
    git(tree, "config", "core.symlinks", "false")
    for folder in FOLDERS:
        (tree / "hal" / folder).unlink()
    git(tree, "checkout", "--", ".")
    assert (tree / "hal" / "backends").read_text() == "../backends"
    return tree


def git(tree, *words):
    subprocess.run(["git", "-C", str(tree), *words], check=True, capture_output=True)


class TestWithoutLinks:
    """Source trees that cannot be used in place say so, and what to do instead does help."""

    @staticmethod
    def told(tree, tmp_path):
        found = json.loads(run("-P", "-c", USE, cwd=tmp_path, path=tree))
        for name in FOLDERS:
            assert f"hal/{name} " in found[name]["message"]
        assert found["command"]["message"] == found["tuner"]["message"]
        assert found["nothing registered"] == found["backends"]
        assert found["devices"]["message"] == found["backends"]["message"]
        return found["backends"]

    def test_checkout(self, checkout, tmp_path):
        told = self.told(checkout, tmp_path)
        assert told["message"] == (
            f"hal is imported from {checkout}, a checkout without symbolic links: hal/backends is a text file, "
            "and should be a link to the folder backends"
        )
        command = re.search("git config .*", told["fix"])[0]
        subprocess.run(command, shell=True, cwd=checkout, check=True, capture_output=True)
        assert all((checkout / "hal" / folder / "__init__.py").is_file() for folder in FOLDERS)
        assert (
            run("-P", "-c", "import hal.tuner; print(hal.tuner.__name__)", cwd=tmp_path, path=checkout) == "hal.tuner"
        )

    def test_checkout_without_the_files(self, checkout, tmp_path):
        for folder in FOLDERS:
            (checkout / "hal" / folder).unlink()
        assert "hal/backends is missing, and should be a link" in self.told(checkout, tmp_path)["message"]

    def test_sdist_used_in_place(self, sdist, tmp_path):
        told = self.told(sdist, tmp_path)
        assert told["message"].startswith(f"hal is imported from {sdist}, an unpacked source distribution")
        assert told["fix"].startswith(f"run: pip install {sdist} (without -e)")
        run("-m", *PIP, "--target", tmp_path / "installed", sdist)
        code = "import hal.tuner, hal.models.cnn, hal.backends.null; print(hal.__file__)"
        where = run("-P", "-c", code, cwd=tmp_path, path=tmp_path / "installed")
        assert Path(where).is_relative_to(tmp_path / "installed")

    def test_not_installed(self, tmp_path):
        """A tree with its links, of which nobody has told Python."""
        if not (ROOT / "hal" / "backends").exists():
            pytest.skip("an unpacked sdist has no links")
        code = "from hal import registry; registry.entry_points = lambda group: []; registry.names()"
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "is not installed, so no backend is registered" in done.stderr
        assert f"run: pip install -e {ROOT}" in done.stderr


class TestTree:
    """The tree itself, where the three folders stand at the top and are linked into hal."""

    @pytest.fixture(autouse=True)
    def _links(self):
        if not (ROOT / "hal" / "backends").exists():
            pytest.skip("an unpacked sdist has no links")

    def test_links_are_committed(self):
        if shutil.which("git") is None or not (ROOT / ".git").exists():
            pytest.skip("not in a git checkout")
        links = [f"hal/{folder}" for folder in FOLDERS]
        command = ["git", "-c", "safe.directory=*", "ls-files", "--stage", *links]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert [(line.split()[0], line.split()[-1]) for line in listed.splitlines()] == [
            ("120000", link) for link in links
        ]

    @pytest.mark.parametrize("folder", FOLDERS)
    def test_bare_import_is_refused(self, folder, tmp_path):
        code = f"import sys; sys.path.insert(0, sys.argv[1])\ntry: import {folder}\nexcept ImportError as e: print(e)"
        assert f"'hal.{folder}'" in run("-I", "-c", code, ROOT, cwd=tmp_path)

    def test_editable_install(self, tmp_path):
        if importlib.util.find_spec("hatchling") is None:
            pytest.skip("hatchling is not installed")
        run("-m", *PIP, "--target", tmp_path, "--editable", ROOT)
        code = "import site, sys; site.addsitedir(sys.argv[1]); import hal.models, hal.tuner, hal.backends as found"
        code += "; print(found.__file__)"
        assert Path(run("-I", "-S", "-c", code, tmp_path, cwd=tmp_path)).is_relative_to(ROOT)
