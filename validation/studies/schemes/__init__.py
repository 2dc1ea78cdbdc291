"""Schemes: the same Transformer by all of them, and whether they agree within their error bars

Where no exact solution is known, schemes that share nothing but the equation check one another. Every one of them is
run at its resolution, refined and coarsened by two in each source of error (steps; cells or particles), and
wflow.check.error_bars turns the differences into a bar for every quantity: risk, predictions, second moments of all
parameters, particles or quantile functions. Two schemes must not differ by more than the sum of their bars.
"""

EXPERIMENTS = ("particles", "densities")
