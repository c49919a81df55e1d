"""The lab in a real browser, as a student uses it: draw, correct, train, break a layer. The console has to stay empty."""

import contextlib
import json
import math
import re
import socket
import threading

import pytest
from browsers import chromium

from minidl.datasets import mnist
from minidl.lab.reader import small_network
from minidl.lab.session import Session
from minidl.optimizers import Adam

uvicorn = pytest.importorskip("uvicorn", reason="needs the extra: pip install 'minidl[lab]'")
server = pytest.importorskip("minidl.lab.server", reason="needs the extra: pip install 'minidl[lab]'")

SECONDS = 60_000  # ms: machines that run tests may be busy with others
HOSTILE = "<img src=x onerror=\"document.title='hacked'\">"


def arc(x, y, width, height, first, last):
    """Points of an ellipse, in shares of the pad. Angles in degrees, clockwise from the right."""
    angles = [math.radians(first + (last - first) * i / 24) for i in range(25)]
    return [(x + width * math.cos(angle), y + height * math.sin(angle)) for angle in angles]


THREE = [arc(0.45, 0.31, 0.2, 0.17, -150, 80) + arc(0.45, 0.66, 0.22, 0.19, -80, 150)]
ZERO = [arc(0.5, 0.5, 0.22, 0.32, -90, 270)]


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def trained():
    """The lab's own network after 240 steps; it reads what is drawn here."""
    (x, y), _ = mnist.load_data()
    reader = small_network()
    reader.model.compile(Adam(0.003), "sparse_categorical_crossentropy", ["accuracy"])
    reader.model.fit(x[:12000, ..., None], y[:12000], batch_size=50, verbose=0)
    return reader


@contextlib.contextmanager
def served(session):
    """The address of a running lab."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = uvicorn.Config(server.app(session, port, "token"), lifespan="off", ws="none", log_level="warning")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}/token/"
    finally:
        session.close()
        running.should_exit = True
        thread.join(30)
        listener.close()


@contextlib.contextmanager
def opened(browser, address, expected="no message", **how):
    """The page of a lab. Fails for whatever else than expected the console says, and for requests to anywhere else."""
    context = browser.new_context(**{"viewport": {"width": 1440, "height": 1000}, **how})
    context.set_default_timeout(SECONDS)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.wait_for_function("document.querySelector('#about').textContent.includes('parameters')")
    try:
        yield page
        assert [message for message in said if expected not in message] == []
        assert [url for url in asked if not url.startswith((address, "data:"))] == []
    finally:
        context.close()


@pytest.fixture
def lab(trained):
    """A session on a copy of the trained network."""
    (x, y), test = mnist.load_data()
    return Session(trained.again(Adam(), fresh=False), ((x[:1000], y[:1000]), test))


def draw(page, strokes):
    box = page.locator("#pad").bounding_box()
    for stroke in strokes:
        (x, y), *others = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(x, y)
        page.mouse.down()
        for x, y in others:
            page.mouse.move(x, y)
        page.mouse.up()


def text(page, selector):
    return page.locator(selector).text_content()


def wait_for(page, selector, pattern):
    """Wait until the text of an element fits the pattern; return the text."""
    page.wait_for_function(
        "([selector, pattern]) => new RegExp(pattern).test(document.querySelector(selector).textContent)",
        arg=[selector, pattern],
    )
    return text(page, selector)


def wait_until_idle(page):
    page.wait_for_selector("#progress", state="hidden")


def settled_shares(page):
    """The shares when the last stroke has been looked at: they stay as they are."""
    seen = None
    while (now := shares(page)) != seen:
        seen = now
        page.wait_for_timeout(500)
    return now


def shares(page):
    return [float(share.removesuffix(" %") or 0) for share in page.locator("#bars .share").all_text_contents()]


def test_a_drawing_is_read_and_its_label_chooses_the_blame(browser, lab):
    with served(lab) as address, opened(browser, address) as page:
        assert text(page, "#read") == "–"
        draw(page, THREE)
        wait_for(page, "#read", "^3$")
        assert sum(shares(page)) == pytest.approx(100, abs=1)
        blame = page.evaluate("document.querySelector('#blame').toDataURL()")
        page.check("#bars input[value='8']")
        said = wait_for(page, "#loss", "for a 8")
        loss, share = map(float, re.search(r": ([\d.]+) = −ln ([\d.e-]+)", said.replace("e−", "e-")).groups())
        assert loss == pytest.approx(-math.log(share), rel=0.01)
        assert page.evaluate("document.querySelector('#blame').toDataURL()") != blame
        # what the server was given is what was drawn
        seen = page.evaluate("[...document.querySelector('#seen').getContext('2d').getImageData(0, 0, 28, 28).data]")[
            ::4
        ]
        drawing = {"strokes": json.loads(page.evaluate("JSON.stringify(window.lab.pad.strokes)"))}
        assert lab.look(drawing, 8)["image"] == seen
        page.click("#undo")
        wait_for(page, "#read", "–")
        draw(page, ZERO)
        wait_for(page, "#read", "^0$")
        page.click("#clear")
        wait_for(page, "#read", "–")
        assert page.locator("#hint").is_visible()


def test_one_step_moves_the_prediction_and_reset_moves_it_back(browser, lab):
    with served(lab) as address, opened(browser, address, expected="status of 400") as page:
        draw(page, THREE)
        wait_for(page, "#read", "^3$")
        before = settled_shares(page)
        page.check("#bars input[value='8']")
        wait_for(page, "#loss", "for a 8")
        page.fill("#step-rate", "0.02")
        page.click("#step")
        said = wait_for(page, "#stepped", "it changed by")
        promised, changed = (
            float(x.replace("−", "-")) for x in re.search("promised(.*?)it changed by(.*?)share", said).groups()
        )
        assert promised < 0
        assert changed < 0
        page.wait_for_function(
            f"parseFloat(document.querySelectorAll('#bars .share')[8].textContent) > {before[8] + 1}"
        )
        page.click("#reset")
        page.wait_for_function(f"document.querySelectorAll('#bars .share')[3].textContent === '{before[3]:.1f} %'")
        assert shares(page) == before
        page.fill("#step-rate", "-1")
        page.click("#step")
        assert "learning rate" in wait_for(page, "#error", ".")


def test_the_microscope_follows_what_is_drawn(browser, lab):
    with served(lab) as address, opened(browser, address) as page:
        assert page.locator("#microscope").is_hidden()
        draw(page, THREE)
        page.wait_for_selector("#microscope .panel h2")
        wait_for(page, "#microscope .verdict", "label 3")
        first = text(page, "#microscope .panel h2")
        page.click("#clear")
        page.wait_for_selector("#microscope", state="hidden")
        draw(page, ZERO)
        wait_for(page, "#microscope .verdict", "label 0")
        assert text(page, "#microscope .panel h2") != first


def test_a_training_is_watched_and_stopped(browser, lab):
    with served(lab) as address, opened(browser, address) as page:
        draw(page, THREE)
        wait_for(page, "#read", "^3$")
        page.click("#tab-training")
        page.fill("#train [name=digits]", "1000")
        page.fill("#train [name=epochs]", "20")
        page.click("#train button")
        wait_for(page, "#status", r"step \d+ of 400")
        page.wait_for_selector("#curves polyline")
        page.wait_for_selector("#filters canvas")
        assert page.locator("#step").is_disabled()
        page.click("#stop")
        wait_until_idle(page)
        assert 0 < lab.state()["curves"][0]["points"][-1][0] <= 400
        page.select_option("#train [name=optimizer]", "Adam")
        assert page.input_value("#train [name=rate]") == "0.003"
        page.fill("#train [name=epochs]", "1")
        page.click("#train button")
        page.wait_for_selector("#progress", state="visible")
        wait_until_idle(page)
        assert "test digits read right" in text(page, "#curves")
        assert page.locator("#filters canvas").count() == 16


def test_a_bug_is_planted_found_and_trained_with(browser, lab):
    with served(lab) as address, opened(browser, address) as page:
        draw(page, THREE)
        wait_for(page, "#read", "^3$")
        page.click("#tab-breaking")
        page.locator("#bugs article", has_text="+=").get_by_role("button", name="into conv2d").click()
        wait_for(page, "#reports", r'is it "=" for "\+="')
        assert "failed" in text(page, ".report.failed h4")
        assert "passed" in text(page, ".report.passed h4")
        assert "right: " in text(page, "#code")
        assert "conv2d" in text(page, "#planted")
        wait_for(page, "#wrong", "conv2d:dkernel has a number that should be")
        page.click("#show-wrong")
        wait_for(page, "#microscope .panel", "differ by more than rounding")
        page.click("#tab-breaking")
        page.fill("#compare [name=digits]", "500")
        page.click("#compare button")
        page.wait_for_selector("#race polyline.curve-1")
        wait_until_idle(page)
        wait_for(page, "#race", "right.*with the bug")
        page.reload()
        page.click("#tab-breaking")
        wait_for(page, "#planted", "conv2d")
        page.click("#heal")
        page.wait_for_selector("#planted", state="hidden")
        page.wait_for_selector("#verdict", state="hidden")


def test_the_start_shows_a_training(browser):
    (x, y), test = mnist.load_data()
    lab = Session(data=((x[:4000], y[:4000]), test))
    with served(lab) as address, opened(browser, address) as page:
        page.wait_for_selector("#progress", state="visible")
        draw(page, ZERO)
        wait_for(page, "#read", r"\d")
        wait_until_idle(page)
        wait_for(page, "#about", "reads .* of test digits")
        wait_for(page, "#read", "^0$")


def test_names_from_a_model_are_only_text(browser, lab):
    lab._reader.model.name = HOSTILE
    lab._reader.model.layers[1].name = HOSTILE
    lab._reader.model.layers[2].name = "__proto__"
    with served(lab) as address, opened(browser, address) as page:
        page.click("#sample")
        wait_for(page, "#read", r"\d")
        page.wait_for_selector("#microscope .panel h2")
        page.click("#tab-breaking")
        assert HOSTILE in text(page, "#about")
        assert HOSTILE in text(page, "#bugs")
        assert page.locator("img").count() == 0
        assert page.title() == "minidl lab"


def test_it_is_used_with_the_keyboard_and_names_what_it_has(browser, lab):
    with served(lab) as address, opened(browser, address) as page:
        page.focus("#sample")
        page.keyboard.press("Enter")
        wait_for(page, "#read", r"\d")
        page.focus("#tab-inside")
        page.keyboard.press("ArrowRight")
        assert page.get_by_role("tab", selected=True).text_content() == "Train"
        assert page.get_by_role("tabpanel").get_attribute("id") == "training"
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        assert page.get_by_role("tab", selected=True).text_content() == "Break it"
        for role, name in (
            ("radio", "7"),
            ("button", "One step"),
            ("spinbutton", "learning rate"),
            ("img", "as the network sees it"),
        ):
            assert page.get_by_role(role, name=name).first.is_visible()


@pytest.mark.parametrize("width", [360, 800, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_every_width_and_both_schemes(browser, lab, width, scheme):
    how = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme, "has_touch": True}
    with served(lab) as address, opened(browser, address, **how) as page:
        page.locator("#pad").scroll_into_view_if_needed()
        draw(page, THREE)
        wait_for(page, "#read", "^3$")
        for tab in ("training", "breaking", "inside"):
            page.click(f"#tab-{tab}")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(int, re.findall(r"\d+", light)[:3]))
        assert (brightness > 384) == (scheme == "light")


def test_a_finger_draws(browser, lab):
    how = {"viewport": {"width": 390, "height": 800}, "has_touch": True, "is_mobile": True}
    with served(lab) as address, opened(browser, address, **how) as page:
        box = page.locator("#pad").bounding_box()
        page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        wait_for(page, "#read", r"\d")


def test_when_the_lab_is_closed_the_page_says_so(browser, lab):
    with served(lab) as address, opened(browser, address, expected="ERR_") as page:
        lab.closed = True  # the stream of events ends
        wait_for(page, "#status", "The lab is closed")


def test_a_look_is_asked_for_once(browser, lab):
    """Drawing what has come sets the theme again, which must not ask once more."""
    with served(lab) as address, opened(browser, address) as page:
        page.locator("#tab-inside").click()
        draw(page, THREE)
        wait_for(page, "#read", "^3$")
        settled_shares(page)
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.wait_for_timeout(1000)
        assert asked == []


TOUCHES = """() => {
    const { pad } = window.lab;
    const box = pad.canvas.getBoundingClientRect();
    pad.canvas.setPointerCapture = () => {}; // these pointers are made up
    const send = (type, pointerId, x, y) => {
        const place = { clientX: box.left + x * box.width, clientY: box.top + y * box.height };
        const event = new PointerEvent(type, { pointerId, button: 0, bubbles: true, ...place });
        event.getCoalescedEvents = undefined; // of what is made up there are none
        pad.canvas.dispatchEvent(event);
    };
    send("pointerdown", 11, 0.1, 0.1);
    send("pointermove", 11, 0.3, 0.3);
    send("pointerdown", 12, 0.9, 0.9);
    send("pointermove", 12, 0.8, 0.9);
    send("pointerup", 12, 0.8, 0.9);
    send("pointermove", 11, 0.5, 0.5);
    const strokes = pad.strokes.map((stroke) => stroke.map((point) => point.map((share) => Math.round(10 * share) / 10)));
    pad.set([]); // as when a test digit comes in the middle of it
    send("pointermove", 11, 0.6, 0.6);
    return [strokes, pad.strokes];
}"""


def test_a_second_finger_draws_nothing_and_what_is_cleared_is_gone(browser, lab):
    with served(lab) as address, opened(browser, address) as page:
        assert page.evaluate(TOUCHES) == [[[[0.1, 0.1], [0.3, 0.3], [0.5, 0.5]]], []]
