"""What figures share: widths, colours, type, labels, and the choice of frames."""

from __future__ import annotations

import difflib
import io
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure, FigureBase
from numpy.typing import NDArray

from wflow._version import __version__
from wflow.checks import check_path, is_integer, shown
from wflow.errors import InputError
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
STYLE |= {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.hashsalt": "wflow", "savefig.dpi": 300, "legend.frameon": False}
STYLE |= {"lines.linewidth": 1.2, "lines.markersize": 2.2, "hatch.linewidth": 0.5}
STYLE |= dict.fromkeys(("axes.spines.top", "axes.spines.right"), False)
STYLE |= dict.fromkeys(("font.size", "figure.titlesize", "axes.titlesize", "axes.labelsize"), 9)
STYLE |= dict.fromkeys(("legend.fontsize", "xtick.labelsize", "ytick.labelsize"), 8)
STYLE |= dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.6)
STYLE |= dict.fromkeys(("xtick.minor.width", "ytick.minor.width"), 0.4)


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's defaults with ours, whatever the user has set; undone on leaving."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings: Any = matplotlib.rcParams
        settings.update(STYLE)
        yield


def save(figure: Figure, path: str | PathLike[str]) -> Path:
    """Write a figure: ``.pdf`` (vectors, embedded TrueType fonts), ``.svg``, ``.eps`` or ``.png`` (300 dpi).

    An old file is replaced. The same figure gives the same bytes. EPS knows no transparency: dots are opaque there.
    Returns the path; an :class:`InputError` for another suffix or no such folder.
    """
    maker = f"wflow {__version__}"
    metadata: dict[str, dict[str, Any]] = {
        ".pdf": {"Creator": maker, "CreationDate": None},
        ".svg": {"Creator": maker, "Date": None},
        ".eps": {"Creator": maker},
        ".png": {"Software": maker},
    }
    if not isinstance(figure, Figure):
        raise InputError(f"figure must be a matplotlib figure, got {shown(figure)}")
    target = check_target("a figure", path, list(metadata))
    suffix, stream = target.suffix.lower(), io.BytesIO()
    with style(), _without_words_on_transparency():
        figure.savefig(stream, format=suffix[1:], metadata=metadata[suffix])
    written = stream.getvalue()
    if suffix == ".eps":  # whose date matplotlib always writes
        written = re.sub(rb"(?m)^%%CreationDate: .*\n", b"", written, count=1)
    with writing(target):
        target.write_bytes(written)
    return target


@contextmanager
def _without_words_on_transparency() -> Iterator[None]:
    """Keep matplotlib from logging that EPS knows no transparency."""
    logger = logging.getLogger("matplotlib.backends.backend_ps")
    logger.addFilter(quiet := lambda record: "transparency" not in record.getMessage())
    try:
        yield
    finally:
        logger.removeFilter(quiet)


def check_target(what: str, path: str | PathLike[str], suffixes: Sequence[str]) -> Path:
    """The path, with one of these suffixes and in a folder that exists, or an :class:`InputError`."""
    target = check_path(f"the path of {what}", path)
    suffix = target.suffix.lower()
    if suffix not in suffixes:
        close = difflib.get_close_matches(suffix, suffixes, 1, cutoff=0.5)
        hint = f"; did you mean {target.with_suffix(close[0]).name!r}?" if close else ""
        raise InputError(
            f"the path of {what} must end in {', '.join(suffixes[:-1])} or {suffixes[-1]}, got {str(path)!r}{hint}"
        )
    if not target.parent.is_dir():
        raise InputError(f"cannot write {target}: the folder {target.parent} does not exist")
    return target


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Errors of the file system become an :class:`InputError`."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from None


def laid_out(figure: Figure) -> Figure:
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


def check_solution(solution: Any) -> None:
    """Raise :class:`InputError` unless this is a solution."""
    if not isinstance(solution, Solution):
        raise InputError(f"a figure is made of a wflow.Solution (wflow.solve, wflow.load), got {shown(solution)}")


def check_indices(name: str, things: str, chosen: int | Sequence[int], count: int) -> int | list[int]:
    """How many things to choose, or which ones, counted from 0; an :class:`InputError` for none or unknown ones."""
    if isinstance(chosen, Sequence) or (isinstance(chosen, np.ndarray) and chosen.ndim):
        if not len(chosen) or not all(is_integer(i) and -count <= i < count for i in chosen):
            raise InputError(f"{name} must be among the {count} {things}, counted from 0, got {list(chosen)!r}")
        return [int(i) % count for i in chosen]
    if not is_integer(chosen) or chosen < 1:
        raise InputError(f"{name} must be a positive number of {things} or a list of them, got {shown(chosen)}")
    return int(chosen)


def choose_frames(solution: Solution, frames: int | Sequence[int]) -> list[int]:
    """Frame numbers from 0: at equal distances along the curve, or those of a list after checks."""
    check_solution(solution)
    n = solution.n_frames
    if not isinstance(frames := check_indices("frames", "frames", frames, n), int):
        return frames
    speed = np.sqrt(np.nan_to_num(solution.dissipation))
    length = np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * np.diff(solution.tau))])
    place = np.interp(solution.frame_tau, solution.tau, length)
    place += 1e-9 * (length[-1] or 1.0) * np.arange(n)  # a steady state has frames without any distance
    count, chosen = min(frames, n), [-1]
    for k, target in enumerate(np.linspace(place[-1], place[0], count)[::-1]):
        nearest = int(np.abs(place - target).argmin())
        chosen.append(min(max(nearest, chosen[-1] + 1), n - count + k))
    return chosen[1:]


def tau_colours(count: int) -> list[tuple[float, ...]]:
    """A colour for every frame shown."""
    return [matplotlib.colormaps["cividis"](0.92 * k / max(1, count - 1)) for k in range(count)]


def tau_bar(figure: FigureBase, axes: Any, taus: Sequence[float], aspect: float = 30) -> None:
    """A bar of these colours: one step for every frame, however unequal their distances."""
    count = len(taus)
    steps = ScalarMappable(BoundaryNorm(np.arange(count + 1), count), ListedColormap(tau_colours(count)))
    bar = figure.colorbar(steps, ax=axes, ticks=np.arange(count) + 0.5, aspect=aspect, pad=0.015)
    bar.set_ticklabels([number(tau) for tau in taus])
    bar.ax.tick_params(which="both", length=0)
    bar.set_label(r"training time $\tau$")


def at_tau(tau: float) -> str:
    """A training time as the title of a panel."""
    return rf"$\tau=${number(tau)}"


def symbol_of(block: str) -> str:
    """A block's name as mathematics."""
    if block in ("theta", "beta"):
        return "\\" + block
    return block if len(block) == 1 else rf"\mathrm{{{''.join(c if c.isalnum() else chr(92) + '_' for c in block)}}}"


def number(value: float, digits: int = 3) -> str:
    """A number as a label, such as ``0.01`` or ``$2\\times10^{-7}$``."""
    plain = 1e3 <= abs(value) < 1e5
    mantissa, _, exponent = (f"{value:.0f}" if plain else f"{value:.{digits}g}").partition("e")
    if not exponent:
        return mantissa.replace("-", "\N{MINUS SIGN}")
    return rf"${mantissa}\times10^{{{int(exponent)}}}$".replace(r"$1\times", "$")


def log_axis(axes: Axes, values: Array) -> None:
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
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: number(value)))
