"""Formulas as MathML, made when the site is built: reading a page fetches no script and no font."""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)
BIG = re.compile(r"\\([bB]igg?)(?![a-zA-Z])")  # docutils knows the one-sided forms only: \bigl, \Bigr, ...


def to_mathml(formula: str, block: bool) -> str:
    r"""A LaTeX formula as a <math> element.

    Raises MathError for what docutils' converter does not know.

    >>> to_mathml(r"\alpha", block=False).split()
    ['<math', 'xmlns="http://www.w3.org/1998/Math/MathML">', '<mi>α</mi>', '</math>']
    """
    element = tex2mathml(BIG.sub(r"\\\1l", formula.strip()))
    return element.replace("<math ", '<math display="block" ', 1) if block else element


def _render(self, node: nodes.Element, block: bool) -> None:
    try:
        element = to_mathml(node.astext(), block)
    except MathError as error:
        logger.warning("formula %r: %s", node.astext(), error, location=node)
        element = f"<code>{self.encode(node.astext())}</code>"
    tag = "div" if block else "span"
    self.body.append(f'<{tag} class="math notranslate">{element}</{tag}>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this: `html_math_renderer = "mathml"` then chooses the renderer."""
    inline = (lambda self, node: _render(self, node, block=False), None)
    block = (lambda self, node: _render(self, node, block=True), None)
    app.add_html_math_renderer("mathml", inline_renderers=inline, block_renderers=block)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
