"""``hal choose``: what is left out and why, groups, prices and several devices."""

import json

import pytest

import hal
from hal import catalogue
from hal.cards.choice import Candidate
from hal.cards.choose import choose, grouped
from hal.cards.choose_config import ChooseConfig
from hal.cards.choose_page import html_text
from hal.cards.counting import count, kind_of, subject
from hal.cards.predictor import Prediction
from hal.cards.prices import read_prices
from hal.config import DataSection, ModelSection, build
from hal.contract.costs import OpRecord
from hal.errors import ConfigError, NotFoundError

CNN = {"model": "cnn"}
DEVICES = tuple(catalogue.devices().values())


def chosen(**keys):
    return choose(build(ChooseConfig, {**CNN, **keys}))


@pytest.fixture(scope="module")
def plain():
    return chosen()


class TestCounting:
    def test_a_training_step_costs_three_forward_passes(self):
        section = ModelSection(name="cnn")
        train, infer = (subject(section, DataSection.model_validate({}), mode) for mode in ("train", "infer"))
        ratio = count(train, 64, "fp32").flops / count(infer, 64, "fp32").flops
        assert 2.5 < ratio < 3.2

    def test_memory_grows_with_the_batch(self):
        found = subject(ModelSection(name="cnn"), DataSection.model_validate({}), "train")
        assert count(found, 128, "fp32").peak_bytes > 1.5 * count(found, 64, "fp32").peak_bytes
        assert count(found, 64, "bf16").peak_bytes < count(found, 64, "fp32").peak_bytes

    def test_weights_that_are_not_here_cost_the_same(self):
        section = ModelSection.model_validate({"name": "transfer", "backbone": "resnet50"})
        found = subject(section, DataSection.model_validate({}), "infer")
        assert 23e6 < count(found, 1, "fp32").parameters < 26e6

    def test_capturing_a_module_is_no_part_of_its_cost(self, tmp_path):
        (tmp_path / "net.py").write_text(
            "from torch import nn\n\n\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
        )
        section = ModelSection(name=f"{tmp_path / 'net.py'}:net")
        found = subject(section, DataSection.model_validate({}), "train")
        first, again = count(found, 64, "fp32"), count(found, 64, "fp32")
        assert first == again

    def test_kinds(self):
        def record(name, *inputs):
            return OpRecord(name, "forward", inputs, (), "float32", 1, 1, 1)

        assert kind_of(record("matmul", (2, 3), (3, 4))) == "product"
        assert kind_of(record("conv2d", (1, 8, 8, 16), (3, 3, 16, 32))) == "convolution"
        assert kind_of(record("conv2d", (1, 8, 8, 16), (3, 3, 1, 16))) == "grouped convolution"
        assert kind_of(record("exp", (2, 3))) == "elementwise"


class TestFacts:
    def test_everything_is_a_candidate_or_left_out(self, plain):
        ids = [each.id for each in plain.candidates] + [each.id for each in plain.left_out]
        assert sorted(ids) == sorted(catalogue.devices())

    @pytest.mark.parametrize(
        ("keys", "why"),
        [
            ({"vendor": "amd"}, "its maker is NVIDIA"),
            ({"form": "edge"}, "its form is desktop"),
            ({"watts": 100}, "it has 450 W"),
            ({"memory": 48}, "it has 24 GB of memory"),
            ({"use": "edge"}, "not for the edge"),
        ],
    )
    def test_why_a_card_is_left_out(self, keys, why):
        left = {each.id: each.why for each in chosen(**keys).left_out}
        assert why in left["rtx4090"]

    def test_what_no_source_says_is_no_yes(self):
        left = {each.id: each.why for each in chosen(watts=500).left_out}
        assert left["tpu-v5e"] == "no source says its watts, and watts=500 was asked for"

    def test_too_large_a_batch(self):
        left = {each.id: each.why for each in chosen(batch=200_000).left_out}
        assert "GiB in fp32 and it has 6 GB" in left["gtx1060"]

    def test_the_end_of_the_search_is_no_largest_batch(self, plain):
        small = {each.id: each for each in chosen(model="mlp", mode="infer").candidates}["h100-sxm"]
        assert (small.largest_batch_text(), small.larger_batches_fit) == ("1,048,576 or more", True)
        assert "1,048,576 or more" in html_text(chosen(model="mlp", mode="infer"))
        known = next(each for each in plain.candidates if each.id == "gtx1060")
        assert known.largest_batch_text() == f"{known.largest_batch:,}"

    def test_a_batch_above_the_end_of_the_search(self):
        found = {each.id: each for each in chosen(model="mlp", mode="infer", batch=2_000_000).candidates}["h100-sxm"]
        assert found.largest_batch_text() == "2,000,000 or more"

    def test_precision(self):
        found = {each.id: each.precision for each in chosen().candidates}
        assert (found["rtx4090"], found["t4"], found["gtx1080"]) == ("bf16", "fp16", "fp32")
        assert {each.precision for each in chosen(precision="fp32").candidates} == {"fp32"}

    def test_nothing_is_said_of_what_nobody_measured(self, plain):
        tpu = next(each for each in plain.candidates if each.id == "tpu-v5e")
        assert (tpu.prediction, tpu.group) == (None, None)
        assert "no public measurement" in tpu.unknown
        assert plain.candidates[-1].prediction is None  # they are ranked by nothing, and come last

    def test_a_network_of_products_is_not_called_a_transformer(self):
        found = chosen(model="mlp", vendor="AMD", precision="bf16")
        said = (
            "no public measurement of products (as in transformers) in 16 bits in training on a device of AMD was ever "
            "seen"
        )
        assert {each.unknown for each in found.candidates} == {said}
        assert "measurements of products (as in transformers) in 16 bits in training, none" in html_text(found)

    @pytest.mark.parametrize(
        ("keys", "said"),
        [
            ({"watts": 1}, "no device of the catalogue fulfils all of this"),
            ({"vendor": "Voodoo"}, "vendor=Voodoo is not in the catalogue"),
            ({"use": "training", "mode": "infer"}, "use=training trains"),
            ({"use": "inference", "mode": "train"}, "use=inference only computes outputs"),
            ({"use": "edge", "form": "datacenter"}, "use=edge is for small devices"),
            ({"price": 1000}, "hal knows no prices"),
            ({"model": None}, "no model was given"),
        ],
    )
    def test_contradictions(self, keys, said):
        with pytest.raises(ConfigError) as error:
            chosen(**keys)
        assert said in str(error.value)
        assert error.value.fix


class TestNearest:
    """The device that comes nearest, where none fulfils everything."""

    @pytest.mark.parametrize(
        ("keys", "said"),
        [
            ({"memory": 2000}, f"it has {max(d.memory_gb.value for d in DEVICES if d.memory_gb):g} GB of memory"),
            ({"watts": 0.1}, "Jetson Nano, for example: it has 10 W"),
            ({"memory": 2000, "form": "laptop"}, "it has 128 GB of memory"),
        ],
    )
    def test_numbers(self, keys, said):
        with pytest.raises(ConfigError) as error:
            chosen(**keys)
        assert said in error.value.fix

    def test_prices(self, tmp_path):
        path = tmp_path / "prices.csv"
        path.write_text("device,price\nrtx4090,1600\nl4,900\nt4,1200\n")
        with pytest.raises(ConfigError) as error:
            chosen(prices=str(path), price=1)
        assert error.value.fix == "relax a constraint; L4, for example: it costs 900"

    def test_a_step_that_fits_nowhere(self):
        with pytest.raises(ConfigError) as error:
            chosen(batch=100_000_000)
        assert "no device whose memory is known holds a step of batch=100000000" in str(error.value)
        assert "a step needs 10,512 GiB in bf16 and it has 288 GB" in str(error.value)


class TestGroups:
    def candidate(self, name, speed, width=1.1):
        prediction = Prediction(
            samples_per_s=speed, low=speed / width, high=speed * width, step_ms=1, extrapolated=False, bound="compute"
        )
        return Candidate(
            id=name, name=name, vendor="v", generation="g", form="desktop", memory_gb=1, watts=1, precision="fp32",
            backend="cpu", builds="", largest_batch=1, prediction=prediction if speed else None,
        )  # fmt: skip

    def test_who_cannot_be_told_from_the_first_is_with_it(self):
        found = grouped([self.candidate(*each) for each in [("d", 0), ("c", 50), ("a", 100), ("b", 95)]])
        assert [(each.name, each.group) for each in found] == [("a", 1), ("b", 1), ("c", 2), ("d", None)]

    def test_the_fastest_come_first(self, plain):
        speeds = [each.prediction.samples_per_s for each in plain.candidates if each.prediction]
        assert speeds == sorted(speeds, reverse=True)
        groups = [each.group for each in plain.candidates if each.prediction]
        assert groups == sorted(groups)


class TestPrices:
    def write(self, tmp_path, text):
        path = tmp_path / "prices.csv"
        path.write_text(text)
        return path

    def test_costs(self, tmp_path):
        path = self.write(tmp_path, "device,price,per_hour\nrtx4090,1600,0.5\nNVIDIA L4,2500,\n")
        found = chosen(prices=str(path))
        card = next(each for each in found.candidates if each.id == "rtx4090")
        seconds = found.samples / card.prediction.samples_per_s
        assert card.price == 1600
        assert card.cost_per_epoch == pytest.approx(0.5 * seconds / 3600)
        limited = chosen(prices=str(path), price=2000)
        assert [each.id for each in limited.candidates] == ["rtx4090"]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("device,cost\nl4,1\n", "has the column cost"),
            ("device\nl4\n", "lacks a column"),
            ("price\n1\n", "lacks a column"),
            ("", "lacks a column"),
            ("device,price\nvoodoo,1\n", "line 2: the catalogue has no device voodoo"),
            ("device,price\nl4,1\nt4,much\n", "line 3: much is no price"),
            ("device,price\nl4,-1\n", "-1 is no price"),
            ("device,price\nl4,nan\n", "nan is no price"),
        ],
    )
    def test_wrong_lists(self, tmp_path, text, said):
        with pytest.raises(ConfigError, match=said):
            read_prices(self.write(tmp_path, text))

    def test_no_list(self, tmp_path):
        with pytest.raises(NotFoundError):
            read_prices(tmp_path / "nothing.csv")


class TestSeveralDevices:
    def test_they_exchange_gradients(self):
        one, four = chosen(batch=256), chosen(batch=256, devices=4)
        first = {each.id: each for each in one.candidates}
        for each in four.candidates:
            if each.prediction is not None and each.exchange_share is not None:
                assert 0 < each.exchange_share < 1
                assert each.prediction.samples_per_s < 4 * first[each.id].prediction.samples_per_s

    def test_inference_exchanges_nothing(self):
        found = chosen(mode="infer", devices=2)
        assert {each.exchange_share for each in found.candidates if each.prediction} == {0.0}


def test_a_card_that_only_kernels_of_hal_serve_is_not_predicted_by_those_of_others(plain):
    (found,) = (each for each in plain.candidates if each.name == "Radeon RX 580")
    assert found.prediction is None
    assert "hal's own kernels" in found.unknown


class TestMeasured:
    @pytest.fixture(scope="class")
    @staticmethod
    def held(tmp_path_factory):
        """What a file of hal bench holds, as if a card had been measured."""
        from hal.run import bench
        from hal.run.config import BenchConfig

        path = tmp_path_factory.mktemp("bench") / "bench.json"
        bench(build(BenchConfig, {"model": "cnn", "backend": "cpu", "seconds": 0.2, "batch": 8, "out": str(path)}))
        held = json.loads(path.read_text())
        held["device"]["name"] = "NVIDIA GeForce RTX 3090"
        held["measurement"]["throughput"].update(median=5000.0, low=4900.0, high=5100.0)
        return held

    def test_a_benchmark_anchors(self, tmp_path, plain, held):
        path = tmp_path / "bench.json"
        path.write_text(json.dumps(held))
        found = chosen(measured=str(path))
        assert "GeForce RTX 3090 was measured at" in found.anchor
        assert all(each.prediction.anchored for each in found.candidates if each.prediction)

    def test_a_run_anchors(self, tmp_path):
        folder = tmp_path / "run"
        hal.train(model="cnn", backend="cpu", steps=2, out=str(folder))
        record = json.loads((folder / "record.json").read_text())
        record["device"]["name"] = "NVIDIA GeForce RTX 3090"
        record["epochs"] = [{**record["epochs"][0], "samples_per_s": speed} for speed in (4000.0, 6000.0, 9000.0)]
        (folder / "record.json").write_text(json.dumps(record))
        found = hal.choose(model="cnn", precision="fp32", measured=str(folder))
        (reached,) = (each.prediction for each in found.candidates if each.name == "GeForce RTX 3090")
        assert reached.anchored
        assert reached.samples_per_s == pytest.approx(6000)
        assert "run: GeForce RTX 3090 was measured at" in found.anchor
        (folder / "record.json").write_text(json.dumps({**record, "epochs": []}))
        with pytest.raises(ConfigError, match="a run without a whole epoch"):
            hal.choose(model="cnn", measured=str(folder))

    @pytest.mark.parametrize("parallel", ["dp=4", "fsdp=2"])
    def test_several_devices_anchor_nothing(self, tmp_path, held, parallel):
        path = tmp_path / "bench.json"
        path.write_text(json.dumps({**held, "plan": {**held["plan"], "parallel": parallel}}))
        with pytest.raises(ConfigError, match=f"several devices together, parallel={parallel}"):
            chosen(measured=str(path))

    def test_a_device_that_the_catalogue_lacks(self, tmp_path, held):
        path = tmp_path / "bench.json"
        path.write_text(json.dumps({**held, "device": {**held["device"], "name": "Voodoo 2"}}))
        with pytest.raises(ConfigError, match="is of Voodoo 2, which the catalogue does not have") as error:
            chosen(measured=str(path))
        assert "hal choose --devices" in str(error.value.fix)

    @pytest.mark.parametrize(("text", "said"), [("{", "is no JSON"), ("{}", "no benchmark, record of a run")])
    def test_other_files(self, tmp_path, text, said):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(ConfigError, match=said):
            chosen(measured=str(tmp_path / "x.json"))


def test_a_module_of_the_users_own(tmp_path):
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "def Net():\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.Linear(32, 10))\n"
    )
    found = chosen(model=f"{tmp_path / 'net.py'}:Net")
    assert found.parameters == 64 * 32 + 32 + 32 * 10 + 10
    assert found.candidates[0].prediction is not None
