"""The summary of a model: a table of its layers, their output shapes and their numbers of parameters."""

import io
from collections.abc import Callable

import numpy as np

from .contracts import DType
from .layers import Stack
from .layers.inside import memory, state_of
from .utils.terminal import printable


def show(model: Stack, print_fn: Callable[[str], object] | None = None) -> None:
    """Print the table, or call print_fn with each of its lines. The model must be built."""
    from rich.console import Console
    from rich.table import Table

    title = printable(f'Model: "{model.name}"')
    table = Table("Layer (type)", "Output Shape", title=title, title_justify="left")
    table.add_column("Param #", justify="right")
    for layer in model.layers:
        held = layer.weights if isinstance(layer, Stack) else {**layer.params, **state_of(layer)}
        shape = ", ".join(map(str, ("None", *(layer.output_shape or ()))))
        name = printable(f"{layer.name} ({type(layer).__name__})")
        table.add_row(name, f"({shape})", f"{sum(value.size for value in held.values()):,}")
    frozen = model.frozen()
    fixed = {memory(value) for _, layer in model.leaves() if id(layer) in frozen for value in layer.params.values()}
    params = sum(value.size for value in model.params.values())
    trained = sum(value.size for value in model.params.values() if memory(value) not in fixed)
    total = params + sum(value.size for value in model.state.values())
    dtype = getattr(model, "dtype", np.dtype(np.float32))
    lines = None if print_fn is None else io.StringIO()
    console = Console(highlight=False, markup=False, emoji=False, file=lines)
    console.print(table)
    console.print(f" Total params: {_text(total, dtype)}")
    console.print(f" Trainable params: {_text(trained, dtype)}")
    console.print(f" Non-trainable params: {_text(total - trained, dtype)}")
    if lines is not None and print_fn is not None:
        for line in lines.getvalue().splitlines():
            print_fn(line)


def _text(count: int, dtype: DType) -> str:
    size = float(count * dtype.itemsize)
    for unit in ("B", "KB", "MB"):
        if size < 1024 or unit == "MB":
            break
        size /= 1024
    return f"{count:,} ({size:.2f} {unit})"
