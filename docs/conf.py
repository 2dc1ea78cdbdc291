"""Sphinx configuration: ``make docs``, or ``sphinx-build -W --keep-going -b html docs docs/_build/html``.

Building needs no network; the pages draw their formulas with MathJax, which a browser fetches.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # sphinx_tools

import wflow.runfile  # noqa: F401  # its keys are read from signatures, in which autodoc replaces defaults
from wflow import __version__

project = "wflow"
author = "The wflow developers"
copyright = "2026, The wflow developers"
release = version = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"wflow {release}"
html_copy_source = False

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False
python_maximum_signature_line_length = 88

# The programs in solvers/ are run at reduced size; sphinx_tools says how.
sphinx_gallery_conf = {
    "examples_dirs": "../solvers",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "reset_argv": "sphinx_tools.program_arguments",
    "image_scrapers": ("sphinx_tools.program_figures",),
    "download_all_examples": False,
    "notebook_extensions": set(),
    "write_computation_times": False,
    "show_signature": False,
}
