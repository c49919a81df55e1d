"""The same bits on any number of ranks, with any number of threads on each, as in one process."""

import json
from pathlib import Path

import launch
import pytest
import trainings

launch.skip_without_mpi()


def on_ranks(ranks, names, threads=1):
    """{training: [what came of it in each rank]}."""
    code, output, errors = launch.finish(launch.start(ranks, "trainings.py", *names, threads=threads))
    assert code == 0, errors
    found = {name: [None] * ranks for name in names}
    for line in output.splitlines():
        rank, name, result = json.loads(line)
        found[name][rank] = result
    return found


@pytest.fixture(scope="module")
def alone():
    """{training: what comes of it in one process}."""
    return {name: results[0] for name, results in on_ranks(1, list(trainings.TRAININGS)).items()}


@pytest.mark.parametrize(("ranks", "threads"), [(2, 3), (3, 1), (4, 2), (8, 1)])
def test_any_number_of_ranks_and_threads(ranks, threads, alone):
    names = [name for name in trainings.TRAININGS if name != "seeds_that_are_drawn"]
    for name, results in on_ranks(ranks, names, threads).items():
        assert results[0] == alone[name], name
        if name == "callbacks_and_files":  # only rank 0 has written files
            assert results[1:] == [alone[name][:1]] * (ranks - 1)
        else:
            assert results == [alone[name]] * ranks, name


def test_trainings_drawn_at_random():
    """tests/stress/same_bits_ranks.py draws more."""
    found = {}
    for ranks in (1, 5):
        code, output, errors = launch.finish(launch.start(ranks, "drawn.py", *range(6)))
        assert code == 0, errors
        found[ranks] = sorted(json.loads(line)[1:3] for line in output.splitlines())
    assert found[5] == [each for each in found[1] for _ in range(5)]


def test_a_seed_that_is_drawn_is_that_of_rank_0(alone):
    results = on_ranks(3, ["seeds_that_are_drawn"])["seeds_that_are_drawn"]
    assert len({*results, alone["seeds_that_are_drawn"]}) == 2


def test_the_example():
    """Its fingerprint is that of one process; rank 0 alone prints."""
    example = Path(__file__).parents[2] / "examples" / "mnist_distributed.py"
    found = []
    for ranks in (1, 3):
        code, output, errors = launch.finish(launch.start(ranks, example, "--samples", 2000, "--epochs", 1))
        assert code == 0, errors
        found.append(output.splitlines()[-2:])
    assert found[0][0] == found[1][0]
    assert found[0][1].replace("1 rank:", "3 ranks:") == found[1][1]


def test_the_trainings_differ(alone):
    found = [result for results in alone.values() for result in (results if isinstance(results, list) else [results])]
    assert len({str(result) for result in found}) == len(found)
