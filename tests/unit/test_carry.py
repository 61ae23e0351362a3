"""How a carry is made, placed, described, checked and fetched, and what a model on its data is resolved to."""

from functools import partial

import numpy as np
import optree
import pytest

from hal.config import DataSection, ModelSection, build
from hal.contract.program import ArrayShape
from hal.errors import ConfigError
from hal.job.carry import (
    Difference,
    carry_shapes,
    differences,
    fetch_array,
    initial_carry,
    make_carry,
    place_carry,
    place_for_inference,
    shapes_of,
    start_optimizers,
    trained_part,
)
from hal.job.prepare import prepare
from hal.job.workload import choose_model, resolve_workload
from hal.run.config import RunConfig
from hal.util.trees import flat

CNN = {"name": "cnn", "filters": [4], "dense": 8, "size": 20}


def job_of(model=CNN, **keys):
    keys = {"backend": "cpu", "data": "synthetic:80", "batch": 16, **keys}
    return prepare(build(RunConfig, {"model": model, **keys}))


def started(job):
    phase = job.model.phases(1)[0]
    optimizer = job.backend.optimizer(job.defaults.optimizer, job.defaults.hyper)
    return start_optimizers(place_carry(job, initial_carry(job, 0)), phase.objectives, optimizer)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("model", [CNN, {"name": "gan"}], ids=["cnn", "gan"])
def test_shapes_are_those_of_the_arrays(model, precision):
    job = job_of(model, precision=precision)
    shapes = carry_shapes(job.model, job.model.phases(1)[0], job.defaults.optimizer, precision)
    carry = started(job)
    found = optree.tree_map(lambda x: ArrayShape(tuple(x.shape), str(x.dtype).removeprefix("torch.")), carry)
    assert found == shapes
    assert bool(carry["scale"]) == (precision == "fp16")


def test_fetching_is_the_reverse_of_placing():
    job = job_of(precision="fp16")
    host = optree.tree_map(partial(fetch_array, job), started(job))
    again = optree.tree_map(partial(fetch_array, job), place_carry(job, host))
    assert flat(host).keys() == flat(again).keys()
    assert any(path.startswith("optimizers/classify/") for path in flat(host))
    assert all(np.array_equal(array, flat(again)[path]) for path, array in flat(host).items())


def test_starting_optimizers_keeps_those_of_other_objectives():
    job = job_of()
    carry = {**place_carry(job, initial_carry(job, 0)), "optimizers": {"other": {}}}
    optimizer = job.backend.optimizer("sgd", {})
    assert set(start_optimizers(carry, job.model.phases(1)[0].objectives, optimizer)["optimizers"]) == {
        "other",
        "classify",
    }


def test_an_objective_trains_its_own_part():
    job = job_of({"name": "gan"})
    for objective in job.model.phases(1)[0].objectives:
        assert set(trained_part(objective, job.params)) == set(objective.trains)


@pytest.mark.parametrize(
    ("precision", "scale", "factor"),
    [("fp32", {}, None), ("fp32", {"factor": 4.0}, None), ("fp16", {}, 2.0**15), ("fp16", {"factor": 4.0}, 4.0)],
)
def test_the_loss_scale_follows_the_precision(precision, scale, factor):
    assert make_carry(precision, {}, {}, scale=scale)["scale"].get("factor") == factor


def test_inference_takes_values_without_optimizers():
    job = job_of()
    params, state = place_for_inference(job, *job.model.initial(0))
    assert {path: array.shape for path, array in flat(optree.tree_map(job.backend.to_host, params)).items()} == {
        path: shape.shape for path, shape in shapes_by_path(shapes_of(job.params))
    }
    assert optree.tree_structure(state) == optree.tree_structure(job.model.initial(0)[1])


def shapes_by_path(tree, prefix=""):
    for name, inner in tree.items():
        if isinstance(inner, dict):
            yield from shapes_by_path(inner, f"{prefix}{name}/")
        else:
            yield prefix + name, inner


def test_values_that_fit_do_not_differ():
    job = job_of()
    assert differences(job.params, job.model.initial(0)[0]) == ()


def test_differences_are_named():
    specs = {"a": {"kernel": np.zeros((3, 4)), "bias": np.zeros(4)}, "b": np.zeros(2)}
    found = differences(specs, {"a": {"kernel": np.zeros((3, 5)), "bias": np.zeros(4)}, "c": np.zeros(1)})
    assert found == (
        Difference("a/kernel", (3, 4), (3, 5)),
        Difference("b", (2,), None),
        Difference("c", None, (1,)),
    )
    assert [each.describe("the file", "cnn") for each in found] == [
        "a/kernel has shape (3, 5) in the file and (3, 4) in cnn",
        "b is missing in the file and has shape (2,) in cnn",
        "c has shape (1,) in the file and is missing in cnn",
    ]


class TestWorkload:
    def test_defaults_of_the_model(self):
        choice = choose_model(ModelSection.model_validate({"name": "cnn", "size": 20}))
        found = resolve_workload(choice, DataSection.model_validate({}), "infer", 0)
        assert (found.workload.data, found.workload.mode) == (choice.defaults.data, "infer")
        assert found.workload.input_shape == found.model.input_shape == (20, 20, 1)
        assert found.augment == choice.defaults.augment

    def test_keys_of_the_data(self):
        choice = choose_model(ModelSection.model_validate(CNN))
        data = DataSection.model_validate({"name": "synthetic:50", "validation": 0.5, "augment": "none"})
        found = resolve_workload(choice, data, "train", 0)
        assert (len(found.split.train), found.augment) == (25, ())

    def test_no_model(self):
        with pytest.raises(ConfigError, match="no model was given"):
            choose_model(None)

    def test_data_without_labels(self, tmp_path):
        np.savez(tmp_path / "x.npz", x=np.zeros((20, 8, 8, 1), np.float32))
        data = DataSection.model_validate({"name": f"npz:{tmp_path / 'x.npz'}"})
        with pytest.raises(ConfigError, match="has no labels, but model=cnn learns from labels"):
            resolve_workload(choose_model(ModelSection.model_validate(CNN)), data, "train", 0)

    def test_augmenting_what_is_no_image(self):
        choice = choose_model(ModelSection.model_validate({"name": "rnn"}))
        data = DataSection.model_validate({"name": "synthetic:50", "augment": "flip"})
        with pytest.raises(ConfigError, match="but model=rnn takes text data"):
            resolve_workload(choice, data, "train", 0)
