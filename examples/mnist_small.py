"""Recognise handwritten digits with fewer than 10,000 parameters.

You learn that a small network can be a good one, if it is trained well: with digits that are a little different each time, a
learning rate that rises and falls, and the average of the weights over the last steps. mnist_cnn.py has sixty times as many
parameters and makes twice as many errors.

    python examples/mnist_small.py
"""

import argparse
import time

import numpy as np

import minidl
from minidl.datasets import mnist
from minidl.layers import Conv2D, Dense, Flatten, Input, MaxPooling2D, RandomAffine, Rescaling
from minidl.optimizers import Adam
from minidl.optimizers.schedules import CosineDecay

parser = argparse.ArgumentParser(description="Train a network of fewer than 10,000 parameters on MNIST.")
parser.add_argument("--epochs", type=int, default=32, help="passes over the training digits (default: 32)")
parser.add_argument("--batch-size", type=int, default=64, help="digits per step (default: 64)")
parser.add_argument("--seed", type=int, default=0, help="determines everything that is random (default: 0)")
parser.add_argument("--threads", type=int, help="number of threads; no effect on results (default: one per core)")
parser.add_argument("--samples", type=int, default=60_000, help="train on only this many digits (default: all)")
args = parser.parse_args()
if args.threads is not None:
    minidl.set_num_threads(args.threads)

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train, x_test = x_train[: args.samples, :, :, None], x_test[..., None]
y_train = y_train[: args.samples]


def convolution(filters):
    return Conv2D(filters, (3, 3), activation="relu", kernel_initializer="he_normal")


model = minidl.Sequential(
    [
        Input((28, 28, 1)),
        Rescaling(1 / 255),
        RandomAffine(10 / 360, 0.07, 0.1, 0.1, fill_mode="constant"),  # in training only
        convolution(8),
        convolution(16),
        MaxPooling2D(),
        convolution(16),
        convolution(16),
        MaxPooling2D(),
        convolution(16),
        Flatten(),  # 2 x 2 x 16 numbers
        Dense(10, activation="softmax"),
    ],
    seed=args.seed,
)
model.summary()
steps = args.epochs * -(-len(x_train) // args.batch_size)
warm_up = steps // 20
model.compile(
    loss="sparse_categorical_crossentropy",
    optimizer=Adam(
        CosineDecay(4e-4, steps - warm_up, warmup_target=4e-3, warmup_steps=warm_up),
        use_ema=True,
        ema_momentum=1 - 20 / (steps + 20),  # over the last twentieth of the steps
    ),
    metrics=["accuracy"],
)
began, cpu = time.perf_counter(), time.process_time()
model.fit(x_train, y_train, epochs=args.epochs, batch_size=args.batch_size)
seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu

# The test digits are looked at once, here.
predictions = model.predict(x_test, verbose=0).argmax(axis=1)
wrong = np.flatnonzero(predictions != y_test)
print(f"{seconds / 60:.1f} minutes, {cpu_seconds / 60:.1f} CPU minutes, {model.count_params():,} parameters.")
print(f"Test error: {100 * len(wrong) / len(y_test):.2f}% ({len(wrong)} of {len(y_test):,} digits)")
