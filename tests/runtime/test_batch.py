import csv
import json
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
    (tmp_path / "a.csv").write_text("\ufeffseed,data\n1,x\n2,\n", encoding="utf-8")
    (tmp_path / "a.yaml").write_text("- {seed: 1, data: x}\n- {seed: 2}\n")
    assert read_batch(tmp_path / "a.csv") == [{"seed": "1", "data": "x"}, {"seed": "2"}]
    assert read_batch(tmp_path / "a.yaml") == [{"seed": 1, "data": "x"}, {"seed": 2}]


@pytest.mark.parametrize("content", ["", "seed: 1", "- 3", "3"])
def test_files_of_something_else_are_refused(tmp_path, content):
    for name in ("a.yaml", "a.csv"):
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match="holds no sets of parameters"):
        read_batch(tmp_path / "a.yaml")
    with pytest.raises(ValueError, match="holds no sets of parameters"):
        read_batch(tmp_path / "a.csv")


def test_empty_rows_are_skipped_and_overlong_ones_named(tmp_path):
    (tmp_path / "a.csv").write_text("seed,data\n1,x,\n,\n\n2\n,,\n")
    assert read_batch(tmp_path / "a.csv") == [{"seed": "1", "data": "x"}, {"seed": "2"}]
    (tmp_path / "a.csv").write_text("seed,data\n1,x\n2,y,z\n")
    with pytest.raises(ValueError, match="batch file a.csv, line 3: more cells than the header has names"):
        read_batch(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("seed,data\n,\n")
    with pytest.raises(ValueError, match="holds no sets of parameters"):
        read_batch(tmp_path / "a.csv")


def test_missing_and_other_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.csv does not exist"):
        read_batch(tmp_path / "gone.csv")
    (tmp_path / "a.txt").write_text("seed\n1")
    with pytest.raises(ValueError, match="batch file a.txt: pass a .csv or a .yaml file"):
        read_batch(tmp_path / "a.txt")


def test_one_failure_does_not_stop_the_rest(small, tmp_path):
    summary = run_batch(small, tmp_path / "out", [{"seed": "1"}, {"seed": -1}, {"seed": 3}])
    assert [row["status"] for row in summary] == ["done", "failed", "done"]
    assert [row["seed"] for row in summary] == [1, -1, 3]
    assert "ValueError: a negative seed" in summary[1]["error"] and summary[0]["error"] == ""
    assert summary[2]["small.accuracy"] == 0.3 and summary[2]["small.good"] is True
    assert "small.table" not in summary[2] and "small.accuracy" not in summary[1]
    for number, row in enumerate(summary, 1):
        assert row["notebook"] == str(tmp_path / "out" / f"{number:02}" / "small.ipynb") and row["seconds"] > 0
        assert nbformat.read(row["notebook"], as_version=4).cells
    assert json.loads((tmp_path / "out" / "03" / "small.json").read_text())["accuracy"] == 0.3
    written = list(csv.DictReader((tmp_path / "out" / "summary.csv").open()))
    assert [row["small.accuracy"] for row in written] == ["0.1", "", "0.3"]


def test_numbers_of_an_earlier_run_are_not_reported_and_half_a_file_stops_nothing(small, tmp_path, capsys):
    for number, seed in enumerate((5, 6), 1):
        old = tmp_path / "out" / f"{number:02}" / "small.json"
        old.parent.mkdir(parents=True)
        old.write_text(json.dumps({"accuracy": seed, "older": seed}))
        old.with_name("older.json").write_text(json.dumps({"accuracy": seed}))
        for path in old.parent.iterdir():
            os.utime(path, (1e9, 1e9))
    notebook = nbformat.read(small, as_version=4)
    notebook.cells.append(new_code_cell('pathlib.Path(output, "half.json").write_text("{\\"accuracy\\": 0.")'))
    nbformat.write(notebook, small)
    failed, done = run_batch(small, tmp_path / "out", [{"seed": -1}, {"seed": 2}])
    assert failed["status"] == "failed" and not [key for key in failed if "." in key]
    assert {key: value for key, value in done.items() if "." in key} == {"small.accuracy": 0.2, "small.good": True}
    assert "half.json is no JSON, and its numbers are left out" in capsys.readouterr().out


@pytest.mark.parametrize("rows", [[{"output": "x"}, {"seed": 2}, {"output": "./x"}], [{}, {}, {"output": "out/01"}]])
def test_two_sets_with_one_output_are_refused_before_anything_runs(small, tmp_path, monkeypatch, rows):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="sets 1 and 3 both have output = .*give each set its own"):
        run_batch(small, "out", rows)
    assert not list((tmp_path / "out").iterdir())


def test_all_sets_are_checked_before_the_first_run(small, tmp_path):
    with pytest.raises(ValueError, match="set 2 of 2: parameter seed = 'x' is no whole number"):
        run_batch(small, tmp_path / "out", [{"seed": 1}, {"seed": "x"}])
    assert not list((tmp_path / "out").iterdir())
