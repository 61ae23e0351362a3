"""Benchmarks of a plan: what they hold, and what is written."""

import json
import sys
import threading

import pytest
from run_helpers import CNN, RNN_CLASSIFY, command, content, pairs

import hal
from hal.errors import ConfigError, NotFoundError, UnsupportedError
from hal.run import Bench

QUICK = {**CNN, "seconds": 0.1}


def test_a_bench_of_training():
    found = hal.bench(**QUICK)
    m = found.measurement
    assert found.workload.mode == "train"
    assert found.workload.data == "synthetic:80"
    assert (found.device.backend, found.plan.batch) == ("cpu", 16)
    assert found.plan.layout in ("nchw", "nhwc"), "the plan is resolved"
    assert m.throughput.low <= m.throughput.median <= m.throughput.high
    assert m.throughput.median > 0
    assert m.step_ms.median > 0
    assert m.blocks >= 2
    assert m.first_call_s > 0
    assert m.latency is None
    assert found.versus is None
    assert found.comparison is None
    assert m.environment.versions["torch"]
    assert Bench.model_validate_json(found.model_dump_json()) == found


def test_a_bench_of_inference_has_latencies():
    found = hal.bench(**QUICK, mode="infer")
    assert found.workload.mode == "infer"
    latency = found.measurement.latency
    assert latency is not None
    assert latency.p50_ms.median > 0
    if latency.p95_ms is not None:
        assert latency.p95_ms.value >= latency.p50_ms.low


GAN = {**CNN, "model": {"name": "gan", "size": 20, "width": 4, "noise": 4}}


@pytest.mark.parametrize(
    ("base", "mode"),
    [(RNN_CLASSIFY, "train"), (RNN_CLASSIFY, "infer"), (GAN, "train"), (GAN, "infer")],
)
def test_other_models(base, mode):
    assert hal.bench(**{**base, "seconds": 0.1, "mode": mode}).measurement.throughput.median > 0


def test_two_plans_in_turn():
    found = hal.bench(**QUICK, versus={"precision": "bf16", "batch": 8})
    assert (found.plan.precision, found.versus.precision) == ("fp32", "bf16")
    assert found.versus.threads == found.plan.threads == 1, "what versus leaves out is as in the plan"
    assert found.comparison.measurements.keys() == {"plan", "versus"}
    assert found.comparison.measurements["plan"] == found.measurement
    ratio = found.comparison.ratios["versus"]
    assert ratio.low <= ratio.median <= ratio.high
    assert ratio.median > 0
    assert found.comparison.verdict("versus")


def test_a_plan_against_itself():
    with pytest.raises(ConfigError, match=r"versus\.\* gives the same plan as the first one") as caught:
        hal.bench(**QUICK, versus={"precision": "fp32"})
    assert "versus.precision=bf16" in caught.value.fix


def test_a_second_plan_that_cannot_be():
    with pytest.raises(UnsupportedError, match="precision=tf32 is not supported on cpu:0"):
        hal.bench(**QUICK, versus={"precision": "tf32"})


def test_it_trains_on_from_where_it_was(monkeypatch):
    """Each step of a bench is a whole one: another batch, another key, the parameters of the step before."""
    module = sys.modules["hal.job.steps"]
    seen = []

    class Spy(module.Step):
        def build(self):
            step = super().build()

            def spied(carry, batch, key, lr):
                seen.append((float(batch["inputs"].sum()), key, float(carry["params"]["head"]["bias"].sum()), lr))
                return step(carry, batch, key, lr)

            return spied

    monkeypatch.setattr(module, "Step", Spy)
    hal.bench(**QUICK)
    assert len(seen) > 4
    first = seen[:4]
    assert len({inputs for inputs, *_ in first}) == 4
    assert len({key for _, key, *_ in first}) == 4
    assert len({bias for _, _, bias, _ in first}) == 4


def test_settings_are_put_back():
    import torch

    before = torch.get_num_threads()
    hal.bench(**{**QUICK, "threads": before + 1})
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("keys", [{}, {"mode": "infer"}, {"versus": {"batch": 8}}], ids=str)
def test_no_reader_is_left_behind(keys):
    before = set(threading.enumerate())
    hal.bench(**QUICK, **keys)
    assert set(threading.enumerate()) <= before, "it would take time from the next measurement"


# Files


def test_the_file_is_what_was_found(tmp_path):
    found = hal.bench(**QUICK, out=str(tmp_path / "deep" / "er" / "bench.json"))
    assert list(content(tmp_path)) == ["deep/er/bench.json"]
    assert Bench.model_validate_json((tmp_path / "deep" / "er" / "bench.json").read_text()) == found


def test_a_file_that_is_there_stays_as_it_is(tmp_path):
    (tmp_path / "bench.json").write_text("mine")
    result = command("bench", *pairs(QUICK), f"out={tmp_path / 'bench.json'}")
    assert result.exit_code == 2
    assert "already exists and is not overwritten" in result.stderr
    assert content(tmp_path) == {"bench.json": b"mine"}


def test_a_folder_that_cannot_be_made_is_found_before_anything_is_measured(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(sys.modules["hal.run.bench"], "measure", None)
    with pytest.raises(NotFoundError, match="cannot create the folder"):
        hal.bench(**QUICK, out=str(tmp_path / "file" / "bench.json"))


@pytest.mark.parametrize("place", ["/dev/null/x.json", "/proc/x.json", "file/x.json", "x" * 300])
def test_a_place_that_cannot_be_written_to_is_found_before_anything_is_measured(tmp_path, monkeypatch, place):
    (tmp_path / "file").write_text("mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.modules["hal.run.bench"], "measure", None)
    result = command("bench", *pairs(QUICK), f"out={place}")
    assert result.exit_code == 2
    assert "cannot" in result.stderr or "is too long" in result.stderr
    assert content(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_what_cannot_be_saved_is_shown_first(tmp_path, monkeypatch, words):
    module = sys.modules["hal.run.bench"]
    found = []

    def measured(*arguments, **more):
        (tmp_path / "bench.json").mkdir()  # after the place was tried
        found.append(hal.measure.measure(*arguments, **more))
        return found[0]

    monkeypatch.setattr(module, "measure", measured)
    result = command("bench", *pairs(QUICK), f"out={tmp_path / 'bench.json'}", *words)
    assert result.exit_code == 1
    if words:
        assert json.loads(result.stdout)["measurement"]["blocks"] == found[0].blocks
    else:
        assert "samples/s" in result.stdout
    assert "the result was not saved: cannot write" in result.stderr
    assert "Is a directory" in result.stderr


# Keys


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["versus.precison=bf16"], "unknown key versus.precison; did you mean versus.precision?"),
        (["versus.batch=0"], "versus.batch=0: input should be greater than or equal to 1"),
        (["epochs=3"], "unknown key epochs"),
        (["mode=trian"], "mode=trian: input should be 'train' or 'infer'"),
        (["seconds=0"], "seconds=0: input should be greater than 0"),
        (["versus=bf16"], "versus=bf16"),
        (["versus.parallel=two"], "parallel=two: write none"),
    ],
)
def test_wrong_keys(words, said):
    result = command("bench", *pairs(QUICK), *words, "--json")
    assert result.exit_code == 2
    assert said in json.loads(result.stdout)["error"]["message"]
