"""The documentation site: `make docs` builds it to docs/_build/html, offline, with warnings as errors."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

import schemenets

project = "schemenets"
author = "The schemenets developers"
copyright = author
release = version = schemenets.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_parser",
    "mathml",
    "modules",
    "plain_markdown",
    "reachable",
]
exclude_patterns = ["_build"]
smartquotes_action = "D"  # dashes alone: the sign of derivatives is no apostrophe
nitpicky = True
nitpick_ignore_regex = [("py:(class|data|obj|exc|attr)", ".*")]  # types, most of them of other packages

html_theme = "furo"
html_title = f"schemenets {release}"
html_static_path = ["_static"]
html_css_files = ["schemenets.css"]
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"
pygments_style = "default"
pygments_dark_style = "github-dark"

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_inherit_docstrings = False  # those of torch refer to its own pages
autodoc_preserve_defaults = True
python_display_short_literal_types = True
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
viewcode_line_numbers = True

myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 4
