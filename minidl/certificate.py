"""The certificate: every gradient of the library checked, and every optimizer compared with its formula, in one table.

python -m minidl.certificate            print it
python -m minidl.certificate --write    and write docs/certificate.md
"""

import argparse
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import initializers, losses, optimizers, regularizers
from .cases import LAYERS, Case
from .checking import Report, gradcheck
from .contracts import Array
from .layers import Activation, Conv2D, Dense, Dropout, Flatten, MaxPooling2D, Residual, Stack
from .layers.activation import ACTIVATIONS
from .models import Sequential
from .ops import OPERATIONS


class Row(NamedTuple):
    """One line: what was checked, and what was found.

    cases: how many configurations were tried. proved: how many entries, directions, or parameters after a step were right. kinks:
    how many were at a kink, where no slope exists. worst: the largest relative error. passed: whether nothing was wrong.
    """

    kind: str
    name: str
    cases: int
    proved: int
    kinks: int
    worst: float
    passed: bool
    seconds: float


LOSSES: dict[str, Callable[[], Any]] = {
    "categorical_crossentropy": lambda: losses.CategoricalCrossentropy(),
    "categorical_crossentropy, from_logits": lambda: losses.CategoricalCrossentropy(from_logits=True),
    "sparse_categorical_crossentropy": lambda: losses.SparseCategoricalCrossentropy(),
    "sparse_categorical_crossentropy, from_logits": lambda: losses.SparseCategoricalCrossentropy(from_logits=True),
    "categorical_crossentropy, smoothed": lambda: losses.CategoricalCrossentropy(label_smoothing=0.1),
    "binary_crossentropy": lambda: losses.BinaryCrossentropy(label_smoothing=0.1),
    "binary_crossentropy, from_logits": lambda: losses.BinaryCrossentropy(from_logits=True),
    "mean_squared_error": lambda: losses.MeanSquaredError(),
    "mean_absolute_error": lambda: losses.MeanAbsoluteError(),
    "huber": lambda: losses.Huber(),
    "hinge": lambda: losses.Hinge(),
    "kl_divergence": lambda: losses.KLDivergence(),
}

MODELS: dict[str, Callable[[], list[Any]]] = {
    "MLP": lambda: [
        Flatten(input_shape=(28, 28, 1)),
        Dense(784, activation="relu"),
        Dense(10, activation="softmax"),
    ],
    "CNN": lambda: [
        Conv2D(32, 5, activation="relu", input_shape=(28, 28, 1)),
        MaxPooling2D(),
        Dropout(0.2),
        Flatten(),
        Dense(128, activation="relu"),
        Dense(10, activation="softmax"),
    ],
    "larger CNN": lambda: [
        Conv2D(30, 5, activation="relu", input_shape=(28, 28, 1)),
        MaxPooling2D(),
        Conv2D(15, 3, activation="relu"),
        MaxPooling2D(),
        Dropout(0.2),
        Flatten(),
        Dense(128, activation="relu"),
        Dense(50, activation="relu"),
        Dense(10, activation="softmax"),
    ],
    "MLP with penalties": lambda: [
        Flatten(input_shape=(28, 28, 1)),
        Dense(30, activation="gelu", kernel_regularizer=regularizers.L1L2(0.01, 0.02)),
        Dense(10, activation="softmax", kernel_regularizer="l2"),
    ],
    "residual CNN": lambda: [
        Conv2D(8, 3, strides=2, activation="relu", input_shape=(28, 28, 1)),
        Residual([Conv2D(8, 3, padding="same", activation="relu"), Dropout(0.2), Conv2D(8, 3, padding="same")]),
        Residual([Conv2D(6, 3, strides=2, activation="relu", padding="same")], projection=Conv2D(6, 1, strides=2)),
        Sequential([MaxPooling2D(), Flatten()]),
        Dense(10, activation="softmax"),
    ],
}


def layer_rows(seed: int = 0) -> Iterator[Row]:
    """Every layer, every entry of its input and parameters, with both sets of operations, in training and outside of it."""
    for name, cases in LAYERS.items():
        yield _row("layer", name, partial(_check_layers, cases.examples, seed))


def activation_rows(seed: int = 0) -> Iterator[Row]:
    """Every activation: random inputs, saturated ones, and a kink or tie on purpose."""
    for name in ACTIVATIONS:
        yield _row("activation", name, partial(_check_activation, name, seed))


def loss_rows(seed: int = 0) -> Iterator[Row]:
    """Every loss, for several classes and samples, with labels in the form that it expects."""
    for name, make in LOSSES.items():
        yield _row("loss", name, partial(_check_loss, make(), seed))


def optimizer_rows(seed: int = 0) -> Iterator[Row]:
    """Every optimizer with both sets of operations: 100 steps compared with its formula, one by one."""
    for name, (make, formula) in OPTIMIZERS.items():
        started = time.perf_counter()
        worst, proved = 0.0, 0
        for ops in OPERATIONS.values():
            error, count = _check_optimizer(make(), formula(), ops, seed)
            worst, proved = max(worst, error), proved + count
        yield Row("optimizer", name, len(OPERATIONS), proved, 0, worst, worst < 1e-9, time.perf_counter() - started)


def model_rows(seed: int = 0) -> Iterator[Row]:
    """The tutorial's three models, and one with residual blocks, dropout on: fused, unfused and in reference operations."""
    for name, make in MODELS.items():
        yield _row("model", name, partial(_check_model, make, seed))


def rows() -> Iterator[Row]:
    """The whole certificate, line by line."""
    for part in (layer_rows, activation_rows, loss_rows, optimizer_rows, model_rows):
        yield from part()


def _row(kind: str, name: str, check: Callable[[], list[Report]]) -> Row:
    started = time.perf_counter()
    reports = check()
    records = [record for report in reports for record in report.records]
    return Row(
        kind,
        name,
        len(reports),
        sum(record.proved for record in records),
        sum(record.kink for record in records),
        max((record.worst_relative for record in records), default=math.nan),
        all(report.passed for report in reports),
        time.perf_counter() - started,
    )


def _check_layers(cases: list[Case], seed: int) -> list[Report]:
    reports = []
    for number, (make, shape) in enumerate(cases):
        x = np.random.default_rng([seed, number]).normal(size=(3, *shape))
        for ops, training in itertools.product(OPERATIONS.values(), (True, False)):
            layer = make()
            layer.ops = ops
            for inner in [leaf for _, leaf in layer.leaves()] if isinstance(layer, Stack) else [layer]:
                if hasattr(inner, "bias_initializer"):
                    inner.bias_initializer = initializers.random_normal  # zeros would hide a missing bias
            reports.append(gradcheck(layer, x, seed=number, training=training))
    return reports


def _check_activation(name: str, seed: int) -> list[Report]:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(4, 6))
    mixed[0, :2] = 0.0  # the kink of the ReLUs
    mixed[1, :3] = mixed[1, 0]  # equal logits
    saturated = rng.choice([-30.0, 30.0], size=(2, 6)) + rng.normal(size=(2, 6))
    inputs = np.concatenate([mixed, saturated])  # in one array, because a saturated one alone leaves nothing to prove
    reports = []
    for ops in OPERATIONS.values():
        layer = Activation(name)
        layer.ops = ops
        reports.append(gradcheck(layer, inputs))
    return reports


def _check_loss(loss: Any, seed: int) -> list[Report]:
    reports = []
    for case, (samples, classes) in enumerate([(1, 2), (5, 10), (3, 4)]):
        rng = np.random.default_rng([seed, case])
        y_pred = rng.normal(size=(samples, classes)) * 3
        labels: Array = rng.integers(classes, size=samples)
        if isinstance(loss, losses.Hinge):
            labels = rng.integers(2, size=(samples, classes))
        elif isinstance(loss, losses.KLDivergence | losses.BinaryCrossentropy):
            labels = rng.dirichlet(np.ones(classes), samples)
        elif not hasattr(loss, "from_logits"):
            labels = rng.normal(size=(samples, classes))
        elif isinstance(loss, losses.CategoricalCrossentropy):
            labels = rng.dirichlet(np.ones(classes), samples) if case == 2 else np.eye(classes)[labels]
        if not getattr(loss, "from_logits", not isinstance(loss, losses.KLDivergence)):
            y_pred = np.exp(y_pred) / np.exp(y_pred).sum(axis=1, keepdims=True)
        reports.append(gradcheck(loss, labels, y_pred))
    return reports


def _check_model(make: Callable[[], list[Any]], seed: int) -> list[Report]:
    rng = np.random.default_rng(seed)
    x, y = rng.random((20, 28, 28, 1)), rng.integers(10, size=20)  # 20 samples make two shards
    reports = []
    variants: list[dict[str, Any]] = [{}, {"fuse": False}, {"ops": "reference"}]
    for settings in variants:
        model = Sequential(make(), seed=seed, dtype="float64", **settings)
        model.compile("adam", "sparse_categorical_crossentropy")
        reports.append(gradcheck(model, x, y, mode="direction", directions=4))
    return reports


# The optimizers' formulas once more, for a single number, as in the papers, to compare the optimizers with. Each is a function
# (parameter, gradient, t) → parameter that keeps its own state; t = 1 at the first step.

Formula = Callable[[float, float, int], float]


def _sgd(rate: float = 0.01) -> Formula:
    return lambda param, grad, t: param - rate * grad


def _momentum(rate: float, momentum: float, nesterov: bool) -> Formula:
    velocity = 0.0

    def step(param: float, grad: float, t: int) -> float:
        nonlocal velocity
        velocity = momentum * velocity - rate * grad
        return param + (momentum * velocity - rate * grad if nesterov else velocity)

    return step


def _rmsprop(rate: float = 0.001, rho: float = 0.9, epsilon: float = 1e-7) -> Formula:
    mean_square = 0.0

    def step(param: float, grad: float, t: int) -> float:
        nonlocal mean_square
        mean_square = rho * mean_square + (1 - rho) * grad**2
        return param - rate * grad / math.sqrt(mean_square + epsilon)

    return step


def _adam(
    rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7, decay: float = 0.0
) -> Formula:
    first = second = 0.0

    def step(param: float, grad: float, t: int) -> float:
        nonlocal first, second
        param -= rate * decay * param
        first = beta_1 * first + (1 - beta_1) * grad
        second = beta_2 * second + (1 - beta_2) * grad**2
        # "ε hat" of the paper's last remark in section 2: added before √v is corrected
        return param - rate * math.sqrt(1 - beta_2**t) / (1 - beta_1**t) * first / (math.sqrt(second) + epsilon)

    return step


def _adagrad(rate: float = 0.001, start: float = 0.1, epsilon: float = 1e-7) -> Formula:
    total = start

    def step(param: float, grad: float, t: int) -> float:
        nonlocal total
        total += grad**2
        return param - rate * grad / math.sqrt(total + epsilon)

    return step


def _adadelta(rate: float = 0.001, rho: float = 0.95, epsilon: float = 1e-7) -> Formula:
    of_grads = of_steps = 0.0

    def step(param: float, grad: float, t: int) -> float:
        nonlocal of_grads, of_steps
        of_grads = rho * of_grads + (1 - rho) * grad**2
        change = math.sqrt(of_steps + epsilon) / math.sqrt(of_grads + epsilon) * grad
        of_steps = rho * of_steps + (1 - rho) * change**2
        return param - rate * change

    return step


def _adamax(rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7) -> Formula:
    first = largest = 0.0

    def step(param: float, grad: float, t: int) -> float:
        nonlocal first, largest
        first = beta_1 * first + (1 - beta_1) * grad
        largest = max(beta_2 * largest, abs(grad))
        return param - rate / (1 - beta_1**t) * first / (largest + epsilon)

    return step


def _nadam(rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7) -> Formula:
    first = second = 0.0

    def momentum(t: int) -> float:
        return beta_1 * (1 - 0.5 * 0.96**t)

    def step(param: float, grad: float, t: int) -> float:
        nonlocal first, second
        first = beta_1 * first + (1 - beta_1) * grad
        second = beta_2 * second + (1 - beta_2) * grad**2
        before, after = (math.prod(momentum(i) for i in range(1, last + 1)) for last in (t, t + 1))
        ahead = momentum(t + 1) * first / (1 - after) + (1 - momentum(t)) * grad / (1 - before)
        return param - rate * ahead / (math.sqrt(second / (1 - beta_2**t)) + epsilon)

    return step


OPTIMIZERS: dict[str, tuple[Callable[[], optimizers.Optimizer], Callable[[], Formula]]] = {
    "SGD": (lambda: optimizers.SGD(), lambda: _sgd()),
    "SGD, momentum": (lambda: optimizers.SGD(0.1, momentum=0.9), lambda: _momentum(0.1, 0.9, False)),
    "SGD, Nesterov": (lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True), lambda: _momentum(0.1, 0.9, True)),
    "RMSprop": (lambda: optimizers.RMSprop(), lambda: _rmsprop()),
    "Adam": (lambda: optimizers.Adam(), lambda: _adam()),
    "Adam, weight decay": (lambda: optimizers.Adam(0.01, weight_decay=0.1), lambda: _adam(0.01, decay=0.1)),
    "AdamW": (lambda: optimizers.AdamW(), lambda: _adam(decay=0.004)),
    "Adagrad": (lambda: optimizers.Adagrad(), lambda: _adagrad()),
    "Adadelta": (lambda: optimizers.Adadelta(1.0), lambda: _adadelta(1.0)),
    "Adamax": (lambda: optimizers.Adamax(), lambda: _adamax()),
    "Nadam": (lambda: optimizers.Nadam(), lambda: _nadam()),
}


def _check_optimizer(optimizer: optimizers.Optimizer, formula: Formula, ops: Any, seed: int) -> tuple[float, int]:
    """(the largest relative difference over 100 steps, how many numbers were compared)."""
    rng = np.random.default_rng(seed)
    param, worst = rng.normal(size=1), 0.0
    expected = float(param[0])
    for t in range(1, 101):
        grad = rng.normal(size=1) * 10.0 ** rng.integers(-8, 3)  # small ones reveal where ε is added
        expected = formula(expected, float(grad[0]), t)
        optimizer.build({"w": param})
        optimizer.update(param, grad, optimizer.slots["w"], optimizer.prepare({"w": grad}), ops)
        worst = max(worst, abs(float(param[0]) - expected) / max(abs(expected), 1e-12))
    return worst, 100


# ------------------------------------------------------------------------------------------------------------ the output

HEAD = ("kind", "name", "cases", "proved", "kinks", "worst relative error", "verdict", "seconds")


def cells(row: Row) -> tuple[str, ...]:
    """The row as strings, in the order of HEAD."""
    verdict = "proved" if row.passed else "WRONG"
    return (
        row.kind,
        row.name,
        str(row.cases),
        f"{row.proved:,}",
        str(row.kinks),
        f"{row.worst:.1e}",
        verdict,
        f"{row.seconds:.2f}",
    )


def markdown(table: list[Row]) -> str:
    """The certificate as a page."""
    lines = [
        "# Certificate",
        "",
        "Written by `python -m minidl.certificate --write`. Every gradient is compared with central differences in float64,",
        "with both sets of operations; every optimizer with its formula, step by step. A kink is a place where a function",
        "has no slope, like ReLU at 0: it is neither proved nor wrong.",
        "",
        "| " + " | ".join(HEAD) + " |",
        "|" + "---|" * len(HEAD),
        *("| " + " | ".join(cells(row)) + " |" for row in table),
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Print the table; the exit status is 0 if everything was proved."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(prog="python -m minidl.certificate", description="Check every gradient of minidl.")
    parser.add_argument("--write", nargs="?", const="docs/certificate.md", metavar="PATH", help="write the page, too")
    options = parser.parse_args()
    table, found = Table(*HEAD), []
    for row in rows():
        found.append(row)
        table.add_row(*cells(row))
        if sys.stderr.isatty():
            print(f"\r\033[K{len(found)} checked, last: {row.name}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if options.write:
        Path(options.write).write_text(markdown(found), encoding="utf-8")
    return 0 if all(row.passed for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
