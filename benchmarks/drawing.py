"""Networks drawn from a seed: what users bring, rather than what a library was tuned for."""

import random

from .flops import training_flops
from .models import MODELS, Conv, Dense, Flatten, Layer, Model, Pool, output_shape, perceptron, with_shapes

KINDS = ("conv", "dense")
CLASSES = 10
CONV_BATCH = 128
LEAST_SIDE = 3  # pixels of a map that a further layer gets
MOST_FLOPS = 500e6  # a sample, forward and backward: more than that, and one step takes seconds


def draw(kind: str, seed: int, number: int) -> Model:
    """The network of this number: of "conv" or "dense" layers."""
    rng = random.Random(f"{kind} {seed} {number}")
    while True:
        model = _draw_dense(rng) if kind == "dense" else _draw_conv(rng)
        if model is not None and training_flops(model) <= MOST_FLOPS:
            return model


def _draw_dense(rng: random.Random) -> Model:
    """4–784 inputs, one to three hidden layers of 8–512 units, batches of 1–256; each size is as likely as its double."""
    units = [_size(rng, 4, 784), *(_size(rng, 8, 512) for _ in range(rng.randint(1, 3))), CLASSES]
    return perceptron(*units, batch_size=rng.choice([2**power for power in range(9)]))


def _draw_conv(rng: random.Random) -> Model | None:
    """1–4 channels, 12–64 pixels, one to three convolutions; None where a map becomes too small for the next layer."""
    side = rng.randint(12, 64)
    shape = (side, side, rng.randint(1, 4))
    layers: list[Layer] = []
    after = shape
    for _ in range(rng.randint(1, 3)):
        window, strides = rng.choice([1, 3, 3, 5, 7]), rng.choice([1, 1, 1, 1, 2])
        parts: list[Layer] = [Conv(_size(rng, 4, 64), window, strides, rng.choice(["valid", "same"]))]
        if rng.random() < 0.6:
            parts.append(Pool(2))
        for part in parts:
            if min(after[:2]) < max(LEAST_SIDE, window if isinstance(part, Conv) else 2):
                return None
            after = output_shape(part, after)
        layers += parts
    if min(after[:2]) < 1:
        return None
    model = Model("", CONV_BATCH, (*layers, Flatten(), Dense(CLASSES, "softmax")), shape)
    return model._replace(title=title(model))


def _size(rng: random.Random, least: int, most: int) -> int:
    """A whole number, small ones as likely as large ones: evenly on a scale of powers."""
    return round(least * (most / least) ** rng.random())


def title(model: Model) -> str:
    """A convolutional network in one line: 24×24×4: 4/7/1/same, pool, 12/3/1/valid (filters/window/strides/padding)."""
    words = []
    for layer, _, _ in with_shapes(model):
        match layer:
            case Conv(filters, window, strides, padding):
                words.append(f"{filters}/{window}/{strides}/{padding}")
            case Pool():
                words.append("pool")
    return f"{'×'.join(map(str, model.shape))}: {', '.join(words)}"


def name_of(kind: str, seed: int, number: int) -> str:
    """The name by which ``model_named`` finds a drawn network."""
    return f"{kind}-{seed}-{number}"


def model_named(name: str) -> Model:
    """One of MODELS, or a drawn network."""
    if name in MODELS:
        return MODELS[name]
    kind, seed, number = name.rsplit("-", 2)
    return draw(kind, int(seed), int(number))
