"""What the examples' recipes reach on the test digits: each run is one file in docs/accuracy, and the page is made of them.

    python -m benchmarks.recipes best --seed 3     runs one recipe with one seed, and writes docs/accuracy/best-3.json
    python -m benchmarks.recipes sprint --all      runs it with all seeds of the protocol that are missing
    python -m benchmarks.recipes --ablation        short runs of the best recipe, each without one of its parts, or with one more
    python -m benchmarks.recipes --speed           seconds an epoch of the best network, beside PyTorch's best configuration
    python -m benchmarks.recipes --list            which runs there are, and which are missing
    python -m benchmarks.recipes --write           writes docs/accuracy.md with its pictures

A run that was stopped goes on where it was, if the recipe does. A seed that is there is not run again: seeds are never picked.
"""

import argparse
import json
import math
import runpy
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from minidl.machine import describe, processor, thread_counts

from . import limits, race
from .contestants import BASELINES
from .results import main as measure
from .results import slug, write_json
from .summary import overview, race_tables
from .tables import Table, markdown, number

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "accuracy"
PAGE = ROOT / "docs" / "accuracy.md"
KEPT = Path("recipes")  # trained networks, of which the ensemble is made, and backups


class Recipe(NamedTuple):
    """example: its name. arguments: beside --seed and --threads. seeds: how many the protocol asks for, from 0 on. resumes:
    whether the example has a --folder that it resumes from. goal: in words. members: the recipe whose networks it puts together,
    which is run first."""

    example: str
    arguments: tuple[str, ...]
    seeds: int
    title: str
    resumes: bool = False
    goal: str = "–"
    members: str = ""


RECIPES = {
    "best": Recipe("mnist_best", (), 5, "one network", True, "≤ 0.30 %"),
    "best-short": Recipe("mnist_best", ("--epochs", "4"), 1, "one network, a tenth of the epochs", True),
    "best-long": Recipe("mnist_best", ("--epochs", "126"), 3, "one network, three times the epochs", True, "≤ 0.25 %"),
    "ensemble": Recipe("mnist_best", ("--ensemble", "5"), 1, "five networks, which vote", True, "≤ 0.22 %", "best"),
    "sprint": Recipe("mnist_sprint", (), 10, "a sprint to 99 %", goal="≤ 1.00 %"),
    "sprint-classic": Recipe("mnist_sprint", ("--classic",), 10, "the recipe that the sprint began as"),
    "small": Recipe("mnist_small", (), 5, "fewer than 10,000 parameters", True, "≤ 0.50 %"),
}
# What each part of the best recipe brings: short runs, judged on training digits that they are not trained on.
SHORT = ("--validate", "--epochs", "6")
PARTS = ("augmentation", "dropout", "smoothing", "schedule", "averages", "copies")
ABLATION = {"whole": Recipe("mnist_best", SHORT, 3, "the recipe", True)} | {
    f"without-{part}": Recipe("mnist_best", (*SHORT, "--without", part), 3, f"without {part}", True) for part in PARTS
}
ABLATION["with-normalization"] = Recipe(
    "mnist_best", (*SHORT, "--with", "normalization"), 3, "with batch normalization", True
)
EVERY = RECIPES | ABLATION
RACED = ("minidl", *BASELINES)
DEOTTE, HYSTS = "github.com/cdeotte/MNIST-CNN-99.75", "github.com/hysts/pytorch_image_classification"
PUBLISHED = (  # what it is, the test error in %, what was chosen on the test digits, and who says so
    ("Deotte 2018, one network, 30 epochs, the mean of 1,500", 0.359, "nothing that is told", DEOTTE),
    ("Deotte 2018, 15 networks together, the mean of 100", 0.255, "nothing that is told", DEOTTE),
    (
        "ResNet-preact-20, Cutout 8, 100 epochs, the last one",
        0.25,
        "the best of six sizes of Cutout is cited here",
        HYSTS,
    ),
    ("An et al. 2020, three networks that vote, 150 epochs", 0.13, "the epoch", "arXiv:2008.10400"),
)
# Whose label most people who were asked do not agree with: Northcutt et al. 2021, labelerrors.com.
DOUBTFUL = {947, 1621, 1901, 2462, 2597, 3558, 5937, 6651, 6783, 9729, 2654, 3520, 9679, 2130, 8527}
T_95 = [
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
]  # of Student's t, for 1, 2, … degrees of freedom

OPENING = """# How few errors

What the examples' recipes reach on the 10,000 test digits of MNIST. This page is written by a program: every number comes from a
file in `docs/accuracy`, one for each run, which holds the digits that it got wrong and the machine it ran on.

```sh
python -m benchmarks.recipes best --seed 0     # one run; --all: all seeds that are missing
python -m benchmarks.recipes --ablation        # the best recipe, each time without one of its parts, or with one more
python -m benchmarks.recipes --speed           # an epoch of the best network beside PyTorch's, without augmentation in both
python -m benchmarks.recipes --list            # which runs are missing
python -m benchmarks.recipes --write           # this page
```

**The protocol.** All 60,000 training digits are trained on. Whatever was chosen was chosen on a part of those alone, the number
of epochs among it. The weights are those at the end of the training. The test digits are looked at once a run. Seeds count from 0
and none is left out. ± is the 95 % interval of the mean over the seeds (Student's t). *Undoubted* leaves out 15 test digits whose
label most people who were asked do not agree with (Northcutt et al. 2021).
"""


def run(name: str, seed: int, threads: int, samples: int = 60_000, epochs: int | None = None) -> dict[str, Any]:
    """Run an example with this seed, in this process, and say what it reached. samples, epochs: fewer, to see whether it runs."""
    recipe = EVERY[name]
    if recipe.members and len(results()[recipe.members]) < RECIPES[recipe.members].seeds:
        raise SystemExit(f"{name} puts together the networks of {recipe.members}: run that with --all first.")
    arguments = [*recipe.arguments, "--seed", seed, "--threads", threads, "--samples", samples]
    arguments += ["--folder", KEPT / (recipe.members or name)] if recipe.resumes else []
    arguments += [] if epochs is None else ["--epochs", epochs]
    script = str(ROOT / "examples" / f"{recipe.example}.py")
    before, sys.argv = sys.argv, [script, *map(str, arguments)]
    machine = describe()
    try:
        found = runpy.run_path(script, run_name="__main__")
    finally:
        sys.argv = before
    models = found.get("models") or [found["model"]]
    seen = found["args"].epochs * len(found["x_train"]) * len(models)
    return {
        "recipe": name,
        "seed": seed,
        "epochs": found["args"].epochs,
        "samples": len(found["x_train"]),
        "threads": threads,
        "seconds": round(found["seconds"], 2),
        "cpu_seconds": round(found["cpu_seconds"], 2),
        "parameters": sum(model.count_params() for model in models),
        "tflop": round(seen * training_flops(models[0]) / 1e12, 3),
        "wrong": {int(i): int(found["predictions"][i]) for i in found["wrong"]},
        "machine": machine,
    }


def training_flops(model: Any) -> int:
    """Of one sample, forward and backward: two for each weight of a convolution or dense layer and each place that it is used at,
    and as many for each of the two gradients; the first layer's input needs none."""
    forward = []
    for _, layer in model.leaves():
        if "kernel" in layer.params:
            forward.append(2 * layer.params["kernel"].size * math.prod(layer.output_shape[:-1]))
    return 3 * sum(forward) - forward[0]


def results() -> dict[str, list[dict[str, Any]]]:
    """The runs that there are, by recipe, in the order of their seeds."""
    found = [json.loads(path.read_text()) for path in FOLDER.glob("*.json")]
    found.sort(key=lambda result: result["seed"])
    return {name: [each for each in found if each["recipe"] == name] for name in EVERY}


def error(result: dict[str, Any], undoubted: bool = False) -> float:
    """In percent."""
    left_out = DOUBTFUL if undoubted else set()
    return 100 * len({int(i) for i in result["wrong"]} - left_out) / (10_000 - len(left_out))


def mean_with_interval(values: Sequence[float], form: str = ".3f") -> str:
    """The mean, and ± its 95 % interval where there are several values."""
    text = f"{statistics.mean(values):{form}}"
    if len(values) < 2:
        return text
    t = T_95[min(len(values) - 1, len(T_95)) - 1]
    return f"{text} ± {t * statistics.stdev(values) / math.sqrt(len(values)):.3f}"


def tables(found: dict[str, list[dict[str, Any]]]) -> list[Table]:
    """The recipes, and every run."""
    rows, every = [], []
    for name, recipe in RECIPES.items():
        runs = found[name]
        if not runs:
            rows.append((recipe.title, "not run yet", *["–"] * 7, recipe.goal, f"0 of {recipe.seeds}"))
            continue
        seconds, cpu = (statistics.median(r[key] for r in runs) for key in ("seconds", "cpu_seconds"))
        rows.append(
            (
                f"{recipe.title} (`{recipe.example}.py {' '.join(recipe.arguments)}`)".replace(" `)", "`)"),
                mean_with_interval([error(r) for r in runs]),
                mean_with_interval([error(r, undoubted=True) for r in runs]),
                number(seconds / 60),
                number(cpu / 60),
                " or ".join(map(str, sorted({r["threads"] for r in runs}))),
                number(statistics.mean(r["tflop"] for r in runs)),
                f"{runs[0]['parameters']:,}",
                str(runs[0]["epochs"]),
                recipe.goal,
                f"{len(runs)} of {recipe.seeds}",
            )
        )
        for r in runs:
            threads = f"{r['threads']} thread{'s' if r['threads'] > 1 else ''}"
            machine = f"{r['machine']['processor']}, {threads}, load {r['machine']['load average before']}"
            if recipe.members:
                machine = f"the runs of {recipe.members}"
            every.append(
                (name, str(r["seed"]), f"{error(r):.2f}", f"{error(r, True):.2f}", number(r["seconds"]), machine)
            )
    header = (
        "",
        "error, %",
        "undoubted, %",
        "minutes",
        "CPU minutes",
        "threads",
        "TFLOP",
        "parameters",
        "epochs",
        "goal",
        "seeds",
    )
    single = ("recipe", "seed", "error, %", "undoubted, %", "seconds", "machine, and how busy it was before")
    note = "Minutes are medians over the seeds; they depend on the machine and on what else it had to do, which is said below."
    published = [(what, f"{value:.3f}", chosen, source) for what, value, chosen, source in PUBLISHED]
    others = ("", "error, %", "chosen on the test digits", "source")
    return [
        Table("The recipes", header, rows, (note,)),
        Table("Published by others", others, published),
        ablation(found),
        *speed(),
        Table("Every run", single, every),
    ]


def ablation(found: dict[str, list[dict[str, Any]]]) -> Table:
    """The short runs without one of the parts, or with one more, beside the recipe's, seed by seed."""
    whole, rows = found["whole"], []
    for name, recipe in ABLATION.items():
        runs = found[name]
        errors = {run["seed"]: error(run) for run in runs}
        change = [errors[run["seed"]] - error(run) for run in whole if run["seed"] in errors]
        rows.append(
            (
                recipe.title,
                mean_with_interval(list(errors.values())) if runs else "not run yet",
                mean_with_interval(change, "+.3f") if change and runs is not whole else "–",
                number(statistics.median(run["cpu_seconds"] for run in runs) / 60) if runs else "–",
                f"{len(runs)} of {recipe.seeds}",
            )
        )
    note = (
        "Trained for 6 epochs on 50,000 of the training digits and asked about the other 10,000, never about the test digits. "
        "The change is that of the same seed; where its interval contains 0, these runs do not show what the part brings. "
        "So short a training needs less of what keeps a long one from learning its digits by heart."
    )
    return Table("What each part brings", ("", "error, %", "change", "CPU minutes", "seeds"), rows, (note,))


def measure_speed(threads: int, *options: str) -> None:
    """The race for the best network, without its augmentation on both sides, and what the machine could do at best."""
    where = ["--output", str(FOLDER / "speed" / slug(processor())), "--threads", str(threads), *options]
    measure(race.PART, [*where, "--models", "mnist_best", "--contestants", *RACED])
    measure(limits.PART, where)


def speed() -> list[Table]:
    """What ``measure_speed`` has found, on each processor that it was run on."""
    found = []
    for path in sorted(FOLDER.glob("speed/*/results.json")):
        parts = json.loads(path.read_text())
        tables = overview(parts["race"]), race_tables(parts["race"], "mnist_best")[0]
        where = parts["race"]["machine"]["processor"]
        for table in (*tables, limits.distance_table(parts["limits"], parts["race"])):
            found.append(table._replace(title=f"{table.title} ({where})"))
    return found


def write_page() -> None:
    """docs/accuracy.md, and its pictures."""
    from .recipe_charts import draw  # matplotlib takes a second to load

    found = results()
    texts = [OPENING, *(markdown(table) for table in tables(found))]
    on_test_digits = {name: found[name] for name in RECIPES}
    pictures = draw(on_test_digits, FOLDER)
    texts[2:2] = [f"![{alt}](accuracy/{file})\n" for file, alt in pictures.items()]
    PAGE.write_text("\n".join(texts), encoding="utf-8")


def run_missing(name: str, seeds: Sequence[int], threads: int) -> None:
    """Run a recipe with those of the seeds that there is no file of yet."""
    FOLDER.mkdir(exist_ok=True)
    for seed in seeds:
        path = FOLDER / f"{name}-{seed}.json"
        if not path.exists():
            write_json(path, run(name, seed, threads))
            print(f"Wrote {path}.")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("recipe", nargs="?", choices=EVERY)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--all", action="store_true", help="all seeds that are missing, instead of one")
    options.add_argument("--ablation", action="store_true", help="all runs without a part that are missing")
    options.add_argument("--speed", action="store_true", help="measure an epoch of the best network beside PyTorch's")
    options.add_argument("--threads", type=int, default=thread_counts()[-1], help="(default: one per core)")
    options.add_argument("--list", action="store_true", help="which runs there are")
    options.add_argument("--write", action="store_true", help="write the page")
    chosen = options.parse_args()
    if chosen.recipe:
        path = FOLDER / f"{chosen.recipe}-{chosen.seed}.json"
        if path.exists() and not chosen.all:
            options.error(f"{path} is there already: a seed is run once.")
        run_missing(chosen.recipe, range(EVERY[chosen.recipe].seeds) if chosen.all else [chosen.seed], chosen.threads)
    if chosen.ablation:
        for seed in range(ABLATION["whole"].seeds):  # by seed: wherever it is stopped, there is something to compare
            for name in ABLATION:
                run_missing(name, [seed], chosen.threads)
    if chosen.speed:
        measure_speed(chosen.threads)
    if chosen.list:
        for name, runs in results().items():
            print(f"{name}: seeds {[r['seed'] for r in runs]} of {EVERY[name].seeds}")
    if chosen.write:
        write_page()
        print(f"Wrote {PAGE}.")


if __name__ == "__main__":
    main()
