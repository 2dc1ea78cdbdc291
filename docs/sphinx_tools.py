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
_drawn: list[Any] = []

#: What makes a program short enough for the documentation.
SHORT = {
    "particles": ["--tau-end", "10", "--width", "4"],
    "jko": ["--width", "4"],
    "langevin": ["--tau-end", "10", "--width", "32"],
    "grid": ["--tau-end", "4", "--cells", "32", "--rtol", "1e-4"],
    "attention": ["--tau-end", "40"],
    "agreement": ["--size", "0.34", "--tau-end", "2"],
}


def _stay(code: Any = 0) -> None:
    """Stands in for sys.exit while a program runs: its end is not that of Sphinx, its failure is an error."""
    if code:
        raise RuntimeError(f"the program ended with exit code {code}")


def program_arguments(gallery_conf: dict[str, Any], script_vars: dict[str, Any]) -> list[str]:
    """The command line of a program: a short run. What it draws is kept for the page."""
    from wflow import figures

    sys.exit = _stay  # type: ignore[assignment]
    figures.save = lambda figure, path: _drawn.append(figure)  # type: ignore[assignment]
    logging.getLogger("fontTools").setLevel("WARNING")  # which the gallery would show
    name = Path(script_vars["src_file"]).stem
    target = str(Path(_folder.name) / name)
    output = [f"{target}.pdf"] if name == "agreement" else [f"{target}.h5", "--overwrite"]
    return ["-o", *output, *SHORT.get(name, ["--tau-end", "1"])]


def program_figures(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """The figures that a program has drawn."""
    sys.exit = _exit
    from wflow.figures import style

    shown = [style.save(figure, next(block_vars["image_path_iterator"])) for figure in _drawn]
    _drawn.clear()
    return str(figure_rst(shown, gallery_conf["src_dir"]))
