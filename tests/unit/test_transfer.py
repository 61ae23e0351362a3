"""The transfer model: its keys, trees, phases and errors, and what it learns."""

import math

import numpy as np
import optree
import pytest
import torch
from pydantic import ValidationError
from transfer_helpers import CPU, images, packaged, placed, transfer

import hal
from hal import ops
from hal.data import Wanted
from hal.errors import ConfigError, ShapeError
from hal.models.transfer import Transfer, TransferConfig
from hal.registry import backend


def batch_of(model, count=4):
    labels = backend("cpu").from_host(np.arange(count) % 10, CPU)
    return {"inputs": backend("cpu").from_host(images(count, model.config.size), CPU), "labels": labels}


# Trees and initial values


def test_blocks_are_the_top_of_the_trees():
    model = transfer(weights="random")
    blocks = ["stem", *(f"block_{index}" for index in range(12))]
    assert list(model.params()) == [*blocks, "head"]
    assert list(model.state()) == blocks
    assert transfer(backbone="vgg16", weights="random").state() == {}


def test_wanted_and_default_size():
    assert Transfer.wanted(TransferConfig()) == Wanted("image", (64, 64, 3))


@pytest.mark.parametrize("weights_key", ["random", pytest.param("pretrained", marks=packaged)])
def test_initial_values_fit_the_specs_and_depend_on_the_seed(weights_key):
    model = transfer(weights=weights_key)
    first, again, other = model.initial(0), model.initial(0), model.initial(1)
    for values, specs in zip(first, (model.params(), model.state()), strict=True):
        shapes = optree.tree_map(lambda spec: spec.shape, specs)
        assert optree.tree_map(lambda value: value.shape, values) == shapes
        assert all(value.dtype == np.float32 for value in optree.tree_leaves(values))
    assert optree.tree_all(optree.tree_map(np.array_equal, first, again))
    assert not np.array_equal(first[0]["head"]["kernel"], other[0]["head"]["kernel"])
    same_stem = optree.tree_all(optree.tree_map(np.array_equal, first[0]["stem"], other[0]["stem"]))
    assert same_stem == (weights_key == "pretrained")


# Phases


def test_without_unfreezing_only_the_head_is_trained():
    (phase,) = transfer(weights="random").phases(7)
    assert (phase.name, phase.epochs, phase.lr_scale) == ("head", 7, 1.0)
    assert [objective.trains for objective in phase.objectives] == [("head",)]


def test_unfreezing_adds_a_phase_over_the_last_blocks():
    model = transfer(weights="random", unfreeze=2, fine_tune_epochs=3)
    head, fine_tune = model.phases(7)
    assert (head.name, head.epochs) == ("head", 7)
    assert (fine_tune.name, fine_tune.epochs) == ("fine_tune", 3)
    assert fine_tune.lr_scale < head.lr_scale
    assert fine_tune.objectives[0].trains == ("block_10", "block_11", "head")
    assert model.objectives()[0].trains == ("block_10", "block_11", "head")


@pytest.mark.parametrize("unfreeze", [0, 1, 2, 13])
def test_features_stand_for_the_images_they_come_from(unfreeze):
    model = transfer(weights="random", unfreeze=unfreeze)
    params, state = placed(model)
    batch = batch_of(model)
    whole = model.evaluate(params, state, batch)
    for phase in model.phases(1):
        if phase.features is None:
            assert unfreeze == 13
            continue
        kept = {**batch, "inputs": phase.features(params, state, batch["inputs"])}
        for name, value in model.evaluate(params, state, kept).items():
            assert tuple(value.shape) == (4,)
            assert torch.allclose(value, whole[name], atol=1e-5)
        key, loss = backend("cpu").rng(0, CPU), phase.objectives[0].loss
        assert torch.allclose(loss(params, state, kept, key)[0], loss(params, state, batch, key)[0], atol=1e-5)


def test_a_step_moves_what_it_trains_and_no_running_statistics():
    model = transfer(weights="random", unfreeze=1)
    params, state = placed(model)
    objective = model.objectives()[0]
    trained = {name: params[name] for name in objective.trains}
    rest = {name: value for name, value in params.items() if name not in trained}

    def loss(some, batch, key):
        return objective.loss({**rest, **some}, state, batch, key)

    (value, aux), gradients = backend("cpu").value_and_grad(loss)(trained, batch_of(model), backend("cpu").rng(0, CPU))
    assert math.isfinite(float(value))
    assert optree.tree_all(optree.tree_map(torch.equal, aux.state, state))
    assert all(float(ops.max(ops.abs(leaf))) > 0 for leaf in optree.tree_leaves(gradients))


def test_dropout_acts_in_training_alone():
    model = transfer(weights="random", dropout=0.5)
    params, state = placed(model)
    batch, loss = batch_of(model), model.objectives()[0].loss
    first, second = (float(loss(params, state, batch, backend("cpu").rng(seed, CPU))[0]) for seed in (0, 1))
    assert first != second
    assert torch.equal(model.predict(params, state, batch["inputs"]), model.predict(params, state, batch["inputs"]))


# Errors


def test_inputs_that_are_neither_images_nor_features():
    model = transfer(weights="random")
    with pytest.raises(ShapeError, match=r"\(7,\).*neither images nor features.*\n.*\(64, 64, 3\)"):
        model.predict({}, {}, backend("cpu").from_host(np.zeros((2, 7), np.float32), CPU))


@pytest.mark.parametrize("name", ["vgg16", "resnet50"])
def test_nothing_is_downloaded(name):
    with pytest.raises(ConfigError, match=rf"downloads nothing\n.*weights of {name}"):
        TransferConfig(backbone=name)


@pytest.mark.parametrize("value", ["pretraned", "weights.h5", ""])
def test_a_word_that_is_neither_known_nor_a_file(value):
    with pytest.raises(ConfigError, match=r"neither pretrained.*\n.*pretrained, random, .*\.safetensors"):
        TransferConfig(weights=value)


def test_more_blocks_than_there_are():
    with pytest.raises(ConfigError, match=r"unfreeze=14 .* 13 blocks .*\nuse 0 to 13, .* 18 blocks"):
        TransferConfig(unfreeze=14)
    with pytest.raises(ConfigError, match=r"unfreeze=6 .* 5 blocks"):
        TransferConfig(backbone="vgg16", weights="random", unfreeze=6)
    with pytest.raises(ConfigError, match=r"blocks=19 .* 18 blocks"):
        TransferConfig(blocks=19)
    assert TransferConfig(unfreeze=18, blocks=18).used == 18


@pytest.mark.parametrize("keys", [{"backbone": "alexnet"}, {"channels": 1}, {"size": 8}, {"dropout": 1.0}])
def test_values_out_of_range(keys):
    with pytest.raises(ValidationError):
        TransferConfig(**keys)


# What it learns


@pytest.mark.slow
@packaged
def test_frozen_pretrained_features_beat_random_ones_on_digits(tmp_path):
    accuracy = {}
    for name in ("pretrained", "random"):
        keys = {"name": "transfer", "weights": name}
        record = hal.train(model=keys, backend="cpu", out=str(tmp_path / name))
        accuracy[name] = record.epochs[-1].validation["accuracy"]
    assert accuracy["pretrained"] >= 0.95
    assert accuracy["pretrained"] >= accuracy["random"] + 0.08
