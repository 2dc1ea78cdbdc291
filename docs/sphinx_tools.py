"""How the programs of the gallery are run: at reduced size, in a folder that is thrown away."""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

from sphinx_gallery.scrapers import figure_rst

_folder = tempfile.TemporaryDirectory(prefix="wflow-gallery-")
_exit = sys.exit

#: What makes a program short enough for the documentation.
SHORT = {"particles": ["--tau-end", "10", "--width", "4"]}


def _stay(code: Any = 0) -> None:
    """Stands in for sys.exit while a program runs: its end is not that of Sphinx, its failure is an error."""
    if code:
        raise RuntimeError(f"the program ended with exit code {code}")


def program_arguments(gallery_conf: dict[str, Any], script_vars: dict[str, Any]) -> list[str]:
    """The command line of a program: a short run."""
    sys.exit = _stay  # type: ignore[assignment]
    logging.getLogger("fontTools").setLevel("WARNING")  # which the gallery would show
    name = Path(script_vars["src_file"]).stem
    return ["-o", str(Path(_folder.name) / f"{name}.h5"), "--overwrite", *SHORT.get(name, ["--tau-end", "1"])]


def program_figures(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Draw every figure that suits the trajectories that a program has written."""
    sys.exit = _exit
    import wflow
    from wflow import figures

    shown = []
    for trajectory in sorted(Path(_folder.name).glob("*.h5")):
        solution = wflow.load(trajectory)
        for kind in figures.FIGURES:
            try:
                figure = figures.draw(kind, solution)
            except wflow.InputError:  # such as clouds of a run on densities
                continue
            shown.append(figures.save(figure, next(block_vars["image_path_iterator"])))
        trajectory.unlink()
    return str(figure_rst(shown, gallery_conf["src_dir"]))
