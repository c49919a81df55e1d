"""The pictures of the page about errors: error over CPU minutes, and the digits that every seed gets wrong."""

import statistics
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from minidl.datasets import mnist

from .charts import OTHERS, OURS, STYLE

MOST_SHOWN = 40
PUBLISHED = {0.359: "Deotte, one network", 0.25: "ResNet-20, Cutout", 0.13: "An et al., three networks*"}


def draw(found: dict[str, list[dict[str, Any]]], folder: Path) -> dict[str, str]:
    """Write them as SVG. Returns {file: what it shows}."""
    drawn = {}
    with plt.rc_context(STYLE):
        for file, alt, figure in (
            ("errors.svg", "Test error over CPU minutes, a point for each run", errors(found)),
            ("wrong.svg", "The digits that every seed gets wrong", wrong(found["best"])),
        ):
            if figure is not None:
                figure.savefig(folder / file, metadata={"Date": None})
                plt.close(figure)
                drawn[file] = alt
    return drawn


def errors(found: dict[str, list[dict[str, Any]]]) -> Figure | None:
    """A point for each run, lines for what was published, whose CPU minutes nobody says."""
    if not any(found.values()):
        return None
    figure, axes = plt.subplots(figsize=(10, 4), layout="constrained")
    for name, runs in found.items():
        if runs:
            minutes, percent = [r["cpu_seconds"] / 60 for r in runs], [len(r["wrong"]) / 100 for r in runs]
            axes.plot(minutes, percent, "o", color=OURS, alpha=0.5)
            place = statistics.mean(minutes), max(percent)
            axes.annotate(name, place, textcoords="offset points", xytext=(0, 6), ha="center")
    for value, name in PUBLISHED.items():
        axes.axhline(value, color=OTHERS, linestyle="--", linewidth=1, zorder=0)
        axes.annotate(name, (0.01, value), xycoords=("axes fraction", "data"), va="bottom", color=OTHERS)
    axes.set(xscale="log", yscale="log", xlabel="CPU minutes of training", ylabel="test error, %")
    axes.set_xticks([0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100])
    axes.set_yticks([0.1, 0.2, 0.3, 0.5, 1])
    axes.margins(y=0.12)
    axes.set_xlim(0.01, 200)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    axes.set_title("* with epochs chosen on the test digits")
    return figure


def wrong(runs: list[dict[str, Any]]) -> Figure | None:
    """The test digits that all of these runs get wrong: the label, and what they read."""
    shared = sorted(set.intersection(*({int(i) for i in r["wrong"]} for r in runs))) if runs else []
    if not shared:
        return None
    _, (images, labels) = mnist.load_data()
    columns = min(10, len(shared))
    rows = -(-len(shared[:MOST_SHOWN]) // columns)
    figure, panels = plt.subplots(rows, columns, figsize=(10, 1.35 * rows + 0.4), squeeze=False, layout="constrained")
    for axes in panels.flat:
        axes.axis("off")
    for axes, i in zip(panels.flat, shared, strict=False):
        axes.imshow(images[i], cmap="gray_r")
        read = "/".join(map(str, sorted({r["wrong"][str(i)] for r in runs})))
        axes.set_title(f"{labels[i]} → {read}", loc="center")
    figure.suptitle(f"{len(shared)} test digits that {len(runs)} seeds all get wrong: the label → what they read")
    return figure
