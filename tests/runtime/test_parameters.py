import datetime
import re
from pathlib import Path

import numpy as np
import pytest

from dmws_lite.runtime.parameters import read_batch, typed

KNOWN = {"smoke": "False", "seed": "0", "share": "0.1", "data": '"phantoms"', "teacher": "None", "made": "f(3)"}
KNOWN |= {"fractions": "[0.1]", "sizes": "(1, 2)"}
VALUES = [
    *(("smoke", "true", True), ("seed", "-7", -7), ("share", "1", 1.0), ("share", 1, 1.0), ("smoke", np.True_, True)),
    *(("seed", np.int64(4), 4), ("fractions", np.array([0.1]), [0.1]), ("data", Path("a/b"), "a/b")),
    *(("teacher", datetime.date(2026, 1, 2), "2026-01-02"), ("teacher", {"a": (np.float32(1),)}, {"a": [1.0]})),
    *(("data", "5", "5"), ("teacher", "file.safetensors", "file.safetensors"), ("teacher", "None", None)),
    *(("fractions", "(0.1, 1)", [0.1, 1]), ("sizes", (3,), [3]), ("made", "any", "any")),
]
MISTYPED = [
    *[("truth value", "smoke", value) for value in ("maybe", None, np.int64(1))],
    *[("whole number", "seed", value) for value in ("1.0", True, "")],
    *(("number", "share", "a tenth"), ("text", "data", 5), ("list", "fractions", "0.1"), ("tuple", "sizes", "x" * 9)),
]


@pytest.mark.parametrize(("name", "value", "expected"), VALUES)
def test_values_get_the_types_of_their_defaults(name, value, expected):
    result = typed({name: value}, KNOWN, "x.ipynb")[name]
    assert result == expected and type(result) is type(expected)


@pytest.mark.parametrize(("word", "name", "value"), MISTYPED)
def test_other_types_are_refused_with_name_value_type_and_default(word, name, value):
    message = rf"parameter {name} = {re.escape(repr(value))} is no {word}.*its default is {re.escape(KNOWN[name])}"
    with pytest.raises(ValueError, match=message):
        typed({name: value}, KNOWN, "x.ipynb")
    with pytest.raises(ValueError, match="parameter teacher = .* cannot be written into a notebook: pass a text"):
        typed({"teacher": {1} if word == "text" else float("inf")}, KNOWN, "x.ipynb")


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("a.csv", '\ufeffseed,data\n1,\n2,"x\ny"\n', [{"seed": "1"}, {"seed": "2", "data": "x\ny"}]),
        ("a.CSV", "seed;data\r\n1;è\r\n", [{"seed": "1", "data": "è"}]),
        ("a.yaml", "- {seed: 1, data: [2, x]}\n", [{"seed": 1, "data": [2, "x"]}]),
        ("a.tsv", "seed\tdata\n\n1\t\n\t\n", [{"seed": "1"}]),
        ("a.csv", "seed\n1,2\n", [{"seed": "1", "(cell without a name)": ["2"]}]),  # which no notebook has
    ],
)
def test_a_batch_is_read(tmp_path, name, content, rows):
    (tmp_path / name).write_bytes(content.encode())
    assert read_batch(tmp_path / name) == rows


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.yaml", b"seed: 1", "cannot be read as CSV, or as a YAML list of mappings"),
        ("a.yaml", b"- {seed: 1, seed: 2}", "a.yaml cannot be read as CSV, .*line 1: .*'seed' is written twice"),
        ("a.csv", "data\nthor\xe8\n".encode("latin-1"), "a.csv is not UTF-8 .*: save it as UTF-8"),
        ("a.csv", b"seed,data\n,\n,,\n", "a.csv lists no runs"),
        ("a.csv", b"seed,seed\n1,2\n", "parameter seed is given more than once"),
    ],
)
def test_a_batch_file_that_cannot_be_used_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_batch(tmp_path / name)
