"""What this machine could do at best: matrix products and memory bandwidth, and how far from it everybody's epoch is.

    python -m benchmarks.limits         # after benchmarks.race, to compare its epochs with the limit

A matrix product of two large float32 matrices is the fastest arithmetic that a library can hope for. With several threads each
has a product of its own, and BLAS itself has one thread: that is how minidl runs. The threads keep to the processors that the
contestants get.
"""

from typing import Any

from rich.console import Console
from threadpoolctl import threadpool_limits

from minidl.machine import bandwidths, matmul_rates, pinned, thread_counts

from .contestants import CONTESTANTS
from .flops import Cost, costs, training_flops
from .models import MODELS, Model
from .results import Part, Results, main, parser
from .summary import ranking
from .tables import Table, approximate, number

SIZES = (256, 512, 1024, 2048)  # of the matrices
REPEATS = 5


def matmul_rate(size: int, threads: int, repeats: int) -> float:
    """The best of ``minidl.machine.matmul_rates``."""
    return max(matmul_rates(size, threads, repeats))


def measure(results: Results, settings: dict[str, Any], console: Console) -> None:
    """Fill the part "limits": a record a number of threads."""
    results.begin("limits", settings)
    sizes, repeats = (SIZES[:2], 2) if settings["quick"] else (SIZES, REPEATS)
    with threadpool_limits(1):
        for threads in sorted({*thread_counts(), settings["threads"]}):
            with pinned(threads):
                matmul = {str(size): matmul_rates(size, threads, repeats) for size in sizes}
                memory = bandwidths(threads, repeats)
            record = {"threads": threads, "matmul": {size: max(rates) for size, rates in matmul.items()}}
            record |= {name: max(rates) for name, rates in memory.items()}
            least = {size: min(rates) for size, rates in matmul.items()}
            results.add("limits", record | {"least": least | {name: min(rates) for name, rates in memory.items()}})
            matmul = record["matmul"]
            console.print(f"{threads} threads: {number(max(matmul.values()) / 1e9)} GFLOP/s")


def peak(part: dict[str, Any], threads: int) -> float | None:
    """FLOP/s of the best matrix product with so many threads; None where it was not measured."""
    return next((max(r["matmul"].values()) for r in part["records"] if r["threads"] == threads), None)


def limit_table(part: dict[str, Any]) -> Table:
    """What the machine can do."""
    sizes = list(part["records"][0]["matmul"])
    rows = []
    for record in part["records"]:
        best = [record["matmul"][size] for size in sizes] + [record["copy"], record["triad"]]
        rows.append((str(record["threads"]), *(number(rate / 1e9) for rate in best)))
        if "least" in record:
            least = (record["least"][name] for name in (*sizes, "copy", "triad"))
            rows.append((f"{record['threads']}, the slowest repeat", *(number(rate / 1e9) for rate in least)))
    one, most = part["records"][0], part["records"][-1]
    if len(part["records"]) > 1:
        gains = [number(most["matmul"][size] / one["matmul"][size]) for size in sizes]
        rows.append(("gain", *gains, *(number(most[kind] / one[kind]) for kind in ("copy", "triad"))))
    header = ("threads", *(f"matmul {size}, GFLOP/s" for size in sizes), "copy, GB/s", "triad, GB/s")
    return Table("The machine at its best", header, rows)


def cost_table(model: Model) -> Table:
    """The count, as a table in MFLOP a sample."""
    found = costs(model)
    total = Cost("all", *(sum(column) for column in zip(*(cost[1:] for cost in found), strict=True)))
    rows = [(cost.layer, *(f"{value / 1e6:.2f}" for value in (*cost[1:], cost.total))) for cost in [*found, total]]
    header = ("MFLOP a sample", "forward", "gradient of the parameters", "gradient of the input", "sum")
    return Table(model.title, header, rows)


def distance_table(limits: dict[str, Any], race: dict[str, Any]) -> Table:
    """Each contestant's epoch as a multiple of the time that its multiply-adds take at the peak of the matrix product."""
    settings = race["settings"]
    rate = peak(limits, settings["threads"])
    models = settings["models"]
    least = {name: training_flops(MODELS[name]) * settings["samples"] / rate if rate else None for name in models}
    rows = [("the limit, s an epoch", *(number(least[name]) for name in models))]
    for contestant in settings["contestants"]:
        cells = []
        for name in models:
            found, limit = dict(ranking(race, name))[contestant], least[name]
            known = "problem" not in found and limit
            cells.append(approximate(number(found["epoch"] / limit), found["scaled"]) if known else "–")
        rows.append((f"{CONTESTANTS[contestant].title}, times the limit", *cells))
    header = ("", *(MODELS[name].title for name in models))
    return Table(f"Epochs against the limit of {settings['threads']} threads", header, rows)


def tables(parts: dict[str, Any]) -> list[Table]:
    """The machine, the models, and, after a race on the same processor, the contestants."""
    limits, race = parts["limits"], parts.get("race")
    found = [limit_table(limits), *map(cost_table, MODELS.values())]
    if race and race["machine"]["processor"] == limits["machine"]["processor"]:
        found.append(distance_table(limits, race))
    return found


PART = Part("limits", parser(__doc__), {}, measure, tables)

if __name__ == "__main__":
    main(PART)
