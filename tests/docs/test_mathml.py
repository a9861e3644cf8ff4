"""Formulas become MathML that a browser shows without a script."""

import xml.etree.ElementTree as ET

import pytest

pytest.importorskip("sphinx", reason='needs the site\'s packages: pip install -e ".[site]"')
MATHML = "{http://www.w3.org/1998/Math/MathML}"


def parsed(formula, block=False):
    from mathml import to_mathml

    return ET.fromstring(to_mathml(formula, block).replace("&ApplyFunction;", ""))


def test_a_fraction_has_two_parts_and_a_power_a_base():
    formula = parsed(r"\frac{\ln 2}{-\ln m} + T^2")
    assert len(formula.find(f"{MATHML}mfrac")) == 2
    assert ["".join(part.itertext()) for part in formula.find(f"{MATHML}msup")] == ["T", "2"]


def test_a_block_stands_on_a_line_of_its_own():
    assert parsed("x", block=True).get("display") == "block"
    assert parsed("x").get("display") is None


@pytest.mark.parametrize("size", ["big", "Big", "bigg", "Bigg"])
def test_two_sided_sizes_are_known(size):
    assert "KL" in "".join(parsed(rf"\mathrm{{KL}}\{size}(a\,\{size}\|\,b\{size})").itertext())


def test_an_unknown_command_is_an_error():
    from docutils.utils.math import MathError

    with pytest.raises(MathError, match="nonsense"):
        parsed(r"\nonsense{x}")
