"""Anything with a scalar value and gradients: a loss, a model with its loss, or functions, in whichever form."""

import copy
from collections.abc import Callable
from functools import partial

import numpy as np

from ..contracts import Array, Named, Output, Target
from .behaviour import (
    CHANGES_CACHE,
    REUSES_GRADIENT,
    STALE,
    again_or_error,
    changed,
    compare_form,
    compare_names,
    computed_in_float32,
    not_twice,
    show_elsewhere,
)
from .calls import by_name, is_integers, names_of_arguments, pair, with_names
from .nested import gathered, in_a_row, kept_copies, same, spread
from .operators import arguments_as_arrays
from .report import Fault, Report
from .state import summed, tied
from .subjects import (
    TOO_COARSE,
    Settings,
    Subject,
    as_float64,
    check_finite,
    check_scalar,
    check_value,
    choose,
    count_samples,
)
from .upstream import stream

RANDOM = (
    "gives a different value when called twice with the same arguments: its random numbers must be the same each time."
)
JITTER = 1e-9  # how much two values may differ by what is rounded otherwise, relative to them
OTHER_CALLS = (
    "has been called with other {} in between: it must follow from its arguments alone, and be computed anew each time."
)


def of_loss(loss: Target, y_true: Output, y_pred: Output, settings: Settings, report: Report) -> Subject:
    """An object with forward(y_true, y_pred) → (value, cache) and backward(cache) → the gradient with respect to y_pred."""
    check_scalar(settings)
    y_true, y_pred = np.asarray(y_true), as_float64(y_pred, "y_pred", report)

    def forward() -> tuple[Output, Output]:
        return pair(loss.forward(y_true, y_pred.copy()), "forward must return (value, cache)")

    given = copy.deepcopy((y_true, y_pred))
    value, cache = pair(loss.forward(*given), "forward must return (value, cache)")
    check_value(value, "the loss", settings.per_sample)
    if not same(given, (y_true, y_pred)):
        report.problems.append("forward changes its arguments: it must work on copies.")
    if not same(value, forward()[0], max(JITTER, settings.nondet_tol)):
        raise Fault(f"forward {RANDOM}")
    kept, leaves = kept_copies(cache)
    returned = np.asarray(loss.backward(cache))
    gradient = returned.copy()
    if not same(leaves, cache):
        report.problems.append(CHANGES_CACHE)
        cache = kept
    report.problems += compare_form("y_pred", gradient, y_pred)
    again = again_or_error(lambda: np.asarray(loss.backward(cache)))
    if not same(gradient, again, settings.nondet_tol):
        report.problems.append(not_twice(again, "cache"))

    def show(factor: float, count: int | None) -> None:
        show_elsewhere(lambda: loss.forward(np.flip(y_true, 0)[:count], np.flip(y_pred, 0)[:count] * factor))

    show_elsewhere(lambda: loss.backward(loss.forward(y_true.copy(), y_pred * 0.75)[1]))
    if not report.problems and not same(gradient, returned):
        report.problems.append(REUSES_GRADIENT)
    for factor, count in ((0.75, None), (-0.75, None), (1.0, 1)):  # other numbers, other signs, a single sample
        show(factor, count)
        later = again_or_error(lambda: np.asarray(loss.backward(cache)))
        if not report.problems and not same(gradient, later, settings.nondet_tol):
            report.problems.append(STALE)
    choose(["y_pred"], settings)
    samples = count_samples(y_pred, "y_pred", report)
    ones = np.ones(np.size(value))
    return Subject({"y_pred": y_pred}, lambda: in_a_row(forward()[0]), [ones], [{"y_pred": gradient}], samples)


def of_model(model: Target, x: Output, y: Output, settings: Settings, report: Report) -> Subject:
    """An object with params and loss_and_gradients(x, y, training=…) → (loss, gradients by address)."""
    if getattr(model, "loss", model) is None:
        raise ValueError(
            "gradcheck of a model with x, y needs the loss: compile it first, or leave y out, and the model is checked "
            "as one layer, from its input to its output."
        )

    def loss_and_gradients() -> tuple[Output, Named]:
        value = model.loss_and_gradients(x, y, training=settings.training)
        return with_names(value, "loss_and_gradients must return (loss, gradients by address)")

    gradients = loss_and_gradients()[1]  # which builds the model
    for address, value in model.params.items():
        if value.dtype != np.float64:
            raise TypeError(
                f"gradcheck needs float64, received {address} in {value.dtype}: {TOO_COARSE}. Make the model with "
                "Sequential(…, dtype='float64') and copy the weights with set_weights(model.get_weights())."
            )
    return _of_params(dict(model.params), gradients, loss_and_gradients, "loss_and_gradients", x, settings, report)


def of_net(net: Target, given: tuple[Output, ...], settings: Settings, report: Report) -> Subject:
    """An object with params and loss(x, y, …) → (loss, gradients by name), as in Stanford's CS231n."""

    def loss() -> tuple[Output, Named]:
        return with_names(net.loss(*copy.deepcopy(given)), "loss(x, y) must return (loss, gradients by name)")

    params = {name: value for name, value in net.params.items() if not is_integers(value)}
    for name, value in params.items():
        if not isinstance(value, np.ndarray) or value.dtype != np.float64:
            raise TypeError(f"gradcheck needs parameters in float64, received {name!r} as {np.asarray(value).dtype}.")
    _call_elsewhere(params, loss)  # so that a gradient that is kept from the first call is a wrong one
    gradients = loss()[1]
    state = [name for name in params if name not in gradients and "running" in name]
    params = {name: value for name, value in params.items() if name not in state}
    return _of_params(params, gradients, loss, "loss", given[0], settings, report)


def _of_params(
    params: dict[str, Array],
    gradients: Named,
    call: Callable[[], tuple[Output, Named]],
    what: str,
    x: Output,
    settings: Settings,
    report: Report,
) -> Subject:
    """The loss of a model, whose parameters are moved in place."""
    check_scalar(settings)
    twins = tied(params)
    arrays = {name: value for name, value in params.items() if name not in twins}
    chosen = choose(list(arrays), settings)

    def selected(gradients: Named) -> dict[str, Array]:
        left = arrays.keys() - chosen
        return {name: np.array(value) for name, value in summed(gradients, twins).items() if name not in left}

    found = selected(gradients)
    arrays = {name: value for name, value in arrays.items() if name in chosen}
    report.problems += compare_names(found, arrays)
    for name in arrays.keys() & found.keys():
        report.problems += compare_form(name, found[name], arrays[name])
    value, again = call()
    check_value(value, "the loss", settings.per_sample)
    if not same(value, call()[0], max(JITTER, settings.nondet_tol)):
        raise Fault(f"{what} {RANDOM}")
    if not same(found, selected(again), settings.nondet_tol):
        report.problems.append(f"{what} gives a different result when called twice.")
    _call_elsewhere(arrays, call)
    if not report.problems and not same(found, selected(call()[1]), settings.nondet_tol):
        report.problems.append(f"{what} gives a different result when it {OTHER_CALLS.format('parameters')}")
    samples = count_samples(x, "x", report)
    ones = np.ones(np.size(value))
    return Subject(arrays, lambda: in_a_row(call()[0]), [ones], [found], samples, deep=True)


def _call_elsewhere(params: dict[str, Array], call: Callable[[], Output]) -> None:
    """Call it with other parameters, and put them back."""
    kept = {name: value.copy() for name, value in params.items()}
    try:
        for value in params.values():
            value[...] = np.flip(value) * 0.75
        show_elsewhere(call)
    finally:
        for name, value in params.items():
            value[...] = kept[name]


def of_functions(
    functions: tuple[Output, Output], given: tuple[Output, ...], settings: Settings, report: Report
) -> Subject:
    """(value, gradient), two functions of the same arguments: value(…) is a number, gradient(…) one gradient, or several."""
    value, gradient = functions
    return _of_values(value, gradient, "value(x)", given, settings, report)


def of_function(function: Target, given: tuple[Output, ...], settings: Settings, report: Report) -> Subject:
    """One function → (value, gradients), of arrays, or of a dictionary of arrays, and anything else it needs."""

    def both(*arguments: Output) -> tuple[Output, Output]:
        return pair(function(*arguments), "the function must return (value, gradients)")

    return _of_values(
        lambda *arguments: both(*arguments)[0],
        lambda *arguments: both(*arguments)[1],
        "the value",
        given,
        settings,
        report,
        names_of_arguments(function, len(given)),
    )


def _of_values(
    value: Callable[..., Output],
    gradient: Callable[..., Output],
    what: str,
    given: tuple[Output, ...],
    settings: Settings,
    report: Report,
    names: list[str] | None = None,
) -> Subject:
    """Moves all arguments that have a gradient: arrays, or those that the first one has in it, a dictionary, list or tuple."""
    check_scalar(settings)
    names = names or (["x"] if len(given) == 1 else names_of_arguments(value, len(given)))
    parts = given[0] if isinstance(given[0], dict) else spread(names[0], given[0])
    table = isinstance(given[0], dict) or names[0] not in parts
    first = {name: as_float64(array, name, report) for name, array in parts.items()} if table else None
    rest = {
        name: as_float64(each, name, report) if len(given) == 1 else arguments_as_arrays(each, name, report)
        for name, each in list(zip(names, given, strict=True))[table:]
    }

    def call(function: Callable[..., Output], arrays: Named) -> Output:
        """Call the function with copies, and note whether it changed them."""
        others = (arrays[name] for name in rest)
        if first is None:
            return function(*others)
        own = {name: arrays[name] for name in first}
        return function(own if isinstance(given[0], dict) else gathered(names[0], given[0], own), *others)

    inputs: Named = {**(first or {}), **rest}
    floats = [*(first or {}), *(n for n, a in rest.items() if isinstance(a, np.ndarray) and a.dtype.kind == "f")]

    def call_elsewhere() -> None:
        other = {name: np.flip(inputs[name]) * 0.75 for name in floats}
        for function in (value, gradient):
            show_elsewhere(partial(call, function, copy.deepcopy({**inputs, **other})))

    call_elsewhere()  # so that a gradient that is kept from the first call is a wrong one
    copies = copy.deepcopy(inputs)
    result = call(value, copies)
    check_value(result, what, settings.per_sample)
    if not same(result, call(value, copy.deepcopy(inputs)), max(JITTER, settings.nondet_tol)):
        raise Fault(f"{what} {RANDOM}")

    def gradients(arrays: Named) -> dict[str, Array]:
        found = call(gradient, arrays)
        named = spread(names[0], found)
        if first is not None and isinstance(found, tuple) and isinstance(found[0], dict | list | tuple):
            named = by_name(found, names)  # one for each argument, the first of them in its form
            whole = named.pop(names[0])
            named = {**(whole if isinstance(whole, dict) else spread(names[0], whole)), **named}
        elif first is None or named.keys() != first.keys():
            named = by_name(found, floats or names)
        return {name: np.array(one) for name, one in named.items()}

    found = gradients(copies)
    if changed(copies, inputs):
        report.problems.append(
            f"value or gradient changes its argument {changed(copies, inputs)[0]}: it must work on a copy."
        )
    arrays = {name: inputs[name] for name in floats if name in found or name in (first or {})}
    report.notes += [
        f"{name}: no gradient returned, not checked." for name in floats if not table and name not in found
    ]
    chosen = choose(list(arrays), settings)
    arrays = {name: check_finite(array, name) for name, array in arrays.items() if name in chosen}
    found = {name: one for name, one in found.items() if name in arrays or name not in inputs}
    if not arrays:
        raise Fault("there is no array to move: give the arguments as arrays of floats.")
    if computed_in_float32(lambda moved: in_a_row(call(value, copy.deepcopy({**inputs, **moved}))), arrays):
        report.problems.append("value computes in float32: it must keep the dtype of x.")

    def selected(gradients: Named) -> Named:
        return {name: one for name, one in gradients.items() if name in found}

    if not same(found, selected(gradients(copy.deepcopy(inputs))), settings.nondet_tol):
        report.problems.append("gradient gives a different result when called twice with the same x.")
    call_elsewhere()
    if not report.problems and not same(found, selected(gradients(copy.deepcopy(inputs))), settings.nondet_tol):
        report.problems.append(f"gradient gives a different result when the function {OTHER_CALLS.format('x')}")
    report.problems += compare_names(found, arrays)
    for name in arrays.keys() & found.keys():
        report.problems += compare_form(name, found[name], arrays[name])

    def elsewhere() -> Subject:
        rng = stream(settings.seed, 3)
        other = {**inputs, **{name: rng.normal(size=array.shape) for name, array in arrays.items()}}
        moved = {name: other[name] for name in arrays}
        return Subject(
            moved,
            lambda: in_a_row(call(value, copy.deepcopy(other))),
            [np.ones(np.size(result))],
            [gradients(copy.deepcopy(other))],
            1,
        )

    x = next(iter(arrays.values()))
    return Subject(
        arrays,
        lambda: in_a_row(call(value, copy.deepcopy(inputs))),
        [np.ones(np.size(result))],
        [found],
        len(x) if x.ndim else 1,
        elsewhere=elsewhere,
    )
