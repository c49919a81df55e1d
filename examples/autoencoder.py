"""Squeeze each digit through a few numbers, and draw it again from these alone.

You learn what an autoencoder is: a network whose target is its own input, with a narrow place in the middle. What passes there,
the code, is all that the second half gets, so the network has to find out what digits have in common. The encoder halves the
image twice by pooling; the decoder doubles it twice by upsampling. Both are parts of one model, and each works alone: the
encoder is Sequential(model.layers[:k]), a view that shares the trained layers.

How good is it? The best that a linear code of as many numbers can do is known exactly, from the singular value decomposition
(principal component analysis). The network must beat it to have been worth the while.

    python examples/autoencoder.py --plot autoencoder.png     the digits, and what is left of them
    python examples/autoencoder.py --code 4                   a narrower place
"""

import argparse
import importlib.util

import numpy as np

import minidl
from minidl.datasets import mnist
from minidl.layers import Conv2D, Dense, Flatten, Input, MaxPooling2D, Reshape, UpSampling2D

parser = argparse.ArgumentParser(description="A convolutional autoencoder of MNIST's digits.")
parser.add_argument("--epochs", type=int, default=5, help="passes over the training digits (default: 5)")
parser.add_argument("--batch-size", type=int, default=64, help="digits per step (default: 64)")
parser.add_argument("--seed", type=int, default=0, help="determines initial weights and shuffling (default: 0)")
parser.add_argument("--threads", type=int, help="number of threads; no effect on results (default: one per core)")
parser.add_argument("--plot", metavar="PATH", help="draw digits and reconstructions to this file, e.g. autoencoder.png")
parser.add_argument("--samples", type=int, default=10_000, help="train on this many digits (default: 10000)")
parser.add_argument("--code", type=int, default=16, help="how many numbers describe a digit (default: 16)")
args = parser.parse_args()
if args.plot and importlib.util.find_spec("matplotlib") is None:  # better now than after the training
    parser.error("--plot needs matplotlib: pip install 'minidl[plot]'")
if args.threads is not None:
    minidl.set_num_threads(args.threads)

(x_train, _), (x_test, _) = mnist.load_data()
x_train = x_train[: args.samples, ..., None] / np.float32(255)
x_test = x_test[:2000, ..., None] / np.float32(255)

encoder = [
    Input((28, 28, 1)),
    Conv2D(16, 3, padding="same", activation="relu"),
    MaxPooling2D(),  # 14 x 14
    Conv2D(8, 3, padding="same", activation="relu"),
    MaxPooling2D(),  # 7 x 7
    Flatten(),
    Dense(args.code),
]
decoder = [
    Dense(7 * 7 * 8, activation="relu"),
    Reshape((7, 7, 8)),
    UpSampling2D(),  # 14 x 14
    Conv2D(16, 3, padding="same", activation="relu"),
    UpSampling2D(),  # 28 x 28
    Conv2D(1, 3, padding="same", activation="sigmoid"),
]
model = minidl.Sequential([*encoder, *decoder], seed=args.seed)
model.compile(optimizer="adam", loss="binary_crossentropy")
model.summary()
model.fit(x_train, x_train, epochs=args.epochs, batch_size=args.batch_size)

drawn = model.predict(x_test, verbose=0)
codes = minidl.Sequential(model.layers[: len(encoder) - 1]).predict(x_test, verbose=0)  # Input is no layer of the model

# The linear code: subtract the mean, keep the coordinates along the directions in which the digits differ most.
mean = x_train.mean(axis=0).reshape(-1)
rows, rows_test = x_train.reshape(len(x_train), -1) - mean, x_test.reshape(len(x_test), -1) - mean
_, _, directions = np.linalg.svd(rows, full_matrices=False)
linear_codes = rows_test @ directions[: args.code].T
drawn_linearly = (linear_codes @ directions[: args.code] + mean).reshape(x_test.shape)


def error(reconstruction):
    """The mean squared error of a pixel; 1 is the difference between ink and no ink."""
    return np.square(reconstruction - x_test).mean()


print(
    f"\nA digit is {x_test[0].size} pixels, its code {codes.shape[1]} numbers. Error of a pixel, for digits not seen before:"
)
print(f"  the mean digit:   {error(np.broadcast_to(mean.reshape(28, 28, 1), x_test.shape)):.4f}")
print(f"  a linear code:    {error(drawn_linearly):.4f}")
print(f"  the autoencoder:  {error(drawn):.4f}")

if args.plot:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, 10, figsize=(10, 3.4), layout="constrained")
    names = ("digits", "autoencoder", "linear code")
    for line, images, name in zip(axes, (x_test, drawn, drawn_linearly), names, strict=True):
        for axis, image in zip(line, images, strict=False):
            axis.imshow(image[..., 0], cmap="gray_r", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    figure.suptitle(f"Digits, and what is left of them after passing through {args.code} numbers")
    figure.savefig(args.plot, dpi=110)
    print(f"Wrote {args.plot}")
