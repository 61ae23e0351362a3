"""``hal card`` from end to end on this machine's processor, quickly, and what is made of its results."""

import dataclasses
import json

import numpy as np
import pytest
from card_fakes import figure
from typer.testing import CliRunner

import hal
from hal import catalogue, ops, registry
from hal.cards import certify as certifying
from hal.cards import correct, history
from hal.cards.card_page import html_text
from hal.cards.certificate import Certificate, PowerLimit, Reason, Sweep
from hal.cards.config import CardConfig
from hal.cards.correct import check_precision
from hal.cards.measuring import Meter
from hal.cards.reasons import Evidence, judge
from hal.cards.work import best_precision, product, works
from hal.cli.app import app
from hal.cli.commands._card_view import show_certificate
from hal.config import build
from hal.contract import Telemetry
from hal.contract.device import Precision
from hal.errors import ConfigError, UnavailableError, UnsavedError, UnsupportedError

DEVICE = hal.device("cpu")
CPU = registry.backend("cpu")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A certificate of this machine's processor, in seconds in place of minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HAL_STATE", str(tmp_path_factory.mktemp("state")))
        patch.setattr("hal.cards.work._LONG_ENOUGH_S", 0.0)  # the smallest work of each kind
        yield certifying.certify(CardConfig.model_construct(device="cpu", seconds=3.0, keep=True))


class TestCorrect:
    @pytest.mark.parametrize("precision", DEVICE.capabilities.supported_precisions())
    def test_the_processor_is(self, precision):
        checks = check_precision(CPU, DEVICE, precision)
        assert {check.op for check in checks} >= {"matmul", "conv2d", "attention", "sum", "softmax", "layer_norm"}
        assert all(check.agrees for check in checks), checks

    def test_one_wrong_number_in_one_precision_is_found(self, monkeypatch):
        right = ops.matmul

        def wrong(a, b):
            c = right(a, b)
            if a.dtype == DEVICE.xp.bfloat16:
                c[3, 5] = c[3, 5] * 1.5 + 1
            return c

        monkeypatch.setattr(correct.ops, "matmul", wrong)
        assert [check.op for check in check_precision(CPU, DEVICE, "bf16") if not check.agrees] == ["matmul"]
        assert all(check.agrees for check in check_precision(CPU, DEVICE, "fp32"))

    def test_not_a_number_is_wrong(self, monkeypatch):
        monkeypatch.setattr(correct.ops, "softmax", lambda x: x * np.nan)
        assert [check.op for check in check_precision(CPU, DEVICE, "fp32") if not check.agrees] == ["softmax"]


class TestCertificate:
    def test_what_it_measures(self, found):
        names = {(each.group, each.name) for each in found.figures}
        assert names >= {("product", "fp32"), ("memory", "copy"), ("memory", "read"), ("launch", "launch")}
        assert names >= {("model", "convolution"), ("model", "attention")}
        assert not any(each.group == "transfer" for each in found.figures)  # the processor computes where its memory is
        assert all(each.low <= each.median <= each.high for each in found.figures)
        assert found.correct == "yes"

    def test_the_chip_is_never_ill_for_being_busy(self, found):
        assert found.fast in ("yes", "withheld", "unknown")
        assert not [reason for reason in found.reasons if reason.ill and reason.kind == "unknown cause"]

    def test_from_python_with_a_page(self, found, monkeypatch, tmp_path):
        monkeypatch.setenv("HAL_STATE", str(tmp_path))
        monkeypatch.setattr(certifying, "_examined", lambda *given: found)
        page = tmp_path / "card.html"
        assert hal.card(device="cpu", html=str(page)).figures == found.figures
        assert found.device.name in page.read_text()
        with pytest.raises(ConfigError, match="exists"):
            hal.card(device="cpu", html=str(page))

        def refused(path, content):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("hal.util.files.write_whole", refused)
        with pytest.raises(UnsavedError, match="Permission denied") as told:
            hal.card(device="cpu", html=str(tmp_path / "other.html"), keep=False)
        assert told.value.result.figures == found.figures

    def test_it_survives_being_written(self, found):
        assert Certificate.model_validate_json(found.model_dump_json()) == found

    def test_a_check_without_a_finite_result_survives_being_written(self, found, monkeypatch, tmp_path):
        def fails(x):
            raise UnsupportedError("no such kernel", fix="use another build")

        monkeypatch.setattr(correct.ops, "softmax", lambda x: x * np.nan)
        monkeypatch.setattr(correct.ops, "exp", fails)
        checks = check_precision(CPU, DEVICE, "fp32")
        assert {check.op for check in checks if check.worst is None} == {"softmax", "exp"}
        broken = found.model_copy(update={"checks": checks, "correct": "no"})
        assert Certificate.model_validate_json(broken.model_dump_json()) == broken
        json.dumps(broken.model_dump(mode="json"), allow_nan=False)
        page = html_text(broken)
        assert "not finite" in page
        assert "failed" in page
        monkeypatch.setenv("HAL_STATE", str(tmp_path))
        history.keep(broken)
        assert history.last(broken.device) == broken

    def test_the_page(self, found):
        page = html_text(found)
        assert found.sentence.split(".")[0] in page
        assert "cnn: convolution" in page  # hal's models are on the roofline

    def test_the_panel(self, found, capsys):
        show_certificate(found)
        told = capsys.readouterr().out
        assert "correct yes" in told
        assert "convolution" in told

    def test_what_to_do_is_a_sentence(self, found, capsys):
        reason = Reason(kind="busy", ill=False, text="The machine is busy.", fix="stop the other processes")
        show_certificate(found.model_copy(update={"reasons": (reason,)}))
        assert "The machine is busy. Stop the other processes." in capsys.readouterr().out

    def test_sick_ones_are_not_healthy(self, found):
        reason = Reason(kind="ecc", ill=True, text="Its memory had 3 errors.")
        sick = found.model_copy(update={"reasons": (reason,)})
        assert not sick.healthy
        assert "Its memory had 3 errors" in sick.sentence
        assert "wrong" in found.model_copy(update={"correct": "no"}).sentence

    @pytest.mark.parametrize("correct", ["yes", "unknown"])
    @pytest.mark.parametrize("fast", ["yes", "withheld", "unknown"])
    @pytest.mark.parametrize("steady", ["yes", "withheld", "unknown"])
    @pytest.mark.parametrize("ill", [False, True])
    def test_the_sentence_claims_what_was_found_alone(self, found, correct, fast, steady, ill):
        reasons = (Reason(kind="build", ill=True, text="The build has no kernels."),) if ill else ()
        given = {"correct": correct, "fast": fast, "steady_clock": steady, "reasons": reasons}
        said = found.model_copy(update=given).sentence
        assert said.startswith("It computes right" if correct == "yes" else "Whether it computes right was not checked")
        if ill:
            assert "something is wrong: The build has no kernels." in said
            return
        assert ("as fast as it should" in said) is (fast == "yes")
        assert ("Whether it holds its speed" in said) is (steady != "yes")
        assert ("the machine is busy" in said) is ("withheld" in (fast, steady))

    def test_a_sweep_is_shown(self, found, capsys):
        limits = (PowerLimit(limit_w=300, tflops=400, power_w=290, samples_per_joule=5.5),)
        swept = found.model_copy(update={"sweep": Sweep(before_w=700, limits=limits, best_w=300)})
        show_certificate(swept)
        assert "300 W" in capsys.readouterr().out
        assert "The limit of 700 W" in html_text(swept)


class TestSheet:
    """What a figure is held against."""

    BF16 = dataclasses.replace(
        DEVICE, capabilities=dataclasses.replace(DEVICE.capabilities, precisions={"bf16": Precision(True, True)})
    )

    @pytest.mark.parametrize("name", ["b300", "mi210"])
    def test_a_precision_without_a_figure_is_not_held_against_fp32(self, name):
        entry = catalogue.find(name)
        assert entry.rates.bf16 is None
        assert entry.rates.fp32 is not None
        measured = figure(sheet=None, achievable=None)
        found = certifying._expected(measured, self.BF16, entry, {})
        assert found.of_sheet is None
        assert judge(Evidence(figures=(found,))).fast == "unknown"
        assert certifying._expected(measured, self.BF16, entry, {"bf16": 9e14}).sheet == pytest.approx(900)

    def test_the_own_figure_comes_first(self):
        found = certifying._expected(figure(sheet=None), self.BF16, catalogue.find("h100-sxm"), {"bf16": 1.0})
        assert found.sheet == pytest.approx(989, rel=0.01)


class TestHistory:
    def test_the_last_one_is_found(self, found, tmp_path, monkeypatch):
        monkeypatch.setenv("HAL_STATE", str(tmp_path))
        assert history.last(found.device) is None
        history.keep(found)
        assert history.last(found.device) == found
        next(history.folder().glob("*.json")).write_text("{")
        assert history.last(found.device) is None

    def test_what_changed(self, found):
        found = found.model_copy(update={"reasons": ()})  # this machine may be busy
        before = found.model_copy(update={"figures": (figure(median=800.0), figure("copy", 2990.0, "memory"))})
        versions = {**found.environment.versions, "driver": "999"}
        now = found.model_copy(
            update={
                "figures": (figure(median=700.0), figure("copy", 2980.0, "memory")),
                "environment": found.environment.model_copy(update={"versions": versions}),
            }
        )
        said = history.changes(before, now)
        assert len(said) == 2
        assert "driver was absent" in said[0]
        assert "-12%" in said[1]

    def test_what_was_measured_beside_others_is_not_compared(self, found):
        before = found.model_copy(update={"figures": (figure(median=800.0),)})
        now = found.model_copy(update={"figures": (figure(median=400.0, loaded=True),)})
        assert history.changes(before, now) == ()

    def test_what_was_measured_on_a_busy_machine_is_not_compared(self, found):
        before = found.model_copy(update={"figures": (figure(median=800.0),), "reasons": ()})
        now = before.model_copy(update={"figures": (figure(median=400.0),)})
        assert len(history.changes(before, now)) == 1
        busy = Reason(kind="busy", ill=False, text="The machine is busy.")
        assert history.changes(before, now.model_copy(update={"reasons": (busy,)})) == ()


def test_the_device_is_in_use_before_its_first_reading(monkeypatch):
    calls = []
    for name, answer in (("from_host", None), ("synchronize", None), ("telemetry", Telemetry(others=0))):
        monkeypatch.setattr(CPU, name, lambda *given, name=name, answer=answer: (calls.append(name), answer)[1])
    assert certifying._before(CPU, DEVICE).others == 0
    assert calls == ["from_host", "synchronize", "telemetry"]


class TestMeter:
    @pytest.mark.parametrize(("others", "loaded"), [(4.0, True), (0.5, False)])
    def test_a_figure_of_a_busy_machine_says_so(self, monkeypatch, others, loaded):
        monkeypatch.setattr("hal.cards.work._LONG_ENOUGH_S", 0.0)
        real = certifying.EnvironmentWatch.stop

        def busy(self):
            return real(self).model_copy(update={"others_cores": others, "stolen_cores": 0.0, "cpu_threads": 8})

        monkeypatch.setattr("hal.measure.timing.EnvironmentWatch.stop", busy)
        figure = Meter(CPU, DEVICE).measure(product(CPU, DEVICE, "fp32"), 0.1).figure
        assert figure.loaded == loaded
        assert figure.low <= figure.median <= figure.high

    def test_counters_are_kept(self, monkeypatch):
        monkeypatch.setattr(CPU, "telemetry", lambda device: Telemetry(power_w=50.0, energy_j=1.0))
        meter = Meter(CPU, DEVICE)
        monkeypatch.setattr("hal.cards.work._LONG_ENOUGH_S", 0.0)
        meter.steady(product(CPU, DEVICE, "fp32"), 0.1)
        assert meter.readings
        assert meter.readings[0].power_w == 50.0


def test_work_of_a_backend_that_traces(monkeypatch):
    pytest.importorskip("jax")
    monkeypatch.setattr("hal.cards.work._LONG_ENOUGH_S", 0.0)
    device = hal.device("jax:cpu:0")
    backend = registry.backend("jax")
    names = [work.name for work in works(backend, device)]
    assert names[0] == best_precision(device) or "fp32" in names
    assert "convolution" in names


class TestCommand:
    @pytest.mark.parametrize(
        ("words", "status", "said"),
        [
            (["device=cpu:7"], 3, "does not exist"),
            (["device=abacus"], 2, "abacus"),
            (["seconds=1"], 2, "seconds"),
            (["power_limits=-5"], 2, "power_limits"),
            (["device=null"], 2, "computes only shapes"),
            (["card=0"], 2, "card"),
        ],
    )
    def test_bad_requests(self, words, status, said):
        done = CliRunner().invoke(app, ["card", "--json", *words])
        assert done.exit_code == status, done.output
        assert said in json.loads(done.stdout)["error"]["message"]

    def test_exit_status(self, found, monkeypatch):
        monkeypatch.setattr(certifying, "certify", lambda config, note: found.model_copy(update={"correct": "no"}))
        done = CliRunner().invoke(app, ["card", "device=cpu", "--json"])
        assert done.exit_code == 1
        assert json.loads(done.stdout)["correct"] == "no"


def test_power_limits_are_numbers():
    assert build(CardConfig, {"power_limits": "300, 400"}).power_limits == (300.0, 400.0)
    with pytest.raises(ConfigError):
        build(CardConfig, {"power_limits": "300,300"})


def test_errors_are_of_hal():
    with pytest.raises(UnavailableError):
        certifying.certify(CardConfig(device="cpu:7"))
    with pytest.raises(UnsupportedError):
        certifying.certify(CardConfig(device="null"))
