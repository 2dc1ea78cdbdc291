"""The model: the flow is that of a Transformer, and has its invariants

Energy, risk, velocity and dissipation of the objective with the depth rule split-euler, and whole training runs, are
compared with hand-written backpropagation in plain numpy, which shares no code with the solver. The other depth rules
are compared with differences of Q, with an integrator of high order in depth, and with the growth of a single token.
Invariants hold whatever the data: balances of factors, bounds of distances and moments, the tangent kernel. Last,
distances of measures and initial laws against what numpy knows of them.
"""

EXPERIMENTS = (
    "agreement",
    "training",
    "slopes",
    "token_growth",
    "depth_errors",
    "balances",
    "bounds",
    "displaced",
    "laws",
    "tangent_kernel",
)
