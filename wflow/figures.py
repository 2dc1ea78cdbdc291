"""Figures of trajectories, ready for a paper.

A figure is a function of a :class:`wflow.Solution`, just computed or read from a file, and returns a matplotlib
figure. :data:`FIGURES` names them, :func:`draw` calls one by name, :func:`save` writes it:

=============== ==================================================================================================
``energy``      Q and R over training time, the dissipation ``|v|^2 = -dQ/dtau``, and error rates that were observed
``clouds``      the particles of every block at a few training times, coloured by depth
``depth``       ``int |beta|^2 d rho(beta|t)`` and ``|int beta d rho(beta|t)|`` over depth, coloured by training time
``predictions`` ``Read T(1)`` against the labels in the first and the last frame
=============== ==================================================================================================

Widths are those of journal columns, type is 8 to 9 points; colours survive colour blindness, and come with dashes or
hatches. No figure needs a display or changes matplotlib's settings. All raise :class:`wflow.InputError` for frames or
quantities that do not exist.
"""

from __future__ import annotations

__all__ = ["FIGURES", "clouds", "depth", "draw", "energy", "predictions", "save"]

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh

from wflow._version import __version__
from wflow.datasets.dataset import Dataset
from wflow.errors import InputError
from wflow.measures import Particles
from wflow.solution import Solution

Array = NDArray[np.float64]

#: Widths of one and of two columns of a journal, in inches.
SINGLE, DOUBLE = 3.4, 6.9

#: The colours of Okabe and Ito, and the dashes that go with them.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))

#: Clouds of more points than this become an image of 300 dpi, also in PDF.
MAX_VECTOR_POINTS = 5000

STYLE: dict[str, Any] = {"font.family": ["STIXGeneral", "DejaVu Sans"], "mathtext.fontset": "stix"}
STYLE |= {"pdf.fonttype": 42, "savefig.dpi": 300, "legend.frameon": False}
STYLE |= {"lines.linewidth": 1.2, "lines.markersize": 2.2, "hatch.linewidth": 0.5}
STYLE |= dict.fromkeys(("axes.spines.top", "axes.spines.right"), False)
STYLE |= dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), 9)
STYLE |= dict.fromkeys(("legend.fontsize", "xtick.labelsize", "ytick.labelsize"), 8)
STYLE |= dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.6)
STYLE |= dict.fromkeys(("xtick.minor.width", "ytick.minor.width"), 0.4)


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's own defaults with ours, whatever the user has set; undone on leaving."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings: Any = matplotlib.rcParams
        settings.update(STYLE)
        yield


@_style()
def energy(
    solution: Solution, *, observed: Mapping[str, str] | None = None, defect: bool = False, tau_scale: str = "linear"
) -> Figure:
    """Q, R and the dissipation over training time; observed risks beside R, observed error rates in their own panel.

    Dots are accepted steps, where there are few. Logarithmic axes leave out what is not positive.

    Parameters
    ----------
    observed
        ``{name: "risk" or "error-rate"}``, the observed quantities to show. None shows those that the trajectory file
        knows as such; for a solution in memory, those with "risk" or "error" in their names.
    defect
        Also show the defect of the energy identity, ``|Q(0) - Q(tau) - int |v|^2| / |Q(0)|``.
    tau_scale
        "linear" or "log"; "log" leaves out tau <= 0 and shows four decades at the most.
    """
    kinds = _observed_kinds(solution) if observed is None else dict(observed)
    for name, kind in kinds.items():
        _check_choice("observed quantity", name, solution.observed)
        _check_choice(f"kind of {name!r}", kind, ("risk", "error-rate"))
    _check_choice("tau_scale", tau_scale, ("linear", "log"))
    tau = solution.tau
    if tau_scale == "log" and tau[-1] <= 0:
        raise InputError(f"tau_scale='log' needs a run that ends at tau > 0, this one ends at {tau[-1]:.6g}")
    losses = {"$Q$": solution.energy} | ({"$R$": solution.risk} if np.isfinite(solution.risk).any() else {})
    rates: dict[str, Array] = {}
    for name, kind in kinds.items():
        values, text = solution.observed[name], name.replace("$", r"\$").lstrip("_")
        if kind == "risk":
            losses[f"$R$ ({text})"] = values
        else:
            rates[f"{text} (end: {100 * values[-1]:.3g}%)"] = 100 * values
    panels = {"$Q$, $R$": losses} if len(losses) > 1 else {"$Q$": {"": solution.energy}}
    panels[r"$|v|^2=-\mathrm{d}Q/\mathrm{d}\tau$"] = {"": solution.dissipation}
    if rates:
        panels["error rate (%)"] = rates
    if defect:
        panels["energy-identity\ndefect / $|Q(0)|$"] = {
            "": np.abs(solution.series["defect"]) / (abs(solution.energy[0]) or 1)
        }

    figure = Figure(figsize=(SINGLE, 0.45 + 1.3 * len(panels)), layout="constrained")
    column = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, curves) in zip(column, panels.items()):
        _plot_series(axes, label, tau, curves)
    if tau_scale == "log":
        column[-1].set_xscale("log", nonpositive="mask")
        column[-1].set_xlim(max(tau[tau > 0][0], 1e-4 * tau[-1]) / 1.2, tau[-1] * 1.2)
    column[-1].set_xlabel(r"training time $\tau$")
    figure.align_ylabels(column)
    return _laid_out(figure)


@_style()
def clouds(
    solution: Solution, *, coordinates: tuple[int, int] | None = None, frames: int | Sequence[int] = 4
) -> Figure:
    """The particles of every block (rows) at a few training times (columns), coloured by depth.

    Blocks of more than two parameters are projected on the two principal coordinates of all particles shown, with
    their masses; the labels tell their shares of the variance. Areas of dots are proportional to the weights. A block
    of one parameter is shown by its distribution functions, one for every depth slice.

    Parameters
    ----------
    coordinates
        Two parameters to show instead of principal coordinates, counted from 0.
    frames
        How many frames, the first, the last and others at equal distances along the curve, measured by
        ``int |v| dtau``; or which ones, counted from 0.
    """
    chosen = _choose_frames(solution, frames)
    measures = [solution.measure(i) for i in chosen]
    names = list(measures[0].blocks)
    width = SINGLE if len(chosen) < 3 else DOUBLE
    figure = Figure(figsize=(width, 0.35 + 1.6 * len(names)), layout="constrained")
    grid = figure.subplots(len(names), len(chosen), sharex="row", sharey="row", squeeze=False)
    for row, name in zip(grid, names):
        if measures[0].points(name).shape[2] == 1:
            _distributions(row, name, measures)
        else:
            _scatter_clouds(row, name, measures, coordinates)
        row[0].locator_params(nbins=5, steps=[1, 2, 5, 10])
    for axes, i in zip(grid[0], chosen):
        axes.set_title(rf"$\tau=${_number(solution.frame_tau[i])}")
    if len(measures[0].t) > 1:
        bar = figure.colorbar(ScalarMappable(Normalize(0, 1), "viridis"), ax=grid, aspect=15 * len(names), pad=0.015)
        bar.set_label("depth $t$")
    figure.align_ylabels(grid[:, 0])
    return _laid_out(figure)


@_style()
def depth(solution: Solution, *, frames: int | Sequence[int] = 6) -> Figure:
    """Profiles over depth t: second moment and norm of the mean of every block, coloured by training time.

    ``frames`` as for :func:`clouds`. The measure must have more than one depth slice.
    """
    chosen = _choose_frames(solution, frames)
    measures = [solution.measure(i) for i in chosen]
    if len(measures[0].t) == 1:
        raise InputError("a profile over depth needs more than one depth slice; this measure has one: draw 'clouds'")
    names = list(measures[0].blocks)
    figure = Figure(figsize=(SINGLE if len(names) == 1 else DOUBLE, 3.4), layout="constrained")
    grid = figure.subplots(2, len(names), sharex=True, squeeze=False)
    colours = [matplotlib.colormaps["cividis"](0.92 * k / max(1, len(chosen) - 1)) for k in range(len(chosen))]
    for column, name in zip(grid.T, names):
        curves = []
        for rho, colour in zip(measures, colours):
            x, a = rho.points(name).astype(float), rho.weights(name)
            second, mean = np.einsum("sm,smp,smp->s", a, x, x), np.linalg.norm(np.einsum("sm,smp->sp", a, x), axis=1)
            curves.append([second, np.where(mean > 1e-13 * np.sqrt(second), mean, 0)])  # round-off is no profile
            for axes, values in zip(column, curves[-1]):
                axes.plot(rho.t, values, color=colour, marker="o" if len(rho.t) <= 24 else "")
        for axes, seen in zip(column, np.swapaxes(curves, 0, 1)):
            if seen.min() > 0 and seen.max() > 30 * seen.min():
                _log_axis(axes, seen)
        symbol = _symbol(name) if name == "theta" or len(name) == 1 else r"\beta"
        law = rf"\,\mathrm{{d}}\rho_{{{_symbol(name)}}}({symbol}\,|\,t)"
        column[0].set_ylabel(rf"$\int\,|{symbol}|^2{law}$")
        column[1].set_ylabel(rf"$|\!\int {symbol}{law}\,|$")
        column[1].set(xlabel="depth $t$", xlim=(-0.02, 1.02))
        figure.align_ylabels(column)
    # One step of the bar for every frame, however unequal their distances.
    steps = ScalarMappable(BoundaryNorm(np.arange(len(chosen) + 1), len(chosen)), ListedColormap(colours))
    bar = figure.colorbar(steps, ax=grid, ticks=np.arange(len(chosen)) + 0.5, aspect=30, pad=0.015)
    bar.set_ticklabels([_number(solution.frame_tau[i]) for i in chosen])
    bar.ax.tick_params(which="both", length=0)
    bar.set_label(r"training time $\tau$")
    return _laid_out(figure)


@_style()
def predictions(solution: Solution, *, objective: Any = None, dataset: Dataset | None = None) -> Figure:
    """Predictions ``Read T(1)`` against labels, in the first and the last frame.

    Labels of +-1 give histograms by class with the decision boundary, one-hot labels the confusion matrix of the last
    frame, and other labels a scatter plot with the line ``Read T(1) = y``.

    Parameters
    ----------
    objective
        What predicts, such as a :class:`wflow.TransformerObjective`; None for the solution's own.
    dataset
        Prompts and labels, such as held-out ones; None for the training data.
    """
    objective = solution.objective if objective is None else objective
    if not callable(getattr(objective, "predict", None)):
        found = "none: an encoder of your own is not stored" if objective is None else type(objective).__name__
        raise InputError(
            f"predictions need an objective that predicts, got {found}; pass objective=, the Transformer of the run"
        )
    data = objective.dataset if dataset is None else dataset
    labels = data.labels.reshape(data.n_prompts, -1)
    one_hot = data.n_labels > 1 and bool((np.sort(labels, axis=1) == np.eye(data.n_labels)[-1]).all())
    chosen = _choose_frames(solution, 1 if one_hot else 2)
    outputs = [np.asarray(objective.predict(solution.measure(i), data.tokens)) for i in chosen]
    times = [rf"$\tau=${_number(solution.frame_tau[i])}" for i in chosen]
    signs = data.n_labels == 1 and bool((np.abs(labels) == 1).all())
    panels = _confusion if one_hot else _class_histograms if signs else _label_scatter
    return _laid_out(panels(data, outputs, times))


#: The figures by name, as ``wflow figure`` takes them.
FIGURES: dict[str, Callable[..., Figure]] = {f.__name__: f for f in (energy, clouds, depth, predictions)}


def draw(kind: str, solution: Solution, **options: Any) -> Figure:
    """The figure of this name; an :class:`InputError` for another name.

    Examples
    --------
    >>> draw("cloud", None)
    Traceback (most recent call last):
    wflow.errors.InputError: figure must be one of energy, clouds, depth, predictions, got 'cloud';
    did you mean 'clouds'?
    """
    _check_choice("figure", kind, FIGURES)
    return FIGURES[kind](solution, **options)


def save(figure: Figure, path: str | PathLike[str]) -> Path:
    """Write a figure: ``.pdf`` (vectors, embedded TrueType fonts) or ``.png`` (300 dpi); an old file is replaced.

    The same figure gives the same bytes. Returns the path; an :class:`InputError` for another suffix or no such folder.
    """
    target = Path(path)
    suffix, maker = target.suffix.lower(), f"wflow {__version__}"
    metadata = {".pdf": {"Creator": maker, "CreationDate": None}, ".png": {"Software": maker}}
    if suffix not in metadata:
        close = difflib.get_close_matches(suffix, metadata, 1, cutoff=0.5)
        hint = f"; did you mean {target.with_suffix(close[0]).name!r}?" if close else ""
        raise InputError(f"the path of a figure must end in .pdf or .png, got {str(path)!r}{hint}")
    if not target.parent.is_dir():
        raise InputError(f"cannot write {target}: the folder {target.parent} does not exist")
    try:
        with _style():
            figure.savefig(target, metadata=metadata[suffix])
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from None
    return target


def _laid_out(figure: Figure) -> Figure:
    """Make the ticks, while our style holds, and fix the layout: every file of the figure then looks the same."""
    for _ in range(1 + len(figure.legends)):  # a legend outside the panels takes a second pass
        if engine := figure.get_layout_engine():
            engine.execute(figure)
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        formatter = axis.get_major_formatter()
        if axis.get_offset_text().get_text() and isinstance(formatter, ticker.ScalarFormatter):
            formatter.set_useMathText(True)  # not for all, since mathematics takes most of the time of a figure
    figure.set_layout_engine("none")
    return figure


def _check_choice(what: str, value: Any, valid: Iterable[str]) -> None:
    if value not in (names := list(valid)):
        close = difflib.get_close_matches(str(value), names, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"{what} must be one of {', '.join(names) or 'none at all'}, got {value!r}{hint}")


def _observed_kinds(solution: Solution) -> dict[str, str]:
    """Which observed quantities are risks and error rates: by the file, else by their names."""
    if solution.path is None:
        words = {"risk": "risk", "error": "error-rate"}
        return {name: kind for name in solution.observed for word, kind in words.items() if word in name.lower()}
    from wflow.trajectory import open_trajectory

    with open_trajectory(solution.path) as file:
        kinds = {name: str(file["problem/observe"][name].attrs["kind"]) for name in solution.observed}
    return {name: kind for name, kind in kinds.items() if kind in ("risk", "error-rate")}


def _choose_frames(solution: Solution, frames: int | Sequence[int]) -> list[int]:
    """Frame numbers from 0: at equal distances along the curve, or the given ones after checks."""
    n = solution.n_frames
    if not isinstance(frames, (int, np.integer)):
        if not len(frames) or min(frames) < -n or max(frames) >= n:
            raise InputError(f"frames must be among the {n} frames, counted from 0, got {list(frames)!r}")
        return [int(i) % n for i in frames]
    if frames < 1:
        raise InputError(f"frames must be a positive number of frames or a list of them, got {frames!r}")
    speed = np.sqrt(np.nan_to_num(solution.dissipation))
    length = np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * np.diff(solution.tau))])
    place = np.interp(solution.frame_tau, solution.tau, length)
    place += 1e-9 * (1 + length[-1]) * np.arange(n)  # a steady state has frames without any distance
    count, chosen = min(int(frames), n), [-1]
    for k, target in enumerate(np.linspace(place[-1], place[0], count)[::-1]):
        nearest = int(np.abs(place - target).argmin())
        chosen.append(min(max(nearest, chosen[-1] + 1), n - count + k))
    return chosen[1:]


def _symbol(block: str) -> str:
    """A block's name as mathematics."""
    if block in ("theta", "beta"):
        return "\\" + block
    return block if len(block) == 1 else rf"\mathrm{{{''.join(c if c.isalnum() else chr(92) + '_' for c in block)}}}"


def _number(value: float, digits: int = 3) -> str:
    """A number as a label, such as ``0.01`` or ``$2\\times10^{-7}$``."""
    plain = 1e3 <= abs(value) < 1e5
    mantissa, _, exponent = (f"{value:.0f}" if plain else f"{value:.{digits}g}").partition("e")
    if not exponent:
        return mantissa.replace("-", "\N{MINUS SIGN}")
    return rf"${mantissa}\times10^{{{int(exponent)}}}$".replace(r"$1\times", "$")


def _log_axis(axes: Axes, values: Array) -> None:
    """A logarithmic y axis, unless something is negative or nothing varies; the fewer decades, the more ticks."""
    positive = values[np.isfinite(values) & (values > 0)]
    if not positive.size or (values < 0).any() or positive.max() <= positive.min() * (1 + 1e-9):
        return
    axes.set_yscale("log", nonpositive="mask")
    axis, decades = axes.yaxis, np.log10(positive.max() / positive.min())
    if decades >= 2:
        axis.set(major_locator=ticker.LogLocator(numticks=6), minor_formatter=ticker.NullFormatter())
    elif decades >= 0.7:
        axis.set(major_locator=ticker.LogLocator(subs=(1, 2, 5)), minor_locator=ticker.NullLocator())
    else:
        axis.set(major_locator=ticker.MaxNLocator(4), minor_locator=ticker.NullLocator())
        axis.set_major_formatter(ticker.ScalarFormatter())
    if 0.7 <= decades < 2 or (decades >= 2 and positive.min() >= 1e-3 and positive.max() <= 1e3):
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _number(value)))


def _plot_series(axes: Axes, title: str, tau: Array, curves: Mapping[str, Array]) -> None:
    """Curves over tau, on a logarithmic axis if that fits, with a legend above the axes, where it covers nothing."""
    for (label, values), colour, dash in zip(curves.items(), PALETTE, DASHES):
        if np.isfinite(values).any():
            axes.plot(tau, values, color=colour, linestyle=dash, marker="o" if len(tau) <= 40 else "", label=label)
    axes.set_ylabel(title)
    pooled = np.concatenate(list(curves.values()))
    if title.startswith("error") and not 0 < 10 * pooled.min() < pooled.max():
        axes.set_ylim(bottom=0)
    else:
        _log_axis(axes, pooled)
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        widths = [8 + len(label) for label in labels]  # in letters; a line has room for 64
        columns = len(labels) if sum(widths) <= 64 else max(1, 64 // max(widths))
        axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2)


def _scatter_clouds(row: Any, name: str, measures: list[Particles], coordinates: tuple[int, int] | None) -> None:
    p, symbol = measures[0].points(name).shape[2], _symbol(name)
    points = [rho.points(name).reshape(-1, p).astype(float) for rho in measures]
    if coordinates is None and p > 2:
        projected, shares = _principal(
            points, [(rho.depth_weights[:, None] * rho.weights(name)).ravel() for rho in measures]
        )
        labels = [rf"${symbol}$: PC {k + 1} ({100 * share:.2g}%)" for k, share in enumerate(shares)]
    else:
        i, j = coordinates or (0, 1)
        if not (0 <= i < p and 0 <= j < p):
            raise InputError(f"coordinates must be two of the {p} parameters of {name}, from 0, got {coordinates!r}")
        projected, labels = [x[:, [i, j]] for x in points], [rf"${symbol}_{{{k}}}$" for k in (i, j)]
    order = np.random.default_rng(0).permutation(len(points[0]))  # so that no depth hides another
    for axes, xy, rho in zip(row, projected, measures):
        t, a = np.broadcast_arrays(rho.t[:, None], rho.weights(name))
        area = np.clip(2500 / a.size, 1, 10) * a.shape[1] * a.ravel()[order]
        coloured = {"c": t.ravel()[order], "cmap": "viridis", "vmin": 0, "vmax": 1} if len(t) > 1 else {"c": PALETTE[0]}
        axes.scatter(*xy[order].T, area, linewidths=0, alpha=0.85, **coloured)
        axes.collections[0].set_rasterized(a.size * len(measures) > MAX_VECTOR_POINTS)
        axes.set_xlabel(labels[0])
    row[0].set_ylabel(labels[1])


def _principal(points: list[Array], masses: list[Array]) -> tuple[list[Array], Array]:
    """Coordinates of all points along the two leading directions of their common covariance, and their shares."""
    total, p = sum(float(m.sum()) for m in masses), points[0].shape[1]
    mean = sum((m @ x for x, m in zip(points, masses)), np.zeros(p)) / total
    centred = [x - mean for x in points]
    variance = sum(float(m @ np.sum(x**2, axis=1)) for x, m in zip(centred, masses)) / total

    if variance == 0:
        return [x[:, :2] for x in centred], np.zeros(2)

    def covariance(v: Array) -> Array:
        return sum(((m * (x @ v.ravel())) @ x for x, m in zip(centred, masses)), np.zeros(p)) / total

    start = np.random.default_rng(0).standard_normal(p)
    values, vectors = eigsh(LinearOperator((p, p), covariance, dtype=float), 2, v0=start)
    vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), [0, 1]])
    return [x @ vectors[:, ::-1] for x in centred], np.maximum(values[::-1] / variance, 0)


def _distributions(row: Any, name: str, measures: list[Particles]) -> None:
    for axes, rho in zip(row, measures):
        for x, a, t in zip(rho.points(name)[..., 0], rho.weights(name), rho.t):
            order = np.argsort(x, kind="stable")
            colour = matplotlib.colormaps["viridis"](float(t)) if len(rho.t) > 1 else PALETTE[0]
            mass = np.concatenate([[0.0], np.cumsum(a[order])])
            axes.plot(x[order][[0, *range(len(x))]], mass, color=colour, drawstyle="steps-post", linewidth=0.9)
        axes.set_xlabel(f"${_symbol(name)}$")
    row[0].set_ylabel("cumulative mass")


def _class_histograms(data: Dataset, outputs: list[Array], times: list[str]) -> Figure:
    figure = Figure(figsize=(SINGLE, 0.7 + 1.25 * len(outputs)), layout="constrained")
    column = figure.subplots(len(outputs), 1, sharex=True, squeeze=False)[:, 0]
    pooled = np.concatenate([*(output.ravel() for output in outputs), [-1.0, 1.0]])
    step = np.ptp(pooled) / 40  # bins begin at multiples of it, so that none has both sides of the boundary
    first, last = int(np.floor(pooled.min() / step)), int(np.floor(pooled.max() / step))
    for axes, output, time in zip(column, outputs, times):
        bins = np.floor(output.ravel() / step).astype(int) - first
        for y, colour, hatch in ((-1, PALETTE[0], ""), (1, PALETTE[1], "/////")):
            counts = np.bincount(bins[data.labels.ravel() == y], minlength=last - first + 1).astype(float)
            counts[counts == 0] = np.nan
            style: Any = {"facecolor": (colour, 0.35), "edgecolor": colour, "hatch": hatch, "linewidth": 0.8}
            axes.stairs(counts, step * np.arange(first, last + 2), fill=True, label=f"$y={y:+d}$", **style)
        axes.axvline(0, color="black", linestyle="--", linewidth=0.8, label="decision boundary")
        axes.set_ylabel("prompts")
        axes.set_title(f"{time}: {100 * data.error_rate(output):.3g}% wrong", loc="right")
    figure.legend(*column[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    column[-1].set_xlabel(r"prediction $\mathrm{Read}\,T(1)$")
    return figure


def _label_scatter(data: Dataset, outputs: list[Array], times: list[str]) -> Figure:
    labels, few = data.labels.reshape(data.n_prompts, -1), 1 < data.n_labels <= len(PALETTE)
    figure = Figure(figsize=(SINGLE, (2.05 if len(outputs) > 1 else 3.3) + 0.25 * few), layout="constrained")
    row = figure.subplots(1, len(outputs), sharex=True, sharey=True, squeeze=False)[0]
    area = float(np.clip(2000 / labels.size, 1, 10))
    pooled = np.concatenate([labels.ravel(), *(output.ravel() for output in outputs)])
    margin = 0.05 * (np.ptp(pooled) or 1.0)
    for axes, output, time in zip(row, outputs, times):
        for k, values in enumerate(output.reshape(labels.shape).T):
            axes.scatter(labels[:, k], values, area, PALETTE[k * few], linewidths=0, alpha=0.7, label=f"$k={k + 1}$")
            axes.collections[k].set_rasterized(labels.size > MAX_VECTOR_POINTS)
        axes.axline((0, 0), slope=1, color="black", linewidth=0.6, linestyle="--", zorder=0)
        axes.set_title(f"{time}: $R=${_number(data.risk(output), 2)}")
        limits = (pooled.min() - margin, pooled.max() + margin)
        axes.set(xlabel="label $y$", xlim=limits, ylim=limits, aspect="equal")
    row[0].set_ylabel(r"prediction $\mathrm{Read}\,T(1)$")
    if few:
        figure.legend(*row[0].get_legend_handles_labels(), loc="outside upper center", ncols=data.n_labels)
    return figure


def _confusion(data: Dataset, outputs: list[Array], times: list[str]) -> Figure:
    K, output = data.n_labels, outputs[0]
    counts = np.zeros((K, K), dtype=int)
    np.add.at(counts, (data.labels.argmax(axis=1), output.argmax(axis=1)), 1)
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(SINGLE, 3.0), layout="constrained")
    axes = figure.subplots()
    mesh = axes.pcolormesh(np.arange(K), np.arange(K), share, cmap="Blues", vmin=0, vmax=100)
    for i, j in zip(*np.nonzero(counts)) if K <= 12 else ():
        axes.text(j, i, str(counts[i, j]), ha="center", va="center", size=7, color="w" if share[i, j] > 55 else "k")
    axes.set(xlabel=r"largest entry of $\mathrm{Read}\,T(1)$", ylabel="class", aspect="equal")
    axes.invert_yaxis()
    axes.locator_params(nbins=min(K, 12), integer=True)
    axes.set_title(f"{times[0]}: {100 * data.error_rate(output):.3g}% wrong", loc="right")
    axes.tick_params(length=0)
    figure.colorbar(mesh, ax=axes, aspect=30, pad=0.015, shrink=0.8).set_label("share of the class (%)")
    return figure
