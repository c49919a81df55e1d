"""What the regularizers of the trained layers add to a batch's loss and gradient: once, whatever the number of shards."""

from collections.abc import Mapping

from ..contracts import Array, Gradients, StackLike


class Penalties:
    """The penalties of a stack: a layer's parameter ``kernel`` has the penalty ``kernel_regularizer``, and so on.

    As in Keras, those of frozen layers, which training could not make smaller, are left out.
    """

    def __init__(self, stack: StackLike) -> None:
        self.stack = stack
        self.found = [
            (layer, f"{address}/{name}", name, regularizer)
            for address, layer in stack.leaves()
            for name in layer.params
            if (regularizer := getattr(layer, f"{name}_regularizer", None)) is not None
        ]

    def value(self) -> float:
        """Their sum."""
        frozen = self.stack.frozen() if self.found else ()
        found = (penalty(layer.params[name]) for layer, _, name, penalty in self.found if id(layer) not in frozen)
        return float(sum(found))

    def add_gradients(self, gradients: Gradients, ties: Mapping[str, str]) -> None:
        """Add their gradients, in place. gradients: by address. ties: the further addresses of a parameter → its first one."""
        if not self.found:
            return
        frozen = self.stack.frozen()
        for layer, address, name, penalty in self.found:
            if id(layer) not in frozen:
                target: Array = gradients[ties.get(address, address)]
                target += penalty.gradient(layer.params[name])
