"""How a trial measures on a host that others use too."""

import pytest

from hal.config import JobConfig, build
from hal.measure import measure
from hal.tuner.messages import Order
from hal.tuner.trial import TrialRunner

KEYS = {
    "model": {"name": "cnn", "filters": [4, 4], "dense": 8, "size": 12},
    "backend": "cpu",
    "data": {"name": "synthetic:64"},
    "batch": 16,
    "threads": 1,
}


@pytest.mark.parametrize(
    ("others", "kept", "calls"),
    [
        ([0.0, 0.0], [0.0, 0.0], 2),
        ([2.0, 0.0, 0.0], [0.0, 0.0], 3),
        ([2.0, 1.0, 3.0], [1.0, 3.0], 3),
    ],
    ids=["quiet", "disturbed once", "never quiet"],
)
def test_what_others_disturb_is_measured_again(monkeypatch, others, kept, calls):
    """Two trials; ``others`` are the cores that others keep busy during each measurement."""
    busy = iter(others)
    throughputs = []

    def measured(*args, **options):
        found = measure(*args, **options)
        seen = {"cpu_threads": 2, "others_cores": next(busy), "stolen_cores": 0.0}
        throughputs.append((seen["others_cores"], found.throughput))
        return found.model_copy(update={"environment": found.environment.model_copy(update=seen)})

    monkeypatch.setattr("hal.tuner.trial.measure", measured)
    runner = TrialRunner(build(JobConfig, KEYS), "train", lambda phase: None)
    order = Order(plan=runner.describe().default, seconds=60.0, relative_width=0.9, guard=False)
    answers = [runner.run(order) for _ in range(2)]
    assert len(throughputs) == calls
    for answer, cores in zip(answers, kept, strict=True):
        assert (cores, answer.measurement.throughput) in throughputs
