"""Seconds an epoch: the tutorial's CNN in minidl and in PyTorch, in turns, with the same batches and threads.

    pip install . torch
    python -m benchmarks.epoch --threads 2

The machine may be busy with other things, and differently so from minute to minute: compare the ratios of neighbouring runs, not
times of different days. Each library runs in a process of its own, so that neither's threads or caches are in the other's way.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time


def train_minidl(epochs: int, batch_size: int, threads: int) -> list[float]:
    """Seconds of each epoch, evaluation apart."""
    import minidl
    from minidl.callbacks import LambdaCallback
    from minidl.datasets import mnist

    from .models import compiled

    minidl.set_num_threads(threads)
    (x, y), _ = mnist.load_data()
    model = compiled("cnn", seed=1)
    marks = [time.perf_counter()]
    model.fit(
        x[..., None].astype("float32") / 255,
        y,
        batch_size=batch_size,
        epochs=epochs,
        verbose=0,
        callbacks=LambdaCallback(
            on_train_begin=lambda logs=None: marks.__setitem__(0, time.perf_counter()),
            on_epoch_end=lambda epoch, logs: marks.append(time.perf_counter()),
        ),
    )
    return [end - start for start, end in itertools.pairwise(marks)]


def train_torch(epochs: int, batch_size: int, threads: int) -> list[float]:
    """The same in PyTorch, eager."""
    import torch

    from minidl.datasets import mnist

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    (x, y), _ = mnist.load_data()
    images, labels = torch.from_numpy(x[:, None].astype("float32") / 255), torch.from_numpy(y.astype("int64"))
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 32, 5),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Dropout(0.2),
        torch.nn.Flatten(),
        torch.nn.Linear(32 * 12 * 12, 128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, 10),
    )
    optimizer = torch.optim.Adam(model.parameters())
    loss = torch.nn.CrossEntropyLoss()
    seconds = []
    for _ in range(epochs):
        start = time.perf_counter()
        for batch in torch.randperm(len(images)).split(batch_size):
            optimizer.zero_grad()
            loss(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - start)
    return seconds


CONTESTANTS = {"minidl": train_minidl, "torch": train_torch}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each has its turn")
    parser.add_argument("--epochs", type=int, default=3, help="epochs a turn; the first one warms up and is left out")
    parser.add_argument("--batch-size", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--run", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(CONTESTANTS[options.run](options.epochs, options.batch_size, options.threads)))
        return
    medians: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    for turn in range(options.rounds):
        for name in CONTESTANTS:
            command = [sys.executable, "-m", "benchmarks.epoch", "--run", name, "--epochs", str(options.epochs)]
            command += ["--batch-size", str(options.batch_size), "--threads", str(options.threads)]
            seconds = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            medians[name].append(statistics.median(seconds[1:]))
            print(f"turn {turn + 1}: {name:7} {medians[name][-1]:6.2f} s an epoch", flush=True)
    ratios = [ours / theirs for ours, theirs in zip(medians["minidl"], medians["torch"], strict=True)]
    print(
        f"median: minidl {statistics.median(medians['minidl']):.2f} s, torch {statistics.median(medians['torch']):.2f} s"
    )
    print(f"minidl / torch, turn by turn: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")


if __name__ == "__main__":
    main()
