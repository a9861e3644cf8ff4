"""The script that shows what a class has solved."""

import nbformat
import pytest
from IPython.core.formatters import DisplayFormatter
from nbformat.v4 import new_code_cell, new_notebook, new_output
from verdicts import class_table, main

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


def test_a_class_is_a_table_of_the_last_verdicts_and_files_that_are_unreadable_or_not_run_are_named(tmp_path, capsys):
    executed(tmp_path / "ada" / "03.ipynb", ("03.1", "open"), ("03.2", "wrong"), ("03.1", "right"))
    executed(tmp_path / "bo" / "03.ipynb", ("03.2", "right"))
    executed(tmp_path / ".ipynb_checkpoints" / "ada-checkpoint.ipynb", ("03.1", "wrong"))
    (tmp_path / "odd.ipynb").write_bytes(b"\xff")
    assert class_table(tmp_path).to_dict("index") == {
        "ada/03.ipynb": {"03.1": "right", "03.2": "not yet"},
        "bo/03.ipynb": {"03.1": "", "03.2": "right"},
    }
    assert main([str(tmp_path), "--csv", str(tmp_path / "class.csv")]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1].split() == ["right", "1", "1"] and "unreadable: odd.ipynb (" in shown.err
    assert (tmp_path / "class.csv").read_text().startswith("notebook,03.1,03.2\n")
    executed(tmp_path / "not run" / "a.ipynb")
    with pytest.raises(SystemExit):
        main([str(tmp_path / "not run")])
    assert "no verdicts below" in capsys.readouterr().err
