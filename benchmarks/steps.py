"""What each idea of the engine gains: the same epoch without one of them, compared with the epoch with all of them.

    python -m benchmarks.steps

docs/performance.md is written from it. The variants take turns in one process; a gain is the median over the rounds.
"""

import statistics
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from rich.console import Console

from minidl.contracts import Array
from minidl.datasets import mnist
from minidl.engine import memory, runner
from minidl.engine import steps as engine
from minidl.ops.kernels.addresses import Convolution, convolution

from .contestants.minidl import Trainer
from .models import MODELS
from .results import Part, Results, main, parser
from .tables import Table, number

SLOW_SAMPLES = 2_000  # for the reference operations


class Step(NamedTuple):
    """One idea.

    title: what it is. text: why it is fast. without: makes a context without it. ops, threads: what replaces it.
    """

    title: str
    text: str
    without: Callable[[], AbstractContextManager[Any]] = nullcontext
    ops: str = "kernels"
    threads: int | None = None


@contextmanager
def _convolutions(attribute: str, value: object) -> Iterator[None]:
    """With another attribute in all of the engine's convolutions."""
    with patch.object(Convolution, attribute, value):
        convolution.cache_clear()
        yield
    convolution.cache_clear()


STEPS = (
    Step(
        "Compiled kernels",
        "`ops/reference` is NumPy: every operation passes over whole arrays several times, and a convolution lays all its "
        "windows out in memory before one large matrix product. `ops/kernels` has the same functions with the same signatures, "
        "compiled by Numba, and lays out a few images at a time, which stay in the second-level cache. Without it, and "
        "so without the fused steps:",
        ops="reference",
    ),
    Step(
        "Fused steps",
        "The engine (`engine/steps.py`) makes one step of a convolution, its bias and its ReLU, with kernels that lay out no "
        "windows: the sums stay in registers, and tables say where the numbers are. A dense layer's bias and ReLU are one pass, "
        "and flattening copies nothing. Without it, with every layer a step of its own:",
        lambda: patch.object(engine, "FUSED", engine.PLAIN),
    ),
    Step(
        "A pool in the same step",
        "The map before a 2 × 2 pool, four times as large as the result, is a tile that stays in the cache. Backward works on "
        "the one pixel of four that the pool selected, and on none where the ReLU was at 0. Without it, with the pool a step of "
        "its own:",
        lambda: patch.object(engine, "FUSED", tuple(step for step in engine.FUSED if step is not engine.ConvPoolStep)),
    ),
    Step(
        "Neighbouring pixels as one",
        "Four filters fill a quarter of a block's lanes. Two neighbouring pixels have twice as many filters, in a window that is "
        "one column wider. Without it:",
        lambda: _convolutions("group", 1),
    ),
    Step(
        "Two ways to dx",
        "A pixel of dy can add to its window of dx, or a pixel of dx can gather what reaches it, which is a convolution with the "
        "kernel turned around. Which takes less depends on the shapes. Without the second way:",
        lambda: _convolutions("turning_pays", False),
    ),
    Step(
        "Memory that is kept",
        "The C library gives large freed blocks back to the system, and a batch that gets them again pays for every page. While "
        "`fit` runs, they are kept. Without it:",
        lambda: patch.object(memory, "kept", nullcontext),
    ),
    Step(
        "Large shards",
        "A matrix product has to rearrange its operands before it can be fast, which pays off only for many rows. So a batch is "
        "cut into shards of up to 100 samples, whatever the number of threads: surplus threads have nothing to do, and the "
        "results are the same bits with any number. With shards of 25 samples in place of 100:",
        lambda: patch.object(runner, "SHARD", 25),
    ),
    Step(
        "Threads around the kernels, not in them",
        "A shard goes through the whole model in one thread, forward and backward, beside the other shards. The threads meet "
        "twice a batch: when the gradients are summed, and when the parameters are updated. BLAS has one thread meanwhile, "
        "since two kinds of threads would compete for the processors. With one thread:",
        threads=1,
    ),
)


def epoch(step: Step | None, settings: dict[str, Any], x: Array, y: Array) -> float:
    """Seconds per sample of one epoch without the step, or with all of them."""
    model = MODELS[settings["model"]]
    if step and step.ops == "reference":
        x, y = x[:SLOW_SAMPLES], y[:SLOW_SAMPLES]
    with step.without() if step else nullcontext():
        trainer = Trainer(model, (step and step.threads) or settings["threads"], 1, step.ops if step else "kernels")
        rest = len(x) % model.batch_size
        warm_up = len(x) if len(x) == SLOW_SAMPLES else len(x) // 2 // model.batch_size * model.batch_size + rest
        trainer.train(x[:warm_up], y[:warm_up], model.batch_size)
        begin = time.perf_counter()
        trainer.train(x, y, model.batch_size)
        return (time.perf_counter() - begin) / len(x)


def measure(results: Results, settings: dict[str, Any], console: Console) -> None:
    """Fill the part "steps": a record a round and variant; step "" is the engine with everything."""
    results.begin("steps", settings)
    (images, labels), _ = mnist.load_data()
    x = images[: settings["samples"], ..., None].astype(np.float32) / 255
    y = labels[: settings["samples"]].astype(np.int64)
    for round_number in range(settings["rounds"]):
        for step in (None, *STEPS):
            title = step.title if step else ""
            seconds = epoch(step, settings, x, y)
            results.add("steps", {"step": title, "round": round_number, "seconds": seconds})
            console.print(f"round {round_number + 1}: {number(1e6 * seconds)} µs a sample without {title or 'nothing'}")


def gain(part: dict[str, Any], title: str) -> float:
    """How many times as long an epoch takes without the step: of each round, then the median."""
    seconds = {(r["step"], r["round"]): r["seconds"] for r in part["records"]}
    rounds = sorted({round_number for _, round_number in seconds})
    return statistics.median(seconds[title, n] / seconds["", n] for n in rounds)


def seconds_without(part: dict[str, Any], title: str) -> float:
    """Seconds a sample, the median over the rounds."""
    return statistics.median(r["seconds"] for r in part["records"] if r["step"] == title)


def tables(parts: dict[str, Any]) -> list[Table]:
    """A row a step."""
    part = parts["steps"]
    rows = [("nothing", number(1e6 * seconds_without(part, "")), "1")]
    rows += [
        (step.title, number(1e6 * seconds_without(part, step.title)), number(gain(part, step.title))) for step in STEPS
    ]
    settings = part["settings"]
    title = f"{MODELS[settings['model']].title}, {settings['threads']} threads: what is left out"
    return [Table(title, ("", "µs a sample", "times as long"), rows)]


def options() -> ArgumentParser:
    """The command line's."""
    result = parser(__doc__)
    result.add_argument("--model", choices=MODELS, default="cnn")
    result.add_argument("--samples", type=int, default=20_000, help="in an epoch (default: 20000)")
    result.add_argument("--rounds", type=int, default=5, help="turns of each variant (default: 5)")
    return result


PART = Part("steps", options(), {"samples": 1_000, "rounds": 1}, measure, tables)

if __name__ == "__main__":
    main(PART)
