"""The charts of the page, as SVG; the same results give the same bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from . import random
from .contestants import BASELINES, CONTESTANTS
from .growth import points
from .models import MODELS
from .summary import ranking
from .tables import approximate, number

STYLE = {
    "svg.hashsalt": "minidl",  # or else every run names its elements anew
    "svg.fonttype": "path",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "figure.facecolor": "white",  # opaque, so that it can be read on a dark page too
    "savefig.facecolor": "white",
}
OURS, BASE, OTHERS, LIGHT = "#c2410c", "#1d4ed8", "#64748b", "#fdba74"


def draw(parts: dict[str, Any], folder: Path, suffix: str = "svg") -> dict[str, str]:
    """Write a chart for every part that there is. Returns the files' names by part; the race has a second, "start"."""
    drawers: dict[str, tuple[str, Callable[[dict[str, Any]], Figure]]] = {
        "race": ("race", epochs),
        "start": ("race", starts),
        "random": ("random", distribution),
        "growth": ("growth", growth),
        "accuracy": ("accuracy", curves),
        "kernels": ("kernels", ladders),
    }
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, (part, drawer) in drawers.items():
        if part not in parts:
            continue
        with plt.rc_context(STYLE):
            figure = drawer(parts[part])
            files[name] = f"{name}.{suffix}"
            figure.savefig(folder / files[name], metadata={"Date": None} if suffix == "svg" else None)
            plt.close(figure)
    return files


def colour(contestant: str) -> str:
    """Ours, what ratios are to, and everybody else."""
    return OURS if contestant == "minidl" else BASE if contestant in BASELINES else OTHERS


def _bars(axes: Axes, labels: list[str], values: list[float], texts: list[str], colours: list[str]) -> None:
    """Horizontal bars from top to bottom, each with its number behind it."""
    bars = axes.barh(range(len(values)), values, color=colours)
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # what a line behind it must not cross out
    axes.bar_label(bars, texts, padding=3, fontsize=9, bbox=behind)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()


def epochs(part: dict[str, Any]) -> Figure:
    """Seconds an epoch, a panel for each model."""
    models = part["settings"]["models"]
    rows = -(-len(models) // 2)
    figure, panels = plt.subplots(
        rows, min(2, len(models)), figsize=(10, 3 * rows), squeeze=False, layout="constrained"
    )
    for axes, model in zip(panels.flat, models, strict=False):
        found = [(name, figures) for name, figures in ranking(part, model) if "problem" not in figures]
        seconds = [figures["epoch"] for _, figures in found]
        texts = [approximate(number(figures["epoch"]), figures["scaled"]) for _, figures in found]
        _bars(axes, [CONTESTANTS[name].title for name, _ in found], seconds, texts, [colour(name) for name, _ in found])
        axes.set_title(MODELS[model].title)
        axes.set_xlabel(f"seconds for {part['settings']['samples']:,} samples")
        axes.set_xlim(0, 1.15 * max(seconds, default=1))
    for axes in panels.flat[len(models) :]:
        axes.set_axis_off()
    return figure


def starts(part: dict[str, Any]) -> Figure:
    """From the start of the process to the end of the first step, with empty caches and with full ones."""
    models = part["settings"]["models"]
    model = "cnn" if "cnn" in models else models[0]
    found = [(name, figures) for name, figures in ranking(part, model) if "cold_start_to_first_step" in figures]
    figure, axes = plt.subplots(figsize=(10, 1.2 + 0.6 * len(found)), layout="constrained")
    for offset, key, label, tone in (
        (-0.2, "cold_start_to_first_step", "empty caches", OTHERS),
        (0.2, "start_to_first_step", "full caches", LIGHT),
    ):
        values = [figures[key] for _, figures in found]
        bars = axes.barh([i + offset for i in range(len(found))], values, height=0.38, color=tone, label=label)
        axes.bar_label(bars, [number(value) for value in values], padding=3, fontsize=9)
    axes.set_yticks(range(len(found)), [CONTESTANTS[name].title for name, _ in found])
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("seconds")
    axes.set_title(f"{MODELS[model].title}: from the start of the process to the end of the first step")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def distribution(part: dict[str, Any]) -> Figure:
    """The ratio of every drawn network, sorted, with the range over the rounds; a panel a kind."""
    kinds = part["settings"]["kinds"]
    figure, panels = plt.subplots(1, len(kinds), figsize=(11, 4), squeeze=False, layout="constrained", sharey=True)
    for axes, kind in zip(panels.flat, kinds, strict=True):
        found = [values for _, values in random.ranking(part, kind) if values["ratio"] is not None]
        for place, values in enumerate(found):
            tone = OURS if values["ratio"] <= 1 else OTHERS
            axes.plot([place] * len(values["ratios"]), list(values["ratios"].values()), color=tone, linewidth=1)
            axes.plot(place, values["ratio"], "o", color=tone)
        axes.axhline(1, color="black", linestyle="--", linewidth=1, zorder=0)
        axes.set(title=random.TITLES[kind], xlabel="networks, the worst first", yscale="log", xticks=[])
        if found:
            mean = random.geometric_mean([values["ratio"] for values in found])
            axes.axhline(mean, color=OURS, linewidth=1, zorder=0)
            axes.annotate(f"geometric mean {number(mean)}", (len(found) - 1, mean), ha="right", va="bottom", color=OURS)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    panels.flat[0].set_ylabel("minidl's time ÷ the fastest other's")
    return figure


def growth(part: dict[str, Any]) -> Figure:
    """Samples, batch size and threads side by side."""
    figure, (samples, batches, threads) = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained")
    names = part["settings"]["contestants"]
    for name in names:
        style = {"color": colour(name), "marker": "o"}
        title = CONTESTANTS[name].title
        for what, line in (("samples", "-"), ("mapped", ":")):
            found = points(part, name, what, "samples")
            seconds = [1e6 * values["epoch"] / n for n, values in found.items()]
            label = f"{title}, mapped bytes" if what == "mapped" else title
            samples.plot(list(found), seconds, line, label=label, **style)
        found = points(part, name, "batch", "batch_size")
        batches.plot(list(found), [values["epoch"] for values in found.values()], **style)
        found = points(part, name, "threads", "threads")
        one = found.get(1, {}).get("epoch")
        if one:
            threads.plot(list(found), [one / values["epoch"] for values in found.values()], **style)
    samples.set(title="Samples", xscale="log", ylabel="µs a sample", xlabel="samples")
    samples.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    samples.xaxis.set_minor_formatter(NullFormatter())
    batches.set(title="Batch size", ylabel=f"seconds for {part['settings']['sweep']:,} samples", xlabel="batch size")
    batches.set_xscale("log", base=2)
    batches.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    threads.set(title="Threads", ylabel="times as fast as with one", xlabel="threads")
    threads.set_xticks(sorted({value for name in names for value in points(part, name, "threads", "threads")}))
    for axes in (samples, batches, threads):
        axes.set_ylim(bottom=0)
    figure.legend(*samples.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def curves(part: dict[str, Any]) -> Figure:
    """Test accuracy over seconds of training, a line for each seed."""
    figure, axes = plt.subplots(figsize=(10, 4), layout="constrained")
    for name in part["settings"]["contestants"]:
        found = [r["curve"] for r in part["records"] if r["contestant"] == name and "curve" in r]
        for number_of_seed, curve in enumerate(found):
            label = CONTESTANTS[name].title if number_of_seed == 0 else None
            axes.plot(*zip(*((s, 100 * a) for s, a in curve), strict=True), color=colour(name), alpha=0.6, label=label)
    axes.set(xlabel="seconds of training, warm", ylabel="test accuracy, %")
    lowest = min((a for r in part["records"] for _, a in r.get("curve", [])), default=0.9)
    axes.set_ylim(100 * min(0.9, lowest), 100)
    axes.set_xlim(left=0)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    return figure


def ladders(part: dict[str, Any]) -> Figure:
    """How far each rung comes, on a logarithmic axis."""
    records = part["ladders"]
    figure, panels = plt.subplots(1, len(records), figsize=(11, 3.2), squeeze=False, layout="constrained", sharey=True)
    for axes, record in zip(panels.flat, records, strict=True):
        rates = [rung["rate"] / 1e9 for rung in record["rungs"]]
        tones = [OTHERS] * (len(rates) - 1) + [OURS]
        _bars(axes, [rung["rung"] for rung in record["rungs"]], rates, [number(rate) for rate in rates], tones)
        axes.axvline(part["peak"] / 1e9, color="black", linestyle="--", linewidth=1, zorder=0)
        axes.set(title=record["title"], xscale="log", xlabel="GFLOP/s; dashed: the best matrix product")
        axes.set_xlim(min(rates) / 3, 10 * part["peak"] / 1e9)
    panels.flat[0].yaxis.set_inverted(True)  # the panels share the axis, and each has turned it round
    return figure
