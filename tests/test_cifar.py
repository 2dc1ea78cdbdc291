"""CIFAR-10 from a file in the format of its Python batches."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from validation.cifar import cifar_folder, cifar_prompts, read_cifar


def write(folder: Path, count: int = 12) -> np.ndarray:
    """A batch of random images of the classes 0, 1, ..., 9, 0, 1, ... under keys of bytes."""
    data = np.random.default_rng(0).integers(0, 256, (count, 3072), dtype=np.uint8)
    batch = {b"data": data, b"labels": [i % 10 for i in range(count)], b"batch_label": b"training batch 1 of 5"}
    with (folder / "data_batch_1").open("wb") as file:
        pickle.dump(batch, file, protocol=2)
    return data


def test_images_and_classes(tmp_path: Path) -> None:
    data = write(tmp_path)
    images, classes = read_cifar(tmp_path)
    assert images.shape == (12, 3, 32, 32) and classes.tolist() == [*range(10), 0, 1]
    assert images[3, 1, 5, 7] == data[3, 1024 + 5 * 32 + 7]  # green, row 5, column 7


def test_prompts(tmp_path: Path) -> None:
    write(tmp_path)
    images, classes = read_cifar(tmp_path)
    data = cifar_prompts(images, classes)
    assert data.tokens.shape == (12, 62, 5) and data.labels.shape == (12, 10)
    assert data.tokens[4, 16 * 2 + 4 * 1 + 3, 2] == pytest.approx(images[4, 2, 20:24, 12:16].mean() / 127.5 - 1)
    assert np.abs(data.tokens[:, :48]).max() <= 1 and (data.tokens[:, :58, 4] == 0).all()
    assert data.labels[11, 1] == 1 and data.error_rate(np.eye(10)[classes]) == 0


def test_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIFAR10", str(tmp_path))
    assert cifar_folder() is None
    write(tmp_path)
    assert cifar_folder() == tmp_path


def test_code_in_a_batch_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"data": print, b"labels": []}, protocol=2))
    with pytest.raises(ValueError, match="arrays and numbers only"):
        read_cifar(tmp_path)
