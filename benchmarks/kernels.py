"""Each operation of minidl.ops alone, the reference against the kernel; the engine's convolutions over a grid of shapes, in which
a hole would show; and the ladder from plain loops to the engine.

    python -m benchmarks.kernels

All in one thread, on a shard of 100 images; the grid on 32.
"""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from threadpoolctl import threadpool_limits

from minidl.contracts import Array
from minidl.ops import kernels, reference
from minidl.ops.kernels import direct
from minidl.ops.random import RandomKey

from . import ladder
from .limits import matmul_rate
from .results import Part, Results, main, parser
from .tables import Table, number
from .timing import median_seconds

SHARD = 100  # images
PEAK_SIZES = (512, 1024)  # of the matrix product that the operations are compared with


class Case(NamedTuple):
    """An operation at a shape of our models.

    flops: of its multiply-adds, or None where the time goes into memory; then the rate is that of the bytes of the arrays that
    it reads and returns.
    """

    operation: str
    shape: str
    arguments: tuple[Any, ...]
    flops: int | None = None


def cases() -> list[Case]:
    """Everything that is measured, with random numbers."""
    rng = np.random.default_rng(1)

    def numbers(*shape: int) -> Array:
        return rng.normal(size=shape).astype(np.float32)

    found: list[Case] = []
    for size, channels, filters, window in ((28, 1, 32, 5), (12, 30, 15, 3), (13, 32, 64, 3)):
        out = size - window + 1
        x, kernel, dy = (
            numbers(SHARD, size, size, channels),
            numbers(window, window, channels, filters),
            numbers(SHARD, out, out, filters),
        )
        text, flops = (
            f"{size}×{size}×{channels}, {window}×{window}, {filters} filters",
            2 * dy[..., 0].size * kernel.size,
        )
        found.append(Case("conv2d_forward", text, (x, kernel, numbers(filters), (1, 1), "valid"), flops))
        found.append(Case("conv2d_backward", text, (dy, x, kernel, (1, 1), "valid"), 2 * flops))
    for inputs, units in ((4608, 128), (784, 784)):
        x, kernel, dy = numbers(SHARD, inputs), numbers(inputs, units), numbers(SHARD, units)
        flops = 2 * SHARD * kernel.size
        found.append(Case("dense_forward", f"{inputs} → {units}", (x, kernel, numbers(units)), flops))
        found.append(Case("dense_backward", f"{inputs} → {units}", (dy, x, kernel), 2 * flops))
    image = numbers(SHARD, 24, 24, 32)
    y, index = reference.max_pool2d_forward(image, (2, 2), (2, 2), "valid")
    found.append(Case("max_pool2d_forward", "24×24×32, 2×2", (image, (2, 2), (2, 2), "valid")))
    found.append(Case("max_pool2d_backward", "24×24×32, 2×2", (y, index, image.shape, (2, 2), (2, 2), "valid")))
    for name in ("relu", "leaky_relu", "sigmoid", "tanh"):
        found.append(Case(f"{name}_forward", "784", (numbers(SHARD, 784),)))
        found.append(Case(f"{name}_backward", "784", (numbers(SHARD, 784), numbers(SHARD, 784))))
    found.append(Case("softmax_forward", "10", (numbers(SHARD, 10),)))
    found.append(Case("softmax_backward", "10", (numbers(SHARD, 10), reference.softmax_forward(numbers(SHARD, 10)))))
    found.append(Case("dropout", "4608", (numbers(SHARD, 4608), 0.2, RandomKey(1, 0))))

    def zeros(count: int) -> list[Array]:
        return [np.zeros((4608, 128), np.float32) for _ in range(count)]

    gradient = numbers(4608, 128)
    found.append(Case("sgd_update", "4608 × 128", (*zeros(1), gradient, 0.01)))
    found.append(Case("momentum_update", "4608 × 128", (*zeros(1), gradient, *zeros(1), 0.01, 0.9, True)))
    found.append(Case("rmsprop_update", "4608 × 128", (*zeros(1), gradient, *zeros(1), 0.001, 0.9, 1e-7)))
    found.append(Case("adam_update", "4608 × 128", (*zeros(1), gradient, *zeros(2), 0.001, 0.9, 0.999, 1e-7)))
    return found


GRID_IMAGES = 32
GRID_CHANNELS, GRID_FILTERS = (1, 3, 8, 32, 64), (4, 6, 8, 16, 20, 32, 64)
GRID_WINDOWS = ((1, 1, "valid", 16), (3, 1, "same", 16), (3, 2, "same", 28), (5, 1, "valid", 28), (7, 1, "same", 12))


def grid(quick: bool) -> Iterator[tuple[int, int, tuple[int, int, str, int]]]:
    """(channels, filters, (window, stride, padding, image size)) of every convolution that is measured."""
    step = 3 if quick else 1
    return itertools.product(GRID_CHANNELS[::step], GRID_FILTERS[::step], GRID_WINDOWS[::step])


def grid_record(channels: int, filters: int, shape: tuple[int, int, str, int], budget: float) -> dict[str, Any]:
    """Floating-point operations a second of the engine's convolution forward, of both gradients, and behind a pool.

    The dense count, although behind a pool three of four products would be with zero.
    """
    window, stride, padding, size = shape
    rng = np.random.default_rng(1)
    x = rng.normal(size=(GRID_IMAGES, size, size, channels)).astype(np.float32)
    kernel = rng.normal(size=(window, window, channels, filters)).astype(np.float32)
    options = (kernel, (stride, stride), padding)
    bias = np.zeros(filters, np.float32)
    y = direct.forward(x, kernel, bias, (stride, stride), padding, True)
    pooled, index = direct.forward_pooled(x, kernel, bias, (stride, stride), padding, True)
    times = {
        "forward": lambda: direct.forward(x, kernel, bias, (stride, stride), padding, True),
        "dkernel": lambda: direct.backward(y, x, *options, False),
        "both": lambda: direct.backward(y, x, *options, True),
        "forward, pool": lambda: direct.forward_pooled(x, kernel, bias, (stride, stride), padding, True),
        "dkernel, pool": lambda: direct.backward_pooled(pooled, index, x, *options, False),
        "both, pool": lambda: direct.backward_pooled(pooled, index, x, *options, True),
    }
    seconds = {name: median_seconds(work, budget) for name, work in times.items()}
    flops = 2 * y.size * window * window * channels
    return {
        "shape": f"{size}×{size}×{channels}, {filters}/{window}/{stride}/{padding}",
        "forward": flops / seconds["forward"],
        "dkernel": flops / seconds["dkernel"],
        "dx": flops / max(seconds["both"] - seconds["dkernel"], 1e-9),
        "forward, pool": flops / seconds["forward, pool"],
        "both, pool": 2 * flops / seconds["both, pool"],
    }


def moved(case: Case) -> int:
    """The bytes of the arrays that go in and come out: what has to be moved at least."""
    results = getattr(reference, case.operation)(*case.arguments)
    if results is None:  # an update writes to all of its arrays but the gradient
        results = tuple(value for position, value in enumerate(case.arguments) if position != 1)
    elif not isinstance(results, tuple):
        results = (results,)
    return sum(value.nbytes for value in (*case.arguments, *results) if isinstance(value, np.ndarray))


def measure(results: Results, settings: dict[str, Any], console: Console) -> None:
    """Fill the part "kernels": the operations as records, the ladders and the peak (FLOP/s of one thread) beside them."""
    results.begin("kernels", settings)
    part, budget = results.parts["kernels"], 0.05 if settings["quick"] else 0.5
    with threadpool_limits(1):
        part["peak"] = max(matmul_rate(size, 1, 3) for size in PEAK_SIZES)
        for case in cases():
            record: dict[str, Any] = {"operation": case.operation, "shape": case.shape, "flops": case.flops}
            record["bytes"] = moved(case)
            for name, operations in (("reference", reference), ("kernel", kernels)):
                operation = getattr(operations, case.operation)
                record[name] = median_seconds(lambda case=case, operation=operation: operation(*case.arguments), budget)
            record["same"] = getattr(kernels, case.operation) is getattr(reference, case.operation)
            results.add("kernels", record)
            console.print(f"{case.operation} {case.shape}: {number(1e6 * record['kernel'])} µs")
        part["grid"] = [grid_record(*point, budget / 10) for point in grid(settings["quick"])]
        part["ladders"] = [{"title": shape.title, "rungs": ladder.measure(shape)} for shape in ladder.CONVOLUTIONS]
    results.save()


def kernel_table(part: dict[str, Any]) -> Table:
    """Every operation."""
    rows = []
    for r in part["records"]:
        seconds = r["kernel"]
        rate = (
            f"{number(r['flops'] / seconds / 1e9)} GFLOP/s"
            if r["flops"]
            else f"{number(r['bytes'] / seconds / 1e9)} GB/s"
        )
        share = number(100 * r["flops"] / seconds / part["peak"]) if r["flops"] else "–"
        ratio = "the same" if r["same"] else number(r["reference"] / seconds)
        rows.append(
            (f"{r['operation']} {r['shape']}", number(1e6 * r["reference"]), number(1e6 * seconds), ratio, rate, share)
        )
    header = (
        "operation",
        "reference, µs",
        "kernel, µs",
        "reference ÷ kernel",
        "the kernel's rate",
        "% of the matmul peak",
    )
    notes = (
        f"The matmul peak of one thread in the same run: {number(part['peak'] / 1e9)} GFLOP/s. "
        '"The same": NumPy\'s code is already one pass, and the reference is the kernel.',
    )
    return Table(f"Operations, one thread, {SHARD} images", header, rows, notes)


def grid_table(part: dict[str, Any]) -> Table:
    """The engine's convolutions, in percent of the peak."""
    columns = ("forward", "dkernel", "dx", "forward, pool", "both, pool")
    rows = [(r["shape"], *(f"{100 * r[column] / part['peak']:.0f}" for column in columns)) for r in part["grid"]]
    header = ("H×W×C, filters/window/stride/padding", *columns)
    notes = (
        "In percent of the matmul peak, by the dense count. More than 100 are possible: behind a pool only one product of four "
        "is made, and windows of 3×3 with many channels take 16 products instead of 36.",
    )
    return Table(f"The engine's convolutions, one thread, {GRID_IMAGES} images", header, rows, notes)


def tables(parts: dict[str, Any]) -> list[Table]:
    """The operations, the grid, and the ladders."""
    part = parts["kernels"]
    return [
        kernel_table(part),
        *([grid_table(part)] if "grid" in part else []),
        *(ladder.ladder_table(record) for record in part.get("ladders", [])),
    ]


PART = Part("kernels", parser(__doc__), {}, measure, tables)

if __name__ == "__main__":
    main(PART)
