"""Using a trained model."""

import numpy as np
import pytest
from run_helpers import CNN, train

import hal
import hal.data
from hal.errors import ShapeError


def test_a_trained_model_predicts_what_it_was_judged_by(tmp_path):
    record = train(tmp_path / "a", base={**CNN, "data": {"name": "digits", "augment": "none"}}, epochs=3)
    split = hal.data.load("digits", hal.data.Wanted("image", (20, 20, 1)))
    batch = split.validation.take(np.arange(len(split.validation)))
    logits = hal.predict(tmp_path / "a", batch["inputs"])
    assert logits.shape == (len(split.validation), 10)
    assert np.mean(logits.argmax(-1) == batch["labels"]) == pytest.approx(record.results["accuracy"])
    narrow = hal.predict(tmp_path / "a", batch["inputs"], precision="bf16")
    np.testing.assert_allclose(narrow, logits, atol=0.2)


def test_inputs_of_another_shape(tmp_path):
    train(tmp_path / "a", steps=1)
    with pytest.raises(ShapeError, match=r"the model takes \(batch, 20, 20, 1\)"):
        hal.predict(tmp_path / "a", np.zeros((2, 28, 28, 2), np.float32))
