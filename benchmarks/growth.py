"""How the cost of an epoch grows with the samples, the batch size and the threads.

    python -m benchmarks.growth

The last step in samples is a million images (MNIST again and again) as bytes in a file, mapped into memory, which the model
itself rescales: more than anybody would like to hold as floats.
"""

import statistics
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from .contestants import BASELINE, CONTESTANTS
from .limits import peak, thread_counts
from .models import MODELS, OF_DIGITS
from .processes import data_folder, run
from .results import Part, Results, main, parser
from .summary import MEGABYTE
from .tables import Table, number
from .worker import Job


def repeat_images(folder: Path, target: Path, n: int) -> None:
    """train_bytes.npy and train_labels.npy in the target: those of the folder again and again until there are n."""
    x, y = np.load(folder / "train_bytes.npy", mmap_mode="r"), np.load(folder / "train_labels.npy")
    mapped = np.lib.format.open_memmap(target / "train_bytes.npy", "w+", x.dtype, (n, *x.shape[1:]))
    for start in range(0, n, len(x)):
        mapped[start : start + len(x)] = x[: n - start]
    mapped.flush()
    np.save(target / "train_labels.npy", np.resize(y, n))


def plan(folder: Path, million: Path, settings: dict[str, Any]) -> list[tuple[str, Job]]:
    """What to run, for the first contestant: (what is varied, the job)."""
    model, threads = settings["model"], settings["threads"]
    base = Job("", model, "epoch", str(folder), settings["sweep"], threads)
    jobs = [("samples", base._replace(samples=n)) for n in settings["samples"]]
    jobs += [("mapped", base._replace(samples=settings["samples"][-1], images="bytes"))]
    jobs += [("mapped", base._replace(samples=settings["mapped"], images="bytes", data=str(million)))]
    jobs += [("batch", base._replace(batch_size=size)) for size in settings["batch_sizes"]]
    return jobs + [("threads", base._replace(threads=count)) for count in thread_counts()]


def measure(results: Results, settings: dict[str, Any], console: Console) -> None:
    """Fill the part "growth"."""
    results.begin("growth", settings)
    with data_folder() as folder:
        million = folder / "million"
        million.mkdir()
        repeat_images(folder, million, settings["mapped"])
        failed: set[tuple[str, str]] = set()
        for name in settings["contestants"]:  # fills the caches
            run(Job(name, settings["model"], "start", str(folder), 1_000, settings["threads"]), folder / name)
        for round_number in range(settings["rounds"]):
            for what, job in plan(folder, million, settings):
                if round_number and job.samples == settings["mapped"]:
                    continue  # once is long enough
                for name in settings["contestants"]:
                    if (name, what) in failed:
                        continue
                    measured = run(job._replace(contestant=name), folder / name)
                    record = {"contestant": name, "what": what, "round": round_number, "samples": job.samples}
                    record |= {"batch_size": job.batch_size, "threads": job.threads}
                    results.add("growth", record | measured)
                    if "problem" in measured:
                        failed.add((name, what))
                    text = measured.get("problem") or f"{measured['epoch']:.2f} s"
                    size = job.batch_size or "the usual size"
                    varied = f"{job.samples} samples, batches of {size}, {job.threads} threads"
                    console.print(f"{what}: {varied}: {CONTESTANTS[name].title}: {text}")


def points(part: dict[str, Any], contestant: str, what: str, field: str) -> dict[int, dict[str, float]]:
    """The medians over the rounds of a contestant's records, and an epoch's "least" and "most", by the value of the field."""
    found: dict[int, list[dict[str, Any]]] = {}
    for r in part["records"]:
        if (r["contestant"], r["what"]) == (contestant, what) and "problem" not in r:
            found.setdefault(r[field], []).append(r)
    names = ("epoch", "peak_memory", "fit_memory", "own_memory")
    result: dict[int, dict[str, float]] = {}
    for value, records in sorted(found.items()):
        result[value] = {n: statistics.median(r[n] for r in records) for n in names if records[0][n] is not None}
        epochs = [r["epoch"] for r in records]
        if len(epochs) > 1:
            result[value] |= {"least": min(epochs), "most": max(epochs)}
    return result


def seconds_text(found: dict[str, float] | None) -> str:
    """An epoch's seconds, with the least and the most where it was timed several times."""
    if found is None:
        return number(None)
    text = number(found["epoch"])
    return f"{text} ({number(found['least'])}–{number(found['most'])})" if "least" in found else text


def ratio(part: dict[str, Any], what: str, field: str, above: tuple[str, Any], below: tuple[str, Any]) -> float | None:
    """Of two epochs, each a (contestant, value of the field that was varied): of each round, then the median."""
    found: dict[tuple[str, Any, int], float] = {}
    for r in part["records"]:
        if r["what"] == what and "problem" not in r:
            found[r["contestant"], r[field], r["round"]] = r["epoch"]
    rounds = range(part["settings"]["rounds"])
    ratios = [found[*above, n] / found[*below, n] for n in rounds if (*above, n) in found and (*below, n) in found]
    return statistics.median(ratios) if ratios else None


def problems(part: dict[str, Any], what: str) -> tuple[str, ...]:
    """A line for each contestant that failed at it."""
    records = [r for r in part["records"] if "problem" in r and r["what"] == what]
    return tuple(f"{CONTESTANTS[r['contestant']].title}, {what}: {r['problem']}" for r in records)


def samples_table(part: dict[str, Any]) -> Table:
    """Time and memory by number of samples."""
    settings = part["settings"]
    notes = (*problems(part, "samples"), *problems(part, "mapped"))
    rows = []
    for name in settings["contestants"]:
        for what, text in (("samples", "floats in memory"), ("mapped", "bytes in a mapped file")):
            for n, found in points(part, name, what, "samples").items():
                memory = (found.get(kind) for kind in ("peak_memory", "own_memory"))
                cells = (seconds_text(found), number(1e6 * found["epoch"] / n))
                sizes = (number(None if size is None else size / MEGABYTE) for size in memory)
                rows.append((f"{CONTESTANTS[name].title}, {text}", f"{n:,}", *cells, *sizes))
    header = ("", "samples", "s an epoch", "µs a sample", "peak memory, MB", "at the end, without mapped files, MB")
    explained = "A process's peak counts the pages of a mapped file, which the system takes back when it needs them."
    return Table(f"{MODELS[settings['model']].title}: samples", header, rows, (explained, *notes))


def batch_table(part: dict[str, Any]) -> Table:
    """Seconds by batch size for each contestant, and the ratio to the baseline's."""
    names = part["settings"]["contestants"]
    found = {name: points(part, name, "batch", "batch_size") for name in names}
    values = sorted({value for by_value in found.values() for value in by_value})
    rivals = [name for name in names if name != BASELINE and BASELINE in names]
    rows = []
    for value in values:
        ratios = [number(ratio(part, "batch", "batch_size", (name, value), (BASELINE, value))) for name in rivals]
        rows.append((f"{value:,}", *(seconds_text(found[name].get(value)) for name in names), *ratios))
    header = (
        "batch size",
        *(f"{CONTESTANTS[name].title}, s" for name in names),
        *(f"{CONTESTANTS[name].title} ÷ {CONTESTANTS[BASELINE].title}" for name in rivals),
    )
    title = f"{MODELS[part['settings']['model']].title}: batch size, {part['settings']['sweep']:,} samples"
    return Table(title, header, rows, problems(part, "batch"))


def threads_table(part: dict[str, Any], limits: dict[str, Any] | None) -> Table:
    """Seconds by number of threads, and the gain over one thread beside that of independent matrix products."""
    names = part["settings"]["contestants"]
    found = {name: points(part, name, "threads", "threads") for name in names}
    values = sorted({value for by_value in found.values() for value in by_value})
    rows = []
    for value in values:
        most, single = (peak(limits, count) if limits else None for count in (value, 1))
        product = most / single if most and single else None
        cells = []
        for name in names:
            gain = ratio(part, "threads", "threads", (name, 1), (name, value))
            share = gain / product if gain and product else None
            cells += [seconds_text(found[name].get(value)), number(gain), number(share)]
        rows.append((str(value), *cells, number(product)))
    columns = [
        text for name in names for text in (f"{CONTESTANTS[name].title}, s", "gain over 1", "of the products' gain")
    ]
    header = ("threads", *columns, "gain of matrix products")
    title = f"{MODELS[part['settings']['model']].title}: threads, {part['settings']['sweep']:,} samples"
    return Table(title, header, rows, problems(part, "threads"))


def tables(parts: dict[str, Any]) -> list[Table]:
    """Samples, batch sizes and threads."""
    part = parts["growth"]
    return [samples_table(part), batch_table(part), threads_table(part, parts.get("limits"))]


def options() -> ArgumentParser:
    """The command line's."""
    result = parser(__doc__)
    result.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=["minidl", BASELINE])
    result.add_argument("--model", choices=OF_DIGITS, default="cnn")
    result.add_argument("--rounds", type=int, default=2, help="turns of each; the mapped file has one (default: 2)")
    result.add_argument("--samples", type=int, nargs="+", default=[1_000, 10_000, 60_000], help="in memory, as floats")
    result.add_argument("--mapped", type=int, default=1_000_000, help="samples in the file (default: 1000000)")
    result.add_argument("--batch-sizes", type=int, nargs="+", default=[2**power for power in range(4, 12)])
    result.add_argument("--sweep", type=int, default=20_000, help="samples where something else is varied")
    return result


QUICK = {"samples": [500, 1_000], "mapped": 3_000, "batch_sizes": [64, 512], "sweep": 1_000, "rounds": 1}
PART = Part("growth", options(), QUICK, measure, tables)

if __name__ == "__main__":
    main(PART)
