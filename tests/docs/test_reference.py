"""Docstrings as reStructuredText: entries, literals, doctests, and no markup by accident."""

import importlib
import inspect
import pkgutil

import pytest

import dmws_lite

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
    """The docstring as docutils' tree, and what docutils complained about."""
    from docutils.core import publish_doctree
    from reference import to_rest

    settings = {"report_level": 1, "warning_stream": False, "_disable_config": True}
    tree = publish_doctree("\n".join(to_rest(docstring.splitlines())), settings_overrides=settings)
    return tree, [message.astext() for message in tree.findall() if message.tagname == "system_message"]


def test_every_part_of_a_docstring_arrives():
    tree, problems = published(DOCSTRING)
    assert problems == []
    terms = [node.astext() for node in tree.findall() if node.tagname == "term"]
    assert terms == ["size, pick", "phase"]
    definitions = [node.astext() for node in tree.findall() if node.tagname == "definition"]
    assert definitions == ["lengths of the axes, 1 <= pick <= size.", "which subset."]
    paragraphs = [node.astext() for node in tree.children if node.tagname == "paragraph"]
    assert paragraphs == [
        "Indices of pick elements, a*b or **not**, of |x|_.",
        "Returns int64 (pick,).",
        "Raises ValueError when pick > size: say so and how.",
    ]
    assert [node.astext() for node in tree.findall() if node.tagname == "doctest_block"] == [">>> 1 + 1\n2"]


def test_no_docstring_of_the_package_breaks_the_markup():
    for module in pkgutil.walk_packages(dmws_lite.__path__, "dmws_lite."):
        if module.name.startswith("dmws_lite.method"):
            members = vars(importlib.import_module(module.name)).values()
            for obj in (obj for obj in members if getattr(obj, "__module__", "") == module.name):
                docstring = inspect.getdoc(obj) or ""
                tree, problems = published(docstring)
                assert problems == [], f"{module.name}: {docstring}"
                words = [word for word in docstring.split() if word.isalpha()]
                assert set(words) <= set(tree.astext().split()), f"{module.name}: words are lost"


def test_every_public_name_is_listed(tmp_path):
    from reference import ROOMS, write

    write(tmp_path / "reference")
    index = (tmp_path / "reference" / "index.rst").read_text()
    assert "`dm.complementary_plans <dmws_lite.method.selection.complementary_plans>`" in index
    for room in ROOMS:
        assert f"automodule:: dmws_lite.{room}." in (tmp_path / "reference" / f"{room}.rst").read_text()
