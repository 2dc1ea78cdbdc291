"""The compiled passes through the depth against the rule that states them, which serves encoders of users."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from wflow import Dataset, FeedForward, Particles, SoftmaxAttention, TransformerObjective
from wflow.depth import DEPTH_RULES


class Heads(SoftmaxAttention):
    """A user's encoder, which wflow knows nothing of."""


class Neurons(FeedForward):
    """Another."""


BLOCKS = {
    "both": (SoftmaxAttention(), FeedForward("tanh"), Heads(), Neurons("tanh")),
    "heads": (SoftmaxAttention(), None, Heads(), None),
    "neurons": (None, FeedForward("gelu", bias=True), None, Neurons("gelu", bias=True)),
}
READOUTS = {"one token": [(-1, -1)], "two tokens": [(0, 0), (1, 2)], "every token": [(0, 0), (1, 1), (0, 2), (1, 3)]}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("depth", DEPTH_RULES)
@pytest.mark.parametrize("blocks", BLOCKS)
def test_compiled_passes_are_those_of_the_rule(blocks: str, depth: str, readout: str, dtype: type) -> None:
    rng, entries = np.random.default_rng(5), READOUTS[readout]
    data = Dataset(rng.standard_normal((5, 2, 4)), rng.standard_normal((5, len(entries))), entries)
    compiled, stated = (
        TransformerObjective(data, *encoders, weight_decay=0.1, depth=depth, layers=3)
        for encoders in (BLOCKS[blocks][:2], BLOCKS[blocks][2:])
    )
    points = {
        block: rng.standard_normal((compiled.rule.n_slices, 3, p)).astype(dtype)
        for block, p in compiled.n_parameters.items()
    }
    rho = Particles(**points)
    ours, theirs = compiled.evaluate(rho), stated.evaluate(rho)
    bound = {np.float64: 1e-13, np.float32: 1e-4}[dtype]
    assert_allclose(ours.value, theirs.value, rtol=bound)
    assert_allclose(compiled.predict(rho), stated.predict(rho), rtol=bound, atol=bound)
    for block in points:
        size = np.abs(theirs.velocity[block]).max()
        assert_allclose(ours.velocity[block], theirs.velocity[block], rtol=0, atol=bound * size)
        phi = compiled.first_variation(rho)[block]
        assert_allclose(phi, stated.first_variation(rho)[block], rtol=0, atol=bound * np.abs(phi).max())
