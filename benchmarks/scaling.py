"""Training over several machines: what a step costs, what is sent, and how far it would scale.

    python -m benchmarks.scaling local      # ranks on this machine
    python -m benchmarks.scaling network    # ranks in network namespaces, on links of a limited rate; as root, on Linux
    python -m benchmarks.scaling page       # docs/scaling.md, from both, and from a model of the time of a step

The namespaces stand for machines that have one processor each, as long as there are no more of them than cores.
"""

import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import minidl
from minidl import Sequential, ranks
from minidl.callbacks import LambdaCallback
from minidl.layers import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D, Rescaling
from minidl.machine import describe

from .tables import Table, markdown

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "scaling.json"
PAGE = ROOT / "docs" / "scaling.md"
STEPS = 12  # of which the first two are not counted
HEADER = 1024  # bytes of a message before the vectors are sent
RATES = (100, 1000)  # Mbit/s of the links that are measured
MACHINES = (2, 4, 8, 16, 32, 64, 128, 256)


class Kind(NamedTuple):
    """A model: its title, and its layers after the bytes have become numbers."""

    title: str
    layers: Any


MODELS = {
    "small": Kind(
        "784-128-10, 0.1 million parameters",
        lambda: [Flatten(), Dense(128, activation="relu"), Dense(10, activation="softmax")],
    ),
    "wide": Kind(
        "784-2000-1000-10, 3.6 million parameters",
        lambda: [
            Flatten(),
            Dense(2000, activation="relu"),
            Dense(1000, activation="relu"),
            Dense(10, activation="softmax"),
        ],
    ),
    "cnn": Kind(
        "the tutorial's CNN, 0.6 million parameters",
        lambda: [
            Conv2D(32, 5, activation="relu"),
            MaxPooling2D(),
            Dropout(0.2),
            Flatten(),
            Dense(128, activation="relu"),
            Dense(10, activation="softmax"),
        ],
    ),
}


def worker(name: str, batch: int) -> None:
    """In every rank: train, and let rank 0 print the seconds of a step, what was sent, and the time of a message."""
    minidl.distribution.initialize()
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (batch * STEPS, 28, 28, 1), np.uint8), rng.integers(0, 10, batch * STEPS)
    model = Sequential([Input((28, 28, 1)), Rescaling(1 / 255), *MODELS[name].layers()], seed=1)
    model.compile("adam", "sparse_categorical_crossentropy")
    wire = getattr(ranks.group, "wire", None)
    seen: list[tuple[float, int]] = []
    note = LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append((time.perf_counter(), wire.sent if wire else 0))
    )
    model.fit(x, y, batch_size=batch, verbose=0, callbacks=[note])
    seconds = [later[0] - earlier[0] for earlier, later in itertools.pairwise(seen[1:])]
    message = 0.0
    if wire is not None:
        began = time.perf_counter()
        for _ in range(50):
            wire.exchange(None)
        message = (time.perf_counter() - began) / 50
    if ranks.group.rank == 0:
        size = sum(value.nbytes for value in model.params.values())
        found = {"step": statistics.median(seconds), "sent": seen[2][1] - seen[1][1], "size": size, "message": message}
        print(json.dumps(found), flush=True)


def run(ranks: int, threads: int, name: str, batch: int, *launch: str) -> dict[str, float]:
    """What a worker prints on so many ranks. launch: further arguments of mpiexec."""
    program = [sys.executable, "-m", "benchmarks.scaling", "worker", "--model", name, "--batch", str(batch)]
    mpiexec = [str(Path(sys.executable).with_name("mpiexec")), *launch, "-n", str(ranks)] if ranks > 1 else []
    done = subprocess.run(
        [*(["ip", "netns", "exec", namespace(0)] if launch else []), *mpiexec, *program],
        env={**os.environ, "MINIDL_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def local(names: list[str]) -> list[dict[str, Any]]:
    """On this machine: one process with one thread and with all, then ranks of one thread."""
    cores = len(os.sched_getaffinity(0))
    rows = []
    for name in names:
        for count, threads in [(1, 1), (1, cores), (2, 1), (4, 1), (8, 1)]:
            found = run(count, threads, name, 800)
            rows.append({"model": name, "ranks": count, "threads": threads, "batch": 800, **found})
            print(rows[-1], flush=True)
    return rows


def namespace(i: int) -> str:
    """The name of a network namespace."""
    return f"minidl-{i + 1}"


@contextmanager
def links(count: int, rate: int) -> Iterator[list[str]]:
    """So many namespaces, joined by a bridge, each with a link of this rate in Mbit/s. Yields arguments of mpiexec."""

    def ip(*arguments: object) -> None:
        subprocess.run(["ip", *map(str, arguments)], check=True)

    bridge = "minidl-bridge"
    hosts = [f"10.99.0.{i + 1}" for i in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        shell = Path(folder, "shell")  # what mpiexec starts a rank with: host, command
        shell.write_text('#!/bin/sh\nhost=$1; shift; exec ip netns exec "minidl-${host##*.}" sh -c "$*"\n')
        shell.chmod(0o755)
        ip("link", "add", bridge, "type", "bridge")
        try:
            ip("link", "set", bridge, "up")
            for i, host in enumerate(hosts):
                ip("netns", "add", namespace(i))
                ip("link", "add", f"minidl-v{i}", "type", "veth", "peer", "name", "eth0", "netns", namespace(i))
                ip("link", "set", f"minidl-v{i}", "master", bridge, "up")
                ip("-n", namespace(i), "addr", "add", f"{host}/24", "dev", "eth0")
                for device in ("eth0", "lo"):
                    ip("-n", namespace(i), "link", "set", device, "up")
                limit = ["root", "tbf", "rate", f"{rate}mbit", "burst", "256kb", "latency", "100ms"]
                subprocess.run(["tc", "-n", namespace(i), "qdisc", "add", "dev", "eth0", *limit], check=True)
            os.environ |= {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "eth0"}  # not through shared memory
            launcher = ["-launcher", "rsh", "-launcher-exec", str(shell), "-iface", "eth0"]
            yield [*launcher, "-hosts", ",".join(hosts), "-ppn", "1"]
        finally:
            for i in range(count):
                # a namespace lets go of its links only after a while
                subprocess.run(["ip", "link", "del", f"minidl-v{i}"], check=False)
                subprocess.run(["ip", "netns", "del", namespace(i)], check=False)
            ip("link", "del", bridge)


def network(names: list[str]) -> list[dict[str, Any]]:
    """As many namespaces as there are cores, and links of every rate."""
    rows = []
    count = len(os.sched_getaffinity(0))
    for rate in RATES:
        with links(count, rate) as launch:
            for name in names:
                found = run(count, 1, name, 800, *launch)
                rows.append({"model": name, "ranks": count, "rate": rate, "batch": 800, **found})
                print(rows[-1], flush=True)
    return rows


def modelled(products: float, size: float, count: int, rate: float, message: float) -> float:
    """Seconds of a step: products, then the vectors, then messages.

    products: seconds of a rank's shards and its part of the update. size: bytes of the parameters. rate: bytes a second.
    message: seconds for one round of messages. There are three rounds: the losses, the slices of gradients, and the parameters.
    """
    return products + 2 * (count - 1) / count * size / rate + 3 * message


def speedup(row: dict[str, Any], batch: int, count: int, rate: float, message: float) -> float:
    """How many times as fast as one machine a step of this model is on several, by the model of a step's time. row: the measured
    step of one machine."""
    shards = min(64, math.ceil(batch / 100))
    shard = row["step"] / row["batch"] * batch / shards
    time_of = modelled(
        math.ceil(shards / count) * shard, row["size"], count, rate, message * math.ceil(math.log2(count))
    )
    return shards * shard / time_of


def page(results: dict[str, Any]) -> str:
    """docs/scaling.md."""
    rows, nets = results["local"], results["network"]
    by = {(row["model"], row["ranks"], row["threads"]): row for row in rows}
    cores = max(threads for _, _, threads in by)
    local = Table(
        "A step of 800 images on this machine, in milliseconds, Adam",
        ("model", "1 thread", f"{cores} threads", "2 ranks", "4 ranks", "8 ranks"),
        [
            (
                kind.title,
                *(f"{by[name, *key]['step'] * 1e3:.1f}" for key in [(1, 1), (1, cores), (2, 1), (4, 1), (8, 1)]),
            )
            for name, kind in MODELS.items()
        ],
    )
    sent = Table(
        "Bytes that rank 0 sends in a step, and the fewest that there can be, in kB",
        ("model", *(f"{n} ranks" for n in (2, 4, 8) for _ in (0,)), *(f"fewest, {n}" for n in (2, 4, 8))),
        [
            (
                kind.title,
                *(f"{by[name, n, 1]['sent'] / 1e3:,.1f}" for n in (2, 4, 8)),
                *(f"{2 * (n - 1) / n * by[name, n, 1]['size'] / 1e3:,.1f}" for n in (2, 4, 8)),
            )
            for name, kind in MODELS.items()
        ],
    )
    measured = Table(
        f"A step of 800 images on {cores} namespaces of one core, in milliseconds: measured, and by the formula",
        ("model", *(f"{rate} Mbit/s, {what}" for rate in RATES for what in ("measured", "formula"))),
        [(kind.title, *_against(name, by, nets)) for name, kind in MODELS.items()],
    )
    plans = [
        Table(
            f"How many times as fast as one machine: {kind.title}",
            ("batch, rate", *map(str, MACHINES)),
            [
                (
                    f"{batch:,}, {gigabits} Gbit/s",
                    *(f"{speedup(by[name, 1, cores], batch, n, gigabits * 1.25e8, 30e-6):.1f}" for n in MACHINES),
                )
                for batch in (800, 6_400, 25_600)
                for gigabits in (10, 25)
            ],
        )
        for name, kind in MODELS.items()
    ]
    machine = "\n".join(f"- {name}: {value}" for name, value in results["machine"].items())
    return TEXT.format(
        machine=machine,
        cores=cores,
        local=markdown(local),
        sent=markdown(sent),
        measured=markdown(measured),
        plans="\n\n".join(map(markdown, plans)),
    )


def _against(name: str, by: dict[Any, Any], nets: list[dict[str, Any]]) -> Iterator[str]:
    """For each rate: the measured time of a step, and the formula's."""
    for rate in RATES:
        (row,) = (row for row in nets if row["model"] == name and row["rate"] == rate)
        products = by[name, 1, 1]["step"] / row["ranks"]
        yield f"{row['step'] * 1e3:.1f}"
        yield f"{modelled(products, row['size'], row['ranks'], rate * 1.25e5, row['message']) * 1e3:.1f}"


TEXT = """# How training over several machines scales

Written by `python -m benchmarks.scaling page`, from measurements on this machine:

{machine}

{local}

"n ranks" are processes with one thread each, which share the {cores} cores: beyond {cores}, more of them only add their messages
and their switching. "{cores} threads" and "{cores} ranks" do the same work on the same cores: what separates them is what ranks
cost, less what they save, since each has an interpreter of its own. Each number is the median of ten steps of one run.

{sent}

A rank has to send (n − 1)/n of the gradient, so that every part of it is summed somewhere, and to n − 1 others the 1/n of the
parameters that it has updated: together 2 · (n − 1)/n of the model's size. What it sends beyond that are the
messages that precede them, 1 kB to each other rank: the sums of losses and metrics, and whether all goes well.
Where the number of ranks is no power of two, some have several subtrees of the sum, and send a slice of each.

## On a network

The ranks are in network namespaces, which are joined by a bridge through links whose rate `tc` limits (by a token bucket, which
lets the first 256 kB of a burst pass). The delay is that of the machine's own switching: its kernel cannot add any.

{measured}

The formula: seconds = products + 2 · (n − 1)/n · size/rate + 3 · message. Products: the time of one thread, divided by n.
Message: the measured time for all ranks to tell each other a line.
The formula leaves out two things. Every byte is carried twice through the kernel, the bridge and the limit by the same {cores}
cores that compute, which takes longer; and of each burst the first 256 kB pass without waiting, which takes less, and is much of
what a small model sends.

## What the formula says of larger clusters

Machines such as this one, all {cores} cores of each in use, 30 µs for a message, and as many rounds of messages as log₂ n.

{plans}

- **A batch is cut into at most 64 shards, one for about 100 samples**, whatever the machines; otherwise the bits would depend on
  them. So a batch of 800 keeps 8 machines busy, and no batch more than 64. Further ones wait.
- **The products have to take longer than the parameters.** A dense layer multiplies each parameter once for each sample, and
  sends it twice a step: with few samples a machine, the network is the limit, whatever the layer's size. A convolution uses
  each parameter at every pixel, and scales further.
- A larger batch makes fewer steps an epoch. Whether it still learns as much is not a matter of the network.
"""


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["local", "network", "page", "worker"])
    parser.add_argument("--model", choices=list(MODELS), help="measure this one again, and keep the others' numbers")
    parser.add_argument("--batch", type=int, help="of the worker")
    arguments = parser.parse_args()
    if arguments.part == "worker":
        worker(arguments.model, arguments.batch)
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if arguments.part == "page":
        PAGE.write_text(page(results))
        return
    names = [arguments.model] if arguments.model else list(MODELS)
    kept = [row for row in results.get(arguments.part, []) if row["model"] not in names]
    results["machine"] = describe()
    results[arguments.part] = kept + (local if arguments.part == "local" else network)(names)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
