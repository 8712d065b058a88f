"""The site: these pages, the notebooks with their outputs, and a reference made from docstrings.

`make docs` builds it into docs/_build/html. The root of the repository is the source folder, so
that the site is laid out as the repository is, and links between its files are links of the site.
"""

import re
import sys
from configparser import ConfigParser
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs/_ext")]

from IPython.lib.lexers import IPython3Lexer  # noqa: E402

from dgsa_np import __version__ as release  # noqa: E402, F401

setup_cfg = ConfigParser()
setup_cfg.read(ROOT / "setup.cfg")
repository_address = setup_cfg["metadata"].get("url", "")  # "": files that are no pages stay text

project = "dgsa_np"
author = "the authors of dgsa_np"
language = "en"
smartquotes = False
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "docstrings",
    "labels",
    "links",
    "directives",
]
root_doc = "docs/index"
include_patterns = [
    "*.md",
    "dgsa_np/**.md",
    "docs/**.md",
    "notebooks/**.md",
    "notebooks/**.ipynb",
    "tests/README.md",
]
exclude_patterns = [".*", "build", "mutants", "docs/_build", "docs/paper", "docs/pypi", "notebooks/exercises/texts"]
below = {  # {page: the pages below it in the navigation}
    "docs/README": ["../CONTRIBUTING", "../dgsa_np/lab/README", "../tests/README"],
    "docs/demo": ["demo/*"],
    "docs/evidence": ["evidence/*", "evidence/*/*"],
    "notebooks/README": ["[0-9]*"],
    "notebooks/exercises/README": ["STUDENT", "ex*", "personal/*"],
}

# ------------------------------------------------------------------------------ pages and notebooks

nb_execution_mode = "off"  # the outputs are those that are committed
nb_merge_streams = True
nb_ipywidgets_js = {}  # nothing is fetched from the network
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 6
highlight_language = "text"
suppress_warnings = ["myst.header"]

# ------------------------------------------------------------------------------------ the reference

autodoc_default_options = {"members": True, "member-order": "bysource", "ignore-module-all": True}
autodoc_typehints_format = "short"
add_module_names = False
maximum_signature_line_length = 110
toc_object_entries_show_parents = "hide"

# ------------------------------------------------------------------------------------- how it looks

html_theme = "furo"
html_title = "dgsa_np"
html_static_path = ["_static", str(files("mathjax") / "static/mathjax/es5/tex-svg.js")]
html_css_files = ["site.css"]
html_favicon = "_static/favicon.svg"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
mathjax_path = "tex-svg.js"  # MathJax 3 with its fonts in one file: the site needs no network
mathjax3_config = {"svg": {"fontCache": "global"}, "options": {"enableMenu": False}}


def complete(app, docname, source):
    """The files, which are read elsewhere too, stay free of what the site alone needs."""
    if docname == "README":  # its badges are pictures from the network
        source[0] = re.sub(r"<!-- address: badges.*?/address -->", "", source[0], flags=re.DOTALL)
    if not source[0].startswith(("#", "---", "{")):
        source[0] = f"# {docname.rsplit('/', 1)[-1].capitalize()}\n\n{source[0]}"
    if docname in below:
        source[0] += "\n".join(["\n```{toctree}", ":hidden:", ":glob:", "", *below[docname], "```\n"])


def setup(app):
    app.add_lexer("python", IPython3Lexer)  # cells of notebooks may say !pytest
    app.connect("source-read", complete)
