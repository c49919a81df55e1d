"""Look at the digits, and at those that a network gets wrong.

You learn what the data looks like, and to look at mistakes instead of counting them. A small network is trained for a few
seconds and asked about digits that it has never seen. Of its mistakes you see those that it was most sure of: some are
digits that it should know, and some you might misread yourself.

    python examples/show_digits.py                       in the terminal
    python examples/show_digits.py --plot digits.png     more of them, as a picture
"""

import argparse
import importlib.util
import sys

import numpy as np

import minidl
from minidl.datasets import mnist
from minidl.layers import Dense, Flatten, Input, Rescaling

parser = argparse.ArgumentParser(description="Show digits of MNIST, and those that a trained network gets wrong.")
parser.add_argument("--epochs", type=int, default=2, help="passes over the training digits (default: 2)")
parser.add_argument("--batch-size", type=int, default=200, help="digits per step (default: 200)")
parser.add_argument("--seed", type=int, default=0, help="determines initial weights and shuffling (default: 0)")
parser.add_argument("--threads", type=int, help="number of threads; no effect on results (default: one per core)")
parser.add_argument("--plot", metavar="PATH", help="draw to this file, e.g. digits.png, instead of to the terminal")
parser.add_argument("--samples", type=int, default=60_000, help="train on only this many digits (default: all)")
args = parser.parse_args()
if args.plot and importlib.util.find_spec("matplotlib") is None:  # better now than after the training
    parser.error("--plot needs matplotlib: pip install 'minidl[plot]'")
if args.threads is not None:
    minidl.set_num_threads(args.threads)

(x_train, y_train), (x_test, y_test) = mnist.load_data()

model = minidl.Sequential(
    [
        Input((28, 28)),
        Rescaling(1 / 255),
        Flatten(),
        Dense(256, activation="relu"),
        Dense(10, activation="softmax"),
    ],
    seed=args.seed,
)
model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
model.fit(x_train[: args.samples], y_train[: args.samples], epochs=args.epochs, batch_size=args.batch_size)

# One row for each test digit: how probable the network thinks each of the ten classes is.
probabilities = model.predict(x_test, verbose=0)
predictions = probabilities.argmax(axis=1)
wrong = np.flatnonzero(predictions != y_test)
sureness = probabilities[wrong, predictions[wrong]]
surest = wrong[np.argsort(-sureness)]  # the indices of the mistakes, the surest first
print(f"Test error: {100 * len(wrong) / len(x_test):.2f}% ({len(wrong):,} of {len(x_test):,} digits)")


def as_lines(image):
    """A digit as 8 lines of 16 characters; each character stands for two pixels, one on top of the other."""
    image = image[2:26, 2:26]  # hardly any ink is in the two outermost rows and columns
    # 24 x 24 pixels to 16 x 16: double them in both directions, then take the mean of 3 x 3.
    small = image.repeat(2, axis=0).repeat(2, axis=1).reshape(16, 3, 16, 3).mean(axis=(1, 3))
    ink = small > 95
    characters = np.array(list(" ▀▄█"))  # ink in neither pixel, in the upper one, in the lower one, in both
    return ["".join(line) for line in characters[ink[::2] + 2 * ink[1::2]]]


def print_grid(images, captions):
    """Print digits four to a row, each with its caption below."""
    for start in range(0, len(images), 4):
        digits = [as_lines(image) for image in images[start : start + 4]]
        for line in range(8):
            print("  ".join(digit[line] for digit in digits).rstrip())
        print("  ".join(f"{caption:^16}" for caption in captions[start : start + 4]).rstrip() + "\n")


if not args.plot:
    sys.stdout.reconfigure(encoding="utf-8")  # for the block characters, even if the output goes to a file
    print("\nThe first training digits and their labels\n")
    print_grid(x_train[:8], [str(label) for label in y_train[:8]])
    print("The test digits that it got wrong and was surest of: the label, what it read, how sure it was\n")
    shown = surest[:8]
    print_grid(
        x_test[shown],
        [f"{y_test[i]}, read as {predictions[i]} ({100 * probabilities[i, predictions[i]]:.0f}%)" for i in shown],
    )
else:
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(10, 11.5), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=[4, 5], hspace=0.03)

    upper.suptitle("The first training digits and their labels", fontsize=14)
    for i, axis in enumerate(upper.subplots(4, 10).flat):
        axis.imshow(x_train[i], cmap="gray_r")
        axis.set_title(y_train[i], fontsize=11, pad=-3)
        axis.axis("off")

    shown = surest[:40]
    lower.suptitle(
        f"Of the {len(wrong):,} test digits that the network got wrong, those that it was surest of:\n"
        "the label → what it read, how sure it was",
        fontsize=14,
    )
    for axis in lower.subplots(4, 10).flat:
        axis.axis("off")
    for i, axis in zip(shown, lower.axes, strict=False):  # a very good network makes fewer than 40 mistakes
        axis.imshow(x_test[i], cmap="gray_r")
        percent = 100 * probabilities[i, predictions[i]]
        axis.set_title(f"{y_test[i]} → {predictions[i]}\n{percent:.0f}%", fontsize=11, pad=-3)
    figure.savefig(args.plot, dpi=110)
    print(f"Wrote {args.plot}")
