"""Networks that nobody tuned for, drawn from a seed: minidl beside PyTorch in both orders of channels, and plain NumPy.

    python -m benchmarks.random                                 # sixteen convolutional networks and sixteen dense ones
    python -m benchmarks.random --seed 7 --count 40 --kind conv

A network's ratio is minidl's time for a sample, divided by that of the fastest other one in the same round, then the median over
the rounds. Everybody has a process of their own and they take turns. PyTorch is eager with the fused Adam; other libraries, and
PyTorch with the whole step compiled, which takes it a minute a network, take part with --contestants. Lines of progress say how
many minutes are left; a process may need some gigabytes of memory.
"""

import math
import statistics
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from rich.console import Console

from .contestants import CONTESTANTS
from .drawing import KINDS, model_named, name_of
from .flops import training_flops
from .models import Model
from .processes import data_folder, run
from .results import Part, Results, main, minutes_left, parser
from .tables import Table, number, span
from .worker import Job

PASS_FLOPS = 2e11  # of a timed pass, about: a second or so
MOST_BATCHES = {"conv": 20, "dense": 200}
TIMEOUT = 300  # seconds of one process, of which most take a few: some crashes of a library end in waiting for ever
LEAST_BATCHES, QUICK_BATCHES = 2, 3
# Of dense networks there is no order of channels, and the twenty lines of NumPy have no convolutions.
LEFT_OUT = {"conv": {"numpy", "sklearn"}, "dense": {"torch_channels_last"}}
TITLES = {"conv": "Random convolutional networks", "dense": "Random dense networks"}


def samples_of(model: Model, most_batches: int) -> int:
    """The samples of a pass: many batches of a small network, few of a large one."""
    batches = PASS_FLOPS / training_flops(model) / model.batch_size
    return model.batch_size * round(min(max(batches, LEAST_BATCHES), most_batches))


def measure(results: Results, settings: dict[str, Any], console: Console) -> None:
    """Fill the part "random": a record a network, contestant and round."""
    results.begin("random", settings)
    drawn = [(kind, number) for kind in settings["kinds"] for number in range(settings["count"])]
    begin = time.monotonic()
    with data_folder() as folder:
        for done, (kind, number_of_network) in enumerate(drawn):
            name = name_of(kind, settings["seed"], number_of_network)
            title = model_named(name).title
            _measure_network(results, settings, kind, name, folder)
            ratio = figures(results.parts["random"], name)["ratio"]
            left = minutes_left(begin, done + 1, len(drawn))
            console.print(f"{done + 1} of {len(drawn)}, {left}: {title}: {number(ratio)}")


def _measure_network(results: Results, settings: dict[str, Any], kind: str, name: str, folder: Path) -> None:
    model = model_named(name)
    contestants = [one for one in settings["contestants"] if one not in LEFT_OUT[kind]]
    failed: set[str] = set()
    for round_number in range(settings["rounds"]):
        for contestant in contestants:
            if contestant in failed:
                continue
            samples = samples_of(model, QUICK_BATCHES if settings["quick"] else MOST_BATCHES[kind])
            job = Job(contestant, name, "pace", str(folder), samples, settings["threads"], budget=settings["budget"])
            record = {"contestant": contestant, "kind": kind, "network": name, "round": round_number}
            measured = results.add("random", record | run(job, folder / f"caches-{contestant}", TIMEOUT))
            if "problem" in measured:
                failed.add(contestant)


def figures(part: dict[str, Any], network: str) -> dict[str, Any]:
    """What the records say of a network.

    ratios: by round, minidl's seconds by those of the fastest other. ratio: their median, None without any. each: the median
    ratio to each other alone. seconds: the medians of each contestant, a sample. best: the fastest other. problems: texts by
    contestant.
    """
    records = [r for r in part["records"] if r["network"] == network]
    rounds: dict[int, dict[str, float]] = {}
    for r in records:
        if "seconds" in r:
            rounds.setdefault(r["round"], {})[r["contestant"]] = r["seconds"]
    ratios = {
        n: found["minidl"] / min(seconds for name, seconds in found.items() if name != "minidl")
        for n, found in rounds.items()
        if "minidl" in found and len(found) > 1
    }
    seconds = {
        name: statistics.median(found[name] for found in rounds.values() if name in found)
        for name in dict.fromkeys(r["contestant"] for r in records if "seconds" in r)
    }
    others = [name for name in seconds if name != "minidl"]
    both = {name: [found for found in rounds.values() if {name, "minidl"} <= found.keys()] for name in others}
    each = {
        name: median_ratio([found["minidl"] / found[name] for found in turns]) for name, turns in both.items() if turns
    }
    return {
        "ratios": ratios,
        "ratio": median_ratio(list(ratios.values())) if ratios else None,
        "each": each,
        "seconds": seconds,
        "best": min(others, key=lambda name: seconds[name], default=None),
        "problems": {r["contestant"]: r["problem"] for r in records if "problem" in r},
    }


def ranking(part: dict[str, Any], kind: str) -> list[tuple[str, dict[str, Any]]]:
    """(network, its figures) for all of the kind, the worst ratio first; those without one at the end."""
    names = dict.fromkeys(r["network"] for r in part["records"] if r["kind"] == kind)
    found = [(name, figures(part, name)) for name in names]
    return sorted(found, key=lambda pair: -(pair[1]["ratio"] or 0))


def median_ratio(values: list[float]) -> float:
    """Their median; between two in the middle, the geometric mean: of twice as fast and twice as slow, 1."""
    return math.exp(statistics.median(map(math.log, values)))


def geometric_mean(values: list[float]) -> float:
    """The n-th root of their product: a network twice as fast and one twice as slow make 1."""
    return math.exp(statistics.fmean(map(math.log, values)))


def summary(part: dict[str, Any], kind: str) -> tuple[str, ...]:
    """The geometric mean with the range over the rounds, the worst, and every network where minidl is slower, by name; then the
    ratios to each other contestant alone."""
    found = [(name, values) for name, values in ranking(part, kind) if values["ratio"] is not None]
    lines = []
    if found:
        ratios = [values["ratio"] for _, values in found]
        rounds = sorted({n for _, values in found for n in values["ratios"]})
        means = [geometric_mean([values["ratios"][n] for _, values in found if n in values["ratios"]]) for n in rounds]
        slower = [
            f"{model_named(name).title} ({number(values['ratio'])})" for name, values in found if values["ratio"] > 1
        ]
        lines.append(
            f"Geometric mean {number(geometric_mean(ratios))} (of single rounds {span(means)}), worst {number(max(ratios))}, "
            f"best {number(min(ratios))}. Slower in {len(slower)} of {len(ratios)}{': ' if slower else '.'}{'; '.join(slower)}"
        )
        for name in dict.fromkeys(name for _, values in found for name in values["each"]):
            alone = [values["each"][name] for _, values in found if name in values["each"]]
            lines.append(
                f"To {CONTESTANTS[name].title} alone: geometric mean {number(geometric_mean(alone))}, worst {number(max(alone))}."
            )
    for name, values in ranking(part, kind):
        for contestant, problem in values["problems"].items():
            lines.append(f"{CONTESTANTS[contestant].title}, {model_named(name).title}: {problem}")
    return tuple(lines)


def network_table(part: dict[str, Any], kind: str) -> Table:
    """Every network of the kind, the worst first."""
    settings = part["settings"]
    names = [name for name in settings["contestants"] if name not in LEFT_OUT[kind]]
    rows = []
    for network, found in ranking(part, kind):
        model = model_named(network)
        ratio = (number(found["ratio"]), span(found["ratios"].values()), str(model.batch_size))
        best = CONTESTANTS[found["best"]].title if found["best"] else "–"
        seconds = [found["seconds"].get(name) for name in names]
        cells = [number(None if value is None else 1e6 * value) for value in seconds]
        rows.append((model.title, *ratio, best, *cells))
    columns = [f"{CONTESTANTS[name].title}, µs a sample" for name in names]
    what = "filters/window/strides/padding" if kind == "conv" else "units"
    header = (what, "ratio", "least–most", "batch", "fastest other", *columns)
    return Table(f"{TITLES[kind]}, seed {settings['seed']}", header, rows, summary(part, kind))


def tables(parts: dict[str, Any]) -> list[Table]:
    """One for each kind."""
    part = parts["random"]
    return [network_table(part, kind) for kind in part["settings"]["kinds"]]


def options() -> ArgumentParser:
    """The command line's."""
    result = parser(__doc__)
    result.add_argument("--seed", type=int, default=1, help="of the networks (default: 1)")
    result.add_argument("--count", type=int, default=16, help="networks of each kind (default: 16)")
    result.add_argument("--kind", dest="kinds", nargs="+", choices=KINDS, default=list(KINDS), help="default: both")
    others = ["minidl", "torch", "torch_channels_last", "numpy"]
    result.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=others, help="minidl and its rivals")
    result.add_argument("--rounds", type=int, default=3, help="turns of each (default: 3)")
    result.add_argument("--budget", type=float, default=1.0, help="seconds of training in a turn (default: 1)")
    return result


PART = Part("random", options(), {"count": 2, "rounds": 1, "budget": 0.01}, measure, tables)

if __name__ == "__main__":
    main(PART)
