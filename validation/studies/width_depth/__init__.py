"""The law of width and depth

How must the width M grow with the depth L? Theorem 3.1 of Gao et al. 2024 bounds the error of a Transformer by
C (1/L + sqrt((delta + log(L + 1))/M)), so that M/log L must go to infinity. For layers drawn independently the central
limit theorem says more: the noise is that of all M L heads and neurons together, b/sqrt(M L), and a bounded width would
do. Clouds that all layers share have b/sqrt(M), and a net in depth, which deals well-spread points to the layers, less
than independent draws.

The error of the predictions is measured over a map of M and L, at the start and for Transformers drawn from the law
after training (with the task and the 13 atoms of the study "limit"), and for smaller ones along training. The noise is
the difference from the Transformer with all atoms and as many layers.
"""

EXPERIMENTS = ("noise", "error", "training")
