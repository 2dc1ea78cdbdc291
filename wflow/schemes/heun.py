"""Heun's method, the explicit trapezoidal rule."""

from wflow.schemes.runge_kutta import RungeKutta

__all__ = ["HEUN"]

#: ``x+ = x + h/2 (k_1 + k_2)``, ``k_2 = v(x + h k_1)``: order 2 with Euler's method as error estimate (Hairer, Norsett,
#: Wanner, Solving ODEs I, section II.1).
HEUN = RungeKutta("heun", order=2, error_order=2, stability=2.0, a=((1.0,), (0.5, 0.5)), b_hat=(1.0, 0.0, 0.0))
