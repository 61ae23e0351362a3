"""Models by name and by file."""

import pytest

from hal.errors import ConfigError, NotFoundError, RequestError
from hal.nn import Model
from hal.workload import BUILT_IN, Workload, model_class


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_models(name):
    cls = model_class(name)
    assert issubclass(cls, Model)
    config = cls.Config()
    defaults = cls.defaults_for(config)
    assert defaults.epochs >= 1
    assert defaults.lr > 0
    assert cls.metric_for(config)[1] in ("max", "min")
    assert cls.wanted(config).shape


def test_a_model_that_is_not_known():
    with pytest.raises(ConfigError, match=r"model=cn is not known; did you mean cnn\?") as caught:
        model_class("cn")
    assert "cnn, rnn, gan" in caught.value.fix
    assert "path/to/file.py:Name or package.module:Name" in caught.value.fix


@pytest.mark.parametrize("name", ["qqqq", "nowhere/cnn.py", "file-1.txt:CNN", ":CNN", ""])
def test_names_that_are_neither(name):
    with pytest.raises(ConfigError, match="is not known"):
        model_class(name)


def _file(tmp_path, text):
    path = tmp_path / "mine.py"
    path.write_text(text)
    return path


def test_a_file_of_ones_own(tmp_path, monkeypatch):
    path = _file(tmp_path, "from hal.models.cnn import CNN\nclass Mine(CNN):\n    pass\n")
    found = model_class(f"{path}:Mine")
    assert found.__name__ == "Mine"
    assert model_class(f"{path}:Mine") is found, "one file is imported once"
    monkeypatch.chdir(tmp_path)
    assert model_class("mine.py:Mine") is found
    monkeypatch.setenv("HOME", str(tmp_path))
    assert model_class("~/mine.py:Mine") is found


def test_two_files_of_one_name_are_two_modules(tmp_path):
    classes = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        path = _file(tmp_path / folder, f"from hal.models.cnn import CNN\nclass Mine(CNN):\n    place = {folder!r}\n")
        classes.append(model_class(f"{path}:Mine"))
    assert [cls.place for cls in classes] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        (None, NotFoundError, r"there is no file .*mine\.py"),
        ("def broken(:\n", RequestError, r"mine\.py failed while it was imported: SyntaxError"),
        ("import nothing_of_this_name\n", RequestError, "ModuleNotFoundError"),
        ("1 / 0\n", RequestError, "ZeroDivisionError"),
        ("", ConfigError, r"mine\.py defines no Mine"),
        ("class Mine:\n    pass\n", ConfigError, r"neither a torch\.nn\.Module nor a hal\.nn\.Model"),
        ("Mine = {}\n", ConfigError, r"mine\.py:Mine is neither a torch\.nn\.Module nor"),
        ("Mine = 3\n", ConfigError, r"mine\.py:Mine is neither a torch\.nn\.Module nor"),
    ],
)
def test_files_that_hold_no_model(tmp_path, text, kind, said):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(kind, match=said) as caught:
        model_class(f"{path}:Mine")
    assert caught.value.exit_status == 2


def test_a_file_that_failed_is_read_again(tmp_path):
    path = _file(tmp_path, "1 / 0\n")
    with pytest.raises(RequestError):
        model_class(f"{path}:Mine")
    path.write_text("from hal.models.cnn import CNN as Mine\n")
    assert issubclass(model_class(f"{path}:Mine"), Model)


def test_workloads_are_closed():
    assert Workload(model="cnn", data="digits").mode == "train"
    with pytest.raises(ValueError, match="extra"):
        Workload(model="cnn", data="digits", size=3)
