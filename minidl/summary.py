"""The summary of a model: a table of its layers, their output shapes and their numbers of parameters."""

import io
from collections.abc import Callable, Iterator

import numpy as np

from . import ranks
from .contracts import DType
from .layers import Stack
from .layers.inside import memory, state_of
from .utils import html
from .utils.terminal import printable


def show(model: Stack, print_fn: Callable[[str], object] | None = None) -> None:
    """Print the table, or call print_fn with each of its lines. The model must be built."""
    from rich.console import Console
    from rich.table import Table

    head, *rows = _rows(model)
    table = Table(*head[:2], title=printable(_title(model)), title_justify="left")
    table.add_column(head[2], justify="right")
    for row in rows:
        table.add_row(*map(printable, row))
    lines = None if print_fn is None else io.StringIO()
    quiet = print_fn is None and ranks.group.rank > 0
    console = Console(highlight=False, markup=False, emoji=False, file=lines, quiet=quiet)
    console.print(table)
    for line in _totals(model):
        console.print(f" {line}")
    if lines is not None and print_fn is not None:
        for line in lines.getvalue().splitlines():
            print_fn(line)


def as_html(model: Stack) -> str:
    """The table for a notebook. The model must be built."""
    return html.table(_title(model), _rows(model), _totals(model))


def _title(model: Stack) -> str:
    return f'Model: "{model.name}"'


def _rows(model: Stack) -> Iterator[list[str]]:
    """The header, and a row for each layer."""
    yield ["Layer (type)", "Output Shape", "Param #"]
    for layer in model.layers:
        held = layer.weights if isinstance(layer, Stack) else {**layer.params, **state_of(layer)}
        shape = ", ".join(map(str, ("None", *(layer.output_shape or ()))))
        count = sum(value.size for value in held.values())
        yield [f"{layer.name} ({type(layer).__name__})", f"({shape})", f"{count:,}"]


def _totals(model: Stack) -> list[str]:
    frozen = model.frozen()
    fixed = {memory(value) for _, layer in model.leaves() if id(layer) in frozen for value in layer.params.values()}
    params = sum(value.size for value in model.params.values())
    trained = sum(value.size for value in model.params.values() if memory(value) not in fixed)
    total = params + sum(value.size for value in model.state.values())
    dtype = getattr(model, "dtype", np.dtype(np.float32))
    return [
        f"Total params: {_text(total, dtype)}",
        f"Trainable params: {_text(trained, dtype)}",
        f"Non-trainable params: {_text(total - trained, dtype)}",
    ]


def _text(count: int, dtype: DType) -> str:
    size = float(count * dtype.itemsize)
    for unit in ("B", "KB", "MB"):
        if size < 1024 or unit == "MB":
            break
        size /= 1024
    return f"{count:,} ({size:.2f} {unit})"
