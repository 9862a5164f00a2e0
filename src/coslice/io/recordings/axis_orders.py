"""Which axis is which: views (v), rows (r), columns (c).

Laboratories keep stacks of images (v, r, c), stacks of sinograms (r, v, c) and, in MATLAB, (r, c, v). Three numbers
cannot tell these apart, but a geometry can: it knows how many views, rows and columns there are. An order is a text
with one letter per axis of the file, outermost first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np

from coslice.errors import CosliceError
from coslice.io.recordings.stored import sides

__all__ = ["Shape", "arranged", "checked_order", "laid_out", "three_axes"]

Shape = tuple[int | None, int | None, int | None]
"""(views, rows, columns), None where it is not known."""

_WORDS = {"v": "views", "r": "rows", "c": "columns"}
# A single image is one view; lines of one row are a sinogram only where somebody says so.
_ORDERS = {1: ("c",), 2: ("rc", "vc", "cr", "cv"), 3: ("vrc", "rvc", "rcv", "vcr", "crv", "cvr")}


def checked_order(order: str, what: str, ndim: int) -> str:
    """`order`, one letter for each of `ndim` axes; three letters for one image lose their v.

    Raises:
        CosliceError: it is no order of views, rows and columns, or not of so many axes.
    """
    letters = "".join(letter for letter in order.lower() if letter not in " ,-")
    if ndim == 2 and sorted(letters) == sorted("vrc"):
        letters = letters.replace("v", "")
    if letters in _ORDERS.get(ndim, ()):
        return letters
    if tuple(letters) in permutations("vrc") or letters in _ORDERS[2]:
        raise CosliceError(f"The order {order!r} has {len(letters)} axes, but {what} has {ndim}; give one letter each.")
    raise CosliceError(
        f"The order {order!r} was given for {what}, but an order names views (v), rows (r) and columns (c), outermost "
        'first: "vrc" for a stack of images, "rvc" for a stack of sinograms, "vc" for one sinogram.'
    )


def three_axes(array: np.ndarray, what: str) -> np.ndarray:
    """`array` with at most three axes; of more, those of length 1 are left out.

    Raises:
        CosliceError: more than three axes are longer than 1, or there are fewer than two.
    """
    while array.ndim > 3 and 1 in array.shape:
        array = array.squeeze(array.shape.index(1))
    if array.ndim not in (2, 3):
        raise CosliceError(
            f"{what} is {sides(array.shape) or 'one value'}, but projections are views x rows x columns; "
            "choose or save three axes of it."
        )
    return array


def laid_out(array: np.ndarray, order: str) -> np.ndarray:
    """`array`, whose axes are `order`, as (views, rows, columns); an axis it lacks has length 1."""
    moved = array.transpose([order.index(letter) for letter in "vrc" if letter in order])
    return moved[tuple(slice(None) if letter in order else np.newaxis for letter in "vrc")]


def arranged(
    array: np.ndarray, what: str, shape: Shape | None, preferred: Sequence[str] = ()
) -> tuple[str | None, tuple[str, ...]]:
    """The order of the axes of `array` and the sentence that says it, where it is not the usual one.

    The first of `preferred` and of the usual order (v, r, c; one image: r, c) that fits `shape` is taken without a
    word, else the only other one that fits, with a word. None fits: None.

    Raises:
        CosliceError: several unusual orders fit.
    """
    orders = _ORDERS[array.ndim]
    usual = [order for order in (*preferred, orders[0]) if order in orders]
    shape = shape or (None, None, None)
    for order in usual:
        if _fits(laid_out(array, order).shape, shape):
            return order, ()
    found = {}
    for order in orders:
        if _fits(laid_out(array, order).shape, shape):
            # Orders that differ in axes of length 1 alone are one.
            found.setdefault(tuple((a, n) for a, n in zip(order, array.shape, strict=True) if n > 1), order)
    if not found:
        return None, ()
    wanted = ", ".join(f"{n} {_WORDS[a]}" for a, n in zip("vrc", shape, strict=True) if n is not None)
    if len(found) > 1:
        raise CosliceError(
            f"{what} is {sides(array.shape)}, and {wanted} fit it as "
            f"{' and as '.join(_in_words(order) for order in found.values())}; say which by its order: "
            f"{' or '.join(found.values())}."
        )
    (order,) = found.values()
    return order, (
        f"{what} is {sides(array.shape)}; with {wanted} that can only be {_in_words(order)}, so it was read in that "
        f'order, "{order}".',
    )


def _fits(found: Sequence[int], shape: Shape) -> bool:
    return all(wanted in (None, side) for wanted, side in zip(shape, found, strict=True))


def _in_words(order: str) -> str:
    return f"({', '.join(_WORDS[letter] for letter in order)})"
