"""Draws the figures of the book from what the code on its pages computes: docs/book/pictures/*.svg.

    python docs/book/figures.py             all of them
    python docs/book/figures.py afternoon   those of one page

The same page gives the same file, byte for byte (with the same matplotlib).
"""

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from pages import BLOCK, ROOT, prepare, run

mpl.use("svg")
import matplotlib.pyplot as plt  # after the choice of what draws

BOOK = Path(__file__).parent
PICTURES = BOOK / "pictures"
# Colours that people with any kind of colour vision can tell apart (Okabe and Ito 2008); signs are red and blue.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#767676"
SIGNED = "RdBu_r"
mpl.rcParams.update({"svg.hashsalt": "minidl", "font.size": 9, "axes.titlesize": 10, "figure.facecolor": "white"})


def save(figure: Any, name: str) -> None:
    """Without the date, which would make every file new."""
    figure.savefig(PICTURES / f"{name}.svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)


def signed(axis: Any, array: Any, title: str, numbers: str = "") -> None:
    """A matrix in colours: white is 0, red above it, blue below. numbers: the format to write each entry in, if any."""
    limit = np.abs(array).max() or 1
    axis.imshow(array, cmap=SIGNED, vmin=-limit, vmax=limit)
    axis.set(title=title, xticks=[], yticks=[])
    if numbers:
        for place, value in np.ndenumerate(array):
            shade = "white" if abs(value) > 0.6 * limit else "black"
            axis.text(place[1], place[0], format(value + 0.0, numbers), ha="center", va="center", color=shade, size=8)


def without_frame(axis: Any, text: str = "") -> None:
    """An axis that holds nothing but a sign between two matrices."""
    axis.axis("off")
    axis.text(0.5, 0.5, text, ha="center", va="center", size=14, transform=axis.transAxes)


def one_weight(names: dict[str, Any]) -> None:
    w, slope, loss_of = names["w"], names["dw"], names["loss_of"]
    figure, axis = plt.subplots(figsize=(5, 3.2), layout="constrained")
    along = np.linspace(0.1, 1.25, 100)
    axis.plot(along, loss_of(along), color=BLUE, label="loss")
    near = np.array([w - 0.2, w + 0.2])
    axis.plot(near, loss_of(w) + slope * (near - w), color=ORANGE, linestyle="--", label=f"slope {slope:g}")
    axis.plot([w], [loss_of(w)], "o", color=ORANGE)
    axis.set(xlabel="w", ylabel="loss", title="the slope at w = 1")
    axis.grid(alpha=0.3)
    axis.legend()
    save(figure, "one-weight")


def one_layer(names: dict[str, Any]) -> None:
    x, dy, dkernel = names["x"], names["dy"], names["dkernel"]
    figure, axes = plt.subplots(1, 5, figsize=(8, 2.3), layout="constrained", width_ratios=[3, 0.7, 3, 0.7, 3])
    for sample in (0, 1):
        title = f"sample {sample}: x[{sample}]ᵀ · dy[{sample}]"
        signed(axes[2 * sample], np.outer(x[sample], dy[sample]), title, "g")
    signed(axes[4], dkernel, "dkernel", "g")
    without_frame(axes[1], "+")
    without_frame(axes[3], "=")
    save(figure, "one-layer")


def two_layers(names: dict[str, Any]) -> None:
    W1, W2 = names["W1"], names["W2"]
    columns = [(name, names[name].ravel(), names.get(f"d{name}")) for name in ("x", "a", "h", "y")]
    columns[0] = ("x", names["x"].ravel(), names["da"] @ W1.T)
    figure, axis = plt.subplots(figsize=(8, 3.4), layout="constrained")

    def height(column: int, i: int) -> float:
        size = columns[column][1].size
        return 0.0 if size == 1 else 1 - 2 * i / (size - 1)

    for column, (name, values, slopes) in enumerate(columns):
        for i, value in enumerate(values):
            text = f"{name}[{i}] = {value:g}\nd{name}[{i}] = {np.ravel(slopes)[i]:g}"
            style = {"boxstyle": "round", "facecolor": "white", "edgecolor": BLUE if value else GREY}
            axis.text(column, height(column, i), text, ha="center", va="center", bbox=style)
    for before, weights in ((0, W1), (1, np.eye(3)), (2, W2)):
        for (i, j), weight in np.ndenumerate(weights):
            if before == 1 and i != j:
                continue
            ends = [before, before + 1], [height(before, i), height(before + 1, j)]
            axis.plot(*ends, color="0.8", zorder=0)
            if before != 1:
                beside = 0.28 if before == 0 else 0.55
                up = (1 - beside) * ends[1][0] + beside * ends[1][1]
                axis.text(before + beside, up, f"{weight:g}", color=ORANGE, ha="center", va="center",
                          bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"})  # fmt: skip
    axis.text(1.5, 1.25, "ReLU", ha="center", color=GREY)
    axis.text(0.5, 1.25, "W1", ha="center", color=ORANGE)
    axis.text(2.5, 1.25, "W2", ha="center", color=ORANGE)
    axis.set(xlim=(-0.45, 3.45), ylim=(-1.35, 1.4))
    axis.axis("off")
    save(figure, "two-layers")


def softmax(names: dict[str, Any]) -> None:
    jacobian, dp = names["jacobian"], names["dp"]
    figure, axes = plt.subplots(1, 5, figsize=(7, 2.6), layout="constrained", width_ratios=[3, 0.6, 1, 0.6, 1])
    signed(axes[0], jacobian, "∂p[k] / ∂z[i]", ".3f")
    axes[0].set(xlabel="k", ylabel="i", xticks=range(3), yticks=range(3))
    signed(axes[2], dp[:, None], "dp", ".2f")
    signed(axes[4], (jacobian.T @ dp)[:, None], "p − y", ".3f")
    without_frame(axes[1], "·")
    without_frame(axes[3], "=")
    save(figure, "softmax")


def convolution(names: dict[str, Any]) -> None:
    figure, axes = plt.subplots(2, 4, figsize=(9, 4.8), layout="constrained")
    for axis, name, title in zip(
        axes.flat,
        ("x", "z", "y", "pooled", "dx", "dz", "dy", "dpooled"),
        ("x", "z", "y = ReLU(z)", "pooled", "dx", "dz: 0 where z < 0", "dy: to the winners", "dpooled"),
        strict=True,
    ):
        signed(axis, names[name], title, "g" if axis in axes[0] else ".2f")
    for i, j in np.ndindex(2, 2):
        row, column = divmod(int(names["winner"][i, j]), 2)
        place = 2 * j + column + 0.32, 2 * i + row - 0.32
        alive = names["z"][2 * i + row, 2 * j + column] > 0
        for axis in (axes[0, 2], axes[1, 2], axes[1, 1]):
            axis.plot(*place, "o" if alive else "X", color="black", markeredgecolor="white", markersize=6)
    save(figure, "convolution")


def one_digit(names: dict[str, Any]) -> None:
    conv, f = names["conv"], names["f"]
    figure, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout="constrained")
    axes[0].imshow(conv.x[0, :, :, 0], cmap="gray_r")
    axes[0].set(title="x, the digit", xticks=[], yticks=[])
    signed(axes[1], conv.y[0, :, :, f], "y of the filter")
    signed(axes[2], names["dz"], "dz, from the loss")
    signed(axes[3], names["terms"], f"x · dz: adds up to {names['terms'].sum():.3f}")
    save(figure, "one-digit")


def promise(names: dict[str, Any]) -> None:
    rates, predicted, real = (np.array(names[name]) for name in ("rates", "predicted", "real"))
    figure, axis = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
    axis.plot(rates, predicted, "--", color=ORANGE, label="predicted: rate · ‖gradient‖²")
    axis.plot(rates, real, color=BLUE, label="real")
    axis.axhline(0, color=GREY, linewidth=0.8)
    axis.set(xscale="log", xlabel="learning rate", ylabel="fall of the loss", ylim=(-1.5, 2.5))
    axis.grid(alpha=0.3)
    axis.legend()
    save(figure, "promise")


def ladder(names: dict[str, Any]) -> None:
    """From the newest of the results that docs/benchmarks.md shows."""
    files = (ROOT / "docs" / "benchmarks").glob("*.json")
    records = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    measured = [record["kernels"] for record in records if "kernels" in record]
    found = ladders(max(measured, key=lambda part: part["machine"]["begun"]))
    figure, axes = plt.subplots(len(found), 1, figsize=(7, 1.9 * len(found)), layout="constrained")
    for axis, ladder_ in zip(axes, found, strict=True):
        names = [rung["rung"] for rung in ladder_["rungs"]]
        micros = [1e6 * rung["seconds"] for rung in ladder_["rungs"]]
        axis.barh(names, micros, color=BLUE)
        for i, value in enumerate(micros):
            axis.text(value * 1.15, i, f"{value:,.0f} µs" if value >= 10 else f"{value:.1f} µs", va="center")
        axis.set(xscale="log", title=ladder_["title"], xlim=(1, 30 * max(micros)))
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set(xlabel="microseconds an image, one thread")
    save(figure, "ladder")


def ladders(record: Any) -> list[Any]:
    """Every ladder in a file of results."""
    if isinstance(record, dict):
        if "rungs" in record:
            return [record]
        record = list(record.values())
    return [found for part in record for found in ladders(part)] if isinstance(record, list) else []


def warp(names: dict[str, Any]) -> None:
    rows, columns = names["places"][0]
    figure, axes = plt.subplots(1, 3, figsize=(8, 3), layout="constrained")
    axes[0].imshow(names["digit"][0, :, :, 0], cmap="gray_r")
    axes[0].plot(columns[::3, ::3], rows[::3, ::3], ".", color=ORANGE, markersize=4)
    axes[1].imshow(names["warped"][0, :, :, 0], cmap="gray_r")
    axes[2].imshow(names["read"][0, :, :, 0], cmap="gray_r", vmin=0)
    for axis, title in zip(axes, ("x, and every third place", "y", "dx, where dy is 1"), strict=True):
        axis.set(title=title, xticks=[], yticks=[], xlim=(-0.5, 27.5), ylim=(27.5, -0.5))
    save(figure, "warp")


FIGURES: dict[str, Callable[[dict[str, Any]], None]] = {
    "one-weight": one_weight,
    "one-layer": one_layer,
    "two-layers": two_layers,
    "softmax": softmax,
    "convolution": convolution,
    "one-digit": one_digit,
    "promise": promise,
    "ladder": ladder,
    "warp": warp,
}


def draw(page: Path) -> None:
    """The figures of a page, each from what the code above it has left behind."""
    text = page.read_text(encoding="utf-8")
    shown = [(found.start(), found[1]) for found in re.finditer(r"\((?:\.\./)?pictures/([\w-]+)\.svg\)", text)]
    starts = [block.start() for block in BLOCK.finditer(text) if block[1] == "python"]
    names = prepare()
    for _, following in zip(run(page, names), [*starts[1:], len(text)], strict=True):
        while shown and shown[0][0] < following:
            FIGURES[shown.pop(0)[1]](names)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw the figures of the book.")
    parser.add_argument(
        "pages", nargs="*", default=["afternoon", "promise", "speed", "layers/augmentation"], help="whose figures"
    )
    for chosen in parser.parse_args().pages:
        draw(BOOK / f"{chosen}.md")
