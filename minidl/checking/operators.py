"""Anything with a forward and a backward, in one form: which arrays are moved, and which are ids, tables or state."""

import copy
from collections.abc import Callable

import numpy as np

from .. import backprop
from ..contracts import Array, Cache, Named, Output, Target
from .behaviour import CHANGES_PARAMETERS, Operator, behaviour
from .calls import LayerCall, PairCall, is_integers, params_of
from .nested import in_a_row, like, same
from .report import Fault, Report
from .stack import Stack
from .state import layers_in, remember, replace, summed, tied
from .subjects import Settings, Subject, as_float64, check_finite, check_layer, choose, count_samples
from .upstream import stream

Forward = Callable[..., tuple[Output, Output]]


def of_layer(layer: Target, given: tuple[Output, ...], settings: Settings, report: Report) -> Subject:
    """An object with forward and backward, of one input or more."""
    if len(given) == 1 and isinstance(given[0], tuple):
        given = given[0]
    xs = [np.asarray(x) for x in given]
    for x in xs:
        if x.ndim == 0:
            raise ValueError(f"x must have a batch axis, with a sample in each place, received the number {x}.")
    xs = [x if is_integers(x) else as_float64(x, "x", report, finite=len(xs) == 1) for x in xs]
    params = _prepare(layer, xs, settings, report)
    call = LayerCall(layer, len(xs), settings.training)
    inputs: Named = dict(zip(call.names, xs, strict=True))
    still, state = _look(call, inputs, settings.seed)
    for name in inputs.keys() - still:
        inputs[name] = as_float64(inputs[name], name, report, finite=False)
    integers = {name for name in params.keys() - still - state if is_integers(params[name])}
    if integers:
        params.update({name: as_float64(params[name], name, report) for name in integers})
        _replace(layer, params)
    if state:
        report.notes.append(
            f"forward changes {', '.join(sorted(state))} among the params: taken for state, and not checked."
        )
    if still:
        report.notes.append(f"{', '.join(sorted(still))}: integers without a gradient, and not checked.")
    arrays = {name: array for name, array in {**inputs, **params}.items() if name not in still | state}
    twins = tied(arrays)
    chosen = choose([name for name in arrays if name not in twins], settings)
    moved = {name: check_finite(array, name) for name, array in arrays.items() if name in chosen}
    own = {name for name, array in params_of(layer).items() if array is params.get(name)}

    def backward(dy: Output, cache: Cache) -> Named:
        gradients = summed(call.backward(dy, cache), twins)
        for name in inputs.keys() & still:
            if gradients.get(name) is not None and np.any(gradients[name]):
                raise Fault(f"{name}: it holds integers, which cannot be moved: its gradient must be None or zeros.")
        for name in own & moved.keys():
            if params_of(layer).get(name) is not params[name]:
                raise Fault(
                    f"backward puts another array in the place of the parameter {name!r}, and so changes the parameters: "
                    "that is the optimizer's part."
                )
        return gradients

    loose = still | state | (arrays.keys() - chosen - twins.keys())
    operator = Operator(moved, inputs, loose, call.forward, backward, call.codes)
    before = copy.deepcopy(moved)
    _keep_state(operator, layer, list(arrays.values()), bool(state), settings, report)
    if not same(moved, before):
        raise Fault(CHANGES_PARAMETERS)
    samples = count_samples(xs[0], call.names[0], report)
    return _subject(operator, settings, report, samples, deep=len(list(layers_in(layer))) > 1)


def of_pair(functions: tuple[Output, Output], given: tuple[Output, ...], settings: Settings, report: Report) -> Subject:
    """(forward, backward), two functions: forward(x, w, …) → (y, cache), backward(dy, cache) → (dx, dw, …)."""
    call = PairCall(functions, given)
    inputs = {name: arguments_as_arrays(value, name, report) for name, value in call.inputs.items()}
    y, cache = call.forward(copy.deepcopy(inputs), settings.seed)
    found = call.backward(like(np.ones(in_a_row(y).size), y), cache)
    inputs |= _with_a_gradient(call, inputs, found, settings.seed)
    floats = [name for name, value in inputs.items() if isinstance(value, np.ndarray) and value.dtype.kind == "f"]
    names = [
        name for name in floats if name in found
    ]  # an argument without a gradient is a constant, such as a convolution's settings
    report.notes += [f"{name}: no gradient returned, not checked." for name in floats if name not in found]
    chosen = choose(names, settings)
    moved = {name: check_finite(inputs[name], name) for name in names if name in chosen}
    loose = {*inputs, *found} - chosen
    operator = Operator(moved, inputs, loose & inputs.keys(), call.forward, call.backward, call.codes)
    x = next(iter(moved.values()), np.zeros((1, 1)))
    return _subject(
        operator, settings, report, count_samples(np.atleast_1d(x), next(iter(moved), "x"), report), deep=False
    )


def _with_a_gradient(call: PairCall, inputs: Named, found: Named, seed: int) -> Named:
    """Integers and single floats that have a gradient of their shape, as float64; not what forward accepts no other way."""
    numbers: Named = {}
    for name, value in inputs.items():
        single = isinstance(value, float | np.floating)
        if not single and not (isinstance(value, np.ndarray) and value.dtype.kind in "iu"):
            continue
        if found.get(name) is None or np.shape(found[name]) != np.shape(value) or not np.any(found[name]):
            continue
        array = np.array(value, np.float64)
        try:
            call.forward(copy.deepcopy({**inputs, name: array}), seed)
        except Exception:
            continue
        numbers[name] = array
    return numbers


def arguments_as_arrays(value: Output, name: str, report: Report) -> Output:
    """Arrays and lists of floats as float64; anything else as it is: labels, settings, None."""
    if isinstance(value, np.ndarray | list) and np.asarray(value).dtype.kind == "f" and np.ndim(value):
        return as_float64(value, name, report, finite=False)  # a constant may hold -inf, as a mask does, or NaN
    return value


def _subject(operator: Operator, settings: Settings, report: Report, samples: int, deep: bool) -> Subject:
    check_layer(settings)
    seen = behaviour(operator, settings, report)

    def evaluate() -> Array:
        return operator.evaluate(operator.inputs, settings.seed)

    def elsewhere() -> Subject | None:
        rng = stream(settings.seed, 3)
        inputs = {
            name: rng.normal(size=value.shape) if name in operator.arrays else value
            for name, value in operator.inputs.items()
        }
        arrays = {**operator.arrays, **{name: inputs[name] for name in operator.inputs.keys() & operator.arrays.keys()}}
        with np.errstate(all="ignore"):
            y, cache = operator.forward(copy.deepcopy(inputs), settings.seed)
            gradients = operator.gradients(like(seen.upstreams[0], y), cache)
        return Subject(
            arrays, lambda: operator.evaluate(inputs, settings.seed), seen.upstreams[:1], [gradients], samples, deep
        )

    return Subject(
        operator.arrays,
        evaluate,
        seen.upstreams,
        seen.gradients,
        samples,
        deep,
        seen.rescue,
        None if report.problems else seen.backward,
        seen.form,
        elsewhere,
    )


def _look(call: LayerCall, inputs: Named, seed: int) -> tuple[set[str], set[str]]:
    """(names of integers without a gradient, such as ids and tables; names of parameters that forward changes in training).

    Other integers are numbers like any others. What fails here fails again, where it is told.
    """
    layer, params = call.layer, params_of(call.layer)
    integers = {name for name, value in {**inputs, **params}.items() if is_integers(value)}
    before = {name: np.array(value) for name, value in params.items()}
    restore = remember(layer)
    state: set[str] = set()
    gradients: Named | None = None
    try:
        with np.errstate(all="ignore"):
            y, cache = call.forward(copy.deepcopy(inputs), seed, True)
            state = {
                name
                for name, value in params_of(layer).items()
                if name in before and not same(np.array(value), before[name])
            }
            gradients = call.backward(like(stream(seed, 4).normal(size=in_a_row(y).size), y), cache)
    except Exception:
        pass
    finally:
        restore()
    needed = {name for name in integers & inputs.keys() if _needs_integers(call, inputs, name, seed, restore)}
    if gradients is None:
        return needed | (integers & params.keys()), state
    nothing = needed | {name for name in integers if gradients.get(name) is None}
    nothing |= {name for name in integers & params.keys() if not np.any(gradients.get(name))}
    # A parameter with a gradient is not mere state: the user is told.
    state = {name for name in state if gradients.get(name) is None or not np.any(gradients[name])}
    return nothing, state


def _needs_integers(call: LayerCall, inputs: Named, name: str, seed: int, restore: Callable[[], None]) -> bool:
    try:
        call.forward({**copy.deepcopy(inputs), name: inputs[name].astype(np.float64)}, seed)
    except Exception:
        return True
    finally:
        restore()
    return False


def _keep_state(
    operator: Operator, layer: Target, arrays: list[Array], state: bool, settings: Settings, report: Report
) -> None:
    """If a forward changes the result of the next one, the layer is restored before each call, except for these arrays."""
    forward, restore = operator.forward, remember(layer, arrays)

    def fresh(inputs: Named, key: int, training: bool | None = None) -> tuple[Output, Output]:
        restore()
        return forward(inputs, key, training)

    def twice(forward: Forward) -> bool:
        outputs = (operator_row(forward) for _ in range(2))
        return same(next(outputs), next(outputs), settings.nondet_tol)

    def operator_row(forward: Forward) -> Array:
        return in_a_row(forward(copy.deepcopy(operator.inputs), settings.seed)[0])

    if not state and (twice(forward) or not twice(fresh)):
        restore()
        return
    restore()
    operator.forward = fresh
    if not state:
        report.notes.append(
            "forward changes the layer, and gives a different result next time: its state was put back before each call."
        )


def _prepare(layer: Target, xs: list[Array], settings: Settings, report: Report) -> dict[str, Array]:
    """The layer's parameters in float64: it is built if necessary, and gets copies if its own cannot be moved."""
    if isinstance(layer, Stack):
        params, (x,) = {}, xs
        for place, part in enumerate(layer.layers):
            own = _prepare(part, [x], settings, report)
            params.update({f"{backprop.name_of(part, place)}/{name}": value for name, value in own.items()})
            call = LayerCall(part, 1, settings.training)
            x = call.forward({call.names[0]: x}, settings.seed)[0]
        return params
    if not params_of(layer) and hasattr(layer, "build") and getattr(layer, "output_shape", None) is None:
        shapes = xs[0].shape[1:] if len(xs) == 1 else [x.shape[1:] for x in xs]
        layer.build(shapes, stream(settings.seed, 10), np.dtype(np.float64))
    params = params_of(layer)
    # Arrays of float64 are moved where they are: the layer may know them by another name, too.
    movable = (
        isinstance(value, np.ndarray) and (is_integers(value) or (value.dtype == np.float64 and value.flags.writeable))
        for value in params.values()
    )
    if not all(movable):
        params = {
            name: value if is_integers(value) else as_float64(value, f"the parameter {name!r}", report)
            for name, value in params.items()
        }
        _replace(layer, params)
    return dict(params)


def _replace(layer: Target, params: dict[str, Array]) -> None:
    """Make these the layer's parameters, under every name by which it knows them."""
    before = params_of(layer)
    try:
        for name, value in params.items():
            replace(layer, before[name], value)
        layer.params = params
    except AttributeError as error:
        raise TypeError(f"gradcheck needs parameters in float64: build {layer!r} in float64 ({error}).") from error
