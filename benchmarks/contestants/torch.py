"""PyTorch, eager or compiled, with channels first, as it prefers them."""

import math

import numpy as np
import torch
from torch import nn

from ..models import (
    EVALUATION_BATCH,
    LEARNING_RATE,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Layer,
    Model,
    Pool,
    Rescaling,
    Shape,
    with_shapes,
)


class Scale(nn.Module):
    """Any numbers → floats, times a constant."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.float() * self.scale


def translate(layer: Layer, shape: Shape) -> list[nn.Module]:
    """The library's layers; shape: of a sample in front of it. The softmax is left to the loss, as in every PyTorch program."""
    match layer:
        case Rescaling(scale):
            return [Scale(scale)]
        case Conv(filters, window):
            return [nn.Conv2d(shape[2], filters, window), nn.ReLU()]
        case Pool(size):
            return [nn.MaxPool2d(size)]
        case Dropout(rate):
            return [nn.Dropout(rate)]
        case Flatten():
            return [nn.Flatten()]
        case Dense(units, activation):
            return [nn.Linear(math.prod(shape), units), *([nn.ReLU()] if activation == "relu" else [])]


class Trainer:
    """A torch.nn.Sequential; compiled: through torch.compile."""

    def __init__(self, model: Model, threads: int, seed: int, compiled: bool = False) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        modules = [module for layer, before, _ in with_shapes(model) for module in translate(layer, before)]
        self.model = nn.Sequential(*modules)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE)
        self.loss = nn.CrossEntropyLoss()
        self.run = torch.compile(self.model) if compiled else self.model

    def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Tensors in the memory of the arrays; with one channel, channels first is the same memory."""
        return torch.from_numpy(x.reshape(len(x), 1, *x.shape[1:3])), torch.from_numpy(y)

    def train(self, x: torch.Tensor, y: torch.Tensor, batch_size: int) -> None:
        """One epoch."""
        self.model.train()
        for batch in torch.randperm(len(x)).split(batch_size):
            self.optimizer.zero_grad()
            self.loss(self.run(x[batch]), y[batch]).backward()
            self.optimizer.step()

    def predict(self, x: torch.Tensor) -> np.ndarray:
        """Probabilities, (n, 10)."""
        self.model.eval()
        with torch.inference_mode():
            return torch.cat([self.run(batch).softmax(dim=1) for batch in x.split(EVALUATION_BATCH)]).numpy()
