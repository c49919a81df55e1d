"""What the lab does: one model, looked at, trained and broken on purpose. The server only passes calls on to it."""

import math
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..checks import check_number, check_positive, is_integer
from ..contracts import Array
from ..datasets import mnist
from ..optimizers import SGD, Adam, Optimizer
from ..tracing import Trace
from . import bugs
from .drawing import SIZE, image_of
from .page import data_of
from .reader import CLASSES, Reader, small_network
from .rules import evaluate
from .run import Curve, Run
from .sheet import sheet_of

OPTIMIZERS: dict[str, Callable[[float], Optimizer]] = {"SGD": SGD, "Adam": Adam}
MOST_RATE = 1e6  # a step that large is meant as an experiment
MOST_EPOCHS = 20
MOST_FILTERS = 16
LOOKED_AT = 100  # digits, for the gradient of the filters
ROUNDING = 1e-4  # of the largest number of an array
MEASURED = 2000  # test digits, for the accuracy of the model
START = ("Adam", 0.003)  # how the lab's own network is trained at the start

Digits = tuple[Array, Array]  # images (N, 28, 28) in uint8, and what they show (N,)
Answer = dict[str, Any]  # ready for JSON


class Busy(RuntimeError):
    """A training runs, and what was asked for would get in its way."""


class Session:
    """One model and what is being done with it. All methods may be called from any thread.

    Arguments: reader: the model; None trains the lab's own at the start. data: (training, test), pairs of images and digits; None
    loads MNIST.
    """

    def __init__(self, reader: Reader | None = None, data: Any = None) -> None:
        self.train_data: Digits
        self.test_data: Digits
        self.train_data, self.test_data = data or mnist.load_data()
        self._lock = threading.RLock()  # held while the model is read or changed
        self._reader = reader or small_network()
        self._saved = self._reader.model.get_weights()  # what reset goes back to
        self._planted: tuple[str, str] | None = None  # bug, address of the layer
        self._run: Run | None = None
        self._phase = "idle"
        self._curves: list[Answer] = []
        self._filters: Answer | None = None
        self._accuracy: float | None = None
        self._note = ""
        self.weights = 0  # counts the changes of the model, so that a page knows when to look again
        self.version = 0  # counts the changes of the state
        self.closed = False
        if reader is None:
            name, rate = START
            self._start(
                "starting", [Curve("the lab's own network", self._reader.again(OPTIMIZERS[name](rate), False))], 1
            )
        else:
            self._measure()

    # ------------------------------------------------------------------------------------------------------ looking

    def state(self) -> Answer:
        """Everything about the lab that is not about a drawing."""
        with self._lock:
            model, run = self._reader.model, self._run
            return {
                "version": self.version,
                "weights": self.weights,
                "phase": self._phase,
                "note": self._note,
                "model": {
                    "name": model.name,
                    "parameters": model.count_params(),
                    "full": self._reader.full,
                    "loss": type(model.loss).__name__,
                    "layers": [{"name": at, "kind": bugs.right_class(layer).__name__} for at, layer in model.leaves()],
                },
                "accuracy": self._accuracy,
                "progress": {"done": run.done, "total": run.total} if run else None,
                "curves": self._curves,
                "filters": self._filters,
                "planted": self._planted and {"bug": self._planted[0], "layer": self._planted[1]},
                "bugs": self._bugs(),
            }

    def digit(self, place: object) -> Answer:
        """A test digit: its image and what it shows. Raises ValueError where there is none at this place."""
        place = self._place(place)
        return {"image": self.test_data[0][place].ravel().tolist(), "label": int(self.test_data[1][place])}

    def look(self, drawing: object, label: object = None, full: bool = False) -> Answer:
        """One drawing, forward and backward.

        drawing: {"strokes": …}, see drawing.py, or {"digit": the place of a test digit}. label: 0 … 9, or None for what the model
        reads. full: with the whole trace, as the microscope wants it.

        Raises ValueError for anything else, FloatingPointError where the loss is not finite.
        """
        image = self._image(drawing)
        with self._lock:
            found = self._read(image, label)
            trace = self._trace(image, found["label"])
            dpixels = trace.layers[0].dx.ravel() * self._reader.full  # of a pixel that goes from no ink to full
            answer = {**found, "image": image.ravel().tolist(), "dpixels": _rounded(dpixels), "weights": self.weights}
            if full:
                answer["microscope"] = data_of(self._as_if_right(trace))
                answer["wrong"] = None if self._planted is None else _wrong(trace, self._planted[1])
        return answer

    def _read(self, image: Array, label: object) -> Answer:
        """What the model says to an image."""
        probabilities = self._reader.probabilities(image[None])[0]
        shown = int(probabilities.argmax()) if label is None else _digit(label)
        loss, _ = self._reader.model.loss_and_gradients(*self._sample(image, shown))
        return {
            "probabilities": _rounded(probabilities),
            "read": int(probabilities.argmax()),
            "label": shown,
            "loss": loss,
        }

    def _sample(self, image: Array, label: int) -> tuple[Array, Array]:
        return self._reader.inputs(image[None]), self._reader.labels(np.array([label]))

    def _trace(self, image: Array, label: int) -> Trace:
        return self._reader.model.trace(*self._sample(image, label))

    def _as_if_right(self, trace: Trace) -> Trace:
        """The numbers of a faulty layer beside the rules of the right one, so that the microscope shows where they differ."""
        for record in trace.layers:
            if type(record.layer) in bugs.FAULTY.values():
                record.layer = bugs.right_twin(record.layer)
        return trace

    # ---------------------------------------------------------------------------------------------- one step on a drawing

    def step(self, drawing: object, label: object, rate: object) -> Answer:
        """One step of plain gradient descent on this one drawing: every parameter − rate · its gradient.

        promised: by how much the loss would change if it were a straight line, −rate · the sum of the squared gradients.

        Raises Busy during a training, ValueError for a bad argument, FloatingPointError where the loss is no longer finite; the
        model is then unchanged.
        """
        image = self._image(drawing)
        rate = _rate(rate)
        with self._lock:
            self._want_idle()
            model = self._reader.model
            before = self._read(image, label)
            sample = self._sample(image, before["label"])
            _, gradients = model.loss_and_gradients(*sample)
            weights = model.get_weights()
            with np.errstate(over="ignore", invalid="ignore"):
                for address, parameter in model.params.items():
                    parameter -= rate * gradients[address]
                promised = -rate * sum(
                    float(np.sum(gradient.astype(np.float64) ** 2)) for gradient in gradients.values()
                )
            try:
                after = self._read(image, before["label"])
            except FloatingPointError:
                model.set_weights(weights)
                raise FloatingPointError(
                    f"after a step of {rate:g} times the gradient the loss would not be a finite number: choose a smaller one. "
                    "The weights are as they were."
                ) from None
            self._changed()
        return {"before": before, "after": after, "promised": promised}

    def reset(self) -> None:
        """Undo all steps since the model was loaded or last trained. Raises Busy during a training."""
        with self._lock:
            self._want_idle()
            self._reader.model.set_weights(self._saved)
            self._changed()

    # ---------------------------------------------------------------------------------------------------------- training

    def train(self, *, digits: object, epochs: object, optimizer: object, rate: object, fresh: object) -> None:
        """Begin to train the model, on the first so many digits. fresh: from new weights, not from those that it has.

        Raises Busy during another training, ValueError for a bad argument.
        """
        settings = self._settings(digits, epochs, optimizer, rate)
        with self._lock:
            self._want_idle()
            name = "with the bug" if self._planted else "training"
            self._start("training", [Curve(name, self._reader.again(settings[2](), bool(fresh)))], *settings[:2])

    def compare(self, *, digits: object, epochs: object, optimizer: object, rate: object) -> None:
        """Train two new networks side by side: the model with its bug and without, from the same weights, on the same batches.

        The model itself stays as it is. Raises Busy during a training, ValueError for a bad argument or where there is no bug.
        """
        settings = self._settings(digits, epochs, optimizer, rate)
        with self._lock:
            self._want_idle()
            if self._planted is None:
                raise ValueError("there is no bug to compare with: plant one first.")
            faulty, right = (reader.again(settings[2](), True) for reader in (self._reader, self._healed()))
            self._start("comparing", [Curve("right", right), Curve("with the bug", faulty)], *settings[:2])

    def stop(self) -> None:
        """End a training after its current step; the model keeps what it has learned."""
        run = self._run
        if run is not None:
            run.stop()

    def close(self) -> None:
        """End everything that runs."""
        self.closed = True
        run = self._run
        if run is not None:
            run.stop()
            run.join(timeout=10)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until no training runs."""
        run = self._run
        if run is not None:
            run.join(timeout)

    def _settings(
        self, digits: object, epochs: object, optimizer: object, rate: object
    ) -> tuple[int, int, Callable[[], Optimizer]]:
        """(epochs, digits, a maker of the optimizer), checked."""
        epochs, count = check_positive(epochs, "epochs"), check_positive(digits, "digits")
        if epochs > MOST_EPOCHS or count > len(self.train_data[0]):
            raise ValueError(
                f"the lab trains on at most {len(self.train_data[0])} digits for {MOST_EPOCHS} epochs, received {count} "
                f"digits and {epochs} epochs."
            )
        if not isinstance(optimizer, str) or optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be {' or '.join(map(repr, OPTIMIZERS))}, received {optimizer!r:.100}.")
        make, step = OPTIMIZERS[optimizer], _rate(rate)
        return epochs, count, lambda: make(step)

    def _start(self, phase: str, curves: list[Curve], epochs: int, digits: int | None = None) -> None:
        x, y = self.train_data
        self._phase, self._note, self._curves = phase, "", []
        self._run = Run(curves, (x[:digits], y[:digits]), self.test_data, epochs, self._watch)
        self.version += 1
        self._run.start()

    def _watch(self, run: Run) -> None:
        """Take over what a training has reached; called in its thread, and one last time when it has ended."""
        with self._lock:
            comparing = self._phase == "comparing"
            if run.over:  # first, so that whatever fails below, the lab does not wait for it for ever
                self._phase, self._run = "idle", None
                self._note = run.error or next((curve.ended for curve in run.curves if curve.ended), "")
            self.version += 1
            self._curves = [
                {"name": curve.name, "points": [_rounded(point) for point in curve.points], "ended": curve.ended}
                for curve in run.curves
            ]
            self._filters = _filters(run.curves[-1], *(part[:LOOKED_AT] for part in self.train_data))
            if not comparing:
                self._reader.model.set_weights(run.curves[0].reader.model.get_weights())
                self.weights += 1
            if run.over:
                if not comparing:
                    self._saved = self._reader.model.get_weights()
                self._measure()

    # -------------------------------------------------------------------------------------------------------------- bugs

    def plant(self, bug: object, layer: object) -> Answer:
        """Put a bug into a layer, instead of one that is planted already, and let gradcheck look at it.

        The answer holds the reports of the faulty layer and of the right one, each of new layers with the same settings.

        Raises Busy during a training, ValueError where there is no such bug or layer.
        """
        with self._lock:
            self._want_idle()
            possible = [(each["bug"], layer) for each in self._bugs() for layer in each["layers"]]
            if (bug, layer) not in possible:
                known = ", ".join(f"{name} in {at}" for name, at in possible) or "none"
                raise ValueError(f"there is no bug {bug!r:.100} for {layer!r:.100}. This model can have: {known}.")
            name, address = str(bug), str(layer)
            healed = self._healed()
            right = dict(healed.model.leaves())[address]
            faulty = bugs.faulty_twin(right, name)
            self._reader, self._planted = healed.with_layer(address, type(faulty)), (name, address)
            self._changed()
        about = bugs.BUGS[name]
        modes = [about.mode] if about.blind is None else [about.blind, about.mode]
        return {
            "bug": name,
            "layer": address,
            "code": bugs.code(faulty),
            "faulty": [_report(bugs.faulty_twin(right, name), mode) for mode in modes],
            "right": [_report(bugs.right_twin(faulty), mode) for mode in modes],
        }

    def heal(self) -> None:
        """Take the bug out. Raises Busy during a training."""
        with self._lock:
            self._want_idle()
            self._reader, self._planted = self._healed(), None
            self._changed()

    def _healed(self) -> Reader:
        """The model without its bug."""
        if self._planted is None:
            return self._reader
        address = self._planted[1]
        return self._reader.with_layer(address, bugs.right_class(dict(self._reader.model.leaves())[address]))

    def _bugs(self) -> list[Answer]:
        """Every bug that the model can have, and the layers that it can have it in."""
        found: dict[str, list[str]] = {}
        for bug, address in bugs.places(self._reader.model):
            found.setdefault(bug, []).append(address)
        return [
            {"bug": bug, "title": bugs.BUGS[bug].title, "says": bugs.BUGS[bug].says, "layers": layers}
            for bug, layers in found.items()
        ]

    # ------------------------------------------------------------------------------------------------------------- inside

    def _want_idle(self) -> None:
        if self._phase != "idle":
            raise Busy("a training runs: stop it first, or wait for its end.")

    def _changed(self) -> None:
        self.weights += 1
        self.version += 1

    def _measure(self) -> None:
        self._accuracy = self._reader.accuracy(*(part[:MEASURED] for part in self.test_data))

    def _image(self, drawing: object) -> Array:
        """The image of a drawing, (28, 28) in uint8."""
        if isinstance(drawing, dict) and len(drawing) == 1:
            if "strokes" in drawing:
                return image_of(drawing["strokes"])
            if "digit" in drawing:
                return np.asarray(self.test_data[0][self._place(drawing["digit"])])
        raise ValueError('a drawing must be {"strokes": …} or {"digit": …}.')

    def _place(self, place: object) -> int:
        count = len(self.test_data[0])
        if not is_integer(place) or not 0 <= place < count:
            raise ValueError(f"a test digit must be an integer from 0 to {count - 1}, received {place!r:.100}.")
        return int(place)


def _wrong(trace: Trace, layer: str) -> Answer | None:
    """The number of a layer's backward that is furthest from what its rule gives; None where all are right.

    trace: with the right layers. address, flat: where it is. given, right: what the layer computed, and what the rule gives.
    """
    sheet, worst = sheet_of(trace), None
    for name in ("dx", *(f"d{name}" for name in trace[layer].params)):
        address = sheet.origin(f"{layer}:{name}")
        given = sheet.values[address].ravel().astype(np.float64)
        right = evaluate(sheet.rules[address], sheet.shape(address), np.arange(given.size), sheet.values)
        away = np.abs(given - right) / max(np.abs(right).max(), np.abs(given).max(), 1e-30)
        flat = int(away.argmax())
        if away[flat] > ROUNDING and (worst is None or away[flat] > worst[0]):
            worst = float(away[flat]), {"address": address, "flat": flat, "given": given[flat], "right": right[flat]}
    return worst and worst[1]


def _report(layer: Any, mode: str) -> Answer:
    """What gradcheck says of a layer."""
    report = bugs.check(layer, mode)
    return {
        "title": f"gradcheck {report.target}: {report.verdict}",
        "mode": mode,
        "passed": report.passed,
        "table": list(report.table()),
        "lines": [*report.explanations(), *report.remarks()],
    }


def _filters(curve: Curve, images: Array, digits: Array) -> Answer | None:
    """The weights of the first layer that look at the picture, as small pictures, and their gradient over some digits.

    values, gradient: one list for each filter, row by row; None where the gradient is not finite. None where the first layer with
    a kernel does not look at pixels.
    """
    reader = curve.reader
    found = next(
        ((at, layer.params["kernel"]) for at, layer in reader.model.leaves() if "kernel" in layer.params), None
    )
    if found is None:
        return None
    address, kernel = f"{found[0]}/kernel", found[1]
    size = (SIZE, SIZE, 1) if kernel.ndim == 2 and len(kernel) == SIZE * SIZE else kernel.shape[:3]
    if len(size) != 3:
        return None
    try:
        _, gradients = reader.model.loss_and_gradients(reader.inputs(images), reader.labels(digits))
        gradient = _pictures(gradients[address], size)
    except FloatingPointError:
        gradient = None
    return {
        "address": address,
        "of": curve.name,
        "rows": size[0],
        "columns": size[1],
        "values": _pictures(kernel, size),
        "gradient": gradient,
    }


def _pictures(kernel: Array, size: tuple[int, ...]) -> list[list[float | None]]:
    """Of each filter, its weights for the first channel, row by row."""
    shown = kernel.reshape(*size, -1)[:, :, 0, :MOST_FILTERS]
    return [_rounded(shown[..., place].ravel()) for place in range(shown.shape[-1])]


def _rounded(numbers: Iterable[float]) -> list[float | None]:
    """Four digits of each number; None for what JSON cannot hold."""
    return [float(f"{number:.4g}") if math.isfinite(number) else None for number in numbers]


def _rate(rate: object) -> float:
    if check_number(rate, "the learning rate", 0, MOST_RATE) == 0:
        raise ValueError("the learning rate must be above 0, received 0.")
    return float(rate)  # type: ignore[arg-type]  # check_number has looked


def _digit(label: object) -> int:
    if not is_integer(label) or not 0 <= label < CLASSES:
        raise ValueError(f"a label must be an integer from 0 to 9, received {label!r:.100}.")
    return int(label)
