"""Draw the pictures of the microscope in docs/pictures: python tests/browser/screenshots.py [folder].

They are of real numbers: MNIST, after seconds of training.
"""

import sys
import tempfile
from pathlib import Path

import digits
from browsers import chromium, opened

from minidl import lab

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
TALL = {"viewport": {"width": 1280, "height": 1260}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 1}
# picture → (page, what is looked at, window, colours)
SHOTS = {
    "microscope": ("training", "at=conv2d/kernel&i=2,2,0,0&step=3", TALL, "light"),
    "microscope-dark": ("digit", "at=conv2d%3Az&i=0,5,12,9", DESKTOP, "dark"),
    "microscope-pool": ("training", "at=max_pooling2d%3Adx&i=0,9,9,2&step=5", DESKTOP, "light"),
    "microscope-phone": ("training", "at=conv2d%3Az&i=0,5,12,1&step=10", PHONE, "light"),
    "microscope-lecture": ("digit", "at=dense_1%3Ady&i=0,5&large=1", DESKTOP, "light"),
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, chromium() as browser:
        files = {name: Path(temporary) / f"{name}.html" for name in ("digit", "training")}
        lab.save(files["digit"], digits.tutorial(), title="One digit, forward and backward")
        lab.save(files["training"], digits.training(), title="One digit, while the network learns")
        for name, (file, at, window, scheme) in SHOTS.items():
            with opened(browser, files[file], f"#{at}", color_scheme=scheme, **window) as page:
                page.wait_for_timeout(300)  # for the last frame
                page.screenshot(path=folder / f"{name}.png", full_page=window is PHONE)
            print(f"{name}.png: {(folder / f'{name}.png').stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES)
