"""Writes docs/benchmarks.md with its charts, and docs/performance.md, from the results; no number in them is typed by hand.

python -m benchmarks.page benchmarks/results/results.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

from minidl.machine import processor

from . import accuracy, growth, kernels, limits, race, random, steps, summary
from .charts import draw
from .contestants import CONTESTANTS
from .models import MODELS
from .results import slug, write_json
from .tables import Table, markdown, number

PARTS = (race.PART, random.PART, limits.PART, growth.PART, accuracy.PART, kernels.PART, steps.PART)
DOCS = Path(__file__).parent.parent / "docs"

OPENING = """# Benchmarks

How fast minidl is, beside others and beside what the machine could do. This page is written by a program: every number on it
comes from a file of results. There is one for each processor that somebody ran it on. The last one fills this page, and what it
lacks comes from the newest of the others; the first table says which part is of which processor. How fast *your* machine is, in
about a minute and without the others:

```sh
python -m minidl.benchmark
```

The whole page for your machine takes hours and some gigabytes of memory and disk; it says as it goes how many minutes are left:

```sh
.venv/bin/pip install -e '.[plot]'
.venv/bin/python -m benchmarks.install      # the other libraries, each in an environment of its own
.venv/bin/python -m benchmarks              # measures everything and writes this page
```

Times of different machines or days cannot be compared. Ratios can, and they are taken between neighbours: the contestants take
turns, each in a process of its own, and a ratio to the others is that of one round, then the median over the rounds, with the
least and the most beside it. How the C library keeps memory is set by minidl for itself while it trains; the others run as they
are installed. Everything is kept to the same processors where the system allows it, one of each core first. Run it
on an idle machine: libraries whose threads wait for each other by spinning suffer most from company.
"""

TEXTS = {
    "race": """## The race

Every library trains the same models on the same digits, with the same batch size, Adam with the same learning rate, and the
same number of threads, held to as many cores by the system. A row whose library is not installed says so. Images are floats in
memory. Models whose samples are not of a digit's shape train on random numbers, labelled by a rule that can be learnt. Each
contestant is written as its good users write it; their adapters are in `benchmarks/contestants`. A library that crashes, or that
cannot train a model, has a row that says so. *PyTorch at its best* is the fastest of its rows in the same round.

- *An epoch* is timed after a warm-up of some batches. *Start to first epoch* is everything from the start of the process to
  the end of that epoch, the warm-up included, reading the data left out.
- *Cold* is a process with empty caches of compiled code, *warm* one that finds those of an earlier process. *Build and first
  step* is what a library takes to make and compile a model and train on its first batch.
- *Evaluate* is predicting the 10,000 test images, once, and counting. *Predict* is the median of many calls. *Added by training*
  is how far the peak of memory rises from just before the first step, with the data in memory and the model built.
- *Test accuracy* is that after the warm-up and the timed epochs, so that nobody wins by not learning.
- A figure with ~ was measured on a part of the samples and scaled up.
""",
    "random": """## Networks that nobody tuned for

Drawn from a seed: convolutional ones with 1–4 channels, 12–64 pixels, one to three convolutions of 4–64 filters, windows from
1 × 1 to 7 × 7, strides, both paddings, with and without pools; and dense ones with 4–784 inputs, one to three layers of 8–512
units and batches of 1–256. Maps that become too small, and networks of which a step would take seconds, are drawn again. The
ratio is to the fastest of the others in the same round, of which there are fewer than in the race: eager PyTorch in both orders
of channels, and for dense networks twenty lines of NumPy. Another seed: `python -m benchmarks.random --seed 7`.
""",
    "limits": """## The limit

A library can hardly compute faster than the matrix product of the machine's own BLAS. So the multiply-adds of each model are
counted layer by layer, and an epoch at the speed of the best matrix product, measured with independent products in each thread,
is the limit. Whatever moves memory comes on top of it. It is no floor: the count is the dense one, and on the way back through a
pool three of four products are with zeros and may be left out. The bandwidth is that of reading and writing together.
""",
    "growth": """## How cost grows

The same model with more samples, other batch sizes and more threads. A batch keeps one thread of minidl busy for each 100 samples
begun, and two from 16 samples on. The last step in samples is MNIST again and again as bytes
in a memory-mapped file, which a rescaling layer makes floats batch by batch.
""",
    "accuracy": """## Time to accuracy

Seconds are worth nothing if nothing is learnt in them.
""",
    "kernels": """## Operation by operation

Each operation of `minidl.ops` alone: the NumPy reference, to be read, and the kernel, to be run.

The ladder below it is the same convolution, with bias, ReLU and max-pool, written six times, from the definition to the engine;
it is meant to be read, in `benchmarks/ladder.py`. All rungs give the same numbers, which is checked before they are timed. The
loops in Python do one image, once. The engine's step does more than the others: it also remembers where each maximum stood.
""",
    "steps": """## Step by step

The same samples with one idea of the engine left out. What each of them is: [performance.md](performance.md).
""",
}
CHARTS = {
    "race": (("race", "Seconds an epoch"), ("start", "Seconds to the first step")),
    "random": (("random", "minidl's time divided by the fastest other's, network by network"),),
    "growth": (("growth", "Cost by samples, batch size and threads"),),
    "accuracy": (("accuracy", "Test accuracy over seconds of training"),),
    "kernels": (("kernels", "The ladder"),),
}


PERFORMANCE = """# How the engine gets its speed

You need none of this to read the layers or `ops/reference`. It is about what the engine's steps (`minidl/engine/steps.py`)
do in their place, idea by idea. Each was measured by leaving it out: the numbers after it say how many times as long a pass over
the same samples then takes, on networks drawn from a seed that nothing was tuned for, and on the known one for which it does
most; networks that it does nothing for are left out. The last row of the table at the end leaves nothing out, so it is noise: a
number that is no further from 1 is not in bold. This page is written by a program, `python -m benchmarks`.
"""


def text(parts: dict[str, Any], files: dict[str, str], machines: dict[str, dict[str, Any]]) -> str:
    """The page in Markdown. files: the charts' names, by chart. machines: all files of results that are kept, by name."""
    sections = [OPENING, markdown(machine_table(parts)), markdown(machines_table(machines))]
    for part in PARTS:
        if part.name not in parts:
            continue
        sections.append(TEXTS[part.name])
        charts = [(title, files[name]) for name, title in CHARTS.get(part.name, ()) if name in files]
        sections += [f"![{title}](benchmarks/{file})\n" for title, file in charts]
        sections += [markdown(table) for table in part.tables(parts)]
        settings = ", ".join(f"{name} {_plain(value)}" for name, value in parts[part.name]["settings"].items())
        sections.append(f"Settings: {settings}.\n")
    return "\n".join(sections)


def performance(parts: dict[str, Any]) -> str:
    """How the engine gets its speed: a section a step, each with its gain."""
    part = parts["steps"]
    groups = steps.groups(part["settings"])
    machine, noise = part["machine"], steps.noise(part)
    sections = [
        PERFORMANCE,
        f"Measured on {machine['processor']}, {part['settings']['threads']} threads, {machine['begun']}.\n",
    ]
    for step in steps.STEPS:
        found = {title: steps.gain(part, step, names) for title, names in groups.items()}
        gains = {title: value for title, value in found.items() if value is not None}
        random_ones = {title.lower(): gains.pop(title) for title in random.TITLES.values() if title in gains}
        most = max(gains, key=lambda title: gains[title], default="")
        shown = random_ones | ({most: gains[most]} if most else {})
        times = ", ".join(
            f"{title} {f'**{number(value)}**' if value > noise else number(value)}" for title, value in shown.items()
        )
        sections.append(f"## {step.title}\n\n{step.text} {times or '–'} times as long.\n")
    sections += ["## All of it\n", *(markdown(table) for table in steps.tables(parts))]
    return "\n".join(sections)


def machine_table(parts: dict[str, Any]) -> Table:
    """What each part was measured on, in one column where all agree, and the versions of the contestants."""
    described = {part.name: parts[part.name]["machine"] for part in PARTS if part.name in parts}
    rows = []
    for key in next(iter(described.values()), {}):
        values: dict[str, list[str]] = {}
        for name, machine in described.items():
            values.setdefault(machine.get(key, "–"), []).append(name)
        same = len(values) == 1
        shown = "; ".join(value if same else f"{value} ({', '.join(names)})" for value, names in values.items())
        rows.append((key, shown))
    for name, contestant in CONTESTANTS.items():
        records = [r for part in parts.values() for r in part["records"] if r.get("contestant") == name]
        found = [r["versions"] for r in records if "versions" in r]
        if found:
            rows.append((contestant.title, ", ".join(f"{package} {version}" for package, version in found[-1].items())))
    return Table("The machine and the versions", ("", ""), rows)


def machines_table(machines: dict[str, dict[str, Any]]) -> Table:
    """The processors side by side: the matrix product, and minidl's epoch divided by that of the fastest other."""
    models = [model for model in MODELS if any(model in _raced(parts) for parts in machines.values())]
    rows = []
    for name, parts in sorted(machines.items()):
        race, found = parts.get("race"), parts.get("limits")
        records = summary.overview(race).rows if race else []
        ratios = dict(zip(_raced(parts), (row[3] for row in records), strict=True))
        threads = race["settings"]["threads"] if race else None
        product = limits.peak(found, threads) if found and threads else None
        cells = [ratios.get(model, "–") for model in models]
        link = f"[{_processor(parts)}](benchmarks/{name})"
        begun = race["machine"]["begun"] if race else "–"
        rows.append((link, begun, str(threads or "–"), number(product / 1e9 if product else None), *cells))
    header = ("processor", "raced", "threads", "matrix product, GFLOP/s", *(MODELS[model].title for model in models))
    return Table("All processors: minidl's epoch ÷ the fastest other's", header, rows)


def _raced(parts: dict[str, Any]) -> list[str]:
    """The models of the race."""
    return parts["race"]["settings"]["models"] if "race" in parts else []


def _processor(parts: dict[str, Any]) -> str:
    """The name of the processor that the results are of."""
    return next((part["machine"]["processor"] for part in parts.values()), processor())


def file_name(parts: dict[str, Any]) -> str:
    """Of the results that are kept for this processor: amd-epyc-family-25-model-1.json."""
    return f"{slug(_processor(parts))}.json"


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def write(parts: dict[str, Any], docs: Path = DOCS) -> None:
    """This processor's results, benchmarks.md with its charts, and performance.md. What these results lack is shown of the newest
    of the other processors'."""
    folder = docs / "benchmarks"
    machines = {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    machines[file_name(parts)] = parts
    every = [(name, part) for found in machines.values() for name, part in found.items()]
    shown = dict(sorted(every, key=lambda named: named[1]["machine"]["begun"])) | parts
    files = draw(shown, folder)
    write_json(folder / file_name(parts), parts)
    (docs / "benchmarks.md").write_text(text(shown, files, machines))
    if "steps" in shown:
        (docs / "performance.md").write_text(performance(shown))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("results", type=Path, help="results.json of a run")
    options.add_argument("--docs", type=Path, default=DOCS, help="the folder that gets benchmarks.md (default: docs)")
    chosen = options.parse_args()
    try:
        parts = json.loads(chosen.results.read_text())
    except FileNotFoundError:
        options.error(f"there is no {chosen.results}. Measure first: python -m benchmarks.")
    write(parts, chosen.docs)
    print(f"wrote {chosen.docs / 'benchmarks.md'}")


if __name__ == "__main__":
    main()
