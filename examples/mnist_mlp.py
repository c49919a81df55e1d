"""Recognise handwritten digits with the simplest network that does it well.

You learn how a model is described, trained and tested. This one is a multilayer perceptron: it sees the 784 pixels of an
image as a plain list of numbers, and does not know which of them are neighbours. Ten epochs end near 2 % test error.

    python examples/mnist_mlp.py
    python examples/mnist_mlp.py --epochs 3 --plot curves.png
"""

import argparse
import importlib.util

import minidl
from minidl.datasets import mnist
from minidl.layers import Dense, Flatten, Input, Rescaling

parser = argparse.ArgumentParser(description="Train a multilayer perceptron on MNIST.")
parser.add_argument("--epochs", type=int, default=10, help="passes over the training digits (default: 10)")
parser.add_argument("--batch-size", type=int, default=200, help="digits per step (default: 200)")
parser.add_argument("--seed", type=int, default=0, help="determines initial weights and shuffling (default: 0)")
parser.add_argument("--threads", type=int, help="number of threads; no effect on results (default: one per core)")
parser.add_argument("--plot", metavar="PATH", help="draw loss and accuracy by epoch to this file, e.g. curves.png")
parser.add_argument("--samples", type=int, default=60_000, help="train on only this many digits (default: all)")
args = parser.parse_args()
if args.plot and importlib.util.find_spec("matplotlib") is None:  # better now than after the training
    parser.error("--plot needs matplotlib: pip install 'minidl[plot]'")
if args.threads is not None:
    minidl.set_num_threads(args.threads)

# 60,000 digits to learn from and 10,000 others to test on. The images are 28 x 28 bytes, 0 to 255; the labels are the
# integers 0 to 9.
(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train, y_train = x_train[: args.samples], y_train[: args.samples]

model = minidl.Sequential(
    [
        Input((28, 28)),
        Rescaling(1 / 255),  # bytes to numbers from 0 to 1: with inputs up to 255 the first steps would be far too long
        Flatten(),  # 28 x 28 pixels in one row of 784
        Dense(784, activation="relu"),
        Dense(10, activation="softmax"),  # ten probabilities that add up to 1, one for each digit
    ],
    seed=args.seed,
)
model.summary()

# "sparse" means that a label is the number of its class, not a row of nine zeros and a one.
model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])

# The test digits are only watched during training: nothing is learned from them or chosen by them. If you change the model
# until they come out well, they are no longer a test: then use validation_split=0.1 instead of validation_data.
print(f"Training on {len(x_train):,} digits, testing on {len(x_test):,} others.")
history = model.fit(
    x_train,
    y_train,
    validation_data=(x_test, y_test),
    epochs=args.epochs,
    batch_size=args.batch_size,
)

loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"Test error: {100 * (1 - accuracy):.2f}%")

if args.plot:
    history.plot(args.plot)
    print(f"Wrote {args.plot}")
