"""Predictions: what they follow from, where they say nothing, and the program that fits and judges them."""

import csv

import numpy as np
import pytest

from benchmarks import predict as program
from benchmarks.predictor.networks import IMAGES, forward
from hal import catalogue
from hal.cards.counting import KINDS, Cost
from hal.cards.predictor import Prediction, fits, fitted_for, predict
from hal.catalogue import CatalogueDevice, Figure

A100 = catalogue.find("a100-sxm-40gb")


def cost(*ops, batch=64, precision="fp32", mode="infer"):
    return Cost(batch, precision, mode, ops, peak_bytes=1e9, parameters=1_000_000)


CONVOLUTION = ("convolution", 1e12, 1e9)
STREAM = ("elementwise", 1e6, 1e11)


class TestPredict:
    def test_what_bounds(self):
        assert predict(cost(CONVOLUTION), A100).bound == "compute"
        assert predict(cost(CONVOLUTION, *[STREAM] * 50), A100).bound == "memory"
        assert predict(cost(*[("convolution", 1.0, 1.0)] * 500), A100).bound == "launches"

    def test_twice_the_device_is_twice_as_fast(self):
        figure = Figure(value=2 * A100.rates.fp32.value, sources=("techpowerup",))
        twice = A100.model_copy(update={"rates": A100.rates.model_copy(update={"fp32": figure})})
        one, two = (predict(cost(CONVOLUTION), device).samples_per_s for device in (A100, twice))
        assert two == pytest.approx(2 * one, rel=0.01)

    def test_an_interval_surrounds_it(self):
        found = predict(cost(CONVOLUTION), A100)
        assert found.low < found.samples_per_s < found.high
        assert not found.extrapolated

    def test_a_generation_that_nobody_measured_is_marked(self):
        found = predict(cost(CONVOLUTION), catalogue.find("h100-sxm"))
        assert found.extrapolated
        assert found.high / found.low > 1.4

    @pytest.mark.parametrize(("name", "said"), [("tpu-v5e", "device of Google"), ("apple-m4", "device of Apple")])
    def test_nothing_where_nothing_was_measured(self, name, said):
        assert said in predict(cost(CONVOLUTION), catalogue.find(name))

    def test_nothing_where_a_figure_is_missing(self):
        assert predict(cost(CONVOLUTION), catalogue.find("radeon-780m")) == "no source says its memory bandwidth"

    def test_an_anchor(self):
        plain, anchored = predict(cost(CONVOLUTION), A100), predict(cost(CONVOLUTION), A100, 0.5, 1.2)
        assert anchored.samples_per_s == pytest.approx(plain.samples_per_s / 2)
        assert anchored.high / anchored.samples_per_s == pytest.approx(1.2)
        assert anchored.anchored

    def test_overlap(self):
        one, two = (
            Prediction(samples_per_s=x, low=0.9 * x, high=1.1 * x, step_ms=1, extrapolated=False, bound="compute")
            for x in (100.0, 115.0)
        )
        assert one.overlaps(two)
        assert not one.overlaps(two.model_copy(update={"low": 111.0}))


def test_every_class_is_fitted():
    for convolution in (True, False):
        for precision in ("fp32", "tf32", "bf16", "fp16"):
            for mode in ("train", "infer"):
                op = ("convolution" if convolution else "product", 1e9, 1e6)
                name, fit = fitted_for(cost(op, precision=precision, mode=mode))
                assert name.endswith(mode)
                assert set(fit.compute) == set(fit.memory) == set(KINDS)
    for fit in fits().values():
        assert fit.spread_seen >= 1.1
        assert all(device in catalogue.devices() for device in fit.devices)


def test_where_a_maker_has_no_mixed_precision_whole_casts_stand_for_it():
    assert fitted_for(cost(CONVOLUTION, precision="bf16"), "AMD")[0] == "convolutions fp16 infer"
    assert fitted_for(cost(CONVOLUTION, precision="bf16"), "NVIDIA")[0] == "convolutions amp infer"


class TestNetworks:
    """Operations of published networks, in multiply-adds of one image of 224 by 224, as their papers have them."""

    @pytest.mark.parametrize(
        ("name", "billions"),
        [
            ("resnet18", 1.81),
            ("resnet50", 4.09),
            ("vgg16", 15.5),
            ("densenet121", 2.83),
            ("mobilenet_v2", 0.30),
            ("mnasnet1_0", 0.31),
            ("shufflenet_v2_x1_0", 0.145),
            ("resnext50_32x4d", 4.23),
            ("wide_resnet50_2", 11.4),
        ],
    )
    def test_operations(self, name, billions):
        ops = forward(name, 1, 224, fused=False)
        assert sum(flops for kind, flops, _, _ in ops if kind != "elementwise") / 2e9 == pytest.approx(
            billions, rel=0.03
        )

    def test_fused_attention_moves_less_for_the_same_operations(self):
        apart, fused = (forward("vit_small_patch16_224", 1, 224, fused=each) for each in (False, True))
        products = [sum(flops for kind, flops, _, _ in ops if kind == "product") for ops in (apart, fused)]
        assert products[0] == products[1]
        assert sum(moved for _, _, moved, _ in fused) < 0.8 * sum(moved for _, _, moved, _ in apart)

    def test_all_of_them_count(self):
        for name in IMAGES:
            assert forward(name, 2, 224, fused=False)
        assert forward("unheard of", 1, 224, fused=False) is None


class TestProgram:
    """Measurements that the model itself made up: a fit finds it again, on generations that it has not seen."""

    @pytest.fixture(scope="class")
    @staticmethod
    def rows(tmp_path_factory):
        path = tmp_path_factory.mktemp("data") / "perf.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow("device model img batch precision mode compile layout value unit software source".split())
            for device in ("titan-xp", "rtx2080ti", "rtx3090", "rx5700"):
                for model in ("resnet50", "vgg16", "densenet121", "mobilenet_v2"):
                    writer.writerow([device, f"tv_{model}", 224, 12, "fp32", "infer", "eager", "nchw", 1, "", "", "x"])
            writer.writerow(["unheard-of", "resnet50", 224, 12, "fp32", "infer", "eager", "nchw", 1, "", "", "x"])
        (classes,) = program.read(path).values()
        truth = np.log([0.8, 0.7, 0.2, 1.0, 0.6, 0.6, 0.5, 0.7, 2e-5])
        seconds = program.Rows(classes).predicted(truth)
        import dataclasses

        return [dataclasses.replace(row, seconds=float(s)) for row, s in zip(classes, seconds, strict=True)]

    def test_unknown_devices_are_left_out(self, rows):
        assert len(rows) == 16

    def test_it_finds_what_made_them(self, rows):
        judged = program.judge(rows)
        assert set(judged.left_out) == {"Pascal", "Turing", "Ampere", "RDNA"}
        everything = np.concatenate(list(judged.left_out.values()))
        assert program.mean_error(everything) < 0.1
        assert program.rank(judged) > 0.9
        for baseline in ("constant", "bandwidth", "peak"):
            assert program.mean_error(judged.baselines[baseline]) > program.mean_error(everything)

    def test_what_is_fitted_is_what_is_predicted(self, rows):
        row = rows[0]
        ops = zip(row.kinds, row.flops, row.moved, strict=True)
        counted = cost(*((KINDS[kind], flops, moved) for kind, flops, moved in ops), batch=12, precision="tf32")
        _, fit = fitted_for(counted, row.device.vendor)
        (seconds,) = program.Rows([row]).predicted(np.log(fit.vector()))
        assert 1000 * seconds == pytest.approx(predict(counted, row.device).step_ms)

    def test_the_spread_holds_what_it_says(self):
        random = np.random.default_rng(0)
        errors = [random.normal(0, 0.2, 400) for _ in range(3)]
        held = np.mean(np.abs(np.concatenate(errors)) <= np.log(program.spread(errors)))
        assert held == pytest.approx(0.8, abs=0.01)

    def test_one_generation_cannot_be_judged(self, rows):
        assert program.judge([row for row in rows if row.device.generation == "Ampere"]) is None


def test_a_device_is_what_the_catalogue_has():
    assert isinstance(A100, CatalogueDevice)
