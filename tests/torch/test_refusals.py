"""What cannot be captured or translated is refused before anything runs, each with its sentence, place and way out."""

import re

import numpy as np
import pytest
import torch
import torch.utils.checkpoint
from torch import library, nn

from hal.errors import RequestError, UnsupportedError
from hal.torch import translate
from hal.torch.capture import capture
from hal.torch.comparison import compare
from hal.torch.table import TABLE

library.define("haltests::twice", "(Tensor x) -> Tensor")
library.impl("haltests::twice", "default")(lambda x: x * 2)
library.register_fake("haltests::twice")(torch.empty_like)
library.register_autograd("haltests::twice", lambda context, gradient: gradient * 2)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.count = 0

    def forward(self, x):
        return self.layer(x)


class Branch(Net):
    def forward(self, x):
        y = self.layer(x)
        return y if y.sum() > 0 else -y


class Item(Net):
    def forward(self, x):
        return self.layer(x) * x.mean().item()


class Loop(Net):
    def forward(self, x):
        for _ in range(int(x.abs().sum())):
            x = self.layer(x)
        return x


class Host(Net):
    def forward(self, x):
        return torch.from_numpy(np.tanh(self.layer(x).detach().numpy()))


class Mask(Net):
    def forward(self, x):
        y = self.layer(x)
        return y[y > 0].sum()


class Positions(Net):
    def forward(self, x):
        return torch.nonzero(self.layer(x) > 0).float().sum()


class Own(Net):
    def forward(self, x):
        return torch.ops.haltests.twice(self.layer(x))


class Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 7


class Function(Net):
    def forward(self, x):
        return Clamp.apply(self.layer(x))


class Reentrant(Net):
    def forward(self, x):
        return torch.utils.checkpoint.checkpoint(self.layer, x, use_reentrant=True)


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.LSTM(4, 4, batch_first=True)

    def forward(self, x):
        sizes = torch.tensor([6, 3, 2, 6])
        return self.layer(nn.utils.rnn.pack_padded_sequence(x, sizes, batch_first=True, enforce_sorted=False))[1][0]


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.LazyLinear(4)

    def forward(self, x):
        return self.layer(x)


class Complex(Net):
    def forward(self, x):
        return torch.fft.rfft(self.layer(x)).abs()


class Condition(Net):
    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda a: self.layer(a), lambda a: -self.layer(a), (x,))


class Changing(Net):
    def forward(self, x):
        with torch.no_grad():
            self.layer.weight.mul_(0.9)
        return self.layer(x)


class Hook(Net):
    def forward(self, x):
        y = self.layer(x)
        if y.requires_grad:
            y.register_hook(lambda gradient: gradient * 3)
        return y


class Counting(Net):
    def forward(self, x):
        self.count += 1
        return self.layer(x) * self.count


class Determinant(Net):
    def forward(self, x):
        return torch.linalg.det(self.layer(x))


class Several(Net):
    def __init__(self):
        super().__init__()
        self.inner = nn.ModuleList([Own(), Mask(), Determinant()])

    def forward(self, x):
        return sum(inner(x).sum() for inner in self.inner)


class Statistics(Net):
    def __init__(self):
        super().__init__()
        self.norm = nn.InstanceNorm1d(4, track_running_stats=True)

    def forward(self, x):
        return self.norm(x[None])


class Indices(Net):
    def forward(self, x):
        return nn.functional.max_pool1d(x, 2, return_indices=True)[1]


class FixedBatch(Net):
    def forward(self, x):
        return self.layer(x).reshape(4, 2, 2).sum(0)


HERE = r"test_refusals\.py:\d+"
SQUARE = torch.ones(4, 4)
CASES = [
    (Branch, rf"data-dependent control flow in {HERE}: .* torch\.where"),
    (Item, rf"a tensor's value as a Python number in {HERE}: item\(\)"),
    (Loop, rf"a tensor's value as a Python number in {HERE}"),
    (Host, rf"NumPy inside forward in {HERE}: .* PyTorch's ops"),
    (Mask, rf"aten::index.Tensor in {HERE}: indexing by a boolean mask .* torch\.where"),
    (Positions, rf"aten::nonzero in {HERE}: the shape of its result depends on values"),
    (Own, rf"haltests::twice in {HERE}: an op of a library has no translation; register one"),
    (Function, rf"torch.autograd.Function Clamp in {HERE}: its backward is lost"),
    (Reentrant, rf"torch.utils.checkpoint in {HERE}: .* use_reentrant=False"),
    (Lazy, "a lazy module in the module itself: .* call the module once"),
    (Statistics, "instance_norm .* updates running statistics; pass track_running_stats=False"),
    (Indices, "result 2 of several, such as the indices of max pooling, .* has no translation"),
    (Complex, rf"aten::_fft_r2c in {HERE}: complex numbers"),
    (Condition, rf"higher_order::cond in {HERE}: control flow as an op"),
    (Changing, "a change of the parameter layer.weight in layer layer: only the optimizer"),
    (Determinant, rf"aten::_linalg_det in {HERE}: this op has no translation"),
]


def refusal(module, x=SQUARE, **options):
    with pytest.raises(UnsupportedError) as caught:
        compare(module, capture(module, (x,), {}, training=True, **options), (x,), {}, training=True)
    assert caught.value.exit_status == 2
    assert "cpu, cuda, rocm, mps and xpu run the module itself" in caught.value.fix
    assert "hal.torch.translate" in caught.value.fix
    return caught.value.message


@pytest.mark.parametrize(("kind", "message"), CASES, ids=lambda value: getattr(value, "__name__", ""))
def test_refused(kind, message, capfd):
    torch.manual_seed(0)
    found = refusal(kind())
    assert re.search(message, found), found
    assert capfd.readouterr().err == ""


def test_a_packed_sequence():
    assert re.search(rf"a packed sequence in {HERE}", refusal(Packed(), torch.randn(4, 6, 4)))


def test_a_batch_that_the_module_fixes():
    assert "a batch size that the module fixes" in refusal(FixedBatch(), dynamic=True)


def test_all_are_told_at_once_with_their_layers():
    found = refusal(nn.Sequential(Several()), SQUARE)
    assert "for 3 reasons" in found
    assert re.search(rf"haltests::twice in layer 0.inner.0 at {HERE}", found)
    assert re.search(rf"aten::index.Tensor in layer 0.inner.1 at {HERE}", found)
    assert re.search(rf"aten::_linalg_det in layer 0.inner.2 at {HERE}", found)


def test_a_function_without_training():
    graph = capture(Function(), (SQUARE,), {}, training=False)
    assert graph.mutated == ()


class TestDifferences:
    """What only the comparison with the module itself notices."""

    def test_a_gradient(self):
        assert re.search(r"the gradient layer\.bias of the graph differs .* hooks\) is lost", refusal(Hook()))

    def test_state_of_python(self):
        assert "what the module remembers between calls" in refusal(Counting())

    def test_a_wrong_translation(self, monkeypatch):
        monkeypatch.setitem(TABLE, "aten::relu.default", lambda call, x: call.xp.abs(x))
        module = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 4)))
        assert "in layer 1.0: the output itself of the graph differs" in refusal(module)


class TestTranslations:
    @pytest.fixture(autouse=True)
    def _table(self, monkeypatch):
        monkeypatch.setattr("hal.torch.table.entries.TABLE", TABLE)
        before = dict(TABLE)
        yield
        TABLE.clear()
        TABLE.update(before)

    def test_an_own_op(self):
        translate("haltests::twice", lambda x: x + x)
        x = torch.randn(3, 4)
        compare(Own(), capture(Own(), (x,), {}, training=False), (x,), {}, training=False)

    def test_one_of_hal_is_replaced(self):
        translate("aten::relu", lambda x: x * 0)
        with pytest.raises(UnsupportedError, match="differs"):
            compare(nn.ReLU(), capture(nn.ReLU(), (SQUARE,), {}, training=False), (SQUARE,), {}, training=False)

    def test_a_name_that_is_none(self):
        with pytest.raises(RequestError, match="is not the name of an op"):
            translate("twice", lambda x: x)


class Wrong(Net):
    def forward(self, x):
        return self.layer(x[:, :3])


def test_an_error_of_the_users():
    with pytest.raises(RequestError) as caught:
        capture(nn.Sequential(Wrong()), (SQUARE,), {}, training=False)
    text = str(caught.value)
    assert text.startswith("Calling the module raised RuntimeError: mat1 and mat2")
    assert "return self.layer(x[:, :3])" in text
    assert "hal/torch" not in text
    assert "torch/nn" not in text
