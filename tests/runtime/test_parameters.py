import pytest

from dmws_lite.runtime.parameters import typed

KNOWN = {
    "smoke": "False",
    "seed": "0",
    "share": "0.1",
    "data": '"phantoms"',
    "teacher": "None",
    "fractions": "[0.1]",
    "sizes": "(1, 2)",
    "made": "f(3)",
}


VALUES = [
    *(("smoke", "true", True), ("seed", "-7", -7), ("share", "1", 1.0), ("share", "1e-3", 0.001), ("share", 1, 1.0)),
    *(("data", "5", "5"), ("data", "None", "None"), ("teacher", "file.safetensors", "file.safetensors")),
    *(("teacher", "None", None), ("fractions", "(0.1, 1)", [0.1, 1]), ("sizes", [3], (3,)), ("made", "any", "any")),
]
MISTYPED = [
    *(("smoke", "maybe", "truth value"), ("smoke", "1", "truth value"), ("smoke", None, "truth value")),
    *(("seed", "1.0", "whole number"), ("seed", True, "whole number"), ("seed", "", "whole number")),
    *(("share", "a tenth", "number"), ("share", "True", "number"), ("data", 5, "text"), ("data", None, "text")),
    *(("fractions", "0.1", "list"), ("sizes", "x" * 9, "tuple")),
]


@pytest.mark.parametrize(("name", "value", "expected"), VALUES)
def test_values_get_the_types_of_their_defaults(name, value, expected):
    result = typed({name: value}, KNOWN, "x.ipynb")[name]
    assert result == expected and type(result) is type(expected)


@pytest.mark.parametrize(("name", "value", "word"), MISTYPED)
def test_other_types_are_refused_with_name_value_type_and_default(name, value, word):
    message = f"parameter {name} = {value!r} is no {word}.*its default is {KNOWN[name]}"
    with pytest.raises(ValueError, match=message.translate({ord(c): f"\\{c}" for c in "()[]"})):
        typed({name: value}, KNOWN, "x.ipynb")


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"x.ipynb has no parameter 'sed': its parameters are smoke = False, seed = 0"):
        typed({"sed": 1}, KNOWN, "x.ipynb")
    with pytest.raises(ValueError, match="its parameters are none"):
        typed({"sed": 1}, {}, "x.ipynb")
