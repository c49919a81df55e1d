"""The arithmetic of a model, counted layer by layer: the dense count, as if every product had to be made.

Only the multiply-adds of convolutions and dense layers count, as two operations each: everything else is small beside them.
"""

import math
from typing import NamedTuple

from .models import Conv, Dense, Layer, Model, Shape, with_shapes


class Cost(NamedTuple):
    """Floating-point operations for one sample: of the forward pass, of the parameters' gradient and of the input's."""

    layer: str
    forward: int
    parameters: int
    inputs: int

    @property
    def total(self) -> int:
        """Of a training step."""
        return self.forward + self.parameters + self.inputs


def forward_flops(layer: Layer, before: Shape, after: Shape) -> int:
    """Of one sample: two for each weight and each place that it is used at."""
    match layer:
        case Conv(_, window, _, _):
            return 2 * math.prod(after) * window * window * before[2]
        case Dense():
            return 2 * math.prod(before) * math.prod(after)
    return 0


def costs(model: Model) -> list[Cost]:
    """Of every layer with parameters. The first of them needs no gradient of its input: that would be the data's."""
    result: list[Cost] = []
    for layer, before, after in with_shapes(model):
        flops = forward_flops(layer, before, after)
        if flops:
            shape = " × ".join(map(str, before))
            name = f"{type(layer).__name__} {shape} → {' × '.join(map(str, after))}"
            result.append(Cost(name, flops, flops, flops if result else 0))
    return result


def training_flops(model: Model) -> int:
    """Of one sample, forward and backward."""
    return sum(cost.total for cost in costs(model))
