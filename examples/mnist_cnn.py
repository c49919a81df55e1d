"""Recognise handwritten digits with a convolutional network.

You learn what a convolution gains. A Dense layer would have to learn a stroke separately for every place where it can be;
a Conv2D layer has one small set of weights, slides it over the whole image, and finds the stroke everywhere. Pooling then
keeps the strongest response of each 2 x 2 neighbourhood, so a digit may shift a little. Ten epochs end near 1 % test error;
the multilayer perceptron of mnist_mlp.py ends near 2 %.

    python examples/mnist_cnn.py
    python examples/mnist_cnn.py --epochs 3 --plot curves.png
"""

import argparse
import importlib.util

import minidl
from minidl.datasets import mnist
from minidl.layers import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D, Rescaling

parser = argparse.ArgumentParser(description="Train a convolutional network on MNIST.")
parser.add_argument("--epochs", type=int, default=10, help="passes over the training digits (default: 10)")
parser.add_argument("--batch-size", type=int, default=200, help="digits per step (default: 200)")
parser.add_argument("--seed", type=int, default=0, help="determines weights, shuffling and dropout (default: 0)")
parser.add_argument("--threads", type=int, help="number of threads; no effect on results (default: one per core)")
parser.add_argument("--plot", metavar="PATH", help="draw loss and accuracy by epoch to this file, e.g. curves.png")
parser.add_argument("--samples", type=int, default=60_000, help="train on only this many digits (default: all)")
args = parser.parse_args()
if args.plot and importlib.util.find_spec("matplotlib") is None:  # better now than after the training
    parser.error("--plot needs matplotlib: pip install 'minidl[plot]'")
if args.threads is not None:
    minidl.set_num_threads(args.threads)

# A convolution expects images with a channel axis, (height, width, channels). These are grey: they have one channel.
(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train, x_test = x_train[..., None], x_test[..., None]
x_train, y_train = x_train[: args.samples], y_train[: args.samples]

model = minidl.Sequential(
    [
        Input((28, 28, 1)),
        Rescaling(1 / 255),  # bytes to numbers from 0 to 1
        Conv2D(32, (5, 5), activation="relu"),  # 32 filters of 5 x 5 pixels give 32 maps of 24 x 24
        MaxPooling2D(),  # 32 maps of 12 x 12
        Dropout(0.2),  # in training, a random fifth of the values becomes 0, so that no unit can rely on another
        Flatten(),
        Dense(128, activation="relu"),
        Dense(10, activation="softmax"),  # ten probabilities that add up to 1, one for each digit
    ],
    seed=args.seed,
)
model.summary()
model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])

# The test digits are only watched during training: nothing is learned from them or chosen by them.
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
