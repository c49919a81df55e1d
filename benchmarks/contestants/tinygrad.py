"""tinygrad on the CPU: its tensors, and one step that TinyJit records. It needs the compiler clang."""

import math
from collections.abc import Callable

import numpy as np
from tinygrad import Context, Tensor, TinyJit, nn

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


def translate(layer: Layer, shape: Shape) -> list[Callable[[Tensor], Tensor]]:
    """The library's layers and functions; shape: of a sample in front of it. Channels come first."""
    match layer:
        case Rescaling(scale):
            return [lambda x: x.float() * scale]
        case Conv(filters, window, strides, padding):
            zeros = [same_padding(size, window, strides) if padding == "same" else (0, 0) for size in shape[:2]]
            (top, bottom), (left, right) = zeros
            convolution = nn.Conv2d(shape[2], filters, window, strides, padding=(left, right, top, bottom))
            return [convolution, Tensor.relu]
        case Pool(size):
            return [lambda x: x.max_pool2d((size, size))]
        case Norm():
            raise Unsupported("tinygrad's adapter has no batch normalization.")
        case Dropout(rate):
            return [lambda x: x.dropout(rate)]
        case Flatten():
            return [lambda x: x.flatten(1)]
        case Dense(units, activation):
            return [nn.Linear(math.prod(shape), units), *([Tensor.relu] if activation == "relu" else [])]


class Trainer:
    """A list of layers, as tinygrad's own examples have it, and a recorded step for each size of a batch."""

    def __init__(self, model: Model, threads: int, seed: int) -> None:
        Tensor.manual_seed(seed)
        self.rng = np.random.default_rng(seed)
        self.layers = [part for layer, before, _ in with_shapes(model) for part in translate(layer, before)]
        self.optimizer = nn.optim.Adam(nn.state.get_parameters(self.layers), lr=LEARNING_RATE)
        self.steps: dict[int, TinyJit] = {}

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """One batch: forward, backward, and a step of Adam."""
        self.optimizer.zero_grad()
        loss = x.sequential(self.layers).sparse_categorical_crossentropy(y).backward()
        return loss.realize(*self.optimizer.schedule_step())

    def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Arrays, images with the channels first."""
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x, y.astype(np.int32)

    def train(self, x: np.ndarray, y: np.ndarray, batch_size: int) -> None:
        """One epoch."""
        order = self.rng.permutation(len(x))
        with Context(TRAINING=1):
            for start in range(0, len(x), batch_size):
                rows = order[start : start + batch_size]
                step = self.steps.setdefault(len(rows), TinyJit(self.step))
                loss = step(Tensor(x[rows]).realize(), Tensor(y[rows]).realize())
            loss.item()

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probabilities, (n, classes)."""
        starts = range(0, len(x), EVALUATION_BATCH)
        parts = [Tensor(x[i : i + EVALUATION_BATCH]).sequential(self.layers).softmax(axis=1).numpy() for i in starts]
        return np.concatenate(parts)
