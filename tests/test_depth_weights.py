"""Slices that do not interact: whatever a run writes down of them adds up with their depth weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wflow
from wflow.schemes import SCHEMES, GridScheme, scheme_of

OM = np.array([0.2, 0.7, 0.1])
QUADRATIC = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)


def problem(name: str) -> tuple[Any, dict[str, Any], Any, list[Any]]:
    """An energy, the options of its run, a measure of several slices, and one measure for each of them."""
    scheme: Any = SCHEMES[name]
    options = {"scheme": scheme_of(name, epsilon=0.3) if name == "blob" else scheme, "dtau": 0.05}
    energy = QUADRATIC + wflow.Entropy(0.5) if wflow.Entropy in scheme.internals else QUADRATIC
    if not isinstance(scheme, GridScheme):
        x = np.random.default_rng(0).standard_normal((3, 5, 1)) * [[[0.3]], [[1.0]], [[2.0]]]
        return energy, options, wflow.Particles(x=x, depth_weights=OM), [wflow.Particles(x=points) for points in x]
    options["dtau"] = {"muscl": 0.01, "finite-volume": 0.005}.get(name, 0.1)
    x = np.linspace(-5.9, 5.9, 60)
    r = np.exp(-0.5 * ((x - [[1.0], [-0.5], [0.2]]) / [[0.4], [0.6], [0.5]]) ** 2)
    box = {"x": ((-6, 6),)}
    return (
        energy,
        options,
        wflow.Grid(x=r, box=box, depth_weights=OM),
        [wflow.Grid(x=density, box=box) for density in r],
    )


@pytest.mark.parametrize("name", [name for name, scheme in SCHEMES.items() if not scheme.noisy])
def test_what_a_run_writes_down_adds_up(name: str) -> None:
    energy, options, rho, measures = problem(name)
    end = 2 * options["dtau"]
    whole = wflow.solve(energy, rho, (0, end), **options)
    parts = [wflow.solve(energy, measure, (0, end), **options) for measure in measures]
    for series in ("energy", "dissipation", "defect"):
        total = sum(om * part.series[series] for om, part in zip(OM, parts))
        np.testing.assert_allclose(whole.series[series], total, rtol=1e-3, atol=1e-6, err_msg=series)
    squares = sum(om * part.series["step_length"] ** 2 for om, part in zip(OM, parts))
    np.testing.assert_allclose(whole.series["step_length"] ** 2, squares, rtol=1e-3)
    np.testing.assert_allclose(
        whole.series["max_norm"], np.max([part.series["max_norm"] for part in parts], axis=0), rtol=1e-3
    )
    final = np.concatenate([part.measure(-1).blocks["x"] for part in parts])
    np.testing.assert_allclose(whole.measure(-1).blocks["x"], final, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, s in SCHEMES.items() if s.error_order is not None])
def test_the_size_and_the_error_of_a_step_add_up(name: str) -> None:
    """In the norm of the flow: squares for particles, L1 for densities."""
    energy, options, whole, measures = problem(name)
    scheme, power = options["scheme"], 1 if isinstance(whole, wflow.Grid) else 2
    errors, sizes = [], []
    for rho in (whole, *measures):
        flow = scheme.flow(energy, rho)
        point = flow.evaluate(flow.flat(flow.template.blocks))
        errors.append(scheme.propose(flow, point, options["dtau"]).error)
        sizes.append(flow.size(point))
    assert errors[0] ** power == pytest.approx(OM @ np.array(errors[1:]) ** power, rel=1e-3)
    assert sizes[0] ** 2 == pytest.approx(OM @ np.array(sizes[1:]) ** 2, rel=1e-12)
