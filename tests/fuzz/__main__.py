"""Fuzz a reader of files, guided by what code each input reaches:

    pip install -e '.[fuzz]'
    python tests/fuzz load_model --runs 50000 --corpus /tmp/corpus

It begins with real files that it makes itself, and keeps in the corpus, where one is given, what reached new code; the next run
goes on from there. It ends with an error, and the input beside it, at the first promise that is broken (see targets.py).
"""

import argparse
import collections
import random
import sys
import tempfile
import types
from pathlib import Path

import atheris
from targets import TARGETS, check, mutate


def instrument(module: types.ModuleType) -> None:
    """Let the fuzzer see every branch of the module's functions. (Its import hook would take Numba's kernels, too.)"""
    classes = [thing for thing in vars(module).values() if isinstance(thing, type)]
    functions = [thing for owner in (module, *classes) for thing in vars(owner).values()]
    for function in functions:
        function = getattr(function, "__func__", function)
        if isinstance(function, types.FunctionType) and function.__module__ == module.__name__:
            atheris.instrument_func(function)


parser = argparse.ArgumentParser(description="Fuzz a reader of files.")
parser.add_argument("target", choices=sorted(TARGETS))
parser.add_argument("--runs", type=int, default=10_000, help="how many inputs to try (default: 10000)")
parser.add_argument("--seed", type=int, default=1, help="of the mutations (default: 1)")
parser.add_argument("--corpus", type=Path, help="a folder to go on from and to keep inputs in")
arguments = parser.parse_args()
target = TARGETS[arguments.target]
tally: collections.Counter[str] = collections.Counter()
folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "input"


def test_one_input(content: bytes) -> None:
    refused = check(target, content, path)
    tally["accepted" if refused is None else type(refused).__name__] += 1
    if sum(tally.values()) == arguments.runs:  # libFuzzer ends the process itself, without a word
        print(f"{arguments.target}: {arguments.runs} inputs, {dict(tally)}", flush=True)


def custom_mutator(content: bytes, most: int, seed: int) -> bytes:
    rng = random.Random(seed)
    if (
        rng.random() < 0.5
    ):  # most of the corpus is damaged in several ways already, and is refused for the first of them
        content = rng.choice(seeds)
    return mutate(content, rng, lambda part: atheris.Mutate(part, most))[:most]


for name in ("configs", "datasets", "initializers", "layers", "losses", "models", "optimizers", "saving", "utils"):
    for module in [module for key, module in sys.modules.items() if key.startswith(f"minidl.{name}")]:
        instrument(module)
corpus = arguments.corpus or Path(folder.name) / "corpus"
corpus.mkdir(parents=True, exist_ok=True)
seeds = target.seeds()
for number, content in enumerate(seeds):
    (corpus / f"seed-{number}").write_bytes(content)
    check(target, content, path)  # compiles, imports and caches what the first of them needs
options = [
    f"-runs={arguments.runs}",
    f"-seed={arguments.seed}",
    "-timeout=20",
    "-max_len=16384",
    "-print_final_stats=1",
]
options += [f"-artifact_prefix={Path.cwd()}/", "-len_control=0", "-verbosity=0"]
mutator = {} if arguments.target == "read_idx" else {"custom_mutator": custom_mutator}
atheris.Setup([sys.argv[0], *options, str(corpus)], test_one_input, **mutator)
atheris.Fuzz()
