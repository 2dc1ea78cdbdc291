"""The metric of densities: depth weights, dissipation and lengths, against what is known by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from densities import gaussian_grid

import wflow
from wflow.schemes import EntropicJKO, FiniteVolume, GridFlow, Kernel, Muscl, QuantileJKO

LINEAR = wflow.PotentialEnergy(lambda x: 3.0 * x[:, 0], lambda x: np.full_like(x, 3.0))
X = (np.arange(120) + 0.5) / 10 - 6
CLOUDS = np.array([np.exp(-0.5 * (X - 1) ** 2), np.exp(-2.0 * X**2)])


def grid(array: np.ndarray, **depth: list[float]) -> wflow.Grid:
    return wflow.Grid(x=array, box={"x": ((-6, 6),)}, **depth)  # type: ignore[arg-type]


@pytest.mark.parametrize("energy", [LINEAR, LINEAR + wflow.Entropy(0.5)], ids=["upwind", "scharfetter-gummel"])
def test_slices_count_with_their_depth_weights(energy: wflow.energies.Energy) -> None:
    alone = []
    for array in CLOUDS:
        flow = GridFlow(energy, grid(array), outer_mass=1e-4)
        alone.append(flow.dissipation(flow.evaluate(flow.flat(flow.template.blocks))))
    flow = GridFlow(energy, grid(CLOUDS, depth_weights=[0.3, 0.7]), outer_mass=1e-4)
    point = flow.evaluate(flow.flat(flow.template.blocks))
    assert flow.dissipation(point) == pytest.approx(0.3 * alone[0] + 0.7 * alone[1], rel=1e-12)
    assert flow.norm(point.x) == pytest.approx(1.0, rel=1e-12)


def test_a_constant_force_dissipates_its_square() -> None:
    """V = 3 x moves all mass with the speed 3."""
    flow = GridFlow(LINEAR, grid(CLOUDS[0]), outer_mass=1e-4)
    assert flow.dissipation(flow.evaluate(flow.template.x.ravel())) == pytest.approx(9.0, rel=1e-4)


def test_entropy_dissipates_fisher_information() -> None:
    """``sigma^2 int |d log rho|^2 rho = sigma^2/variance`` for a normal law under diffusion alone."""
    free = wflow.PotentialEnergy(lambda x: 0.0 * x[:, 0], lambda x: 0.0 * x) + wflow.Entropy(0.5)
    flow = GridFlow(free, grid(CLOUDS[0]), outer_mass=1e-4)
    assert flow.dissipation(flow.evaluate(flow.template.x.ravel())) == pytest.approx(0.25, rel=2e-3)


def test_step_lengths_of_densities_are_those_of_the_transport() -> None:
    """The law of the Ornstein-Uhlenbeck flow moves by |m - m_0| and |s - s_0|: its path is nearly a geodesic here."""
    Q = wflow.PotentialEnergy(lambda x: 0.5 * x[:, 0] ** 2, lambda x: x) + wflow.Entropy(0.5)
    rho0 = grid(np.exp(-((X - 1) ** 2)))  # the variance of rest, so that only the mean moves
    answer = wflow.solve(Q, rho0, (0, 1), scheme=Kernel(outer_mass=1e-4), dtau=0.05)
    assert answer.series["step_length"].sum() == pytest.approx(1 - np.exp(-1), rel=2e-3)
    assert answer.series["step_length"][0] == 0


def test_step_lengths_of_particles_are_distances() -> None:
    """Where labels stay in order, the mass-weighted norm is the conditional Wasserstein distance."""
    Q = wflow.PotentialEnergy(lambda x: 0.5 * x[:, 0] ** 2, lambda x: x)
    rho0 = wflow.Particles(x=[[[1.0], [2.0]], [[0.0], [3.0]]], depth_weights=[0.25, 0.75])
    answer = wflow.solve(Q, rho0, (0, 0.5), scheme="euler", dtau=0.5)
    length = answer.series["step_length"][-1]
    assert length == pytest.approx(wflow.distances.conditional_w2(rho0, answer.measure(-1)), rel=1e-12)
    assert length == pytest.approx(0.5 * np.sqrt(0.25 * 2.5 + 0.75 * 4.5), rel=1e-12)


BUMPY = wflow.PotentialEnergy(
    lambda x: np.sum(0.5 * x**2 + 0.1 * np.cos(2 * x), axis=1), lambda x: x - 0.2 * np.sin(2 * x)
) + wflow.InteractionEnergy(lambda z: 0.2 * np.sum(z**2, axis=1), lambda z: 0.4 * z)
CLOUD = wflow.Particles(x=np.linspace(-1.0, 2.5, 20)[:, None])
COARSE = gaussian_grid(32, mean=0.7, variance=0.4)


@pytest.mark.parametrize(
    ("energy", "rho0", "scheme", "steps", "order"),
    [
        (BUMPY + wflow.Entropy(0.5), COARSE, Kernel(1, outer_mass=1e-4), 40, 1),
        (BUMPY + wflow.Entropy(0.5), COARSE, Kernel(2, outer_mass=1e-4), 20, 2),
        (BUMPY + wflow.Entropy(0.5), COARSE, Kernel(3, outer_mass=1e-4), 10, 3),
        (BUMPY + wflow.Entropy(0.5), COARSE, Kernel(4, outer_mass=1e-4), 5, 4),
        (BUMPY + wflow.Entropy(0.5), gaussian_grid(36, 2, 0.3, 0.4, half=4.5), Kernel(2, outer_mass=1e-4), 20, 2),
        (BUMPY + wflow.Entropy(0.5), COARSE, FiniteVolume(outer_mass=1e-4), 20, 2),
        (BUMPY + wflow.Entropy(0.5), COARSE, FiniteVolume(extrapolate=False, outer_mass=1e-4), 40, 1),
        (BUMPY, COARSE, FiniteVolume(outer_mass=1e-4), 20, 2),
        (BUMPY, COARSE, Muscl(outer_mass=1e-4), 100, 2),
        (BUMPY + wflow.PorousMedium(2.0), COARSE, Muscl(outer_mass=1e-4), 100, 2),
        (BUMPY + wflow.Entropy(0.5), gaussian_grid(80, mean=0.7, variance=0.4), EntropicJKO(outer_mass=1e-4), 5, 1),
        (BUMPY + wflow.Entropy(0.5), CLOUD, QuantileJKO(), 20, 1),
        (BUMPY + wflow.PorousMedium(2.0), CLOUD, QuantileJKO(), 20, 1),
    ],
    ids=lambda value: getattr(value, "name", None) or (str(value) if isinstance(value, int) else type(value).__name__),
)
def test_the_defect_is_the_error_of_the_steps(energy: Any, rho0: Any, scheme: Any, steps: int, order: int) -> None:
    """On one coarse grid it falls with the order of the scheme, however much the cells are off."""
    defects = []
    for n in (steps, 2 * steps, 4 * steps):
        answer = wflow.solve(energy, rho0, (0, 1), scheme=scheme, dtau=1 / n)
        defects.append(abs(answer.series["defect"][-1]) / (answer.energy[0] - answer.energy[-1]))
    orders = np.log2(np.divide(defects[:-1], defects[1:]))
    assert orders[-1] > order - 0.4, (defects, orders)
