"""Recognise handwritten digits with fewer than 10,000 parameters.

You learn that a small network can be a good one, if it is trained well: with digits that are a little different each time, a
learning rate that rises high and falls, and the average of the weights over the last steps. Asked about a digit, it sees that and
eight copies, each a little different, and answers with the mean. mnist_cnn.py has sixty times as many parameters.

    python examples/mnist_small.py                           about 8 CPU minutes; look at --epochs 1 first
    python examples/mnist_small.py --validate --epochs 4     to try a change: a sixth of the training digits is the test

Stopped, by Ctrl-C or a power cut? Type the same again: it goes on where it was.
"""

import argparse
import shutil
import time
from pathlib import Path

import numpy as np

import minidl
from minidl.callbacks import BackupAndRestore, Callback
from minidl.datasets import mnist
from minidl.layers import Conv2D, Dense, Flatten, Input, MaxPooling2D, RandomAffine, Rescaling
from minidl.ops.random import RandomKey
from minidl.optimizers import Adam
from minidl.optimizers.schedules import CosineDecay

parser = argparse.ArgumentParser(description="Train a network of fewer than 10,000 parameters on MNIST.")
parser.add_argument("--epochs", type=int, default=50, help="passes over the training digits (default: 50)")
parser.add_argument("--batch-size", type=int, default=128, help="digits per step (default: 128)")
parser.add_argument("--seed", type=int, default=0, help="determines everything that is random (default: 0)")
parser.add_argument("--threads", type=int, help="number of threads; no effect on results (default: one per core)")
parser.add_argument("--samples", type=int, default=60_000, help="train on only this many digits (default: all)")
parser.add_argument(
    "--validate", action="store_true", help="put a sixth of the training digits in the test digits' place"
)
parser.add_argument("--folder", default="mnist_small", help="for backups (default: mnist_small)")
args = parser.parse_args()
if args.threads is not None:
    minidl.set_num_threads(args.threads)

# Test error in percent, as the authors say; where a range of epochs was tried, the best one was chosen on the test digits.
PUBLISHED = {
    "LeNet-5, 60,000 parameters (LeCun et al. 1998)": 0.95,
    "the same, trained on distorted digits": 0.8,
    "github.com/gokul-pv/Backpropagation_explained, 12,674 parameters, the best of 19 epochs": 0.54,
    "github.com/The-School-of-AI/era-s7-ram, 8,900 parameters, the best of 15 epochs": 0.5,
}

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train, y_train = x_train[: args.samples], y_train[: args.samples]
if args.validate:
    rest = len(x_train) * 5 // 6
    (x_train, x_test), (y_train, y_test) = (np.split(whole, [rest]) for whole in (x_train, y_train))
x_train, x_test = x_train[..., None], x_test[..., None]


def convolution(filters):
    return Conv2D(filters, (3, 3), activation="relu", kernel_initializer="he_normal")


def augmentation(strength):
    """Up to 10 degrees, 2 pixels, 10 % of the size, a slant of up to 10 %, each times the strength; black around the digit."""
    return RandomAffine(strength * 10 / 360, strength * 0.07, strength * 0.1, strength * 0.1, fill_mode="constant")


def now():
    """Seconds, and CPU seconds of this process."""
    return np.array([time.perf_counter(), time.process_time()])


class Clock(Callback):
    """What an epoch took goes into the history, which a backup has too: a training that was stopped knows of all its epochs."""

    def on_epoch_begin(self, epoch, logs=None):
        self.began = now()

    def on_epoch_end(self, epoch, logs=None):
        logs["seconds"], logs["cpu_seconds"] = (now() - self.began).tolist()


model = minidl.Sequential(
    [
        Input((28, 28, 1)),
        Rescaling(1 / 255),
        augmentation(1),  # in training only
        convolution(10),
        convolution(16),
        MaxPooling2D(),
        convolution(16),
        convolution(16),
        MaxPooling2D(),
        convolution(20),
        Flatten(),  # 2 x 2 x 20 numbers
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
        CosineDecay(8e-4, steps - warm_up, warmup_target=8e-3, warmup_steps=warm_up),
        use_ema=True,
        ema_momentum=1 - 20 / (steps + 20),  # over the last twentieth of the steps
    ),
    metrics=["accuracy"],
)
backup = Path(args.folder) / f"backup-{len(x_train)}-{args.batch_size}-{args.epochs}-{args.seed}"
past = model.fit(
    x_train,
    y_train,
    epochs=args.epochs,
    batch_size=args.batch_size,
    callbacks=[Clock(), BackupAndRestore(backup, delete_checkpoint=False)],
).history
seconds, cpu_seconds = sum(past["seconds"]), sum(past["cpu_seconds"])

# The test digits are looked at once, here, as they are and in eight copies, deformed by half as much as in training.
layer = augmentation(0.5)
copies = (layer.forward(x_test, training=True, rng=RandomKey(0, i).layer(0))[0] for i in range(8))
predictions = np.mean([model.predict(seen, verbose=0) for seen in (x_test, *copies)], axis=0).argmax(axis=1)
wrong = np.flatnonzero(predictions != y_test)
error = 100 * len(wrong) / len(y_test)
print(f"{seconds / 60:.1f} minutes, {cpu_seconds / 60:.1f} CPU minutes, {model.count_params():,} parameters.")
print(f"{'Validation' if args.validate else 'Test'} error: {error:.2f}% ({len(wrong)} of {len(y_test):,} digits)")
if not args.validate:
    print("\nBeside others, test error in %:")
    found = {
        **PUBLISHED,
        f"→ this network, {model.count_params():,} parameters, the last of {args.epochs} epochs": error,
    }
    for name, value in sorted(found.items(), key=lambda item: item[1]):
        print(f"  {value:5.2f}  {name}")
shutil.rmtree(backup)  # only now is nothing lost by it
