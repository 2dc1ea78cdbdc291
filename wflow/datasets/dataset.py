"""A data set: prompts, labels and the linear readout that turns tokens into predictions."""

from __future__ import annotations

__all__ = ["Dataset"]

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wflow.checks import check_array, check_fraction, check_index, check_rng, check_text, shown
from wflow.errors import InputError
from wflow.measures.measure import frozen_again
from wflow.plain import register
from wflow.types import Fraction


@dataclass(frozen=True, eq=False, init=False)
class Dataset:
    """The data law ``mu``: the empirical law of B prompts with their labels.

    A prompt is a matrix of ``n`` token columns of dimension ``D``. The prediction of a Transformer with final
    tokens ``T`` is ``Read T``, a bounded linear readout, and the risk is
    ``R = mean_b 1/2 |Read T_b - y_b|^2``, summed over the K labels (Gao et al. 2024, section 2); a
    :class:`~wflow.TransformerObjective` may take another loss.

    Parameters
    ----------
    tokens
        The prompts, shape (B, D, n), dimensionless.
    labels
        The labels, shape (B,) for one label a prompt or (B, K); or, where K >= 2 predictions are read, the classes of
        the prompts, (B,) integers 0, ..., K-1, which stand for the rows of the identity.
    readout
        One entry ``(row, column)`` of the final tokens (0-based, negative from the end), or K such pairs, or
        an array of shape (K, D, n) whose inner products with the tokens are the predictions.
    name
        What figures and files call it.

    Raises
    ------
    InputError
        Wrong shapes, entries that are not finite, a readout outside the tokens or of another K than the labels, and
        classes that are no integers 0, ..., K-1.

    Examples
    --------
    >>> data = Dataset(np.zeros((4, 3, 2)), [1.0, -1.0, 1.0, -1.0], readout=(1, -1))
    >>> data.risk(data.read(data.tokens))
    0.5
    >>> Dataset(np.zeros((2, 3, 2)), [2, 0], readout=[(0, -1), (1, -1), (2, -1)]).targets
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """

    tokens: NDArray[np.float64]
    labels: NDArray[np.float64]
    readout: NDArray[np.float64]
    name: str = field(default="data")

    def __init__(self, tokens: ArrayLike, labels: ArrayLike, readout: ArrayLike = (-1, -1), name: str = "data") -> None:
        tokens = check_array("tokens", tokens, 3, "(B, D, n)").astype(np.float64)
        if 0 in tokens.shape:
            raise InputError(f"tokens must have at least one prompt, row and column, got shape {tokens.shape}")
        labels = check_array("labels", labels, (1, 2), "(B,) or (B, K)").astype(np.float64)
        if len(labels) != len(tokens):
            raise InputError(f"labels must have one entry a prompt: got {len(labels)} labels for {len(tokens)} prompts")
        if labels.ndim == 2 and labels.shape[1] == 0:
            raise InputError("labels must have at least one column, got shape " + str(labels.shape))
        array = _readout_array(readout, tokens.shape[1], tokens.shape[2])
        K = len(array)
        if labels.ndim == 2 and labels.shape[1] != K:
            raise InputError(f"readout gives {K} predictions a prompt, but there are {labels.shape[1]} labels a prompt")
        if labels.ndim == 1 and K > 1 and (wrong := labels[~np.isin(labels, np.arange(K))]).size:
            raise InputError(
                f"readout gives {K} predictions a prompt: labels must have shape (B, {K}), or be the classes of the "
                f"prompts, integers from 0 to {K - 1}, got {wrong[0]:.6g}"
            )
        for key, value in (("tokens", tokens), ("labels", labels), ("readout", array)):
            value = np.ascontiguousarray(value)
            value.setflags(write=False)
            object.__setattr__(self, key, value)
        object.__setattr__(self, "name", check_text("name", name))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(frozen_again(state))

    @property
    def n_prompts(self) -> int:
        """B, the number of prompts."""
        return int(self.tokens.shape[0])

    @property
    def dimension(self) -> int:
        """D, the dimension of a token."""
        return int(self.tokens.shape[1])

    @property
    def n_tokens(self) -> int:
        """n = N + 1, the number of tokens of a prompt."""
        return int(self.tokens.shape[2])

    @property
    def n_labels(self) -> int:
        """K, the number of predictions of a prompt, and of its labels, or classes."""
        return int(self.readout.shape[0])

    @property
    def targets(self) -> NDArray[np.float64]:
        """What the predictions should be, shape (B, K): the labels, or the rows of the identity of their classes."""
        if self.labels.ndim == 1 and self.n_labels > 1:
            return np.eye(self.n_labels)[self.labels.astype(np.int64)]
        return self.labels.reshape(self.n_prompts, -1)

    @property
    def is_flat(self) -> bool:
        """Whether predictions have the shape (B,): there is one a prompt, and labels have one axis."""
        return self.labels.ndim == 1 and self.n_labels == 1

    def read(self, tokens: NDArray[Any]) -> NDArray[np.float64]:
        """Apply the readout to tokens (B, D, n): predictions (B, K), or (B,) where there is one for labels (B,)."""
        array = check_array("tokens", tokens, 3, "(B, D, n)", finite=False)
        if array.shape[1:] != self.tokens.shape[1:]:
            raise InputError(f"tokens must have shape (B, {self.dimension}, {self.n_tokens}), got shape {array.shape}")
        values = (
            array.reshape(-1, self.dimension * self.n_tokens).astype(np.float64)
            @ self.readout.reshape(self.n_labels, -1).T
        )
        return values[:, 0] if self.is_flat else values

    def risk(self, predictions: ArrayLike) -> float:
        """``mean_b 1/2 |prediction_b - label_b|^2``, summed over the K labels.

        Predictions have the shape (B, K); where there is one label a prompt, both (B,) and (B, 1) will do.

        Raises
        ------
        InputError
            For predictions of another shape.
        """
        values = self._predictions(predictions)
        residual = values - self.targets.reshape(values.shape)
        return float(0.5 * np.sum(residual**2) / self.n_prompts)

    def error_rate(self, predictions: ArrayLike) -> float:
        """The fraction of prompts on the wrong side: of zero for labels of +-1, largest entry for classes.

        Raises
        ------
        InputError
            For predictions of another shape (see :meth:`risk`), and labels that :meth:`check_classes` refuses.
        """
        self.check_classes()
        values = self._predictions(predictions)
        if self.n_labels == 1:
            return float(np.mean(np.sign(values) != self.labels))
        return float(np.mean(values.argmax(axis=1) != self.targets.argmax(axis=1)))

    def check_classes(self) -> None:
        """Raise :class:`InputError` unless the labels are -1 and +1, classes, or one-hot rows, whose zeros may be -1.

        Examples
        --------
        >>> Dataset(np.zeros((2, 1, 1)), [0.0, 1.0]).check_classes()
        Traceback (most recent call last):
        wflow.errors.InputError: an error rate needs labels of -1 and +1, got labels such as 0: of two classes
        a < b pass (2 * labels - a - b) / (b - a), of more one-hot labels, and watch the risk of other labels
        """
        if self.n_labels == 1:
            wrong = self.labels[np.abs(self.labels) != 1]
            if wrong.size:
                raise InputError(
                    f"an error rate needs labels of -1 and +1, got labels such as {wrong[0]:.6g}: of two classes a < b "
                    "pass (2 * labels - a - b) / (b - a), of more one-hot labels, and watch the risk of other labels"
                )
            return
        targets = self.targets
        off = targets[targets != 1]
        one = (targets == 1).sum(axis=1) == 1
        if not one.all() or (off != off[0]).any() or off[0] not in (0, -1):
            wrong = targets[one.argmin()]
            raise InputError(
                f"an error rate needs one-hot labels, one entry 1 in every row and the others 0 (or -1), got a row "
                f"{shown(wrong.tolist())}: pass numpy.eye(K)[classes], or watch the risk of labels that are no classes"
            )

    def _predictions(self, predictions: ArrayLike) -> NDArray[np.float64]:
        """Predictions (B,) or (B, K) in float64; not always finite."""
        array = check_array("predictions", predictions, (1, 2), "(B,) or (B, K)", finite=False)
        shape = (self.n_prompts,) if self.is_flat else (self.n_prompts, self.n_labels)
        if array.size != self.n_prompts * self.n_labels or len(array) != self.n_prompts:
            raise InputError(f"predictions must have shape {shape}, got {array.shape}")
        return array.astype(np.float64, copy=False).reshape(shape)

    def subset(self, index: ArrayLike, name: str | None = None) -> Dataset:
        """The data set of the prompts with these indices, or of those where a mask (B,) of booleans is true.

        Raises
        ------
        InputError
            For other indices than integers within the prompts, and for none.
        """
        chosen = check_index("index", index, self.n_prompts)
        return Dataset(self.tokens[chosen], self.labels[chosen], self.readout, self.name if name is None else name)

    def split(self, fraction: Fraction, rng: np.random.Generator | int) -> tuple[Dataset, Dataset]:
        """Hold out a random ``fraction`` of the prompts: (kept, held out); rng is a generator or a seed.

        Raises
        ------
        InputError
            Unless ``fraction`` leaves at least one prompt on either side.
        """
        rng, held = check_rng(rng), round(check_fraction("fraction", fraction) * self.n_prompts)
        if not 0 < held < self.n_prompts:
            raise InputError(f"fraction must leave prompts on both sides, got {fraction!r} of {self.n_prompts} prompts")
        order = rng.permutation(self.n_prompts)
        kept, out = np.sort(order[held:]), np.sort(order[:held])
        return self.subset(kept), self.subset(out, f"{self.name} (held out)")


register(Dataset)


def _readout_array(readout: Any, dimension: int, n_tokens: int) -> NDArray[np.float64]:
    """The readout as an array (K, D, n), from a pair, K pairs, or such an array."""
    array = check_array("readout", readout, (1, 2, 3), "(2,), (K, 2) or (K, D, n)").astype(np.float64)
    pairs = np.atleast_2d(np.asarray(readout))
    if pairs.ndim == 3:
        if array.shape[1:] != (dimension, n_tokens) or len(array) == 0:
            raise InputError(f"readout must have shape (K, {dimension}, {n_tokens}), got shape {array.shape}")
        return array
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.issubdtype(pairs.dtype, np.integer) or len(pairs) == 0:
        raise InputError(
            "readout must be a pair (row, column) of integers, K such pairs or an array (K, D, n), got "
            f"{shown(readout)}"
        )
    array = np.zeros((len(pairs), dimension, n_tokens))
    for k, (row, column) in enumerate(pairs.tolist()):
        if not (-dimension <= row < dimension and -n_tokens <= column < n_tokens):
            raise InputError(f"readout entry ({row}, {column}) is outside tokens of shape ({dimension}, {n_tokens})")
        array[k, row, column] = 1.0
    return array
