"""What each idea of the engine gains: a pass over the same samples without it, compared with one with all of them.

    python -m benchmarks.steps                              # on random networks, and on some that are well known
    python -m benchmarks.steps --seed 7 --models deep_cnn

docs/performance.md is written from it. Each variant runs right before or after the engine with everything; a gain is the ratio of
the two, of which there is the median over the rounds, and of several networks the geometric mean. One row leaves nothing out: how
far it is from 1 is the noise of all.
"""

import multiprocessing
import statistics
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple
from unittest.mock import patch

from rich.console import Console

from minidl.engine import memory, runner
from minidl.engine import steps as engine
from minidl.ops.kernels import addresses, small, winograd
from minidl.ops.kernels.addresses import Convolution

from .contestants.minidl import Trainer
from .drawing import KINDS, model_named, name_of
from .models import MODELS, Conv, Layer, Model, Norm, Pool
from .random import LEAST_BATCHES, MOST_BATCHES, QUICK_BATCHES, TITLES, geometric_mean, median_ratio, samples_of
from .results import Part, Results, main, minutes_left, parser
from .tables import Table, number
from .worker import random_data

NAMED = ("mlp", "cnn", "larger_cnn", "lenet5", "deep_cnn", "normalized_cnn", "tiny_mlp")


class Step(NamedTuple):
    """One idea.

    title: what it is. text: why it is fast. without: makes a context without it. ops, threads: what replaces it. needs: whether
    it does anything for a model. lasting: it changes what cannot be changed back, so it is measured in processes that end.
    """

    title: str
    text: str
    without: Callable[[], AbstractContextManager[Any]] = nullcontext
    ops: str = "kernels"
    threads: int | None = None
    needs: Callable[[Model], bool] = lambda model: True
    lasting: bool = False


@contextmanager
def _replaced(holder: object, attribute: str, value: object) -> Iterator[None]:
    """With another attribute there, and nothing remembered of how convolutions were made with the usual one, or with this one."""
    remembering = (addresses.convolution, addresses.blocks, addresses.covered, addresses.effort)

    def forget() -> None:
        for function in remembering:
            function.cache_clear()

    with patch.object(holder, attribute, value):
        forget()
        yield
    forget()


def _without(*kinds: type[engine.LayerStep]) -> Callable[[], AbstractContextManager[Any]]:
    """With a table of steps that these are not in."""
    return lambda: patch.object(engine, "FUSED", tuple(step for step in engine.FUSED if step not in kinds))


def _widest_blocks(size: int) -> list[int]:
    """In place of addresses._widths."""
    return -(-size // addresses.WIDTHS[0]) * [addresses.WIDTHS[0]]


def _has(kind: type[Layer]) -> Callable[[Model], bool]:
    """Whether a model has a layer of the kind."""
    return lambda model: any(isinstance(layer, kind) for layer in model.layers)


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
        _without(engine.ConvPoolStep),
        needs=_has(Pool),
    ),
    Step(
        "Normalization in the same step",
        "Scale, shift, ReLU and pool are one pass over the map once its moments are known, and two on the way back, which "
        "compute again where the ReLU was at 0. At prediction, all of it folds into the convolution before it. Without it, with "
        "the layer's own forward and backward:",
        _without(engine.ConvNormStep, engine.NormPoolStep, engine.NormStep),
        needs=_has(Norm),
    ),
    Step(
        "Fewer multiplications for 3 × 3",
        "Winograd's way makes four pixels of a 3 × 3 convolution of many channels with 16 multiplications in place of 36, and "
        "the gradients likewise: see [the page on it](book/winograd.md). Without it:",
        lambda: _replaced(winograd, "pays", lambda g: False),
        needs=lambda model: any(isinstance(layer, Conv) and layer.window == 3 for layer in model.layers),
    ),
    Step(
        "Blocks of several widths",
        "Sums stay in registers in blocks of pixels × filters. Twenty filters do not fill two of the widest blocks; a narrow one "
        "does the rest. Without it, with the widest alone:",
        lambda: _replaced(addresses, "_widths", _widest_blocks),
        needs=_has(Conv),
    ),
    Step(
        "Neighbouring pixels as one",
        "Four filters fill a quarter of a block's lanes. Two neighbouring pixels have twice as many filters, in a window that is "
        "one column wider. Without it:",
        lambda: _replaced(Convolution, "group", 1),
        needs=_has(Conv),
    ),
    Step(
        "Two ways to dx",
        "A pixel of dy can add to its window of dx, or a pixel of dx can gather what reaches it, which is a convolution with the "
        "kernel turned around. Which takes less depends on the shapes. Without the second way:",
        lambda: _replaced(Convolution, "turning_pays", False),
        needs=_has(Conv),
    ),
    Step(
        "Memory that is kept",
        "The C library gives large freed blocks back to the system, and a batch that gets them again pays for every page. While "
        "`fit` runs, they are kept. Without it:",
        lambda: patch.object(memory, "kept", nullcontext),
        lasting=True,  # once it was told what to keep, the C library no longer chooses for itself
    ),
    Step(
        "Large shards",
        "A matrix product has to rearrange its operands before it can be fast, which pays off only for many rows. So a batch is "
        "cut into shards of up to 100 samples, whatever the number of threads: surplus threads have nothing to do, and the "
        "results are the same bits with any number. With shards of 25 samples in place of 100:",
        lambda: patch.object(runner, "SHARD", 25),
    ),
    Step(
        "Threads only for what is worth one",
        "To wake a thread takes longer than a small network needs for its batch. How many shards there are follows from the "
        "batch and from the network's multiplications. Without it, with two shards for every batch of 16 and more:",
        lambda: patch.object(runner, "WORTH_A_THREAD", 1),
    ),
    Step(
        "Dense layers of one or two samples",
        "BLAS rearranges the kernel before it multiplies, which is more work than the product for so few samples. Loops of our "
        "own read it once. Without it:",
        lambda: patch.object(small, "FEW", 0),
        needs=lambda model: model.batch_size <= small.FEW,
    ),
    Step(
        "Threads around the kernels, not in them",
        "A shard goes through the whole model in one thread, forward and backward, beside the other shards. The threads meet "
        "twice a batch: when the gradients are summed, and when the parameters are updated. BLAS has one thread meanwhile, "
        "since two kinds of threads would compete for the processors. With one thread:",
        threads=1,
    ),
)
NOTHING = Step("Nothing", "")


def groups(settings: dict[str, Any]) -> dict[str, list[str]]:
    """The networks, by the title of their column: those drawn of each kind, and each of the known ones."""
    drawn = {TITLES[kind]: [name_of(kind, settings["seed"], n) for n in range(settings["count"])] for kind in KINDS}
    return drawn | {MODELS[name].title: [name] for name in settings["models"]}


def of_use(network: str) -> list[Step]:
    """Those that do something for the network, and none at all."""
    return [step for step in (*STEPS, NOTHING) if step.needs(model_named(network))]


def batches(step: Step, network: str, settings: dict[str, Any]) -> int:
    """Of a pass, at most; fewer where NumPy has to make them, so that they take no minutes."""
    if settings["quick"]:
        return QUICK_BATCHES
    kind = "conv" if _has(Conv)(model_named(network)) else "dense"
    return MOST_BATCHES[kind] // 10 if step.ops == "reference" else MOST_BATCHES[kind]


def pace(step: Step, network: str, settings: dict[str, Any], most_batches: int) -> float:
    """Seconds a sample without the step: the median of passes over the same samples until the budget is spent."""
    model = model_named(network)
    samples = samples_of(model, most_batches)
    x, y = random_data(model.shape, model.classes, samples, 1)
    warm_up = LEAST_BATCHES * model.batch_size
    seconds: list[float] = []
    with step.without():
        trainer = Trainer(model, step.threads or settings["threads"], 1, step.ops)
        trainer.train(x[:warm_up], y[:warm_up], model.batch_size)
        while sum(seconds) < settings["budget"]:
            begin = time.perf_counter()
            trainer.train(x, y, model.batch_size)
            seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds) / samples


def pace_alone(step: Step, *arguments: Any) -> float:
    """The same in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_pace_of, step.title, *arguments).result()


def _pace_of(title: str, *arguments: Any) -> float:
    """``pace`` of the step with this title: a step itself cannot be sent to a process."""
    return pace(next(step for step in (*STEPS, NOTHING) if step.title == title), *arguments)


def measure(results: Results, settings: dict[str, Any], console: Console) -> None:
    """Fill the part "steps": a record a network, round and step, with the time without it and that with everything beside it."""
    results.begin("steps", settings)
    networks = [name for names in groups(settings).values() for name in names]
    begin = time.monotonic()
    for done, network in enumerate(networks):
        for round_number in range(settings["rounds"]):
            for step in of_use(network):
                pair = (step, NOTHING) if round_number % 2 else (NOTHING, step)  # whoever is first may be slower for it
                measured = pace_alone if step.lasting else pace
                most = batches(step, network, settings)
                first, second = (measured(each, network, settings, most) for each in pair)
                without, everything = (first, second) if round_number % 2 else (second, first)
                record = {"step": step.title, "network": network, "round": round_number}
                results.add("steps", record | {"seconds": without, "with_everything": everything})
        left = minutes_left(begin, done + 1, len(networks))
        console.print(f"{done + 1} of {len(networks)}, {left}: {model_named(network).title}")


def gain(part: dict[str, Any], step: Step, networks: list[str]) -> float | None:
    """How many times as long it takes without the step: of each round, then the median; of networks, the geometric mean.

    Networks that the step does nothing for do not count; None where all are such.
    """
    ratios: dict[str, list[float]] = {}
    for r in part["records"]:
        if r["step"] == step.title and r["network"] in networks and step.needs(model_named(r["network"])):
            ratios.setdefault(r["network"], []).append(r["seconds"] / r["with_everything"])
    return geometric_mean([median_ratio(found) for found in ratios.values()]) if ratios else None


def noise(part: dict[str, Any]) -> float:
    """How far from 1 the ratios are where nothing is left out: the largest of a group of networks, or 1 divided by the least."""
    found = [gain(part, NOTHING, names) for names in groups(part["settings"]).values()]
    return max(max(value, 1 / value) for value in found if value is not None)


def tables(parts: dict[str, Any]) -> list[Table]:
    """A row a step, a column a group of networks."""
    part = parts["steps"]
    settings, found = part["settings"], groups(part["settings"])
    rows = [(step.title, *(number(gain(part, step, names)) for names in found.values())) for step in (*STEPS, NOTHING)]
    title = f"How many times as long without it, {settings['threads']} threads; {settings['count']} random networks of a kind"
    return [Table(title, ("", *found), rows)]


def options() -> ArgumentParser:
    """The command line's."""
    result = parser(__doc__)
    result.add_argument("--seed", type=int, default=1, help="of the random networks (default: 1)")
    result.add_argument("--count", type=int, default=8, help="random networks of each kind (default: 8)")
    result.add_argument("--models", nargs="*", choices=MODELS, default=list(NAMED), help="known networks beside them")
    result.add_argument("--rounds", type=int, default=4, help="turns of each variant (default: 4)")
    result.add_argument("--budget", type=float, default=0.4, help="seconds of training in a turn (default: 0.4)")
    return result


PART = Part("steps", options(), {"count": 1, "models": ["cnn"], "rounds": 1, "budget": 0.01}, measure, tables)

if __name__ == "__main__":
    main(PART)
