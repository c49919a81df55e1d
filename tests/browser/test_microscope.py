"""The page of a trace in a real browser: its numbers against NumPy's and the library's, every click, keys, names, colours."""

import math
import re
import warnings

import numpy as np
import pytest
from browsers import chromium, opened

from minidl import Sequential, lab, losses
from minidl.cases import LAYERS as CASES
from minidl.lab import page as pages
from minidl.lab.layers import LAYERS
from minidl.lab.losses import LOSSES
from minidl.lab.rules import evaluate
from minidl.lab.sheet import sheet_of
from minidl.layers import (
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    LayerNormalization,
    MaxPooling2D,
    Rescaling,
    Residual,
)

NUMBERS = 1000  # of every kind are compared
EXPLAIN = """async ([step, wanted]) => {
  const view = document.querySelector("#microscope").microscope;
  await view.load(step);
  const told = ({ value, sum, magnitude, known, differs }) => [value, sum ?? null, magnitude ?? 0, known, Boolean(differs)];
  return wanted.map(([address, flat]) => told(view.explain(address, flat)));
}"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


def network(*layers, shape, seed=1):
    model = Sequential(list(layers), seed=seed)
    model.build(shape)
    model.compile(loss="sparse_categorical_crossentropy", optimizer="sgd")
    return model


def digit_network():
    return network(
        Rescaling(1 / 255),
        Conv2D(4, 5, activation="relu"),
        MaxPooling2D(),
        Dropout(0.2),
        Flatten(),
        Dense(12, activation="relu"),
        Dense(10, activation="softmax"),
        shape=(28, 28, 1),
    )


def pictures(n):
    """Something like digits: strokes on nothing."""
    rng = np.random.default_rng(3)
    x = np.zeros((n, 28, 28, 1))
    for image in x:
        for _ in range(3):
            row, col = rng.integers(4, 18, 2)
            image[row : row + 7, col : col + 3] = rng.integers(100, 256)
    return x, rng.integers(0, 10, n)


@pytest.fixture(scope="module")
def digit(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "digit.html"
    trace = digit_network().trace(*pictures(2), training=True)
    trace.save(file, title="A digit")
    return file, trace


# ------------------------------------------------------------------------------------------------------------- numbers


def one_layer_traces(name, rng):
    for make, shape in [*CASES[name].examples, *(CASES[name].draw(rng) for _ in range(6))]:
        model = Sequential([make()], seed=1)
        model.build(shape)
        model.compile(loss="mse", optimizer="sgd")
        for weights in model.weights.values():
            weights[...] = rng.normal(size=weights.shape)
        yield model.trace(rng.normal(size=(3, *shape)), rng.normal(size=(3, *model.output_shape)), training=True)


def loss_traces(loss, rng):
    targets = {
        losses.Hinge: rng.integers(0, 2, (30, 6)),
        losses.BinaryCrossentropy: rng.random((30, 6)),
        losses.CategoricalCrossentropy: np.eye(6)[rng.integers(0, 6, 30)],
        losses.SparseCategoricalCrossentropy: rng.integers(0, 6, 30),
        losses.KLDivergence: np.full((30, 6), 1 / 6),
    }
    y = targets.get(type(loss), rng.normal(size=(30, 6)))
    logits = getattr(loss, "from_logits", True)
    activation = "sigmoid" if isinstance(loss, losses.BinaryCrossentropy) else "softmax"
    model = Sequential([Dense(6, None if logits else activation, kernel_regularizer="l2")], seed=1)
    model.build((5,))
    model.compile(loss=loss, optimizer="sgd")
    yield model.trace(rng.normal(size=(30, 5)), y)


EVERY_LOSS = [
    *(kind() for kind in LOSSES),
    losses.BinaryCrossentropy(from_logits=True),
    losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
    losses.SparseCategoricalCrossentropy(from_logits=True),
]
KINDS = {
    **{name: lambda rng, name=name: one_layer_traces(name, rng) for name in CASES},
    **{f"{loss.name} {i}": lambda rng, loss=loss: loss_traces(loss, rng) for i, loss in enumerate(EVERY_LOSS)},
}


COUNTED = """() => {
    const { sheet } = document.querySelector("#microscope").microscope;
    const evaluate = sheet.evaluate.bind(sheet);
    let calls = 0;
    sheet.evaluate = (...place) => (calls++, evaluate(...place));
    sheet.made = {};
    const numbers = sheet.numbers("batch_normalization:xhat");
    return [calls, numbers.length, numbers.every(Number.isNaN)];
}"""


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_number_that_is_nan_is_made_once(browser, tmp_path):
    """Where a network has diverged, everything is, and an average of all would be made again for each of its entries."""
    layers = [Conv2D(1, 1), BatchNormalization(), Flatten(), Dense(10, activation="softmax")]
    model = network(*layers, shape=(8, 8, 1))
    model.params["conv2d/kernel"][:] = np.nan
    trace = model.trace(np.ones((2, 8, 8, 1)), np.array([1, 2]), training=True)
    trace.save(tmp_path / "nan.html")
    with opened(browser, tmp_path / "nan.html") as page:
        calls, count, all_nan = page.evaluate(COUNTED)
    assert (count, all_nan) == (128, True)
    assert calls < 3 * count  # these, and the few that they are made of


@pytest.fixture(scope="module")
def every_kind(browser, tmp_path_factory):
    """(the page with the traces of all kinds, the traces by kind, the place of each kind's first on the page)"""
    rng = np.random.default_rng(7)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Dense 'dense' ends in")
        traces = {kind: list(make(rng)) for kind, make in KINDS.items()}
    file = tmp_path_factory.mktemp("page") / "page.html"
    lab.save(file, [trace for each in traces.values() for trace in each])
    first = dict(zip(traces, np.cumsum([0, *map(len, traces.values())]).tolist(), strict=False))
    with opened(browser, file) as page:
        yield page, traces, first


def test_every_layer_is_compared():
    assert {layer.__name__ for layer in LAYERS} <= set(CASES)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_equal_those_of_numpy_and_of_the_library(every_kind, kind):
    page, traces, first = every_kind
    rng = np.random.default_rng(7)
    compared = 0
    for step, trace in enumerate(traces[kind], first[kind]):
        sheet = sheet_of(trace)
        known = set(sheet.values.known)
        addresses = [address for address in sheet.addresses() if sheet.values[address].size]
        chosen = [str(address) for address in rng.choice(addresses, -(-NUMBERS // len(traces[kind])))]
        wanted = [(address, int(rng.integers(sheet.values[address].size))) for address in chosen]
        told = page.evaluate(EXPLAIN, [step, wanted])
        for (address, flat), (value, total, magnitude, kept, differs) in zip(wanted, told, strict=True):
            own = sheet.origin(address)
            assert kept == (own in known), address
            exact = float(sheet.values[address].reshape(-1)[flat])
            assert value == exact if kept else value == pytest.approx(exact, rel=1e-12, abs=1e-300), address
            assert not differs, (address, flat)
            if own in sheet.rules:
                (by_numpy,) = evaluate(sheet.rules[own], sheet.shape(own), np.array([flat]), sheet.values)
                assert total == pytest.approx(by_numpy, rel=1e-12, abs=1e-12 * magnitude), (address, flat)
            compared += 1
    assert compared >= NUMBERS


def test_erfc_is_exact_to_the_last_digits(browser):
    page = browser.new_page()
    page.add_script_tag(content=f"{(pages.WEB / 'rules.js').read_text('utf-8')}\nwindow.erfc = erfc;", type="module")
    page.wait_for_function("window.erfc")
    x = [*np.linspace(-30, 30, 4001), 0.0, 1e-300, 1e-9, 2.0, np.nextafter(2.0, 0), 26.5, 27.2]
    found = page.evaluate("x => x.map(window.erfc)", [float(each) for each in x])
    for each, value in zip(x, found, strict=True):
        assert value == pytest.approx(math.erfc(each), rel=2e-13, abs=1e-307)
    page.close()


def test_a_number_that_is_not_the_sum_of_its_terms_is_told(browser, tmp_path):
    trace = digit_network().trace(*pictures(1))
    trace["conv2d"].gradients["kernel"][2, 3, 0, 1] += 0.01
    trace.save(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html", "#at=conv2d/kernel&i=2,3,0,1") as page:
        assert page.locator(".differs").inner_text().startswith("✗ They differ by more than rounding")
        assert page.get_by_role("alert").count() == 1
        page.get_by_label("Address of a number").fill("conv2d/kernel[2, 3, 0, 2]")
        page.get_by_role("button", name="Go", exact=True).click()
        assert page.locator(".agrees").count() == 1
        assert page.locator(".differs").count() == 0


# -------------------------------------------------------------------------------------------------------------- clicks


def test_a_click_on_every_picture_explains_the_number_under_it(browser, digit):
    file, trace = digit
    sheet = sheet_of(trace)
    with opened(browser, file) as page:
        buttons = page.locator(".picture")
        seen = set()
        for i in range(buttons.count()):
            address = buttons.nth(i).get_attribute("aria-label").split(",")[0]
            buttons.nth(i).click()
            at, index = heading(page)
            assert at == address
            exact = float(sheet.values[address][tuple(index)])
            shown = page.locator(".panel h2 .value").inner_text().removeprefix(" = ").removeprefix("= ")
            assert number(shown) == pytest.approx(exact, rel=1e-4)
            assert page.locator(".differs").count() == 0
            seen.add(address)
    assert {
        "rescaling:x",
        "rescaling:dx",
        "conv2d:kernel",
        "conv2d/kernel",
        "conv2d:z",
        "conv2d:dz",
        "dense_1:dy",
        "loss",
    } <= seen


def test_the_pixel_under_the_pointer_is_the_one_that_is_explained(browser, digit):
    with opened(browser, digit[0], "#at=rescaling%3Ax&i=0,0,0,0") as page:
        board = page.locator(".board")
        box = board.bounding_box()
        board.click(position={"x": box["width"] * 10.5 / 28, "y": box["height"] * 20.5 / 28})
        assert heading(page) == ("rescaling:x", [0, 20, 10, 0])


def heading(page):
    """The address and the index of the number that is explained."""
    text = page.locator(".panel h2").inner_text().split(" = ")[0].strip()
    address, _, index = text.partition("[")
    return address, [int(each) for each in re.findall(r"\d+", index)]


def number(text):
    return float(text.replace("−", "-"))


def test_one_can_walk_from_a_pixel_to_the_loss_and_from_the_loss_to_a_weight_and_back(browser, digit):
    with opened(browser, digit[0], "#at=rescaling%3Ax&i=0,10,10,0") as page:
        visited = [heading(page)]
        for _ in range(40):  # on to the last array that is made of it
            if visited[-1][0] == "loss":
                break
            onward = page.locator(".uses .link").all()
            forward = [each for each in onward if not re.search(r"[:/]d", each.get_attribute("title"))]
            forward[-1].click()
            visited.append(heading(page))
        assert visited[-1] == ("loss", [])
        for _ in range(len(visited) - 1):
            page.get_by_role("button", name="← Back").click()
            visited.pop()
            page.wait_for_function(
                "name => document.querySelector('.panel h2').textContent.startsWith(name)", arg=visited[-1][0]
            )
        assert heading(page) == ("rescaling:x", [0, 10, 10, 0])
        page.get_by_label("Address of a number").fill("conv2d/kernel")
        page.keyboard.press("Enter")
        assert heading(page)[0] == "conv2d/kernel"
        page.locator(".board").focus()
        seen = []
        while heading(page)[0] != "dense_1:dy" and len(seen) < 20:
            page.keyboard.press("Enter")  # on to the largest term, back to where the gradient comes from
            seen.append(heading(page)[0])
        assert seen == [
            "conv2d:dz",
            "conv2d:dy",
            "max_pooling2d:dy",
            "dropout:dy",
            "flatten:dy",
            "dense:dz",
            "dense:dy",
            "dense_1:dy",
        ]
        page.keyboard.press("Enter")
        assert heading(page)[0] == "loss:p"


def test_the_address_keeps_the_state(browser, digit):
    with opened(browser, digit[0]) as page:
        page.get_by_label("Address of a number").fill("conv2d:z[1, 3, 4, 2]")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Dark").click()
        page.get_by_role("button", name="Backward", exact=True).click()
        page.reload()
        page.wait_for_selector(".panel h2")
        assert heading(page) == ("conv2d:z", [1, 3, 4, 2])
        assert page.get_by_label("Sample").input_value() == "1"
        assert page.get_by_role("button", name="Dark").get_attribute("aria-pressed") == "true"
        assert page.get_by_role("button", name="Backward", exact=True).get_attribute("aria-pressed") == "true"
        page.get_by_label("Address of a number").fill("loss:p[1, 2]")
        page.keyboard.press("Enter")
        page.go_back()
        page.wait_for_function("document.querySelector('.panel h2').textContent.startsWith('conv2d:z')")


@pytest.mark.parametrize(
    "hash", ["#at=no:such&i=1", "#at=conv2d%3Az&i=99,0,0,0", "#at=conv2d%3Az&i=x", "#step=7&n=-3", "#%", "#n=1e9"]
)
def test_a_wrong_address_leads_to_the_beginning(browser, digit, hash):
    with opened(browser, digit[0], hash) as page:
        assert heading(page)[0] == "dense_1:y"


def test_what_cannot_be_gone_to_is_said(browser, digit):
    with opened(browser, digit[0]) as page:
        for text, answer in {
            "conv9:z": "There is no conv9:z.",
            "conv2d:z[1, 2]": "conv2d:z has shape 2×24×24×4: give an index for each axis.",
            "conv2d:z[0, 24, 0, 0]": "conv2d:z has shape 2×24×24×4: give an index for each axis.",
        }.items():
            page.get_by_label("Address of a number").fill(text)
            page.keyboard.press("Enter")
            assert page.locator(".readout").inner_text() == answer
            assert heading(page)[0] == "dense_1:y"


def test_what_died_is_said(browser, digit):
    file, trace = digit
    sheet = sheet_of(trace)
    dead = np.argwhere(trace["conv2d"].y == 0)[0]
    lost = np.argwhere((sheet.values["max_pooling2d:dx"] == 0) & (trace["conv2d"].y > 0))[0]
    dropped = np.argwhere(sheet.values["dropout:mask"] == 0)[0]
    said = {
        ("conv2d:y", tuple(dead)): "the activation is flat here, its slope is 0: no gradient comes back through it.",
        ("conv2d:dz", tuple(dead)): "the activation is flat here, its slope is 0: the gradient stops here.",
        ("max_pooling2d:dx", tuple(lost)): "not the largest of its window: the gradient stops here.",
        ("dropout:y", tuple(dropped)): "dropped: no gradient comes back through it.",
    }
    with opened(browser, file) as page:
        for (address, index), text in said.items():
            page.get_by_label("Address of a number").fill(f"{address}[{', '.join(map(str, index))}]")
            page.keyboard.press("Enter")
            assert page.locator(".shutnote").inner_text() == text


def test_the_terms_are_paged_and_the_rest_is_summed(browser, digit):
    file, trace = digit
    with opened(browser, file, "#at=conv2d/kernel&i=2,2,0,0") as page:
        x, dz = sheet_of(trace).values["conv2d:x"].astype(float), sheet_of(trace).values["conv2d:dz"].astype(float)
        terms = (x[:, 2:26, 2:26, 0] * dz[..., 0]).reshape(-1)
        terms = terms[np.argsort(-abs(terms), kind="stable")]
        for first in (0, 10):
            shown = [number(cell) for cell in page.locator(".terms td:first-child").all_inner_texts()]
            np.testing.assert_allclose(shown, terms[first : first + 10], rtol=1e-3)
            so_far = [number(cell) for cell in page.locator(".terms td:last-child").all_inner_texts()]
            np.testing.assert_allclose(so_far, np.cumsum(terms)[first : first + 10], rtol=1e-3)
            rest = terms.sum() - terms[first : first + 10].sum()
            text = page.locator(".pager").inner_text()
            assert f"{first + 1}–{first + 10} of 1152" in text
            assert number(text.split("add up to ")[1]) == pytest.approx(rest, rel=1e-3)
            page.get_by_role("button", name="smaller terms").click()
        nothing = int(np.sum(dz[..., 0] == 0))
        assert f"1152 terms, dz is 0 in {nothing}" in page.locator(".count").inner_text()


def test_directions_hide_the_other_half(browser, digit):
    with opened(browser, digit[0]) as page:
        forward, backward = page.locator(".figure.forward").first, page.locator(".figure.backward").first
        page.get_by_role("button", name="Forward", exact=True).click()
        assert forward.is_visible()
        assert not backward.is_visible()
        page.get_by_role("button", name="Backward", exact=True).click()
        assert backward.is_visible()
        assert not forward.is_visible()


# ------------------------------------------------------------------------------------------------- steps, samples, kinds


def test_the_slider_goes_through_a_training(browser, tmp_path):
    model, (x, y) = digit_network(), pictures(20)
    traces = {}
    for step in range(4):
        traces[f"step {step}"] = model.trace(x[:2], y[:2])
        model.fit(x, y, epochs=1, batch_size=20, verbose=0)
    lab.save(tmp_path / "training.html", traces)
    with opened(browser, tmp_path / "training.html", "#at=conv2d%3Akernel&i=1,1,0,0") as page:
        slider = page.get_by_role("slider", name="Training")
        slider.focus()
        for name, trace in traces.items():
            page.wait_for_function("name => document.querySelector('output').textContent.startsWith(name)", arg=name)
            assert page.locator("output").inner_text() == f"{name} · loss {trace.loss:.6g}"
            assert heading(page) == ("conv2d:kernel", [1, 1, 0, 0])
            shown = number(page.locator(".panel h2 .value").inner_text().split("= ")[1])
            assert shown == pytest.approx(float(trace["conv2d"].params["kernel"][1, 1, 0, 0]), rel=1e-4)
            page.keyboard.press("ArrowRight")


def test_the_sample_is_chosen(browser, digit):
    with opened(browser, digit[0], "#at=dense_1%3Ay&i=0,3") as page:
        page.get_by_label("Sample").select_option("1")
        assert heading(page) == ("dense_1:y", [1, 3])
        page.locator(".picture").first.click()
        assert heading(page)[1][0] == 1


def test_residuals_and_a_layer_of_ones_own(browser, tmp_path):
    class Halved(Rescaling):
        """A subclass is not in the table: its numbers are shown, and nothing is claimed of them."""

    model = network(
        Halved(0.5),
        Residual([Conv2D(3, 3, padding="same", activation="relu"), Conv2D(1, 3, padding="same")]),
        LayerNormalization(),
        AveragePooling2D(),
        Flatten(),
        Dense(10, activation="softmax"),
        shape=(28, 28, 1),
    )
    model.trace(*pictures(1)).save(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as page:
        buttons = page.locator(".picture")
        for i in range(buttons.count()):
            buttons.nth(i).click()
            assert page.locator(".differs").count() == 0
        chips = page.locator(".chip")
        for i in range(chips.count()):
            chips.nth(i).click()
            assert page.locator(".differs").count() == 0
        assert page.locator(".grouptitle").inner_text().startswith("residual")
        page.get_by_label("Address of a number").fill("halved:y[0, 9, 9, 0]")
        page.keyboard.press("Enter")
        assert "no rule makes it of other numbers" in page.locator(".panel").inner_text()
        page.get_by_label("Address of a number").fill("residual:y[0, 9, 9, 0]")
        page.keyboard.press("Enter")
        assert page.locator(".terms tbody tr").count() == 2


def test_hostile_names_stay_text(browser, tmp_path):
    hostile = "<img src=x onerror=alert(1)>:<!--<script>{{data}}"
    trace = network(Flatten(), Dense(10, activation="softmax", name=hostile), shape=(28, 28, 1)).trace(*pictures(1))
    title = f"</title></script>{hostile}"
    lab.save(tmp_path / "page.html", {hostile: trace, "other": trace}, title=title)
    with opened(browser, tmp_path / "page.html") as page:
        page.get_by_label("Address of a number").fill(f"{hostile}/kernel[5, 1]")
        page.keyboard.press("Enter")
        assert page.locator(".panel h2").inner_text().startswith(f"{hostile}/kernel[5, 1]")
        assert page.locator("h1").inner_text() == title
        assert page.title() == title
        assert page.locator("img").count() == 0
        assert page.locator("output").inner_text().startswith(hostile)


def test_new_data_can_be_shown_and_the_chosen_number_stays(browser, digit):
    with opened(browser, digit[0], "#at=conv2d%3Az&i=0,3,4,2") as page:
        data = pages.data_of(digit_network().trace(*pictures(2)), "Other data")
        page.evaluate("data => document.querySelector('#microscope').microscope.show(data)", data)
        page.wait_for_function("document.querySelector('h1').textContent === 'Other data'")
        assert heading(page) == ("conv2d:z", [0, 3, 4, 2])


# ------------------------------------------------------------------------------------ keys, names, colours, small screens


def test_the_keyboard_walks(browser, digit):
    with opened(browser, digit[0], "#at=conv2d%3Az&i=0,3,4,2") as page:
        board = page.get_by_role("application")
        board.focus()
        for key, index in {
            "ArrowRight": [0, 3, 5, 2],
            "ArrowDown": [0, 4, 5, 2],
            "ArrowLeft": [0, 4, 4, 2],
            "ArrowUp": [0, 3, 4, 2],
            "PageDown": [0, 3, 4, 3],
            "PageUp": [0, 3, 4, 2],
        }.items():
            page.keyboard.press(key)
            assert heading(page) == ("conv2d:z", index)
        page.keyboard.press("Enter")
        assert heading(page)[0] == "conv2d:x"
        page.keyboard.press("Backspace")
        page.wait_for_function("document.querySelector('.panel h2').textContent.startsWith('conv2d:z[0, 3, 4, 2]')")
        page.keyboard.press("ArrowRight")
        assert heading(page) == ("conv2d:z", [0, 3, 5, 2])


def test_arrow_keys_go_from_picture_to_picture_and_tab_goes_on(browser, digit):
    with opened(browser, digit[0]) as page:
        toolbar = page.get_by_role("toolbar")
        assert toolbar.locator("[tabindex='0']").count() == 1
        toolbar.locator("[tabindex='0']").focus()
        names = []
        for _ in range(4):
            names.append(page.evaluate("document.activeElement.getAttribute('aria-label').split(',')[0]"))
            page.keyboard.press("ArrowRight")
        assert names == ["rescaling:x", "rescaling:dx", "rescaling:y", "rescaling:dy"]
        page.keyboard.press("Enter")
        assert heading(page)[0] == page.evaluate("document.activeElement.getAttribute('aria-label').split(',')[0]")


def test_everything_that_can_be_used_has_a_role_and_a_name(browser, digit):
    with opened(browser, digit[0]) as page:
        page.locator(".text summary").click()
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("button, input, select, [tabindex='0'], section, [role]")]
              .filter((element) => !element.getAttribute("aria-label") && !element.textContent.trim())
              .filter((element) => !element.labels?.length && !element.closest("[hidden]"))
              .map((element) => element.outerHTML)"""
        )
        assert nameless == []
        assert page.locator("[aria-live=polite]").inner_text().startswith("dense_1:y[0, ")
        for role in ("main", "toolbar", "application", "table"):
            assert page.get_by_role(role).count() >= 1, role
        for name in ("The network", "The chosen array", "The chosen number"):
            assert page.get_by_role("region", name=name).count() == 1
        cells = page.locator(".text td").all_inner_texts()
        assert len([cell for cell in cells if cell]) == 10


def test_the_focus_can_be_seen(browser, digit):
    with opened(browser, digit[0]) as page:
        for _ in range(12):
            page.keyboard.press("Tab")
            width = page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
            assert width >= 2


@pytest.mark.parametrize("large", [0, 1])
@pytest.mark.parametrize(
    "at", ["conv2d/kernel&i=2,2,0,0", "conv2d%3Az&i=0,2,2,0", "dense%3Adx&i=0,2", "loss%3Ap&i=0,2", "loss&i="]
)
def test_a_phone_shows_it_without_scrolling_sideways(browser, digit, at, large):
    with opened(browser, digit[0], f"#at={at}&large={large}", viewport={"width": 390, "height": 844}) as page:
        page.locator(".text summary").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_dark_and_light(browser, digit):
    background = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, digit[0], color_scheme="dark") as page:
        dark = page.evaluate(background)
        assert max(map(int, re.findall(r"\d+", dark))) < 60
        page.get_by_role("button", name="Light").click()
        assert min(map(int, re.findall(r"\d+", page.evaluate(background)))) > 200
        page.get_by_role("button", name="Auto").click()
        assert page.evaluate(background) == dark
        page.emulate_media(color_scheme="light")
        page.wait_for_function("document.documentElement.dataset.theme === 'light'")


@pytest.mark.parametrize("dark", [False, True])
def test_the_colours_are_told_apart_without_red_and_green(browser, dark):
    """Positive, zero and negative differ much in how blue they are, which all but the very few without blue cones see."""
    page = browser.new_page()
    text = "\n".join((pages.WEB / name).read_text("utf-8") for name in ("rules.js", "pictures.js"))
    text = "\n".join(line.removeprefix("export ") for line in text.splitlines() if not line.startswith("import "))
    page.add_script_tag(content=f"{text}\nwindow.colour = colour;", type="module")
    page.wait_for_function("window.colour")
    minus, zero, plus = (
        page.evaluate("([value, dark]) => colour(value, dark)", [value, dark]) for value in (-0.25, 0, 0.25)
    )
    page.close()
    assert minus[2] - minus[0] > 100  # blue
    assert plus[0] - plus[2] > 100  # orange
    assert zero == ([0, 0, 0] if dark else [255, 255, 255])
