"""Configuration of the documentation: ``sphinx-build -W --keep-going docs docs/_build/html``."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

from regopt import __version__  # noqa: E402 - found by the line above

project = "regopt"
author = "regopt developers"
copyright = "regopt developers"
release = version = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "myst_nb",
    "inventories",
    "api_pages",
    "gallery",
    "flowchart",
]
exclude_patterns = ["_build", "_ext", "**/.ipynb_checkpoints"]
default_role = "py:obj"
highlight_language = "none"  # of blocks that name no language

# API
autodoc_typehints = "none"  # the docstring says which numbers may be traced, which a type cannot
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False
python_use_unqualified_type_names = True

# pages
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]
source_suffix = {".md": "myst-nb", ".rst": "restructuredtext"}

# programs
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "cells")
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# look
html_theme = "sphinx_book_theme"
html_title = "regopt"
html_static_path = ["_static"]
html_css_files = ["regopt.css"]
html_context = {"default_mode": "auto"}  # light or dark, as the browser asks
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "show_navbar_depth": 1,
    "collapse_navbar": True,
    "navbar_persistent": [],  # the search is in the side bar
    "use_download_button": False,
    "use_fullscreen_button": False,
    "home_page_in_toc": False,
}
pygments_style = "default"
