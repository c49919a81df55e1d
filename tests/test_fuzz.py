"""Files with bytes, headers and settings changed at random: refused with a documented error, or sound.

The same promises and mutations as the coverage-guided fuzzer's, ``python tests/fuzz``, without what it needs; fewer inputs.
"""

import contextlib
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.mutations import bytewise, change
from fuzz.targets import CORPUS, TARGETS, Target, check, compare_weights, mutated, read_weights, weights_of
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """Whole files, each of which was read once: what only the first reader compiles and imports is no matter of the file."""
    found, path = {name: target.seeds() for name, target in TARGETS.items()}, tmp_path_factory.mktemp("seeds") / "input"
    for name, contents in found.items():
        for content in [*contents, *TARGETS[name].odd()]:
            path.write_bytes(content)
            TARGETS[name].prepare(path)
            with contextlib.suppress(*TARGETS[name].errors):
                TARGETS[name].read(path)
    return found


@pytest.mark.parametrize("name", TARGETS)
def test_whole_files_are_accepted(name, seeds, tmp_path):
    for content in seeds[name]:
        assert check(TARGETS[name], content, tmp_path / "input") is None


@pytest.mark.parametrize("name", TARGETS)
def test_odd_files_are_refused(name, seeds, tmp_path):
    for content in TARGETS[name].odd():
        assert check(TARGETS[name], content, tmp_path / "input") is not None


@pytest.mark.parametrize("name", TARGETS)
def test_what_the_fuzzer_found_to_reach_different_code_is_refused_or_sound(name, seeds, tmp_path):
    files = sorted((CORPUS / name).iterdir())
    assert len(files) > 5
    for file in files:
        check(TARGETS[name], file.read_bytes(), tmp_path / "input", measured=False)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=50)
@given(st.integers(0, 2**64))
def test_changed_files_are_refused_or_sound(name, seeds, tmp_path_factory, seed):
    rng = random.Random(seed)
    edit = bytewise(rng)
    content = mutated(TARGETS[name], rng.choice([*seeds[name], *TARGETS[name].odd()]), rng, edit)
    check(TARGETS[name], content, tmp_path_factory.getbasetemp() / "fuzzed", measured=seed % 4 == 0)


def test_a_run_goes_on_from_the_counts_of_the_last_one(tmp_path):
    """30 inputs, and 20 others when 50 are asked for; those 50 are then enough."""
    command = [
        sys.executable,
        Path(__file__).parent / "fuzz",
        "read_idx",
        "--blind",
        "--keep",
        tmp_path / "counts.json",
        "--runs",
    ]
    printed = [
        subprocess.run([*command, runs], capture_output=True, text=True, check=False) for runs in ("30", "50", "50")
    ]
    assert [done.returncode for done in printed] == [0, 0, 1], printed
    assert [done.stdout.split(",")[0] for done in printed[:2]] == ["30 inputs", "50 inputs"]
    assert "50 inputs have been tried already" in printed[2].stderr
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert sum(counts.values()) == 50
    assert {"read_idx: ValueError", "read_idx: accepted"} >= counts.keys()


def test_the_mutations_reach_what_is_behind_the_first_checks(seeds, tmp_path):
    """Some changed models are accepted, and the others are refused for many different reasons."""
    rng, refusals = random.Random(1), []
    for _ in range(150):
        content = mutated(TARGETS["load_model"], rng.choice(seeds["load_model"]), rng, bytewise(rng))
        refusals.append(check(TARGETS["load_model"], content, tmp_path / "input"))
    assert 5 < refusals.count(None) < 100
    assert len({str(error)[-20:] for error in refusals}) > 50


# ------------------------------------------------------------------------------------------- the check itself can fail


def other_error(path):
    raise KeyError(path)


def another_file(path):
    try:
        open(path.with_name("another")).close()
    except OSError:
        raise ValueError("refused") from None


def writing(path):
    path.write_bytes(b"")


def importing(path):
    sys.modules.pop("this_module_does_not_exist", None)
    try:
        import this_module_does_not_exist  # noqa: F401
    except ImportError:
        raise ValueError("refused") from None


def evaluating(path):
    compile("1", "text", "eval")


def much_memory(path):
    bytearray(2 << 20)


def used_wrongly(thing):
    raise IndexError(thing)


@pytest.mark.parametrize("read", [another_file, writing, importing, evaluating, much_memory])
def test_a_reader_that_does_more_than_read_its_file_is_caught(read, tmp_path):
    with pytest.raises(RuntimeError, match=r"made (its|their) reader"):
        check(Target(list, read), b"1234", tmp_path / "input")


def test_errors_that_are_not_documented_are_not_hidden(tmp_path):
    with pytest.raises(KeyError):
        check(Target(list, other_error), b"1234", tmp_path / "input")
    with pytest.raises(IndexError):
        check(Target(list, Path.read_bytes, used_wrongly), b"1234", tmp_path / "input")


def test_weights_that_are_not_the_files_are_caught(seeds, tmp_path):
    def read(path):
        read_weights(path)
        weights_of().params["dense/bias"][0] += 1
        return path

    with pytest.raises(AssertionError, match="Arrays are not equal"):
        check(Target(list, read, compare_weights), seeds["load_weights"][0], tmp_path / "input")


def test_a_change_changes_one_thing():
    before = {"a": [1, 2, {"b": "c"}], "d": None}
    rng = random.Random(1)
    changed = [change({"a": [1, 2, {"b": "c"}], "d": None}, rng) for _ in range(50)]
    assert sum(one != before for one in changed) > 40
