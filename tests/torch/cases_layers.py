"""Calls of ops that layers and losses are made of."""

from table_helpers import I, K, V, X, case

IMAGES = X((2, 4, 7, 6))
MEAN, VARIANCE = K((4,)), K((4,), 0.5, 2)

PRODUCTS = [
    case("linear", X((2, 3, 4)), X((5, 4)), X((5,))),
    case("linear", X((4,)), X((5, 4))),
    case("matmul", X((2, 1, 3, 4)), X((5, 4, 2))),
    case("matmul", X((3, 4)), X((4,))),
    case("linalg_matmul", X((3, 4)), X((4, 2))),
    case("mm", X((3, 4)), X((4, 2))),
    case("bmm", X((2, 3, 4)), X((2, 4, 2))),
    case("mv", X((3, 4)), X((4,))),
    *[case(name, X((4,)), X((4,))) for name in ("dot", "vdot", "inner")],
    case("inner", X((3, 4)), X((2, 4))),
    case("addmm", X((2,)), X((3, 4)), X((4, 2)), beta=0.5, alpha=2),
    case("addmm", X((3, 2)), X((3, 4)), X((4, 2)), beta=0),
    case("baddbmm", X((2, 3, 2)), X((2, 3, 4)), X((2, 4, 2)), beta=0.5),
    case("addmv", X((3,)), X((3, 4)), X((4,)), alpha=2),
    case("addbmm", X((3, 2)), X((2, 3, 4)), X((2, 4, 2))),
    *[case(name, X((3,)), X((4,))) for name in ("outer", "ger")],
    case("einsum", "bij,bjk->bik", [X((2, 3, 4)), X((2, 4, 2))]),
    case("einsum", "...i,...i", [X((2, 3)), X((2, 3))]),
    case("tensordot", X((2, 3, 4)), X((4, 3, 5)), [1, 2], [1, 0]),
    case("bilinear", X((2, 3)), X((2, 4)), X((5, 3, 4)), X((5,))),
    case("cosine_similarity", X((2, 3)), X((1, 3)), 1),
    case("cosine_similarity", V([[0.0, 0.0]]), V([[1.0, 2.0]]), -1),
    *[case("cdist", X((2, 3, 4)), X((2, 5, 4)), p) for p in (2.0, 1.0, 3.0)],
    case("_cdist_forward", V([[0.0, 1.0], [1.0, 1.0]]), V([[0.0, 1.0]]), 2.0, None),
    case("linalg_cross", X((2, 3)), X((2, 3))),
]

CONVOLUTION = [
    case("conv2d", IMAGES, X((6, 4, 3, 2)), X((6,)), [2, 1], [1, 0], [1, 2]),
    case("conv2d", IMAGES, X((6, 2, 3, 3)), None, [1], [1], [1], 2),
    case("conv2d", X((4, 7, 6)), X((4, 1, 3, 3)), X((4,)), [1], [0], [1], 4),
    case("conv2d.padding", IMAGES, X((6, 4, 3, 4)), None, [1, 1], "same", [2, 1]),
    case("conv2d.padding", IMAGES, X((6, 4, 3, 3)), None, [2, 2], "valid"),
    case("conv1d", X((2, 4, 9)), X((6, 2, 3)), X((6,)), [2], [1], [2], 2),
    case("conv1d", X((4, 9)), X((6, 4, 3))),
    case("conv1d.padding", X((2, 4, 9)), X((6, 4, 4)), None, [1], "same"),
    case("conv3d", X((1, 2, 4, 5, 4)), X((3, 2, 2, 3, 2)), X((3,)), [1, 2, 1], [1, 0, 1], [2, 1, 1]),
    case("conv3d.padding", X((1, 2, 4, 3, 4)), X((4, 1, 2, 3, 2)), None, [1, 1, 1], "same", [1, 1, 1], 2),
    case("conv_transpose2d.input", IMAGES, X((4, 3, 3, 2)), X((3,)), [2, 3], [1, 0], [1, 0]),
    case("conv_transpose2d.input", IMAGES, X((4, 3, 3, 3)), None, [2], [1], [0], 2, [2, 1]),
    case("conv_transpose1d", X((2, 4, 5)), X((4, 3, 3)), X((3,)), [2], [1], [1]),
    case("conv_transpose1d", X((4, 5)), X((4, 3, 3))),
    case("convolution", IMAGES, X((6, 4, 3, 3)), X((6,)), [1, 1], [1, 1], [1, 1], False, [0, 0], 1),
    case("convolution", IMAGES, X((4, 3, 3, 3)), None, [2, 2], [1, 1], [1, 1], True, [1, 1], 1),
    case("_convolution", X((2, 4, 9)), X((6, 4, 3)), None, [1], [1], [1], False, [0], 1, False, False, False, False),
]

POOLING = [
    case("max_pool2d", IMAGES, [3, 2], [2, 1], [1, 0], [1, 2]),
    case("max_pool2d", IMAGES, [2], [], [0], [1], True),
    case("max_pool2d", X((4, 7, 6)), [3, 3], [2, 2], [1, 1], [1, 1], True),
    case("max_pool2d_with_indices", IMAGES, [2, 2]),
    case("max_pool1d", X((2, 4, 9)), [3], [2], [1]),
    case("max_pool1d", X((4, 9)), 3),
    case("avg_pool2d", IMAGES, [3, 2], [2, 1], [1, 1]),
    case("avg_pool2d", IMAGES, [3, 3], [2, 2], [1, 1], False, False),
    case("avg_pool2d", IMAGES, [2, 3], [2, 2], [0, 0], True),
    case("avg_pool2d", IMAGES, [2, 2], [], [0, 0], False, True, 3),
    case("avg_pool3d", X((1, 2, 5, 6, 4)), [3, 2, 2], [2, 1, 2], [1, 1, 0]),
    case("avg_pool3d", X((2, 5, 6, 4)), [2]),
    case("max_pool3d", X((1, 2, 5, 6, 4)), [3, 2, 2], [2, 1, 2], [1, 1, 0]),
    case("max_pool3d_with_indices", X((1, 2, 5, 6, 4)), [2]),
    case("avg_pool1d", X((2, 4, 9)), [3], [2], [1]),
    *[case(name, IMAGES, [3, 2]) for name in ("adaptive_avg_pool2d", "_adaptive_avg_pool2d")],
    case("adaptive_avg_pool2d", IMAGES, [1, 1]),
    case("adaptive_avg_pool2d", X((4, 7, 6)), [7, 4]),
    case("adaptive_avg_pool1d", X((2, 4, 9)), [4]),
    case("adaptive_max_pool2d", IMAGES, [3, 2]),
    case("adaptive_max_pool3d", X((1, 2, 4, 5, 3)), [2, 2, 3]),
    case("adaptive_max_pool1d", X((2, 4, 9)), [3]),
    *[case(name, X((1, 2, 4, 5, 3)), [2, 2, 3]) for name in ("adaptive_avg_pool3d", "_adaptive_avg_pool3d")],
]

NORMALIZATION = [
    case("batch_norm", IMAGES, X((4,)), X((4,)), MEAN, VARIANCE, False, 0.1, 1e-5, False),
    case("batch_norm", X((6, 4)), None, None, MEAN, VARIANCE, False, 0.1, 1e-5, False),
    case("batch_norm", X((2, 4, 5)), X((4,)), X((4,)), None, None, True, 0.1, 1e-5, False),
    case("_native_batch_norm_legit_functional", IMAGES, X((4,)), X((4,)), MEAN, VARIANCE, True, 0.3, 1e-3),
    case("_native_batch_norm_legit_no_training", IMAGES, X((4,)), X((4,)), MEAN, VARIANCE, 0.1, 1e-5),
    case("_native_batch_norm_legit.no_stats", IMAGES, X((4,)), X((4,)), True, 0.1, 1e-5),
    case("instance_norm", IMAGES, X((4,)), X((4,)), None, None, True, 0.1, 1e-5, False),
    case("instance_norm", IMAGES, None, None, MEAN, VARIANCE, False, 0.1, 1e-5, False),
    case("group_norm", IMAGES, 2, X((4,)), X((4,))),
    case("group_norm", X((3, 4)), 2),
    case("native_group_norm", IMAGES, X((4,)), X((4,)), 2, 4, 42, 2, 1e-5),
    case("layer_norm", X((2, 3, 4)), [4], X((4,)), X((4,))),
    case("layer_norm", X((2, 3, 4)), [3, 4], None, None, 1e-3),
    case("native_layer_norm", X((2, 3, 4)), [4], X((4,)), None, 1e-5),
    case("rms_norm", X((2, 3, 4)), [4], X((4,))),
    case("rms_norm", X((2, 3, 4)), [3, 4], None, 1e-3),
]

QKV = (X((2, 4, 3, 5)), X((2, 4, 6, 5)), X((2, 4, 6, 2)))
ATTENTION = [
    case("scaled_dot_product_attention", *QKV),
    case("scaled_dot_product_attention", *QKV, None, 0.0, True),
    case("scaled_dot_product_attention", *QKV, X((3, 6)), scale=0.3),
    case("scaled_dot_product_attention", *QKV, V([[True, False, True, True, False, True]] * 3)),
    case("scaled_dot_product_attention", QKV[0], X((2, 2, 6, 5)), X((2, 2, 6, 2)), enable_gqa=True),
    case("scaled_dot_product_attention", X((2, 3, 5)), X((2, 6, 5)), X((2, 6, 2)), X((2, 3, 6))),
    case("scaled_dot_product_attention", X((3, 5)), X((6, 5)), X((6, 2))),
]


def weights(gates, features, units, *, layers=1, directions=1, biased=True):
    found = []
    for layer in range(layers):
        for _ in range(directions):
            inner = features if layer == 0 else units * directions
            found += [X((gates * units, inner), -0.5, 0.5), X((gates * units, units), -0.5, 0.5)]
            found += [X((gates * units,))] * 2 if biased else []
    return found


STACK = {"layers": 2, "directions": 2}
HIDDEN = X((4, 2, 3))
RECURRENT = [
    case("lstm.input", X((5, 2, 4)), [HIDDEN, HIDDEN], weights(4, 4, 3, **STACK), True, 2, 0.0, False, True, False),
    case(
        "lstm.input",
        X((2, 5, 4)),
        [X((1, 2, 3))] * 2,
        weights(4, 4, 3, biased=False),
        False,
        1,
        0.0,
        False,
        False,
        True,
    ),
    case("gru.input", X((5, 2, 4)), HIDDEN, weights(3, 4, 3, **STACK), True, 2, 0.0, False, True, False),
    *[
        case(f"rnn_{name}.input", X((2, 5, 4)), X((1, 2, 3)), weights(1, 4, 3), True, 1, 0.0, False, False, True)
        for name in ("tanh", "relu")
    ],
    case("lstm_cell", X((2, 4)), [X((2, 3))] * 2, *weights(4, 4, 3)),
    case("gru_cell", X((2, 4)), X((2, 3)), *weights(3, 4, 3)),
    *[case(f"rnn_{name}_cell", X((2, 4)), X((2, 3)), *weights(1, 4, 3)) for name in ("tanh", "relu")],
]

LINE, IMAGE, VOLUME = X((1, 2, 5)), X((1, 2, 4, 5)), X((1, 2, 2, 3, 4))
RESAMPLING = [
    *[
        case(f"upsample_linear1d{form}", LINE, [8], corners, *more)
        for form, more in (("", ()), (".vec", (None,)))
        for corners in (False, True)
    ],
    case("upsample_bilinear2d.vec", IMAGE, None, False, [2.0, 1.5]),
    case("upsample_bilinear2d", IMAGE, [3, 9], True),
    case("upsample_trilinear3d.vec", VOLUME, None, True, [2.0, 2.0, 1.5]),
    case("upsample_trilinear3d", VOLUME, [3, 3, 8], False),
    case("upsample_bicubic2d.vec", IMAGE, None, False, [2.0, 1.5]),
    case("upsample_bicubic2d", IMAGE, [3, 9], True),
    *[case(f"_upsample_{kind}2d_aa", IMAGE, [2, 3], False) for kind in ("bilinear", "bicubic")],
    *[case(f"_upsample_{kind}2d_aa.vec", IMAGE, None, False, [0.5, 2.0]) for kind in ("bilinear", "bicubic")],
    *[case(f"{kind}1d.vec", LINE, None, [2.0]) for kind in ("upsample_nearest", "_upsample_nearest_exact")],
    *[case(f"{kind}1d", LINE, [7]) for kind in ("upsample_nearest", "_upsample_nearest_exact")],
    *[case(f"{kind}2d.vec", IMAGE, None, [2.0, 1.5]) for kind in ("upsample_nearest", "_upsample_nearest_exact")],
    *[case(f"{kind}2d", IMAGE, [3, 10]) for kind in ("upsample_nearest", "_upsample_nearest_exact")],
    *[case(f"{kind}3d.vec", VOLUME, [4, 3, 3], None) for kind in ("upsample_nearest", "_upsample_nearest_exact")],
    *[case(f"{kind}3d", VOLUME, [2, 4, 8]) for kind in ("upsample_nearest", "_upsample_nearest_exact")],
]

LOGITS, LABELS = X((4, 5)), V([1, 4, 0, 2])
KEPT = V([1, 4, -100, 2])
UNIT = X((2, 3), 0.1, 0.9)
PAIR = (X((2, 3)), X((2, 3)))
LOSSES = [
    *[case("cross_entropy_loss", LOGITS, KEPT, None, reduction) for reduction in (0, 1, 2)],
    case("cross_entropy_loss", LOGITS, KEPT, K((5,), 0.5, 2)),
    case("cross_entropy_loss", LOGITS, KEPT, K((5,), 0.5, 2), 1, -100, 0.1),
    case("cross_entropy_loss", LOGITS, LABELS, None, 2, 4, 0.1),
    case("cross_entropy_loss", X((2, 5, 3)), I((2, 3), 5)),
    case("cross_entropy_loss", X((2, 5, 3)), X((2, 5, 3), 0, 1), X((5,), 0.5, 2), 1, -100, 0.1),
    case("nll_loss", LOGITS, KEPT, K((5,), 0.5, 2)),
    case("nll_loss_nd", X((2, 5, 3)), I((2, 3), 5), None, 0),
    case("nll_loss2d", X((2, 5, 3, 2)), I((2, 3, 2), 5)),
    *[case(name, *PAIR, reduction) for name in ("mse_loss", "l1_loss") for reduction in (0, 1, 2)],
    case("smooth_l1_loss", *PAIR, 1, 0.5),
    case("smooth_l1_loss", *PAIR, 1, 0.0),
    case("huber_loss", *PAIR, 2, 0.5),
    case("binary_cross_entropy", UNIT, UNIT, K((2, 3), 0.5, 2)),
    case("binary_cross_entropy_with_logits", X((2, 3)), UNIT),
    case("binary_cross_entropy_with_logits", X((2, 3)), UNIT, K((2, 3), 0.5, 2), K((3,), 0.5, 2), 2),
    case("kl_div", X((2, 3)), V([[0.0, 0.5, 0.5], [0.2, 0.3, 0.5]], constant=True)),
    case("kl_div", *PAIR, 2, log_target=True),
    case("soft_margin_loss", X((2, 3)), V([[1.0, -1.0, 1.0], [1.0, 1.0, -1.0]], constant=True)),
    case("poisson_nll_loss", X((2, 3)), X((2, 3), 0, 4), True, True, 1e-8, 1),
    case("poisson_nll_loss", UNIT, X((2, 3), 0, 4), False, False, 1e-8, 2),
    case("margin_ranking_loss", *PAIR, V([[1.0, -1.0, 1.0]], constant=True), 0.3),
    case("hinge_embedding_loss", X((2, 3)), V([[1.0, -1.0, 1.0], [1.0, 1.0, -1.0]], constant=True), 0.7),
]

UNCHANGED = [
    case("native_dropout", X((2, 3)), 0.5, False),
    case("dropout", X((2, 3)), 0.5, False),
    case("feature_dropout", X((2, 3)), 0.5, False),
    case("rrelu_with_noise", X((2, 3)), K((2, 3))),
]

CASES = [
    *PRODUCTS,
    *CONVOLUTION,
    *POOLING,
    *NORMALIZATION,
    *ATTENTION,
    *RECURRENT,
    *RESAMPLING,
    *LOSSES,
    *UNCHANGED,
]
