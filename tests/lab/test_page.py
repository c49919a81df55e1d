"""What is written to the one HTML file of a trace: the data for the viewer, safe from hostile names, whole or not at all."""

import base64
import html.parser
import json
import os
import zlib
from dataclasses import asdict

import numpy as np
import pytest

import minidl.lab
from minidl import Sequential, lab
from minidl.lab import page
from minidl.lab.sheet import sheet_of
from minidl.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D, Rescaling

HOSTILE = "</script><img src=x onerror=alert(1)>{{data}} & \"'"


def small(name="dense", seed=1):
    layers = [Conv2D(2, 3, activation="relu"), MaxPooling2D(), Flatten(), Dense(3, activation="softmax", name=name)]
    model = Sequential(layers, seed=seed)
    model.build((6, 8, 1))
    model.compile(loss="sparse_categorical_crossentropy", optimizer="sgd")
    return model


def traced(model, n=2):
    rng = np.random.default_rng(0)
    return model.trace(rng.normal(size=(n, *model.input_shape)), rng.integers(0, 3, n))


class Elements(html.parser.HTMLParser):
    """The elements of a page, the title, and the text of the element with id="data"."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.title, self.data, self._inside = [], "", "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = "data" if ("id", "data") in attrs else tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "data":
            self.data += data
        elif self._inside == "title":
            self.title += data


def unpacked(blob):
    data = base64.b64decode(blob["data"], validate=True)
    return np.frombuffer(zlib.decompress(data) if blob["deflate"] else data, np.dtype(blob["dtype"]).newbyteorder("<"))


def test_the_data_hold_every_number_that_the_library_computed_and_every_rule():
    trace = traced(small())
    sheet, data = sheet_of(trace), page.data_of(trace)
    (network,), (found,) = data["networks"], data["traces"]
    own = {address for address in sheet.values.known if sheet.origin(address) == address}
    assert set(found["values"]) == own
    for address in own:
        expected = sheet.values[address]
        np.testing.assert_array_equal(unpacked(data["blobs"][found["values"][address]]), expected.reshape(-1))
        assert network["arrays"][address]["shape"] == list(expected.shape)
    assert set(network["arrays"]) == {address for address in sheet.addresses() if sheet.origin(address) == address}
    assert network["same"] == sheet.same
    for address, rule in network["rules"].items():
        assert rule == asdict(sheet.rules[address])
    assert set(sheet.rules) - set(network["rules"]) == {a for a in sheet.rules if sheet.origin(a) != a}


def test_what_has_samples_is_known_from_the_rules():
    model = small()
    arrays = page.data_of(traced(model, n=3))["networks"][0]["arrays"]
    with_samples = {address for address, array in arrays.items() if array["batch"]}
    assert {
        "conv2d:x",
        "conv2d:z",
        "conv2d:slope",
        "max_pooling2d:wins",
        "dense:y",
        "loss:dy",
        "loss:p",
        "loss:s",
        "loss:t",
    } <= with_samples
    # a kernel of three rows is not three samples
    assert not with_samples & {"conv2d:kernel", "conv2d:dkernel", "dense:kernel", "dense:dbias", "loss"}


def test_what_was_flattened_is_drawn_as_the_images_that_it_was():
    arrays = page.data_of(traced(small()))["networks"][0]["arrays"]
    assert arrays["flatten:y"]["shape"] == [2, 12]
    assert arrays["flatten:y"]["view"] == arrays["dense:dx"]["view"] == [2, 2, 3, 2]
    assert arrays["dense:kernel"]["view"] == arrays["dense:dkernel"]["view"] == [2, 3, 2, 3]
    assert not arrays["dense:kernel"]["units"]
    plain = Sequential([Dense(4), Dense(3, activation="softmax")], seed=1)
    plain.build((5,))
    plain.compile(loss="sparse_categorical_crossentropy", optimizer="sgd")
    arrays = page.data_of(traced(plain))["networks"][0]["arrays"]
    assert arrays["dense:kernel"]["units"]
    assert arrays["dense:kernel"]["view"] == [5, 4]


def test_what_is_the_same_in_all_traces_of_a_training_is_stored_once():
    model = small()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 6, 8, 1)), np.array([0, 2])
    traces = {"before": model.trace(x, y)}
    model.fit(x, y, epochs=1, verbose=0)
    traces["after"] = model.trace(x, y)
    data = page.data_of(traces)
    before, after = data["traces"]
    assert [before["label"], after["label"]] == ["before", "after"]
    assert before["network"] == after["network"] == 0
    assert len(data["networks"]) == 1
    for address in ("conv2d:x", "loss:t"):
        assert before["values"][address] == after["values"][address]
    for address in ("conv2d:kernel", "dense:y", "conv2d:dx"):
        assert before["values"][address] != after["values"][address]
    assert [trace["label"] for trace in page.data_of(list(traces.values()))["traces"]] == ["0", "1"]


def test_networks_that_differ_are_told_apart():
    data = page.data_of([traced(small()), traced(small("other"))])
    assert [trace["network"] for trace in data["traces"]] == [0, 1]
    assert data["networks"][1]["layers"][-1]["name"] == "other"


def test_float64_and_masks_are_kept_as_they_are():
    model = Sequential([Dense(3), Dropout(0.5)], seed=1, dtype="float64")
    model.build((4,))
    model.compile(loss="mse", optimizer="sgd")
    rng = np.random.default_rng(0)
    data = page.data_of(model.trace(rng.normal(size=(2, 4)), rng.normal(size=(2, 3)), training=True))
    values, blobs = data["traces"][0]["values"], data["blobs"]
    assert blobs[values["dense:kernel"]]["dtype"] == "float64"
    assert data["networks"][0]["epsilon"] == np.finfo(np.float64).eps
    assert set(unpacked(blobs[values["dropout:mask"]])) <= {0.0, 2.0}


def test_names_are_text_and_never_markup(tmp_path):
    file = tmp_path / "page.html"
    name = HOSTILE.replace("/", "")  # a layer's name has no slash
    lab.save(file, {HOSTILE: traced(small(name))}, title=HOSTILE)
    text = file.read_text("utf-8")
    found = Elements(text)
    ours = [tag for tag, _ in Elements(page.page(traced(small()), "")).tags]
    assert [tag for tag, _ in found.tags] == ours
    assert found.title.strip() == HOSTILE
    assert "<" not in found.data
    data = json.loads(found.data)
    assert data["title"] == data["traces"][0]["label"] == HOSTILE
    assert data["networks"][0]["layers"][-1]["name"] == name


def test_a_name_that_is_no_text_can_be_written(tmp_path):
    lab.save(tmp_path / "page.html", {"\ud800": traced(small())}, title="\ud800")
    assert json.loads(Elements((tmp_path / "page.html").read_text("utf-8")).data)["traces"][0]["label"] == "\ud800"


def test_the_file_needs_nothing_else():
    found = Elements(page.page(traced(small()), "A page"))
    for tag, attributes in found.tags:
        assert not {"src", "href", "onload", "onclick"} & set(attributes), tag
    (policy,) = [each["content"] for tag, each in found.tags if tag == "meta" and each.get("http-equiv")]
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy


def test_the_viewer_becomes_one_script():
    text = page.script()
    lines = text.splitlines()
    assert not [line for line in lines if line.startswith(("import ", "export ", "} from"))]
    assert "</script" not in text.lower()
    assert "<!--" not in text
    for name in page.SCRIPTS:
        module = (page.WEB / name).read_text("utf-8")
        assert all(
            len(line.split("{")) < 3 or line.endswith('";')
            for line in module.splitlines()
            if line.startswith("import ")
        )
    declared = [
        line.split("(")[0].split("=")[0].split()[-1]
        for line in lines
        if line.startswith(("function ", "async function ", "const "))
    ]
    assert len(declared) == len(set(declared))  # the modules share one scope


def test_trace_save_writes_the_same_file(tmp_path):
    trace = traced(small())
    trace.save(tmp_path / "one.html", title="Digits")
    minidl.lab.save(str(tmp_path / "two.html"), trace, title="Digits")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "page.html"
    traced(small()).save(file)
    before = file.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match=r"No space left on device. The existing file is unchanged."):
        traced(small("other")).save(file)
    assert file.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]


def test_what_is_no_trace_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"at least one trace, received none: pass model.trace\(x, y\)"):
        lab.save(tmp_path / "page.html", [])
    with pytest.raises(
        TypeError, match=r"traces must hold what model.trace\(x, y\) returns, received Sequential for 'first'"
    ):
        lab.save(tmp_path / "page.html", {"first": small()})
    assert not list(tmp_path.iterdir())


def test_the_network_of_the_tutorial_takes_less_than_eight_megabytes(tmp_path):
    model = Sequential(seed=1)
    model.add(Rescaling(1 / 255, input_shape=(28, 28, 1)))
    model.add(Conv2D(32, (5, 5), activation="relu"))
    model.add(MaxPooling2D())
    model.add(Dropout(0.2))
    model.add(Flatten())
    model.add(Dense(128, activation="relu"))
    model.add(Dense(10, activation="softmax"))
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam")
    noise = np.random.default_rng(0).integers(0, 256, (1, 28, 28, 1))  # compresses worse than any digit
    model.trace(noise, [3], training=True).save(tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < 8e6
