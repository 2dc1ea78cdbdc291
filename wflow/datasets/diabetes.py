"""In-context regression on real data: the diabetes table of Efron et al. (2004)."""

from __future__ import annotations

__all__ = ["diabetes"]

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_integer, check_memory, check_rng, did_you_mean, shown
from wflow.datasets.dataset import Dataset
from wflow.datasets.in_context import regression_prompts
from wflow.errors import InputError
from wflow.types import Names, PositiveInt


def diabetes(
    n_prompts: PositiveInt,
    context: PositiveInt,
    rng: np.random.Generator | int,
    features: Names | None = None,
    *,
    rows: Literal["all", "train", "heldout"] = "all",
) -> Dataset:
    """Prompts whose examples and query are patients of the diabetes table.

    A prompt has ``n = N + 1`` columns ``(x_i; y_i; 1; 1{i = N})``, the format of
    :func:`~wflow.datasets.in_context_regression`: ``x_i`` are the features of a patient and ``y_i`` is the
    progression of the disease after one year, hidden (0) in the last column. The patients of one prompt are
    distinct, drawn uniformly; different prompts share patients. Every column of the table is standardised,

        ``z = (v - mean v) / std v``, over all 442 rows,

    so that features and labels are dimensionless with mean 0 and variance 1 over the table.

    Parameters
    ----------
    n_prompts
        B, the number of prompts.
    context
        N, the number of labelled patients before the query.
    rng
        Generator or integer seed; a generator is advanced.
    features
        Names among age, sex, bmi, bp, s1, s2, s3, s4, s5, s6, in this order; all ten by default.
    rows
        Which patients: ``"all"`` 442, or those of a fixed split, the 88 ``"heldout"`` rows 4, 9, 14, ..., 439
        (0-based, every fifth) and the other 354 rows ``"train"``. Both are standardised over all 442 rows.

    Returns
    -------
    Dataset
        Tokens (B, d+3, N+1) with d features, labels (B,), readout (d, N).

    Raises
    ------
    InputError
        A number that is not a positive integer, a context that needs more patients than there are, an unknown
        feature or choice of rows, no generator or seed.

    References
    ----------
    Efron, Hastie, Johnstone and Tibshirani, "Least angle regression", Annals of Statistics 32 (2004) 407-499.
    The file and its origin are described in ``SOURCES.md`` beside this module.

    Examples
    --------
    >>> data = diabetes(100, context=20, rng=0, features=["bmi", "bp", "s5"], rows="train")
    >>> data.tokens.shape
    (100, 6, 21)
    """
    n_prompts = check_integer("n_prompts", n_prompts)
    n_tokens = check_integer("context", context) + 1
    generator = check_rng(rng)
    x, y, names = _table()
    x = x[:, _columns(features, names)]
    if not isinstance(rows, str) or rows not in ("all", "train", "heldout"):
        hint = did_you_mean(rows, ("all", "train", "heldout"))
        raise InputError(f"rows must be 'all', 'train' or 'heldout', got {shown(rows)}{hint}")
    patients = np.arange(len(y))
    if rows != "all":
        patients = patients[(patients % 5 == 4) == (rows == "heldout")]
    if n_tokens > len(patients):
        raise InputError(
            f"context must be at most {len(patients) - 1} for rows={rows!r} "
            f"({len(patients)} patients, one of them the query), got {n_tokens - 1}"
        )
    check_memory(f"{n_prompts} prompts", 24 * n_prompts * (x.shape[1] + 3) * n_tokens, "draw fewer")
    drawn = np.stack([generator.choice(patients, n_tokens, replace=False) for _ in range(n_prompts)])
    name = "diabetes" if rows == "all" else f"diabetes ({rows} rows)"
    return regression_prompts(x[drawn].transpose(0, 2, 1), y[drawn], True, name)


@cache
def _table() -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    """Standardised features (442, 10), standardised target (442,) and the names of the features."""
    with np.load(Path(__file__).with_name("diabetes.npz"), allow_pickle=False) as file:
        data, target, names = file["data"], file["target"], tuple(str(name) for name in file["features"])
    x = (data - data.mean(axis=0)) / data.std(axis=0)
    y = (target - target.mean()) / target.std()
    return x, y, names


def _columns(features: Sequence[str] | None, names: tuple[str, ...]) -> list[int]:
    """The columns of the table that the features name."""
    if features is None:
        return list(range(len(names)))
    if isinstance(features, str) or not isinstance(features, Sequence) or len(features) == 0:
        raise InputError(f"features must be a sequence of names such as ['bmi', 'bp'], got {shown(features)}")
    if unknown := [name for name in features if name not in names]:
        hint = did_you_mean(unknown[0], names)
        raise InputError(f"features has an unknown name {unknown[0]!r}; the names are {', '.join(names)}{hint}")
    if len(set(features)) < len(features):
        raise InputError(f"features must not repeat a name, got {list(features)!r}")
    return [names.index(name) for name in features]
