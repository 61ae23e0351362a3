"""Places for results are tried without a trace, and files are written whole or not at all."""

import errno
import os
import subprocess
import sys

import pytest

from hal.errors import ConfigError, NotFoundError, UnsavedError
from hal.util.files import check_new, check_writable, remove_folder, write_folder, write_result, write_text, write_whole
from hal.util.paths import user_path
from hal.workload import Workload


def entries(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_place_that_can_be_written_to(tmp_path):
    check_writable(tmp_path)
    check_writable(tmp_path / "deep" / "er")
    check_new(tmp_path / "deep" / "file.json")
    assert entries(tmp_path) == [], "nothing is left"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("file", "cannot create the folder"),
        ("file/x", "cannot create the folder"),
        ("/dev/null", "cannot create the folder"),
        ("/dev/null/x", "cannot create the folder"),
        ("/proc", "cannot write to the folder /proc"),
        ("/proc/x", "cannot create the folder /proc/x"),
        ("nowhere/x", "cannot create the folder"),
        ("x" * 300, "File name too long"),
        ("a\0b", "null"),
    ],
)
def test_a_place_that_cannot(tmp_path, place, said):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    with pytest.raises(NotFoundError, match=said) as caught:
        check_writable(tmp_path / place, "another one")
    assert caught.value.fix == "another one"
    assert entries(tmp_path) == ["file", "nowhere"]


@pytest.mark.parametrize("there", ["file", "folder", "link"])
def test_what_is_there_is_not_overwritten(tmp_path, there):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigError, match=f"record=.*{there} already exists and is not overwritten"):
        check_new(tmp_path / there, "record")


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(NotFoundError, match="File name too long"):
        check_new(tmp_path / ("x" * 300))
    name = "é" * 120  # of 240 bytes: the file beside it has a shorter name
    write_whole(tmp_path / name, b"new")
    assert entries(tmp_path) == [name]


def test_a_page_is_written_whole_or_told(tmp_path):
    write_text(tmp_path / "page.html", "é")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "é"
    write_text(tmp_path / "made" / "page.html", "é")
    assert entries(tmp_path / "made") == ["page.html"]
    with pytest.raises(NotFoundError, match=r"cannot .*page.html") as caught:
        write_text(tmp_path / "page.html" / "below.html", "new", fix="another one")
    assert caught.value.fix == "another one"
    assert entries(tmp_path) == ["made", "made/page.html", "page.html"]


def test_the_home_of_nobody():
    with pytest.raises(NotFoundError, match="there is no home folder for ~nosuchuser"):
        user_path("~nosuchuser/x")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_error_names_the_file_and_leaves_nothing(tmp_path, monkeypatch, step):
    path = tmp_path / "target.json"
    write_whole(path, b"old")

    def full(*arguments, **more):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, step, full)
        with pytest.raises(OSError, match="No space left on device") as caught:
            write_whole(path, b"new")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert entries(tmp_path) == ["target.json"]
    assert path.read_bytes() == b"old"


def test_a_real_limit(tmp_path):
    code = "import resource, sys; from pathlib import Path; from hal.util.files import write_whole\n"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    code += "write_whole(Path(sys.argv[1]), b'x' * 100_000)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "big"], capture_output=True, text=True, check=False)
    assert f"File too large: '{tmp_path / 'big'}'" in done.stderr
    assert entries(tmp_path) == []


DIES = """
import os, sys
from pathlib import Path
import hal.util.files as files
os.fsync = lambda handle: os._exit(9)
files.write_whole(Path(sys.argv[1]), b"half")
"""


def test_the_next_one_removes_what_the_dead_left(tmp_path):
    path = tmp_path / "target.json"
    assert subprocess.run([sys.executable, "-c", DIES, path], check=False).returncode == 9
    (left,) = entries(tmp_path)
    assert left.endswith(".part")
    mine = left.replace(left.rpartition("-")[2], f"{os.getpid()}.part")
    elsewhere = left.replace(left.split(".")[-2].partition("-")[0], "00000000")
    for name in (mine, elsewhere, ".notes.part"):
        (tmp_path / name).write_text("")
    write_whole(tmp_path / "other.json", b"whole")
    assert entries(tmp_path) == sorted([mine, elsewhere, ".notes.part", "other.json"]), "only what is surely left over"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_replaces_the_one_before(tmp_path):
    folder = tmp_path / "trace"
    write_folder(folder, {"a": b"1", "b": b"2"})
    assert contents(folder) == {"a": b"1", "b": b"2"}
    write_folder(folder, {"b": b"3"})
    assert contents(folder) == {"b": b"3"}
    remove_folder(folder)
    assert entries(tmp_path) == []


@pytest.mark.parametrize("step", ["mkdir", "fsync", "replace"])
def test_an_error_names_the_folder_and_leaves_nothing(tmp_path, monkeypatch, step):
    folder = tmp_path / "trace"
    write_folder(folder, {"a": b"old"})

    def full(*arguments, **more):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, step, full)
        with pytest.raises(OSError, match="No space left on device") as caught:
            write_folder(folder, {"a": b"new"})
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(folder))
    assert entries(tmp_path) == ["trace", "trace/a"]
    assert contents(folder) == {"a": b"old"}


FOLDER_DIES = DIES.replace('write_whole(Path(sys.argv[1]), b"half")', 'write_folder(Path(sys.argv[1]), {"a": b"half"})')


@pytest.mark.parametrize("write", [lambda path: write_folder(path, {}), lambda path: write_whole(path, b"")])
def test_the_next_one_removes_the_folder_that_the_dead_left(tmp_path, write):
    assert subprocess.run([sys.executable, "-c", FOLDER_DIES, tmp_path / "trace"], check=False).returncode == 9
    left = entries(tmp_path)
    assert len(left) == 2
    assert all(".part" in each for each in left)
    write(tmp_path / "other")
    assert entries(tmp_path) == ["other"]


def test_a_result_that_cannot_be_written(tmp_path):
    found = Workload(model="cnn", data="digits")
    write_result(tmp_path / "deep" / "found.json", found)
    assert Workload.model_validate_json((tmp_path / "deep" / "found.json").read_text()) == found
    (tmp_path / "folder").mkdir()
    with pytest.raises(UnsavedError, match=r"cannot write .*folder: Is a directory") as caught:
        write_result(tmp_path / "folder", found)
    assert caught.value.result is found
    assert caught.value.exit_status == 1
