"""Error against time for every scheme: the table of docs/which.md.

``python benchmarks/schemes.py`` prints Markdown tables for three flows, each scheme with two or three steps:

* a Transformer without noise: predictions at the end, rms, against dopri5 at a tolerance of 1e-11;
* the Ornstein-Uhlenbeck flow in one dimension: Wasserstein distance of the normal laws that have the mean and the
  variance of the answer and of the exact law;
* transport in a double well: distance from the exact law.

Seconds are the median of ``--repeat`` runs, interleaved, after a first run that compiles.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

import wflow
from wflow.distances import conditional_w2, gaussian_w2
from wflow.schemes import EntropicJKO, FiniteVolume, Kernel, Muscl, QuantileJKO

#: A row: scheme, words on its setting, and a function that solves and returns (error, seconds).
Row = tuple[str, str, Callable[[], tuple[float, float]]]


def transformer() -> list[Row]:
    """In-context regression, 64 prompts, L = 3, M = 16, to tau = 4."""
    data_rng, particle_rng = np.random.default_rng(0).spawn(2)
    data = wflow.datasets.in_context_regression(64, dimension=1, context=6, rng=data_rng)
    Q = wflow.TransformerObjective(
        data, wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), weight_decay=1e-2, layers=3
    )
    rho0 = wflow.initial.gaussian(0.7).sample(Q, 16, particle_rng)
    exact = Q.predict(wflow.solve(Q, rho0, (0, 4), rtol=1e-11, atol=1e-13).measure(-1))

    def row(scheme: str, **steps: float) -> Row:
        def run() -> tuple[float, float]:
            answer = wflow.solve(Q, rho0, (0, 4), scheme=scheme, **steps)  # type: ignore[arg-type]
            error = np.sqrt(np.mean((Q.predict(answer.measure(-1)) - exact) ** 2))
            return float(error), float(answer.stats["seconds_solve"])

        return scheme, ", ".join(f"{name} = {value:g}" for name, value in steps.items()), run

    fixed = {"euler": (0.1, 0.02), "heun": (0.2, 0.05), "bs3": (0.4, 0.1), "rk4": (0.4, 0.1), "dopri5": (0.5, 0.2)}
    fixed |= dict.fromkeys(("discrete-gradient", "avf", "midpoint", "bdf2", "jko"), (0.2, 0.05))
    rows = [row(scheme, dtau=dtau) for scheme, steps in fixed.items() for dtau in steps]
    return rows + [row("dopri5", rtol=rtol) for rtol in (1e-3, 1e-6)] + [row("bs3", rtol=1e-3)]


def normal_law(mean: float, variance: float, half: float = 6.0, cells: int = 4000) -> wflow.Grid:
    """A normal density on a fine grid."""
    x = (np.arange(cells) + 0.5) * 2 * half / cells - half
    return wflow.Grid(x=np.exp(-0.5 * (x - mean) ** 2 / variance), box={"x": ((-half, half),)})


def quantiles(mean: float, variance: float, M: int) -> wflow.Particles:
    """M particles at the midpoint quantiles of a normal law."""
    levels = (np.arange(M) + 0.5) / M
    normal = statistics.NormalDist(mean, variance**0.5)
    return wflow.Particles(x=[[normal.inv_cdf(float(u))] for u in levels])


def ornstein_uhlenbeck() -> list[Row]:
    """V = x^2/2, sigma = 1/2, from N(1, 0.2), to tau = 1."""
    Q = wflow.PotentialEnergy(lambda x: 0.5 * x[:, 0] ** 2, lambda x: x) + wflow.Entropy(0.5)
    exact = [np.exp(-1)], [[0.5 - 0.3 * np.exp(-2)]]

    def row(scheme: Any, rho0: Any, words: str, dtau: float) -> Row:
        def run() -> tuple[float, float]:
            answer = wflow.solve(Q, rho0, (0, 1), scheme=scheme, dtau=dtau, rng=0)
            first, second = (float(answer.measure(-1).moment(k).x[0, 0]) for k in (1, 2))
            return gaussian_w2([first], [[second - first**2]], *exact), float(answer.stats["seconds_solve"])

        return getattr(scheme, "name", scheme), f"{words}, dtau = {dtau:g}", run

    rows = []
    for n, dtau in ((64, 0.2), (128, 0.1)):
        rows.append(row(Kernel(outer_mass=1e-8), normal_law(1, 0.2, cells=n), f"{n} cells", dtau))
    for n, dtau in ((128, 0.05), (512, 0.0125)):
        rows.append(row(FiniteVolume(outer_mass=1e-8), normal_law(1, 0.2, cells=n), f"{n} cells", dtau))
        rows.append(row(EntropicJKO(outer_mass=1e-8), normal_law(1, 0.2, cells=n), f"{n} cells", dtau))
    for M, dtau in ((100, 0.05), (400, 0.0125)):
        rows.append(row(QuantileJKO(), quantiles(1, 0.2, M), f"M = {M}", dtau))
        rows.append(row("blob", quantiles(1, 0.2, M), f"M = {M}", 0.05 if M == 100 else 0.01))
    for M, dtau in ((1000, 0.05), (100_000, 0.05)):
        cloud = wflow.Particles(x=np.random.default_rng(1).normal(1, 0.2**0.5, (M, 1)))
        for scheme in ("langevin", "euler-maruyama"):
            rows.append(row(scheme, cloud, f"M = {M}", dtau))
    return rows


def double_well() -> list[Row]:
    """V = x^4/4 - x^2/2 without noise, from N(0.2, 0.15), to tau = 1."""
    Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 4 / 4 - x[:, 0] ** 2 / 2, lambda x: x**3 - x)
    start = quantiles(0.2, 0.15, 20_000).x
    exact = wflow.Particles(x=start * np.e / np.sqrt(1 + start**2 * (np.e**2 - 1)))

    def row(scheme: Any, rho0: Any, words: str, **steps: float) -> Row:
        def run() -> tuple[float, float]:
            answer = wflow.solve(Q, rho0, (0, 1), scheme=scheme, **steps)  # type: ignore[arg-type]
            return conditional_w2(answer.measure(-1), exact), float(answer.stats["seconds_solve"])

        return getattr(scheme, "name", scheme), ", ".join([words, *(f"{k} = {v:g}" for k, v in steps.items())]), run

    rows = [row("dopri5", quantiles(0.2, 0.15, M), f"M = {M}", rtol=1e-6) for M in (100, 1000)]
    rows += [row(name, quantiles(0.2, 0.15, 1000), "M = 1000", dtau=0.05) for name in ("jko", "quantile-jko")]
    for n in (128, 512):
        rho0 = normal_law(0.2, 0.15, half=2.5, cells=n)
        rows.append(row(Muscl(outer_mass=1e-8), rho0, f"{n} cells", rtol=1e-3))
        rows.append(row(FiniteVolume(outer_mass=1e-8), rho0, f"{n} cells", dtau=0.01))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", choices=["transformer", "ornstein_uhlenbeck", "double_well"])
    options = parser.parse_args()
    flows = {flow.__name__: flow for flow in (transformer, ornstein_uhlenbeck, double_well)}
    for flow in flows.values() if options.only is None else [flows[options.only]]:
        rows = flow()
        errors = [run()[0] for _, _, run in rows]
        seconds = [[run()[1] for _, _, run in rows] for _ in range(options.repeat)]
        print(f"\n{flow.__doc__}\n\n| scheme | setting | error | milliseconds |\n| --- | --- | --- | --- |")
        for k, (name, setting, _) in enumerate(rows):
            median = statistics.median(run[k] for run in seconds)
            print(f"| `{name}` | {setting} | {errors[k]:.1e} | {1e3 * median:.3g} |")


if __name__ == "__main__":
    main()
