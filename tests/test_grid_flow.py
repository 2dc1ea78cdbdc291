"""The metric of densities: depth weights, dissipation and lengths, against what is known by hand."""

from __future__ import annotations

import numpy as np
import pytest

import wflow
from wflow.schemes import GridFlow, Kernel

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
