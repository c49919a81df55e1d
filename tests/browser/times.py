"""The size of the page of the tutorial's network, and how fast it opens and answers a click: python tests/browser/times.py."""

import tempfile
from pathlib import Path
from statistics import median

import digits
from browsers import chromium, opened

CLICK = """async (button) => {
  const { left, top, width, height } = button.getBoundingClientRect();
  const start = performance.now();
  button.dispatchEvent(new MouseEvent("click", { detail: 1, clientX: left + width / 2, clientY: top + height / 2 }));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));  // until it is painted
  return [document.querySelector(".panel h2").textContent, performance.now() - start];
}"""


def main() -> None:
    trace = digits.tutorial()
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        file = Path(folder) / "digit.html"
        trace.save(file)
        print(f"size            {file.stat().st_size / 1e6:.1f} MB")
        times = []
        for _ in range(5):
            with opened(browser, file) as page:
                times.append(page.evaluate("performance.now()"))
        print(
            f"opening         {median(times) / 1000:.2f} s ({min(times) / 1000:.2f}–{max(times) / 1000:.2f}) until all is drawn"
        )
        with opened(browser, file) as page:
            clicks = [page.evaluate(CLICK, button) for button in page.query_selector_all(".picture") for _ in range(3)]
        slowest, worst = max(clicks, key=lambda click: click[1])
        print(f"a click         {median(each for _, each in clicks):.0f} ms, at most {worst:.0f} ms ({slowest})")


if __name__ == "__main__":
    main()
