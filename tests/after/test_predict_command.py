"""``hal predict``: what it reads, what it prints, and what it says of bad inputs."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from run_helpers import command

import hal
from hal.errors import ConfigError, InputError
from hal.run import read_record


def predictions(*words):
    result = command("predict", *words, "--json")
    return result.exit_code, json.loads(result.stdout)


def test_held_out_files_one_by_one_give_the_accuracy_of_the_run(trained_cnn, pictures, tmp_path):
    run = tmp_path / "elsewhere"  # the folder of the run alone
    shutil.copytree(trained_cnn, run)
    files = sorted((pictures / "val").rglob("*.png"))
    status, found = predictions(run, *files)
    assert status == 0
    assert [each["input"] for each in found["predictions"]] == list(map(str, files))
    right = [each["label"] == file.parent.name for each, file in zip(found["predictions"], files, strict=True)]
    accuracy = read_record(trained_cnn).results["accuracy"]
    assert np.mean(right) == accuracy
    assert accuracy > 0.6
    assert found["class_names"] == ["bars", "blank", "dots"]
    for each in found["predictions"]:
        assert sum(score["probability"] for score in each["top"]) == pytest.approx(1, abs=1e-5)
        assert each["probability"] == each["top"][0]["probability"]


@pytest.mark.parametrize("where", ["folder", "pattern", "npz", "npy"])
def test_other_ways_to_name_the_same_inputs(trained_cnn, pictures, tmp_path, where):
    files = sorted((pictures / "val" / "dots").glob("*.png"))
    _, wanted = predictions(trained_cnn, *files)
    values = np.stack([np.asarray(Image.open(file)) for file in files])
    np.savez(tmp_path / "x.npz", x=values, y=np.zeros(len(files)))
    np.save(tmp_path / "x.npy", values)
    word = {
        "folder": pictures / "val" / "dots",
        "pattern": pictures / "val" / "do*" / "*.png",
        "npz": tmp_path / "x.npz",
        "npy": tmp_path / "x.npy",
    }[where]
    status, found = predictions(trained_cnn, word)
    assert status == 0
    assert [e["label"] for e in found["predictions"]] == [e["label"] for e in wanted["predictions"]]
    np.testing.assert_allclose(
        [e["probability"] for e in found["predictions"]],
        [e["probability"] for e in wanted["predictions"]],
        atol=0.02,  # arrays are resized in float32, files in 8 bits
    )


def test_a_picture_is_turned_as_its_camera_says(trained_cnn, tmp_path):
    upright = np.zeros((12, 12), np.uint8)
    upright[:, ::2] = 220
    Image.fromarray(upright).save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(np.rot90(upright)).save(tmp_path / "turned.png", exif=exif)
    _, found = predictions(trained_cnn, tmp_path / "upright.png", tmp_path / "turned.png")
    first, second = found["predictions"]
    assert first["top"] == second["top"]


def test_a_damaged_input_is_named_and_the_others_go_on(trained_cnn, pictures, tmp_path):
    good = sorted((pictures / "val" / "bars").glob("*.png"))[:2]
    bad = tmp_path / "bad.png"
    bad.write_bytes(good[0].read_bytes()[:60])
    result = command("predict", trained_cnn, good[0], bad, good[1])
    assert result.exit_code == 1
    assert [line.split()[0] for line in result.stdout.splitlines()] == [str(file) for file in good]
    assert f"{bad} is not an image that can be decoded" in result.stderr
    assert "1 input could not be read" in " ".join(result.stderr.split())
    status, found = predictions(trained_cnn, bad)
    assert (status, found["predictions"]) == (1, [])
    assert found["failed"][0]["input"] == str(bad)


def test_forms_of_the_output(trained_cnn, pictures, tmp_path):
    files = sorted((pictures / "val" / "dots").glob("*.png"))[:3]
    rows = list(csv.reader(io.StringIO(command("predict", trained_cnn, *files, "format=csv", "top=2").stdout)))
    assert rows[0] == ["input", "label", "probability", "label_2", "probability_2"]
    assert [row[0] for row in rows[1:]] == [str(file) for file in files]
    lines = command("predict", trained_cnn, *files, "format=jsonl", "top=1").stdout.splitlines()
    assert [json.loads(line)["input"] for line in lines] == [str(file) for file in files]
    result = command("predict", trained_cnn, *files, "format=csv", f"out={tmp_path / 'x.csv'}")
    assert result.stdout == ""
    assert (tmp_path / "x.csv").read_text().startswith("input,label,probability")
    assert command("predict", trained_cnn, *files, f"out={tmp_path / 'x.csv'}").exit_code == 2
    status, found = predictions(trained_cnn, *files, "format=csv", f"out={tmp_path / 'both.csv'}")
    assert (status, len(found["predictions"])) == (0, 3)
    assert (tmp_path / "both.csv").read_bytes() == (tmp_path / "x.csv").read_bytes()
    assert command("predict", trained_cnn, *files, "format=csv", f"out={tmp_path / 'new' / 'x.csv'}").exit_code == 0
    assert (tmp_path / "new" / "x.csv").read_bytes() == (tmp_path / "x.csv").read_bytes()


def test_stdin(trained_cnn, pictures, monkeypatch):
    file = next((pictures / "val" / "bars").glob("*.png"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))
    result = command("predict", trained_cnn, file)
    wanted = result.stdout.split()[1:]
    from hal.after.inputs import batches_of, files_of
    from hal.after.trained import load

    trained = load(trained_cnn)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))
    batch = next(batches_of(files_of(["-"], trained), trained))
    assert list(batch.names) == ["-"]
    found = trained.explain(batch.names, trained.outputs(batch.inputs), 3)[0]
    assert [score.label for score in found.top] == wanted[::2]


def test_a_text_is_continued(trained_text, tmp_path):
    first = command("predict", trained_text, "text=the c", "length=20", "temperature=0.2", "seed=1")
    again = command("predict", trained_text, "text=the c", "length=20", "temperature=0.2", "seed=1", "--json")
    assert first.exit_code == 0
    written = json.loads(again.stdout)["texts"][0]["text"]
    assert first.stdout == f"the c{written}\n"
    assert len(written) == 20
    loaded = hal.load(trained_text)
    assert "".join(loaded.write("the c", 20, 0.2, 1)) == written
    for prompt, length, temperature in (("", 20, 0.2), ("the c", 0, 0.2), ("the c", 20, 0.0)):
        with pytest.raises((InputError, ConfigError)):
            loaded.write(prompt, length, temperature)
    (tmp_path / "prompt.txt").write_text("the m")
    assert command("predict", trained_text, tmp_path / "prompt.txt", "length=3").stdout.startswith("the m")
    both = command("predict", trained_text, "text=the c", "length=3", f"out={tmp_path / 'out.txt'}", "--json")
    assert (tmp_path / "out.txt").read_text() == f"the c{json.loads(both.stdout)['texts'][0]['text']}\n"


def test_samples_of_a_gan(trained_gan, tmp_path):
    result = command("predict", trained_gan, "samples=3", "seed=5", f"out={tmp_path / 's'}")
    assert result.exit_code == 0, result.stderr
    names = sorted(path.name for path in (tmp_path / "s").iterdir())
    assert names == ["sample-1.png", "sample-2.png", "sample-3.png", "samples.png"]
    with Image.open(tmp_path / "s" / "samples.png") as tiles:
        assert tiles.size == (60, 20)
    images = hal.load(trained_gan).samples(3, seed=5)
    with Image.open(tmp_path / "s" / "sample-2.png") as second:
        np.testing.assert_allclose(np.asarray(second) / 255, images[1, ..., 0], atol=0.003)


def test_texts_with_classes(tmp_path):
    for name, text in (("question", "is it there? "), ("answer", "yes, it is. ")):
        (tmp_path / "texts" / name).mkdir(parents=True)
        for number in range(8):
            (tmp_path / "texts" / name / f"{number}.txt").write_text(text * (number + 1))
    hal.train(
        model={"name": "transformer", "task": "classify", "layers": 1, "width": 8, "heads": 2, "length": 32},
        data=f"texts:{tmp_path / 'texts'}",
        backend="cpu",
        batch=4,
        threads=1,
        steps=2,
        out=str(tmp_path / "run"),
    )
    (tmp_path / "new.csv").write_text('id,text\n1,"is it, there?"\n2,yes\n3,\n')
    (tmp_path / "new.txt").write_text("is it there?")
    status, found = predictions(tmp_path / "run", tmp_path / "new.csv", tmp_path / "new.txt", "text=is it there?")
    assert status == 1  # one line has no text
    names = [each["input"] for each in found["predictions"]]
    assert names == [f"{tmp_path / 'new.csv'}:2", f"{tmp_path / 'new.csv'}:3", str(tmp_path / "new.txt"), "text"]
    assert "no text" in found["failed"][0]["error"]
    assert found["predictions"][2]["top"] == found["predictions"][3]["top"]
    assert hal.load(tmp_path / "run").predict(["is it there?"])[0].label == found["predictions"][3]["label"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["{run}"], 2, "no input was given"),
        (["{run}", "nowhere.png"], 2, "nowhere.png does not exist"),
        (["{run}", "{empty}/*.png"], 2, "no file fits the pattern"),
        (["{run}", "{empty}"], 2, "has no file that this model takes"),
        (["{run}", "{empty}/none.txt", "text=hello"], 2, "text= is for models of texts"),
        (["{run}", "{other}"], 1, "is not an image that can be decoded"),
        (["{run}", "{text}"], 1, "notes.txt is a text, but model=cnn takes images (give pictures, or arrays in a .npz"),
        (["{run}", "{big}"], 1, "range from 0 to 200, but the model was trained on images in [0, 1]"),
        (["{run}", "{wide}"], 1, "images of 5 channels"),
        (["{run}", "{zero}"], 1, "has no samples"),
        (["{run}", "{text}", "backnd=cpu"], 2, "did you mean backend?"),
        (["{run}", "{text}", "parallel=dp=2"], 2, "runs on one device"),
        (["{run}", "{text}", "length=5"], 2, "length= is for models that write text, but model=cnn takes inputs"),
        (["{run}", "{text}", "samples=4"], 2, "samples= is for models that make samples"),
        (["{run}", "{text}", "backend=nowhere"], 2, "nowhere"),
        (["{empty}", "{text}"], 2, "is not the folder of a run"),
        (["{text}", "{text}"], 2, "is a file, not the folder of a run"),
        (["nowhere", "{text}"], 2, "does not exist"),
    ],
)
def test_bad_inputs(trained_cnn, tmp_path, words, status, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "notes.md").write_text("no picture")
    np.save(tmp_path / "big.npy", np.linspace(0, 200, 256, dtype=np.float32).reshape(1, 16, 16, 1))
    np.save(tmp_path / "wide.npy", np.zeros((2, 16, 16, 5), np.float32))
    np.savez(tmp_path / "zero.npz", x=np.zeros((0, 16, 16, 1)))
    places = {
        "run": trained_cnn,
        "empty": tmp_path / "empty",
        "text": tmp_path / "notes.txt",
        "other": tmp_path / "notes.md",
        "big": tmp_path / "big.npy",
        "wide": tmp_path / "wide.npy",
        "zero": tmp_path / "zero.npz",
    }
    result = command("predict", *(word.format(**places) for word in words))
    assert result.exit_code == status, result.stderr
    assert said in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_bad_prompts(trained_text, trained_gan):
    unknown = command("predict", trained_text, "text=Ωmega")
    assert unknown.exit_code == 2
    assert "characters that the model does not know: 'Ω'" in unknown.stderr
    assert command("predict", trained_text, "text=").exit_code == 2
    assert "top= is for models that take inputs" in command("predict", trained_text, "text=a", "top=2").stderr
    assert "but model=gan makes samples" in command("predict", trained_gan, "format=csv").stderr
    assert command("predict", trained_text).exit_code == 2
    assert "takes no inputs" in command("predict", trained_gan, "text=x").stderr
