"""Does global convergence need homogeneous encoders?

The convergence theorem of Gao et al. (2024, arXiv 2410.23610) asks for encoders that are homogeneous in part of their
parameters, the outer weight: f(T, s c, a) = s f(T, c, a). Whether others converge globally is open. Encoders
g(T, beta), beta = (c, a), of three kinds are put to the test: softmax attention and neurons c act(a^T T) for every
activation of wflow, homogeneous in V and c; linear attention V Z (Z^T W Z)/n and relu neurons, homogeneous in all
weights; and softmax attention and tanh neurons whose outer weights V and c enter through b tanh(c/b), bounded, or
through b sign(c), whose gradient vanishes: frozen.

First the assumptions of the theorem, encoder by encoder: homogeneity, growth, Lipschitz continuity, universality. Then
training: Transformers of all kinds for the same time on in-context regression (D = 4, n = 5, 16 prompts, L = 4,
lambda = 1e-3).
"""

EXPERIMENTS = ("degrees", "growth", "lipschitz", "features", "training", "floors")
