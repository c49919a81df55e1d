"""Plain NumPy, as one writes it in twenty lines after a lecture: dense layers, their gradients by hand, and Adam."""

import numpy as np

from ..models import LEARNING_RATE, Dense, Flatten, Model, Unsupported, with_shapes


class Trainer:
    """A kernel and a bias for each layer, and Adam's two averages of each. Its only threads are those of NumPy's BLAS."""

    def __init__(self, model: Model, threads: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.rng, self.t = rng, 0
        self.params: list[np.ndarray] = []
        for layer, before, _ in with_shapes(model):
            match layer:
                case Dense(units):
                    limit = np.sqrt(6 / (before[0] + units))
                    self.params.append(rng.uniform(-limit, limit, (before[0], units)).astype(np.float32))
                    self.params.append(np.zeros(units, np.float32))
                case Flatten():
                    pass
                case _:
                    raise Unsupported(f"the twenty lines of NumPy have dense layers alone, received {layer}.")
        self.m = [np.zeros_like(p) for p in self.params]
        self.v = [np.zeros_like(p) for p in self.params]

    def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Samples as rows."""
        return x.reshape(len(x), -1), y

    def forward(self, x: np.ndarray) -> list[np.ndarray]:
        """The input of each layer, and the probabilities."""
        values = [x]
        for kernel, bias in zip(self.params[:-2:2], self.params[1:-2:2], strict=True):
            values.append(np.maximum(values[-1] @ kernel + bias, 0))
        scores = values[-1] @ self.params[-2] + self.params[-1]
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        return [*values, p / p.sum(axis=1, keepdims=True)]

    def step(self, x: np.ndarray, y: np.ndarray) -> None:
        """One batch: forward, backward, and a step of Adam."""
        *values, dz = self.forward(x)
        dz[np.arange(len(y)), y] -= 1
        dz /= len(y)
        grads: list[np.ndarray] = []
        for i in reversed(range(len(values))):
            grads = [values[i].T @ dz, dz.sum(axis=0), *grads]
            if i:
                dz = (dz @ self.params[2 * i].T) * (values[i] > 0)
        self.t += 1
        rate = LEARNING_RATE * np.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
        for p, g, m, v in zip(self.params, grads, self.m, self.v, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            p -= np.float32(rate) * m / (np.sqrt(v) + 1e-7)

    def train(self, x: np.ndarray, y: np.ndarray, batch_size: int) -> None:
        """One epoch."""
        order = self.rng.permutation(len(x))
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            self.step(x[rows], y[rows])

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probabilities, (n, classes)."""
        return self.forward(x)[-1]
