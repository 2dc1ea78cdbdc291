"""In-context regression: a prompt shows examples of its own unknown function and asks for one more value."""

from __future__ import annotations

__all__ = ["in_context_regression"]

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_boolean, check_choice, check_integer, check_memory, check_nonnegative, check_rng
from wflow.datasets.dataset import Dataset
from wflow.types import NonNegativeFloat, PositiveInt

Floats = NDArray[np.float64]
Teacher = Literal["linear", "tanh", "relu"]

# Activation and the variance of an outer weight times the width. With it a ReLU teacher has variance one.
_NETWORKS: dict[str, tuple[Callable[[Floats], Floats], float]] = {
    "tanh": (np.tanh, 1.0),
    "relu": (lambda x: np.maximum(x, 0.0), 2.0),
}


def in_context_regression(
    n_prompts: PositiveInt,
    dimension: PositiveInt,
    context: PositiveInt,
    rng: np.random.Generator | int,
    *,
    teacher: Teacher = "linear",
    width: PositiveInt = 16,
    positions: bool = True,
    noise: NonNegativeFloat = 0.0,
) -> Dataset:
    """Prompts of in-context regression with a fresh random teacher in each.

    A prompt has ``n = N + 1`` columns ``(x_i; y_i; e_i)``, ``i = 0, ..., N``, with ``x_i ~ N(0, I_d)`` and
    ``y_i = g(x_i) + noise * xi_i``, ``xi_i ~ N(0, 1)``. The teacher ``g`` is drawn anew for every prompt:

    * ``"linear"``: ``g(x) = <beta, x>`` with ``beta ~ N(0, I_d / d)``;
    * ``"tanh"``, ``"relu"``: ``g(x) = sum_k a_k act(<b_k, x>)``, ``k = 1, ..., width``, with
      ``b_k ~ N(0, I_d / d)`` and ``a_k ~ N(0, c / width)``, where c = 1 for tanh and 2 for ReLU.

    The mean square of ``g(x)`` is 1 for linear and ReLU teachers and between 0 and 1 for tanh. The label of
    the query, ``y_N``, is hidden: its entry of the prompt is 0, and the label of the prompt is ``y_N``.

    Rows of a prompt:

    ========= =============================================================
    row       content
    ========= =============================================================
    0 .. d-1  ``x_i``
    d         ``y_i``, and 0 in the last column; the readout is entry (d, N)
    d+1       ones, so that layers without a bias have one
    d+2       indicator of the query: 1 in the last column, 0 elsewhere
    ========= =============================================================

    Parameters
    ----------
    n_prompts
        B, the number of prompts.
    dimension
        d, the dimension of ``x_i``.
    context
        N, the number of labelled examples before the query.
    rng
        Generator or integer seed; a generator is advanced.
    teacher
        The law of the teachers.
    width
        Hidden units of a nonlinear teacher; a linear one has none.
    positions
        Whether the last two rows are there: ``D = d + 3`` with them, ``D = d + 1`` without.
    noise
        Standard deviation of the label noise, which the query's label has too: no predictor has a risk below
        ``noise**2 / 2``.

    Returns
    -------
    Dataset
        Tokens (B, D, N+1), labels (B,), readout (d, N); all dimensionless.

    Raises
    ------
    InputError
        A number that is not a positive integer, negative noise, an unknown teacher, positions that are not
        True or False, no generator or seed.

    References
    ----------
    Gao et al., NeurIPS 2024, arXiv 2410.23610 (the format of the prompts); Garg et al., NeurIPS 2022,
    arXiv 2208.01066 (linear and network teachers).

    Examples
    --------
    >>> data = in_context_regression(8, dimension=3, context=5, rng=0)
    >>> data.tokens.shape, data.labels.shape
    ((8, 6, 6), (8,))
    >>> data.tokens[0, 4:]
    array([[1., 1., 1., 1., 1., 1.],
           [0., 0., 0., 0., 0., 1.]])
    """
    n_prompts = check_integer("n_prompts", n_prompts)
    dimension = check_integer("dimension", dimension)
    n_tokens = check_integer("context", context) + 1
    width = check_integer("width", width)
    generator = check_rng(rng)
    noise, positions = check_nonnegative("noise", noise), check_boolean("positions", positions)
    check_choice("teacher", teacher, get_args(Teacher))
    numbers = 3 * (dimension + 3) * n_tokens + width * (dimension + n_tokens) * (teacher != "linear")
    check_memory(f"{n_prompts} prompts", 8 * n_prompts * numbers, "draw fewer, of smaller dimension and context")
    x = generator.standard_normal((n_prompts, dimension, n_tokens))
    if teacher == "linear":
        beta = generator.standard_normal((n_prompts, 1, dimension)) / np.sqrt(dimension)
        y = (beta @ x)[:, 0]
    else:
        activation, gain = _NETWORKS[teacher]
        inner = generator.standard_normal((n_prompts, width, dimension)) / np.sqrt(dimension)
        outer = generator.standard_normal((n_prompts, 1, width)) * np.sqrt(gain / width)
        y = (outer @ activation(inner @ x))[:, 0]
    y = y + noise * generator.standard_normal(y.shape)
    return regression_prompts(x, y, positions, f"in-context regression ({teacher})")


def regression_prompts(x: Floats, y: Floats, positions: bool, name: str) -> Dataset:
    """Prompts from inputs (B, d, n) and values (B, n): the last value of each becomes the hidden label.

    Examples
    --------
    >>> data = regression_prompts(np.array([[[2.0, 3.0]]]), np.array([[5.0, 7.0]]), True, "two points")
    >>> data.tokens[0]
    array([[2., 3.],
           [5., 0.],
           [1., 1.],
           [0., 1.]])
    >>> data.labels
    array([7.])
    """
    n_prompts, d, n_tokens = x.shape
    tokens = np.zeros((n_prompts, d + 3 if positions else d + 1, n_tokens))
    tokens[:, :d] = x
    tokens[:, d, :-1] = y[:, :-1]
    if positions:
        tokens[:, d + 1] = 1.0
        tokens[:, d + 2, -1] = 1.0
    return Dataset(tokens, y[:, -1], readout=(d, n_tokens - 1), name=name)
