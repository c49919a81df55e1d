"""The rules of the activations: y as a function of z, and dz = dy · slope, with the slope as a function of y or z."""

import math
from typing import NamedTuple

import numpy as np

from ..layers.activation import OF_X
from ..ops import reference
from ..ops.reference.activations import SELU_ALPHA, SELU_SCALE
from .rules import Factor, Part, Rule
from .values import Sheet, axes, source

_SIGMOID = "1 / (1 + exp(-z))"
_BELOW = f"erfc(-z / {math.sqrt(2)!r}) / 2"
_DENSITY = f"exp(-z * z / 2) / {math.sqrt(2 * math.pi)!r}"


class Curve(NamedTuple):
    """An activation: y as a function of z, and its slope as a function of y, or of z; both for people and for the machine."""

    formula: str
    function: str
    slope: str
    slope_function: str


CURVES = {
    "relu": Curve("y = max(z, 0)", "max(z, 0)", "slope = 1 where y > 0, else 0", "where(y > 0, 1, 0)"),
    "leaky_relu": Curve(
        "y = z where z > 0, else 0.2 · z",
        "where(z > 0, z, 0.2 * z)",
        "slope = 1 where y > 0, else 0.2",
        "where(y > 0, 1, 0.2)",
    ),
    "relu6": Curve(
        "y = z, cut off at 0 and 6",
        "min(max(z, 0), 6)",
        "slope = 1 where 0 < y < 6, else 0",
        "where(y > 0, where(y < 6, 1, 0), 0)",
    ),
    "elu": Curve(
        "y = z where z > 0, else e^z − 1",
        "where(z > 0, z, expm1(min(z, 0)))",
        "slope = 1 where y > 0, else y + 1",
        "where(y > 0, 1, y + 1)",
    ),
    "selu": Curve(
        "y = s · z where z > 0, else s · α · (e^z − 1)",
        f"where(z > 0, {SELU_SCALE} * z, {SELU_SCALE * SELU_ALPHA} * expm1(min(z, 0)))",
        "slope = s where y > 0, else y + s · α",
        f"where(y > 0, {SELU_SCALE}, y + {SELU_SCALE * SELU_ALPHA})",
    ),
    "softplus": Curve(
        "y = log(1 + e^z)", "max(z, 0) + log1p(exp(-abs(z)))", "slope = sigmoid(z) = 1 − e^−y", "-expm1(-y)"
    ),
    "sigmoid": Curve(
        "y = 1 / (1 + e^−z)",
        "where(z >= 0, 1, exp(-abs(z))) / (1 + exp(-abs(z)))",
        "slope = y · (1 − y)",
        "y * (1 - y)",
    ),
    "hard_sigmoid": Curve(
        "y = z / 6 + 1/2, cut off at 0 and 1",
        "min(max(z / 6 + 0.5, 0), 1)",
        "slope = 1/6 where 0 < y < 1, else 0",
        "where(y > 0, where(y < 1, 1 / 6, 0), 0)",
    ),
    "tanh": Curve("y = tanh z", "tanh(z)", "slope = 1 − y²", "1 - y * y"),
    "silu": Curve(
        "y = z · s, s = sigmoid(z)",
        f"z * ({_SIGMOID})",
        "slope = s + z · s · (1 − s), s = sigmoid(z)",
        f"({_SIGMOID}) * (1 + z * (1 - {_SIGMOID}))",
    ),
    "gelu": Curve("y = z · Φ(z)", f"z * {_BELOW}", "slope = Φ(z) + z · φ(z)", f"{_BELOW} + z * {_DENSITY}"),
}


def activation(sheet: Sheet, name: str, kind: str, z: str = "z", dz: str = "dz") -> None:
    """The rules from ``name``:z to :y and from :dy to :dz, for the activation of this name.

    z, dz: what they are called where the activation is a layer of its own, x and dx. Both arrays must have been put, but where
    the activation is linear: then they are y and dy.
    """
    forward, backward = (getattr(reference, f"{kind}_{way}", None) for way in ("forward", "backward"))
    if kind == "linear":
        sheet.link(f"{name}:{z}", f"{name}:y")
        sheet.link(f"{name}:{dz}", f"{name}:dy")
        return
    assert forward is not None
    assert backward is not None
    if kind in ("softmax", "log_softmax"):
        (softmax if kind == "softmax" else log_softmax)(sheet, name, z, dz)
        return
    curve = CURVES[kind]
    kept = "z" if kind in OF_X else "y"
    curved(sheet, name, curve, kept, (z, dz), (source(forward, "return"), source(backward, "return")))


def curved(sheet: Sheet, name: str, curve: Curve, kept: str, places: tuple[str, str], sources: tuple) -> None:  # type: ignore[type-arg]
    """The rules of an activation entry by entry. kept: "z" or "y", what the slope is a function of. places: names of z and dz."""
    z, dz = places
    arguments = {"z": Factor(f"{name}:{z}"), "y": Factor(f"{name}:y")}
    sheet.rules[f"{name}:y"] = Rule(curve.formula, sources[0], function=curve.function, arguments={"z": arguments["z"]})
    slope = Rule(curve.slope, sources[1], function=curve.slope_function, arguments={kept: arguments[kept]})
    sheet.make(f"{name}:slope", sheet.shape(f"{name}:y"), slope)
    product = Part((Factor(f"{name}:dy"), Factor(f"{name}:slope")))
    sheet.rules[f"{name}:{dz}"] = Rule(f"{dz} = dy · slope", sources[1], parts=(product,))


def largest(sheet: Sheet, name: str, of: str) -> None:
    """``name`` = the largest number along the last axis of ``of``: the first one of equals."""
    array = sheet.values[of]
    wins = np.zeros(array.shape, np.uint8)
    np.put_along_axis(wins, array.argmax(axis=-1)[..., None], 1, axis=-1)
    sheet.put(f"{name}_is", wins)
    *outer, _ = names = axes(array.shape)
    part = Part((Factor(of, names), Factor(f"{name}_is", names)), {names[-1]: array.shape[-1]})
    sheet.make(name, array.shape[:-1], Rule("m = the largest of the row", axes=tuple(outer), parts=(part,)))


def exponentials(sheet: Sheet, at: str, z: str) -> None:
    """``at``m, the largest of each row of z; ``at``e = e^(z − m); ``at``s = Σ e."""
    shape = sheet.shape(z)
    *outer, last = names = axes(shape)
    largest(sheet, f"{at}m", z)
    exponent = {"z": Factor(z, names), "m": Factor(f"{at}m", tuple(outer))}
    sheet.make(f"{at}e", shape, Rule("e = e^(z − m)", axes=names, function="exp(z - m)", arguments=exponent))
    total = Part((Factor(f"{at}e", names),), {last: shape[-1]})
    sheet.make(f"{at}s", shape[:-1], Rule("s = Σ_k e[k]", axes=tuple(outer), parts=(total,)))


def softmax(sheet: Sheet, name: str, z: str, dz: str) -> None:
    """y = e / Σ e over the last axis; dz_k = y_k · dy_k − y_k · Σ_j dy_j · y_j."""
    at = f"{name}:"
    shape = sheet.shape(at + "y")
    *outer, _ = names = axes(shape)
    exponentials(sheet, at, at + z)
    sheet.rules[at + "y"] = Rule(
        "y[k] = e[k] / s, e = e^(z − m), s = Σ_j e[j]; m, the largest z, only prevents overflow",
        source(reference.softmax_forward, "return"),
        names,
        function="e / s",
        arguments={"e": Factor(at + "e", names), "s": Factor(at + "s", tuple(outer))},
    )
    others = (*outer, "r")
    own = Part((Factor(at + "y", names), Factor(at + "dy", names)))
    rest = Part(
        (Factor(at + "y", names), Factor(at + "dy", others), Factor(at + "y", others)), {"r": shape[-1]}, scale=-1
    )
    formula = f"{dz}[k] = y[k] · dy[k] − y[k] · Σ_r dy[r] · y[r]"
    sheet.rules[at + dz] = Rule(formula, source(reference.softmax_backward, "return"), names, (own, rest))


def log_softmax(sheet: Sheet, name: str, z: str, dz: str) -> None:
    """y = z − m − log s; dz_k = dy_k − e^{y_k} · Σ_j dy_j."""
    at = f"{name}:"
    shape = sheet.shape(at + "y")
    *outer, _ = names = axes(shape)
    exponentials(sheet, at, at + z)
    row = tuple(outer)
    sheet.rules[at + "y"] = Rule(
        "y = z − m − log s, s = Σ_k e^(z[k] − m)",
        source(reference.log_softmax_forward, "return"),
        names,
        function="z - m - log(s)",
        arguments={"z": Factor(at + z, names), "m": Factor(at + "m", row), "s": Factor(at + "s", row)},
    )
    softmax_rule = Rule("p = e^y, the softmax", function="exp(y)", arguments={"y": Factor(at + "y")})
    sheet.make(at + "p", shape, softmax_rule)
    own = Part((Factor(at + "dy", names),))
    rest = Part((Factor(at + "p", names), Factor(at + "dy", (*outer, "r"))), {"r": shape[-1]}, scale=-1)
    formula = f"{dz}[k] = dy[k] − p[k] · Σ_r dy[r]"
    sheet.rules[at + dz] = Rule(formula, source(reference.log_softmax_backward, "return"), names, (own, rest))
