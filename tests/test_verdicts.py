"""The script that shows what a class has solved."""

import nbformat
import pytest
from IPython.core.formatters import DisplayFormatter
from nbformat.v4 import new_code_cell, new_notebook, new_output
from verdicts import class_table, main, read_verdicts

from dmws_lite.course import Verdict


def executed(path, *verdicts):
    """A notebook that printed these verdicts, and text that looks like one."""
    cells = []
    for verdict in verdicts:
        data = DisplayFormatter().format(Verdict(*verdict, "Exercise: it's so."))[0]
        output = new_output("execute_result", data=data, execution_count=1)
        cells.append(new_code_cell("check()", outputs=[output, new_output("stream", text="Exercise 99.9: ✓ right.")]))
    path.parent.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)
    return path


def test_every_state_is_read_and_the_last_one_counts(tmp_path):
    path = executed(tmp_path / "a.ipynb", ("03.1", "open"), ("03.2", "wrong"), ("03.10", "right"), ("03.1", "right"))
    assert read_verdicts(path) == {"03.1": "right", "03.2": "not yet", "03.10": "right"}


def test_a_class_is_a_table_of_notebooks_and_exercises(tmp_path, capsys):
    executed(tmp_path / "ada" / "03.ipynb", ("03.1", "right"), ("03.2", "wrong"))
    executed(tmp_path / "bo" / "03.ipynb", ("03.2", "right"))
    executed(tmp_path / "bo" / "other.ipynb")
    table = class_table(tmp_path)
    assert table.to_dict("index") == {
        "ada/03.ipynb": {"03.1": "right", "03.2": "not yet"},
        "bo/03.ipynb": {"03.1": "", "03.2": "right"},
    }
    assert main([str(tmp_path), "--csv", str(tmp_path / "class.csv")]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["right", "1", "1"]
    assert (tmp_path / "class.csv").read_text().startswith("notebook,03.1,03.2\n")


def test_hidden_copies_do_not_count_and_unreadable_files_are_named(tmp_path, capsys):
    executed(tmp_path / "ada.ipynb", ("03.1", "right"))
    executed(tmp_path / ".ipynb_checkpoints" / "ada-checkpoint.ipynb", ("03.1", "wrong"))
    for name, content in zip("abcde", (b"", b"no notebook", b"[]", b'{"nbformat": 4}', b"\xff"), strict=True):
        (tmp_path / f"{name}.ipynb").write_bytes(content)
    assert class_table(tmp_path).to_dict("index") == {"ada.ipynb": {"03.1": "right"}}
    errors = capsys.readouterr().err
    assert all(f"unreadable: {name}.ipynb (" in errors for name in "abcde")


def test_notebooks_that_were_not_run_are_said_to_be_so(tmp_path, capsys):
    executed(tmp_path / "a.ipynb")
    with pytest.raises(ValueError, match="no verdicts below .*: run the notebooks first"):
        class_table(tmp_path)
    with pytest.raises(SystemExit):
        main([str(tmp_path)])
    assert "run the notebooks first" in capsys.readouterr().err
