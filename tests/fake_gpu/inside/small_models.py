"""The built-in models, as small as they can be."""

IMAGES = {"data": {"name": "synthetic:64"}, "batch": 16}
MODELS = {
    "cnn": {"model": {"name": "cnn", "filters": [4, 4], "dense": 8, "size": 12}, **IMAGES},
    "rnn": {
        "model": {"name": "rnn", "task": "classify", "cell": "lstm", "units": 8, "dropout": 0.0},
        **IMAGES,
    },
    "gan": {"model": {"name": "gan", "size": 20, "width": 4, "noise": 4, "grid": 2}, **IMAGES},
    "transformer": {
        "model": {"name": "transformer", "task": "classify", "layers": 1, "width": 8, "heads": 2, "length": 8},
        **IMAGES,
    },
    "transfer": {
        "model": {"name": "transfer", "weights": "random", "size": 32, "blocks": 3, "dropout": 0.0, "unfreeze": 1},
        **IMAGES,
    },
}
