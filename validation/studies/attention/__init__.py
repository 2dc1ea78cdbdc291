"""Attention: seven kernels, and what Song et al. prove of two of them

One layer of attention heads is the model of Song et al. (2024, arXiv 2411.07538), who compare softmax attention with
Gaussian attention, exp(-s|W_K z_j - W_Q z_i|^2/2) without division. wflow has both, and sigmoid, linear, relu and
sparsemax attention, with masks. First, each kernel is the right one: adjoints against extrapolated differences;
values, velocities and training runs against the numpy Transformer, where all of this is written a second time by
hand, for every kernel, mask and loss; closed forms; and balances of the factors.

Then theory: values that are trained alone, whose flow is a matrix exponential of their tangent kernel; the rank of
that kernel and its least eigenvalue; bounds of the risk by the eigenvalues of the whole kernel. Last, where softmax
and Gaussian attention part: tokens of equal values, a trap for one head on one prompt, and in-context regression.
"""

EXPERIMENTS = (
    "adjoints",
    "agreement",
    "closed_forms",
    "balances",
    "value_block",
    "ranks",
    "bracket",
    "blind",
    "critical",
    "trapped",
    "freed",
    "in_context",
)
