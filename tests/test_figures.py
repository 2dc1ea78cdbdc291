"""Figures: they show the numbers of the solution, from any state of a run, and do not depend on settings."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.testing import assert_allclose

import wflow
from wflow import Dataset, FeedForward, InputError, Particles, Solution, Status, TransformerObjective, figures
from wflow.figures.style import number as number_of
from wflow.observers import ErrorRate, Risk
from wflow.trajectory.layout import set_texts

#: What is drawn of a run on particles.
KINDS = [kind for kind in figures.FIGURES if kind != "density"]


def make_dataset(labels: Any, readout: Any = (-1, -1)) -> Dataset:
    rng = np.random.default_rng(1)
    return Dataset(rng.standard_normal((len(labels), 3, 2)), labels, readout)


def make_objective(data: Dataset) -> TransformerObjective:
    return TransformerObjective(data, feedforward=FeedForward("tanh"), weight_decay=1e-2, layers=3)


def make_measure(slices: int = 3, width: int = 5, p: int = 6, seed: int = 0, **options: Any) -> Particles:
    return Particles(w=np.random.default_rng(seed).standard_normal((slices, width, p)), **options)


def solve(data: Dataset, **options: Any) -> Solution:
    return wflow.solve(make_objective(data), make_measure(), (0, 4), rtol=1e-3, progress=False, **options)


def make_solution(measures: list[Particles], objective: Any = None, **series: Any) -> Solution:
    """A solution that was never computed: one frame and one step for every measure."""
    n = len(measures)
    falling = 10.0 ** -np.arange(n)
    columns = {"tau": np.arange(n) / 1.0, "energy": falling, "risk": falling / 2, "dissipation": falling, **series}
    columns |= {name: np.zeros(n) for name in ("dtau", "defect", "max_norm") if name not in columns}
    return Solution(columns, {}, columns["tau"], lambda i: measures[i], Status.FINISHED, "", {}, objective=objective)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with labels of +-1, observed error rates and risks, and a quantity of the user's own."""
    data, held = make_dataset([-1.0, 1.0] * 6), make_dataset([1.0, -1.0, 1.0])
    Q = make_objective(data)
    observe = {"train": ErrorRate(Q), "held": ErrorRate(Q, held), "test": Risk(Q, held), "own": lambda rho: 7.0}
    place = tmp_path_factory.mktemp("figures") / "signs.h5"
    solve(data, observe=observe, path=place, save=wflow.SaveAt(every=0.5))
    return place


@pytest.fixture(scope="module")
def signs(path: Path) -> Solution:
    return wflow.load(path)


def lines(axes: Any) -> list[np.ndarray]:
    return [line.get_ydata() for line in axes.lines]


def dots(axes: Any) -> np.ndarray:
    return np.asarray(axes.collections[0].get_offsets())


# Every figure


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_is_written_as_pdf_and_png(kind: str, signs: Solution, tmp_path: Path) -> None:
    figure = figures.draw(kind, signs)
    assert isinstance(figure, Figure)
    assert figure.get_figwidth() in (figures.SINGLE, figures.DOUBLE)
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    for axes in panels:
        spec = axes.get_subplotspec()
        assert axes.get_ylabel() or not spec.is_first_col()
        assert axes.get_xlabel() or not spec.is_last_row()
    pdf = figures.save(figure, tmp_path / "figure.pdf").read_bytes()
    png = figures.save(figure, str(tmp_path / "figure.PNG")).read_bytes()
    width, height = figure.get_size_inches()
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf)
    assert box is not None
    assert_allclose([float(number) for number in box.groups()], [72 * width, 72 * height])
    assert b"/Type3" not in pdf
    assert b"STIXGeneral" in pdf
    assert png.startswith(b"\x89PNG")
    assert_allclose(int.from_bytes(png[16:20], "big"), 300 * width, atol=1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_is_drawn_up_to_its_last_frame(kind: str, path: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed.h5"
    shutil.copy(path, killed)
    with h5py.File(killed, "r+") as file:
        set_texts(file, {"status": "running"})
        file["series/count"][()], file["frames/count"][()] = 1, 1
    solution = wflow.load(killed)
    assert solution.status is Status.KILLED
    if kind == "landscape":
        with pytest.raises(InputError, match="need three measures or more, got 1: save more frames"):
            figures.landscape(solution)
        return
    figure = figures.draw(kind, solution)
    if kind == "energy":
        assert lines(figure.axes[0])[0].shape == (1,)


def test_settings_of_the_user_neither_change_nor_matter(signs: Solution, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    plain = figures.save(figures.predictions(signs), tmp_path / "plain.pdf").read_bytes()
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "xtick.labelsize": 3}):
        figure = figures.predictions(signs)
        assert matplotlib.rcParams["font.size"] == 30
    with matplotlib.rc_context({"axes.unicode_minus": False, "savefig.bbox": "tight", "pdf.fonttype": 3}):
        assert figures.save(figure, tmp_path / "other.pdf").read_bytes() == plain


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_for_pages_and_for_papers(
    kind: str, signs: Solution, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SVG and EPS have the size of the figure and no date, and are the same whenever they are written."""
    figure = figures.draw(kind, signs)
    width, height = 72 * figure.get_size_inches()
    for suffix in (".svg", ".EPS"):
        first, second = (figures.save(figure, tmp_path / f"{name}{suffix}").read_bytes() for name in "ab")
        assert first == second and f"wflow {wflow.__version__}".encode() in first
        assert b"Date" not in first and b"<dc:date>" not in first
    drawing = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert_allclose([float(drawing.attrib[name].removesuffix("pt")) for name in ("width", "height")], [width, height])
    script = (tmp_path / "a.EPS").read_bytes()
    assert script.startswith(b"%!PS-Adobe-3.0 EPSF-3.0") and b"/FontType 42" in script
    box = re.search(rb"%%BoundingBox: 0 0 (\d+) (\d+)", script)
    assert box is not None
    assert_allclose([float(number) for number in box.groups()], [width, height], atol=1)
    assert not caplog.records


def test_no_display_is_opened() -> None:
    """Only pyplot opens one; a figure without it has a canvas that just writes files."""
    for module in Path(figures.__file__).parent.glob("*.py"):
        assert "pyplot" not in module.read_text()
    assert type(figures.draw("energy", make_solution([make_measure()])).canvas).__name__ == "FigureCanvasBase"


def test_unknown_figures_and_places_are_refused(signs: Solution, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"figure must be one of energy, .*got 'enrgy'; did you mean 'energy'\?"):
        figures.draw("enrgy", signs)
    figure = Figure()
    words = r"must end in \.pdf, \.svg, \.eps or \.png, got "
    with pytest.raises(InputError, match=words + r"'fig\.pfd'; did you mean 'fig\.pdf'\?"):
        figures.save(figure, "fig.pfd")
    for name in ("fig", "fig.gif", "fig.h5"):
        with pytest.raises(InputError, match=words):
            figures.save(figure, name)
    with pytest.raises(InputError, match=r"the folder .* does not exist"):
        figures.save(figure, tmp_path / "nowhere" / "fig.pdf")
    (tmp_path / "folder.pdf").mkdir()
    with pytest.raises(InputError, match="cannot write"):
        figures.save(figure, tmp_path / "folder.pdf")


# Energy


def test_energy_shows_the_series_and_the_observed_risks_and_error_rates(signs: Solution) -> None:
    losses, dissipation, errors = figures.energy(signs).axes
    for values, expected in zip(lines(losses), (signs.energy, signs.risk, signs.observed["test"])):
        assert_allclose(values, expected)
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["$Q$", "$R$", "$R$ (test)"]
    assert_allclose(lines(dissipation), [signs.dissipation])
    assert losses.get_yscale() == dissipation.get_yscale() == "log"
    shown = dict(zip(("held", "train"), lines(errors)))
    for name, values in shown.items():
        assert_allclose(values, 100 * signs.observed[name])
    assert errors.get_ylabel() == "error rate (%)"
    for axes in (losses, dissipation, errors):
        assert_allclose(axes.lines[0].get_xdata(), signs.tau)
        colours = [to_hex(line.get_color()).upper() for line in axes.lines]
        assert set(colours) <= set(figures.PALETTE)
        assert len(set(colours)) == len({str(line.get_linestyle()) for line in axes.lines}) == len(axes.lines)


def test_energy_has_no_panel_of_errors_unless_they_were_observed(signs: Solution) -> None:
    solution = solve(make_dataset([-1.0, 1.0]), observe={"train": lambda rho: 0.25, "test error": lambda rho: 0.5})
    assert [axes.get_ylabel() for axes in figures.energy(solution).axes][2:] == ["error rate (%)"]  # by its name
    assert len(figures.energy(solution, observed={}).axes) == 2
    chosen = figures.energy(solution, observed={"train": "error-rate"}).axes[2]
    assert_allclose(lines(chosen), [np.full(len(solution.tau), 25.0)])
    assert chosen.get_ylim()[0] == 0
    assert len(figures.energy(signs, observed={"own": "risk"}).axes) == 2
    with pytest.raises(InputError, match=r"observed quantity must be one of .*got 'trian'; did you mean 'train'\?"):
        figures.energy(solution, observed={"trian": "risk"})
    with pytest.raises(InputError, match="kind of 'train' must be one of risk, error-rate"):
        figures.energy(solution, observed={"train": "accuracy"})


def test_energy_scales() -> None:
    rho = [make_measure(seed=k) for k in range(9)]
    solution = make_solution(rho, defect=1e-9 * np.arange(9), risk=np.full(9, np.nan))
    losses, _, defect = figures.energy(solution, defect=True, tau_scale="log").axes
    assert len(losses.lines) == 1
    assert losses.get_ylabel() == "$Q$"
    assert_allclose(lines(defect), [1e-9 * np.arange(9)])
    assert defect.get_yscale() == defect.get_xscale() == "log"
    assert 0 < losses.get_xlim()[0] < 1 < 8 < losses.get_xlim()[1]
    assert 2 <= sum(losses.get_ylim()[0] <= y <= losses.get_ylim()[1] for y in losses.get_yticks()) <= 9
    negative = make_solution(rho, energy=-np.arange(9.0), dissipation=np.zeros(9))
    assert [axes.get_yscale() for axes in figures.energy(negative).axes] == ["linear", "linear"]
    narrow = make_solution(rho[:3], energy=np.array([0.52, 0.51, 0.505]), risk=np.array([0.5, 0.49, 0.48]))
    axes = figures.energy(narrow).axes[0]
    ticks = [t for t in axes.get_yticks() if axes.get_ylim()[0] <= t <= axes.get_ylim()[1]]
    assert axes.get_yscale() == "log"
    assert 2 <= len(ticks) <= 6
    with pytest.raises(InputError, match=r"tau_scale must be one of linear, log, got 'logs'; did you mean 'log'"):
        figures.energy(narrow, tau_scale="logs")
    with pytest.raises(InputError, match="needs a run that ends at tau > 0"):
        figures.energy(make_solution(rho[:1]), tau_scale="log")


@pytest.mark.parametrize("first", [4.0, -0.5, 0.0])
def test_the_defect_is_shown_as_a_share_of_the_first_energy(first: float) -> None:
    """Of its size, whatever the signs; where Q(0) = 0, as it is."""
    rho, defect = [make_measure()] * 5, 1e-3 * np.array([0.0, 1.0, -2.0, 3.0, -8.0])
    energy = first - np.arange(5.0)
    axes = figures.energy(make_solution(rho, energy=energy, defect=defect), defect=True).axes[-1]
    assert_allclose(lines(axes)[0], np.abs(defect) / (abs(first) or 1.0))
    assert axes.get_ylabel() == "energy-identity\ndefect / $|Q(0)|$"
    assert axes.get_ylim()[0] < lines(axes)[0][1] < lines(axes)[0].max() < axes.get_ylim()[1]


@pytest.mark.parametrize(("first", "left"), [(0.5, 0.5), (1e-7, 1e-4 * 2e3)])
def test_an_axis_of_log_tau_shows_all_of_the_run_but_four_decades_at_most(first: float, left: float) -> None:
    rho, tau = [make_measure()] * 4, np.array([0.0, first, 1e3, 2e3])
    axes = figures.energy(make_solution(rho, tau=tau), tau_scale="log").axes[-1]
    assert_allclose(axes.get_xlim(), [left / 1.2, 2e3 * 1.2])
    assert_allclose(axes.lines[0].get_xdata(), tau)


def test_names_of_the_user_are_not_mathematics() -> None:
    solution = make_solution([make_measure(), make_measure()])
    solution.observed["_$a_error$ %"] = np.array([0.5, 0.0])
    figure = figures.energy(solution)
    assert figure.axes[2].get_legend().get_texts()[0].get_text() == r"\$a_error\$ % (end: 0%)"
    blocks = make_solution([Particles(**{"my_block": np.zeros((2, 3, 2))})])
    label = r"$\int\,|\beta|^2\,\mathrm{d}\rho_{\mathrm{my\_block}}(\beta\,|\,t)$"
    assert figures.depth(blocks).axes[0].get_ylabel() == label


def test_numbers_in_labels() -> None:
    numbers = {
        0: "0",
        -1.5: "\N{MINUS SIGN}1.5",
        1e-7: "$10^{-7}$",
        2e9: r"$2\times10^{9}$",
        0.01: "0.01",
        2000: "2000",
    }
    assert {number: number_of(number) for number in numbers} == numbers


# Clouds


def test_clouds_show_the_particles_in_chosen_coordinates() -> None:
    weights = np.random.default_rng(2).dirichlet(np.ones(5), size=3)
    rho = [make_measure(seed=k, weights={"w": weights}) for k in range(3)]
    panels = figures.clouds(make_solution(rho), coordinates=(4, 1), frames=[0, -1]).axes[:2]
    order = np.random.default_rng(0).permutation(15)
    for axes, measure in zip(panels, (rho[0], rho[2])):
        assert_allclose(dots(axes), measure.w.reshape(15, 6)[order][:, [4, 1]])
        assert_allclose(axes.collections[0].get_array(), np.repeat(measure.t, 5)[order])
        sizes = axes.collections[0].get_sizes()
        assert_allclose(sizes / sizes.sum(), weights.ravel()[order] / 3)
        assert axes.get_xlabel() == "$w_{4}$"
        assert axes.collections[0].get_cmap().name == "viridis"
        assert not axes.collections[0].get_rasterized()
    assert panels[0].get_ylabel() == "$w_{1}$"
    assert panels[0].get_xlim() == panels[1].get_xlim()
    assert panels[0].get_ylim() == panels[1].get_ylim()
    assert [axes.get_title() for axes in panels] == [r"$\tau=$0", r"$\tau=$2"]
    with pytest.raises(InputError, match="coordinates must be two of the 6 parameters of w"):
        figures.clouds(make_solution(rho), coordinates=(0, 6))


def test_clouds_show_principal_coordinates_by_default() -> None:
    rho = [make_measure(seed=k, width=40) for k in range(2)]
    first, second, bar = figures.clouds(make_solution(rho)).axes
    x = np.concatenate([measure.w.reshape(120, 6) for measure in rho])
    x -= x.mean(axis=0)
    _, values, directions = np.linalg.svd(x, full_matrices=False)
    order = np.random.default_rng(0).permutation(120)
    expected = (x @ directions[:2].T).reshape(2, 120, 2)[:, order]
    for axes, points in zip((first, second), expected):
        assert_allclose(np.abs(dots(axes)), np.abs(points), atol=1e-9)
    share = 100 * values**2 / np.sum(values**2)
    assert first.get_xlabel() == second.get_xlabel() == f"$w$: PC 1 ({share[0]:.2g}%)"
    assert first.get_ylabel() == f"$w$: PC 2 ({share[1]:.2g}%)"
    assert bar.get_ylabel() == "depth $t$"


def test_principal_coordinates_are_those_of_the_mass() -> None:
    """Particles without mass, far along another axis, do not turn them."""
    x = np.random.default_rng(4).standard_normal((2, 20, 4)) * [3.0, 1.0, 0.1, 0.1]
    far = np.concatenate([x, [[[0.0, 0.0, 0.0, 90.0]]] * 2], axis=1)
    weights = {"w": np.tile(np.append(np.full(20, 1 / 20), 0), (2, 1))}
    depth_weights = [0.25, 0.75]
    alone, both = (
        figures.clouds(make_solution([rho])).axes[0]
        for rho in (
            Particles(w=x, depth_weights=depth_weights),
            Particles(w=far, weights=weights, depth_weights=depth_weights),
        )
    )
    assert (both.get_xlabel(), both.get_ylabel()) == (alone.get_xlabel(), alone.get_ylabel())
    mass = np.repeat(depth_weights, 20) / 20
    points = x.reshape(40, 4)
    centred = points - mass @ points
    values = np.linalg.eigvalsh((mass[:, None] * centred).T @ centred)
    assert alone.get_xlabel() == f"$w$: PC 1 ({100 * values[-1] / values.sum():.2g}%)"


def test_clouds_without_any_spread_are_drawn() -> None:
    blocks = {f"x{p}": np.full((1, 4, p), 0.1) for p in (1, 2, 3, 7)}
    figure = figures.clouds(make_solution([Particles(**blocks)]))
    assert len(figure.axes) == 4  # one slice: no bar of depth


def test_one_parameter_is_shown_by_its_distribution_functions() -> None:
    rho = Particles(x=[[[2.0], [0.0], [1.0]]] * 2, weights={"x": [[0.5, 0.2, 0.3]] * 2})
    axes = figures.clouds(make_solution([rho])).axes[0]
    assert len(axes.lines) == 2
    assert_allclose(axes.lines[0].get_xdata(), [0, 0, 1, 2])
    assert_allclose(lines(axes)[0], [0, 0.2, 0.5, 1])
    assert axes.lines[0].get_drawstyle() == "steps-post"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("$x$", "cumulative mass")


def test_clouds_whose_squares_overflow_are_refused() -> None:
    """As after damage of a file without checksums."""
    rho = Particles(w=[[[1e200, 0, 0], [-1e200, 0, 1]]])
    with pytest.raises(InputError, match="squares are finite"):
        figures.clouds(make_solution([rho, rho]))


def test_large_clouds_are_images(tmp_path: Path) -> None:
    solution = make_solution([make_measure(4, 1500, 2)])
    figure = figures.clouds(solution)
    assert figure.axes[0].collections[0].get_rasterized()
    assert figures.save(figure, tmp_path / "large.pdf").stat().st_size < 200_000


def test_frames_are_chosen_along_the_curve() -> None:
    rho = [make_measure(seed=k) for k in range(11)]
    speed = np.where(np.arange(11) < 4, 1.0, 1e-6)  # everything happens before tau = 4
    for velocity, expected in ((speed, (0, 2, 10)), (1e-12 * speed, (0, 2, 10)), (np.zeros(11), (0, 5, 10))):
        bar = figures.depth(make_solution(rho, dissipation=velocity**2), frames=3).axes[-1]
        assert [tick.get_text() for tick in bar.get_yticklabels()] == [str(tau) for tau in expected]
    for frames in (0, [], [11], [-12], True, 2.5, [True], [0.5], "01"):
        with pytest.raises(InputError, match="frames must be"):
            figures.depth(make_solution(rho), frames=frames)


# Depth


def test_depth_shows_second_moments_and_norms_of_means(signs: Solution) -> None:
    second, mean, bar = figures.depth(signs, frames=[0, 3, -1]).axes
    for k, i in enumerate((0, 3, -1)):
        rho = signs.measure(i)
        assert_allclose(second.lines[k].get_xdata(), rho.t)
        assert_allclose(lines(second)[k], np.mean(np.sum(rho.w**2, axis=2), axis=1))
        assert_allclose(lines(mean)[k], np.linalg.norm(rho.w.mean(axis=1), axis=1))
    assert len({to_hex(line.get_color()) for line in second.lines}) == 3
    assert second.get_ylabel() == r"$\int\,|w|^2\,\mathrm{d}\rho_{w}(w\,|\,t)$"
    assert mean.get_xlabel() == "depth $t$"
    assert bar.get_ylabel() == r"training time $\tau$"
    assert [tick.get_text() for tick in bar.get_yticklabels()] == ["0", "1.5", "4"]


def test_depth_shows_moments_with_the_weights_of_the_particles() -> None:
    weights = np.random.default_rng(3).dirichlet(np.ones(5), size=3)
    rho = make_measure(weights={"w": weights})
    second, mean = (lines(axes)[0] for axes in figures.depth(make_solution([rho])).axes[:2])
    for l, a in enumerate(weights):
        assert second[l] == pytest.approx(sum(a[j] * rho.w[l, j] @ rho.w[l, j] for j in range(5)))
        assert mean[l] == pytest.approx(np.linalg.norm(sum(a[j] * rho.w[l, j] for j in range(5))))


def test_depth_needs_depth() -> None:
    with pytest.raises(InputError, match="more than one depth slice"):
        figures.depth(make_solution([make_measure(slices=1)]))


def test_depth_over_decades_is_logarithmic_and_round_off_is_zero() -> None:
    rho = make_measure()
    figure = figures.depth(make_solution([rho, rho.replace(w=rho.w / 100)]))
    assert figure.axes[0].get_yscale() == "log"
    opposite = Particles(w=np.stack([rho.w[:, 0], -rho.w[:, 0] * (1 + 1e-15)], axis=1))
    assert_allclose(lines(figures.depth(make_solution([opposite])).axes[1]), 0, atol=0)


# Predictions


def test_predictions_of_two_classes_are_histograms(signs: Solution) -> None:
    figure = figures.predictions(signs)
    data = signs.objective.dataset
    for axes, i in zip(figure.axes, (0, -1)):
        output = signs.objective.predict(signs.measure(i))
        for patch, y in zip(axes.patches, (-1, 1)):
            counts, edges, _ = patch.get_data()
            assert_allclose(np.nansum(counts), np.sum(data.labels == y))
            assert_allclose(np.nansum(counts[edges[:-1] > -1e-12]), np.sum((data.labels == y) & (output >= 0)))
            assert to_hex(patch.get_edgecolor()).upper() in figures.PALETTE
        assert axes.get_title(loc="right").endswith(f"{100 * data.error_rate(output):.3g}% wrong")
        assert axes.lines[0].get_xdata() == [0, 0]
    assert figure.axes[-1].get_xlabel() == r"prediction $\mathrm{Read}\,T(1)$"


def test_predictions_of_numbers_are_a_scatter_plot(tmp_path: Path) -> None:
    labels = np.linspace(-2, 3, 6)
    solution = solve(make_dataset(labels))
    held_out = make_dataset(labels[:4] + 0.5)
    for data in (solution.objective.dataset, held_out):
        figure = figures.predictions(solution, dataset=data)
        for axes, i in zip(figure.axes, (0, -1)):
            output = solution.objective.predict(solution.measure(i), data.tokens)
            assert_allclose(dots(axes), np.column_stack([data.labels, output]))
            assert axes.get_xlim() == axes.get_ylim()
            assert rf"$\tau=${4 if i else 0}: $R=$" in axes.get_title()
    Q = TransformerObjective(held_out, feedforward=FeedForward("tanh"), layers=3, loss="huber", huber_delta=0.5)
    title = figures.predictions(solution, objective=Q).axes[0].get_title()
    assert title.endswith(f"$R=${number_of(Q.risk(solution.measure(0)), 2)}")
    several = make_dataset(np.stack([labels, labels**2], axis=1), [(0, -1), (1, -1)])
    figure = figures.predictions(solve(several))
    assert [len(axes.collections) for axes in figure.axes] == [2, 2]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["$k=1$", "$k=2$"]


@pytest.mark.parametrize("one_hot", [True, False])
def test_predictions_of_many_classes_are_a_confusion_matrix_and_margins(one_hot: bool) -> None:
    classes = np.array([0, 0, 0, 1, 1, 2])
    solution = solve(make_dataset(np.eye(3)[classes] if one_hot else classes, [(0, -1), (1, -1), (2, -1)]))
    axes, below = figures.predictions(solution).axes[:2]
    for patch, i in zip(below.patches, (0, -1)):
        counts, edges, _ = patch.get_data()
        output = solution.objective.predict(solution.measure(i))
        right = sum(row[k] > max(np.delete(row, k)) for row, k in zip(output, classes))
        assert np.nansum(counts) == 6 and np.nansum(counts[edges[:-1] > -1e-12]) == right
        assert patch.get_label() == rf"$\tau=${4 if i else 0}"
    counts = np.zeros((3, 3), dtype=int)
    np.add.at(counts, (classes, solution.objective.predict(solution.measure(-1)).argmax(axis=1)), 1)
    shown = {text.get_position()[::-1]: text.get_text() for text in axes.texts}
    assert shown == {(i, j): str(counts[i, j]) for i, j in zip(*np.nonzero(counts))}
    assert_allclose(axes.collections[0].get_array(), 100 * counts / counts.sum(axis=1, keepdims=True))
    assert axes.get_ylabel() == "class"


def test_predictions_need_an_objective(signs: Solution) -> None:
    measures = [signs.measure(0), signs.measure(-1)]
    with pytest.raises(InputError, match=r"predictions need an objective that predicts, got none.*pass objective="):
        figures.predictions(make_solution(measures))
    with pytest.raises(InputError, match="got object; pass objective="):
        figures.predictions(make_solution(measures, objective=object()))
    assert len(figures.predictions(make_solution(measures), objective=signs.objective).axes) == 2


# Landscapes


@pytest.mark.parametrize("quantity", ["energy", "risk"])
def test_landscapes_show_the_plane_of_the_trajectory(quantity: str, signs: Solution) -> None:
    figure = figures.landscape(signs, quantity=quantity, points=9)
    Q: Any = signs.objective
    measures: Any = [signs.measure(i) for i in range(signs.n_frames)]
    d1, d2, shares = wflow.landscapes.principal_directions(Q, measures)
    plane = wflow.landscape(Q, measures[-1], d1, d2, [0.0], [0.0])
    path = np.array([plane.project(rho) for rho in measures])
    axes = figure.axes[0]
    halo, trajectory, first, last = (line.get_xydata() for line in axes.lines)
    assert_allclose(trajectory, path, atol=1e-12)
    assert_allclose(halo, path, atol=1e-12)
    assert_allclose(np.concatenate([first, last]), path[[0, -1]], atol=1e-12)
    assert path[-1] == pytest.approx([0, 0], abs=1e-12) and axes.get_aspect() == 1
    assert (
        axes.get_xlabel() == f"PC 1 ({100 * shares[0]:.2g}%)" and axes.get_ylabel() == f"PC 2 ({100 * shares[1]:.2g}%)"
    )
    (a0, a1), (b0, b1) = axes.get_xlim(), axes.get_ylim()
    assert a0 < path[:, 0].min() and path[:, 0].max() < a1 and b0 < path[:, 1].min() and path[:, 1].max() < b1
    made = wflow.landscape(Q, measures[-1], d1, d2, np.linspace(a0, a1, 9), np.linspace(b0, b1, 9))
    values = made.energy if quantity == "energy" else made.risk
    levels = axes.collections[0].levels  # type: ignore[attr-defined]
    assert_allclose([levels[0], levels[-1]], [values.min(), values.max()], rtol=1e-10)
    assert [text.get_text() for text in axes.texts] == [r"$\tau=$0", r"$\tau=$4"]


def test_what_has_no_landscape(signs: Solution) -> None:
    nothing = make_solution([make_measure(seed=k) for k in range(4)])
    with pytest.raises(InputError, match="a landscape needs the energy, which is not stored"):
        figures.landscape(nothing)
    heat = wflow.PotentialEnergy(lambda x: np.sum(x**2, axis=1), lambda x: 2 * x)
    nothing.objective = heat
    assert figures.landscape(nothing, points=3).axes[0].get_xlabel().startswith("PC 1")
    with pytest.raises(InputError, match="the risk has no finite value on the plane: this energy has none"):
        figures.landscape(nothing, quantity="risk", points=3)
    with pytest.raises(InputError, match="quantity must be one of energy, risk, got 'riks'; did you mean 'risk'"):
        figures.landscape(signs, quantity="riks")
    with pytest.raises(InputError, match="points must be an integer from 3 to 1000, got 2"):
        figures.landscape(signs, points=2)
    cells = [wflow.Grid(x=np.ones(8), box={"x": ((-1, 1),)})] * 3
    with pytest.raises(InputError, match="a landscape is for runs on particles; this one is on a grid: draw 'density'"):
        figures.landscape(make_solution(cells, heat))  # type: ignore[arg-type]
