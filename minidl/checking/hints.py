"""The likely mistake behind a wrong gradient: how the slopes of each output differ from what they should be."""

from functools import partial
from itertools import combinations
from typing import NamedTuple

import numpy as np

from ..contracts import Array
from .report import Record
from .subjects import Subject

LARGEST = 400  # the most outputs, and entries of an array, to examine one by one
STEP = 1e-5


class Case(NamedTuple):
    """One wrong array. a: the outputs' slopes according to backward, (outputs, entries); n: according to differences.

    Where there are too many of them, the outputs are one, their weighed sum. shape: of the array. outputs: the shape of y.
    """

    a: Array
    n: Array
    shape: tuple[int, ...]
    outputs: tuple[int, ...]
    samples: int
    scale: float

    def alike(self, x: Array, y: Array) -> bool:
        return x.shape == y.shape and bool(np.allclose(x, y, rtol=1e-3, atol=1e-5 * self.scale))


def likely_mistake(subject: Subject, record: Record) -> str:
    """The likely mistake behind this array's wrong gradient, or "". The caller ignores what NumPy warns of."""
    name = record.name
    array = subject.arrays[name]
    if array.size > LARGEST or record.tries == "ties":
        if record.proved:
            return ""  # what holds for the entries that are wrong does not for the array
        pairs = np.array([(analytic, numeric) for _, analytic, numeric in record.failures])
        failed = Case(pairs[:, 0], pairs[:, 1], (), (), subject.samples, float(np.abs(pairs[:, 1]).max()))
        return "" if failed.scale == 0 or failed.alike(failed.a, failed.n) else _of_factor(failed)
    case = _case(subject, name)
    if case is None:
        return ""
    if case.scale == 0:
        return (
            "moving it does not change the output, so its gradient is 0: does forward use it, and read it from self.params? "
            "Or is a mask wrong?"
        )
    if case.alike(case.a, case.n):
        return ""  # what is wrong is too little, or too local, to be seen like this
    for look in (_of_factor, _of_order, _of_coupling, _of_support):
        if hint := look(case):
            return hint
    return _of_others(subject, name, case) or _of_parts(case) or _of_difference(case)


def of_degree(scaled: dict[str, Array], gradients: dict[str, Array], negative: dict[str, Array]) -> dict[str, str]:
    """How gradients that are not linear in dy depend on it. scaled: for twice the dy; negative: for minus the dy."""
    hints = {}
    for name, gradient in gradients.items():
        twice, minus = scaled[name], negative[name]
        near = partial(np.allclose, rtol=1e-6, atol=1e-9 * np.abs(gradient).max(initial=0.0))
        if near(twice, 2 * gradient) and near(minus, -gradient):
            hints[name] = "it does not grow with a large dy: is dy clipped, or brought to some size?"
        elif near(twice, gradient) and near(minus, gradient):
            hints[name] = "it is the same for every dy: is another array taken for dy?"
        elif near(twice, gradient):
            hints[name] = "it does not grow with dy: is dy clipped, or brought to some size?"
        elif near(twice, 4 * gradient):
            hints[name] = "it grows with the square of dy: is dy taken for another array?"
        elif near(twice, 2 * gradient) and not near(minus, -gradient):
            hints[name] = "it depends on the signs of dy: is a mask, or a comparison, made of dy and not of x?"
        elif near(twice - gradient, (gradient - minus) / 2):
            hints[name] = "something is added that does not depend on dy: is another array taken for dy in a term?"
        else:
            hints[name] = "it is not linear in dy: is dy taken for another array?"
    return hints


def _case(subject: Subject, name: str) -> Case | None:
    """The slopes of every output, if they are few; otherwise those of the weighted sum."""
    array, middle = subject.arrays[name], subject.outputs()
    single = subject.backward is None or middle.size > LARGEST
    weights = subject.upstreams[0][None] if single else np.eye(middle.size)
    n = np.zeros((len(weights), array.size))
    bent = np.zeros(n.shape, bool)  # at a kink, where the difference is no slope
    for entry, where in enumerate(np.ndindex(array.shape)):
        kept, step = array[where], STEP * max(1.0, abs(float(array[where])))
        sides = []
        for sign in (1, -1):
            array[where] = kept + sign * step
            sides.append(subject.outputs_or_nan(middle))
            array[where] = kept
        if any(side.shape != middle.shape for side in sides):
            return None
        right, left = (weights @ (sign * (side - middle) / step) for sign, side in ((1, sides[0]), (-1, sides[1])))
        n[:, entry] = (right + left) / 2
        bent[:, entry] = np.abs(right - left) > 0.01 * np.maximum(np.abs(right), np.abs(left)) + 1e-6
    if single:
        a = subject.gradients[0][name].reshape(1, -1)
    else:
        assert subject.backward is not None
        a = np.array([subject.backward(row)[name].reshape(-1) for row in weights])
    if not (np.isfinite(a).all() and np.isfinite(n).all()):
        return None
    a, n = np.where(bent, 0, a), np.where(bent, 0, n)
    outputs = subject.form if not single else ()
    return Case(a, n, array.shape, outputs, subject.samples, float(np.abs(n).max(initial=0.0)))


def _of_factor(case: Case) -> str:
    """One factor everywhere."""
    square = "a factor of 2, as of a square's derivative"
    mean = "the number of samples: mean or sum over the batch"
    if case.samples == 2:
        square = mean = f"{mean}, or {square}"
    for factor, words in (
        (0.0, "it is 0 everywhere: was the gradient computed, and passed on?"),
        (-1.0, "the sign is wrong."),
        (2.0, f"it is twice too large: {square}?"),
        (0.5, f"it is half as large as it should be: {square}?"),
        (float(case.samples), f"it is {case.samples} times too large, {mean}?"),
        (1 / case.samples, f"it is {case.samples} times too small, {mean}?"),
    ):
        if case.alike(case.a, factor * case.n):
            return words
    ratio = float((case.a * case.n).sum() / (case.n**2).sum())
    close = np.allclose(case.a, ratio * case.n, rtol=min(1e-3, abs(ratio - 1) / 10), atol=1e-7 * case.scale)
    if case.a.size > 1 and close:
        return f"it is {ratio:.6g} times what it should be, everywhere: a constant factor is missing or too much."
    return ""


def _of_order(case: Case) -> str:
    """The right numbers in the wrong places."""
    first = len(case.outputs)  # the axes before it are those of y, the others those of the array
    full, right = (slopes.reshape(*case.outputs, *case.shape) for slopes in (case.a, case.n))
    pairs = combinations(range(full.ndim), 2)
    equal = [(one, other) for one, other in pairs if other >= first and full.shape[one] == full.shape[other]]
    for one, other in sorted(equal, reverse=True):
        if case.alike(np.swapaxes(full, one, other), right):
            if one >= first:
                return f"it is transposed: its axes {one - first} and {other - first} are swapped."
            return "a matrix in it is transposed: is a .T missing, or too much?"
    for axis, size in list(enumerate(full.shape))[first:]:
        if case.alike(np.flip(full, axis), right):
            return f"it is reversed along axis {axis - first}."
        for shift in (1, -1):
            if size > 2 and case.alike(np.roll(full, shift, axis), right):
                return f"its numbers are a place off along axis {axis - first}: is an index one too large or too small?"
    for axis, size in enumerate(case.outputs):
        for shift in range(1, size if size > 2 else 0):
            if case.alike(np.roll(full, shift, axis), right):
                off = min(shift, size - shift)  # round the end
                if off == 1:
                    return f"dy is taken a place off along axis {axis}: is an index one too large or too small?"
                return f"dy is taken {off} places off along axis {axis}: is an offset wrong, or are groups in the wrong order?"
    return ""


def _of_others(subject: Subject, name: str, case: Case) -> str:
    """The gradient of another array of the same shape."""
    for other, array in subject.arrays.items():
        if other != name and array.shape == case.shape:
            twin = _case(subject, other)
            if twin is not None and case.alike(case.a, twin.n):
                return f"it is the gradient of {other}."
    return ""


def _of_support(case: Case) -> str:
    """Entries that should be 0 are not, or are 0 and should not be; the others are right."""
    tiny = 1e-7 * case.scale
    no, none = np.abs(case.n) <= tiny, np.abs(case.a) <= tiny
    extra, missing = no & ~none, none & ~no
    rest = ~no & ~none
    if extra.any() and not missing.any() and case.alike(case.a[~no], case.n[~no]):
        if _across_samples(case, extra, ~no):
            return "the dy of other samples contributes to it: is an axis of a sum, or of a mean, left out?"
        return "it lets through what should be 0: is a mask (of a ReLU, a pool or a dropout) not applied?"
    if missing.any() and not extra.any() and rest.any() and case.alike(case.a[rest], case.n[rest]):
        if hint := _of_missing(case, missing):
            return hint
        if (~no).sum(axis=0).max() > 1:
            return "a part of the sum is missing: it is 0 for some outputs where it should not be."
        return "it is 0 where it should not be: is a mask (of a ReLU, a pool or a dropout) missing or misplaced?"
    own = len(case.a) == 1 or (
        len(case.a) == case.a.shape[1] and not (extra | missing | rest)[~np.eye(len(no), dtype=bool)].any()
    )
    if extra.any() and missing.any() and not own and _moved(case):
        return "the right numbers are in the wrong places: is an index, an offset or the padding wrong?"
    if extra.any() and own:
        return "it is not 0 where it should be: is a mask (of a ReLU, a pool or a dropout) missing or misplaced?"
    return ""


def _across_samples(case: Case, extra: Array, right: Array) -> bool:
    """Whether all that is too much comes from the outputs of other samples, and nothing that is right does."""
    if not case.outputs or not case.shape or not case.outputs[0] == case.shape[0] == case.samples:
        return False
    output, entry = (np.arange(size) * case.samples // size for size in case.a.shape)
    same = output[:, None] == entry
    return not (extra & same).any() and not (right & ~same).any()


def _moved(case: Case) -> bool:
    """Whether most outputs that are wrong have their right numbers in other places."""
    ours, right = np.sort(np.abs(case.a), axis=1), np.sort(np.abs(case.n), axis=1)
    wrong = (np.abs(case.a - case.n) > 1e-5 * case.scale).any(axis=1)
    moved = (np.abs(ours - right) <= 1e-5 * case.scale).all(axis=1)
    return bool((wrong & moved).sum() > wrong.sum() / 2)


def _of_missing(case: Case, missing: Array) -> str:
    """Outputs that are left out: all but the last one that an entry contributes to, or those at an end of an axis."""
    there = ~missing & (np.abs(case.n) > 1e-7 * case.scale)
    touched = missing | there
    # In which order the outputs are added up: by place, by sample and place, by step, or by sample.
    index = np.indices(case.outputs) if case.outputs else np.zeros((0, 1))
    groups = [list(range(1, len(case.outputs) - 1)), list(range(len(case.outputs) - 1)), [1], [0]]
    for axes in groups:
        if not axes or axes[-1] >= len(case.outputs):
            continue
        order = np.ravel_multi_index([index[axis] for axis in axes], [case.outputs[axis] for axis in axes]).reshape(
            -1, 1
        )
        for sign in (1, -1):
            ranks = np.where(touched, sign * order, -LARGEST - 1)
            if (there == (touched & (ranks == ranks.max(axis=0)))).all():
                return 'only the last of its terms counts: is it "=" for "+="?'
    for axis, size in enumerate(case.outputs):
        index = np.arange(len(touched)).reshape(case.outputs)
        for name, position in (("last", size - 1), ("first", 0)):
            kept, others = np.take(index, position, axis).reshape(-1), np.delete(index, position, axis).reshape(-1)
            always = (touched[kept].any(axis=0) == touched.any(axis=0)).all()
            if size > 1 and always and not there[others].any() and not missing[kept].any():
                return f'only the {name} along axis {axis} of y counts: is it "=" for "+="?'
    return _of_an_end(case.outputs, missing, there, "of y ") or _of_an_end(case.shape, missing.T, there.T, "")


def _of_an_end(shape: tuple[int, ...], missing: Array, there: Array, whose: str) -> str:
    """What is missing is an end of an axis of y, or of the array. missing, there: a row for each place."""
    for axis, size in enumerate(shape):
        elsewhere = (*range(axis), *range(axis + 1, len(shape)), len(shape))
        gone, left = (np.asarray(one.reshape(*shape, -1).any(axis=elsewhere)) for one in (missing, there))
        count = int(gone.sum())
        if (gone & left).any() or count == size:
            continue
        for name, end in (("last", gone[size - count :]), ("first", gone[:count])):
            if end.all():
                many, verb = ("", "is") if count == 1 else (f"{count} ", "are")
                return f"the {name} {many}along axis {axis} {whose}{verb} left out: does a loop end too early, or begin too late?"
    return ""


def _of_parts(case: Case) -> str:
    """A factor that depends on the output alone, or on the entry alone."""
    known = np.abs(case.n) > 1e-6 * case.scale
    off = known & (np.abs(case.a - case.n) > 1e-3 * np.abs(case.n))
    if min(off.any(axis=0).sum(), off.any(axis=1).sum()) < 2:
        return ""  # a single wrong number says nothing
    if (np.abs(case.a[~known]) > 1e-5 * case.scale).any():
        return ""
    ratio = np.where(known, case.a / case.n, np.nan)
    if known.sum(axis=1).max() > 1 and _constant(ratio, 1):
        return "each output's part is off by a factor of its own: is the slope of an activation, or a mask, wrong or left out?"
    if known.sum(axis=0).max() > 1 and _constant(ratio, 0):
        if hint := _of_steps(np.nanmean(np.where(known.any(axis=0), ratio, 1.0), axis=0).reshape(case.shape)):
            return hint
        return "each entry is off by a factor of its own: is what dy is multiplied by another array, or another power of it?"
    if known.sum(axis=0).max() <= 1 and known.sum(axis=1).max() <= 1:
        return "each entry is off by a factor of its own: is the slope at x wrong, or taken at another array?"
    return ""


def _of_steps(factors: Array) -> str:
    """The error is multiplied by the same number from each place along an axis to the next, as in a loop through time."""
    for axis, size in enumerate(factors.shape):
        along = np.moveaxis(factors, axis, 0).reshape(size, -1)
        growth = along[:-1] / along[1:]
        first = float(growth[0, 0]) if growth.size else 1.0
        if (
            size > 2
            and abs(first - 1) > 1e-3
            and np.allclose(growth, first, rtol=1e-3)
            and np.allclose(along, along[:, :1], rtol=1e-3)
        ):
            return (
                f"from each place along axis {axis} to the one before, its error is multiplied by {first:.4g}: is what a step "
                "passes back off by a factor, or of the wrong sign?"
            )
    return ""


def _constant(ratio: Array, axis: int) -> bool:
    """Whether the known ratios are the same along the axis."""
    unknown = np.isnan(ratio)
    low, high = np.where(unknown, np.inf, ratio).min(axis=axis), np.where(unknown, -np.inf, ratio).max(axis=axis)
    fine = np.isfinite(low) & np.isfinite(high)
    return bool(fine.any() and np.allclose(low[fine], high[fine], rtol=1e-3, atol=1e-9))


def _of_coupling(case: Case) -> str:
    """Each output depends on many entries, but backward includes only one."""
    if case.shape != case.outputs:
        return ""
    diagonal = np.eye(len(case.a), dtype=bool)
    coupled = np.abs(case.n[~diagonal]) > 1e-6 * case.scale
    if coupled.any() and (np.abs(case.a[~diagonal]) <= 1e-7 * case.scale).all():
        return "each entry's part in the other outputs is missing: they are coupled, so a sum over them belongs to it."
    return ""


def _of_difference(case: Case) -> str:
    """A missing or superfluous term."""
    off, right = ((one.reshape(-1, *case.shape)) for one in (case.n - case.a, case.n))
    for axis, size in enumerate(case.shape):
        means = [one.mean(axis + 1, keepdims=True) for one in (off, right)]
        if size > 2 and case.alike(off, means[0] + 0 * off) and not case.alike(right, means[1] + 0 * right):
            return f"what is wrong in it is the same all along axis {axis}: is a mean, or a sum, over it wrong or left out?"
    if case.shape != case.outputs:
        return ""
    diagonal = np.eye(len(case.a), dtype=bool)
    if case.alike(case.a[~diagonal], case.n[~diagonal]):
        return "the part of each entry in its own output is wrong: is a term missing, or too much?"
    return ""
