"""FLOPs, bytes and live memory of the null backend against figures worked out by hand."""

import gc
import threading

import pytest
from null_helpers import BACKEND, DEVICE, XP, f32, form, i64, put

import hal.ops
from hal.backends import null
from hal.errors import ShapeError, UnsupportedError
from hal.tensor import Key


def flops_of(fn):
    with BACKEND.count() as cost:
        fn()
    return cost.flops


def test_flops_of_products():
    a, b = put(f32(5, 8, 16)), put(f32(16, 4))
    assert flops_of(lambda: a @ b) == 2 * 5 * 8 * 16 * 4
    assert flops_of(lambda: hal.ops.linear(a, b, put(f32(4)))) == 2 * 5 * 8 * 16 * 4 + 5 * 8 * 4
    assert flops_of(lambda: hal.ops.vecdot(put(f32(3, 7)), put(f32(7)))) == 2 * 3 * 7
    assert flops_of(lambda: hal.ops.tensordot(put(f32(2, 3, 4)), put(f32(3, 4, 5)), axes=2)) == 2 * 2 * 12 * 5


def test_flops_of_a_convolution():
    # The first layer of a ResNet: 7x7 stride 2 on 224x224x3 gives 112x112x64, 118 million multiply-adds.
    x, kernel = put(f32(1, 224, 224, 3)), put(f32(7, 7, 3, 64))
    with BACKEND.count() as cost:
        y = hal.ops.conv2d(x, kernel, strides=2)
    assert cost.flops == 2 * 118_013_952
    (op,) = cost.records
    assert (op.name, op.phase, op.dtype) == ("conv2d", "forward", "float32")
    assert op.inputs == ((1, 224, 224, 3), (7, 7, 3, 64))
    assert op.outputs == (y.shape,)
    assert op.bytes_moved == 4 * (224 * 224 * 3 + 7 * 7 * 3 * 64 + 112 * 112 * 64)
    assert op.live_bytes == cost.peak_live_bytes == op.bytes_moved


def test_flops_of_other_layers():
    x = put(f32(2, 8, 8, 4))
    assert flops_of(lambda: hal.ops.conv2d(x, put(f32(3, 3, 2, 6)), groups=2)) == 2 * (2 * 8 * 8 * 6) * 9 * 2
    assert flops_of(lambda: hal.ops.conv2d_transpose(x, put(f32(3, 3, 4, 5)), strides=2)) == 2 * x.size * 9 * 5
    assert flops_of(lambda: hal.ops.max_pool2d(x)) == 2 * 4 * 4 * 4 * 4
    assert flops_of(lambda: hal.ops.softmax(x)) == 5 * x.size
    q = put(f32(2, 3, 5, 8))
    assert flops_of(lambda: hal.ops.attention(q, q, q)) == 2 * 3 * 5 * 5 * (2 * (8 + 8) + 6)
    masked = {"mask": put(f32(5, 5)), "dropout": 0.1, "rng": Key(0)}
    assert flops_of(lambda: hal.ops.attention(q, q[:, :1], q[:, :1], **masked)) == 2 * 3 * 5 * 5 * (2 * 16 + 6 + 2 + 1)
    wide = put(f32(3, 3, 4, 5))
    assert flops_of(lambda: hal.ops.conv2d_transpose(x, wide, groups=2)) == 2 * x.size * 9 * 5
    assert flops_of(lambda: hal.ops.conv1d(x[0], put(f32(3, 2, 6)), groups=2)) == 2 * (8 * 8 * 6) * 3 * 2
    assert flops_of(lambda: hal.ops.gelu(x, exact=True)) == 5 * x.size
    assert flops_of(lambda: hal.ops.einsum("abci,ij->abcj", x, put(f32(4, 3)))) == 2 * 2 * 8 * 8 * 4 * 3
    weights = (put(f32(4, 3)), put(f32(3, 5)))  # x is summed before
    assert flops_of(lambda: hal.ops.einsum("abci,ij,jk->k", x, *weights)) == x.size + 2 * 4 * 3 + 2 * 3 * 5
    assert flops_of(lambda: hal.ops.einsum("abci->ia", x)) == x.size
    assert flops_of(lambda: hal.ops.einsum("abci->icba", x)) == 0
    put_in = (put(i64(1, 7, 8, 4)), put(f32(1, 7, 8, 4)))
    assert flops_of(lambda: hal.ops.scatter(x, 1, *put_in, add=True)) == 7 * 8 * 4
    assert flops_of(lambda: hal.ops.scatter(x, 1, *put_in)) == 0
    assert flops_of(lambda: hal.ops.topk(x, 3)) == x.size
    weights = [put(w) for w in (f32(8, 12), f32(3, 12), f32(12))]
    assert flops_of(lambda: hal.ops.lstm(put(f32(2, 5, 8)), None, *weights)) == 2 * 10 * 12 * (8 + 3) + 17 * 2 * 5 * 3
    assert flops_of(lambda: hal.ops.sum(x)) == x.size
    assert flops_of(lambda: hal.ops.embedding(put(f32(10, 7)), put(i64(2, 3)))) == 0


def test_bytes():
    x = put(f32(10, 10))
    for fn, wanted in (
        (lambda: x + 1, 800),
        (lambda: x * x, 800),
        (lambda: x + x[0], 400 + 40 + 400),
        (lambda: x + hal.ops.broadcast_to(x[:1], (10, 10)), 400 + 400 + 400),
        (lambda: hal.ops.reshape(x, (100,)).shape, 0),
        (lambda: x.T, 0),
        (lambda: hal.ops.take(x, put(i64(3)), axis=0), 24 + 120 + 120),
        (lambda: hal.ops.astype(x, XP.bfloat16), 600),
    ):
        with BACKEND.count() as cost:
            fn()
        assert cost.bytes_moved == wanted


def test_totals_by_op():
    x = put(f32(10))
    with BACKEND.count() as cost:
        y = x + 1
        z = y + x
    assert cost.by_op() == {("add", "forward"): (2, 20, 80 + 120)}
    assert z.shape == (10,)


def test_counts_nest_and_stay_in_their_thread():
    x = put(f32(10))
    with BACKEND.count() as outer:
        a = x + 1
        with BACKEND.count() as inner:
            b = a + 1
        thread = threading.Thread(target=lambda: x + 1)
        thread.start()
        thread.join()
    x + 1
    assert (len(outer.records), len(inner.records)) == (2, 1)
    assert (outer.peak_live_bytes, inner.peak_live_bytes) == (120, 80)
    assert b.shape == (10,)


# Live memory by hand, in bytes of arrays of 1000 fp32 numbers

KB4 = 4000


def test_peak_without_gradient():
    x = put(f32(1000))
    with BACKEND.count() as cost:
        y = x + 1  # x y
        y = y + 1  # x y y'
        y = y + 1  # the first y has been released
        total = hal.ops.sum(y)
    assert cost.peak_live_bytes == 3 * KB4
    assert cost.live_bytes == 2 * KB4 + 4
    assert [op.live_bytes for op in cost.records] == [2 * KB4, 3 * KB4, 3 * KB4, 2 * KB4 + 4]
    del x, y, total
    assert cost.live_bytes == 0


def test_what_is_found_late_was_alive_all_along():
    x, late = put(f32(1000)), put(f32(5000))
    with BACKEND.count() as cost:
        y = x + 1
        total = hal.ops.sum(y) + hal.ops.sum(late)
    assert cost.records[0].live_bytes == 7 * KB4
    assert cost.peak_live_bytes == 7 * KB4 + 4 + 4 + total.nbytes


def test_views_share_memory():
    x = put(f32(10, 100))
    with BACKEND.count() as cost:
        y = x + 1
        part = hal.ops.reshape(y.T, (1000,))[::2]
        del y
        assert cost.live_bytes == 2 * KB4
        del part
    assert cost.live_bytes == KB4
    assert cost.peak_live_bytes == 2 * KB4


def test_arrays_that_were_not_used_do_not_count():
    unused = put(f32(1000))
    with BACKEND.count() as cost:
        XP.ones(10)
    assert cost.peak_live_bytes == 40
    assert unused.size == 1000


def test_process_memory():
    gc.collect()
    before = BACKEND.memory(DEVICE).allocated_bytes
    x = put(f32(1000))
    BACKEND.reset_peak_memory(DEVICE)
    y = x + 1
    del y
    use = BACKEND.memory(DEVICE)
    assert (use.allocated_bytes - before, use.peak_bytes - before) == (KB4, 2 * KB4)


def gradient(fn, params, *args):
    with BACKEND.count() as cost:
        (loss, aux), grads = BACKEND.value_and_grad(fn)(params, *args)
    assert loss.node is None
    return cost, loss, aux, grads


def test_gradient_of_a_product():
    x, w = put(f32(32, 100)), put(f32(100, 10))  # 12800 and 4000 bytes

    def fn(params, x):
        return hal.ops.sum(x @ params["w"]), None

    cost, _, _, grads = gradient(fn, {"w": w}, x)
    assert form(grads["w"]) == ((100, 10), "float32")
    backward = [op for op in cost.records if op.phase == "backward"]
    assert [op.name for op in backward] == ["sum", "matmul"]
    # x is data, so that the product is differentiated for w alone.
    assert backward[1].flops == 2 * 32 * 100 * 10
    # x and w, the loss, the gradient of the product (1280 bytes) and that of w. The product itself is gone when its
    # gradient comes, and the gradient of the loss when that of w comes.
    assert backward[0].live_bytes == 12800 + 4000 + 4 + 4 + 1280
    assert cost.peak_live_bytes == backward[1].live_bytes == 12800 + 4000 + 4 + 1280 + 4000
    assert cost.live_bytes == 12800 + 4000 + 4000


def test_both_factors_cost_a_product_each():
    def fn(params):
        return hal.ops.sum(params[0] @ params[1]), None

    cost, *_ = gradient(fn, [put(f32(4, 5)), put(f32(5, 6))])
    products = [op.flops for op in cost.records if op.name == "matmul"]
    assert products == [2 * 4 * 5 * 6, 2 * 2 * 4 * 5 * 6]


def test_tape_keeps_what_the_backward_step_reads():
    def chain(op):
        def fn(params):
            y = params
            for _ in range(4):
                y = op(y)
            return hal.ops.sum(y), None

        return gradient(fn, put(f32(1000)))[0].peak_live_bytes

    # Sums keep nothing: parameter, loss, and two arrays at a time; passing gradients on takes one.
    assert chain(lambda y: y + 1) == 3 * KB4
    # Scalars are constants, so that their products keep nothing; gradients are new arrays.
    assert chain(lambda y: y * 2) == 3 * KB4 + 4
    # Each exponential keeps its result: parameter, four results and the loss; going back, two gradients beside them.
    assert chain(hal.ops.exp) == KB4 + 4 * KB4 + 2 * KB4 + 4
    # Each sine keeps its input, the first of which is the parameter.
    assert chain(hal.ops.sin) == KB4 + 3 * KB4 + 2 * KB4 + 4


def test_inference_keeps_nothing():
    x = put(f32(1000))
    with BACKEND.count() as cost:
        y = x
        for _ in range(10):
            y = hal.ops.exp(y)
    assert cost.peak_live_bytes == 3 * KB4


def test_stop_gradient_ends_the_tape():
    def fn(params):
        y = hal.ops.stop_gradient(hal.ops.exp(params[0]))
        return hal.ops.sum(y * params[1]), None

    cost, _, _, grads = gradient(fn, [put(f32(1000)), put(f32(1000))])
    assert [op.name for op in cost.records if op.phase == "backward"] == ["sum", "multiply"]
    assert form(grads) == [((1000,), "float32")] * 2


def test_gradients_add_up():
    def fn(params):
        y = hal.ops.exp(params)
        return hal.ops.sum(y * y + y), None

    cost, *_ = gradient(fn, put(f32(10)))
    # y has three uses: both factors and the sum.
    assert sum(op.name == "accumulate" for op in cost.records) == 2
    doubled, *_ = gradient(lambda p: (hal.ops.sum(p + p), None), put(f32(1000)))
    # Both gradients are the same memory, so that their sum needs its own; the parameter and the loss are there too.
    assert doubled.records[-1].name == "accumulate"
    assert doubled.records[-1].live_bytes == 3 * KB4 + 4


def test_broadcasting_is_summed_back():
    def fn(params, x):
        return hal.ops.sum(x + params["b"]), None

    cost, _, _, grads = gradient(fn, {"b": put(f32(10))}, put(f32(100, 10)))
    (add,) = [op for op in cost.records if (op.name, op.phase) == ("add", "backward")]
    assert (add.flops, add.outputs, grads["b"].shape) == (1000, ((10,),), (10,))


def test_a_network_with_everything():
    params = {
        "conv": put(f32(3, 3, 3, 4)),
        "scale": put(f32(4)),
        "offset": put(f32(4)),
        "up": put(f32(3, 3, 4, 2)),
        "lstm": [put(f32(32, 20)), put(f32(5, 20)), put(f32(20))],
        "gru": [put(f32(5, 15)), put(f32(5, 15)), put(f32(15)), put(f32(15))],
        "rnn": [put(f32(5, 5)), put(f32(5, 5)), put(f32(5))],
        "table": put(f32(11, 5)),
        "unused": put(f32(7)),
    }

    def fn(p, images, labels, key):
        y = hal.ops.max_pool2d(hal.ops.conv2d(images, p["conv"]))
        y, mean, variance = hal.ops.batch_norm(
            y, p["scale"], p["offset"], hal.ops.zeros_like(p["scale"]), p["scale"], training=True
        )
        y = hal.ops.dropout(hal.ops.relu(hal.ops.conv2d_transpose(y, p["up"], strides=2)), 0.1, key)
        y = hal.ops.reshape(hal.ops.avg_pool2d(y, (2, 1)), (2, 4, 32))
        y, _ = hal.ops.lstm(y, None, *p["lstm"])
        y, _ = hal.ops.gru(y, None, *p["gru"])
        y, last = hal.ops.rnn(y, None, *p["rnn"])
        y = y + hal.ops.embedding(p["table"], labels)[:, None, :] + hal.ops.expand_dims(last, axis=1)
        q = hal.ops.reshape(y, (2, 1, 4, 5))
        y = hal.ops.layer_norm(hal.ops.attention(q, q, q)[:, 0], p["scale"][0] + hal.ops.zeros_like(y[0, 0]), y[0, 0])
        _, ys = hal.ops.scan(lambda c, x: (c + x, c * x), y[:, 0], hal.ops.permute_dims(y, (1, 0, 2)))
        loss = hal.ops.mean(hal.ops.cross_entropy(ys[-1], labels))
        return loss, {"logits": ys, "mean": mean, "variance": variance, "name": "kept"}

    gc.collect()
    start = BACKEND.memory(DEVICE).allocated_bytes
    cost, loss, aux, grads = gradient(fn, params, put(f32(2, 16, 8, 3)), put(i64(2)), Key(0))
    assert form(grads["lstm"]) == form(params["lstm"])
    assert {k: form(v) for k, v in grads.items()} == {k: form(v) for k, v in params.items()}
    assert (loss.shape, aux["logits"].shape, aux["name"]) == ((), (4, 2, 5), "kept")
    assert all(aux[name].node is None for name in ("logits", "mean", "variance"))
    names = {op.name for op in cost.records if op.phase == "backward"}
    assert {"conv2d", "conv2d_transpose", "batch_norm", "lstm", "gru", "rnn", "attention", "layer_norm"} <= names
    assert {"embedding", "dropout", "max_pool2d", "avg_pool2d", "cross_entropy", "unstack", "stack"} <= names
    # Gradients, loss and aux are all that is left.
    ours = sum(g.nbytes for g in [*grads["lstm"], *grads["gru"], *grads["rnn"]])
    ours += sum(g.nbytes for g in grads.values() if isinstance(g, null.NullArray))
    ours += loss.nbytes + aux["logits"].nbytes + aux["mean"].nbytes + aux["variance"].nbytes
    assert BACKEND.memory(DEVICE).allocated_bytes - start == ours


def test_nested_gradients_are_separate():
    def inner(params, outer):
        return hal.ops.sum(params * outer), None

    def fn(params):
        (loss, _), grads = BACKEND.value_and_grad(inner)(put(f32(3)), hal.ops.exp(params))
        return hal.ops.sum(hal.ops.exp(params)) + loss, grads

    _, _, aux, grads = gradient(fn, put(f32(3)))
    assert (aux.shape, grads.shape) == ((3,), (3,))


def test_a_long_tape_can_be_dropped():
    def fn(params):
        y = params
        for _ in range(10_000):
            y = y * y
        return hal.ops.sum(params), None

    gradient(fn, put(f32(1)))


def test_gradient_errors():
    with pytest.raises(ShapeError, match="scalar"):
        BACKEND.value_and_grad(lambda p: (p, None))(put(f32(2)))
    with pytest.raises(UnsupportedError, match="floating"):
        BACKEND.value_and_grad(lambda p: (p, None))(put(i64(2)))
    (_, _), zeros = BACKEND.value_and_grad(lambda p: (XP.zeros(()), None))(put(f32(2)))
    assert zeros.shape == (2,)
