"""Whether a hint of gradcheck is right of a mutant: by what was changed, and by what the change does to the gradient.

By cause: a table says of which changes a hint is true. By effect: what the hint claims of the wrong gradient is done to the right
one, of the layer that was not changed, and has to give the wrong one; at another x, with other parameters.
"""

import re
from typing import NamedTuple

import numpy as np

# --------------------------------------------------------------------------------------------------------------- by cause

# What a hint says → the changes of which it is true. (More patterns may match; then any of them counts.) Written by hand, and not
# to be widened to fit a result: a hint as general as "each entry is off" is right of many changes as it is.
PART = (
    "an operator",
    "a factor dropped",
    "a power dropped",
    "another array",
    "a constant",
    "sin for cos",
    "branches swapped",
)
CLAIMS = {
    "the sign is wrong": ("a sign", "an operator", "operands swapped", "a constant", "a term dropped"),
    "twice too large": ("a factor", "a constant", "a term dropped", "an operator", "a factor dropped"),
    "half as large": ("a factor", "a constant", "a term dropped", "an operator", "a factor dropped"),
    "the number of samples": (
        "a factor",
        "mean for sum",
        "sum for mean",
        "a mean over the batch",
        "a factor dropped",
        "an operator",
    ),
    "a constant factor": (
        "a factor",
        "a constant",
        "mean for sum",
        "sum for mean",
        "a factor dropped",
        "an operator",
        "a mean dropped",
    ),
    "it is 0 everywhere": ("a gradient of 0", "a factor", "= for +=", "a term dropped", "an index dropped"),
    "it is the same for every dy": ("another array", "a factor dropped", "an operator", "a term dropped"),
    "grows with the square of dy": ("another array",),
    "depends on the signs of dy": ("another array",),
    "something is added that does not depend on dy": (
        "another array",
        "a factor dropped",
        "ones_like for zeros_like",
        "a constant",
    ),
    "not linear in dy": ("another array", "an operator", "operands swapped"),
    "transposed": (
        "a transpose dropped",
        "operands swapped",
        "a transpose too much",
        "gradients swapped",
        "another array",
    ),
    "it is the gradient of": ("gradients swapped", "another array", "a factor dropped"),
    "reversed along": ("an index dropped", "a constant", "a sign", "the order turned"),
    "a place off": ("a constant", "an index dropped"),
    "only the last": ("= for +=", "an axis left out", "an index dropped", "a step too few"),
    "only the first": ("= for +=", "an index dropped", "a step too few"),
    "(is|are) left out: does a loop": ("a step too few", "a constant"),
    "a part of the sum is missing": (
        "= for +=",
        "a step too few",
        "a sum dropped",
        "a term dropped",
        "an index dropped",
    ),
    "mask .* not applied": (
        "a factor dropped",
        "a threshold",
        "a comparison turned",
        "another array",
        "a constant",
        "branches swapped",
    ),
    "missing or misplaced": (
        "a comparison turned",
        "a threshold",
        "another array",
        "branches swapped",
        "a constant",
        "a factor dropped",
    ),
    "each output's part is off": (*PART, "a threshold", "a comparison turned", "a term dropped"),
    "each entry is off": (*PART, "a threshold", "a comparison turned", "a term dropped", "a transpose too much"),
    "own output is wrong": ("a term dropped", "an operator", "another array", "a constant", "a sign"),
    "they are coupled": ("a term dropped", "a factor dropped", "another array", "an operator"),
    "in the wrong places": ("a constant", "an index dropped", "a step too few", "an axis left out", "a sign"),
    "does forward use it": (),
    "of other samples": ("an axis left out",),
    "is dy clipped": (),
    "groups in the wrong order": ("an index dropped", "a constant"),
    "a mean, or a sum, over it wrong or left out": (
        *PART,
        "a term dropped",
        "a mean dropped",
        "a sum dropped",
        "mean for sum",
        "sum for mean",
        "an axis left out",
        "a sign",
        "a factor",
    ),
    "what a step passes back": ("a factor", "a sign"),
}


def by_cause(kind, said):
    """Whether the hint is true of a change of this kind."""
    return any(re.search(pattern, said) and kind in kinds for pattern, kinds in CLAIMS.items())


# -------------------------------------------------------------------------------------------------------------- by effect


class Effect(NamedTuple):
    """An array's gradients, of all outputs: wrong and right, (outputs, *shape of the array).

    outputs: the shape of y. samples: in the batch. others: the right gradients of the other arrays. of_dy: the wrong gradient
    as a function of dy, which need not be linear.
    """

    wrong: np.ndarray
    right: np.ndarray
    outputs: tuple
    samples: int
    others: dict
    of_dy: object

    def gives(self, made):
        """Whether the wrong gradient is this one."""
        return made.shape == self.wrong.shape and self.alike(self.wrong, made)

    @property
    def tiny(self):
        return 1e-9 * float(np.abs(self.right).max(initial=0))

    @property
    def scaled(self):
        """Whether the wrong gradient is the right one, times one number."""
        return self.gives(self.right * float((self.wrong * self.right).sum() / max((self.right**2).sum(), 1e-300)))

    @property
    def rows(self):
        """wrong and right, as matrices: a row for each output."""
        return self.wrong.reshape(len(self.wrong), -1), self.right.reshape(len(self.right), -1)

    def scaled_along(self, axis):
        """Whether each output's gradient is the right one times a number of its own (axis 1), or each entry (axis 0)."""
        wrong, right = self.rows
        factors = (wrong * right).sum(axis, keepdims=True) / np.maximum((right**2).sum(axis, keepdims=True), 1e-300)
        return self.gives((factors * right).reshape(self.wrong.shape))

    def swapped(self):
        """The right gradient with two axes of the array swapped, or an axis of the outputs and one of the array."""
        full = self.right.reshape(*self.outputs, *self.right.shape[1:])
        ours = range(len(self.outputs), full.ndim)
        for one in range(full.ndim):
            for other in ours:
                if one < other and full.shape[one] == full.shape[other]:
                    yield np.swapaxes(full, one, other).reshape(self.right.shape)

    def moved(self, move):
        """The right gradient, moved along each axis of the outputs and of the array."""
        full = self.right.reshape(*self.outputs, *self.right.shape[1:])
        for axis in range(full.ndim):
            for shift in (1, -1):
                yield move(full, shift, axis).reshape(self.right.shape)

    def rolled(self):
        """The right gradient with the outputs moved along any of their axes."""
        full = self.right.reshape(*self.outputs, *self.right.shape[1:])
        for axis, size in enumerate(self.outputs):
            for shift in range(1, size):
                yield np.roll(full, shift, axis).reshape(self.right.shape)

    def off_by_the_same(self):
        """Whether the error is the same along an axis of the array."""
        off = self.wrong - self.right
        return any(self.alike(off, np.take(off, [0], axis)) for axis in range(1, off.ndim) if off.shape[axis] > 1)

    @property
    def holes(self):
        """Whether the wrong gradient is the right one with some numbers left out."""
        return self.gives(np.where(np.abs(self.wrong) <= self.tiny, 0, self.right))

    @property
    def support(self):
        """Where wrong and right are not 0."""
        return np.abs(self.wrong) > self.tiny, np.abs(self.right) > self.tiny

    def degree(self, power):
        """Whether twice the dy gives 2 to this power times the gradient, and minus the dy the same or minus the gradient."""
        dy = np.random.default_rng(11).normal(size=self.outputs)
        twice, minus = (self.of_dy(factor * dy) for factor in (2, -1))
        return self.alike(twice, 2**power * self.of_dy(dy)) and self.alike(minus, (-1) ** power * self.of_dy(dy))

    def additive(self):
        """Whether the gradients of two dys, apart from what does not depend on dy, add up to that of their sum."""
        one, other = np.random.default_rng(12).normal(size=(2, *self.outputs))
        return self.alike(self.of_dy(one + other) + self.of_dy(0 * one), self.of_dy(one) + self.of_dy(other))

    def constant(self):
        """Whether there is something that does not depend on dy."""
        return not self.alike(self.of_dy(np.zeros(self.outputs)), np.zeros(self.right.shape[1:]))

    def alike(self, one, other):
        return bool(np.allclose(one, other, rtol=1e-6, atol=self.tiny))


def _diagonal(effect):
    wrong, right = effect.rows
    apart = ~np.eye(len(wrong), wrong.shape[1], dtype=bool)
    return wrong[apart], right[apart]


def _of_samples(effect):
    """wrong and right: the parts of dx that come from the dy of the same sample, and those from others'."""
    wrong, right = (
        one.reshape(effect.samples, -1, effect.samples, one[0].size // effect.samples) for one in effect.rows
    )
    same = np.eye(effect.samples, dtype=bool)[:, None, :, None] & np.ones(wrong.shape, bool)
    return wrong[same], right[same], wrong[~same], right[~same]


def _mixes_samples(effect):
    own, right, others, none = _of_samples(effect)
    return bool(np.allclose(own, right, atol=effect.tiny) and others.any() and not none.any())


def _in_other_places(effect):
    wrong, right = (np.sort(np.abs(one), axis=1) for one in effect.rows)
    off = (np.abs(effect.rows[0] - effect.rows[1]) > effect.tiny).any(axis=1)
    return bool((np.abs(wrong - right) <= effect.tiny).all(axis=1)[off].mean() > 0.5)


def _coupled(effect):
    wrong, right = _diagonal(effect)
    return not wrong.any() and bool(right.any())


def _own_part(effect):
    wrong, right = _diagonal(effect)
    return bool(np.allclose(wrong, right, atol=effect.tiny))


# What a hint says → whether that is so.
EFFECTS = {
    "the sign is wrong": lambda e, _: e.gives(-e.right),
    "twice too large": lambda e, _: e.gives(2 * e.right),
    "half as large": lambda e, _: e.gives(e.right / 2),
    "too large, the number of samples": lambda e, _: e.gives(e.samples * e.right),
    "too small, the number of samples": lambda e, _: e.gives(e.right / e.samples),
    "a constant factor": lambda e, said: e.scaled,
    "it is 0 everywhere": lambda e, _: not e.wrong.any(),
    "it is the same for every dy": lambda e, _: e.degree(0),
    "grows with the square of dy": lambda e, _: e.degree(2),
    "depends on the signs of dy": lambda e, _: not e.degree(1) and not e.constant(),
    "something is added that does not depend on dy": lambda e, _: e.constant() and e.additive(),
    "not linear in dy": lambda e, _: not (e.degree(1) and e.additive()),
    "transposed": lambda e, _: any(map(e.gives, e.swapped())),
    "it is the gradient of": lambda e, said: e.gives(e.others[said.rstrip(".").rpartition(" ")[2]]),
    "reversed along": lambda e, _: any(e.gives(one) for one in e.moved(lambda a, _, axis: np.flip(a, axis))),
    "a place off": lambda e, _: any(e.gives(one) for one in e.moved(np.roll)),
    "only the (last|first)": lambda e, _: e.holes,
    "(is|are) left out: does a loop": lambda e, _: e.holes,
    "a part of the sum is missing": lambda e, _: e.holes,
    "mask .* not applied": lambda e, _: e.gives(np.where(e.support[1], e.right, e.wrong)),
    "missing or misplaced": lambda e, _: bool((e.support[0] != e.support[1]).any()),
    "each output's part is off": lambda e, _: e.scaled_along(1),
    "each entry is off": lambda e, _: e.scaled_along(0),
    "what a step passes back": lambda e, _: e.scaled_along(0),
    "is dy clipped": lambda e, _: not e.degree(1) and not e.degree(0),
    "groups in the wrong order": lambda e, _: any(e.gives(one) for one in e.rolled()),
    "a mean, or a sum, over it wrong or left out": lambda e, _: e.off_by_the_same(),
    "own output is wrong": lambda e, _: _own_part(e),
    "they are coupled": lambda e, _: _coupled(e),
    "of other samples": lambda e, _: _mixes_samples(e),
    "in the wrong places": lambda e, _: _in_other_places(e),
    "does forward use it": lambda e, _: not e.right.any(),
}


def by_effect(effect, said):
    """Whether what is said of the array is so."""
    try:
        return any(test(effect, said) for pattern, test in EFFECTS.items() if re.search(pattern, said))
    except (KeyError, ValueError):  # an array or a shape that the hint does not fit
        return False
