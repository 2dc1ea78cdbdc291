"""The conditional Wasserstein distance against closed forms and brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from wflow import InputError, Particles
from wflow.distances import conditional_w2


def cloud(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape)


def test_brute_force_over_permutations() -> None:
    rng = np.random.default_rng(0)
    x, y = cloud(rng, 2, 4, 3), cloud(rng, 2, 4, 3)
    best = [
        min(np.mean(np.sum((u - v[list(p)]) ** 2, axis=1)) for p in itertools.permutations(range(4)))
        for u, v in zip(x, y)
    ]
    expected = np.sqrt(0.3 * best[0] + 0.7 * best[1])
    depth = {"t": [0.1, 0.6], "depth_weights": [0.3, 0.7]}
    assert conditional_w2(Particles(x=x, **depth), Particles(x=y, **depth)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("p", [1, 3])
def test_translation_permutation_and_blocks(p: int) -> None:
    """A shift by c costs |c|; labels do not matter; squares add over blocks."""
    rng = np.random.default_rng(1)
    x, w = cloud(rng, 3, 6, p), cloud(rng, 3, 5, 2)
    shift = 0.01 * np.arange(1.0, p + 1)
    moved = (x + shift)[:, rng.permutation(6)]
    a, b = Particles(theta=x, w=w), Particles(theta=moved, w=w + np.array([0.3, 0.4]))
    assert conditional_w2(a, b) ** 2 == pytest.approx(shift @ shift + 0.25, rel=1e-10)
    assert conditional_w2(b, a) == pytest.approx(conditional_w2(a, b), rel=1e-12)


@pytest.mark.parametrize("p", [1, 2])
def test_weights_are_multiplicities(p: int) -> None:
    rng = np.random.default_rng(2)
    x, y = cloud(rng, 1, 2, p), cloud(rng, 1, 4, p)
    weighted = Particles(x=x, weights={"x": [[0.75, 0.25]]})
    copies = Particles(x=x[:, [0, 0, 0, 1]])
    assert conditional_w2(weighted, Particles(x=y)) == pytest.approx(conditional_w2(copies, Particles(x=y)), rel=1e-9)


def test_measures_must_match() -> None:
    a = Particles(x=np.zeros((2, 1, 1)))
    for b, message in [
        (Particles(y=np.zeros((2, 1, 1))), "same blocks"),
        (Particles(x=np.zeros((3, 1, 1))), "same depth nodes"),
        (Particles(x=np.zeros((2, 1, 2))), "same number of parameters"),
    ]:
        with pytest.raises(InputError, match=message):
            conditional_w2(a, b)
