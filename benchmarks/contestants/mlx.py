"""MLX on the CPU: its modules, and one compiled step."""

import math
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn, optimizers

from ..models import (
    EVALUATION_BATCH,
    LEARNING_RATE,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Layer,
    Model,
    Norm,
    Pool,
    Rescaling,
    Shape,
    Unsupported,
    same_padding,
    with_shapes,
)


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def __call__(self, x: mx.array) -> mx.array:
        return self.function(x)


def translate(layer: Layer, shape: Shape) -> list[nn.Module]:
    """The library's layers; shape: of a sample in front of it."""
    match layer:
        case Rescaling(scale):
            return [Call(lambda x: x.astype(mx.float32) * scale)]
        case Conv(filters, window, strides, padding):
            zeros = [same_padding(size, window, strides) if padding == "same" else (0, 0) for size in shape[:2]]
            convolution = nn.Conv2d(shape[2], filters, window, strides)
            if zeros == [(0, 0), (0, 0)]:
                return [convolution, nn.ReLU()]
            return [Call(lambda x: mx.pad(x, [(0, 0), *zeros, (0, 0)])), convolution, nn.ReLU()]
        case Pool(size):
            return [nn.MaxPool2d(size, size)]
        case Norm():
            raise Unsupported("MLX's adapter has no batch normalization.")
        case Dropout(rate):
            return [nn.Dropout(rate)]
        case Flatten():
            return [Call(lambda x: mx.flatten(x, 1))]
        case Dense(units, activation):
            return [nn.Linear(math.prod(shape), units), *([nn.ReLU()] if activation == "relu" else [])]


class Trainer:
    """An mlx.nn.Sequential and a compiled step. MLX has as many threads as it likes, on the cores that its process may use."""

    def __init__(self, model: Model, threads: int, seed: int) -> None:
        mx.set_default_device(mx.cpu)
        mx.random.seed(seed)
        self.rng = np.random.default_rng(seed)
        modules = [module for layer, before, _ in with_shapes(model) for module in translate(layer, before)]
        self.model = nn.Sequential(*modules)
        self.optimizer = optimizers.Adam(LEARNING_RATE)
        self.optimizer.init(self.model.trainable_parameters())
        self.state = [self.model.state, self.optimizer.state, mx.random.state]
        gradients = nn.value_and_grad(
            self.model, lambda x, y: nn.losses.cross_entropy(self.model(x), y, reduction="mean")
        )

        def step(x: mx.array, y: mx.array) -> mx.array:
            value, grads = gradients(x, y)
            self.optimizer.update(self.model, grads)
            return value

        self.step = mx.compile(step, inputs=self.state, outputs=self.state)

    def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """NumPy's arrays as they are."""
        return x, y

    def train(self, x: np.ndarray, y: np.ndarray, batch_size: int) -> None:
        """One epoch."""
        self.model.train()
        order = self.rng.permutation(len(x))
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            value = self.step(mx.array(x[rows]), mx.array(y[rows]))
            mx.eval(self.state, value)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probabilities, (n, classes)."""
        self.model.eval()
        starts = range(0, len(x), EVALUATION_BATCH)
        parts = [mx.softmax(self.model(mx.array(x[i : i + EVALUATION_BATCH])), axis=1) for i in starts]
        return np.concatenate([np.array(part) for part in parts])
