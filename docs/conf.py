"""Sphinx's settings. The sources are gathered by docs/build.py."""

import json
import sys
from pathlib import Path

from docutils import nodes

sys.path.append(str(Path(__file__).parent))
import reference

project = "dmws-lite"
author = "the dmws-lite authors"
copyright = (
    "2026 the dmws-lite authors. Texts: CC BY 4.0, code: Apache-2.0. For teaching and experiments, not a medical device"
)
extensions = ["myst_nb", "sphinx.ext.autodoc", "mathml"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["_static"]
suppress_warnings = ["ref.python"]  # two classes of one name: autodoc links to neither

nb_execution_mode = "off"
nb_merge_streams = True
nb_code_prompt_show = "Show the setup cell"
nb_code_prompt_hide = "Hide the setup cell"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
myst_enable_extensions = ["dollarmath", "attrs_inline", "colon_fence"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
add_module_names = False
maximum_signature_line_length = 90

html_theme = "furo"
pygments_style = "friendly"
pygments_dark_style = "github-dark"
html_title = "dmws-lite"
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_domain_indices = False
html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#005b8f", "color-brand-content": "#005b8f"},
    "dark_css_variables": {"color-brand-primary": "#6cbcf0", "color-brand-content": "#6cbcf0"},
}


def add_alt_texts(app, doctree):
    """Give the pictures of executed notebooks the alt texts that their figures came with."""
    alts = json.loads(Path(app.srcdir, "alt_texts.json").read_text(encoding="utf-8"))
    for image in doctree.findall(nodes.image):
        image.setdefault("alt", alts.get(Path(image["uri"]).stem, ""))


def rewrite_docstring(app, what, name, obj, options, lines):
    """Turn a docstring into reStructuredText, in place."""
    lines[:] = reference.to_rest(lines)


def skip_inherited(app, what, name, obj, skip, options):
    """Leave out what other libraries add to our classes."""
    return True if not (getattr(obj, "__module__", None) or "dmws_lite").startswith("dmws_lite") else None


def setup(app):
    """Sphinx calls this."""
    app.connect("doctree-read", add_alt_texts)
    app.connect("autodoc-skip-member", skip_inherited)
    app.connect("autodoc-process-docstring", rewrite_docstring)
