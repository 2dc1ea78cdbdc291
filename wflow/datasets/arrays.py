"""Data sets from files of arrays."""

from __future__ import annotations

__all__ = ["from_npz"]

import os
import zipfile
import zlib
from typing import Annotated

import numpy as np

from wflow.checks import check_path
from wflow.datasets.dataset import Dataset
from wflow.errors import InputError
from wflow.types import TEXT


def from_npz(path: Annotated[str | os.PathLike[str], TEXT]) -> Dataset:
    """Load a data set from a ``.npz`` file, as ``numpy.savez`` and ``numpy.savez_compressed`` write it.

    The file holds the arguments of :class:`~wflow.datasets.Dataset` by name, all dimensionless:

    ============= ======================================== ============================================
    array         shape                                    content
    ============= ======================================== ============================================
    ``tokens``    (B, D, n)                                the prompts
    ``labels``    (B,) or (B, K)                           the labels
    ``readout``   (2,), (K, 2) integers, or (K, D, n)      optional; the last entry (-1, -1) without it
    ============= ======================================== ============================================

    Another array is an error, so that a misspelt ``readout`` is not overlooked. Nothing in the file is
    executed: pickled objects are refused. The data set is named after the file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Dataset
        With predictions ``Read T`` and risk ``mean_b 1/2 |Read T_b - y_b|^2`` (Gao et al., NeurIPS 2024,
        arXiv 2410.23610, section 2).

    Raises
    ------
    InputError
        No such file, not a readable ``.npz`` file, arrays missing or unknown, or arrays that do not make a
        data set.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "mine.npz"
    ...     np.savez(file, tokens=np.zeros((4, 3, 2)), labels=np.ones(4), readout=(1, -1))
    ...     data = from_npz(file)
    >>> data.name, data.tokens.shape
    ('mine', (4, 3, 2))
    """
    path = check_path("path", path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the path of an .npz file")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: not an .npz file; write it by numpy.savez(path, tokens=..., labels=...)")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: cannot be read as arrays of numbers ({error}); write it again") from None
    there = ", ".join(sorted(arrays)) or "none"
    missing = [name for name in ("tokens", "labels") if name not in arrays]
    if missing:
        raise InputError(f"{path}: no array {' and no array '.join(missing)}; the arrays there are: {there}")
    unknown = sorted(set(arrays) - {"tokens", "labels", "readout"})
    if unknown:
        raise InputError(
            f"{path}: unknown array {unknown[0]}; expected tokens, labels and possibly readout, "
            f"the arrays there are: {there}"
        )
    try:
        return Dataset(arrays["tokens"], arrays["labels"], arrays.get("readout", (-1, -1)), path.stem)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
