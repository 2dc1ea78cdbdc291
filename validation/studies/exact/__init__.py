"""Exact solutions: every solver on every flow whose answer is known

Five Transformers have a gradient flow in closed form (pure decay, constant encoders, one token, frozen features, a
circle; module wflow.problems), and so have the classic flows of a potential, of an interaction and of diffusion
(module validation.flows). Every scheme solves those that it applies to: particles, densities, and clouds with noise.
Where more is known than an order, as of one step on a linear flow or of one step of JKO on a Gaussian, steps are
compared one by one.
"""

EXPERIMENTS = (
    "fixed_steps",
    "adaptive_steps",
    "densities",
    "amplification",
    "gaussian_step",
    "noise",
    "blob",
    "quantiles",
)
