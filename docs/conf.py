"""Sphinx's settings; docs/build.py gathers the sources. Formulas become MathML, so pages need no script for them."""

import json
import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError
from sphinx.util import logging

from dmws_lite.runtime.notebooks import to_mathml

sys.path.append(str(Path(__file__).parent))
import reference

project = "dmws-lite"
author = "the dmws-lite authors"
copyright = (
    "2026 the dmws-lite authors. Texts: CC BY 4.0, code: Apache-2.0. For teaching and experiments, not a medical device"
)
extensions = ["myst_nb", "sphinx.ext.autodoc"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["_static"]
# Two classes of one name (autodoc links to neither), and verdicts of exercises, which have text and HTML beside them.
suppress_warnings = ["ref.python", "mystnb.unknown_mime_type"]

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
html_js_files = [("interactive.js", {"defer": "defer"})]
html_math_renderer = "mathml"
html_copy_source = False
html_domain_indices = False
html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#005b8f", "color-brand-content": "#005b8f"},
    "dark_css_variables": {"color-brand-primary": "#6cbcf0", "color-brand-content": "#6cbcf0"},
}


def write_formula(translator, node, block):
    """Write a formula, or its source where it cannot be converted, into a page."""
    try:
        element = to_mathml(node.astext(), block)
    except MathError as error:
        logging.getLogger(__name__).warning("formula %r: %s", node.astext(), error, location=node)
        element = f"<code>{translator.encode(node.astext())}</code>"
    tag = "div" if block else "span"
    translator.body.append(f'<{tag} class="math notranslate">{element}</{tag}>')
    raise nodes.SkipNode


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
    inline = (lambda self, node: write_formula(self, node, block=False), None)
    block = (lambda self, node: write_formula(self, node, block=True), None)
    app.add_html_math_renderer("mathml", inline_renderers=inline, block_renderers=block)
    app.connect("doctree-read", add_alt_texts)
    app.connect("autodoc-skip-member", skip_inherited)
    app.connect("autodoc-process-docstring", rewrite_docstring)
