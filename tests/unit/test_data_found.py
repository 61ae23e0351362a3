"""What is found in folders and archives: parts by their usual names, each sample once, and what was left out."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from data_helpers import IMAGE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hal.data import Split, Wanted, check_classes, load, summary
from hal.errors import DataError, NotFoundError

SHAPE = Wanted("image", (4, 4, 1))


def picture(path, value=128, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (4, 4), value).save(path, "PNG")
    return path


def classes(folder, names=("cat", "dog"), each=4, suffix=".png"):
    for name in names:
        for index in range(each):
            picture(folder / name / f"{index}{suffix}", 10 * index)
    return folder


def found(folder, **keys):
    return load(f"images:{folder}", SHAPE, **keys)


def check_all(split, *, whole):
    for part in (split.validation, split.train):
        part.check(whole=whole)


class TestParts:
    @pytest.mark.parametrize("train", ["train", "Training", "TRAIN_SET", "train-data", "trainImages", "01_train2017"])
    @pytest.mark.parametrize(
        "held",
        ["val", "Validation", "valid", "validate", "dev", "eval", "testset", "Testing", "images_test", "hold-out"],
    )
    def test_by_their_usual_names(self, tmp_path, train, held):
        classes(tmp_path / train, each=3)
        classes(tmp_path / held, each=2)
        split = found(tmp_path)
        assert split.train.class_names == ("cat", "dog")
        assert (len(split.train), len(split.validation)) == (6, 4)

    def test_validation_goes_before_test_which_is_named(self, tmp_path):
        for name, each in (("train", 3), ("test", 1), ("val", 2), ("extra", 5)):
            classes(tmp_path / name, each=each)
        split = found(tmp_path)
        assert (len(split.train), len(split.validation)) == (6, 4)
        assert any("test" in note and "extra" in note for note in split.notes)

    @pytest.mark.parametrize(
        ("first", "second", "parts"),
        [
            ("seg_train", "seg_test", True),
            ("my train", "my-val", True),
            ("cat_train", "dog_test", False),
            ("train station", "test tube", False),
            ("training", "train", False),
            ("Trainingsdaten", "Testdaten", False),
        ],
    )
    def test_the_names_of_parts_differ_in_the_part_alone(self, tmp_path, first, second, parts):
        classes(tmp_path / first, each=3)
        classes(tmp_path / second, each=2)
        split = found(tmp_path)
        assert split.train.class_names == (("cat", "dog") if parts else tuple(sorted((first, second))))
        assert any("if they are parts" in note for note in split.notes) != parts

    def test_names_that_differ_in_spelling_alone(self, tmp_path):
        classes(tmp_path, names=("Cat", "cat", "caf\u00e9", "cafe\u0301", "dog"))
        notes = " ".join(found(tmp_path).notes)
        assert "Cat and cat are different classes" in notes
        assert notes.count("differ only in their spelling") == 2

    def test_what_systems_put_there_is_no_class(self, tmp_path):
        classes(tmp_path, names=("cat", "dog", "__MACOSX", "@eaDir", ".hidden", "lost+found"))
        assert found(tmp_path).train.class_names == ("cat", "dog")

    def test_a_broken_link(self, tmp_path):
        classes(tmp_path)
        (tmp_path / "link").symlink_to("nowhere")
        assert "1 of a broken link" in found(tmp_path).notes[0]
        (tmp_path / "cat" / "x.png").symlink_to("nowhere")
        with pytest.raises(NotFoundError, match="is a link to nowhere, which does not exist"):
            found(tmp_path)

    def test_classes_may_be_called_like_parts(self, tmp_path):
        classes(tmp_path, names=("train", "car"))
        assert found(tmp_path).train.class_names == ("car", "train")


class TestOneClass:
    def test_a_folder_too_far_up(self, tmp_path):
        classes(tmp_path / "data")
        with pytest.raises(DataError, match="only one class, data") as caught:
            check_classes(found(tmp_path))
        assert f"data=images:{tmp_path / 'data'}" in caught.value.fix

    @pytest.mark.parametrize("labels", [np.zeros(6, np.int64), np.full(6, 3)])
    def test_labels_that_are_all_alike(self, tmp_path, labels):
        np.savez(tmp_path / "x.npz", x=np.zeros((6, 4, 4, 1), np.uint8), y=labels)
        with pytest.raises(DataError, match="only one class"):
            check_classes(load(f"npz:{tmp_path}/x.npz", SHAPE))

    def test_two_classes_pass(self, tmp_path):
        check_classes(found(classes(tmp_path)))


class TestLinks:
    @pytest.mark.parametrize("target", ["..", ".", "../..", "../dog"])
    def test_a_link_adds_nothing(self, tmp_path, target):
        classes(tmp_path / "pets")
        (tmp_path / "pets" / "cat" / "again").symlink_to(target, target_is_directory=True)
        split = found(tmp_path / "pets")
        assert len(split.train) + len(split.validation) == 8
        assert any("again" in note or "dog" in note for note in split.notes)

    @pytest.mark.parametrize("link", [os.symlink, os.link])
    def test_a_picture_with_two_names_is_one_sample(self, tmp_path, link):
        classes(tmp_path)
        link(tmp_path / "cat" / "0.png", tmp_path / "cat" / "copy.png")
        split = found(tmp_path)
        assert len(split.train) + len(split.validation) == 8
        assert any("1 link to an image" in note for note in split.notes)

    def test_a_class_may_be_a_link(self, tmp_path):
        classes(tmp_path / "elsewhere")
        (tmp_path / "pets").mkdir()
        for name in ("cat", "dog"):
            (tmp_path / "pets" / name).symlink_to(tmp_path / "elsewhere" / name)
        assert found(tmp_path / "pets").train.class_names == ("cat", "dog")

    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(links=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=6))
    def test_any_links_between_folders(self, tmp_path_factory, links):
        root = classes(tmp_path_factory.mktemp("links"), names=("a", "b"))
        folders = [root, root / "a", root / "b", root / "a" / "inner", root / "b" / "inner", root / "a" / "inner" / "x"]
        for folder in folders:
            folder.mkdir(exist_ok=True, parents=True)
        for number, (where, target) in enumerate(links):
            (folders[where] / f"link{number}").symlink_to(folders[target], target_is_directory=True)
        try:
            split = found(root)
        except DataError as error:  # a link as a class of its own, all of whose pictures are found already
            if "no images" not in str(error):
                raise
            return
        assert len(split.train) + len(split.validation) == 8


class TestLeftOut:
    @pytest.mark.parametrize("suffix", [".jfif", ".JPG", ".jpe", ".png", ".webp"])
    def test_all_usual_suffixes_are_pictures(self, tmp_path, suffix):
        split = found(classes(tmp_path, suffix=suffix))
        assert len(split.train) + len(split.validation) == 8

    def test_other_files_are_counted_by_kind(self, tmp_path):
        classes(tmp_path)
        for name in ("cat/notes.txt", "cat/raw.cr2", "dog/more.txt", "loose.png", "README"):
            (tmp_path / name).write_bytes(b"x")
        (note,) = found(tmp_path).notes
        assert "5 files" in note
        assert "2 .txt" in note
        assert ".cr2" in note

    def test_first_lines_name_classes_and_counts(self, tmp_path):
        classes(tmp_path, each=5)
        lines = summary(found(tmp_path))
        assert "4×4×1" in lines[0]
        assert lines[1] == "2 classes (training + validation samples): cat 4+1, dog 4+1"

    def test_many_classes_are_cut(self):
        split = load("digits", IMAGE)
        assert summary(split)[1].count("+") == 11
        assert "and 3 more" in summary(_with_classes(13))[1]


def _with_classes(count):
    split = load("synthetic:64", IMAGE)
    for part in (split.train, split.validation):
        part.classes = count
    return Split(split.train, split.validation)


class TestArchives:
    @pytest.mark.parametrize(
        "names",
        [
            ("x", "y", "x_test", "y_test"),
            ("x_train", "y_train", "x_test", "y_test"),
            ("X_train", "Y_train", "X_val", "Y_val"),
            ("train_images", "train_labels", "test_images", "test_labels"),
            ("inputs", "labels", "inputs_valid", "labels_valid"),
            ("images", "labels", "val_images", "val_labels"),
        ],
    )
    def test_the_given_part_is_taken(self, tmp_path, names):
        images, labels = np.zeros((8, 4, 4, 1), np.uint8), np.arange(8) % 2
        np.savez(tmp_path / "x.npz", **dict(zip(names, (images, labels, images[:3], labels[:3]), strict=True)))
        split = load(f"npz:{tmp_path}/x.npz", SHAPE)
        assert (len(split.train), len(split.validation)) == (8, 3)
        assert split.notes == ()

    def test_arrays_that_are_not_used_are_named(self, tmp_path):
        images, labels = np.zeros((8, 4, 4, 1), np.uint8), np.arange(8) % 2
        np.savez(
            tmp_path / "x.npz", x=images, y=labels, x_val=images[:2], y_val=labels[:2], x_test=images, extra=labels
        )
        (note,) = load(f"npz:{tmp_path}/x.npz", SHAPE).notes
        assert "extra, x_test" in note

    @pytest.mark.parametrize("label", [2**64 - 1, 2**63, 10**9, 100_000])
    def test_labels_out_of_all_bounds(self, tmp_path, label):
        labels = np.arange(8, dtype=np.uint64) % 2
        labels[3] = label
        np.savez(tmp_path / "x.npz", x=np.zeros((8, 4, 4, 1), np.uint8), y=labels)
        with pytest.raises(DataError, match=f"label {label}"):
            load(f"npz:{tmp_path}/x.npz", SHAPE)


class TestPixels:
    def take(self, folder):
        split = found(folder)
        return split.train.take(np.arange(len(split.train)))["inputs"]

    def tiff(self, folder, pixels):
        classes(folder)
        for path in [*folder.rglob("*.png")]:
            path.unlink()
        for name in ("cat", "dog"):
            for index in range(3):
                Image.fromarray(pixels).save(folder / name / f"{index}.tif")

    def test_16_bits_are_scaled(self, tmp_path):
        self.tiff(tmp_path, np.full((4, 4), 32768, np.uint16))
        assert self.take(tmp_path) == pytest.approx(128 / 255, abs=1e-3)

    def test_32_bits_beyond_16_are_refused(self, tmp_path):
        self.tiff(tmp_path, np.full((4, 4), 100_000, np.int32))
        with pytest.raises(DataError, match="no known range"):
            self.take(tmp_path)

    def test_32_bits_that_may_be_8_are_refused(self, tmp_path):
        self.tiff(tmp_path, np.full((4, 4), 200, np.int32))
        with pytest.raises(DataError, match="no known range"):
            self.take(tmp_path)

    def test_floats_are_found_in_the_header(self, tmp_path):
        self.tiff(tmp_path, np.full((4, 4), 0.5, np.float32))
        with pytest.raises(DataError, match="floating-point pixels"):
            found(tmp_path).train.check(whole=False)

    def test_32_bits_within_16_are_scaled(self, tmp_path):
        self.tiff(tmp_path, np.full((4, 4), 32768, np.int32))
        assert self.take(tmp_path) == pytest.approx(128 / 255, abs=1e-3)

    @pytest.mark.filterwarnings("ignore:::PIL")
    def test_a_small_file_of_many_pixels(self, tmp_path):
        """A PNG of 13,000 by 13,000 white pixels, made without holding them."""
        classes(tmp_path)
        side = 13_000
        packer = zlib.compressobj(9)
        row = b"\0" + b"\xff" * side
        data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()

        def chunk(kind, content):
            return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        whole = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
        (tmp_path / "cat" / "big.png").write_bytes(whole)
        with pytest.raises(DataError, match="13000 x 13000 pixels"):
            check_all(found(tmp_path), whole=False)

    @pytest.mark.filterwarnings("ignore:::PIL")
    def test_a_large_photograph_is_decoded_at_a_fraction(self, tmp_path):
        classes(tmp_path)
        Image.new("RGB", (8000, 6000), (255, 255, 255)).save(tmp_path / "cat" / "photo.jpg", quality=30)
        split = found(tmp_path)
        check_all(split, whole=True)

    @pytest.mark.parametrize("content", [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"", b"GIF8", b"BM"])
    def test_other_formats_are_not_tried(self, tmp_path, content):
        classes(tmp_path)
        (tmp_path / "cat" / "0.png").write_bytes(content)
        split = found(tmp_path)
        with pytest.raises(DataError, match=r"0\.png is not an image"):
            check_all(split, whole=False)

    def test_what_is_damaged_is_found_before_it_is_met(self, tmp_path):
        classes(tmp_path, each=10)
        noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, "PNG")
        for index in range(6):
            (tmp_path / "cat" / f"{index}.png").write_bytes(buffer.getvalue()[:2000])
        split = found(tmp_path, validation=0.5)
        with pytest.raises(DataError, match=r"and \d more|; ") as caught:
            check_all(split, whole=True)
        assert "remove" in caught.value.fix


class TestRegularFiles:
    @pytest.mark.parametrize("name", ["cat/0.png", "cat/pipe.png"])
    def test_a_pipe_among_pictures(self, tmp_path, name):
        classes(tmp_path)
        (tmp_path / name).unlink(missing_ok=True)
        os.mkfifo(tmp_path / name)
        split = found(tmp_path)
        with pytest.raises(NotFoundError, match="not a regular file"):
            check_all(split, whole=False)

    @pytest.mark.parametrize("source", ["npz", "text"])
    def test_a_pipe_or_device_as_a_file(self, tmp_path, source):
        os.mkfifo(tmp_path / "pipe")
        wanted = Wanted("text", (8,)) if source == "text" else SHAPE
        for path in (tmp_path / "pipe", "/dev/zero"):
            with pytest.raises(NotFoundError, match="not a regular file"):
                load(f"{source}:{path}", wanted)

    def test_more_samples_than_memory(self):
        with pytest.raises(DataError, match="of memory"):
            load(f"synthetic:{10**15}", SHAPE)


class TestDigests:
    def test_the_same_names_and_sizes_with_other_pixels(self, tmp_path):
        classes(tmp_path)
        before = found(tmp_path).train.digest()
        path = tmp_path / "cat" / "0.png"
        content = bytearray(path.read_bytes())
        content[-20] ^= 1
        for each in (tmp_path / "cat").iterdir():
            each.write_bytes(content)
        assert found(tmp_path).train.digest() != before


def test_first_lines_tell_numbers_from_counts(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((9, 4, 4, 1), np.uint8), y=[0, 0, 0, 0, 2, 2, 2, 2, 4])
    lines = summary(load(f"npz:{tmp_path}/x.npz", SHAPE))
    assert lines[1] == "5 classes (training + validation samples): 0: 3+1, 1: 0+0, 2: 3+1, 3: 0+0, 4: 1+0"
    assert lines[2:] == (
        "without training samples: 2 classes (1, 3)",
        "without validation samples: 3 classes (1, 3, 4)",
    )


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="this system has no /proc")
def test_what_the_system_makes_up_is_empty(tmp_path):
    classes(tmp_path)
    (tmp_path / "cat" / "x.png").symlink_to("/proc/self/status")
    with pytest.raises(DataError, match="the file has 0 bytes"):
        check_all(found(tmp_path), whole=False)


class TestNamesInArchives:
    @pytest.mark.parametrize(
        "names",
        [
            ("x", "y", "x_test", "y_test"),
            ("X_train", "Y_train", "X_dev", "Y_dev"),
            ("train_images", "train_labels", "eval_images", "eval_labels"),
            ("x_tr", "y_tr", "x_te", "y_te"),
            ("data", "target", "data_holdout", "target_holdout"),
        ],
    )
    def test_the_part_that_is_held_back_is_known(self, tmp_path, names):
        arrays = (
            np.zeros((6, 4, 4, 1), np.uint8),
            np.arange(6) % 2,
            np.zeros((3, 4, 4, 1), np.uint8),
            np.arange(3) % 2,
        )
        np.savez(tmp_path / "a.npz", **dict(zip(names, arrays, strict=True)))
        split = load(f"npz:{tmp_path}/a.npz", SHAPE)
        assert (len(split.train), len(split.validation)) == (6, 3)

    def test_values_too_large_for_float32(self, tmp_path):
        np.savez(tmp_path / "a.npz", x=np.full((6, 4, 4), 1e300), y=np.arange(6) % 2)
        with pytest.raises(DataError, match="too large for float32"):
            load(f"npz:{tmp_path}/a.npz", Wanted("sequence", (4, 4)))

    def test_what_grows_too_much_when_it_is_unpacked(self, tmp_path, monkeypatch):
        monkeypatch.setattr("hal.data.files._UNSUSPICIOUS_BYTES", 1 << 20)
        np.savez_compressed(tmp_path / "a.npz", x=np.zeros((1 << 17, 4, 4, 1), np.uint8), y=np.arange(1 << 17) % 2)
        with pytest.raises(DataError, match="which would become 3 MiB"):
            load(f"npz:{tmp_path}/a.npz", SHAPE)
