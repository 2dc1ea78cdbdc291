"""Finite Transformers against the limit, with predicted constants

A Transformer of L layers, each with M heads and M neurons drawn from the same law, differs from the solution of the PDE
by the error of its depth, which is deterministic, and by the noise of its width: rms^2 = (a/L)^2 + b^2/(M L). Both
constants are known for Transformers that are drawn from one law, at the start and after some training. Along training
the flow damps both errors; there the constants are measured.

The task is in-context regression (D = 4, n = 5, softmax attention, tanh neurons, lambda = 0.01), and the initial law
has 13 atoms, so that the limit is known without sampling error. Networks are plain numpy, trained by the same
Runge-Kutta steps as the limit. Where the flow can be linearised exactly, for a single token of dimension one, the
errors along training are predicted, too.
"""

EXPERIMENTS = ("errors", "law", "constants", "growth", "single_token")
