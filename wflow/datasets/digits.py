"""Images as prompts: the 1,797 handwritten digits of the UCI test set, cut into patches."""

from __future__ import annotations

__all__ = ["digits"]

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_fraction, check_rng, did_you_mean, is_integer, shown
from wflow.datasets.dataset import Dataset
from wflow.errors import InputError
from wflow.types import Fraction, Values, list_of

_SIDE = 8

_integers = list_of(lambda value: type(value) is int)

Classes = Annotated[
    Sequence[int] | Literal["all"],
    Values("a list of digits, or 'all'", lambda value: value == "all" or _integers(value), ("all",)),
]
Patch = Annotated[
    tuple[int, int],
    Values("a pair [height, width] of integers", lambda value: _integers(value) and len(value) == 2),
]
Positions = Literal["coordinates", "onehot"]
Seed = np.random.Generator | int


@overload
def digits(
    classes: Classes = ..., *, patch: Patch = ..., positions: Positions = ..., heldout: None = None, rng: Seed = ...
) -> Dataset: ...
@overload
def digits(
    classes: Classes = ..., *, patch: Patch = ..., positions: Positions = ..., heldout: Fraction, rng: Seed = ...
) -> tuple[Dataset, Dataset]: ...
def digits(
    classes: Classes = (4, 9),
    *,
    patch: Patch = (2, 2),
    positions: Positions = "coordinates",
    heldout: Fraction | None = None,
    rng: Seed = 0,
) -> Dataset | tuple[Dataset, Dataset]:
    """Classification of 8x8 images of handwritten digits; a token is a patch of the image.

    With patches of ``h x w`` pixels there are ``N = 64 / (h w)`` patch tokens, in the order of reading (along
    the rows of patches), and one class token after them, the last column, where the prediction is read. Grey
    values ``g = 0, ..., 16`` become ``g / 8 - 1``, between -1 (paper) and 1 (ink).

    Rows of a prompt, with P = h w pixels a patch and K read rows (1 for two classes, else one a class):

    =============== ======================================================================
    row             content
    =============== ======================================================================
    0 .. P-1        pixels of the patch along its rows; 0 in the class token
    P .. P+K-1      read rows: 0; the readouts are entries (P+k, N)
    P+K             ones, so that layers without a bias have one
    P+K+1           indicator of the class token: 1 in the last column, 0 elsewhere
    P+K+2 ..        positions; 0 in the class token
    =============== ======================================================================

    Positions are two rows, ``"coordinates"``, the vertical (downwards) and horizontal coordinate of the
    centre of the patch in an image that fills [-1, 1] x [-1, 1]; or N rows, ``"onehot"``, row j the indicator
    of patch j.

    Two classes have the labels -1 (the first) and +1 (the second), K > 2 classes the rows of the identity.

    Parameters
    ----------
    classes
        The digits to tell apart, two or more, in the order of their labels, or ``"all"`` for 0, ..., 9.
    patch
        Height and width of a patch in pixels, each a divisor of 8.
    positions
        ``"coordinates"`` or ``"onehot"``.
    heldout
        Fraction of each class to hold out, rounded to whole images: 0.2 is a fifth. The choice is by image,
        not by writer, and that of a digit does not depend on the other classes.
    rng
        Generator or integer seed of the choice of held-out images, unused without ``heldout``.

    Returns
    -------
    Dataset or (Dataset, Dataset)
        Tokens (B, D, N+1) with D = P + K + 2 + the number of position rows, labels (B,) or (B, K), all
        dimensionless, in the order of the file. With ``heldout`` the pair (training, held out).

    Raises
    ------
    InputError
        Fewer than two classes, a class twice or outside 0, ..., 9, a patch that does not tile the image,
        unknown positions, a fraction that empties a class on one side, no generator or seed.

    References
    ----------
    Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
    doi:10.24432/C50P49. The file and its origin are described in ``SOURCES.md`` beside this module.

    Examples
    --------
    >>> data = digits((4, 9))
    >>> data.tokens.shape
    (361, 9, 17)
    >>> train, test = digits("all", patch=(1, 8), positions="onehot", heldout=0.2)
    >>> train.tokens.shape, test.tokens.shape, test.labels.shape
    ((1438, 28, 9), (359, 28, 9), (359, 10))
    """
    chosen = _check_classes(classes)
    height, width = _check_patch(patch)
    if not isinstance(positions, str) or positions not in ("coordinates", "onehot"):
        hint = did_you_mean(positions, ("coordinates", "onehot"))
        raise InputError(f"positions must be 'coordinates' or 'onehot', got {shown(positions)}{hint}")
    images, digit = _images()
    index = np.flatnonzero(np.isin(digit, chosen))
    labels: NDArray[np.float64] = (digit[index, None] == chosen).astype(np.float64)
    if len(chosen) == 2:
        labels = labels[:, 1] - labels[:, 0]
    tokens, readout = _tokens(images[index], height, width, len(chosen), positions)
    name = "digits " + (f"{chosen[0]} and {chosen[1]}" if len(chosen) == 2 else ", ".join(map(str, chosen)))
    data = Dataset(tokens, labels, readout, "digits" if chosen == list(range(10)) else name)
    if heldout is None:
        return data
    out = np.isin(index, _held_out(digit, chosen, heldout, check_rng(rng)))
    return data.subset(~out), data.subset(out, f"{data.name} (held out)")


@cache
def _images() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (1797, 8, 8) with grey values 0, ..., 16, and their digits (1797,)."""
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
        return file["images"], file["labels"]


def _tokens(
    images: NDArray[np.uint8], height: int, width: int, n_classes: int, positions: str
) -> tuple[NDArray[np.float64], list[tuple[int, int]]]:
    """Tokens (B, D, N+1) of the images in the rows that :func:`digits` lists, and the readout entries."""
    down, across = _SIDE // height, _SIDE // width
    n_patches, n_pixels, n_read = down * across, height * width, 1 if n_classes == 2 else n_classes
    patches = images.reshape(-1, down, height, across, width).transpose(0, 2, 4, 1, 3)
    if positions == "onehot":
        where = np.eye(n_patches)
    else:
        vertical, horizontal = np.divmod(np.arange(n_patches), across)
        where = np.stack([(2 * vertical + 1) / down - 1, (2 * horizontal + 1) / across - 1])
    first = n_pixels + n_read
    tokens = np.zeros((len(images), first + 2 + len(where), n_patches + 1))
    tokens[:, :n_pixels, :-1] = patches.reshape(-1, n_pixels, n_patches) / 8.0 - 1.0
    tokens[:, first] = 1.0
    tokens[:, first + 1, -1] = 1.0
    tokens[:, first + 2 :, :-1] = where
    return tokens, [(n_pixels + k, n_patches) for k in range(n_read)]


def _held_out(digit: NDArray[np.uint8], chosen: list[int], fraction: Any, rng: np.random.Generator) -> NDArray[np.intp]:
    """Indices of the held-out images: of each digit the first ones in one random order of the file."""
    share, order = check_fraction("heldout", fraction), rng.permutation(len(digit))
    held = []
    for label in chosen:
        images = order[digit[order] == label]
        count = round(share * len(images))
        if not 0 < count < len(images):
            raise InputError(
                "heldout must be a fraction between 0 and 1 that leaves images of every class on both sides, "
                f"such as 0.2, got {shown(fraction)}"
            )
        held.append(images[:count])
    return np.concatenate(held)


def _check_classes(classes: Any) -> list[int]:
    """The classes as a list of digits."""
    if isinstance(classes, str) and classes == "all":
        return list(range(10))
    # A set has no order, and the order gives the labels.
    ordered = isinstance(classes, Sequence) or (isinstance(classes, np.ndarray) and classes.ndim == 1)
    chosen = [int(d) if is_integer(d) else -1 for d in classes] if ordered else []
    if len(chosen) < 2 or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(10)):
        raise InputError(
            "classes must be 'all' or two or more different digits between 0 and 9, such as (4, 9), "
            f"got {shown(classes)}"
        )
    return chosen


def _check_patch(patch: Any) -> tuple[int, int]:
    """Height and width of a patch."""
    try:
        height, width = (int(size) if is_integer(size) else 0 for size in patch)
    except (TypeError, ValueError):
        height = width = 0
    if not all(size > 0 and _SIDE % size == 0 for size in (height, width)):
        raise InputError(
            f"patch must be (height, width) in pixels that divide 8 (1, 2, 4 or 8), such as (2, 2), got {shown(patch)}"
        )
    return height, width
