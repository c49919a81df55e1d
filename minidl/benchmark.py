"""How fast this machine trains: six networks on one thread, two, … and all, beside what the machine could do at best.

    python -m minidl.benchmark                                  # a table, a file of results and a picture
    python -m minidl.benchmark --compare mine.json yours.json   # two files of results

It needs nothing but minidl; the picture needs matplotlib, the extra "plot".
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from . import configs
from .checks import check_file, is_integer
from .contracts import Array, LayerLike, Shape
from .engine.workers import set_num_threads
from .layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from .machine import STREAM, bandwidths, describe, matmul_rates, pinned, thread_counts
from .models import Sequential
from .saving import replace
from .utils.terminal import printable_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = 1  # of the file of results
# rounds: turns of each network, of so many seconds. share: of a network's samples, in a pass. matmul: the sizes of the matrices.
SETTINGS: dict[str, Any] = {"rounds": 5, "seconds": 0.4, "share": 1.0, "matmul": [512, 1024], "repeats": 5}
QUICK: dict[str, Any] = {"rounds": 2, "seconds": 0.01, "share": 0.05, "matmul": [128], "repeats": 2}
LIMITS_SECONDS = 4  # that peak and bandwidth take for one number of threads, about
BASE_MEMORY = 400e6  # bytes of the interpreter, of compiled code and of what a batch needs, about
DIGIT = (28, 28, 1)


class Network(NamedTuple):
    """What is trained: the shape of a sample, the batch size, the samples of a pass, and the layers, made anew each time."""

    shape: Shape
    batch_size: int
    samples: int
    layers: Callable[[], list[LayerLike]]


def conv(filters: int, window: int) -> Conv2D:
    """A convolution with a ReLU."""
    return Conv2D(filters, window, activation="relu")


def dense(*units: int) -> list[LayerLike]:
    """Dense layers with a ReLU each, and ten classes behind them."""
    return [*(Dense(n, activation="relu") for n in units), Dense(10, activation="softmax")]


NETWORKS = {
    "MLP 4–16–16–10": Network((4,), 32, 12_800, lambda: dense(16, 16)),
    "MLP 784–784–10": Network(DIGIT, 200, 4_000, lambda: [Flatten(), *dense(784)]),
    "LeNet-5": Network(
        DIGIT,
        128,
        6_400,
        lambda: [conv(6, 5), MaxPooling2D(), conv(16, 5), MaxPooling2D(), Flatten(), *dense(120, 84)],
    ),
    "CNN": Network(DIGIT, 200, 4_000, lambda: [conv(32, 5), MaxPooling2D(), Dropout(0.2), Flatten(), *dense(128)]),
    "larger CNN": Network(
        DIGIT,
        200,
        4_000,
        lambda: [conv(30, 5), MaxPooling2D(), conv(15, 3), MaxPooling2D(), Dropout(0.2), Flatten(), *dense(128, 50)],
    ),
    "deep CNN": Network(
        DIGIT,
        128,
        1_280,
        lambda: [
            *(conv(32, 3), conv(32, 3), MaxPooling2D(), conv(64, 3), conv(64, 3), MaxPooling2D()),
            *(Flatten(), *dense(256)),
        ],
    ),
}


def training_flops(model: Sequential) -> int:
    """Floating-point operations of one sample, forward and backward: two for each weight and each place that it is used at.

    The dense count, as if every product had to be made. The first layer with parameters needs no gradient of its input.
    """
    forward = []
    for layer in model.layers:
        if "kernel" in layer.params:
            kernel = layer.params["kernel"]
            places = math.prod((layer.output_shape or ())[:-1]) if kernel.ndim == 4 else 1
            forward.append(2 * kernel.size * places)
    return 3 * sum(forward) - forward[0]


class Subject:
    """A network that is measured: its model, its data and its count of operations."""

    def __init__(self, network: Network, share: float) -> None:
        rng = np.random.default_rng(1)
        self.batch_size = network.batch_size
        samples = max(network.batch_size, round(share * network.samples))
        self.x: Array = rng.random((samples, *network.shape), dtype=np.float32)
        self.y: Array = rng.integers(0, 10, samples)
        self.model = Sequential(network.layers(), seed=1)
        self.model.compile(loss="sparse_categorical_crossentropy", optimizer="adam")
        self.train()  # builds the model, and compiles what is not in the cache
        self.flops = training_flops(self.model)

    def train(self) -> None:
        """One pass over the samples."""
        self.model.fit(self.x, self.y, batch_size=self.batch_size, epochs=1, verbose=0)

    def rate(self, seconds: float) -> float:
        """Samples a second, of as many passes as the seconds hold, at least one."""
        begin, passes = time.perf_counter(), 0
        while passes == 0 or time.perf_counter() - begin < seconds:
            self.train()
            passes += 1
        return passes * len(self.x) / (time.perf_counter() - begin)


def measure(threads: Sequence[int], settings: dict[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """The results, as the file holds them; say: is told what is going on.

    {"format", "machine", "settings", "limits": [{"threads", "pinned", "matmul", "copy", "triad"}], "records": [{"network",
    "threads", "flops", "rates"}]}: rates a round in samples a second, flops a sample, limits in operations or bytes a second.
    """
    results: dict[str, Any] = {"format": FORMAT, "machine": describe(), "settings": settings}
    results |= {"limits": [], "records": []}
    say("Building the networks.")
    subjects = {name: Subject(network, settings["share"]) for name, network in NETWORKS.items()}
    for count in threads:
        with pinned(count) as kept:
            with threadpool_limits(1):
                matmul = {str(n): matmul_rates(n, count, settings["repeats"]) for n in settings["matmul"]}
                limits = {"threads": count, "pinned": kept, "matmul": matmul}
                results["limits"].append(limits | bandwidths(count, settings["repeats"]))
            say(f"{count} of {threads[-1]} threads: {best(matmul) / 1e9:,.0f} GFLOP/s; now the networks.")
            found = train(subjects, count, settings)
        for name, subject in subjects.items():
            record = {"network": name, "threads": count, "flops": subject.flops, "rates": found[name]}
            results["records"].append(record)
    return results


def train(subjects: dict[str, Subject], threads: int, settings: dict[str, Any]) -> dict[str, list[float]]:
    """The rates of each network, a round after the other. They take turns, so that a disturbance hits all of them."""
    set_num_threads(threads)
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for subject in subjects.values():
        subject.train()  # starts the threads
    for _ in range(settings["rounds"]):
        for name, subject in subjects.items():
            found[name].append(subject.rate(settings["seconds"]))
    return found


def best(matmul: dict[str, list[float]]) -> float:
    """The best rate of the matrix product."""
    return max(max(rates) for rates in matmul.values())


def forecast(threads: Sequence[int], settings: dict[str, Any]) -> str:
    """What it will take."""
    seconds = len(threads) * (len(NETWORKS) * settings["rounds"] * settings["seconds"] + LIMITS_SECONDS)
    matrices = 12 * max(settings["matmul"]) ** 2 * max(threads)
    data = sum(4 * network.samples * math.prod(network.shape) for network in NETWORKS.values())
    memory = BASE_MEMORY + max(12 * STREAM + matrices, data)
    return (
        f"This takes about {max(1, round(seconds / 60))} min and {memory / 1e9:.1f} GB of memory; the first time some seconds "
        "more, to compile. Close other programs, and plug in a laptop."
    )


def digits(value: float) -> str:
    """Three that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def spread(values: Sequence[float], unit: float = 1.0) -> str:
    """The median, and the least and the most."""
    low, middle, high = (digits(f(values) / unit) for f in (min, statistics.median, max))
    return f"{middle} ({low}–{high})"


def share(record: dict[str, Any], results: dict[str, Any]) -> float:
    """The part of the best matrix product's rate, on as many threads, that the multiply-adds of the training reach."""
    limits = next(found for found in results["limits"] if found["threads"] == record["threads"])
    return float(statistics.median(record["rates"]) * record["flops"] / best(limits["matmul"]))


def tables(results: dict[str, Any]) -> list[Table]:
    """The limits and the networks."""
    machine = Table(title=f"{results['machine']['processor']}: at its best", title_justify="left")
    for number, text in enumerate(("threads", "pinned", "matrix product, GFLOP/s", "copy, GB/s", "triad, GB/s")):
        machine.add_column(text, justify="right" if number else "left")
    for limits in results["limits"]:
        product = max(limits["matmul"].values(), key=max)
        rates = [spread(product, 1e9), spread(limits["copy"], 1e9), spread(limits["triad"], 1e9)]
        machine.add_row(str(limits["threads"]), "yes" if limits["pinned"] else "no", *rates)
    counts = [limits["threads"] for limits in results["limits"]]
    trained = Table(title="Training, samples a second: median (least–most), % of the limit", title_justify="left")
    trained.add_column("network")
    for count in counts:
        trained.add_column(f"{count} threads" if count > 1 else "1 thread", justify="right")
    for name in dict.fromkeys(record["network"] for record in results["records"]):
        found = {record["threads"]: record for record in results["records"] if record["network"] == name}
        cells = [f"{spread(found[n]['rates'])}, {digits(100 * share(found[n], results))} %" for n in counts]
        trained.add_row(name, *cells)
    return [machine, trained]


def picture(results: dict[str, Any]) -> "Figure":
    """A panel a network: samples a second by threads, with the spread, below the limit. Raises ImportError without matplotlib."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'minidl[plot]'.") from error
    figure = Figure(figsize=(10, 6), layout="constrained")
    figure.suptitle(f"{results['machine']['processor']}: samples a second; dashed: at the best matrix product's rate")
    peaks = {limits["threads"]: best(limits["matmul"]) for limits in results["limits"]}
    for axes, name in zip(figure.subplots(2, 3).flat, NETWORKS, strict=True):
        found = [record for record in results["records"] if record["network"] == name]
        counts = [record["threads"] for record in found]
        middle = [statistics.median(record["rates"]) for record in found]
        below = [value - min(record["rates"]) for value, record in zip(middle, found, strict=True)]
        above = [max(record["rates"]) - value for value, record in zip(middle, found, strict=True)]
        axes.errorbar(counts, middle, (below, above), marker="o", capsize=4, color="#c2410c")
        limit = [peaks[record["threads"]] / record["flops"] for record in found]
        axes.plot(counts, limit, "--", marker=".", color="#64748b")
        axes.set(title=name, xlabel="threads", xticks=counts, yscale="log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    return figure


def load(path: str) -> dict[str, Any]:
    """A file of results. Raises ValueError where it is none of ours, or is damaged, and OSError where it cannot be read."""
    check_file(path, "a file of results")
    try:
        found = configs.parse(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"'{path}' is no file of results: it is not JSON ({error}).") from error
    if not isinstance(found, dict) or not {"format", "machine", "settings", "limits", "records"} <= found.keys():
        raise ValueError(f"'{path}' is no file of results: write one with python -m minidl.benchmark --output {path}.")
    if found["format"] != FORMAT:
        raise ValueError(
            f"'{path}' is of format {found['format']!r:.200}, and this minidl reads format {FORMAT}: measure anew."
        )
    machine, records = found["machine"], found["records"]
    if not isinstance(machine, dict) or not all(
        _is_text(machine.get(name)) for name in ("processor", "cores", "minidl")
    ):
        raise ValueError(
            f"'{path}' is damaged: its machine must be texts by name, found {machine!r:.200}. Measure anew."
        )
    if not isinstance(found["settings"], dict) or not isinstance(records, list) or not records:
        raise ValueError(f"'{path}' is damaged: expected settings by name, and a list of records. Measure anew.")
    for record in records:
        if not _is_record(record):
            raise ValueError(
                f"'{path}' is damaged: a record must be a network, threads, flops and rates, found {record!r:.200}. Measure anew."
            )
    return found


def _is_text(value: object) -> TypeGuard[str]:
    """Whether it is one that may be shown on a terminal."""
    return isinstance(value, str) and value.isprintable()


def _is_record(value: object) -> bool:
    """Whether it has what ``comparison`` needs."""
    if not isinstance(value, dict) or not _is_text(value.get("network")):
        return False
    rates, threads = value.get("rates"), value.get("threads")
    numbers = [value.get("flops"), *(rates if isinstance(rates, list) else ())]
    positive = all(type(number) in (int, float) and 0 < number < 2**63 for number in numbers)
    return positive and len(numbers) > 1 and is_integer(threads) and threads > 0


def comparison(first: dict[str, Any], second: dict[str, Any]) -> Table:
    """How many times as fast the second is, with the interval that the spread of the rounds allows.

    Raises ValueError where the two were not measured alike.
    """
    for name in sorted(first["settings"].keys() | second["settings"].keys()):
        values = [found["settings"].get(name) for found in (first, second)]
        if values[0] != values[1]:
            raise ValueError(
                f"the settings differ: {name:.200} is {values[0]!s:.200} in the first file, {values[1]!s:.200} in the second."
            )
    pairs = {(record["network"], record["threads"]): record for record in first["records"]}
    common = [record for record in second["records"] if (record["network"], record["threads"]) in pairs]
    if not common:
        counts = [sorted({record["threads"] for record in found["records"]}) for found in (first, second)]
        raise ValueError(
            f"the files have no number of threads in common: {counts[0]!s:.200} and {counts[1]!s:.200}. Measure with "
            f"--threads {counts[0][0]}."
        )
    table = Table(title="Training, samples a second: median (least–most)", title_justify="left")
    for number, text in enumerate(("network", "threads", "first", "second", "second ÷ first", "")):
        table.add_column(text, justify="right" if 0 < number < 5 else "left")
    for record in common:
        if record["flops"] != pairs[record["network"], record["threads"]]["flops"]:
            raise ValueError(
                f"the files mean different networks by {record['network']!r:.200}: measure both with one minidl."
            )
        a, b = pairs[record["network"], record["threads"]]["rates"], record["rates"]
        low, high = min(b) / max(a), max(b) / min(a)
        ratio = f"{statistics.median(b) / statistics.median(a):.2f} ({low:.2f}–{high:.2f})"
        verdict = "within the spread" if low <= 1 <= high else ""
        table.add_row(record["network"], str(record["threads"]), spread(a), spread(b), ratio, verdict)
    return table


def compare(paths: Sequence[str], console: Console) -> None:
    """Print both machines and how they compare. Raises ValueError or OSError; see ``load`` and ``comparison``."""
    first, second = map(load, paths)
    table = comparison(first, second)
    for text, path, found in zip(("first", "second"), paths, (first, second), strict=True):
        machine = found["machine"]
        console.print(f"{text}: {machine['processor']}, {machine['cores']}, minidl {machine['minidl']} ({path})")
    console.print(table)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line's, or those given."""
    parser = argparse.ArgumentParser(
        prog="python -m minidl.benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.epilog = forecast(thread_counts(), SETTINGS)
    parser.add_argument("--output", default="minidl-benchmark.json", metavar="FILE", help="the picture is beside it")
    parser.add_argument("--threads", type=int, nargs="+", default=thread_counts(), help="default: 1, 2, 4, … and all")
    parser.add_argument("--compare", nargs=2, metavar="FILE", help="of results; measures nothing")
    parser.add_argument("--quick", action="store_true", help="does it run, not how fast")
    options = parser.parse_args(given)
    for count in options.threads:
        if not 1 <= count <= thread_counts()[-1]:
            parser.error(
                f"--threads must be 1 to {thread_counts()[-1]}, the processors of this machine, received {count}."
            )
    if not options.output.endswith(".json"):
        parser.error(f"--output must end in .json, received {options.output!r}.")
    return options


def main(given: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status."""
    options = arguments(given)
    console = Console(width=None if sys.stdout.isatty() else 140, markup=False, highlight=False)
    try:
        if options.compare:
            compare(options.compare, console)
            return 0
        settings = QUICK if options.quick else SETTINGS
        if options.quick:
            console.print("--quick: these are no measurements.")
        console.print(forecast(options.threads, settings))
        results = measure(sorted(set(options.threads)), settings, console.print)
        replace(options.output, (json.dumps(results, indent=1, ensure_ascii=False) + "\n").encode())
    except (ValueError, OSError) as error:
        print(f"minidl.benchmark: {printable_lines(str(error))}", file=sys.stderr)
        return 2
    for table in tables(results):
        console.print(table)
    written = options.output
    try:
        image = str(Path(options.output).with_suffix(".svg"))
        picture(results).savefig(image)
        written += f" and {image}"
    except ImportError as error:
        console.print(f"No picture: {error}")
    console.print(
        f"Written: {written}. Compare it with another: python -m minidl.benchmark --compare {options.output} FILE"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
