import csv
import os

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from dmws_lite.runtime.batch import read_batch, run_batch

WORK = """import json, pathlib
if seed < 0:
    raise ValueError("a negative seed")
published = {"accuracy": seed / 10, "good": True, "table": {"a": 1}}
pathlib.Path(output, "small.json").write_text(json.dumps(published))"""


@pytest.fixture
def small(tmp_path):
    cells = [new_code_cell('seed = 0\noutput = "outputs"'), new_code_cell(WORK)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), tmp_path / "small.ipynb")
    return tmp_path / "small.ipynb"


def test_rows_of_csv_and_yaml(tmp_path):
    (tmp_path / "a.csv").write_text("\ufeffseed,data\n1,x\n,\n\n2,\n", encoding="utf-8")
    (tmp_path / "a.yaml").write_text("- {seed: 1, data: x}\n- {seed: 2}\n")
    assert read_batch(tmp_path / "a.csv") == [{"seed": "1", "data": "x"}, {"seed": "2"}]  # empty rows are skipped
    assert read_batch(tmp_path / "a.yaml") == [{"seed": 1, "data": "x"}, {"seed": 2}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        *((name, content, "holds no sets") for name in ("a.yaml", "a.csv") for content in (b"", b"seed: 1", b"3")),
        ("a.csv", b"seed,data\n,\n", "holds no sets"),
        ("a.csv", "data\nthor\xe8\n".encode("latin-1"), "a.csv is no CSV or YAML file in UTF-8"),
        ("a.yaml", b"- {seed: [1}", "a.yaml is no CSV or YAML file"),
    ],
)
def test_files_of_something_else_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_batch(tmp_path / name)


def test_one_failure_does_not_stop_the_rest(small, tmp_path):
    out = tmp_path / "out"
    old = out / "02" / "small.json"  # of an earlier run, and not to be reported again
    old.parent.mkdir(parents=True)
    old.write_text('{"accuracy": 9}')
    os.utime(old, (1e9, 1e9))
    summary = run_batch(small, out, [{"seed": "1"}, {"seed": -1}, {"seed": 3}])
    assert [row["status"] for row in summary] == ["done", "failed", "done"]
    assert [row["seed"] for row in summary] == [1, -1, 3]
    assert "ValueError: a negative seed" in summary[1]["error"] and summary[0]["error"] == ""
    assert all(row["seconds"] > 0 and (out / row["run"] / "small.ipynb").is_file() for row in summary)
    with (out / "summary.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [(row["small.accuracy"], row["small.good"]) for row in written] == [
        ("0.1", "True"),
        ("", ""),
        ("0.3", "True"),
    ]
    assert "small.table" not in written[0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"seed": 1}, {"seed": "x"}], "set 2 of 2: parameter seed = 'x' is no whole number"),
        ([{"output": "x"}, {"seed": 2}, {"output": "./x"}], "two sets have the same output"),
        ([{}, {}, {"output": "out/01"}], "two sets have the same output"),
    ],
)
def test_all_sets_are_checked_before_the_first_run(small, tmp_path, monkeypatch, rows, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        run_batch(small, tmp_path / "out", rows)
    assert not (tmp_path / "out").exists()
