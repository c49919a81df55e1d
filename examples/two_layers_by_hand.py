"""Two layers and a loss, forward and backward, with numbers that you can check in your head: the chain rule.

You learn how a gradient gets from the loss to a weight that is two layers away. The network is four boxes, one after another:

    x → [1: a = x · W1 + b1] → [2: h = ReLU(a)] → [3: y = h · W2 + b2] → [4: loss = (y − target)²]

Forward goes from left to right. Backward goes from right to left, and each box does the same thing: it is told how the loss
changes with its output, and says how the loss changes with its input. A gradient is called d + the name of its array.

    python examples/two_layers_by_hand.py
    python examples/two_layers_by_hand.py --epochs 20 --rate 0.01 --plot graph.png

Exercise: put a third layer between the second and the loss, with a ReLU before it, and one more line for each array in
``backward``; part 2 says whether you got it right. (Part 3 then needs a third Dense, and its two addresses in ``ours``.) There is
a solution at stop 3 of the afternoon, docs/book/afternoon.md.
"""

import argparse
import importlib.util

import numpy as np

import minidl
from minidl.layers import Dense
from minidl.optimizers import SGD

parser = argparse.ArgumentParser(description="The chain rule through two layers, by hand and with the library.")
parser.add_argument("--epochs", type=int, default=5, help="steps of gradient descent (default: 5)")
parser.add_argument("--rate", type=float, default=0.002, help="the learning rate (default: 0.002)")
parser.add_argument("--plot", metavar="PATH", help="draw the graph, with values and gradients, to this file")
args = parser.parse_args()
if args.plot and importlib.util.find_spec("matplotlib") is None:
    parser.error("--plot needs matplotlib: pip install 'minidl[plot]'")

# One sample of two features, three hidden units, one output. Rows are inputs and columns are outputs, as in the library.
x = np.array([[1.0, 2.0]])
target = np.array([[2.0]])
params = {
    "W1": np.array([[1.0, 1.0, 0.0], [0.0, -1.0, 1.0]]),
    "b1": np.array([0.0, 0.0, 0.0]),
    "W2": np.array([[3.0], [1.0], [-0.5]]),
    "b2": np.array([0.5]),
}

# ---------------------------------------------------------------------------------------------------------- 1. by hand


def forward(params):
    """The values of all boxes, by name."""
    a = x @ params["W1"] + params["b1"]
    h = np.maximum(a, 0)
    y = h @ params["W2"] + params["b2"]
    loss = ((y - target) ** 2).item()
    return {"a": a, "h": h, "y": y, "loss": loss}


def backward(params, values):
    """The gradients of all values and all parameters, by name: from the loss to the input, a box at a time."""
    dy = 2 * (values["y"] - target)  # box 4: the slope of a square
    dW2 = values["h"].T @ dy  # box 3: W2[k] is multiplied by h[k], so its slope is h[k] times that of y
    db2 = dy.sum(axis=0)
    dh = dy @ params["W2"].T  # … and h[k] is multiplied by W2[k]
    da = dh * (values["a"] > 0)  # box 2: where ReLU gave 0, a small change of a changes nothing
    dW1 = x.T @ da  # box 1: the same as box 3
    db1 = da.sum(axis=0)
    dx = da @ params["W1"].T
    return {"dy": dy, "dh": dh, "da": da, "dx": dx}, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}


values = start = forward(params)
flow, gradients = backward(params, values)


def row(array):
    return "  ".join(f"{value:6.2f}" for value in np.ravel(array))


print("value                                gradient: how the loss changes with it")
for name, value, gradient in (
    ("x", x, flow["dx"]),
    ("a", values["a"], flow["da"]),
    ("h", values["h"], flow["dh"]),
    ("y", values["y"], flow["dy"]),
    ("loss", values["loss"], 1),
):
    print(f"{name:5}{row(value):32}{'d' + name:>5}{row(gradient)}")
for name, value in params.items():
    for value_row, gradient_row in zip(np.atleast_2d(value), np.atleast_2d(gradients[name]), strict=True):
        print(f"{name:5}{row(value_row):32}{'d' + name:>5}{row(gradient_row)}")

print("\nFrom the loss to W1[1, 0], one factor for each box on the way:")
factors = (flow["dy"].item(), params["W2"][0, 0], float(values["a"][0, 0] > 0), x[0, 1])
print("    dloss/dy · dy/dh[0] · dh[0]/da[0] · da[0]/dW1[1, 0]")
print("    = " + " · ".join(f"{factor:g}" for factor in factors) + f" = {np.prod(factors):g}")

# ---------------------------------------------------------------------------------------------- 2. is it right? Try it


def numeric_gradient(name):
    """How the loss changes with each entry of a parameter, by moving it a little to both sides."""
    step = 1e-5
    result = np.zeros_like(params[name])
    for place in np.ndindex(result.shape):
        above, below = ({**params, name: params[name].copy()} for _ in range(2))
        above[name][place] += step
        below[name][place] -= step
        result[place] = (forward(above)["loss"] - forward(below)["loss"]) / (2 * step)
    return result


difference = max(np.abs(gradients[name] - numeric_gradient(name)).max() for name in params)
print(f"\nGreatest difference between by hand and numeric: {difference:.1e}")

# ----------------------------------------------------------------------------------------------- 3. the same, with minidl

model = minidl.Sequential([Dense(3, activation="relu", input_shape=(2,)), Dense(1)], dtype="float64")
model.set_weights(list(params.values()))
model.compile(loss="mean_squared_error", optimizer=SGD(args.rate))
library_loss, library = model.loss_and_gradients(x, target)
ours = {"dense/kernel": "W1", "dense/bias": "b1", "dense_1/kernel": "W2", "dense_1/bias": "b2"}
difference = max(np.abs(library[address] - gradients[name]).max() for address, name in ours.items())
print(f"Greatest difference between by hand and library: {max(difference, abs(library_loss - values['loss'])):.1e}")

# ------------------------------------------------------------------------------------------- 4. gradient descent, both ways

print(f"\nGradient descent, learning rate {args.rate:g}")
print(f"{'step':8}{'loss by hand':>14}{'library':>14}")
for number in range(1, args.epochs + 1):
    values = forward(params)
    _, gradients = backward(params, values)
    params = {name: value - args.rate * gradients[name] for name, value in params.items()}
    print(f"{number:<8}{values['loss']:14.9f}{model.train_on_batch(x, target):14.9f}")
difference = max(
    np.abs(value - weights).max() for value, weights in zip(params.values(), model.get_weights(), strict=True)
)
print(f"\nGreatest difference between the weights of both in the end: {difference:.1e}")

if args.plot:
    import matplotlib.pyplot as plt

    def draw(across, name, value, gradient):
        """A column of boxes, one for each number; returns where they are."""
        heights = np.linspace(1, -1, value.size) if value.size > 1 else [0]
        for i, height in enumerate(heights):
            text = f"{name}[{i}] = {value.flat[i]:g}\nd{name}[{i}] = {gradient.flat[i]:g}"
            style = {"boxstyle": "round", "facecolor": "white"}
            axis.text(across, height, text, size=9, ha="center", va="center", bbox=style)
        return [(across, height) for height in heights]

    def join(left, right):
        """A line, behind the boxes."""
        axis.plot(*zip(left, right, strict=True), color="0.75", zorder=0)

    figure, axis = plt.subplots(figsize=(8, 3.6), layout="constrained")
    columns = [draw(0, "x", x, flow["dx"])]
    columns += [draw(k, name, start[name], flow[f"d{name}"]) for k, name in enumerate("ahy", start=1)]
    for here, after, everyone in zip(columns, columns[1:], (True, False, True), strict=False):
        for i, left in enumerate(here):
            for right in after if everyone else after[i : i + 1]:  # a ReLU goes from each a to its own h
                join(left, right)
    axis.set(xlim=(-0.5, 3.5), ylim=(-1.5, 1.5), title="a value above, and how the loss changes with it below")
    axis.axis("off")
    figure.savefig(args.plot, dpi=120)
    print(f"Wrote {args.plot}")
