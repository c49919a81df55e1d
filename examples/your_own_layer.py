"""Write a layer of your own, prove its gradient, and train it inside a model.

You learn the contract of every layer: forward returns its result and a cache; backward gets the gradient of the
result and the cache, and returns the gradients of the input and of each parameter. Any object that follows it is a layer
like those in the library, with nothing to register.

The layer is Swish (Ramachandran, Zoph and Le 2017), an activation that learns its own shape: y = x * sigmoid(beta * x), with
one beta for each channel. At beta = 0 it is the straight line x / 2; the larger beta, the more it looks like ReLU.

    python examples/your_own_layer.py
    python examples/your_own_layer.py --epochs 5 --plot shapes.png
"""

import argparse
import importlib.util

import numpy as np

import minidl
from minidl.datasets import mnist
from minidl.layers import Conv2D, Dense, Flatten, Input, Layer, MaxPooling2D, Rescaling

parser = argparse.ArgumentParser(
    description="A layer of your own: its gradient is checked, then it is trained on MNIST."
)
parser.add_argument("--epochs", type=int, default=2, help="passes over the training digits (default: 2)")
parser.add_argument("--batch-size", type=int, default=200, help="digits per step (default: 200)")
parser.add_argument("--seed", type=int, default=0, help="determines initial weights and shuffling (default: 0)")
parser.add_argument("--threads", type=int, help="number of threads; no effect on results (default: one per core)")
parser.add_argument("--plot", metavar="PATH", help="draw the shape that each channel has learned to this file")
parser.add_argument("--samples", type=int, default=60_000, help="train on only this many digits (default: all)")
args = parser.parse_args()
if args.plot and importlib.util.find_spec("matplotlib") is None:  # better now than after the training
    parser.error("--plot needs matplotlib: pip install 'minidl[plot]'")
if args.threads is not None:
    minidl.set_num_threads(args.threads)

# ------------------------------------------------------------------------------------------------------- 1. the layer


def sigmoid(z):
    """1 / (1 + exp(-z)), written so that no exponential can overflow."""
    return 0.5 * (1 + np.tanh(0.5 * z))


class Swish(Layer):
    """y = x * s with s = sigmoid(beta * x), for inputs of any shape whose last axis is the channels."""

    def build(self, input_shape, rng, dtype):
        # Called once, when the shape of a sample is known. All betas start at 1; the model will train whatever is in params.
        self.params = {"beta": np.ones(input_shape[-1], dtype)}
        return input_shape  # the shape of a sample of y: here the same

    def forward(self, x, *, training=False, rng=None):
        s = sigmoid(self.params["beta"] * x)
        # The second value is the cache: whatever backward will need. Do not keep it in self: several threads may use this
        # layer at once, each with its own samples.
        return x * s, (x, s)

    def backward(self, dy, cache):
        x, s = cache
        # The derivative of sigmoid(z) is s * (1 - s). In z = beta * x, both factors can change:
        slope = s * (1 - s)
        dx = dy * (s + x * slope * self.params["beta"])  # product rule: x is in front and inside
        dbeta = dy * x * slope * x
        # One beta was used for all samples and all positions of its channel, so its gradient is the sum over them.
        return dx, {"beta": dbeta.sum(axis=tuple(range(dbeta.ndim - 1)))}


# --------------------------------------------------------------------------------------------- 2. is its gradient right?

# A network with a wrong gradient often learns anyway, only worse, so test it before you use it. gradcheck moves every number
# a little to both sides, and compares the effect on the result with what backward says.
rng = np.random.default_rng(args.seed)
layer = Swish()
layer.build((4, 4, 3), rng, np.dtype("float64"))  # double precision: single precision is too coarse for differences
layer.params["beta"][:] = rng.normal(size=3)  # with beta = 1, a forgotten factor beta would not show
report = minidl.gradcheck(layer, rng.normal(size=(2, 4, 4, 3)))
print(report)
if not report.passed:
    raise SystemExit("The gradient is wrong.")

# --------------------------------------------------------------------------------------------------- 3. train it on MNIST

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train, x_test = x_train[: args.samples, :, :, None], x_test[..., None]
y_train = y_train[: args.samples]

swish = Swish()
model = minidl.Sequential(
    [
        Input((28, 28, 1)),
        Rescaling(1 / 255),
        Conv2D(8, (5, 5)),  # without an activation: ours follows the pool
        MaxPooling2D(),
        swish,
        Flatten(),
        Dense(64, activation="relu"),
        Dense(10, activation="softmax"),
    ],
    seed=args.seed,
)
model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
print(f"\nTraining on {len(x_train):,} digits")
model.fit(x_train, y_train, epochs=args.epochs, batch_size=args.batch_size)

loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"Test error: {100 * (1 - accuracy):.2f}%")

beta = swish.params["beta"]
print(f"\nThe {len(beta)} betas began at 1. Training moved them to")
print("".join(f"{value:8.3f}" for value in beta))

if args.plot:
    import matplotlib.pyplot as plt

    z = np.linspace(-5, 5, 201)
    figure, axis = plt.subplots(figsize=(5, 3.6), layout="constrained")
    for value in beta:
        axis.plot(z, z * sigmoid(value * z), color="C0", linewidth=1, label="learned, one line per channel")
    axis.plot(z, z * sigmoid(z), color="black", linestyle="--", label="initially, beta = 1")
    axis.plot(z, np.maximum(z, 0), color="C1", linestyle=":", label="ReLU")
    axis.set(title="Swish: y = x * sigmoid(beta * x)", xlabel="x", ylabel="y")
    axis.grid(alpha=0.3)
    handles, labels = axis.get_legend_handles_labels()
    axis.legend(handles[-3:], labels[-3:])
    figure.savefig(args.plot, dpi=120)
    print(f"Wrote {args.plot}")
