"""Rates: how fast the risk falls, and what decides it

Without weight decay the residuals r of the B prompts obey dr/dtau = -K r/B with the neural tangent kernel K of the
present particles; with it dr/dtau = -(K r/B + lambda J beta), K = J J^T. If the risk goes to zero, its last decay is
exponential, R ~ e^{-2 k tau/B} with the smallest eigenvalue k of the last K. With weight decay the flow ends at rest,
and there the smallest eigenvalue mu of the Hessian of Q in the metric of the flow decides: |v| ~ e^{-mu tau}. For
linear models and for one token this rate is known in closed form.

J and the Hessian come from the numpy Transformer, flows, predictions and K from wflow, which is compared with J J^T.
The data are in-context regression with linear teachers, with noise or without, and with tanh teachers. How the rate of
convergence depends on data, width and lambda is an open question in Gao et al. 2024; tables and findings below say what
these runs show: the smallest eigenvalue at the start and at the end over B, M and task, and R(tau) against the flow of
the frozen first kernel. Where eigenvalues are spread over decades, R(tau) looks like a power of tau over a window.
"""

EXPERIMENTS = ("residuals", "linear_models", "to_zero", "to_rest", "kernel_noise", "first_kernels", "many_prompts")
