"""Docstrings as reStructuredText: entries, literals, doctests, and no markup by accident."""

import inspect

import pytest

import dmws_lite as dm

pytest.importorskip("sphinx", reason='needs the site\'s packages: pip install -e ".[site]"')
DOCSTRING = """Indices of `pick` elements, a*b or **not**, of |x|_.

size, pick: lengths of the axes,
            1 <= pick <= size.
phase:      which subset.
Returns int64 (pick,).
Raises ValueError when pick > size: say so
and how.

>>> 1 + 1
2"""


def published(docstring):
    """The docstring as docutils' tree; fails where docutils complains."""
    from docutils.core import publish_doctree
    from reference import to_rest

    settings = {"report_level": 1, "warning_stream": False, "_disable_config": True}
    tree = publish_doctree("\n".join(to_rest(docstring.splitlines())), settings_overrides=settings)
    assert [node.astext() for node in tree.findall() if node.tagname == "system_message"] == [], docstring
    return tree


def test_every_part_of_a_docstring_arrives():
    tree = published(DOCSTRING)
    texts = {
        name: [node.astext() for node in tree.findall() if node.tagname == name]
        for name in ("term", "definition", "doctest_block")
    }
    assert texts["term"] == ["size, pick", "phase"]
    assert texts["definition"] == ["lengths of the axes, 1 <= pick <= size.", "which subset."]
    assert texts["doctest_block"] == [">>> 1 + 1\n2"]
    assert [node.astext() for node in tree.children if node.tagname == "paragraph"] == [
        "Indices of pick elements, a*b or **not**, of |x|_.",
        "Returns int64 (pick,).",
        "Raises ValueError when pick > size: say so and how.",
    ]


def test_no_public_docstring_breaks_the_markup_or_loses_words():
    for name in dm.__all__:
        docstring = inspect.getdoc(getattr(dm, name)) or ""
        words = {word for word in docstring.split() if word.isalpha()}
        assert words <= set(published(docstring).astext().split()), name
