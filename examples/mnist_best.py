"""Recognise handwritten digits about as well as they can be recognised, on a CPU.

You learn what lies between 1% of errors and 0.3%: not so much a larger network as digits that are a little different each time
(augmentation), a learning rate that rises and falls, labels that are not taken for certain (smoothing), and the average of the
weights over the last steps. Dropout keeps the network from relying on single numbers. Asked about a digit, the network sees it
and eight copies, each a little different, and answers with the mean. Several such networks together (--ensemble) make fewer
errors still. Batch normalization is not among the parts; --with normalization shows what it brings.

The test digits are looked at once, at the end, and the weights are those of the end, not those of whichever epoch happened to
be best on the test. Changes are tried with --validate, where a sixth of the training digits stands in for the test digits.

    python examples/mnist_best.py                 about 17 minutes on two cores; look at --epochs 1 first
    python examples/mnist_best.py --ensemble 5    five networks, which vote
    python examples/mnist_best.py --validate --epochs 3 --without augmentation    what a part brings

Fashion-MNIST, KMNIST and others come in files of the same format, train-images-idx3-ubyte and so on, or the same with .gz.
Where you have the four of one in a folder:

    python examples/mnist_best.py --data fashion

Stopped, by Ctrl-C or a power cut? Type the same again: it goes on where it was.
"""

import argparse
import json
import shutil
import time
import zlib
from pathlib import Path

import numpy as np

import minidl
from minidl.callbacks import BackupAndRestore, Callback
from minidl.datasets import load_idx_folder, mnist
from minidl.layers import (
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    MaxPooling2D,
    RandomAffine,
    Rescaling,
)
from minidl.losses import CategoricalCrossentropy
from minidl.ops.random import RandomKey
from minidl.optimizers import Adam
from minidl.optimizers.schedules import CosineDecay
from minidl.utils import to_categorical

PARTS = ("augmentation", "dropout", "smoothing", "schedule", "averages", "copies")

parser = argparse.ArgumentParser(description="Train a network for MNIST that gets three digits of a thousand wrong.")
parser.add_argument("--epochs", type=int, default=42, help="passes over the training digits (default: 42)")
parser.add_argument("--batch-size", type=int, default=128, help="digits per step (default: 128)")
parser.add_argument("--seed", type=int, default=0, help="determines everything that is random (default: 0)")
parser.add_argument(
    "--ensemble", type=int, default=1, help="networks, with seeds from --seed on, that vote (default: 1)"
)
parser.add_argument("--threads", type=int, help="number of threads; no effect on results (default: one per core)")
parser.add_argument("--samples", type=int, default=60_000, help="train on only this many digits (default: all)")
parser.add_argument("--data", metavar="FOLDER", help="a folder with the files of another data set, instead of MNIST")
parser.add_argument(
    "--without", nargs="+", choices=PARTS, default=[], help="leave these parts out, to see what they bring"
)
parser.add_argument("--with", dest="added", nargs="+", choices=["normalization"], default=[], help="add this part")
parser.add_argument(
    "--validate", action="store_true", help="put a sixth of the training digits in the test digits' place"
)
parser.add_argument("--folder", default="mnist_best", help="for trained networks and backups (default: mnist_best)")
args = parser.parse_args()
if args.threads is not None:
    minidl.set_num_threads(args.threads)

# Test error in percent. Which epoch is best must not be asked of the test digits; where it was, that is said.
PUBLISHED = {
    "LeNet-5, trained on distorted digits (LeCun et al. 1998)": 0.8,
    "Deotte 2018: one network, the mean of 1,500 (github.com/cdeotte/MNIST-CNN-99.75)": 0.359,
    "Deotte 2018: 15 networks together, the mean of 100": 0.255,
    "ResNet-preact-20 with Cutout (github.com/hysts/pytorch_image_classification)": 0.25,
    "An et al. 2020: three networks voting, their epochs chosen on the test digits (arXiv:2008.10400)": 0.13,
}
# Test digits whose label most people who were asked do not agree with (labelerrors.com; Northcutt et al. 2021).
DOUBTFUL = [947, 1621, 1901, 2462, 2597, 3558, 5937, 6651, 6783, 9729, 2654, 3520, 9679, 2130, 8527]

(x_train, y_train), (x_test, y_test) = load_idx_folder(args.data) if args.data else mnist.load_data()
x_train, y_train = x_train[: args.samples], y_train[: args.samples]
if args.validate:
    rest = len(x_train) * 5 // 6
    (x_train, x_test), (y_train, y_test) = (np.split(whole, [rest]) for whole in (x_train, y_train))
x_train, x_test = x_train[..., None], x_test[..., None]
classes = int(y_train.max()) + 1
parts = {*PARTS, *args.added} - {*args.without}


def part(name, *layers):
    """These layers, or none if this part is left out."""
    return layers if name in parts else []


def convolution(filters, padding="valid"):
    return Conv2D(filters, (3, 3), padding=padding, activation="relu", kernel_initializer="he_normal")


def pool():
    """Batch normalization, if any, behind it: there a map has a quarter of the numbers."""
    return [MaxPooling2D(), *part("normalization", BatchNormalization())]


def augmentation(strength):
    """Up to 15 degrees, 2.5 pixels, 12 % of the size, a slant of up to 15 %, each times the strength; black around the digit."""
    return RandomAffine(strength * 15 / 360, strength * 0.09, strength * 0.12, strength * 0.15, fill_mode="constant")


def network(seed):
    """Five convolutions, ever more filters on ever smaller maps; below them the augmentation, in training only."""
    return minidl.Sequential(
        [
            Input(x_train.shape[1:]),
            Rescaling(1 / 255),
            *part("augmentation", augmentation(1)),
            convolution(32),
            convolution(32),
            *pool(),
            convolution(64),
            convolution(64),
            *pool(),
            convolution(128, "same"),
            Flatten(),
            Dense(256, activation="relu"),
            *part("dropout", Dropout(0.5)),
            Dense(classes, activation="softmax"),
        ],
        seed=seed,
    )


def now():
    """Seconds, and CPU seconds of this process."""
    return np.array([time.perf_counter(), time.process_time()])


class Clock(Callback):
    """What an epoch took goes into the history, which a backup has too: a training that was stopped knows of all its epochs."""

    def on_epoch_begin(self, epoch, logs=None):
        self.began = now()

    def on_epoch_end(self, epoch, logs=None):
        logs["seconds"], logs["cpu_seconds"] = (now() - self.began).tolist()


def trained(seed):
    """(the network of this seed, what it took), from the folder, or trained, from where a backup left off."""
    folder = Path(args.folder)
    contents = zlib.crc32(y_train, zlib.crc32(x_train))  # other data sets lie in folders of the same name
    data = f"{Path(args.data).resolve().name}-{contents:08x}" if args.data else "mnist"
    name = "-".join(
        map(str, (data, len(x_train), args.batch_size, args.epochs, *sorted(args.added + args.without), seed))
    )
    done, took, backup = folder / f"{name}.safetensors", folder / f"{name}.json", folder / f"backup-{name}"
    if done.exists():
        print(f"Seed {seed}: trained before; to train it again, delete {done}.")
        return minidl.models.load_model(done), json.loads(took.read_text())
    model = network(seed)
    steps = args.epochs * -(-len(x_train) // args.batch_size)
    warm_up = steps // 20
    # The rate ends at a fifth of its top: the weights still move while they are averaged, over the last eighth of the steps.
    schedule = CosineDecay(2e-4, steps - warm_up, alpha=0.2, warmup_target=2e-3, warmup_steps=warm_up)
    averages = {"use_ema": True, "ema_momentum": 1 - 8 / (steps + 8)}
    model.compile(
        loss=CategoricalCrossentropy(label_smoothing=0.1 if "smoothing" in parts else 0),
        optimizer=Adam(schedule if "schedule" in parts else 1e-3, **(averages if "averages" in parts else {})),
        metrics=["accuracy"],
    )
    if seed == args.seed:
        model.summary()
    past = model.fit(
        x_train,
        to_categorical(y_train, classes),
        epochs=args.epochs,
        batch_size=args.batch_size,
        callbacks=[Clock(), BackupAndRestore(backup, delete_checkpoint=False)],
    ).history
    began = now()
    if {"averages", "normalization"} <= parts:
        model.measure_statistics(x_train)  # those of the averaged weights, which no step has seen
    spent = (now() - began + [sum(past["seconds"]), sum(past["cpu_seconds"])]).tolist()
    folder.mkdir(exist_ok=True)
    took.write_text(json.dumps(spent))
    model.save(done)
    shutil.rmtree(backup)  # only now is nothing lost by it
    return model, spent


def probabilities_of(model, images):
    """(images, classes): the mean of what the model says of each image, and of eight copies, deformed by half as much as in
    training. Its random numbers are the same for every model."""
    copies = []
    if "copies" in parts:
        layer = augmentation(0.5)
        copies = (layer.forward(images, training=True, rng=RandomKey(0, i).layer(0))[0] for i in range(8))
    return np.mean([model.predict(seen, batch_size=256, verbose=0) for seen in (images, *copies)], axis=0)


models, times = zip(*(trained(seed) for seed in range(args.seed, args.seed + args.ensemble)), strict=True)
seconds, cpu_seconds = np.sum(times, axis=0).tolist()

# Each network's probabilities; their mean is the vote.
probabilities = np.mean([probabilities_of(model, x_test) for model in models], axis=0)
predictions = probabilities.argmax(axis=1)
wrong = np.flatnonzero(predictions != y_test)
error = 100 * len(wrong) / len(y_test)
print(f"{seconds / 60:.1f} minutes, {cpu_seconds / 60:.1f} CPU minutes.")
print(f"{'Validation' if args.validate else 'Test'} error: {error:.2f}% ({len(wrong)} of {len(y_test):,} images)")

if not args.data and not args.validate:
    undoubted = [i for i in wrong if i not in DOUBTFUL]
    without = 100 * len(undoubted) / (len(y_test) - len(DOUBTFUL))
    print(f"Without the {len(DOUBTFUL)} digits whose labels are in doubt: {without:.2f}%")
    print("\nBeside others, test error in %:")
    ours = "this network" if args.ensemble == 1 else f"these {args.ensemble} networks"
    found = {**PUBLISHED, f"→ {ours}, {args.epochs} epochs": error}
    for name, value in sorted(found.items(), key=lambda item: item[1]):
        print(f"  {value:5.2f}  {name}")
