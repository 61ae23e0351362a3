"""A sound backend agrees; a fault is located at the op, the layer and the direction in which it is."""

import pytest
from parity_helpers import (
    CNN,
    GAN,
    TRANSFER,
    TRANSFORMERS,
    Defaults,
    LeakyStop,
    NotANumber,
    OddPixelFirst,
    OneLayerInBf16,
    OneLayerStaysInBf16,
    OnePercent,
    OnePercentOfTheGradient,
    OptimizerOff,
    OtherCpu,
    WholeGradientsOff,
    compared,
    rnn,
    with_ops,
)

from hal.parity.verdict import advice, verdict

RNNS = {f"{task}-{cell}": rnn(task, cell) for task in ("text", "classify") for cell in ("simple", "lstm", "gru")}
MODELS = {"cnn": CNN, "gan": GAN, "transfer": TRANSFER, **TRANSFORMERS, **RNNS}


# Sound


@pytest.mark.parametrize("name", MODELS)
def test_another_way_to_compute_the_same_agrees(name, other):
    other(Defaults)
    found = compared(MODELS[name])
    assert found.agrees, verdict(found, found.side)
    assert found.first is None
    assert all(each.off < 1e-4 for each in found.loss_after)
    assert {each.step for each in found.losses} == set(range(1, MODELS[name]["steps"] + 1))
    apart = [each.largest for op in found.ops for each in (op.forward, op.gradient) if each is not None]
    assert max(apart) > 0, "the two are the same code, which shows nothing"


@pytest.mark.parametrize("name", ["cnn", "gan", "classify-lstm"])
def test_narrow_numbers_agree_too(name, other):
    other(Defaults)
    assert compared(MODELS[name], precision="bf16").agrees


def test_layouts_agree(other):
    other(OtherCpu)
    found = compared(CNN, layout="nchw")
    assert found.agrees
    assert found.side.plan.layout == "nchw"


def test_parts_of_a_batch_agree(other):
    other(Defaults)
    assert compared(CNN, accumulate=2).agrees


# Wrong


def wrong_ops(found):
    return {(op.layer or op.part, op.op, op.exceeds) for op in found.ops if op.exceeds}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_op_that_is_one_percent_off(precision, other):
    other(with_ops(OnePercent))
    found = compared(CNN, precision=precision)
    assert not found.agrees
    assert (found.first.layer, found.first.op, found.first.exceeds[0]) == ("body/dense", "linear", "forward")
    assert found.first.forward.typical == pytest.approx(0.01, rel=0.2)
    assert {op.op for op in found.ops if op.exceeds} == {"linear"}
    assert {op.layer for op in found.ops if op.exceeds} == {"body/dense", "head"}
    assert "first at op 9, body/dense linear: its result is off by" in verdict(found, found.side)
    assert "fix linear of backend other" in advice(found)


def test_a_gradient_that_is_one_percent_off(other):
    other(with_ops(OnePercentOfTheGradient))
    found = compared(CNN)
    assert wrong_ops(found) == {
        ("body/maxpool2d", "relu", ("gradient",)),
        ("body/maxpool2d_1", "relu", ("gradient",)),
        ("body/conv2d_2", "relu", ("gradient",)),
        ("body/dense", "relu", ("gradient",)),
    }
    assert found.first.layer == "body/maxpool2d"
    assert found.first.gradient.largest == pytest.approx(0.01, rel=0.01)
    assert found.first.gradient_of == "x"
    assert any(each.exceeds for each in found.gradients)
    assert "its gradient with respect to x is off by" in verdict(found, found.side)


def test_a_layer_in_another_precision(other):
    other(with_ops(OneLayerInBf16))
    found = compared(CNN)
    assert wrong_ops(found) == {("body/conv2d_1", "conv2d", ("forward", "gradient"))}


def test_a_layer_that_gives_another_dtype(other):
    other(with_ops(OneLayerStaysInBf16))
    found = compared(CNN)
    assert found.first.where == "body/conv2d_1 conv2d"
    assert found.first.forward.problem == "dtype bfloat16 instead of float32"
    assert "has dtype bfloat16 instead of float32" in verdict(found, found.side)


def test_wrong_padding(other):
    other(with_ops(OddPixelFirst))
    found = compared(GAN)
    assert {(layer, op) for layer, op, _ in wrong_ops(found)} == {("discriminator/conv2d_1", "conv2d")}
    assert {op.part for op in found.ops if op.exceeds} == {"discriminator", "generator"}


def test_a_gradient_where_none_should_be(other):
    other(with_ops(LeakyStop))
    found = compared(GAN)
    assert wrong_ops(found) == {("discriminator", "stop_gradient", ("gradient",))}
    assert found.first.gradient.problem == "should be zero everywhere"


def test_numbers_that_are_none(other):
    other(with_ops(NotANumber))
    found = compared(GAN)
    assert {op.op for op in found.ops if "forward" in op.exceeds} == {"tanh"}
    assert "are not finite, or should not be" in found.first.forward.problem
    assert {each.found for each in found.losses} == {None}
    assert found.model_dump_json()


def test_gradients_that_go_wrong_between_ops(other):
    other(WholeGradientsOff)
    found = compared(CNN)
    assert wrong_ops(found) == set()
    assert all(each.exceeds for each in found.gradients)
    assert "though each op does: the gradient of classify: body/conv2d/kernel" in verdict(found, found.side)
    assert "value_and_grad" in advice(found)


def test_an_optimizer_that_goes_too_far(other):
    other(OptimizerOff)
    found = compared(CNN)
    assert wrong_ops(found) == set()
    assert not any(each.exceeds for each in found.gradients)
    assert all(each.exceeds for each in found.updates)
    assert "the optimizer moves classify: body/conv2d/kernel differently" in verdict(found, found.side)
