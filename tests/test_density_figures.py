"""Densities: figures and animations show the numbers of the grids, and over them the particles of the same time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.animation import FFMpegWriter
from numpy.testing import assert_allclose
from PIL import Image

import wflow
from wflow import Grid, InputError, Particles, Solution, Status, figures
from wflow.cli import main
from wflow.schemes.kernel import Kernel

BOX = (-4.0, 4.0)


def make_grid(p: int = 1, slices: int = 1, shift: float = 0.0, cells: int = 20, name: str = "x") -> Grid:
    """Gaussians whose means grow with depth, another along every axis."""
    x = BOX[0] + (np.arange(cells) + 0.5) * (BOX[1] - BOX[0]) / cells
    mesh = np.stack(np.meshgrid(*[x] * p, indexing="ij"))
    means = shift + 0.3 * np.arange(slices)[:, None] + 0.2 * np.arange(p)
    squares = [np.sum((mesh - mean.reshape(-1, *[1] * p)) ** 2, axis=0) for mean in means]
    return Grid(box={name: (BOX,) * p}, **{name: np.exp(-np.array(squares))})


def make_particles(p: int = 1, slices: int = 1, seed: int = 0, width: int = 30, name: str = "x") -> Particles:
    return Particles(**{name: np.random.default_rng(seed).normal(0, 0.7, (slices, width, p))})


def make_solution(measures: list[Any], tau: Any = None, objective: Any = None) -> Solution:
    """A solution that was never computed."""
    times = np.linspace(0, 1, len(measures)) if tau is None else np.asarray(tau, dtype=float)
    series = {name: np.ones(len(times)) for name in ("energy", "risk", "dissipation", "dtau", "defect", "max_norm")}
    series["tau"] = times
    return Solution(series, {}, times, lambda i: measures[i], Status.FINISHED, "", {}, objective=objective)


def evolving(p: int = 1, slices: int = 1, frames: int = 3) -> Solution:
    return make_solution([make_grid(p, slices, 0.1 * k) for k in range(frames)])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Trajectories of a Transformer with scalar tokens: densities, and particles."""
    folder, rng = tmp_path_factory.mktemp("density"), np.random.default_rng(0)
    tokens = rng.standard_normal((4, 1, 2))
    data = wflow.Dataset(tokens, np.sin(tokens[:, 0, -1]))
    encoders = {"attention": wflow.SoftmaxAttention(), "feedforward": wflow.FeedForward("tanh"), "layers": 2}
    Q = wflow.TransformerObjective(data, **encoders, weight_decay=0.2, entropy=0.1)
    box = {"theta": ((-6, 6),) * 2, "w": ((-6, 6),) * 2}
    rho0, save = wflow.initial.gaussian(0.7).on_grid(Q, box, 30), wflow.SaveAt(every=0.1)
    scheme = Kernel(outer_mass=1e-8)
    wflow.solve(Q, rho0, (0, 0.2), scheme=scheme, rtol=1e-2, save=save, path=folder / "grid.h5")
    P = wflow.TransformerObjective(data, **encoders, weight_decay=0.2)
    sample = wflow.initial.gaussian(0.7).sample(P, 20, rng)
    wflow.solve(P, sample, (0, 0.2), rtol=1e-3, save=save, path=folder / "particles.h5")
    return folder / "grid.h5", folder / "particles.h5"


def panels(figure: Any) -> list[Any]:
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def mesh(axes: Any) -> np.ndarray:
    return np.asarray(axes.collections[0].get_array())


# Other figures, of densities


def test_figures_of_a_run_on_grids(run: tuple[Path, Path], tmp_path: Path) -> None:
    solution, options = wflow.load(run[0]), {"depth": {"frames": 2}, "density": {"frames": 1, "block": "w"}}
    for kind in ("energy", "depth", "predictions", "density"):
        figure = figures.draw(kind, solution, **options.get(kind, {}))
        assert b"/Type3" not in figures.save(figure, tmp_path / f"{kind}.pdf").read_bytes()


def test_depth_shows_the_moments_of_a_grid() -> None:
    solution = evolving(2, 3)
    second = figures.depth(solution, frames=[-1]).axes[0]
    rho = solution.measure(-1)
    assert_allclose(second.lines[0].get_ydata(), rho.moment(2).x.sum(axis=1))


def test_every_measure_has_its_figure() -> None:
    with pytest.raises(InputError, match="clouds need a run on particles, this one has Grid: draw 'density'"):
        figures.clouds(evolving())
    with pytest.raises(InputError, match=r"densities need a run on a wflow\.Grid, .* Particles: draw 'clouds'"):
        figures.density(make_solution([make_particles()]))
    for rho, kind in ((make_grid(), "density"), (make_particles(), "clouds")):
        with pytest.raises(InputError, match=f"more than one depth slice.*draw '{kind}'"):
            figures.depth(make_solution([rho]))


# One parameter


def test_one_parameter_gives_curves_over_a_map_of_training_time() -> None:
    solution = evolving(frames=9)
    curves, history = panels(figures.density(solution, frames=[0, -1]))
    for line, i in zip(curves.lines, (0, -1)):
        assert_allclose(line.get_xdata(), solution.measure(0).axes("x")[0])
        assert_allclose(line.get_ydata(), solution.measure(i).x[0])
    assert_allclose(mesh(history), [solution.measure(i).x[0] for i in range(9)])
    assert history.collections[0].get_rasterized()
    assert (history.get_xlabel(), history.get_ylabel()) == ("$x$", r"training time $\tau$")
    assert curves.get_xlim() == history.get_xlim()
    few = panels(figures.density(evolving(slices=2)))
    assert [axes.get_title() for axes in few] == ["$t=$0.25", "$t=$0.75"]


def test_one_parameter_over_many_slices_is_a_map_over_depth() -> None:
    solution = evolving(slices=5)
    first, last = panels(figures.density(solution, frames=2))
    assert_allclose(mesh(first), solution.measure(0).x)
    assert_allclose(mesh(last), solution.measure(-1).x)
    assert first.get_ylabel() == "depth $t$"
    chosen = panels(figures.density(solution, slices=[0, -1]))
    assert [axes.get_title() for axes in chosen] == ["$t=$0.1", "$t=$0.9"]


# Two and three parameters


def test_two_parameters_give_maps_on_a_common_scale() -> None:
    solution = evolving(2, 2)
    grid = np.array(panels(figures.density(solution, frames=[0, 2]))).reshape(2, 2)
    peak = max(solution.measure(i).x.max() for i in (0, 2))
    for l, row in enumerate(grid):
        for i, axes in zip((0, 2), row):
            assert_allclose(mesh(axes), solution.measure(i).x[l].T)
            assert axes.collections[0].get_clim() == (0, peak)
        assert row[0].get_ylabel() == f"$t=${0.25 + 0.5 * l:g}\n$x_{{1}}$"
    assert [axes.get_title() for axes in grid[0]] == [r"$\tau=$0", r"$\tau=$1"]
    assert [axes.get_xlabel() for axes in grid[1]] == ["$x_{0}$"] * 2


def test_lines_enclose_shares_of_the_mass() -> None:
    rho = make_grid(2, cells=80)
    (axes,) = panels(figures.density(make_solution([rho])))
    inner, outer = sorted(axes.collections[1].levels)[::-1]
    volume = rho.cell_volume("x")
    assert_allclose([volume * rho.x[rho.x >= level].sum() for level in (inner, outer)], [0.5, 0.9], atol=0.01)


def test_three_parameters_give_their_marginals() -> None:
    solution = evolving(3, 3, frames=1)
    rho = solution.measure(0)
    grid = panels(figures.density(solution))
    for axes, (i, j, k) in zip(grid, ((0, 1, 2), (0, 2, 1), (1, 2, 0))):
        assert_allclose(mesh(axes), rho.x[1].sum(axis=k).T * rho.spacing("x")[k])
        assert (axes.get_xlabel(), axes.get_ylabel().split("\n")[1]) == (f"$x_{{{i}}}$", f"$x_{{{j}}}$")


def test_parameters_of_transformers_have_names(run: tuple[Path, Path]) -> None:
    solution = wflow.load(run[0])
    figure = figures.density(solution, frames=1)
    labels = [(axes.get_xlabel(), axes.get_ylabel().split("\n")[-1]) for axes in panels(figure)]
    assert labels == [("", "$W$"), ("$V$", "$W$"), ("", "$W_2$"), ("$W_1$", "$W_2$")]
    (axes,) = panels(figures.density(solution, frames=1, block="w", slices=[0]))
    assert axes.get_ylabel() == "$t=$0\n$W_2$"


def test_axes_end_where_the_mass_does() -> None:
    (axes,) = panels(figures.density(make_solution([make_grid(2, cells=100)])))
    assert -3 < axes.get_xlim()[0] < -2 and 2 < axes.get_xlim()[1] < 3
    outlier = Particles(x=[[[3.5, 0.0]]])
    (axes,) = panels(figures.density(make_solution([make_grid(2, cells=100)]), particles=outlier))
    assert axes.get_xlim()[1] > 3.5


def test_all_mass_in_one_cell_is_drawn() -> None:
    for p in (1, 2):
        spike = np.zeros((6,) * p)
        spike[(2,) * p] = 1
        figures.density(make_solution([Grid(x=spike, box={"x": ((0, 1),) * p})]))


# Particles over densities


def test_particles_are_those_of_the_same_training_time() -> None:
    clouds = [make_particles(2, 2, seed=k) for k in range(5)]
    particles = make_solution(clouds)  # saved twice as often
    axes = np.array(panels(figures.density(evolving(2, 2), frames=[1, 2], particles=particles))).reshape(2, 2)
    for i, k in enumerate((2, 4)):
        for l in range(2):
            assert_allclose(axes[l, i].collections[-1].get_offsets(), clouds[k].x[l])
    other = make_solution(clouds, tau=[0, 0.1, 0.2, 0.3, 1])
    with pytest.raises(InputError, match=r"no frame at tau = 0\.5, the nearest is at 0\.3"):
        figures.density(evolving(2, 2), frames=[1], particles=other)
    fast = make_solution([make_grid(2, 2)] * 3, tau=[0, 5e-9, 1e-8])
    with pytest.raises(InputError, match="no frame at tau = 5e-09, the nearest is at 3e-09"):
        figures.density(fast, frames=[1], particles=make_solution(clouds, tau=[0, 1e-9, 2e-9, 3e-9, 1e-8]))


def test_particles_of_one_parameter_are_histograms_or_dots_over_depth() -> None:
    cloud = make_particles(1, 5)
    steps = panels(figures.density(evolving(slices=5), slices=[2], frames=1, particles=cloud))[0].patches[0]
    counts, edges, _ = steps.get_data()
    assert_allclose(counts * np.diff(edges), np.histogram(cloud.x[2], edges)[0] / 30)
    (axes,) = panels(figures.density(evolving(slices=5), frames=1, particles=cloud))
    assert_allclose(axes.collections[-1].get_offsets(), np.stack([cloud.x[..., 0].ravel(), np.repeat(cloud.t, 30)], 1))


def test_bad_options_are_refused() -> None:
    solution = evolving(2, 2)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"block": "y"}, "block must be one of x, got 'y'"),
        ({"slices": [2]}, "slices must be among the 2 depth slices"),
        ({"slices": 0}, "slices must be a positive number"),
        ({"frames": [5]}, "frames must be among the 3 frames"),
        ({"particles": make_particles(2, 3)}, r"particles must have the blocks .*\(2, 2\).*\(3, 2\)"),
        ({"particles": make_particles(2, 2, name="y")}, "particles must have the blocks"),
        ({"particles": make_grid(2, 2)}, r"particles must be a wflow\.Particles or a run on them, got Grid"),
        ({"particles": solution}, r"particles must be a wflow\.Particles or a run on them, got Grid"),
    ]
    for options, message in cases:
        with pytest.raises(InputError, match=message):
            figures.density(solution, **options)


# Animations


@pytest.mark.parametrize("p, slices", [(1, 1), (1, 5), (2, 2), (3, 2)])
def test_animations_of_densities(p: int, slices: int, tmp_path: Path) -> None:
    solution, cloud = evolving(p, slices), make_particles(p, slices)
    path = figures.animate(solution, tmp_path / "x.gif", particles=cloud)
    with Image.open(path) as image:
        assert (image.n_frames, image.info["duration"], image.info["loop"]) == (3, 100, 0)
    assert path.stat().st_size < 400_000
    if p == 1:
        assert figures.animate(solution, tmp_path / "y.gif", particles=cloud).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("p", [1, 2, 5])
def test_animations_of_particles(p: int, tmp_path: Path) -> None:
    solution = make_solution([make_particles(p, 2, seed=k) for k in range(3)])
    with Image.open(figures.animate(solution, tmp_path / "x.gif", fps=20)) as image:
        assert (image.n_frames, image.info["duration"]) == (3, 50)


@pytest.mark.parametrize("size", [1e-15, 1.0, 1e15])
def test_animations_of_particles_show_clouds_of_any_size(
    size: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[tuple[float, float]] = []
    monkeypatch.setattr(
        "wflow.figures.movie.laid_out", lambda figure: (limits.append(figure.axes[0].get_xlim()), figure)[1]
    )
    x = size * np.random.default_rng(0).normal(0, 1, (1, 30, 2))
    figures.animate(make_solution([Particles(x=x)] * 2), tmp_path / "x.gif")
    assert np.ptp(limits[0]) == pytest.approx(1.06 * np.ptp(x[..., 0]))


def test_pictures_are_at_equal_distances_of_training_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []
    monkeypatch.setattr("matplotlib.figure.Figure.suptitle", lambda self, text, **options: titles.append(text))
    measures = [make_grid(1, 1, 0.1 * k) for k in range(5)]
    figures.animate(make_solution(measures, tau=[0, 0.1, 0.2, 0.5, 1]), tmp_path / "x.gif", frames=3)
    assert titles[1:] == [r"$\tau=$0.00", r"$\tau=$0.50", r"$\tau=$1.00"]


def test_animations_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    solution = evolving()
    monkeypatch.setattr(FFMpegWriter, "isAvailable", lambda: False)
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("x.mp4", {}, "ffmpeg is not installed; write a .gif"),
        ("x.giff", {}, r"must end in \.gif or \.mp4, got .*; did you mean 'x\.gif'\?"),
        ("none/x.gif", {}, "none does not exist"),
        ("x.gif", {"frames": 0}, "frames must be a positive integer, got 0"),
        ("x.gif", {"fps": 0.5}, "fps must be a positive integer, got 0.5"),
        ("x.gif", {"block": "z"}, "block must be one of x"),
    ]
    for name, options, message in cases:
        with pytest.raises(InputError, match=message):
            figures.animate(solution, tmp_path / name, **options)
    with pytest.raises(InputError, match="slices and particles are for animations of densities"):
        figures.animate(make_solution([make_particles()]), tmp_path / "x.gif", slices=1)
    assert not list(tmp_path.iterdir())


# The command


def test_command(run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid, particles = map(str, run)
    over = ["--block", "w", "--slices", "0,", "--particles", particles]
    pdf, gif = str(tmp_path / "x.pdf"), str(tmp_path / "x.gif")
    assert main(["figure", "density", grid, "-o", pdf, "--frames", "1", *over]) == 0
    assert main(["figure", "animation", grid, "-o", gif, "--frames", "2", *over]) == 0
    with Image.open(gif) as image:
        assert image.n_frames == 2
    for arguments, message in (
        (["clouds", grid, "-o", pdf], "draw 'density'"),
        (["density", grid, "-o", gif], "must end in .pdf, .svg, .eps or .png"),
        (["animation", grid, "-o", pdf], "must end in .gif or .mp4"),
        (["animation", grid, "-o", gif, "--defect"], "figure animation has no option --defect"),
        (["depth", grid, "-o", pdf, "--particles", particles], "figure depth has no option --particles"),
        (["density", grid, "-o", pdf, "--particles", "none.h5"], "none.h5 does not exist"),
    ):
        assert main(["figure", *arguments]) == 2
        assert message in capsys.readouterr().err
