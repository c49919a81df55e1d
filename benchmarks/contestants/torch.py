"""PyTorch: eager, with the channels last in memory, or with forward, loss and backward compiled as one function.

Adam is the fused one everywhere: on a CPU it is never slower than the others.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

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


class Scale(nn.Module):
    """Any numbers → floats, times a constant."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.float() * self.scale


def convolution(layer: Conv, shape: Shape) -> list[nn.Module]:
    """A convolution and its ReLU. PyTorch's own "same" knows no strides, and pads the same number of zeros on both sides."""
    channels, zeros = shape[2], [(0, 0), (0, 0)]
    if layer.padding == "same":
        zeros = [same_padding(size, layer.window, layer.strides) for size in shape[:2]]
    (top, bottom), (left, right) = zeros
    if (top, left) == (bottom, right):
        return [nn.Conv2d(channels, layer.filters, layer.window, layer.strides, (top, left)), nn.ReLU()]
    pad = nn.ZeroPad2d((left, right, top, bottom))
    return [pad, nn.Conv2d(channels, layer.filters, layer.window, layer.strides), nn.ReLU()]


def translate(layer: Layer, shape: Shape) -> list[nn.Module]:
    """The library's layers; shape: of a sample in front of it. The softmax is left to the loss, as in every PyTorch program."""
    match layer:
        case Rescaling(scale):
            return [Scale(scale)]
        case Conv():
            return convolution(layer, shape)
        case Pool(size):
            return [nn.MaxPool2d(size)]
        case Norm():
            kind = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
            return [kind(shape[-1], eps=1e-3, momentum=0.01)]  # the share that is new, not the one that is kept
        case Dropout(rate):
            return [nn.Dropout(rate)]
        case Flatten():
            return [nn.Flatten()]
        case Dense(units, activation):
            return [nn.Linear(math.prod(shape), units), *([nn.ReLU()] if activation == "relu" else [])]


class Trainer:
    """A torch.nn.Sequential. channels_last: the order in memory. compiled: the gradients come from one compiled function."""

    def __init__(
        self, model: Model, threads: int, seed: int, channels_last: bool = False, compiled: bool = False
    ) -> None:
        if compiled and any(isinstance(layer, Norm) for layer in model.layers):
            raise Unsupported(
                "torch.func.grad, which the compiled step is made with, refuses batch normalization's averages."
            )
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        modules = [module for layer, before, _ in with_shapes(model) for module in translate(layer, before)]
        self.model = nn.Sequential(*modules)
        self.channels_last = channels_last and len(model.shape) == 3
        if self.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE, fused=True)
        self.loss = nn.CrossEntropyLoss()
        # For each batch size anew: the code for any size is slower, and PyTorch 2.13 fails to make it where there is a dropout.
        self.run = torch.compile(self.model, dynamic=False) if compiled else self.model
        self.compiled_gradients = torch.compile(torch.func.grad(self.loss_of), dynamic=False) if compiled else None

    def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Tensors, channels first (n, C, H, W) or, as the arrays are, channels last (n, H, W, C)."""
        tensor = torch.from_numpy(x)
        if tensor.ndim == 4 and not self.channels_last:
            tensor = tensor.permute(0, 3, 1, 2).contiguous()
        return tensor, torch.from_numpy(y)

    def images(self, batch: torch.Tensor) -> torch.Tensor:
        """As the model takes them: (n, C, H, W), in either order in memory."""
        return batch.permute(0, 3, 1, 2) if self.channels_last else batch

    def loss_of(self, parameters: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The loss as a function of the parameters, by name."""
        return self.loss(functional_call(self.model, parameters, (x,)), y)

    def backward(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Leave the gradient of a batch in every parameter's grad."""
        if self.compiled_gradients is None:
            self.optimizer.zero_grad()
            self.loss(self.model(x), y).backward()
            return
        parameters = dict(self.model.named_parameters())
        gradients = self.compiled_gradients({name: value.detach() for name, value in parameters.items()}, x, y)
        for name, parameter in parameters.items():
            parameter.grad = gradients[name]

    def train(self, x: torch.Tensor, y: torch.Tensor, batch_size: int) -> None:
        """One epoch."""
        self.model.train()
        for batch in torch.randperm(len(x)).split(batch_size):
            self.backward(self.images(x[batch]), y[batch])
            self.optimizer.step()

    def predict(self, x: torch.Tensor) -> np.ndarray:
        """Probabilities, (n, classes)."""
        self.model.eval()
        with torch.inference_mode():
            parts = [self.run(self.images(batch)).softmax(dim=1) for batch in x.split(EVALUATION_BATCH)]
            return torch.cat(parts).numpy()
