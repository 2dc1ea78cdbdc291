"""Prompts: the data that a Transformer is trained on.

A *prompt* is a matrix of n columns, its *tokens*, of dimension D. A Transformer moves the columns, layer by
layer, each depending on all others; after the last layer a linear *readout*, usually one entry of the matrix,
is the prediction. A prompt comes with the *label* that the prediction should equal.

In-context regression is the standard example. A prompt shows N points ``x_i`` with their values ``y_i``, all
from one unknown function, and then a query point whose value is hidden. Here are N = 2 points in dimension
d = 1 and a query:

>>> import numpy as np
>>> data = in_context_regression(100, dimension=1, context=2, rng=0)
>>> data.tokens.shape                   # B prompts, D rows, n = N + 1 columns
(100, 4, 3)
>>> x, y, ones, query = data.tokens[0]
>>> float(y[-1])                        # the value of the query is hidden: it is the label
0.0
>>> ones, query                         # tells a layer which column is the query
(array([1., 1., 1.]), array([0., 0., 1.]))

This function is linear, so that the first point gives the answer away:

>>> bool(np.isclose(y[0] / x[0] * x[2], data.labels[0]))
True

The prediction is read where the label is hidden, row d = 1 of the last column. It starts at 0, so that the
untrained risk is the mean of half the squared labels:

>>> bool(data.risk(data.read(data.tokens)) == 0.5 * np.mean(data.labels**2))
True

The points can be real: :func:`diabetes` takes them from the patients of a study. Images are prompts as well:
:func:`digits` makes a token of every patch of an image and adds a class token, where the answer is read. Any
other prompts are a :class:`Dataset` of arrays, or of a file of arrays, :func:`from_npz`:

>>> Dataset(tokens=np.zeros((10, 5, 7)), labels=np.ones(10), readout=(0, -1)).n_tokens
7

Prompts, readout and risk are those of Gao et al., NeurIPS 2024, arXiv 2410.23610. Everything is
dimensionless.
"""

from __future__ import annotations

__all__ = ["Dataset", "diabetes", "digits", "from_npz", "in_context_regression"]

from wflow.datasets.arrays import from_npz
from wflow.datasets.dataset import Dataset
from wflow.datasets.diabetes import diabetes
from wflow.datasets.digits import digits
from wflow.datasets.in_context import in_context_regression
