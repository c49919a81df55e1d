"""Every rank reads its samples alone: together they read each sample once a pass."""

import json

import launch
import pytest

launch.skip_without_mpi()


@pytest.mark.parametrize("ranks", [2, 3])
def test_each_sample_is_read_once(ranks):
    code, output, errors = launch.finish(launch.start(ranks, "reading.py"))
    assert code == 0, errors
    by_rank = dict(json.loads(line) for line in output.splitlines())
    assert len(by_rank) == ranks
    for call in range(3):  # fit, evaluate and predict
        reads = [read for rank in range(ranks) for read in by_rank[rank][call]]
        assert sorted(reads) == [[sample, 1] for sample in range(620)]
        assert max(len(by_rank[rank][call]) for rank in range(ranks)) < 620 / ranks + 110  # a shard more than a share
