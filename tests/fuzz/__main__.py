"""Fuzz a reader of files, guided by what code each input reaches:

    pip install -e '.[fuzz]'
    python tests/fuzz load_model --runs 1000000 --keep counts.json --corpus /tmp/corpus

It begins with real files that it makes itself and with those in tests/fuzz/corpus, and keeps in the corpus, where one is given,
what reached new code; the next run goes on from there. It ends with an error, and the input beside it, at the first promise that
is broken (see targets.py). With --keep the inputs are counted in that file, by target and by what became of them, and the next
run goes on from there, with other inputs, until there are so many in all. The memory of one input in eight is measured.

With --blind the same changes are made at random to the same files, and nothing is added to the corpus: it needs no atheris, and
tries more inputs a second.
"""

import argparse
import contextlib
import random
import resource
import sys
import tempfile
import time
import types
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from counts import Counts
from mutations import bytewise
from targets import CORPUS, TARGETS, check, mutated

MOST_MEMORY = 8 << 30  # bytes of addresses: what a file must not make its reader ask for, whether it is used or not
BROKEN = "a promise was broken"

parser = argparse.ArgumentParser(description="Fuzz a reader of files.")
parser.add_argument("target", choices=sorted(TARGETS))
parser.add_argument("--runs", type=int, default=10_000, help="how many inputs to try in all (default: 10000)")
parser.add_argument("--blind", action="store_true", help="do not look what code an input reaches; needs no atheris")
parser.add_argument("--seed", type=int, default=1, help="of the mutations (default: 1)")
parser.add_argument("--corpus", type=Path, help="a folder to go on from and to keep inputs in")
parser.add_argument("--keep", type=Path, metavar="FILE", help="go on from the counts in this file, and keep them there")
arguments = parser.parse_args()
target, counts = TARGETS[arguments.target], Counts(arguments.keep)
resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
memory = Path("/dev/shm")  # each input is a file: let it be a quick one
folder = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
path = Path(folder.name) / "input"
began = kept = time.monotonic()
before = done = sum(count for name, count in counts.items() if name.startswith(f"{arguments.target}: "))


def test_one_input(content: bytes) -> None:
    global done, kept
    outcome = BROKEN
    try:
        refused = check(target, content, path, measured=zlib.crc32(content) % 8 == 0)
        outcome = "accepted" if refused is None else type(refused).__name__
    except Exception:
        Path(f"broken-{arguments.target}-{zlib.crc32(content):08x}").write_bytes(content)
        raise
    finally:
        counts[f"{arguments.target}: {outcome}"] += 1
        done += 1
        if outcome == BROKEN or done == arguments.runs or time.monotonic() - kept > 10:
            kept = time.monotonic()
            counts.keep()
    if done == arguments.runs:  # libFuzzer ends the process itself, without a word
        own = {name: count for name, count in counts.items() if name.startswith(f"{arguments.target}: ")}
        print(f"{done} inputs, {(done - before) / (time.monotonic() - began):.0f} a second: {own}", flush=True)


corpus = arguments.corpus or Path(folder.name) / "corpus"
corpus.mkdir(parents=True, exist_ok=True)
seeds = [*target.seeds(), *target.odd()]
for number, content in enumerate(seeds):
    (corpus / f"seed-{number}").write_bytes(content)
    path.write_bytes(content)
    target.prepare(path)
    with contextlib.suppress(*target.errors):
        target.read(path)  # compiles, imports and caches what the first of them needs
if done >= arguments.runs:
    sys.exit(f"{done} inputs have been tried already: ask for more with --runs.")
committed = [each for each in (CORPUS / arguments.target,) if each.is_dir()]  # only read
if arguments.blind:
    files = [file.read_bytes() for each in (corpus, *committed) for file in each.iterdir()]
    while done < arguments.runs:
        rng = random.Random(f"{arguments.seed} {done}")
        test_one_input(mutated(target, rng.choice(rng.choice((seeds, files))), rng, bytewise(rng)))
    sys.exit()

import atheris  # noqa: E402  # not for --blind


def instrument(module: types.ModuleType) -> None:
    """Let the fuzzer see every branch of the module's functions. (Its import hook would take Numba's kernels, too.)"""
    classes = [thing for thing in vars(module).values() if isinstance(thing, type)]
    functions = [thing for owner in (module, *classes) for thing in vars(owner).values()]
    for function in functions:
        function = getattr(function, "__func__", function)
        if isinstance(function, types.FunctionType) and function.__module__ == module.__name__:
            atheris.instrument_func(function)


def custom_mutator(content: bytes, most: int, seed: int) -> bytes:
    rng = random.Random(seed)
    # most of the corpus is damaged in several ways already, and is refused for the first of them
    if rng.random() < 0.5:
        content = rng.choice(seeds)
    return mutated(target, content, rng, lambda part: atheris.Mutate(part, most))[:most]


READERS = (
    "benchmark",
    "callbacks",
    "checks",
    "configs",
    "datasets",
    "initializers",
    "lab",
    "layers",
    "losses",
    "models",
)
for name in (*READERS, "optimizers", "resuming", "saving", "state", "utils"):
    for module in [module for key, module in sys.modules.items() if key.startswith(f"minidl.{name}")]:
        instrument(module)
options = [
    f"-runs={arguments.runs - done}",
    f"-seed={arguments.seed + done}",
    "-timeout=600",  # for what hangs: by the clock, which runs on where this process is stopped for a while
    "-max_len=16384",
    "-print_final_stats=1",
]
options += [f"-artifact_prefix={Path.cwd()}/", "-len_control=0", "-verbosity=0"]
mutator = {} if target.mutate is None else {"custom_mutator": custom_mutator}
atheris.Setup([sys.argv[0], *options, str(corpus), *map(str, committed)], test_one_input, **mutator)
atheris.Fuzz()
