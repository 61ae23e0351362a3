"""A deep convolutional generative adversarial network (Radford, Metz and Chintala, arXiv 1511.06434)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from hal import nn, ops
from hal.data import Dataset, Wanted
from hal.data.pictures import grid_png
from hal.errors import DataError
from hal.models.cnn import CNN
from hal.types import Array, Tree

__all__ = ["GAN", "frechet_distance"]

_SCORED = 1024  # generated images that the Fréchet distance is computed from
_AT_ONCE = 128


class GANConfig(nn.ModelConfig):
    """Keys of the gan."""

    size: int = Field(default=28, ge=20, description="Height and width of the images: a multiple of 4.")
    channels: int = Field(default=1, ge=1, le=4, description="Channels of the images.")
    noise: int = Field(
        default=100, ge=1, description="Length of the random vector that the generator turns into an image."
    )
    width: int = Field(
        default=256,
        ge=4,
        description="Channels of the generator's first feature map. Each of the next two has half as many.",
    )
    dropout: float = Field(default=0.3, ge=0, lt=1, description="Dropout rate in the discriminator.")
    slope: float = Field(default=0.2, ge=0, description="Slope of the leaky ReLU for negative inputs.")
    grid: int = Field(default=6, ge=1, description="Rows and columns of the grid of generated images that is saved.")

    @field_validator("size")
    @classmethod
    def _two_strides(cls, value: int) -> int:
        if value % 4:
            raise ValueError("should be a multiple of 4, because two layers of the generator double the size")
        return value


class GAN(nn.Model):
    """Generator and discriminator, updated in turn."""

    Config = GANConfig
    defaults: ClassVar[nn.Defaults] = nn.Defaults(epochs=30, lr=2e-4, batch=64, optimizer="adam", hyper={"beta1": 0.5})
    metric: ClassVar[tuple[str, Literal["max", "min"]]] = ("frechet_distance", "min")
    supervised: ClassVar[bool] = False
    auxiliaries: ClassVar[Mapping[str, nn.Auxiliary]] = {"judge": nn.Auxiliary(CNN, epochs=8)}

    def __init__(self, config: GANConfig, data: Dataset) -> None:
        super().__init__(config, data)
        base, width, slope = config.size // 4, config.width, config.slope
        self.generator = nn.Sequential(
            nn.Dense(base * base * width, bias=False),
            nn.BatchNorm(),
            nn.Activation("leaky_relu", slope),
            nn.Reshape((base, base, width)),
            nn.Conv2dTranspose(width // 2, 5, bias=False),
            nn.BatchNorm(),
            nn.Activation("leaky_relu", slope),
            nn.Conv2dTranspose(width // 4, 5, strides=2, bias=False),
            nn.BatchNorm(),
            nn.Activation("leaky_relu", slope),
            nn.Conv2dTranspose(config.channels, 5, strides=2, bias=False, activation="tanh"),
        )
        self.discriminator = nn.Sequential(
            nn.Conv2d(64, 5, strides=2),
            nn.Activation("leaky_relu", slope),
            nn.Dropout(config.dropout),
            nn.Conv2d(128, 5, strides=2),
            nn.Activation("leaky_relu", slope),
            nn.Dropout(config.dropout),
            nn.Flatten(),
            nn.Dense(1),
        )

    @classmethod
    def wanted(cls, config: GANConfig) -> Wanted:
        """Images (size, size, channels)."""
        return Wanted("image", (config.size, config.size, config.channels))

    def params(self) -> dict[str, Any]:
        """Generator and discriminator."""
        return {
            "generator": self.generator.params((self.config.noise,)),
            "discriminator": self.discriminator.params(self.input_shape),
        }

    def state(self) -> dict[str, Any]:
        """The generator's running statistics."""
        return {"generator": self.generator.state((self.config.noise,))}

    def objectives(self) -> tuple[nn.Objective, ...]:
        """The discriminator learns to tell, then the generator to deceive."""
        return (
            nn.Objective("discriminator", self._tell, ("discriminator",)),
            nn.Objective("generator", self._deceive, ("generator",)),
        )

    def _judge(self, params: Tree, images: Array, key: Any) -> Array:
        return self.discriminator.apply(params["discriminator"], {}, images, training=True, key=key)[0]

    def _imagine(self, params: Tree, state: Tree, like: Array, key: Any) -> tuple[Array, Tree]:
        noise = ops.normal(key, (like.shape[0], self.config.noise), like=like)
        images, after = self.generator.apply(params["generator"], state["generator"], noise, training=True)
        return images, {"generator": after}

    def _tell(self, params: Tree, state: Tree, batch: Mapping[str, Array], key: Any) -> tuple[Array, nn.LossOutput]:
        draw, first, second = ops.split_key(key, 3)
        fakes, _ = self._imagine(params, state, batch["inputs"], draw)
        real = self._judge(params, batch["inputs"] * 2 - 1, first)
        fake = self._judge(params, ops.stop_gradient(fakes), second)
        loss = ops.mean(ops.sigmoid_cross_entropy(real, ops.ones_like(real)))
        loss = loss + ops.mean(ops.sigmoid_cross_entropy(fake, ops.zeros_like(fake)))
        return loss, nn.LossOutput(state, {})

    def _deceive(self, params: Tree, state: Tree, batch: Mapping[str, Array], key: Any) -> tuple[Array, nn.LossOutput]:
        draw, judge = ops.split_key(ops.fold_in(key, 1), 2)
        fakes, after = self._imagine(params, state, batch["inputs"], draw)
        fake = self._judge(params, fakes, judge)
        return ops.mean(ops.sigmoid_cross_entropy(fake, ops.ones_like(fake))), nn.LossOutput(after, {})

    def predict(self, params: Tree, state: Tree, inputs: Array) -> Array:
        """Images (batch, size, size, channels) in [0, 1] from noise (batch, noise)."""
        images, _ = self.generator.apply(params["generator"], state["generator"], inputs)
        return (images + 1) / 2

    def inference_inputs(self, inputs: np.ndarray) -> np.ndarray:
        """Noise (batch, noise): images are made from it, not from images."""
        return self.draw_inputs(len(inputs), 0)

    def draw_inputs(self, count: int, seed: int) -> np.ndarray:
        """Noise (count, noise)."""
        return np.random.default_rng(seed).standard_normal((count, self.config.noise)).astype(np.float32)

    def epoch_end(self, view: nn.TrainingView) -> nn.Report:
        """A grid of samples, and the Fréchet distance to held-out images where they have classes to learn from."""
        grid = self.config.grid
        images = view.call(self.predict, view.params, view.state, self.draw_inputs(grid * grid, 0))
        path = view.write(f"samples-{view.epoch:04d}.png", grid_png(images, grid))
        if "judge" not in view.auxiliary:
            return nn.Report(files=(path,))
        return nn.Report({"frechet_distance": self._distance(view)}, files=(path,))

    def _distance(self, view: nn.TrainingView) -> float:
        judge = view.auxiliary["judge"]
        model: Any = judge.model  # a CNN, see auxiliaries
        features = model.features
        held_out = view.split.validation.take(np.arange(len(view.split.validation)))["inputs"]
        rng = np.random.default_rng(view.seed)
        real, fake = [], []
        for start in range(0, len(held_out), _AT_ONCE):
            real.append(view.call(features, judge.params, judge.state, held_out[start : start + _AT_ONCE]))
        for _ in range(0, _SCORED, _AT_ONCE):
            noise = rng.standard_normal((_AT_ONCE, self.config.noise)).astype(np.float32)
            images = view.call(self.predict, view.params, view.state, noise)
            fake.append(view.call(features, judge.params, judge.state, images))
        return frechet_distance(np.concatenate(real), np.concatenate(fake))


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance between two sets of features (samples, features), each taken as a normal distribution.

    |mean_a - mean_b|² + trace(C_a + C_b - 2 (C_a C_b)^(1/2)), as in Heusel et al., arXiv 1706.08500. The trace of the
    root is the sum of the roots of the eigenvalues of C_a^(1/2) C_b C_a^(1/2), which is symmetric.
    """
    if min(len(a), len(b)) < 2:
        raise DataError(f"a Fréchet distance needs at least two samples of each kind, but got {len(a)} and {len(b)}")
    a, b = a.astype(np.float64), b.astype(np.float64)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ cov_b @ root), 0, None)).sum()
    apart = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return float(apart + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)
