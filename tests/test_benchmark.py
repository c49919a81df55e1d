"""The machine's own benchmark: it runs, its file says what it measured, and two files are compared or refused with a reason."""

import copy
import json
import os
import sys

import pytest

from minidl import benchmark


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A file of results, measured quickly."""
    path = tmp_path_factory.mktemp("benchmark") / "results.json"
    assert benchmark.main(["--quick", "--threads", "1", "--output", str(path)]) == 0
    return path


@pytest.fixture
def results():
    """Results that are made up: 100 operations a sample, and a product of 1,000 a second."""
    record = {"network": "CNN", "threads": 1, "flops": 100, "rates": [4.0, 5.0, 6.0]}
    limits = {"threads": 1, "pinned": True, "matmul": {"8": [900.0, 1000.0]}, "copy": [1e9], "triad": [2e9]}
    machine = {"processor": "an abacus", "cores": "1 available of 1", "minidl": "0"}
    return {"format": 1, "machine": machine, "settings": {"rounds": 3}, "limits": [limits], "records": [record]}


def write(path, content):
    path.write_text(json.dumps(content))
    return str(path)


def cells(table):
    return [[*column.cells] for column in table.columns]


def test_the_file_holds_every_network_and_round(written):
    found = benchmark.load(str(written))
    assert [record["network"] for record in found["records"]] == list(benchmark.NETWORKS)
    assert all(len(record["rates"]) == benchmark.QUICK["rounds"] for record in found["records"])
    assert all(0 < benchmark.share(record, found) < 5 for record in found["records"])
    assert found["settings"] == benchmark.QUICK
    assert found["machine"]["processor"]
    assert written.with_suffix(".svg").read_text().startswith("<?xml")


def test_the_count_is_that_of_the_layers_by_hand():
    """LeNet-5: 24²·25·6, 8²·25·6·16, 256·120, 120·84 and 84·10 multiply-adds forward, three times that but for the first."""
    subject = benchmark.Subject(benchmark.NETWORKS["LeNet-5"], 0.01)
    first, rest = 24**2 * 25 * 6, 8**2 * 25 * 6 * 16 + 256 * 120 + 120 * 84 + 84 * 10
    assert subject.flops == 2 * (2 * first + 3 * rest)


def test_a_share_is_of_the_best_product(results):
    assert benchmark.share(results["records"][0], results) == 0.5  # 5 samples · 100 operations of 1,000
    _, trained = benchmark.tables(results)
    assert cells(trained) == [["CNN"], ["5 (4–6), 50 %"]]


def test_a_comparison_has_an_interval(results):
    other = copy.deepcopy(results)
    other["records"][0]["rates"] = [10.0, 15.0, 20.0]
    table = benchmark.comparison(results, other)
    assert [column[0] for column in cells(table)] == ["CNN", "1", "5 (4–6)", "15 (10–20)", "3.00 (1.67–5.00)", ""]
    other["records"][0]["rates"] = [5.0, 6.0, 7.0]
    assert cells(benchmark.comparison(results, other))[-1] == ["within the spread"]


def test_what_is_unlike_is_refused(results, tmp_path, capsys):
    mine = write(tmp_path / "mine.json", results)

    def refused(message, **changes):
        yours = write(tmp_path / "yours.json", results | changes)
        assert benchmark.main(["--compare", mine, yours]) == 2
        assert message in capsys.readouterr().err

    refused("rounds is 3 in the first file, 2 in the second", settings={"rounds": 2})
    refused("is of format 2, and this minidl reads format 1", format=2)
    refused("no number of threads in common: [1] and [4]", records=[results["records"][0] | {"threads": 4}])
    refused("different networks by 'CNN'", records=[results["records"][0] | {"flops": 101}])
    (tmp_path / "broken.json").write_text("{")
    assert benchmark.main(["--compare", mine, str(tmp_path / "broken.json")]) == 2
    assert "is no file of results: it is not JSON" in capsys.readouterr().err
    assert benchmark.main(["--compare", mine, write(tmp_path / "list.json", [])]) == 2
    assert "write one with python -m minidl.benchmark" in capsys.readouterr().err
    assert benchmark.main(["--compare", mine, str(tmp_path / "missing.json")]) == 2
    assert "missing.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("machine", {"processor": "\x1b[2J", "cores": "1", "minidl": "0"}),
        ("machine", []),
        ("settings", []),
        ("records", {}),
        ("records", []),
        ("records", [None]),
        *(
            ("records", [{"network": "CNN", "threads": 1, "flops": 100, "rates": [4.0]} | {name: value}])
            for name, value in [
                *(
                    ("network", 1),
                    ("network", "\x1b[2J"),
                    ("threads", "1"),
                    ("threads", 0),
                    ("threads", True),
                    ("flops", None),
                ),
                *(
                    ("rates", []),
                    ("rates", None),
                    ("rates", [0]),
                    ("rates", [True]),
                    ("rates", ["1"]),
                    ("rates", [10**400]),
                ),
            ]
        ),
    ],
)
def test_a_file_of_somebody_elses_is_shown_only_where_it_is_whole(results, tmp_path, capsys, key, value):
    mine, yours = write(tmp_path / "mine.json", results), write(tmp_path / "yours.json", results | {key: value})
    for files in ([mine, yours], [yours, mine]):
        assert benchmark.main(["--compare", *files]) == 2
        captured = capsys.readouterr()
        assert f"minidl.benchmark: '{yours}' is damaged: " in captured.err
        assert "\x1b" not in captured.err + captured.out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_or_is_nested_without_end_is_refused(results, tmp_path, capsys):
    mine = write(tmp_path / "mine.json", results)
    os.mkfifo(tmp_path / "pipe")
    assert benchmark.main(["--compare", mine, str(tmp_path / "pipe")]) == 2
    assert "a device, a pipe or a socket" in capsys.readouterr().err
    (tmp_path / "deep.json").write_text("[" * 100_000)
    assert benchmark.main(["--compare", mine, str(tmp_path / "deep.json")]) == 2
    assert "is no file of results: it is not JSON" in capsys.readouterr().err
    yours = write(tmp_path / "yours.json", results | {"settings": {"rounds": "\x1b[2J"}})
    assert benchmark.main(["--compare", mine, yours]) == 2
    assert r"rounds is 3 in the first file, \x1b[2J in the second" in capsys.readouterr().err


def test_two_files_are_compared_by_the_command(written, capsys):
    assert benchmark.main(["--compare", str(written), str(written)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("within the spread") == len(benchmark.NETWORKS)
    assert "first: " in printed


def test_an_old_result_stays_when_the_new_one_fails(tmp_path, monkeypatch, results):
    path = tmp_path / "results.json"
    path.write_text("old")
    monkeypatch.setattr(benchmark, "measure", lambda *_: results | {"records": {1, 2}})  # JSON has no sets
    with pytest.raises(TypeError):
        benchmark.main(["--quick", "--output", str(path)])
    assert path.read_text() == "old"


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch, capsys, results):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(benchmark, "measure", lambda *_: results)
    path = tmp_path / "results.json"
    assert benchmark.main(["--quick", "--output", str(path)]) == 0
    assert "pip install 'minidl[plot]'" in capsys.readouterr().out
    assert path.exists()
    assert not path.with_suffix(".svg").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--threads", "0"], "--threads must be 1 to"), (["--output", "results.txt"], "--output must end in .json")],
)
def test_bad_arguments_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(arguments)
    assert message in capsys.readouterr().err
