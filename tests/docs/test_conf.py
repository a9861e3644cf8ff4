"""Formulas become MathML that a browser shows without a script."""

import xml.etree.ElementTree as ET

import pytest

pytest.importorskip("sphinx", reason='needs the site\'s packages: pip install -e ".[site]"')
MATHML = "{http://www.w3.org/1998/Math/MathML}"


def parsed(formula, block=False):
    from conf import to_mathml

    return ET.fromstring(to_mathml(formula, block).replace("&ApplyFunction;", ""))


def test_the_parts_of_a_formula():
    formula = parsed(r"\frac{\ln 2}{-\ln m} + T^2", block=True)
    assert formula.get("display") == "block" and parsed("x").get("display") is None
    assert len(formula.find(f"{MATHML}mfrac")) == 2
    assert ["".join(part.itertext()) for part in formula.find(f"{MATHML}msup")] == ["T", "2"]
    assert "KL" in "".join(parsed(r"\mathrm{KL}\bigg(a\,\Big\|\,b\big)").itertext())


def test_an_unknown_command_is_an_error():
    from docutils.utils.math import MathError

    with pytest.raises(MathError, match="nonsense"):
        parsed(r"\nonsense{x}")
