"""The script that shows what a class has solved."""

import nbformat
import pytest
from IPython.core.formatters import DisplayFormatter
from nbformat.v4 import new_code_cell, new_notebook, new_output
from verdicts import class_table, main, read_verdicts

from dmws_lite.course import Verdict


def executed(path, *verdicts):
    cells = []
    for verdict in verdicts:
        data = DisplayFormatter().format(verdict)[0]
        output = new_output("execute_result", data=data, execution_count=1)
        cells.append(new_code_cell("check()", outputs=[output, new_output("stream", text="Exercise 99.9: ✓ right.")]))
    path.parent.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)
    return path


def test_every_state_is_read_and_the_last_one_counts(tmp_path):
    states = [("03.1", "open"), ("03.2", "wrong"), ("03.10", "right"), ("03.1", "right")]
    path = executed(tmp_path / "a.ipynb", *(Verdict(name, state, "Exercise: it's so.") for name, state in states))
    assert read_verdicts(path) == {"03.1": "right", "03.2": "not yet", "03.10": "right"}


def test_a_class_is_a_table_of_notebooks_and_exercises(tmp_path, capsys):
    executed(tmp_path / "ada" / "03.ipynb", Verdict("03.1", "right", ""), Verdict("03.2", "wrong", "Too small"))
    executed(tmp_path / "bo" / "03.ipynb", Verdict("03.2", "right", ""))
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
    executed(tmp_path / "ada.ipynb", Verdict("03.1", "right", ""))
    executed(tmp_path / ".ipynb_checkpoints" / "ada-checkpoint.ipynb", Verdict("03.1", "wrong", ""))
    broken = {"a.ipynb": "", "b.ipynb": "no notebook", "c.ipynb": "[]", "d.ipynb": "{}", "e.ipynb": '{"nbformat": 4}'}
    for name, text in broken.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "f.ipynb").write_bytes(b"\xff\xfe\x00")
    assert class_table(tmp_path).to_dict("index") == {"ada.ipynb": {"03.1": "right"}}
    errors = capsys.readouterr().err
    assert all(f"unreadable: {name} (" in errors for name in [*broken, "f.ipynb"])


def test_notebooks_that_were_not_run_are_said_to_be_so(tmp_path, capsys):
    executed(tmp_path / "a.ipynb")
    with pytest.raises(ValueError, match="no verdicts below .*: run the notebooks first"):
        class_table(tmp_path)
    with pytest.raises(SystemExit):
        main([str(tmp_path)])
    assert "run the notebooks first" in capsys.readouterr().err
