"""Traces as one HTML file that shows every number of them, offline: the data, and the viewer of minidl/lab/web put around them.

``data_of`` is what the viewer reads. A server may send it to the viewer as well.
"""

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from ..contracts import Array, Path
from ..saving import replace
from ..tracing import Trace
from .rules import Factor, Rule
from .sheet import sheet_of
from .values import Sheet

WEB = files(__package__) / "web"
SCRIPTS = ("rules.js", "pictures.js", "microscope.js")  # each uses those before it
WORTH = 0.95  # arrays are compressed where that leaves less than this share

Traces = Trace | Sequence[Trace] | Mapping[str, Trace]


def save(path: Path, traces: Traces, *, title: str = "A network, forward and backward") -> None:
    """Write traces as one HTML file, which needs neither the network nor this library.

    traces: one, or several, for a slider through a training: a list, or a mapping from their names, such as "step 10". title: of
    the page.

    Raises OSError where the file cannot be written; an existing one is then unchanged. Raises ValueError where there is no trace.
    """
    replace(path, page(traces, title).encode("utf-8", "replace"))


def page(traces: Traces, title: str) -> str:
    """The text of the file."""
    style, template = ((WEB / name).read_text("utf-8") for name in ("microscope.css", "page.html"))
    text = json.dumps(data_of(traces, title), allow_nan=False, separators=(",", ":"))
    # "<" in a string of JSON may be written as an escape, and then no name of a user's can end the element
    parts = {"title": escape(title), "style": style, "script": script(), "data": text.replace("<", "\\u003c")}
    return re.sub("{{([a-z]+)}}", lambda found: parts[found[1]], template)


def script() -> str:
    """The modules of the viewer as one: without their imports of each other, and in the order of their use."""
    lines = [line for name in SCRIPTS for line in (WEB / name).read_text("utf-8").splitlines()]
    return "\n".join(line.removeprefix("export ") for line in lines if not line.startswith("import "))


def data_of(traces: Traces, title: str = "") -> dict[str, Any]:
    """Everything that the viewer shows, ready for JSON.

    networks: what traces of one model have in common (see ``_network``). traces: for each its label, the place of its network,
    its loss, and values: address → key of a blob. blobs: key → {dtype, deflate, data}: the bytes of an array, row by row,
    compressed by zlib where deflate is true, in base64. The key is a hash of them: what is the same in all traces is there once,
    and whoever still has a blob need not be sent it again.
    """
    networks: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    blobs: dict[str, dict[str, Any]] = {}
    for label, trace in _labelled(traces):
        sheet = sheet_of(trace)
        known = dict(sheet.values.known)
        network = _network(sheet, trace, set(known))
        if network not in networks:
            networks.append(network)
        values = {address: _put(blobs, array) for address, array in known.items() if sheet.origin(address) == address}
        found.append(
            {"label": label, "network": networks.index(network), "loss": f"{trace.loss:.6g}", "values": values}
        )
    return {"version": 1, "title": title, "networks": networks, "traces": found, "blobs": blobs}


def _labelled(traces: Traces) -> list[tuple[str, Trace]]:
    if isinstance(traces, Trace):
        return [("", traces)]
    named = list(traces.items()) if isinstance(traces, Mapping) else [(str(i), trace) for i, trace in enumerate(traces)]
    if not named:
        raise ValueError(
            "traces must hold at least one trace, received none: pass model.trace(x, y), or a list of several."
        )
    for name, trace in named:
        if not isinstance(trace, Trace):
            raise TypeError(
                f"traces must hold what model.trace(x, y) returns, received {type(trace).__name__} for {name!r}."
            )
    return [(str(name), trace) for name, trace in named]


def _network(sheet: Sheet, trace: Trace, known: set[str]) -> dict[str, Any]:
    """What does not change while a model is trained.

    layers: name, kind, parameters, and more: the names of its other arrays. arrays: address → shape, view (the shape in which
    it is drawn), batch (whether its first axis is that of the samples) and units (whether each column is the weights of a unit).
    same, rules: as in a Sheet. epsilon: the relative rounding of the library's numbers.
    """
    batches = _batches(sheet, trace)
    views = _views(sheet, trace)
    own = [address for address in sheet.shapes if sheet.origin(address) == address]
    units = _weights(trace) - set(views)
    arrays = {
        address: {
            "shape": list(sheet.shapes[address]),
            "view": list(views.get(address, sheet.shapes[address])),
            "batch": address in batches,
            "units": address in units,
        }
        for address in own
    }
    places: dict[str, list[str]] = {}
    for address in own:
        name, _, what = address.rpartition(":")
        places.setdefault(name, []).append(what)
    layers = [
        {
            "name": record.name,
            "kind": record.kind,
            "parameters": list(record.params),
            "more": [what for what in places.get(record.name, []) if what not in _shown(record.params)],
        }
        for record in trace.layers
    ]
    dtypes = [array.dtype for array in (trace.y_pred, trace.dy)]
    return {
        "layers": layers,
        "loss": {"kind": type(trace.run.loss).__name__, "more": [what for what in places["loss"] if what != "dy"]},
        "arrays": arrays,
        "same": dict(sheet.same),
        "rules": {address: asdict(rule) for address, rule in sheet.rules.items() if sheet.origin(address) == address},
        "epsilon": max(float(np.finfo(dtype).eps) for dtype in dtypes),
        "samples": len(trace.y_pred),
        "notes": trace.notes,
    }


def _shown(params: Mapping[str, Array]) -> set[str]:
    """The names of those arrays of a layer that have a picture in any case."""
    return {"x", "y", "z", "dx", "dy", "dz", *params, *(f"d{name}" for name in params)}


def _factors(rule: Rule) -> list[Factor]:
    return [*(factor for part in rule.parts for factor in part.factors), *rule.arguments.values()]


def _batches(sheet: Sheet, trace: Trace) -> set[str]:
    """The addresses of the arrays whose first axis is that of the samples: as layers have them, and as rules read them."""
    found = {sheet.origin(f"{record.name}:{name}") for record in trace.layers for name in ("x", "y", "dy", "dx")}
    found |= {sheet.origin("loss:dy"), sheet.origin("loss:y_pred")}
    before = -1
    while len(found) > before:
        before = len(found)
        for address, rule in sheet.rules.items():
            if rule.axes[:1] == ("n",):
                found.add(sheet.origin(address))
            for factor in _factors(rule):
                same_place = factor.index is None and address in found
                if same_place or (factor.index is not None and factor.index[:1] == ("n",)):
                    found.add(sheet.origin(factor.address))
    return found


def _views(sheet: Sheet, trace: Trace) -> dict[str, tuple[int, ...]]:
    """In which shape to draw arrays of vectors that were images before a Flatten, and the weights of a dense layer upon them."""
    views: dict[str, tuple[int, ...]] = {}

    def view(address: str) -> tuple[int, ...]:
        return views.get(sheet.origin(address), sheet.shape(address))

    def draw_as(address: str, shape: tuple[int, ...]) -> None:
        own = sheet.origin(address)
        if len(sheet.shapes[own]) == 2 and np.prod(sheet.shapes[own]) == np.prod(shape):
            views[own] = shape

    for record in trace.layers:
        x = view(f"{record.name}:x")
        for what in ("dx", "z", "y"):
            address = f"{record.name}:{what}"
            if address in sheet and sheet.shape(address)[0] == x[0]:
                rule = sheet.rules.get(sheet.origin(address))
                copied = rule is not None and any(factor.index is None for factor in _factors(rule))
                if what == "dx" or copied:
                    draw_as(address, x)
        for name, value in record.params.items():
            if value.ndim == 2 and len(x) > 2 and value.shape[0] == np.prod(x[1:]):
                for address in (f"{record.name}:{name}", f"{record.name}:d{name}"):
                    views[sheet.origin(address)] = (*x[1:], value.shape[1])
    for record in trace.layers:
        if f"{record.name}:dy" in sheet:
            draw_as(f"{record.name}:dy", view(f"{record.name}:y"))
    return views


def _weights(trace: Trace) -> set[str]:
    """The addresses of all matrices among the parameters, and of their gradients."""
    return {
        f"{record.name}:{before}{name}"
        for record in trace.layers
        for name, value in record.params.items()
        for before in ("", "d")
        if value.ndim == 2
    }


def _put(blobs: dict[str, dict[str, Any]], array: Array) -> str:
    """Put the bytes of an array among the blobs, if they are not there yet, and return their key."""
    dtype = array.dtype if array.dtype in (np.float32, np.uint8) else np.dtype(np.float64)
    data = array.astype(dtype.newbyteorder("<"), order="C").tobytes()
    key = hashlib.blake2b(data + dtype.name.encode(), digest_size=9).hexdigest()
    if key not in blobs:
        packed = zlib.compress(data, 6)
        deflate = len(packed) < WORTH * len(data)
        text = base64.b64encode(packed if deflate else data).decode("ascii")
        blobs[key] = {"dtype": dtype.name, "deflate": deflate, "data": text}
    return key
