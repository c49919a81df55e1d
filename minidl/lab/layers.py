"""The table of rules: for each layer, how every number of its forward and its backward is made of others."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from .. import layers
from ..contracts import Array
from ..ops import reference
from ..ops.geometry import window_output
from ..ops.random import RandomKey
from ..ops.reference.resampling import corners
from ..tracing import Record
from .activations import Curve, activation, curved
from .rules import Factor, Part, Rule, Source
from .values import Sheet, axes, copy_of, source

IMAGES = ("n", "i", "j", "c")


def dense(sheet: Sheet, record: Record) -> None:
    layer: Any = record.layer
    at = f"{record.name}:"
    z, dz = _around_activation(sheet, record, reference.dense_forward)
    (samples, features), units = record.x.shape, layer.units
    product = Part((Factor(at + "x", ("n", "d")), Factor(at + "kernel", ("d", "u"))), {"d": features})
    sheet.rules[at + z] = Rule(
        f"{z}[n, u] = Σ_d x[n, d] · kernel[d, u]" + (" + bias[u]" if layer.use_bias else ""),
        source(reference.dense_forward, "x @ kernel"),
        ("n", "u"),
        (product, *_bias(at, layer, "u")),
    )
    line = source(reference.dense_backward, "return")
    back = Part((Factor(at + dz, ("n", "u")), Factor(at + "kernel", ("d", "u"))), {"u": units})
    sheet.rules[at + "dx"] = Rule(f"dx[n, d] = Σ_u {dz}[n, u] · kernel[d, u]", line, ("n", "d"), (back,))
    weight = Part((Factor(at + "x", ("n", "d")), Factor(at + dz, ("n", "u"))), {"n": samples})
    sheet.rules[at + "dkernel"] = Rule(f"dkernel[d, u] = Σ_n x[n, d] · {dz}[n, u]", line, ("d", "u"), (weight,))
    if layer.use_bias:
        part = Part((Factor(at + dz, ("n", "u")),), {"n": samples})
        sheet.rules[at + "dbias"] = Rule(f"dbias[u] = Σ_n {dz}[n, u]", line, ("u",), (part,))


def conv2d(sheet: Sheet, record: Record) -> None:
    layer: Any = record.layer
    at = f"{record.name}:"
    how = (layer.strides, layer.padding)
    z, dz = _around_activation(sheet, record, reference.conv2d_forward, *how)
    (height, width, channels, filters), (samples, rows, columns, _) = record.params["kernel"].shape, record.y.shape
    there, back, written = _window(layer.strides, *_frame(record.x.shape, record.params["kernel"].shape, *how))
    window, places = {"a": height, "b": width}, {"n": samples, "i": rows, "j": columns}
    x_there = Factor(at + "x", ("n", *there, "c"))
    weight, dz_here = Factor(at + "kernel", ("a", "b", "c", "f")), Factor(at + dz, ("n", "i", "j", "f"))
    sheet.rules[at + z] = Rule(
        f"{z}[n, i, j, f] = Σ_{{a, b, c}} x[n, {written}, c] · kernel[a, b, c, f]"
        + (" + bias[f]" if layer.use_bias else ""),
        source(reference.conv2d_forward, "tensordot"),
        ("n", "i", "j", "f"),
        (Part((x_there, weight), window | {"c": channels}), *_bias(at, layer, "f")),
    )
    sheet.rules[at + "dkernel"] = Rule(
        f"dkernel[a, b, c, f] = Σ_{{n, i, j}} x[n, {written}, c] · {dz}[n, i, j, f]",
        source(reference.conv2d_backward, "dkernel = "),
        ("a", "b", "c", "f"),
        (Part((x_there, dz_here), places),),
    )
    sheet.rules[at + "dx"] = Rule(
        f"dx[n, h, w, c] = Σ_{{a, b, f}} {dz}[n, i, j, f] · kernel[a, b, c, f], wherever the window at (i, j) reads (h, w)",
        source(reference.conv2d_backward, "places +="),
        ("n", "h", "w", "c"),
        (Part((Factor(at + dz, ("n", *back, "f")), weight), window | {"f": filters}),),
    )
    _dbias(sheet, at, layer, dz, places, source(reference.conv2d_backward, "return"))


def conv2d_transpose(sheet: Sheet, record: Record) -> None:
    layer: Any = record.layer
    at = f"{record.name}:"
    how = (layer.strides, layer.padding)
    z, dz = _around_activation(sheet, record, reference.conv2d_transpose_forward, *how)
    (height, width, filters, channels), (samples, rows, columns, _) = record.params["kernel"].shape, record.x.shape
    there, back, written = _window(layer.strides, *_frame(record.y.shape, record.params["kernel"].shape, *how))
    window = {"a": height, "b": width}
    weight, dz_there = Factor(at + "kernel", ("a", "b", "f", "c")), Factor(at + dz, ("n", *there, "f"))
    sheet.rules[at + z] = Rule(
        f"{z}[n, h, w, f] = Σ_{{a, b, c}} x[n, i, j, c] · kernel[a, b, f, c], wherever the window at (i, j) holds (h, w)"
        + ("; + bias[f]" if layer.use_bias else ""),
        source(reference.conv2d_transpose_forward, "conv2d_backward(x"),
        ("n", "h", "w", "f"),
        (Part((Factor(at + "x", ("n", *back, "c")), weight), window | {"c": channels}), *_bias(at, layer, "f")),
    )
    sheet.rules[at + "dx"] = Rule(
        f"dx[n, i, j, c] = Σ_{{a, b, f}} {dz}[n, {written}, f] · kernel[a, b, f, c]",
        source(reference.conv2d_transpose_backward, "return"),
        ("n", "i", "j", "c"),
        (Part((dz_there, weight), window | {"f": filters}),),
    )
    places = {"n": samples, "i": rows, "j": columns}
    sheet.rules[at + "dkernel"] = Rule(
        f"dkernel[a, b, f, c] = Σ_{{n, i, j}} {dz}[n, {written}, f] · x[n, i, j, c]",
        source(reference.conv2d_transpose_backward, "dkernel, _ ="),
        ("a", "b", "f", "c"),
        (Part((dz_there, Factor(at + "x", ("n", "i", "j", "c"))), places),),
    )
    samples, rows, columns, _ = record.y.shape
    places = {"n": samples, "i": rows, "j": columns}
    _dbias(sheet, at, layer, dz, places, source(reference.conv2d_transpose_backward, "return"))


def activation_layer(sheet: Sheet, record: Record) -> None:
    layer: Any = record.layer
    if layer.activation == "linear":
        _copies(sheet, record, "y = x", "dx = dy")
        return
    activation(sheet, record.name, layer.activation, "x", "dx")


def leaky_relu(sheet: Sheet, record: Record) -> None:
    slope = record.layer.negative_slope  # type: ignore[attr-defined]
    curve = Curve(
        f"y = x where x > 0, else {slope} · x",
        f"where(z > 0, z, {slope} * z)",
        f"slope = 1 where y > 0, else {slope}",
        f"where(y > 0, 1, {slope})",
    )
    sources = source(reference.leaky_relu_forward, "return"), source(reference.leaky_relu_backward, "return")
    curved(sheet, record.name, curve, "y", ("x", "dx"), sources)


def relu(sheet: Sheet, record: Record) -> None:
    layer: Any = record.layer
    slope, threshold, most = layer.negative_slope, layer.threshold, layer.max_value
    function, slopes = (
        f"where(z > {threshold}, z, {slope} * (z - {threshold}))",
        f"where(z > {threshold}, 1, {slope})",
    )
    below = f"y = x where x > {threshold}, else {slope} · (x − {threshold})"
    of_slope = f"slope = 1 where x > {threshold}, else {slope}"
    if most is not None:
        function, slopes = f"min({function}, {most})", f"where(z > {threshold}, where(z < {most}, 1, 0), {slope})"
        below, of_slope = f"{below}; at most {most}", f"{of_slope}; 0 where x is above {threshold} and not below {most}"
    sources = source(reference.clipped_relu_forward, "return"), source(reference.clipped_relu_backward, "return")
    curved(sheet, record.name, Curve(below, function, of_slope, slopes), "z", ("x", "dx"), sources)


def flatten(sheet: Sheet, record: Record) -> None:
    _copies(sheet, record, "y = x, row by row", "dx = dy, in the shape of x")


def rescaling(sheet: Sheet, record: Record) -> None:
    layer: Any = record.layer
    at = f"{record.name}:"
    sheet.put(at + "offset", np.array(layer.offset))
    parts = (Part((Factor(at + "x"),), scale=layer.scale), Part((Factor(at + "offset", ()),)))
    sheet.rules[at + "y"] = Rule(
        f"y = x · {layer.scale:.6g} + {layer.offset:.6g}", source(layers.Rescaling.forward, "return"), parts=parts
    )
    line = source(layers.Rescaling.backward, "return")
    sheet.rules[at + "dx"] = Rule(
        f"dx = dy · {layer.scale:.6g}", line, parts=(Part((Factor(at + "dy"),), scale=layer.scale),)
    )


def dropout(sheet: Sheet, record: Record) -> None:
    layer: Any = record.layer
    rng: RandomKey | None = record.cache
    if rng is None:
        _copies(sheet, record, "y = x: nothing is dropped outside training", "dx = dy")
        return
    at = f"{record.name}:"
    sheet.put(at + "mask", reference.dropout(np.ones(record.x.shape, record.y.dtype), layer.rate, rng))
    line = source(reference.dropout, "return")
    for to, what in (("y", "x"), ("dx", "dy")):
        formula = f"{to} = {what} · mask, which is 0 where dropped, else 1 / (1 − {layer.rate})"
        sheet.rules[at + to] = Rule(formula, line, parts=(Part((Factor(at + what), Factor(at + "mask"))),))


def spatial_dropout(sheet: Sheet, record: Record) -> None:
    layer: Any = record.layer
    rng: RandomKey | None = record.cache
    if rng is None:
        dropout(sheet, record)
        return
    at, (samples, _, _, channels) = f"{record.name}:", record.x.shape
    sheet.put(at + "mask", reference.dropout(np.ones((samples, channels), record.y.dtype), layer.rate, rng))
    line = source(layers.SpatialDropout2D._drop, "dropped: Array =")
    for to, what in (("y", "x"), ("dx", "dy")):
        formula = f"{to} = {what} · mask[n, c], which is 0 where the channel is dropped, else 1 / (1 − {layer.rate})"
        part = Part((Factor(at + what, IMAGES), Factor(at + "mask", ("n", "c"))))
        sheet.rules[at + to] = Rule(formula, line, IMAGES, (part,))


def gaussian_noise(sheet: Sheet, record: Record) -> None:
    _copies(sheet, record, "y = x: no noise is added outside training", "dx = dy")
    at = f"{record.name}:"
    noise = record.y.astype(np.float64) - record.x  # the layer keeps no key, because its backward needs none
    if noise.any():
        sheet.put(at + "noise", noise)
        sheet.rules[at + "y"] = Rule(
            "y = x + noise",
            source(reference.gaussian_noise, "return"),
            parts=(Part((Factor(at + "x"),)), Part((Factor(at + "noise"),))),
        )


MOST_WEIGHTS = 1 << 20  # of a warp: one for each pixel of y and each of x


def warp(sheet: Sheet, record: Record) -> None:
    """y[n, i, j] is a mean of few pixels, whose places differ from image to image: so the rule goes over them all, with weights
    that are mostly 0. For more or larger images than a page could hold there is none."""
    layer: Any = record.layer
    if record.cache is None:
        _copies(sheet, record, "y = x: nothing moves outside training", "dx = dy")
        return
    samples, height, width, _ = record.x.shape
    if samples * (height * width) ** 2 > MOST_WEIGHTS:
        return
    at, n = f"{record.name}:", np.arange(samples)[:, None, None]
    i, j = np.indices((height, width))
    weights, outside = np.zeros((samples, height, width, height, width)), np.zeros((samples, height, width))
    for share, row, column, inside in corners(record.cache, (height, width), layer.interpolation, layer.fill_mode):
        np.add.at(weights, (n, i, j, row, column), share * inside)
        outside += share * ~inside * layer.fill_value
    sheet.put(at + "weights", weights)
    sheet.put(at + "outside", outside)
    x, dy = Factor(at + "x", ("n", "h", "w", "c")), Factor(at + "dy", IMAGES)
    weight = Factor(at + "weights", ("n", "i", "j", "h", "w"))
    sheet.rules[at + "y"] = Rule(
        "y[n, i, j, c] = Σ_{h, w} weights[n, i, j, h, w] · x[n, h, w, c] + outside[n, i, j]",
        source(reference.resample_forward, "y +="),
        IMAGES,
        (Part((x, weight), {"h": height, "w": width}), Part((Factor(at + "outside", ("n", "i", "j")),))),
    )
    sheet.rules[at + "dx"] = Rule(
        "dx[n, h, w, c] = Σ_{i, j} weights[n, i, j, h, w] · dy[n, i, j, c]",
        source(reference.resample_backward, "np.add.at"),
        ("n", "h", "w", "c"),
        (Part((dy, weight), {"i": height, "j": width}),),
    )


def erasing(sheet: Sheet, record: Record) -> None:
    if record.cache is None:
        _copies(sheet, record, "y = x: nothing is erased outside training", "dx = dy")
        return
    at = f"{record.name}:"
    sheet.put(at + "kept", 1 - record.cache.astype(np.float64))
    sheet.put(at + "filled", np.where(record.cache, record.y, 0))
    kept = Factor(at + "kept", ("n", "i", "j", "0"))
    sheet.rules[at + "y"] = Rule(
        "y = x · kept + filled: 0 and the fill inside the rectangle, 1 and 0 elsewhere",
        source(layers.RandomErasing.forward, "return np.where"),
        IMAGES,
        (Part((Factor(at + "x"), kept)), Part((Factor(at + "filled"),))),
    )
    line = source(layers.RandomErasing.backward, "return")
    sheet.rules[at + "dx"] = Rule("dx = dy · kept", line, IMAGES, (Part((Factor(at + "dy"), kept)),))


def layer_normalization(sheet: Sheet, record: Record) -> None:
    *outer, last = axes(record.x.shape)
    forward, backward = reference.layer_norm_forward, reference.layer_norm_backward
    _moments(sheet, record, tuple(outer), (last,))
    root, sums = source(forward, "inverse ="), source(backward, "return")
    _normalized(sheet, record, tuple(outer), (last,), (forward, backward), root, sums)


def batch_normalization(sheet: Sheet, record: Record) -> None:
    *outer, last = axes(record.x.shape)
    both = reference.batch_norm_forward, reference.batch_norm_backward
    root = source(layers.BatchNormalization.statistics, "np.sqrt")
    sums = source(reference.batch_norm_backward_sums, "return")
    if record.cache.m:
        _moments(sheet, record, (last,), tuple(outer))
        _normalized(sheet, record, (last,), tuple(outer), both, root, sums)
    else:  # the moving averages do not depend on x, so nothing goes back through them
        sheet.put(f"{record.name}:mean", record.state["moving_mean"])
        sheet.put(f"{record.name}:variance", record.state["moving_variance"])
        _normalized(sheet, record, (last,), (), both, root, sums)


def _moments(sheet: Sheet, record: Record, own: tuple[str, ...], over: tuple[str, ...]) -> None:
    """The mean and the variance of x over some of its axes; they have the others, ``own``."""
    x = f"{record.name}:x"
    _mean(sheet, record, own, over, "mean", "x", x)
    centred = f"{record.name}:centred"
    _mean(sheet, record, own, over, "variance", "centred²", centred, centred)


def _mean(
    sheet: Sheet, record: Record, own: tuple[str, ...], over: tuple[str, ...], name: str, what: str, *factors: str
) -> None:
    names = axes(record.x.shape)
    size = dict(zip(names, record.x.shape, strict=True))
    summed = {axis: size[axis] for axis in over}
    part = Part(tuple(Factor(factor, names) for factor in factors), summed, 1 / math.prod(summed.values()))
    rule = Rule(f"{name} = mean of {what} over {', '.join(over)}", axes=own, parts=(part,))
    sheet.make(f"{record.name}:{name}", tuple(size[axis] for axis in own), rule)


def _normalized(
    sheet: Sheet,
    record: Record,
    own: tuple[str, ...],
    over: tuple[str, ...],
    operations: tuple[Callable[..., Any], Callable[..., Any]],
    root: Source,
    sums: Source,
) -> None:
    """What a normalization does with a mean and a variance of some axes, ``own``, which were taken over the axes ``over``; those
    that are given, and do not depend on x, over none.

    operations: forward and backward. root, sums: the lines of 1 / √(σ² + ε), and of dgamma and dbeta.
    """
    forward, backward = operations
    layer: Any = record.layer
    at, shape = f"{record.name}:", record.x.shape
    names = axes(shape)
    sizes, last = dict(zip(names, shape, strict=True)), names[-1]
    x, xhat, inverse = Factor(at + "x", names), Factor(at + "xhat", names), Factor(at + "inverse", own)
    centred = Factor(at + "centred", names)
    line = source(forward, "x - ")
    less_mean = (Part((x,)), Part((Factor(at + "mean", own),), scale=-1))
    sheet.make(at + "centred", shape, Rule("centred = x − mean", line, names, less_mean))
    of_variance = Rule(
        f"inverse = 1 / √(variance + {layer.epsilon:.6g})",
        root,
        function=f"1 / sqrt(v + {layer.epsilon!r})",
        arguments={"v": Factor(at + "variance")},
    )
    sheet.make(at + "inverse", tuple(sizes[axis] for axis in own), of_variance)
    parts = (Part((centred, inverse)),)
    sheet.make(at + "xhat", shape, Rule("xhat = centred · inverse", source(forward, "* inverse"), names, parts))

    gamma = (Factor(at + "gamma", (last,)),) if layer.scale else ()
    beta = (Part((Factor(at + "beta", (last,)),)),) if layer.center else ()
    formula = "y = " + ("xhat · gamma" if gamma else "xhat") + (" + beta" if beta else "")
    sheet.rules[at + "y"] = Rule(formula, source(forward, "return"), names, (Part((xhat, *gamma)), *beta))

    part = Part((Factor(at + "dy", names), *gamma))
    sheet.make(at + "dxhat", shape, Rule("dxhat = dy · gamma" if gamma else "dxhat = dy", axes=names, parts=(part,)))
    dxhat = Factor(at + "dxhat", names)
    line, paths = source(backward, "dx = ("), [Part((dxhat, inverse))]
    formula = "dx = dxhat · inverse: the moving averages do not depend on x"
    if over:
        _mean(sheet, record, own, over, "mean_dxhat", "dxhat", at + "dxhat")
        _mean(sheet, record, own, over, "along", "dxhat · xhat", at + "dxhat", at + "xhat")
        renamed = {axis: f"r{i}" for i, axis in enumerate(over)}  # the other entries with the same mean
        there, summed = tuple(renamed.get(axis, axis) for axis in names), {renamed[axis]: sizes[axis] for axis in over}
        share = -1 / math.prod(summed.values())
        others = (Factor(at + "dxhat", there), Factor(at + "xhat", there))
        paths += [Part((others[0], inverse), summed, share), Part((xhat, *others, inverse), summed, share)]
        formula = "dx = (dxhat − mean of dxhat − xhat · mean of (dxhat · xhat)) · inverse: "
        formula += "direct, through the mean, through the variance"
    sheet.rules[at + "dx"] = Rule(formula, line, names, tuple(paths))

    every, dy = {axis: sizes[axis] for axis in names[:-1]}, Factor(at + "dy", names)
    if gamma:
        sheet.rules[at + "dgamma"] = Rule("dgamma = Σ dy · xhat", sums, (last,), (Part((dy, xhat), every),))
    if beta:
        sheet.rules[at + "dbeta"] = Rule("dbeta = Σ dy", sums, (last,), (Part((dy,), every),))


def max_pooling(sheet: Sheet, record: Record) -> None:
    layer: Any = record.layer
    index, _ = record.cache
    _winners(sheet, record, index, layer.pool_size, layer.strides, layer.padding)


def global_max_pooling(sheet: Sheet, record: Record) -> None:
    index, x_shape = record.cache
    _winners(sheet, record, index, x_shape[1:3], x_shape[1:3], "valid")


def average_pooling(sheet: Sheet, record: Record) -> None:
    layer: Any = record.layer
    at, x_shape = f"{record.name}:", record.x.shape
    (height, width), how = layer.pool_size, (layer.strides, layer.padding)
    there, back, written = _window(layer.strides, *_frame(x_shape, layer.pool_size, *how))
    sheet.put(at + "share", _shares(x_shape, record.y.shape, layer.pool_size, *how))
    window = {"a": height, "b": width}
    part = Part((Factor(at + "x", ("n", *there, "c")), Factor(at + "share", ("i", "j"))), window)
    sheet.rules[at + "y"] = Rule(
        f"y[n, i, j, c] = Σ_{{a, b}} x[n, {written}, c] · share[i, j], 1 / the cells of the window",
        source(reference.avg_pool2d_forward, "return"),
        IMAGES,
        (part,),
    )
    part = Part((Factor(at + "dy", ("n", *back, "c")), Factor(at + "share", back)), window)
    sheet.rules[at + "dx"] = Rule(
        "dx[n, h, w, c] = Σ dy[n, i, j, c] · share[i, j], over the windows that hold (h, w)",
        source(reference.avg_pool2d_backward, "+= share"),
        ("n", "h", "w", "c"),
        (part,),
    )


def global_average_pooling(sheet: Sheet, record: Record) -> None:
    at, (_, height, width, _) = f"{record.name}:", record.x.shape
    names, place = (IMAGES, ("n", "0", "0", "c")) if record.y.ndim == 4 else (("n", "c"), ("n", "c"))
    part = Part((Factor(at + "x", ("n", "h", "w", "c")),), {"h": height, "w": width}, 1 / (height * width))
    sheet.rules[at + "y"] = Rule(
        f"y[n, c] = Σ_{{h, w}} x[n, h, w, c] / {height * width}",
        source(reference.global_avg_pool2d_forward, "return"),
        names,
        (part,),
    )
    part = Part((Factor(at + "dy", place),), scale=1 / (height * width))
    sheet.rules[at + "dx"] = Rule(
        f"dx[n, h, w, c] = dy[n, c] / {height * width}",
        source(reference.global_avg_pool2d_backward, "return"),
        ("n", "h", "w", "c"),
        (part,),
    )


def up_sampling(sheet: Sheet, record: Record) -> None:
    at, (rows, columns) = f"{record.name}:", record.layer.size  # type: ignore[attr-defined]
    part = Part((Factor(at + "x", ("n", f"floor(i / {rows})", f"floor(j / {columns})", "c")),))
    formula = f"y[n, i, j, c] = x[n, i // {rows}, j // {columns}, c]"
    sheet.rules[at + "y"] = Rule(formula, source(reference.up_sample2d_forward, "return"), IMAGES, (part,))
    place = ("n", f"h * {rows} + a", f"w * {columns} + b", "c")
    sheet.rules[at + "dx"] = Rule(
        f"dx[n, h, w, c] = Σ_{{a, b}} dy[n, {rows}·h + a, {columns}·w + b, c]",
        source(reference.up_sample2d_backward, "return"),
        ("n", "h", "w", "c"),
        (Part((Factor(at + "dy", place),), {"a": rows, "b": columns}),),
    )


def zero_padding(sheet: Sheet, record: Record) -> None:
    at, ((top, _), (left, _)) = f"{record.name}:", record.layer.padding  # type: ignore[attr-defined]
    part = Part((Factor(at + "x", ("n", f"i - {top}", f"j - {left}", "c")),))
    formula = f"y[n, i, j, c] = x[n, i − {top}, j − {left}, c], and 0 in the frame"
    sheet.rules[at + "y"] = Rule(formula, source(reference.zero_pad2d_forward, "return"), IMAGES, (part,))
    part = Part((Factor(at + "dy", ("n", f"h + {top}", f"w + {left}", "c")),))
    sheet.rules[at + "dx"] = Rule(
        f"dx[n, h, w, c] = dy[n, h + {top}, w + {left}, c]",
        source(reference.zero_pad2d_backward, "return"),
        ("n", "h", "w", "c"),
        (part,),
    )


def stack(sheet: Sheet, record: Record) -> None:
    """A stack is its layers: its x is the first one's, its y the last one's."""
    inside = [_inside(record, place) for place in range(len(record.layer.layers))]  # type: ignore[attr-defined]
    _chain(sheet, record.name, inside)
    sheet.link(f"{record.name}:y", f"{inside[-1]}:y")
    sheet.link(f"{record.name}:dx", f"{inside[0]}:dx")


def residual(sheet: Sheet, record: Record) -> None:
    layer: Any = record.layer
    at, names = f"{record.name}:", [_inside(record, place) for place in range(len(layer.layers))]
    skip_y, skip_dx = at + "x", at + "dy"
    if layer.projected:
        *names, projection = names
        skip_y, skip_dx = f"{projection}:y", f"{projection}:dx"
        sheet.link(f"{projection}:x", at + "x")
        sheet.link(f"{projection}:dy", at + "dy")
    _chain(sheet, record.name, names)
    both = Part((Factor(skip_y),)), Part((Factor(f"{names[-1]}:y"),))
    shown = "projection(x)" if layer.projected else "x"
    sheet.rules[at + "y"] = Rule(f"y = {shown} + f(x)", source(layers.Residual.forward, "return"), parts=both)
    both = Part((Factor(skip_dx),)), Part((Factor(f"{names[0]}:dx"),))
    formula = (
        "dx = dx of the projection + dx of f"
        if layer.projected
        else "dx = dy + dx of f: the skip passes dy on as it is"
    )
    sheet.rules[at + "dx"] = Rule(formula, source(layers.Residual.backward, "return"), parts=both)


LAYERS: dict[type, Callable[[Sheet, Record], None]] = {
    layers.Activation: activation_layer,
    layers.AveragePooling2D: average_pooling,
    layers.BatchNormalization: batch_normalization,
    layers.Conv2D: conv2d,
    layers.Conv2DTranspose: conv2d_transpose,
    layers.Dense: dense,
    layers.Dropout: dropout,
    layers.Flatten: flatten,
    layers.GaussianNoise: gaussian_noise,
    layers.GlobalAveragePooling2D: global_average_pooling,
    layers.GlobalMaxPooling2D: global_max_pooling,
    layers.LayerNormalization: layer_normalization,
    layers.LeakyReLU: leaky_relu,
    layers.MaxPooling2D: max_pooling,
    layers.RandomAffine: warp,
    layers.RandomElasticTransform: warp,
    layers.RandomRotation: warp,
    layers.RandomShear: warp,
    layers.RandomTranslation: warp,
    layers.RandomZoom: warp,
    layers.RandomErasing: erasing,
    layers.ReLU: relu,
    layers.Rescaling: rescaling,
    layers.Reshape: flatten,
    layers.Residual: residual,
    layers.Softmax: activation_layer,
    layers.SpatialDropout2D: spatial_dropout,
    layers.Stack: stack,
    layers.UpSampling2D: up_sampling,
    layers.ZeroPadding2D: zero_padding,
}


def _around_activation(sheet: Sheet, record: Record, forward: Callable[..., Array], *how: object) -> tuple[str, str]:
    """Put z and dz, which a layer with an activation does not keep; returns what they are called: y and dy, if it has none.

    z = forward(x, kernel, bias, *how).
    """
    layer: Any = record.layer
    kind, at = layer.activation, f"{record.name}:"
    if kind == "linear":
        return "y", "dy"
    x, kept = record.cache
    sheet.put(at + "z", forward(x, record.params["kernel"], record.params.get("bias"), *how))
    sheet.put(at + "dz", getattr(reference, f"{kind}_backward")(record.dy, kept))
    activation(sheet, record.name, kind)
    return "z", "dz"


def _bias(at: str, layer: Any, axis: str) -> tuple[Part, ...]:
    return (Part((Factor(at + "bias", (axis,)),)),) if layer.use_bias else ()


def _dbias(sheet: Sheet, at: str, layer: Any, dz: str, places: dict[str, int], line: Any) -> None:
    if layer.use_bias:
        part = Part((Factor(at + dz, ("n", "i", "j", "f")),), places)
        sheet.rules[at + "dbias"] = Rule(f"dbias[f] = Σ_{{n, i, j}} {dz}[n, i, j, f]", line, ("f",), (part,))


def _frame(shape: tuple[int, ...], window: tuple[int, ...], strides: tuple[int, int], padding: str) -> tuple[int, int]:
    """The padding (top, left) of images of this shape (N, H, W, C)."""
    top, left = (window_output(shape[i + 1], window[i], strides[i], padding)[1] for i in (0, 1))
    return top, left


def _window(strides: tuple[int, int], top: int, left: int) -> tuple[tuple[str, str], tuple[str, str], str]:
    """Where the window at (i, j) reads its cell (a, b); which window reads (h, w) as its cell (a, b); the first for people."""
    there, back, shown = [], [], []
    for place, cell, pixel, stride, before in (("i", "a", "h", strides[0], top), ("j", "b", "w", strides[1], left)):
        there.append(f"{place} * {stride} + {cell} - {before}")
        back.append(f"({pixel} + {before} - {cell}) / {stride}")
        step = place if stride == 1 else f"{stride}·{place}"
        shown.append(f"{step} + {cell}" + (f" − {before}" if before else ""))
    return (there[0], there[1]), (back[0], back[1]), ", ".join(shown)


def _winners(
    sheet: Sheet, record: Record, index: Array, size: tuple[int, int], strides: tuple[int, int], padding: str
) -> None:
    """The rules of a max-pool, from the place in the window where each maximum was."""
    at, (height, width), cells = f"{record.name}:", size, math.prod(size)
    wins = (index[..., None, :] == np.arange(cells).reshape(-1, 1)).astype(np.uint8)  # (N, OH, OW, KH·KW, C)
    sheet.put(at + "wins", wins)
    there, back, written = _window(strides, *_frame(record.x.shape, size, strides, padding))
    window, flat = {"a": height, "b": width}, record.y.ndim == 2
    cell = f"a * {width} + b"
    here = ("0", "0") if flat else ("i", "j")
    x = Factor(at + "x", ("n", "a", "b", "c") if flat else ("n", *there, "c"))
    forward = Part((x, Factor(at + "wins", ("n", *here, cell, "c"))), window)
    sheet.rules[at + "y"] = Rule(
        f"y[n, i, j, c] = the largest of x[n, {written}, c]",
        source(reference.max_pool2d_forward, "values.max"),
        ("n", "c") if flat else IMAGES,
        (forward,),
    )
    dy = Factor(at + "dy", ("n", "c") if flat else ("n", *back, "c"))
    backward = Part((dy, Factor(at + "wins", ("n", *back, cell, "c"))), window)
    sheet.rules[at + "dx"] = Rule(
        "dx[n, h, w, c] = Σ dy[n, i, j, c] of the windows that (h, w) won",
        source(reference.max_pool2d_backward, "places +="),
        ("n", "h", "w", "c"),
        (backward,),
    )


def _shares(
    x_shape: tuple[int, ...],
    y_shape: tuple[int, ...],
    size: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
) -> Array:
    """1 / the cells of each window that lie inside the image, (OH, OW)."""
    counts = []
    for axis, (cells, stride) in enumerate(zip(size, strides, strict=True)):
        before = window_output(x_shape[axis + 1], cells, stride, padding)[1]
        first = np.arange(y_shape[axis + 1]) * stride - before
        counts.append(np.minimum(first + cells, x_shape[axis + 1]) - np.maximum(first, 0))
    shares: Array = 1 / np.multiply.outer(*counts)
    return shares


def _copies(sheet: Sheet, record: Record, forward: str, backward: str) -> None:
    at, layer = f"{record.name}:", type(record.layer)
    sheet.rules[at + "y"] = copy_of(forward, at + "x", source(layer.forward, "return"))
    sheet.rules[at + "dx"] = copy_of(backward, at + "dy", source(layer.backward, "return"))


def _inside(record: Record, place: int) -> str:
    """The address of the layer at this place in a stack."""
    layer = record.layer.layers[place]  # type: ignore[attr-defined]
    return f"{record.name}/{getattr(layer, 'name', None) or f'layers[{place}]'}"


def _chain(sheet: Sheet, name: str, inside: list[str]) -> None:
    for below, above in pairwise(inside):
        sheet.link(f"{above}:x", f"{below}:y")
        sheet.link(f"{below}:dy", f"{above}:dx")
    sheet.link(f"{inside[0]}:x", f"{name}:x")
    sheet.link(f"{inside[-1]}:dy", f"{name}:dy")
