"""The classical Runge-Kutta method."""

from wflow.schemes.runge_kutta import RungeKutta

__all__ = ["RK4"]

#: Order 4 (Kutta 1901). Its error estimate is the difference to the method of order 3 that replaces k_4 by the velocity
#: at x+, ``h/6 (k_4 - k_5)``: free, since k_5 starts the next step.
RK4 = RungeKutta(
    "rk4",
    order=4,
    error_order=4,
    stability=2.78,
    a=((1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
    b_hat=(1 / 6, 1 / 3, 1 / 3, 0.0, 1 / 6),
)
