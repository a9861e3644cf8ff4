"""Docstrings as reStructuredText."""

import inspect

import pytest

import dmws_lite as dm

pytest.importorskip("sphinx", reason='needs the site\'s packages: pip install -e ".[site]"')


def published(docstring):
    """The docstring as docutils' tree; fails where docutils complains."""
    from docutils.core import publish_doctree
    from reference import to_rest

    settings = {"report_level": 1, "warning_stream": False, "_disable_config": True}
    tree = publish_doctree("\n".join(to_rest(docstring.splitlines())), settings_overrides=settings)
    assert [node.astext() for node in tree.findall() if node.tagname == "system_message"] == [], docstring
    return tree


def test_no_public_docstring_breaks_the_markup_or_loses_words():
    for name in dm.__all__:
        docstring = inspect.getdoc(getattr(dm, name)) or ""
        words = {word for word in docstring.split() if word.isalpha()}
        assert words <= set(published(docstring).astext().split()), name
