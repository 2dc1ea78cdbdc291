"""CIFAR-10 (Krizhevsky 2009) from a local copy of its Python batches, as prompts.

The copy is the folder that ``cifar-10-python.tar.gz`` unpacks to. It is looked for where the environment variable
``CIFAR10`` says, then in ``data/cifar-10-batches-py``; nothing is ever downloaded.
"""

from __future__ import annotations

__all__ = ["cifar_folder", "cifar_prompts", "read_cifar"]

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow import Dataset

#: What a batch is made of; anything else in the file is refused.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _Batches(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise ValueError(f"a CIFAR-10 batch has arrays and numbers only, got {module}.{name}")
        return super().find_class(module, name)


def cifar_folder() -> Path | None:
    """The folder of a local copy, None if there is none."""
    given = os.environ.get("CIFAR10")
    folder = Path(given) if given else Path(__file__).resolve().parents[1] / "data" / "cifar-10-batches-py"
    return folder if (folder / "data_batch_1").is_file() else None


def read_cifar(folder: Path, batches: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Training images (n, 3, 32, 32), red, green, blue, and their classes (n,) from the first batches of a copy."""
    images, classes = [], []
    for i in range(1, batches + 1):
        with (folder / f"data_batch_{i}").open("rb") as file:
            batch = _Batches(file, encoding="bytes").load()
        data, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
        if data.dtype != np.uint8 or data.shape != (len(labels), 3072):
            raise ValueError(f"{file.name}: data must be uint8 of shape ({len(labels)}, 3072), got {data.shape}")
        images.append(data.reshape(-1, 3, 32, 32))
        classes.append(labels.astype(np.int64))
    return np.concatenate(images), np.concatenate(classes)


def cifar_prompts(images: NDArray[np.uint8], classes: NDArray[np.int64]) -> Dataset:
    """Images of 8 x 8 means in four patches and a class token, with one-hot labels.

    Rows: 48 values between -1 and 1 (colour, row, column), 10 read rows, ones, indicator of the class token, and the
    vertical and horizontal coordinate of the patch; the digits of ``wflow.datasets`` have the same.
    """
    n = len(images)
    small = images.reshape(n, 3, 8, 4, 8, 4).mean(axis=(3, 5)) / 127.5 - 1
    patches = small.reshape(n, 3, 2, 4, 2, 4).transpose(0, 1, 3, 5, 2, 4).reshape(n, 48, 4)
    tokens = np.zeros((n, 62, 5))
    tokens[:, :48, :4] = patches
    tokens[:, 58], tokens[:, 59, 4] = 1, 1
    tokens[:, 60, :4], tokens[:, 61, :4] = np.repeat([-0.5, 0.5], 2), np.tile([-0.5, 0.5], 2)
    return Dataset(tokens, np.eye(10)[classes], [(48 + k, 4) for k in range(10)], "CIFAR-10")
