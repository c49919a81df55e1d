"""A record of what passes through the layers of a network: values by layer, and a table of them."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .contracts import Array, Cache, Gradients, LayerLike, LossLike, Path
from .ops.random import RandomKey
from .utils import html
from .utils.terminal import printable

if TYPE_CHECKING:
    from .lab.explain import Explanation


@dataclass
class Run:
    """What was traced, so that it can be run once more: the layers in order, the loss, samples, labels, and how."""

    layers: list[LayerLike]
    loss: LossLike
    x: Array
    y: Array
    training: bool
    rng: RandomKey | None


@dataclass
class Record:
    """One layer's part in a forward and a backward pass.

    name: its address, "stack/layer" inside a stack. kind: its class. x, y (N, …): what went in and came out. cache: what
    forward kept for backward. dy, dx: ∂loss/∂y and ∂loss/∂x. gradients: ∂loss/∂parameter, by the parameter's name. layer: the
    layer itself. params, state: copies of its parameters and its state as they were.
    """

    name: str
    kind: str
    x: Array
    y: Array
    cache: Cache
    dy: Array
    dx: Array
    gradients: Gradients
    layer: LayerLike
    params: dict[str, Array]
    state: dict[str, Array]


@dataclass
class Trace:
    """A whole forward and backward pass. ``print(trace)`` shows it as a table; ``trace["conv2d"]`` is a layer's Record.

    loss: its value. y_pred (N, …): what the loss was given. dy (N, …): the loss's gradient with respect to it. layers: one Record
    per layer, in order; a stack comes before the layers inside it. gradients: ∂loss/∂parameter by address, "layer/parameter".
    run: what was traced. penalty, penalties: what the regularizers have added to the loss, and to the gradients by address. ties:
    the further addresses of tied parameters → the first one.
    """

    loss: float
    y_pred: Array
    dy: Array
    layers: list[Record]
    gradients: Gradients
    run: Run
    penalty: float = 0.0
    penalties: dict[str, Array] = field(default_factory=dict)
    ties: Mapping[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> Record:
        for record in self.layers:
            if record.name == name:
                return record
        raise KeyError(f"no layer {name!r} was traced. There are: {', '.join(record.name for record in self.layers)}.")

    def __iter__(self) -> Iterator[Record]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def explain(self, address: str, index: "int | tuple[int, ...]" = ()) -> "Explanation":
        """Where one number comes from: formula, terms, the slope by central differences, and the line of source.

        address: "conv2d:x", ":y", ":dy" or ":dx" of any layer, "conv2d/kernel" for ∂loss/∂kernel, "conv2d:kernel" for the kernel
        itself, "loss", or any address that another explanation names. index: one integer for each axis. Raises KeyError and
        IndexError where there is no such number.
        """
        from .lab.explain import explain

        return explain(self, address, index)

    def save(self, path: Path, *, title: str = "A network, forward and backward") -> None:
        """Write this trace as one HTML file that shows every number of it, and what each is made of; offline, in any browser.

        ``minidl.lab.save`` puts several traces into one file, with a slider. Raises OSError where it cannot be written; an
        existing file is then unchanged.
        """
        from .lab.page import save

        save(path, self, title=title)

    def __str__(self) -> str:
        from rich.console import Console
        from rich.table import Table

        table = Table(title=f"loss {self.loss:.6g}", title_justify="left")
        head, *rows = self._rows()
        for title in head:
            table.add_column(title, justify="left" if title in ("layer", "array") else "right", no_wrap=True)
        for row, following in zip(rows, [*rows[1:], [""]], strict=True):
            table.add_row(*map(printable, row), end_section=bool(following[0]))
        console = Console(width=100, highlight=False, no_color=True, markup=False, emoji=False)
        with console.capture() as capture:
            console.print(table)
        lines = [line.rstrip() for line in capture.get().splitlines()]
        return "\n".join([*lines, *self.notes])

    def _repr_html_(self) -> str:
        """The same table, for a notebook."""
        return html.table(f"loss {self.loss:.6g}", self._rows(), self.notes)

    def _rows(self) -> Iterator[list[str]]:
        """The header of the table, and its rows: of each layer y, dy and its own gradients, not those of the layers inside it."""
        yield ["layer", "array", "shape", "mean", "norm", "zeros"]
        for record in self.layers:
            own = {f"d{name}": value for name, value in record.gradients.items() if "/" not in name}
            for i, (name, array) in enumerate({"y": record.y, "dy": record.dy, **own}.items()):
                yield [f"{record.name} ({record.kind})" if i == 0 else "", name, *_described(array)]


def _described(array: Array) -> tuple[str, str, str, str]:
    """Shape, mean, Euclidean norm, and the share of entries that are 0."""
    if array.size == 0:
        return str(array.shape), "", "", ""
    values = array.astype(np.float64, copy=False)
    shape = "×".join(map(str, array.shape))
    with np.errstate(all="ignore"):
        return shape, f"{values.mean():.3g}", f"{np.linalg.norm(values):.3g}", f"{np.mean(array == 0):.0%}"


class Recorder:
    """Stands in for a layer: it passes every call on, and keeps what went in and came out.

    A layer that has ``layers`` is copied, and the copy gets recorders in their place, so that they are recorded as well;
    the model is not changed.
    """

    params: dict[str, Array]

    def __init__(self, layer: LayerLike, name: str) -> None:
        self._inner: list[Recorder] = []
        self._layer: Any = layer  # it may have more than a LayerLike
        self._original = layer
        self._kind = type(layer).__name__
        self._name = name
        self.name: str | None = name.rpartition("/")[2]
        inner = getattr(layer, "__dict__", {}).get("layers")
        if isinstance(inner, list | tuple) and all(hasattr(each, "backward") for each in inner):
            self._inner = [
                Recorder(each, f"{name}/{getattr(each, 'name', None) or f'layers[{place}]'}")
                for place, each in enumerate(inner)
            ]
            self._layer = copy.copy(layer)
            self._layer.layers = list(self._inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    def forward(self, x: Array, **how: Any) -> tuple[Array, Cache]:
        y, cache = self._layer.forward(x.copy(), **how)  # the user's layer may overwrite it, and its dy, as in training
        self._x, self._y, self._cache = x, y, cache
        self._params, self._state = (  # the layer's own: a stack's are those of the layers inside it, by address
            {name: value.copy() for name, value in (arrays or {}).items() if "/" not in name}
            for arrays in (self._layer.params, getattr(self._layer, "state", None))
        )
        return y, cache

    def backward(self, dy: Array, cache: Cache) -> tuple[Array, Gradients]:
        dx, gradients = self._layer.backward(dy.copy(), cache)
        self._dy, self._dx, self._gradients = dy, dx, gradients
        return dx, gradients

    def outputs(self) -> Iterator[tuple[str, Array]]:
        """(name, y) of every layer that was run forward, in that order: a stack after the layers inside it."""
        for recorder in self._inner:
            yield from recorder.outputs()
        if "_y" in vars(self):
            yield self._name, self._y

    def records(self) -> Iterator[Record]:
        """The records of this layer and of those inside it; none of those that were not run."""
        if "_gradients" in vars(self):
            yield Record(
                self._name,
                self._kind,
                self._x,
                self._y,
                self._cache,
                self._dy,
                self._dx,
                self._gradients,
                self._original,
                self._params,
                self._state,
            )
        for recorder in self._inner:
            yield from recorder.records()
